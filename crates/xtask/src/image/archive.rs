//! One tar that every engine loads: an OCI layout (`oci-layout`, `index.json`) and a docker archive (`manifest.json`) over the
//! same blobs.
//!
//! The bytes depend on the stage, the row, the version, the revision and the binary alone: entries are sorted, times are 0,
//! owners are root, and the layer is not compressed, so that no compressor's version shows (registries compress on push).
//!
//! ```text
//! blobs/sha256/<layer>     a tar with one file, /log-tailer, mode 0555
//! blobs/sha256/<config>    user, entrypoint, labels; its digest is docker's image id
//! blobs/sha256/<manifest>
//! index.json               names the manifest, for containerd, podman, skopeo and newer dockers
//! manifest.json            names config and layer, for dockers before 25
//! oci-layout
//! ```

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Arch, rows::Row, stages::Stage};
use crate::workspace::VERSION;

const EPOCH: &str = "1970-01-01T00:00:00Z";

/// The archive of one image and the digests that name it.
#[derive(Debug, PartialEq, Eq)]
pub struct Archive {
    /// The tar.
    pub bytes: Vec<u8>,
    /// Digest of the config, `sha256:...`: the image id in docker and podman.
    pub image_id: String,
    /// Digest of the manifest, `sha256:...`: what a registry would call the image.
    pub manifest: String,
}

/// The name under which engines know the image, e.g. `podkit/log-tailer:0.1.0`.
pub fn reference(tool: &str) -> String {
    format!("podkit/{tool}:{VERSION}")
}

/// The labels of an image, by the names that the OCI image specification gives them.
pub fn labels(row: &Row, revision: &str) -> BTreeMap<String, String> {
    let label = |name: &str, value: &str| (format!("org.opencontainers.image.{name}"), value.to_owned());
    BTreeMap::from([
        label("title", &row.tool),
        label("description", &row.summary),
        label("version", VERSION),
        label("revision", revision),
        label("licenses", env!("CARGO_PKG_LICENSE")),
    ])
}

/// Builds the archive; `file` returns the bytes of a path of the `bin` stage.
///
/// # Errors
/// When `file` fails.
pub fn assemble(
    stage: &Stage,
    row: &Row,
    arch: Arch,
    revision: &str,
    mut file: impl FnMut(&str) -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<Archive> {
    let mut files = BTreeMap::new();
    for copy in &stage.copies {
        files.insert(copy.dest.trim_start_matches('/').to_owned(), (file(&copy.source)?, copy.mode));
    }
    let layer = tar(&files)?;
    let config = encode(&json!({
        "architecture": arch.name(),
        "os": "linux",
        "created": EPOCH,
        "config": { "User": stage.user, "Entrypoint": stage.entrypoint, "Labels": labels(row, revision) },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        "history": [{ "created": EPOCH, "created_by": "cargo xtask image" }],
    }))?;
    let descriptor = |media: &str, blob: &[u8]| {
        let media = format!("application/vnd.oci.image.{media}");
        json!({ "mediaType": media, "digest": digest(blob), "size": blob.len() })
    };
    let manifest = encode(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config),
        "layers": [descriptor("layer.v1.tar", &layer)],
        "annotations": labels(row, revision),
    }))?;
    let reference = reference(&row.tool);
    let mut entry = descriptor("manifest.v1+json", &manifest);
    entry["platform"] = json!({ "architecture": arch.name(), "os": "linux" });
    entry["annotations"] = json!({
        "org.opencontainers.image.ref.name": reference,
        // containerd takes this one as the whole name; the kubelet asks for it with its registry spelt out.
        "io.containerd.image.name": format!("docker.io/{reference}"),
    });
    let index =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry] });
    let docker = json!([{ "Config": blob_path(&config), "RepoTags": [reference], "Layers": [blob_path(&layer)] }]);
    let image_id = digest(&config);
    let manifest_digest = digest(&manifest);
    let blobs = [layer, config, manifest].map(|blob| (blob_path(&blob), (blob, 0o444)));
    let mut entries = BTreeMap::from(blobs);
    entries.insert("index.json".to_owned(), (encode(&index)?, 0o444));
    entries.insert("manifest.json".to_owned(), (encode(&docker)?, 0o444));
    entries.insert("oci-layout".to_owned(), (encode(&json!({ "imageLayoutVersion": "1.0.0" }))?, 0o444));
    Ok(Archive { bytes: tar(&entries)?, image_id, manifest: manifest_digest })
}

