//! The sink that works on lines: chosen, joined, cut, paced, decoded and dressed by kit-lines.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant, SystemTime};

use kit_follow::{Headers, Output, Piece, Sink, Source, Taken, Then};
use kit_lines::{Input, Lines};
use prometheus_client::metrics::counter::Counter;

/// Writes what [`Lines`] makes of each line.
pub(crate) struct Worked {
    output: Output,
    headers: Headers,
    lines: Lines,
    /// Bytes of lines that were taken and still have to be written, from `sent` on.
    pending: Vec<u8>,
    sent: usize,
    written: Counter,
}

impl Worked {
    pub(crate) fn new(output: Output, headers: Headers, lines: Lines, written: Counter) -> Self {
        Self { output, headers, lines, pending: Vec::new(), sent: 0, written }
    }

    /// Writes what is pending. False where the output takes no more.
    fn push(&mut self) -> io::Result<bool> {
        while self.sent < self.pending.len() {
            match self.output.write(&self.pending[self.sent..]) {
                Ok(written) => {
                    self.sent += written;
                    self.written.inc_by(written as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        self.sent = 0;
        Ok(true)
    }

    /// A header before the lines of another file, but only where lines came out.
    fn head(&mut self, source: &Source, at: usize) {
        if self.pending.len() > at {
            let mut header = Vec::new();
            self.headers.before(source, &mut header);
            self.pending.splice(at..at, header);
        }
    }
}

impl Sink for Worked {
    fn take(&mut self, piece: Piece<'_>) -> io::Result<Taken> {
        if !self.push()? {
            return Ok(Taken { bytes: 0, then: Then::Blocked });
        }
        let input = Input {
            file: piece.source.path.as_os_str().as_bytes(),
            offset: piece.offset,
            bytes: piece.bytes,
            line_end: piece.line_end.bytes(),
            begins: piece.begins,
            ends: piece.ends,
            line_bytes: piece.line_bytes,
            add_end: piece.add_end,
            last: piece.last,
        };
        let taken = self.lines.take(input, Instant::now(), SystemTime::now(), &mut self.pending);
        self.head(piece.source, 0);
        let then = match taken.then {
            _ if !self.push()? => Then::Blocked,
            kit_lines::Then::More => Then::More,
            kit_lines::Then::Held => Then::Held,
            kit_lines::Then::At(time) => Then::At(time.into()),
        };
        Ok(Taken { bytes: taken.bytes, then })
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

    fn hold(&self) -> Duration {
        self.lines.hold()
    }
}
