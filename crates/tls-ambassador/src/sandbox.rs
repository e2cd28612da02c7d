//! What a door takes away from itself before it opens: files that are not its own (landlock) and system calls that it
//! never makes (seccomp).
//!
//! Promised, on a kernel that has both: after the start no thread that handles a byte from outside can read a file
//! besides the folders of its certificates and keys, write any, start a program, load a module, mount, or trace.
//! Privileges cannot be gained (`no_new_privs`). Where a part is missing, one line says so and the door opens all the same.
//!
//! Not promised: anything about the network; a door has to connect.
//!
//! Folders and not files are named to landlock, because kubelet swaps files: what a swapped symlink leads to lies below
//! the same mount. A certificate whose symlink later leads to a folder that it did not lead to at the start is not
//! read any more; the last good one stays.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::listen::Listen;

/// What name resolution reads; musl the first two, glibc all.
const RESOLVER: [&str; 5] = ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];

/// The newest rights that are taken away where the kernel knows them.
const RIGHTS: ABI = ABI::V5;

/// What a door needs of the file system once it runs.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Files and folders that are read again and again.
    pub read: Vec<PathBuf>,
    /// Files that are written at the end.
    pub write: Vec<PathBuf>,
    /// Folders in which sockets are made and removed.
    pub sockets: Vec<PathBuf>,
}

impl Needs {
    /// The needs of a door with these listeners that reads `files`; `termination_log` is written when it fails.
    #[must_use]
    pub fn new<'a>(
        listens: impl IntoIterator<Item = &'a Listen>,
        files: Vec<PathBuf>,
        termination_log: PathBuf,
    ) -> Self {
        let socket = |listen: &Listen| match listen {
            Listen::Unix { path, .. } => Some(folder_of(path)),
            Listen::Tcp(_) => None,
        };
        Self { read: files, write: vec![termination_log], sockets: listens.into_iter().filter_map(socket).collect() }
    }

    /// Every folder or file below which reading has to work.
    fn readable(&self) -> BTreeSet<PathBuf> {
        let mut all: BTreeSet<PathBuf> = self.read.iter().flat_map(|path| leading_to(path)).collect();
        all.extend(RESOLVER.iter().map(PathBuf::from));
        all
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// The folder that holds `path`, the one that it resolves to, and for a folder what its entries resolve to.
fn leading_to(path: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder_of(path)];
    let real_folder =
        |path: &Path| path.canonicalize().ok().map(|real| if real.is_dir() { real } else { folder_of(&real) });
    folders.extend(real_folder(path));
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    folders.extend(entries.filter_map(|entry| real_folder(&entry.path())));
    folders
}

/// Shuts the process in, for good. Threads that are started later inherit it; of those that run already only the one
/// that waits for signals is there, and seccomp reaches it too.
pub fn enter(needs: &Needs) {
    match restrict_files(needs) {
        Ok(RulesetStatus::NotEnforced) => tracing::warn!("no landlock in this kernel: files are not restricted"),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "landlock cannot be used: files are not restricted"),
    }
    if let Err(error) = filter().and_then(|program| seccompiler::apply_filter_all_threads(&program)) {
        tracing::warn!(%error, "seccomp cannot be used: system calls are not restricted");
    }
}

fn restrict_files(needs: &Needs) -> Result<RulesetStatus, RulesetError> {
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(RIGHTS))?
        .create()?
        .add_rules(path_beneath_rules(needs.readable(), read))?
        .add_rules(path_beneath_rules(&needs.write, AccessFs::WriteFile | AccessFs::Truncate))?
        .add_rules(path_beneath_rules(&needs.sockets, AccessFs::MakeSock | AccessFs::RemoveFile))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// All other calls fail with EPERM. Without conditions on arguments the kernel remembers the answer for each number,
