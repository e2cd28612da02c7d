//! From `main` to the exit code.

use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::request::Outcome;
use crate::{Common, Context, Environment, Error, Shutdown, Tool, Trigger, exit, logs, request};

/// What a run gets on top of its grace to report by itself what was left, before it is cut off. Half a second was too short for a
/// process that shares two cores with thirty others.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs an asynchronous tool on one current-thread runtime and returns its exit code.
///
/// `run` is told to stop through [`Context::shutdown`]. When it has not returned within `--grace` after that, the
/// process ends with code 4.
pub fn main<A, F, Fut>(run: F) -> ExitCode
where
    A: Tool,
    F: FnOnce(A, Context) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    start::<A>(|args, common, environment| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::failed("cannot start the runtime").caused_by(error))?;
        let result = runtime.block_on(async {
            let (trigger, shutdown) = Shutdown::manual();
            let mut signals = StopSignals::listen()?;
            let context = Context::new(shutdown, common.grace, environment);
            let work = run(args, context);
            tokio::pin!(work);
            // The work wins over a signal that arrives together with its end: a finished run is finished.
            tokio::select! {
                biased;
                result = &mut work => return result,
                () = signals.next() => trigger.request(),
            }
            tokio::select! {
                biased;
                result = &mut work => result,
                () = signals.next() => Err(stopped_twice()),
                () = tokio::time::sleep(common.grace + LAST_WORDS) => Err(grace_over(common.grace)),
            }
        });
        // Threads of the blocking pool may hang in a write that nobody reads; they must not hold up the exit.
        runtime.shutdown_background();
        result
    })
}

/// Runs a tool without a runtime and returns its exit code.
///
/// Signals arrive on a thread of their own. A one-shot tool asks [`Shutdown::is_requested`] between its steps; a tool
/// with threads and runtimes of its own awaits [`Shutdown::requested`] in them.
pub fn main_blocking<A, F>(run: F) -> ExitCode
where
    A: Tool,
    F: FnOnce(A, Context) -> Result<(), Error>,
{
    start::<A>(|args, common, environment| {
        let (trigger, shutdown) = Shutdown::manual();
        let termination_log = termination_log::<A>(&environment);
        watch_signals(trigger, common.grace, A::GRACE.is_some(), termination_log)?;
        run(args, Context::new(shutdown, common.grace, environment))
    })
}

/// Parses, starts the logs, runs, and turns the result into lines and a code.
fn start<A: Tool>(run: impl FnOnce(A, Common, Environment) -> Result<(), Error>) -> ExitCode {
    let environment = Environment::of_process();
    let termination_log = termination_log::<A>(&environment);
    if A::ENDS_AT_PANIC || cfg!(panic = "abort") {
        end_at_panics(A::NAME, termination_log.clone());
    }
    let mut argv = std::env::args_os();
    let program = argv.next().map(PathBuf::from).unwrap_or_default();
    let argv = A::compat_as(program.file_name().unwrap_or_default(), argv.collect());
    let outcome = match argv.and_then(|argv| request::interpret::<A>(argv, &environment)) {
        Ok(outcome) => outcome,
        Err(error) => return close(&error, &termination_log),
    };
    let (args, common) = match outcome {
        Outcome::Run(args, common) => (args, common),
        Outcome::Print(text) => {
            let printed = std::io::stdout().lock().write_all(text.as_bytes());
            return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    logs::start(&common, A::LOG_LEVEL_CHANGES);
    match run(*args, common, environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => close(&error, &termination_log),
    }
}

/// A panic in any thread or task ends the process: told as every other end, also where `kubectl describe pod` looks.
fn end_at_panics(tool: &'static str, termination_log: PathBuf) {
    std::panic::set_hook(Box::new(move |panic| {
        let what = panic.to_string().replace('\n', " ");
        let error = Error::failed(format!("a bug ended {tool}: {what}")).hint("please report these two lines");
        end_now(&error, &termination_log)
    }));
}

fn close(error: &Error, termination_log: &std::path::Path) -> ExitCode {
    logs::closing(&error.report(), termination_log);
    ExitCode::from(error.code())
}

fn termination_log<A: Tool>(environment: &Environment) -> PathBuf {
    let name = format!("{}_TERMINATION_LOG", request::prefix(A::NAME));
    environment.get(name).map_or_else(|| PathBuf::from("/dev/termination-log"), PathBuf::from)
}

fn grace_over(grace: Duration) -> Error {
    let span = kit_units::format_duration(grace);
    Error::with_code(exit::WORK_LEFT, format!("the work was not finished {span} after the request to stop"))
        .hint("raise --grace, and terminationGracePeriodSeconds of the pod above it")
}

fn stopped_twice() -> Error {
    Error::with_code(exit::WORK_LEFT, "a second signal ended the process before its work was finished")
}

/// SIGTERM and SIGINT as one stream. Installed handlers also give PID 1 the action that the kernel withholds.
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn listen() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(no_handler);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn no_handler(error: std::io::Error) -> Error {
    Error::failed("cannot install the handlers of SIGTERM and SIGINT").caused_by(error)
}

/// Starts the thread that hears signals for a tool without a runtime.
///
/// The thread lives as long as the process: it owns the end of a run that does not stop by itself.
fn watch_signals(trigger: Trigger, grace: Duration, long_running: bool, termination_log: PathBuf) -> Result<(), Error> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT]).map_err(no_handler)?;
    let watch = move || {
        let mut deadline: Option<Instant> = None;
        loop {
            // Short naps only while the process is already ending; before that the thread sleeps in the kernel.
            let heard = if deadline.is_some() {
                std::thread::sleep(Duration::from_millis(20));
                signals.pending().count()
            } else {
                signals.wait().count()
            };
            match deadline {
                Some(_) if heard > 0 => end_now(&stopped_twice(), &termination_log),
                Some(end) if long_running && Instant::now() >= end => end_now(&grace_over(grace), &termination_log),
                None if heard > 0 => {
                    trigger.request();
                    deadline = Instant::now().checked_add(grace + LAST_WORDS);
                }
                _ => {}
            }
        }
    };
    let started = std::thread::Builder::new().name("signals".to_owned()).stack_size(64 << 10).spawn(watch);
    started.map(drop).map_err(|error| Error::failed("cannot start the signal thread").caused_by(error))
}

#[expect(clippy::disallowed_methods, reason = "the process must end although its main thread does not return")]
fn end_now(error: &Error, termination_log: &std::path::Path) -> ! {
    logs::closing(&error.report(), termination_log);
    std::process::exit(i32::from(error.code()))
}
