//! The images: stage, row, crate, binary and archive of each one agree, and engines and builders see the same image.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use xtask::image::{Arch, archive, elf, rows, rows::Row, stages, stages::Stage};

use crate::engines;
use crate::workspace::root;

/// Every image with its row and its stage.
fn images() -> Vec<(Row, Stage)> {
    let (rows, stages) = (rows::read(&root()).unwrap(), stages::read(&root()).unwrap());
    let names = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>();
    let in_rows = names(rows.iter().map(|row| &row.tool).collect());
    let in_stages = names(stages.iter().map(|stage| &stage.name).collect());
    assert_eq!(in_rows, in_stages, "docker/images.toml and docker/Dockerfile list the same images in the same order");
    assert!(!rows.is_empty(), "there are no images");
    rows.into_iter().zip(stages).collect()
}

/// The archives that were built, each with its binary. Those of amd64 must be there.
fn built() -> Vec<(Row, Stage, Arch, Built)> {
    let mut found = Vec::new();
    for (row, stage) in images() {
        for arch in Arch::ALL {
            match Built::read(&row.tool, arch) {
                Some(built) => found.push((row.clone(), stage.clone(), arch, built)),
                None if arch == Arch::Amd64 => panic!("{} was not built: cargo xtask test", row.tool),
                None => eprintln!("skipped: {} was not built for {}", row.tool, arch.name()),
            }
        }
    }
    found
}

/// What `cargo xtask image` left.
struct Built {
    archive: Vec<u8>,
    binary: Vec<u8>,
}

impl Built {
    fn read(tool: &str, arch: Arch) -> Option<Self> {
        let archive = std::fs::read(engines::archive(tool, arch)).ok()?;
        Some(Self { archive, binary: std::fs::read(engines::binary(tool, arch)).unwrap() })
    }

    /// The config that the archive's `manifest.json` names.
    fn config(&self) -> Value {
        let entries = entries(&self.archive);
        let manifest: Value = serde_json::from_slice(&entries["manifest.json"].bytes).unwrap();
        serde_json::from_slice(&entries[manifest[0]["Config"].as_str().unwrap()].bytes).unwrap()
    }

    fn layer(&self) -> BTreeMap<String, Entry> {
        let entries = entries(&self.archive);
        let manifest: Value = serde_json::from_slice(&entries["manifest.json"].bytes).unwrap();
        let layers = manifest[0]["Layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1);
        files(&entries[layers[0].as_str().unwrap()].bytes)
    }
}

/// One entry of a tar.
#[derive(Debug, PartialEq)]
struct Entry {
    bytes: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
    time: u64,
}

fn entries(tar: &[u8]) -> BTreeMap<String, Entry> {
    let mut archive = tar::Archive::new(tar);
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        let path = entry.path().unwrap().to_string_lossy().trim_start_matches("./").to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        found
            .insert(path, Entry { bytes, mode: header.mode().unwrap() & 0o7777, owner, time: header.mtime().unwrap() });
    }
    found
}

/// The entries that are no folders.
fn files(tar: &[u8]) -> BTreeMap<String, Entry> {
    entries(tar).into_iter().filter(|(path, _)| !path.is_empty() && !path.ends_with('/')).collect()
}

#[test]
fn every_tool_is_a_crate_a_row_and_a_stage_of_one_name() {
    let members = crate::workspace::descriptions();
    let images = images();
    for (row, stage) in &images {
        let tool = &row.tool;
        let description = members.get(tool).unwrap_or_else(|| panic!("docker/images.toml: there is no crate {tool}"));
        assert_eq!(row.summary, *description, "docker/images.toml says of {tool} what its Cargo.toml says");
        assert!(row.archive <= 8_000_000, "{tool}: a budget of {} bytes is none", row.archive);
        assert_eq!(stage.user, "65532:65532", "{tool}");
        assert_eq!(stage.entrypoint, [format!("/{tool}")], "{tool}");
        let file = stages::Copy { source: format!("/{tool}"), dest: format!("/{tool}"), mode: 0o555 };
        assert_eq!(stage.copies, [file], "{tool}");
    }
    let not_shipped = |name: &str| name.starts_with("kit-") || name == "xtask" || name == "podkit-tests";
    for tool in members.keys().filter(|name| !not_shipped(name)) {
        assert!(images.iter().any(|(row, _)| row.tool == *tool), "docker/images.toml has no row for {tool}");
    }
}

#[test]
fn every_binary_is_static_hardened_stripped_and_inside_its_budget() {
    for (row, _, arch, built) in built() {
        let place = format!("{} for {}", row.tool, arch.name());
        elf::check(&built.binary, arch).unwrap_or_else(|error| panic!("{place}: {error:#}"));
        assert!(built.binary.len() as u64 <= row.binary, "{place}: {} bytes", built.binary.len());
        assert!(built.archive.len() as u64 <= row.archive, "{place}: {} bytes", built.archive.len());
    }
}

#[test]
fn no_binary_tells_where_it_was_built() {
    for (row, _, arch, built) in built() {
        let folder = root().into_os_string().into_encoded_bytes();
        let found = built.binary.windows(folder.len()).any(|window| window == folder);
        assert!(!found, "{} for {} holds the path of this workspace", row.tool, arch.name());
    }
}

#[test]
fn an_archive_assembled_again_from_its_binary_is_the_same_byte_for_byte() {
    for (row, stage, arch, built) in built() {
        let config = built.config();
        let revision = config["config"]["Labels"]["org.opencontainers.image.revision"].as_str().unwrap();
        let again = archive::assemble(&stage, &row, arch, revision, |_| Ok(built.binary.clone())).unwrap();
        assert_eq!(archive::digest(&again.bytes), archive::digest(&built.archive), "{} {}", row.tool, arch.name());
    }
}