fn encode(value: &Value) -> anyhow::Result<Vec<u8>> {
    serde_json::to_vec(value).context("cannot write JSON")
}

/// `sha256:` and the digest in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn blob_path(bytes: &[u8]) -> String {
    format!("blobs/{}", digest(bytes).replace(':', "/"))
}

/// A tar of regular files and the folders above them, in the order of their names.
fn tar(files: &BTreeMap<String, (Vec<u8>, u32)>) -> anyhow::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut folders = std::collections::BTreeSet::new();
    for (path, (bytes, mode)) in files {
        for (slash, _) in path.match_indices('/') {
            let folder = path.get(..=slash).unwrap_or_default();
            if folders.insert(folder) {
                append(&mut builder, folder, tar::EntryType::Directory, 0o755, &[])?;
            }
        }
        append(&mut builder, path, tar::EntryType::Regular, *mode, bytes)?;
    }
    builder.into_inner().context("cannot finish a tar")
}

fn append(
    builder: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    bytes: &[u8],
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, path, bytes).with_context(|| format!("cannot add {path} to a tar"))
}

#[cfg(test)]
mod tests {
    use super::super::{rows::Kind, stages};
    use super::*;

    fn archive(binary: &[u8]) -> Archive {
        let text = "FROM scratch AS base\nUSER 1:2\nFROM base AS tool\n\
                    COPY --from=bin --chmod=0555 /tool /usr/bin/tool\nENTRYPOINT [\"/usr/bin/tool\"]\n";
        let stage = stages::parse(text).unwrap().remove(0);
        let words = || vec![];
        let row = Row {
            tool: "tool".to_owned(),
            summary: "does one thing".to_owned(),
            kind: Kind::Init,
            listens: words(),
            writes: words(),
            lean: false,
            binary: 0,
            archive: 0,
        };
        assemble(&stage, &row, Arch::Arm64, "abc", |_| Ok(binary.to_owned())).unwrap()
    }

    fn entries(bytes: &[u8]) -> BTreeMap<String, (Vec<u8>, u32, u64, u64)> {
        let mut tar = tar::Archive::new(bytes);
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            let header = entry.header();
            let facts = (bytes, header.mode().unwrap(), header.mtime().unwrap(), header.uid().unwrap());
            (entry.path().unwrap().to_string_lossy().into_owned(), facts)
        };
        tar.entries().unwrap().map(read).collect()
    }

    #[test]
    fn the_same_binary_gives_the_same_bytes_and_another_one_does_not() {
        assert_eq!(archive(b"one"), archive(b"one"));
        assert_ne!(archive(b"one").manifest, archive(b"two").manifest);
    }

    #[test]
    fn every_blob_is_named_by_its_digest_and_reached_from_both_manifests() {
        let archive = archive(b"one");
        let entries = entries(&archive.bytes);
        let json = |path: &str| -> Value { serde_json::from_slice(&entries[path].0).unwrap() };
        let blob = |digest: &Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
        for (path, (bytes, ..)) in
            entries.iter().filter(|(path, _)| path.starts_with("blobs/sha256/") && path.len() > 13)
        {
            assert_eq!(*path, blob_path(bytes));
        }
        let named = &json("index.json")["manifests"][0];
        assert_eq!(named["digest"], archive.manifest);
        assert_eq!(named["platform"]["architecture"], "arm64");
        let manifest = json(&blob(&named["digest"]));
        assert_eq!(manifest["config"]["digest"], archive.image_id);
        let docker = &json("manifest.json")[0];
        assert_eq!(docker["Config"], blob(&manifest["config"]["digest"]));
        assert_eq!(docker["Layers"][0], blob(&manifest["layers"][0]["digest"]));
        assert_eq!(docker["RepoTags"][0], reference("tool"));
        let config = json(&blob(&manifest["config"]["digest"]));
        assert_eq!(config["config"]["User"], "1:2");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
    }

    #[test]
    fn the_layer_holds_the_file_with_its_mode_and_nothing_of_this_machine() {
        let archive = archive(b"one");
        let outer = entries(&archive.bytes);
        let docker: Value = serde_json::from_slice(&outer["manifest.json"].0).unwrap();
        let layer = entries(&outer[docker[0]["Layers"][0].as_str().unwrap()].0);
        assert_eq!(layer.keys().collect::<Vec<_>>(), ["usr/", "usr/bin/", "usr/bin/tool"]);
        assert_eq!(layer["usr/bin/tool"], (b"one".to_vec(), 0o555, 0, 0));
    }
}
