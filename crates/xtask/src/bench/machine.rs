//! Where a measurement was made.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::workspace;

/// What a reader needs to compare numbers with their own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The model name of the first processor.
    pub cpu: String,
    /// How many processors there are.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The commit that was measured.
    pub commit: String,
}

/// The load average of the last minute, as a note for the table.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn load_note() -> anyhow::Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(format!("Load average at the start: {}.", load.split(' ').next().unwrap_or_default()))
}

impl Machine {
    /// This machine and this commit.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn here() -> anyhow::Result<Self> {
        let info = fs::read_to_string("/proc/cpuinfo")?;
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            cpu: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            commit: workspace::revision(),
        })
    }
}
