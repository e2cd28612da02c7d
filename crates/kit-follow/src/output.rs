//! Standard output that never blocks the loop and whose flags are never changed, since others may share it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How bytes can be offered without blocking.
#[derive(Debug)]
enum Way {
    /// A pipe that takes RWF_NOWAIT (Linux 6.4).
    Pipe,
    /// A pipe through the private one, from which a splice may fail instead of wait.
    SplicedPipe,
    /// `send` has a flag for it.
    Socket,
    /// A terminal opened once more: the new descriptor has flags of its own.
    Terminal(OwnedFd),
    /// Regular files never wait for a reader; what else there is gets plain writes.
    Plain,
}

#[derive(Debug)]
struct PrivatePipe {
    read: OwnedFd,
    write: OwnedFd,
    /// Bytes inside, which come before everything else.
    held: usize,
}

/// An output descriptor, usually a duplicate of stdout.
#[derive(Debug)]
pub struct Output {
    way: Way,
    /// Before a pipe: made at the start, so that descriptors cannot run out under way.
    private: Option<PrivatePipe>,
    /// Registered with the runtime where it can be waited for.
    waited: Option<AsyncFd<OwnedFd>>,
    plain: Option<OwnedFd>,
    is_pipe: bool,
    written: u64,
    /// Something was taken since the last wait that was in vain.
    flows: bool,
}

/// How long a pipe that flows is waited for in place: its reader has usually just woken up. Going through the runtime costs more
/// than the 64 KiB that a pipe holds. One wait in vain, and the loop watches over everything again until bytes flow.
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

const MOVE: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// The most that is handed to the kernel at once; also the size of a usual pipe.
pub const WINDOW: usize = 64 * 1024;

