//! How fast a long file comes out, and how much memory that takes.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{SpliceFlags, splice};
use tempfile::TempDir;

use super::subjects::{OURS_COPYING, Subject};
use crate::bench::results::Results;

/// The size of the field's measurements.
const BIG: usize = 938_000_000;
const SMALL: usize = 1_000_000;
/// What log-tailer moves at once, and what a pipe holds.
const CHUNK: usize = 64 * 1024;
/// A program that writes nothing for so long will not write any more.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// A loop with nothing around it: the limit on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// `splice` of 64 KiB.
    Splice,
    /// `read` and `write` of 64 KiB.
    Copy,
}

/// [`Way::Splice`] in the table.
pub const BARE_SPLICE: &str = "bare splice loop";
/// [`Way::Copy`] in the table.
pub const BARE_COPY: &str = "bare read and write loop";

/// Megabytes per second of a file in the page cache through a pipe of 64 KiB. The bytes are compared once per program.
///
/// # Errors
/// When a program stops early or its output is not the file.
pub fn catch_up(subject: &Subject, data: &Data, results: &mut Results) -> anyhow::Result<()> {
    let big = data.big()?;
    let total = usize::try_from(fs::metadata(big)?.len())?;
    if results.samples("catch-up", subject.name).is_empty() {
        compare(&mut subject.follow(big), big)?;
    }
    results.add("catch-up", subject.name, Some(rate(&mut subject.follow(big), total)?));
    if subject.is_ours() {
        let copying = || {
            let mut command = Command::new(&subject.program);
            command.arg("--copy").args(&subject.arguments).arg(big);
            command
        };
        if results.samples("catch-up", OURS_COPYING).is_empty() {
            compare(&mut copying(), big)?;
        }
        results.add("catch-up", OURS_COPYING, Some(rate(&mut copying(), total)?));
    }
    Ok(())
}

/// The same by the two bare loops, in processes of their own as the others.
///
/// # Errors
/// When one stops early.
pub fn bare_loops(data: &Data, results: &mut Results) -> anyhow::Result<()> {
    let big = data.big()?;
    let total = usize::try_from(fs::metadata(big)?.len())?;
    for (name, argument) in [(BARE_SPLICE, "splice"), (BARE_COPY, "copy")] {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "bare", argument]).arg(big);
        results.add("catch-up", name, Some(rate(&mut command, total)?));
    }
    Ok(())
}

/// The bare loop itself.
///
/// # Errors
/// When the file cannot be read or stdout is no pipe.
pub fn bare(way: Way, file: &Path) -> anyhow::Result<()> {
    let mut file = File::open(file)?;
    let out = std::io::stdout();
    match way {
        Way::Splice => while splice(&file, None, &out, None, CHUNK, SpliceFlags::empty())? > 0 {},
        Way::Copy => {
            let mut buffer = vec![0; CHUNK];
            loop {
                let count = file.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                // Through the descriptor: `Stdout` has a buffer of its own.
                let mut rest = &buffer[..count];
                while !rest.is_empty() {
                    rest = &rest[rustix::io::write(&out, rest)?..];
                }
            }
        }
    }
    Ok(())
}

/// Peaks in KiB when a file of 938 MB, or of 1 MB, appears under the name that is followed.
///
/// # Errors
/// When the program stops early.
pub fn memory(subject: &Subject, data: &Data, results: &mut Results) -> anyhow::Result<()> {
    for (size, file) in [("938 MB", data.big()?), ("1 MB", data.small()?)] {
        let folder = tempfile::Builder::new().prefix("podkit-bench").tempdir_in(data.folder.path())?;
        let path = folder.path().join("app.log");
        let mut reader = Reader::start(&mut subject.follow(&path))?;
        let id = reader.child.id();
        // Before it looks for the file, the file would be its first one: another path in uutils.
        std::thread::sleep(Duration::from_millis(300));
        fs::hard_link(file, &path)?;
        let (mut anonymous, mut looked) = (0, Instant::now());
        reader.take(usize::try_from(fs::metadata(file)?.len())?, |_| {
            if looked.elapsed() > Duration::from_millis(2) {
                looked = Instant::now();
                anonymous = anonymous.max(status(id, "RssAnon").unwrap_or(0));
            }
            Ok(())
        })?;
        anonymous = anonymous.max(status(id, "RssAnon").context("RssAnon")?);
        let peak = status(id, "VmHWM").context("VmHWM")?;
        results.add(&format!("memory {size}, anonymous"), subject.name, Some(anonymous as f64));
        results.add(&format!("memory {size}, VmHWM"), subject.name, Some(peak as f64));
    }
    Ok(())
}

