//! A volume as kubelet's AtomicWriter fills it: what a mounted ConfigMap or Secret looks like, and how it changes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// When the links of new keys appear. Kubelet changed the order (`pkg/volume/util/atomic_writer.go`), and nodes of
/// both kinds are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkOrder {
    /// Newer kubelets: `..data` is swapped first, so a reader woken by the swap may not see a new key yet.
    AfterSwap,
    /// Older kubelets: the links of new keys dangle until `..data` is swapped.
    BeforeSwap,
}

/// A mounted ConfigMap, Secret or projected volume.
///
/// ```text
/// root/app.conf -> ..data/app.conf
/// root/..data   -> ..2026_01_01_00_00_07.7      <- replaced by one rename
/// root/..2026_01_01_00_00_07.7/app.conf
/// ```
#[derive(Debug)]
pub struct Mount {
    root: PathBuf,
    order: LinkOrder,
    generation: u32,
}

impl Mount {
    /// Fills the existing folder `root` for the first time. A key may hold slashes, as `items.path` allows.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn new(root: &Path, order: LinkOrder, files: &[(&str, &[u8])]) -> Self {
        let mut mount = Self { root: root.to_owned(), order, generation: 0 };
        mount.publish(files);
        mount
    }

    /// The folder that a container mounts.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of one key as an app opens it.
    #[must_use]
    pub fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// Replaces the whole content, as an update of the object does some seconds later.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn publish(&mut self, files: &[(&str, &[u8])]) {
        self.publish_with_pause(files, || ());
    }

    /// As [`Mount::publish`], and calls `between` between the swap of `..data` and the links of new keys, whichever
    /// comes first.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn publish_with_pause(&mut self, files: &[(&str, &[u8])], between: impl FnOnce()) {
        let wanted: BTreeMap<&str, &[u8]> = files.iter().copied().collect();
        // Kubelet writes nothing when nothing changed, but still creates links that are missing (issue 121472).
        if self.current() == Some(wanted.iter().map(|(key, bytes)| ((*key).to_owned(), bytes.to_vec())).collect()) {
            self.link_new_keys(&wanted);
            return;
        }
        let old = fs::read_link(self.root.join("..data")).ok();
        let folder = self.write_generation(&wanted);
        match self.order {
            LinkOrder::AfterSwap => {
                self.swap(&folder);
                between();
                self.link_new_keys(&wanted);
            }
            LinkOrder::BeforeSwap => {
                self.link_new_keys(&wanted);
                between();
                self.swap(&folder);
            }
        }
        self.unlink_old_keys(&wanted);
        if let Some(old) = old {
            fs::remove_dir_all(self.root.join(old)).unwrap();
        }
    }

    /// The keys and contents that are visible now, if any were ever published.
    fn current(&self) -> Option<BTreeMap<String, Vec<u8>>> {
        let data = fs::canonicalize(self.root.join("..data")).ok()?;
        let mut found = BTreeMap::new();
        let mut folders = vec![data.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path.strip_prefix(&data).unwrap().to_str().unwrap().to_owned();
                    found.insert(key, fs::read(path).unwrap());
                }
            }
        }
        Some(found)
    }

    /// Kubelet names the folder after the time and a random number; only the two leading dots matter to readers.
    fn write_generation(&mut self, wanted: &BTreeMap<&str, &[u8]>) -> String {
        self.generation += 1;
        let name = format!("..2026_01_01_00_00_{:02}.{}", self.generation % 60, self.generation);
        let folder = self.root.join(&name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        for (key, bytes) in wanted {
            let path = folder.join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        name
    }

    fn swap(&self, folder: &str) {
        let fresh = self.root.join("..data_tmp");
        symlink(folder, &fresh).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the very rename that kubelet does; nothing is synced there")]
        fs::rename(fresh, self.root.join("..data")).unwrap();
    }

    /// Only the first element of a key's path is a link: `user/labels` is reached through `user -> ..data/user`.
    fn link_new_keys(&self, wanted: &BTreeMap<&str, &[u8]>) {
        for first in wanted.keys().map(|key| first_element(key)) {
            let link = self.root.join(first);
            if link.symlink_metadata().is_err() {
                symlink(Path::new("..data").join(first), link).unwrap();
            }
        }
    }

    fn unlink_old_keys(&self, wanted: &BTreeMap<&str, &[u8]>) {
        for entry in fs::read_dir(&self.root).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.starts_with("..") && !wanted.keys().any(|key| first_element(key) == name) {
                fs::remove_file(self.root.join(name)).unwrap();
            }
        }
    }
}

fn first_element(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}