impl Output {
    /// Wraps a descriptor. Needs a runtime.
    ///
    /// # Errors
    /// When the descriptor is closed, or cannot be registered with the runtime.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&descriptor)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let terminal = kind == FileType::CharacterDevice && rustix::termios::isatty(&descriptor);
        let way = match kind {
            FileType::Fifo => Way::Pipe,
            FileType::Socket => Way::Socket,
            _ if terminal => Self::reopened(&descriptor).map_or(Way::Plain, Way::Terminal),
            _ => Way::Plain,
        };
        let is_pipe = kind == FileType::Fifo;
        if matches!(way, Way::Plain) {
            return Ok(Self {
                way,
                private: None,
                waited: None,
                plain: Some(descriptor),
                is_pipe,
                written: 0,
                flows: true,
            });
        }
        let private = is_pipe.then(|| PrivatePipe::new(descriptor.as_fd())).transpose()?;
        let waited = Some(registered(descriptor, Interest::WRITABLE | Interest::ERROR)?);
        Ok(Self { way, private, waited, plain: None, is_pipe, written: 0, flows: true })
    }

    fn reopened(descriptor: impl AsFd) -> Option<OwnedFd> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).ok()
    }

    fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        let waited = self.waited.as_ref().map(|waited| waited.get_ref().as_fd());
        waited.or(self.plain.as_ref().map(OwnedFd::as_fd)).ok_or_else(|| Errno::BADF.into())
    }

    /// Whether [`Self::splice`] works: the output is a pipe.
    #[must_use]
    pub fn is_pipe(&self) -> bool {
        self.is_pipe
    }

    /// Bytes that the output has accepted so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Asks for a pipe of that many bytes; the kernel rounds up, and refuses more than `/proc/sys/fs/pipe-max-size`.
    ///
    /// # Errors
    /// When the output is no pipe or the kernel refuses.
    pub fn resize_pipe(&self, bytes: usize) -> io::Result<usize> {
        let size = rustix::pipe::fcntl_setpipe_size(self.descriptor()?, bytes)?;
        self.private.iter().for_each(|private| private.resize(size));
        Ok(size)
    }

    /// Writes some of the bytes; `WouldBlock` when the reader must read first.
    ///
    /// # Errors
    /// `BrokenPipe` when the reader is gone; whatever else the kernel says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.write_now(bytes);
        if self.is_worth_a_moment(&written)? {
            return self.write_now(bytes);
        }
        written
    }

    /// Whether a pipe that refused can be tried once more, because it took something within a moment.
    fn is_worth_a_moment(&mut self, tried: &io::Result<usize>) -> io::Result<bool> {
        match tried {
            Ok(_) => self.flows = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.is_pipe && self.flows => {
                let mut asked = [PollFd::from_borrowed_fd(self.descriptor()?, PollFlags::OUT)];
                self.flows = match poll(&mut asked, Some(&MOMENT)) {
                    Ok(ready) => ready > 0,
                    Err(Errno::INTR) => false,
                    Err(error) => return Err(error.into()),
                };
                return Ok(self.flows);
            }
            Err(_) => {}
        }
        Ok(false)
    }

    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if !self.flush()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = match &mut self.way {
            Way::Pipe => {
                let target = self.descriptor()?;
                match rustix::io::pwritev2(target, &[IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT) {
                    Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE | Errno::PERM) => {
                        self.way = Way::SplicedPipe;
                        return self.write_now(bytes);
                    }
                    other => other?,
                }
            }
            Way::SplicedPipe => {
                let private = self.private.as_mut().ok_or(Errno::BADF)?;
                private.held = rustix::io::write(&private.write, bytes)?;
                let written = private.held;
                self.flush()?;
                written
            }
            Way::Socket => rustix::net::send(self.descriptor()?, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?,
            Way::Terminal(own) => rustix::io::write(&*own, bytes)?,
            Way::Plain => rustix::io::write(self.descriptor()?, bytes)?,
        };
        self.written += written as u64;
        Ok(written)
    }

    /// Moves bytes of a file to the pipe; `WouldBlock` when the reader must read first, 0 at the file's end.
    ///
    /// They wait in a private pipe while `holds` is asked whether the file still holds what is meant: a file can be truncated
    /// and written anew while its bytes are moved. Where it does not, they go nowhere and 0 is returned. What stays in the
    /// private pipe counts as written: [`Self::flush`] tells when it is out.
    ///
    /// # Errors
    /// As [`Self::write`], and whatever `holds` says.
    pub fn splice(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        bytes: u64,
        holds: &dyn Fn() -> io::Result<bool>,
    ) -> io::Result<usize> {
        let moved = self.splice_now(file, offset, bytes, holds);
        if self.is_worth_a_moment(&moved)? {
            return self.splice_now(file, offset, bytes, holds);
        }
        moved
    }

    fn splice_now(
        &mut self,
        file: BorrowedFd<'_>,
        mut offset: u64,
        bytes: u64,
        holds: &dyn Fn() -> io::Result<bool>,
    ) -> io::Result<usize> {
        if !self.flush()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(1 << 30);
        let private = self.private.as_mut().ok_or(Errno::INVAL)?;
        let moved = rustix::pipe::splice(file, Some(&mut offset), &private.write, None, bytes, MOVE)?;
        if !holds()? {
            // The only way to empty a pipe without reading it.
            self.private = Some(PrivatePipe::new(self.descriptor()?)?);
            return Ok(0);
        }
        private.held = moved;
        self.flush()?;
        self.written += moved as u64;
        Ok(moved)
    }

    /// Pushes out what the private pipe holds. True when nothing is left.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn flush(&mut self) -> io::Result<bool> {
        let Some(private) = self.private.as_mut().filter(|private| private.held > 0) else { return Ok(true) };
        let target = self.waited.as_ref().ok_or(Errno::BADF)?.get_ref();
        match private.push(target.as_fd()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns when the output may take something again, or has failed.
    ///
    /// # Errors
    /// When the runtime is going away.
    pub async fn ready(&self) -> io::Result<()> {
        let Some(waited) = &self.waited else { return Ok(()) };
        loop {
            let mut guard = waited.ready(Interest::WRITABLE | Interest::ERROR).await?;
            // The readiness that the runtime remembers may be older than the refusal, so the kernel is asked.
            let mut asked = [PollFd::new(waited, PollFlags::OUT)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut asked, Some(&now))? > 0 {
                guard.retain_ready();
                return Ok(());
            }
            guard.clear_ready();
        }
    }

    /// Returns when the reader of a pipe or socket is gone. Never for other outputs.
    pub async fn gone(&self) {
        let Some(waited) = &self.waited else { return std::future::pending().await };
        loop {
            let Ok(mut guard) = waited.ready(Interest::ERROR).await else { return };
            let mut asked = [PollFd::new(waited, PollFlags::empty())];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let found = poll(&mut asked, Some(&now)).unwrap_or(0);
            if found > 0 && asked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                return;
            }
            guard.clear_ready();
        }
    }
}

/// Registers a descriptor with the runtime.
#[expect(deprecated, reason = "the safe way in; an owned descriptor keeps the promise that the unsafe one asks for")]
pub(crate) fn registered(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, interest)
}

impl PrivatePipe {
    /// As large as the pipe that it stands before, where that is allowed.
    fn new(target: BorrowedFd<'_>) -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let private = Self { read, write, held: 0 };
        rustix::pipe::fcntl_getpipe_size(target).into_iter().for_each(|size| private.resize(size));
        Ok(private)
    }

