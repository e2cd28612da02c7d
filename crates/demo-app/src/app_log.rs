//! The app's own log: numbered lines with a stamp, as the apps of the examples write them.

use std::time::{Duration, SystemTime};

use tokio::time::{MissedTickBehavior, interval};

use crate::args::Shape;
use crate::elasticsearch;
use crate::log_file::LogFile;
use crate::stamp::Format;

/// Writes a line at once and then one per `every`, until `stop`; then a last one, as apps do when they end.
pub(crate) async fn write(
    log: &LogFile,
    format: &Format,
    every: Duration,
    shape: Shape,
    stop: impl Future<Output = ()>,
) {
    let line = |number: u64, last: bool| {
        let stamp = format.render(SystemTime::now());
        match shape {
            Shape::Plain => plain(&stamp, number, last),
            Shape::Elasticsearch => elasticsearch::log_line(&stamp, number, last),
        }
    };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stop);
    let mut number = 0;
    loop {
        // The stop wins: one more ordinary line would only delay the last one.
        tokio::select! {
            biased;
            () = &mut stop => break,
            _ = ticks.tick() => {
                number += 1;
                log.append(&line(number, false));
            }
        }
    }
    log.append(&line(number + 1, true));
}

/// Holds slashes and the letter T behind the stamp: a tool that rewrites more than the stamp is seen at once.
fn plain(stamp: &str, number: u64, last: bool) -> String {
    if last {
        format!("{stamp} ents: line {number}, the moot is over: 0/3 ents left at /Fangorn/Treebeard")
    } else {
        format!("{stamp} ents: line {number}, step {}/3 of the Tree/walk", number % 3 + 1)
    }
}
