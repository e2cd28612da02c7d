//! The body of an answer: bytes in memory, or a file that is read while it is sent.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// How much of a file is in memory at a time.
const CHUNK: u64 = 64 << 10;

/// A body whose length is known before it is sent.
#[derive(Debug)]
pub(crate) enum Content {
    /// Bytes in memory; empty once they were handed over.
    Memory(Bytes),
    /// A file, and how much of it is still to be sent. What is appended meanwhile is not sent.
    File { file: File, left: u64 },
}

impl Content {
    /// The length that the answer announces.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { left, .. } => *left,
        }
    }
}

impl<T: Into<Bytes>> From<T> for Content {
    fn from(bytes: T) -> Self {
        Self::Memory(bytes.into())
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let chunk = match self.get_mut() {
            Self::Memory(bytes) => Ok(std::mem::take(bytes)),
            Self::File { file, left } => read_chunk(file, left),
        };
        match chunk {
            Ok(bytes) if bytes.is_empty() => Poll::Ready(None),
            Ok(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}

/// Reads on the thread of the server: files of demos are small and in the page cache.
fn read_chunk(file: &mut File, left: &mut u64) -> io::Result<Bytes> {
    let wanted = (*left).min(CHUNK);
    if wanted == 0 {
        return Ok(Bytes::new());
    }
    let mut chunk = Vec::with_capacity(wanted as usize);
    file.take(wanted).read_to_end(&mut chunk)?;
    if chunk.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
    }
    *left -= chunk.len() as u64;
    Ok(chunk.into())
}
