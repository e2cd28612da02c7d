//! What the process asks of the loop, and what the loop says to the process.

use kit_admin::{Condition, Pulse};
use kit_follow::{Command, Host};
use kit_run::{Context, Error, Shutdown, Signal, SignalStream};

/// Signals and probes around the loop.
pub(crate) struct Pod {
    shutdown: Shutdown,
    hangup: SignalStream,
    user: SignalStream,
    pulse: Pulse,
    opened: Condition,
    draining: bool,
}

impl Pod {
    pub(crate) fn new(context: &Context, pulse: Pulse, opened: Condition) -> Result<Self, Error> {
        let hangup =
            context.signal(Signal::Hangup).map_err(|error| Error::failed("cannot handle SIGHUP").caused_by(error))?;
        let user =
            context.signal(Signal::User1).map_err(|error| Error::failed("cannot handle SIGUSR1").caused_by(error))?;
        Ok(Self { shutdown: context.shutdown(), hangup, user, pulse, opened, draining: false })
    }
}

impl Host for Pod {
    async fn command(&mut self) -> Command {
        // The request to stop stays, so it is told once; everything else may be asked again.
        tokio::select! {
            biased;
            () = self.shutdown.requested(), if !self.draining => {
                self.draining = true;
                Command::Drain
            }
            () = self.hangup.recv() => Command::Rescan,
            () = self.user.recv() => Command::Status,
            () = self.pulse.beat() => Command::Nothing,
        }
    }

    fn notice(&mut self, text: &str) {
        kit_run::notice(text);
    }

    fn opened(&mut self, missing: &[String]) {
        if missing.is_empty() {
            self.opened.met();
        } else {
            self.opened.unmet(format!("waiting for {}", missing.join(", ")));
        }
    }
}