/// A number from `/proc/<id>/status`, in its unit there.
fn status(id: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Megabytes per second from the start of the program to its last byte.
fn rate(command: &mut Command, total: usize) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut reader = Reader::start(command)?;
    reader.take(total, |_| Ok(()))?;
    Ok(total as f64 / 1e6 / start.elapsed().as_secs_f64())
}

/// Whether the output is the file, byte by byte.
fn compare(command: &mut Command, file: &Path) -> anyhow::Result<()> {
    let total = usize::try_from(fs::metadata(file)?.len())?;
    let (mut expected, mut buffer) = (File::open(file)?, vec![0; 1 << 20]);
    let mut at = 0;
    Reader::start(command)?.take(total, |bytes| {
        let expected_bytes = &mut buffer[..bytes.len()];
        expected.read_exact(expected_bytes)?;
        ensure!(expected_bytes == bytes, "the output differs from the file near byte {at}");
        at += bytes.len();
        Ok(())
    })
}

/// A program whose output is read in pieces of up to 1 MiB and not kept.
struct Reader {
    child: Child,
    stdout: ChildStdout,
}

impl Reader {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("a piped stdout")?;
        Ok(Self { child, stdout })
    }

    fn take(&mut self, total: usize, mut each: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let (mut buffer, mut taken) = (vec![0; 1 << 20], 0);
        while taken < total {
            let mut ready = [PollFd::new(&self.stdout, PollFlags::IN)];
            if poll(&mut ready, Some(&PATIENCE))? == 0 {
                bail!("nothing came for {} s after {taken} of {total} bytes", PATIENCE.tv_sec);
            }
            let count = self.stdout.read(&mut buffer)?;
            ensure!(count > 0, "stdout ended after {taken} of {total} bytes");
            each(&buffer[..count])?;
            taken += count;
        }
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The files that are read, gone at the end. They are made when they are first needed.
#[derive(Debug)]
pub struct Data {
    folder: TempDir,
    big: OnceCell<PathBuf>,
    small: OnceCell<PathBuf>,
}

impl Data {
    /// Nothing yet.
    ///
    /// # Errors
    /// When no temporary folder can be made.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("podkit-bench").tempdir()?;
        Ok(Self { folder, big: OnceCell::new(), small: OnceCell::new() })
    }

    fn big(&self) -> anyhow::Result<&Path> {
        self.file(&self.big, "big", BIG)
    }

    fn small(&self) -> anyhow::Result<&Path> {
        self.file(&self.small, "small", SMALL)
    }

    fn file<'a>(&self, cell: &'a OnceCell<PathBuf>, name: &str, size: usize) -> anyhow::Result<&'a Path> {
        if cell.get().is_none() {
            let path = self.folder.path().join(name);
            let mut file = BufWriter::new(File::create(&path)?);
            let mut written = 0;
            while written < size {
                let number = written;
                let line = format!(
                    "10.244.0.{} - - [21/Nov/2026:12:00:00 +0000] \"GET /item/{number:010} HTTP/1.1\" 200 {} \"-\" \"curl\"\n",
                    number % 251,
                    number % 50_021,
                );
                file.write_all(line.as_bytes())?;
                written += line.len();
            }
            file.into_inner()?.sync_all()?;
            let _ = cell.set(path);
        }
        cell.get().map(PathBuf::as_path).context("the file was just made")
    }
}