/// so that the calls of a request cost nothing more.
fn filter() -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> =
        CALLS.iter().chain(OLD_CALLS).map(|call| (*call, Vec::new())).collect();
    let family = |family: i32| {
        let value = u64::try_from(family).unwrap_or(u64::MAX);
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
        SeccompRule::new(vec![condition])
    };
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(family);
    let families = families.into_iter().collect::<Result<Vec<_>, seccompiler::BackendError>>()?;
    rules.insert(libc::SYS_socket, families);
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, architecture)?;
    Ok(filter.try_into()?)
}

/// What the tool, its runtime and the C library call on every architecture.
#[rustfmt::skip]
const CALLS: &[libc::c_long] = &[
    // Sockets and files that are open.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_close, libc::SYS_lseek,
    libc::SYS_recvfrom, libc::SYS_sendto, libc::SYS_recvmsg, libc::SYS_sendmsg, libc::SYS_recvmmsg, libc::SYS_sendmmsg,
    libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4, libc::SYS_connect, libc::SYS_shutdown, libc::SYS_socketpair,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_setsockopt, libc::SYS_getsockopt,
    libc::SYS_fcntl, libc::SYS_ioctl, libc::SYS_fstat, libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2,
    // Waiting.
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_ppoll,
    libc::SYS_pselect6, libc::SYS_eventfd2, libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_futex,
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_restart_syscall,
    // Files by name, within what landlock leaves.
    libc::SYS_openat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_faccessat, libc::SYS_faccessat2,
    libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_unlinkat, libc::SYS_fchmod, libc::SYS_fchmodat,
    libc::SYS_getcwd, libc::SYS_ftruncate,
    libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    // Memory.
    libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise,
    libc::SYS_membarrier,
    // Threads, signals and the end.
    libc::SYS_clone, libc::SYS_clone3, libc::SYS_set_robust_list, libc::SYS_set_tid_address, libc::SYS_rseq,
    libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_gettid, libc::SYS_getpid, libc::SYS_getppid,
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_prctl, libc::SYS_prlimit64,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack, libc::SYS_tkill,
    libc::SYS_tgkill, libc::SYS_exit, libc::SYS_exit_group,
    // Keys and identity.
    libc::SYS_getrandom, libc::SYS_uname, libc::SYS_sysinfo,
];

/// Forms that only older architectures have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLD_CALLS: &[libc::c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_unlink,
    libc::SYS_chmod, libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait, libc::SYS_epoll_create,
    libc::SYS_eventfd, libc::SYS_pipe, libc::SYS_dup2, libc::SYS_accept, libc::SYS_inotify_init, libc::SYS_arch_prctl,
    libc::SYS_getdents, libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[libc::c_long] = &[];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_filter_compiles_for_this_architecture_and_starts_no_program() {
        assert!(!filter().unwrap().is_empty());
        for call in [libc::SYS_execve, libc::SYS_execveat, libc::SYS_ptrace, libc::SYS_mount, libc::SYS_io_uring_setup]
        {
            assert!(!CALLS.contains(&call) && !OLD_CALLS.contains(&call), "{call}");
        }
    }

    #[test]
    fn a_swapped_link_and_what_it_leads_to_are_readable() {
        let folder = tempfile::tempdir().unwrap();
        let (mount, other) = (folder.path().join("certs"), folder.path().join("other"));
        std::fs::create_dir_all(mount.join("..1")).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(mount.join("..1/tls.crt"), "x").unwrap();
        std::fs::write(other.join("tls.key"), "x").unwrap();
        std::os::unix::fs::symlink("..1", mount.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/tls.crt", mount.join("tls.crt")).unwrap();
        std::os::unix::fs::symlink(other.join("tls.key"), mount.join("tls.key")).unwrap();
        let needs = Needs { read: vec![mount.join("tls.crt"), mount.join("tls.key")], ..Needs::default() };
        let readable = needs.readable();
        assert!(readable.contains(&mount) && readable.contains(&other), "{readable:?}");
        assert!(!readable.contains(folder.path()));
    }
}
