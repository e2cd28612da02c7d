//! Files below a folder, by the path of a request.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kit_fs::Root;

/// What a path of a request leads to.
#[derive(Debug)]
pub(crate) enum Page {
    /// A regular file.
    File { file: File, length: u64, modified: SystemTime, content_type: &'static str },
    /// A folder without a slash at the end of the path: its pages' relative links would miss it.
    Moved(String),
    /// Nothing that is served: not there, not readable, not a regular file, or outside of the folder.
    Missing,
}

/// The file at `path` (as it stands in a request line, percent-encoded) below `root`.
///
/// Symlinks are followed as long as they stay below `root`: a ConfigMap's files are symlinks. `root` itself may be one
/// that is swapped at any time; each request looks anew.
pub(crate) fn find(root: &Path, path: &str) -> Page {
    let Some(relative) = relative(path) else { return Page::Missing };
    let Ok(root) = Root::open(root) else { return Page::Missing };
    let found = match opened(&root, &relative) {
        Some((_, metadata)) if metadata.is_dir() && !path.ends_with('/') => {
            // One leading slash: with two, a browser would take the first name for a host.
            return Page::Moved(format!("/{}/", path.trim_start_matches('/')));
        }
        Some((_, metadata)) if metadata.is_dir() => {
            let index = relative.join("index.html");
            opened(&root, &index).map(|(file, metadata)| (index, file, metadata))
        }
        Some((file, metadata)) if !path.ends_with('/') => Some((relative, file, metadata)),
        _ => None,
    };
    match found {
        Some((path, file, metadata)) if metadata.is_file() => Page::File {
            file,
            length: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            content_type: content_type(&path),
        },
        _ => Page::Missing,
    }
}

fn opened(root: &Root, path: &Path) -> Option<(File, Metadata)> {
    let file = root.file(path).ok()?;
    let metadata = file.metadata().ok()?;
    Some((file, metadata))
}

/// The path with its percent signs decoded and no leading slash, or nothing when it names no place below a root.
fn relative(path: &str) -> Option<PathBuf> {
    let decoded = String::from_utf8(percent_decoded(path)?).ok()?;
    let relative = decoded.trim_start_matches('/');
    let leaves = relative.split('/').any(|part| part == "..") || relative.contains('\0');
    (!leaves).then(|| Path::new(".").join(relative))
}

fn percent_decoded(path: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        // `from_str_radix` would take a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(decoded)
}

/// The type of a file by its name; browsers must not guess.
fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "txt" | "log" | "md" | "conf" | "yaml" | "yml" => "text/plain; charset=utf-8",
        "json" => "application/json",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn served(root: &Path, path: &str) -> Option<String> {
        match find(root, path) {
            Page::File { file, .. } => Some(std::io::read_to_string(file).unwrap()),
            _ => None,
        }
    }

    #[test]
    fn no_path_leaves_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::create_dir(dir.path().join("root-beside")).unwrap();
        fs::write(dir.path().join("root-beside/secret"), "secret").unwrap();
        symlink(dir.path().join("secret"), root.join("absolute")).unwrap();
        symlink("../secret", root.join("relative")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink(dir.path().join("secret"), root.join("sub/index.html")).unwrap();
        for path in [
            "/../secret",
            "/sub/../../secret",
            "/%2e%2e/secret",
            "/..%2fsecret",
            "/sub/%2e%2e/%2e%2e/secret",
            "//../secret",
            "/absolute",
            "/relative",
            "/up/secret",
            "/up/root-beside/secret",
            "/sub/",
            "/%00",
            "/secret%",
            "/%+1",
        ] {
            assert!(served(&root, path).is_none(), "{path}");
        }
        assert!(served(&root, &format!("/{}", dir.path().join("secret").display())).is_none());
    }

    #[test]
    fn symlinks_below_the_root_are_followed_as_a_config_map_needs() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("..2026_11_21")).unwrap();
        fs::write(dir.path().join("..2026_11_21/index.html"), "hello").unwrap();
        symlink("..2026_11_21", dir.path().join("..data")).unwrap();
        symlink("..data/index.html", dir.path().join("index.html")).unwrap();
        assert_eq!(served(dir.path(), "/").as_deref(), Some("hello"));
        assert_eq!(served(dir.path(), "/index%2Ehtml").as_deref(), Some("hello"));
        assert_eq!(served(dir.path(), "/index.html/"), None);
    }

    #[test]
    fn a_pipe_is_not_served_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert!(matches!(find(dir.path(), "/pipe"), Page::Missing));
    }

    #[test]
    fn a_folder_without_its_slash_is_redirected() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("docs")).unwrap();
        assert!(matches!(find(dir.path(), "/docs"), Page::Moved(to) if to == "/docs/"));
        assert!(matches!(find(dir.path(), "//docs"), Page::Moved(to) if to == "/docs/"));
        assert!(matches!(find(dir.path(), "/docs/"), Page::Missing));
    }
}
