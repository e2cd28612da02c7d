//! What SIGKILL costs a tailer with a state file: lines that are missing, bytes that come twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use kit_test::Process;

use super::storms::{LINE, Log, line};
use super::subjects::Subject;
use crate::bench::results::Results;

/// A log that is written and rotated all the time while the tailer is killed `kills` times, after 5 to 60 ms each.
///
/// # Errors
/// When a line is torn. Missing ones, and more than 64 KiB that came again after one kill, miss the gate in the table.
pub fn run(subject: &Subject, kills: usize, results: &mut Results) -> anyhow::Result<()> {
    let mut log = Log::new()?;
    let path = log.path().to_owned();
    let state = tempfile::tempdir()?;
    let start = || {
        let mut command = subject.follow(&path);
        Process::spawn(command.arg("--state-file").arg(state.path().join("state")))
    };
    log.write(1, Duration::ZERO)?;
    // Files rotated before the first start are history: it has started once its first line is out.
    let first = start();
    kit_test::eventually("the first line", Duration::from_secs(30), || !first.stdout_from(0).is_empty());
    let mut outputs = vec![first.kill().stdout];
    let stop = AtomicBool::new(false);
    let lines = std::thread::scope(|scope| -> anyhow::Result<usize> {
        let writer = scope.spawn(|| write_until(&mut log, &stop));
        for kill in 1..kills {
            let process = start();
            std::thread::sleep(Duration::from_millis(5 + (kill * 37 % 56) as u64));
            outputs.push(process.kill().stdout);
        }
        stop.store(true, Ordering::Relaxed);
        match writer.join() {
            Ok(lines) => lines,
            Err(_) => bail!("the writer ended by a panic"),
        }
    })?;
    let last = start();
    let newest = line(lines - 1);
    kit_test::eventually("the last line", Duration::from_secs(60), || {
        last.stdout_from(0).windows(LINE).any(|window| window == newest)
    });
    outputs.push(last.kill().stdout);
    judge(&outputs, lines, subject, results)
}

/// About 16000 lines per second, a rotation every 20000 lines.
fn write_until(log: &mut Log, stop: &AtomicBool) -> anyhow::Result<usize> {
    while !stop.load(Ordering::Relaxed) {
        log.write(16, Duration::ZERO)?;
        if log.lines() % 20_000 < 16 {
            log.rename()?;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    log.write(1, Duration::ZERO)?;
    Ok(log.lines())
}

fn judge(outputs: &[Vec<u8>], lines: usize, subject: &Subject, results: &mut Results) -> anyhow::Result<()> {
    let mut seen = vec![false; lines];
    for (life, output) in outputs.iter().enumerate() {
        let mut repeated = 0;
        let mut pieces = output.split_inclusive(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            // A kill may cut what is in the pipe.
            if pieces.peek().is_none() && !piece.ends_with(b"\n") {
                break;
            }
            let number = std::str::from_utf8(piece.get(..9).unwrap_or_default()).ok().and_then(|n| n.parse().ok());
            let number = number.filter(|number| *number < lines && line(*number) == piece);
            let number: usize = number.with_context(|| format!("torn: {}", piece.escape_ascii()))?;
            if std::mem::replace(&mut seen[number], true) {
                repeated += piece.len();
            }
        }
        if life > 0 {
            results.add("kills, bytes repeated", subject.name, Some(repeated as f64));
        }
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    results.add("kills, lines", subject.name, Some(lines as f64));
    results.add("kills, missing", subject.name, Some(missing as f64));
    Ok(())
}