#[test]
fn an_image_holds_its_binary_alone_and_says_what_it_is() {
    for (row, _, arch, built) in built() {
        let entry = Entry { bytes: built.binary.clone(), mode: 0o555, owner: (0, 0), time: 0 };
        assert!(built.layer() == BTreeMap::from([(row.tool.clone(), entry)]), "{}: the layer differs", row.tool);
        let config = built.config();
        assert_eq!(config["architecture"], arch.name());
        let labels = &config["config"]["Labels"];
        let label = |name: &str| labels[format!("org.opencontainers.image.{name}")].as_str().unwrap();
        assert_eq!(label("title"), row.tool);
        assert_eq!(label("description"), row.summary);
        assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(label("licenses"), "Apache-2.0 OR MIT");
        assert!(!label("revision").is_empty());
    }
}

#[test]
fn buildah_makes_the_same_image_of_the_same_dockerfile() {
    let Some(()) = engines::program("buildah") else { return };
    let work = tempfile::tempdir().unwrap();
    for (row, _) in images() {
        let built = Built::read(&row.tool, Arch::Amd64).unwrap();
        let theirs = work.path().join(&row.tool);
        build_with_buildah(&row, work.path(), &theirs);
        let blob =
            |digest: &Value| std::fs::read(theirs.join(digest.as_str().unwrap().replace("sha256:", ""))).unwrap();
        let json = |bytes: Vec<u8>| -> Value { serde_json::from_slice(&bytes).unwrap() };
        let manifest = json(std::fs::read(theirs.join("manifest.json")).unwrap());
        let (config, ours) = (json(blob(&manifest["config"]["digest"])), built.config());
        for field in ["User", "Entrypoint", "Cmd", "WorkingDir", "Volumes", "ExposedPorts", "StopSignal"] {
            assert_eq!(config["config"][field], ours["config"][field], "{}: {field}", row.tool);
        }
        for field in ["architecture", "os", "created"] {
            assert_eq!(config[field], ours[field], "{}: {field}", row.tool);
        }
        let mut rootfs = BTreeMap::new();
        for layer in manifest["layers"].as_array().unwrap() {
            rootfs.extend(files(&blob(&layer["digest"])));
        }
        assert!(rootfs == built.layer(), "{}: the files differ: {:?}", row.tool, rootfs.keys());
    }
}

/// The image as plain files in `output`, its layers not compressed, from the Dockerfile and the binaries that were built.
fn build_with_buildah(row: &Row, work: &Path, output: &Path) {
    let buildah = || {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(work.join("storage")).arg("--runroot").arg(work.join("run"));
        command.args(["--storage-driver", "vfs"]);
        command
    };
    let binaries = engines::binary(&row.tool, Arch::Amd64);
    let context = format!("bin={}", binaries.parent().unwrap().display());
    let name = format!("localhost/{}", row.tool);
    let mut build = buildah();
    build.args(["bud", "--quiet", "--timestamp", "0", "--isolation", "chroot", "--arch", "amd64"]);
    build.args(["--build-context", &context, "--target", &row.tool, "--tag", &name, "--file"]);
    engines::succeed(build.arg(root().join("docker/Dockerfile")).arg(root().join("docker")));
    let mut push = buildah();
    push.args(["push", "--quiet", "--disable-compression", &name]);
    engines::succeed(push.arg(format!("dir:{}", output.display())));
}

#[test]
fn arm64_binaries_start_and_know_their_version_and_their_exit_codes() {
    let Some(()) = engines::program("qemu-aarch64-static") else { return };
    for (row, _, arch, _) in built() {
        let binary = engines::binary(&row.tool, arch);
        let run = |argument: &str| match arch {
            Arch::Amd64 => Command::new(&binary).arg(argument).env_clear().output().unwrap(),
            Arch::Arm64 => Command::new("qemu-aarch64-static").arg(&binary).arg(argument).env_clear().output().unwrap(),
        };
        let place = format!("{} for {}", row.tool, arch.name());
        let version = run("--version");
        let expected = format!("{} {}\n", row.tool, env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8_lossy(&version.stdout), expected, "{place}");
        assert_eq!(version.status.code(), Some(0), "{place}");
        let help = run("--help");
        assert_eq!(help.status.code(), Some(0), "{place}");
        assert!(String::from_utf8_lossy(&help.stdout).contains("--log-level"), "{place}");
        let wrong = run("--no-such-flag");
        assert_eq!(wrong.status.code(), Some(2), "{place}");
        assert!(String::from_utf8_lossy(&wrong.stderr).starts_with("error: "), "{place}");
    }
}

#[test]
fn podman_loads_every_archive_under_its_name() {
    let Some(()) = engines::program("podman") else { return };
    let work = tempfile::tempdir().unwrap();
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.arg("--root").arg(work.path().join("storage")).arg("--runroot").arg(work.path().join("run"));
        command.args(["--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]);
        engines::succeed(command.args(arguments))
    };
    for (row, ..) in images() {
        let archive: PathBuf = engines::archive(&row.tool, Arch::Amd64);
        let reference = archive::reference(&row.tool);
        let loaded = podman(&["load", "--input", archive.to_str().unwrap()]);
        assert!(loaded.contains(&format!("docker.io/{reference}")), "{loaded}");
        let user = podman(&["image", "inspect", "--format", "{{.User}}", &reference]);
        assert_eq!(user.trim(), "65532:65532");
    }
}
