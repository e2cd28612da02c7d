//! The sink that changes nothing: bytes go from file to pipe inside the kernel.

use std::io;
use std::os::fd::BorrowedFd;

use kit_follow::{Headers, Output, Piece, Sink, Source, Taken, Then, WINDOW};

/// Writes every byte as it is.
pub(crate) struct Raw {
    output: Output,
    headers: Headers,
    /// Headers and added line ends that are still to be written.
    pending: Vec<u8>,
    /// No splicing: bytes are copied, so that later changes of the file cannot reach them.
    copy: bool,
    line_end: &'static [u8],
    written: prometheus_client::metrics::counter::Counter,
}

impl Raw {
    pub(crate) fn new(
        output: Output,
        headers: Headers,
        copy: bool,
        line_end: &'static [u8],
        written: prometheus_client::metrics::counter::Counter,
    ) -> Self {
        Self { output, headers, pending: Vec::new(), copy, line_end, written }
    }

    /// Writes what must come first. False where the output takes no more.
    fn push(&mut self) -> io::Result<bool> {
        while !self.pending.is_empty() {
            match self.output.write(&self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn open(&mut self, source: &Source) -> io::Result<bool> {
        self.headers.before(source, &mut self.pending);
        self.push()
    }
}

impl Sink for Raw {
    fn take(&mut self, piece: Piece<'_>) -> io::Result<Taken> {
        let blocked = |bytes| Ok(Taken { bytes, then: Then::Blocked });
        // An added line end is no part of a file, so it is kept here instead of being offered again.
        if piece.add_end && piece.bytes == self.line_end {
            self.headers.before(piece.source, &mut self.pending);
            self.pending.extend_from_slice(self.line_end);
            let then = if self.push()? { Then::More } else { Then::Blocked };
            return Ok(Taken { bytes: piece.bytes.len(), then });
        }
        if !self.open(piece.source)? {
            return blocked(0);
        }
        let mut sent = 0;
        while sent < piece.bytes.len() {
            let end = piece.bytes.len().min(sent + WINDOW);
            match self.output.write(&piece.bytes[sent..end]) {
                Ok(written) => {
                    sent += written;
                    self.written.inc_by(written as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return blocked(sent),
                Err(error) => return Err(error),
            }
        }
        if piece.add_end && piece.ends && !piece.bytes.ends_with(self.line_end) {
            self.pending.extend_from_slice(self.line_end);
            self.push()?;
        }
        Ok(Taken { bytes: sent, then: Then::More })
    }

    fn moves(&self) -> bool {
        true
    }

    fn splice(
        &mut self,
        source: &Source,
        file: BorrowedFd<'_>,
        (offset, bytes): (u64, u64),
        holds: &dyn Fn() -> io::Result<bool>,
    ) -> io::Result<usize> {
        if self.copy || !self.output.is_pipe() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if !self.open(source)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let moved = self.output.splice(file, offset, bytes, holds)?;
        self.written.inc_by(moved as u64);
        Ok(moved)
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(self.push()? && self.output.flush()?)
    }

    async fn ready(&self) -> io::Result<()> {
        self.output.ready().await
    }

    async fn gone(&self) {
        self.output.gone().await;
    }
}
