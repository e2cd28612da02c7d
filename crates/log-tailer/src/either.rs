//! One type for both sinks: the loop of kit-follow is then in the binary once, which is 0.1 MB less of it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use kit_follow::{Piece, Sink, Source, Taken};

use crate::raw::Raw;
use crate::worked::Worked;

/// Where the lines go.
pub(crate) enum Either {
    /// Unchanged.
    Raw(Raw),
    /// Through kit-lines.
    Worked(Box<Worked>),
}

impl Sink for Either {
    fn take(&mut self, piece: Piece<'_>) -> io::Result<Taken> {
        match self {
            Self::Raw(sink) => sink.take(piece),
            Self::Worked(sink) => sink.take(piece),
        }
    }

    fn moves(&self) -> bool {
        matches!(self, Self::Raw(_))
    }

    fn splice(
        &mut self,
        source: &Source,
        file: BorrowedFd<'_>,
        range: (u64, u64),
        holds: &dyn Fn() -> io::Result<bool>,
    ) -> io::Result<usize> {
        match self {
            Self::Raw(sink) => sink.splice(source, file, range, holds),
            Self::Worked(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Raw(sink) => sink.flush(),
            Self::Worked(sink) => sink.flush(),
        }
    }

    async fn ready(&self) -> io::Result<()> {
        match self {
            Self::Raw(sink) => sink.ready().await,
            Self::Worked(sink) => sink.ready().await,
        }
    }

    async fn gone(&self) {
        match self {
            Self::Raw(sink) => sink.gone().await,
            Self::Worked(sink) => sink.gone().await,
        }
    }

    fn hold(&self) -> Duration {
        match self {
            Self::Raw(sink) => sink.hold(),
            Self::Worked(sink) => sink.hold(),
        }
    }
}
