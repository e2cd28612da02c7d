//! `docker/images.toml`: one row per image.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// One image, as `docker/images.toml` describes it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Name of the image, its crate, its binary and its stage.
    pub tool: String,
    /// The crate's description.
    pub summary: String,
    /// What it is in a pod.
    pub kind: Kind,
    /// Ports it may listen on when told to, in words.
    pub listens: Vec<String>,
    /// Places it writes to, all of them in volumes, in words.
    pub writes: Vec<String>,
    /// Built without unwinding: a panic ends the process at once.
    #[serde(default)]
    pub lean: bool,
    /// Most bytes of the binary, on every architecture.
    pub binary: u64,
    /// Most bytes of the archive, on every architecture.
    pub archive: u64,
}

/// What an image is in a pod.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Runs to its end before the main containers start.
    Init,
    /// Runs beside the main container.
    Sidecar,
    /// Translates what the main container gives out.
    Adapter,
    /// Stands between the main container and the network.
    Ambassador,
    /// Answers one question and exits.
    Probe,
    /// The main container of examples and tests.
    App,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    image: Vec<Row>,
}

/// The rows of `docker/images.toml` under `root`, in its order.
///
/// # Errors
/// When the file cannot be read or a row has an unknown or missing field.
pub fn read(root: &Path) -> anyhow::Result<Vec<Row>> {
    let path = root.join("docker/images.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: Table = toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(table.image)
}
