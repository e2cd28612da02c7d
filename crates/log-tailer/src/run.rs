//! Puts the parts together and turns the end into an exit code.

use std::io;

use kit_admin::Admin;
use kit_follow::{FollowError, Headers, LineEnd, LineEnds, Outcome, Output, Stats};
use kit_lines::{Encoding, LineStats};
use kit_run::{Context, Error};
use prometheus_client::metrics::counter::Counter;

use crate::args::{Args, Subcommand};
use crate::either::Either;
use crate::exit;
use crate::pod::Pod;
use crate::raw::Raw;
use crate::worked::Worked;

/// Follows until told to stop.
///
/// # Errors
/// With the exit code that the README lists.
pub async fn run(mut args: Args, context: Context) -> Result<(), Error> {
    if let Some(Subcommand::Healthcheck(asked)) = &args.command {
        return kit_admin::healthcheck(asked).map_err(|error| {
            let (code, hint) = (error.exit_code(), error.hint());
            Error::with_code(code, error.to_string()).hint(hint)
        });
    }
    let admin = Admin::new("log-tailer");
    let stats = Stats::default();
    let line_stats = LineStats::default();
    let written = Counter::default();
    admin.register(|registry| {
        stats.register(registry, "log_tailer");
        line_stats.register(registry, "log_tailer");
        registry.register("log_tailer_bytes_written", "Bytes that stdout has accepted", written.clone());
    });
    let mut pod = Pod::new(&context, admin.pulse("follow loop"), admin.condition("files opened"))?;
    let listener = args
        .admin
        .bind()
        .await
        .map_err(|error| Error::failed("no admin endpoint").caused_by(error).hint(kit_admin::BindError::HINT))?;
    if args.input_if_no_file && args.follow.file.is_empty() {
        args.follow.file.push("-".into());
    }
    let several = args.follow.several();
    let line_end = if args.zero_terminated { LineEnd::Nul } else { LineEnd::Newline };
    let line_ends = line_ends(line_end, args.lines.encoding);
    let lines = (!args.lines.changes_nothing()).then(|| args.lines.lines(line_stats)).transpose().map_err(|error| {
        let hint = error.hint();
        Error::request(error.to_string()).hint(hint)
    })?;
    let config = args.follow.config(context.grace()).map_err(|error| {
        let hint = error.hint();
        Error::request(error.to_string()).hint(hint)
    })?;
    let config = config.with_line_ends(line_ends);
    let output = output(args.stdout_pipe_size)?;
    let headers = Headers::new(args.headers, several);
    let sink = match lines {
        None => Either::Raw(Raw::new(output, headers, args.copy, line_end.bytes(), written)),
        Some(lines) => Either::Worked(Box::new(Worked::new(output, headers, lines, written))),
    };
    let following = kit_follow::follow(config, sink, &mut pod, stats);
    let ended = match listener {
        Some(listener) => tokio::select! {
            ended = following => ended,
            () = admin.serve(listener, std::future::pending()) => return Ok(()),
        },
        None => following.await,
    };
    outcome(ended)
}

/// What ends a line in files of that encoding.
fn line_ends(bytes: LineEnd, encoding: Option<Encoding>) -> LineEnds {
    match encoding {
        Some(Encoding::Utf16Le) => LineEnds::Always(LineEnd::Utf16Le),
        Some(Encoding::Utf16Be) => LineEnds::Always(LineEnd::Utf16Be),
        Some(Encoding::Auto) => LineEnds::ByMark,
        Some(Encoding::Latin1) | None => LineEnds::Always(bytes),
    }
}

fn output(pipe_size: Option<u64>) -> Result<Output, Error> {
    let failed = |error: io::Error| {
        Error::failed("cannot use stdout").caused_by(error).hint("start log-tailer with stdout open")
    };
    let stdout = kit_run::stdout("log-tailer")?;
    let output = Output::new(stdout).map_err(failed)?;
    if let Some(bytes) = pipe_size {
        let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
        if let Err(error) = output.resize_pipe(wanted) {
            tracing::warn!(%error, bytes, "stdout's pipe keeps its size");
        }
    }
    Ok(output)
}

fn outcome(ended: Result<Outcome, FollowError>) -> Result<(), Error> {
    match ended {
        Ok(Outcome::Drained | Outcome::Ended) => Ok(()),
        Ok(Outcome::GraceOver { unread }) => {
            let message = format!("the grace ended with {unread} bytes not handed over");
            Err(Error::with_code(exit::DRAIN_TIMEOUT, message)
                .hint("whatever reads stdout is too slow; give more --grace and terminationGracePeriodSeconds"))
        }
        Err(FollowError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            kit_run::notice("tail: the reader of stdout is gone");
            Ok(())
        }
        Err(error) => Err(failure(error)),
    }
}

fn failure(error: FollowError) -> Error {
    match error {
        FollowError::State(error) => {
            let hint = error.hint();
            let code = if error.is_request() { kit_run::exit::REQUEST } else { kit_run::exit::FAILED };
            with_source(Error::with_code(code, error.to_string()), &error).hint(hint)
        }
        FollowError::NoFiles => {
            Error::failed("no files remaining").hint("use -F to wait for a file that is not there yet")
        }
        FollowError::WaitTimeout { .. } => Error::with_code(exit::WAIT_TIMEOUT, error.to_string())
            .hint("check that the app writes there and that both containers mount the volume"),
        FollowError::Output(source) => Error::failed("cannot write to stdout")
            .caused_by(source)
            .hint("whatever stdout leads to must have room and accept writes"),
        FollowError::Read(source) => {
            Error::failed("cannot read a followed file").caused_by(source).hint("the volume may be gone or damaged")
        }
        FollowError::Watch(source) => {
            Error::failed("cannot read file events").caused_by(source).hint("use --watch poll")
        }
    }
}

/// The cause of a state error, which its text does not repeat.
fn with_source(made: Error, error: &dyn std::error::Error) -> Error {
    match error.source() {
        Some(source) => made.caused_by(source.to_string()),
        None => made,
    }
}