    fn resize(&self, bytes: usize) {
        let _ = rustix::pipe::fcntl_setpipe_size(&self.write, bytes);
    }

    fn push(&mut self, target: BorrowedFd<'_>) -> io::Result<()> {
        while self.held > 0 {
            self.held -= rustix::pipe::splice(&self.read, None, target, None, self.held, MOVE)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pipe() -> (std::fs::File, OwnedFd) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        (read.into(), write)
    }

    /// Fills the pipe, reads it empty, and sees every byte once, for both ways to write to a pipe.
    async fn every_byte_arrives(mut output: Output, mut reader: std::fs::File) {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        let (mut sent, mut seen, mut chunk) = (0, Vec::new(), vec![0; WINDOW]);
        while seen.len() < bytes.len() {
            match output.write(&bytes[sent..(sent + WINDOW).min(bytes.len())]) {
                Ok(written) => sent += written,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    let read = reader.read(&mut chunk).unwrap();
                    seen.extend_from_slice(&chunk[..read]);
                    output.ready().await.unwrap();
                }
            }
            if sent == bytes.len() {
                while !output.flush().unwrap() || seen.len() < bytes.len() {
                    let read = reader.read(&mut chunk).unwrap();
                    seen.extend_from_slice(&chunk[..read]);
                }
            }
        }
        assert!(seen == bytes, "other bytes arrived");
    }

    #[tokio::test]
    async fn a_full_pipe_refuses_and_loses_nothing() {
        let (reader, writer) = pipe();
        every_byte_arrives(Output::new(writer).unwrap(), reader).await;
    }

    #[tokio::test]
    async fn a_private_pipe_stands_in_where_the_kernel_is_older() {
        let (reader, writer) = pipe();
        let mut output = Output::new(writer).unwrap();
        output.way = Way::SplicedPipe;
        every_byte_arrives(output, reader).await;
    }

    #[tokio::test]
    async fn bytes_of_a_file_that_changed_meanwhile_go_nowhere() {
        let (mut reader, writer) = pipe();
        let mut output = Output::new(writer).unwrap();
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"one\ntwo\n", 0).unwrap();
        assert_eq!(output.splice(file.as_fd(), 0, 4, &|| Ok(true)).unwrap(), 4);
        assert_eq!(output.splice(file.as_fd(), 4, 4, &|| Ok(false)).unwrap(), 0);
        assert_eq!(output.splice(file.as_fd(), 4, 4, &|| Ok(true)).unwrap(), 4);
        assert_eq!((output.written(), output.flush().unwrap()), (8, true));
        let mut seen = [0; 8];
        reader.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"one\ntwo\n");
    }

    #[tokio::test]
    async fn what_waits_in_the_private_pipe_comes_before_what_is_written_later() {
        let (mut reader, writer) = pipe();
        let mut output = Output::new(writer).unwrap();
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![b'f'; 4 * WINDOW], 0).unwrap();
        let mut moved = 0;
        while let Ok(bytes) = output.splice(file.as_fd(), moved, WINDOW as u64, &|| Ok(true)) {
            moved += bytes as u64;
        }
        assert!(!output.flush().unwrap(), "more is taken than the pipe holds");
        assert_eq!(output.write(b"w").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let (mut seen, mut chunk) = (Vec::new(), vec![0; WINDOW]);
        let mut written = false;
        while seen.len() <= usize::try_from(moved).unwrap() {
            let read = reader.read(&mut chunk).unwrap();
            seen.extend_from_slice(&chunk[..read]);
            let out = output.flush().unwrap();
            written = written || (out && output.write(b"w").is_ok());
        }
        assert!(seen.iter().rposition(|byte| *byte == b'f') == Some(seen.len() - 2) && seen.ends_with(b"w"));
    }

    #[tokio::test]
    async fn the_flags_of_the_given_descriptor_stay_as_they_were() {
        let (_reader, writer) = pipe();
        let shared = writer.try_clone().unwrap();
        let mut output = Output::new(writer).unwrap();
        output.write(b"line\n").unwrap();
        assert!(!rustix::fs::fcntl_getfl(shared).unwrap().contains(OFlags::NONBLOCK));
    }

    #[tokio::test]
    async fn a_reader_that_leaves_is_noticed_without_a_write() {
        let (reader, writer) = pipe();
        let output = Output::new(writer).unwrap();
        let early = tokio::time::timeout(std::time::Duration::from_millis(20), output.gone()).await;
        assert!(early.is_err(), "the reader is still there");
        drop(reader);
        output.gone().await;
    }
}
