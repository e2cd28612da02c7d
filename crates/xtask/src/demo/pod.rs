//! The containers as processes: started in order, watched, stopped together.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::screen::Screen;
use super::{Container, PATIENCE, Proof, Role, Volumes};

/// The running containers. What still runs when it goes out of scope is killed.
pub(crate) struct Pod<'a> {
    running: Vec<Running<'a>>,
    address: SocketAddr,
}

struct Running<'a> {
    container: &'a Container,
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

/// How a container ended.
pub(crate) struct End {
    pub(crate) name: &'static str,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) proof: Option<Proof>,
}

/// Everything that was read from one stream so far, by a thread that also shows it.
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

/// Whether Ctrl-C or SIGTERM asked us to stop. Asked for the first time before anything is started.
pub(crate) fn interrupted() -> bool {
    static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // Without a handler Ctrl-C ends us at once, which is no worse than not asking.
            let _registered = signal_hook::flag::register(signal, Arc::clone(&asked));
        }
        asked
    });
    ASKED.load(Ordering::Relaxed)
}

/// Waits until `check` holds.
pub(crate) fn eventually(what: &str, limit: Duration, check: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    while !check() {
        if Instant::now() > deadline {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

impl<'a> Pod<'a> {
    /// Runs the init containers to their ends, then starts the app, waits until it listens, then starts the others.
    pub(crate) fn start(
        containers: &'a [Container],
        volumes: &Volumes,
        binaries: &Path,
        screen: &Arc<Screen>,
    ) -> anyhow::Result<Self> {
        let _from_now_on = interrupted();
        let mut pod = Self { running: Vec::new(), address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        for (index, container) in containers.iter().enumerate() {
            let mut command = Command::new(binaries.join(container.tool));
            command.args((container.args)(volumes));
            let mut running = Running::start(container, index, command, screen)?;
            match container.role {
                Role::Init => {
                    let status = running.child.wait().with_context(|| format!("cannot wait for {}", container.name))?;
                    running.join();
                    if !status.success() {
                        bail!("the init container {} ended with {status}", container.name);
                    }
                    screen.container(container.name, index, "done");
                    continue;
                }
                Role::App => {
                    pod.address = running.listening()?;
                    let _first = volumes.app.set(pod.address);
                }
                Role::Sidecar => {}
            }
            pod.running.push(running);
        }
        Ok(pod)
    }

    /// Where the app listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id of the app.
    pub(crate) fn app_id(&self) -> anyhow::Result<u32> {
        let app = self.running.iter().find(|running| running.container.role == Role::App);
        Ok(app.context("the pod has no app")?.child.id())
    }

    /// SIGUSR1 to the app, as logrotate's `postrotate` sends it.
    pub(crate) fn reopen_logs(&self) -> anyhow::Result<()> {
        let app = self.running.iter().find(|running| running.container.role == Role::App);
        app.context("the pod has no app")?.signal(Signal::USR1)
    }

    /// Fails when a container ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for Running { container, child, .. } in &mut self.running {
            if let Some(status) = child.try_wait().context("cannot watch a container")? {
                bail!("{} ended by itself with {status}", container.name);
            }
        }
        Ok(())
    }

    /// SIGTERM to all at once, then their ends in the order of their start.
    pub(crate) fn stop(&mut self, patience: Duration) -> anyhow::Result<Vec<End>> {
        self.check()?;
        for running in &self.running {
            running.signal(Signal::TERM)?;
        }
        let deadline = Instant::now() + patience;
        let mut ends = Vec::new();
        for mut running in self.running.drain(..) {
            let name = running.container.name;
            let status = loop {
                if let Some(status) = running.child.try_wait().context("cannot watch a container")? {
                    break status;
                }
                if Instant::now() > deadline {
                    let _killed = running.child.kill();
                    bail!("{name} still runs {} s after SIGTERM", patience.as_secs());
                }
                std::thread::sleep(Duration::from_millis(2));
            };
            let proof = running.container.proof;
            ends.push(End { name, status, stdout: running.join(), proof });
        }
        Ok(ends)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        for Running { child, .. } in &mut self.running {
            let _killed = child.kill();
            let _reaped = child.wait();
        }
    }
}

impl<'a> Running<'a> {
    fn start(
        container: &'a Container,
        index: usize,
        mut command: Command,
        screen: &Arc<Screen>,
    ) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C is for the demo, which then stops its containers as a kubelet does.
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", container.tool))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let stdout = Stream::read(stdout.context("no stdout")?, container.name, index, screen);
        let stderr = Stream::read(stderr.context("no stderr")?, container.name, index, screen);
        Ok(Self { container, child, stdout, stderr })
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // Not reaped yet, so the id still is this child's.
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot signal {}", self.container.name))
    }

    /// The address that the app says it listens on.
    fn listening(&mut self) -> anyhow::Result<SocketAddr> {
        let address = |text: &str| {
            let line = text.lines().find(|line| line.contains("listening"))?;
            line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(address) = address(&String::from_utf8_lossy(&self.stderr.so_far())) {
                return Ok(address);
            }
            if let Some(status) = self.child.try_wait().context("cannot watch the app")? {
                bail!("{} ended with {status} before it listened", self.container.name);
            }
            if Instant::now() > deadline {
                bail!("{} does not listen after {} s", self.container.name, PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the ends of the streams: everything on stdout.
    fn join(self) -> Vec<u8> {
        let stdout = self.stdout.bytes;
        for reader in [self.stdout.reader, self.stderr.reader] {
            let _ended = reader.join();
        }
        std::mem::take(&mut stdout.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Stream {
    fn read(from: impl Read + Send + 'static, name: &'static str, index: usize, screen: &Arc<Screen>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (kept, screen) = (Arc::clone(&bytes), Arc::clone(screen));
        let reader = std::thread::spawn(move || {
            let mut lines = BufReader::new(from);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                screen.container(name, index, String::from_utf8_lossy(&line).trim_end());
                kept.lock().unwrap_or_else(PoisonError::into_inner).append(&mut line);
            }
        });
        Self { bytes, reader }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
