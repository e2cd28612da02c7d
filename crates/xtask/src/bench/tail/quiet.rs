//! What a tailer does when little happens: how soon a line is out, how often it wakes up for nothing, how it ends.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kit_test::{Process, Signal};

use super::speed::Data;
use super::storms::{LINE, Log};
use super::subjects::Subject;
use crate::bench::results::Results;

const LINES: usize = 500;
const START: Duration = Duration::from_secs(30);

/// Microseconds from before write(2) until a reader has the line, for 500 lines 4 ms apart.
///
/// # Errors
/// When a line does not come.
pub fn latency(subject: &Subject, _: &Data, results: &mut Results) -> anyhow::Result<()> {
    let mut log = Log::new()?;
    log.write(1, Duration::ZERO)?;
    let mut command = subject.follow(log.path());
    let mut child = Killed(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let mut stdout = child.0.stdout.take().context("a piped stdout")?;
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            if sender.send((Instant::now(), count)).is_err() {
                return;
            }
        }
    });
    receiver.recv_timeout(START).context("the first line did not come")?;
    let mut written = Vec::new();
    for _ in 0..LINES {
        std::thread::sleep(Duration::from_millis(4));
        written.push(Instant::now());
        log.write(1, Duration::ZERO)?;
    }
    let (mut delays, mut bytes) = (Vec::new(), 0);
    while delays.len() < LINES {
        let (when, count) = receiver.recv_timeout(START).context("a line did not come")?;
        bytes += count;
        let arrived = bytes / LINE;
        let fresh = written.get(delays.len()..arrived).context("more lines came than were written")?;
        delays.extend(fresh.iter().map(|sent| when.saturating_duration_since(*sent).as_secs_f64() * 1e6));
    }
    drop(child);
    if reader.join().is_err() {
        bail!("the reader ended by a panic");
    }
    delays.sort_by(f64::total_cmp);
    results.add("latency p50", subject.name, Some(delays[LINES / 2]));
    results.add("latency p99", subject.name, Some(delays[LINES * 99 / 100]));
    Ok(())
}

/// Switches of context, of all threads, in ten seconds in which nothing is written.
///
/// # Errors
/// When the program ends.
pub fn wake_ups(subject: &Subject, _: &Data, results: &mut Results) -> anyhow::Result<()> {
    let mut log = Log::new()?;
    log.write(1, Duration::ZERO)?;
    let process = Process::spawn(&mut subject.follow(log.path()));
    kit_test::eventually("the first line", START, || !process.stdout_from(0).is_empty());
    // What belongs to the start is over by now: busybox has slept once, log-tailer has let go of nothing.
    std::thread::sleep(Duration::from_secs(2));
    let before = switches(process.id())?;
    std::thread::sleep(Duration::from_secs(10));
    results.add("wake-ups", subject.name, Some((switches(process.id())? - before) as f64));
    Ok(())
}

fn switches(id: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{id}/task"))? {
        let text = fs::read_to_string(task?.path().join("status"))?;
        let lines = text.lines().filter(|line| line.starts_with("voluntary_ctxt_switches"));
        sum += lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(sum)
}

/// Milliseconds from SIGTERM to the end of an idle process 1; nothing when it is still there after two seconds.
///
/// # Errors
/// When the program cannot be started in a namespace of its own, which needs root.
pub fn sigterm(subject: &Subject, _: &Data, results: &mut Results) -> anyhow::Result<()> {
    let mut log = Log::new()?;
    log.write(1, Duration::ZERO)?;
    let follow = subject.follow(log.path());
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]).arg(follow.get_program()).args(follow.get_args());
    let mut process = Process::spawn(&mut command);
    kit_test::eventually("the first line", START, || !process.stdout_from(0).is_empty());
    // Idle: longer than log-tailer's --drain-quiet.
    std::thread::sleep(Duration::from_secs(1));
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.id()))?;
    let first: i32 = children.trim().parse().context("the id of process 1 (does unshare need root?)")?;
    let first = rustix::process::Pid::from_raw(first).context("a process id")?;
    let start = Instant::now();
    rustix::process::kill_process(first, Signal::TERM)?;
    while process.is_running() && start.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_micros(200));
    }
    let ended = (!process.is_running()).then(|| start.elapsed().as_secs_f64() * 1000.0);
    if ended.is_none() {
        rustix::process::kill_process(first, Signal::KILL)?;
    }
    results.add("sigterm", subject.name, ended);
    Ok(())
}

/// A child that does not outlive its measurement.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
