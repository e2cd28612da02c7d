//! From a refused or failed change of the file system to the repair.

use std::io::ErrorKind;

use kit_fs::Error;

use crate::step::{Action, Step};

/// Too many symlinks (errno(3) of every Linux); std's own kind for it is not stable yet.
pub(crate) const ELOOP: i32 = 40;

/// Operation not permitted; std has one kind for it and EACCES.
const EPERM: i32 = 1;

/// The repair for what a step met, if one is known.
pub(crate) fn hint(error: &Error, step: &Step) -> Option<String> {
    let cause = match error {
        Error::Leaves { .. } | Error::LeavesBySymlink { .. } => {
            return Some("write paths below --root, or drop --root for this container".to_owned());
        }
        Error::NoName { .. } => return Some("name a file or a directory".to_owned()),
        Error::System { source, .. } => source,
    };
    let not_permitted = cause.raw_os_error() == Some(EPERM);
    let about_owner = matches!(error, Error::System { action, .. } if action.contains("owner"));
    let text = match cause.kind() {
        ErrorKind::PermissionDenied if not_permitted && (about_owner || step.make.owner.is_some()) => {
            return Some(owner(step));
        }
        ErrorKind::PermissionDenied => {
            "the volume does not let this user in: set fsGroup in the pod's securityContext, or runAsUser to the owner"
        }
        ErrorKind::ReadOnlyFilesystem => "mount a writable volume (emptyDir) here; the image itself is read-only",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "raise the volume's sizeLimit or free space; what was there before is intact"
        }
        ErrorKind::IsADirectory if matches!(step.action, Action::Copy { .. }) => {
            "name the file in the directory, e.g. /html/index.html; a directory is copied with --recursive"
        }
        ErrorKind::IsADirectory => "name the file in the directory, e.g. /html/index.html",
        ErrorKind::Other => "name a regular file: targets are replaced, never written through",
        ErrorKind::NotFound if step.make.no_mkdir => "leave out --no-mkdir to have the directories made",
        ErrorKind::NotFound => "check that the volume is mounted in this init container, and the spelling",
        ErrorKind::NotADirectory => "a file or a symlink stands where a directory is needed",
        ErrorKind::ResourceBusy => {
            "it is a mount point (a subPath mount of one file?), or several writers at a time; mount its directory instead"
        }
        _ if cause.raw_os_error() == Some(ELOOP) => "a symlink leads back to itself, or stands where none is followed",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Both ways to a directory with an owner, as the examples show them.
fn owner(step: &Step) -> String {
    let ids = step.make.owner.map_or_else(String::new, |owner| {
        let group = owner.gid.unwrap_or(owner.uid);
        format!(" (runAsUser: {}, runAsGroup: {group}, fsGroup: {group})", owner.uid)
    });
    format!(
        "only root with the capability CHOWN may give files away: run the pod as that user{ids} and drop --owner, \
         or run this container as root with capabilities add: [CHOWN], which the restricted profile forbids"
    )
}
