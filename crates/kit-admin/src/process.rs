//! The process in numbers, as Prometheus' own libraries name them: `process_cpu_seconds_total` and its kind.
//!
//! Promised: no work and no wake-up between two scrapes. The files of `/proc/self` are opened at the start and read where they are
//! open, so that a tool may shut itself in (landlock) and still tell.
//!
//! Not promised: anything where there is no `/proc`; the numbers are then left out.
//!
//! Source: proc_pid_stat(5).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::fs::Dir;

/// The open files of `/proc/self`.
#[derive(Debug)]
pub(crate) struct Process {
    stat: Option<File>,
    descriptors: Mutex<Option<Dir>>,
    /// In seconds since 1970. Worked out once: a start that moves by a millisecond looks like a restart.
    started: Option<f64>,
}

/// The fields of `/proc/self/stat` that are used, in their units.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    /// Seconds from the machine's start to the process'.
    started: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Process {
    pub(crate) fn open() -> Self {
        let stat = File::open("/proc/self/stat").ok();
        let machine = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let since_machine = machine.tv_sec as f64 + machine.tv_nsec as f64 / 1e9;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let started = stat.as_ref().and_then(read).map(|stat| now - since_machine + stat.started);
        let descriptors = File::open("/proc/self/fd").ok().and_then(|folder| Dir::new(folder).ok());
        Self { stat, descriptors: Mutex::new(descriptors), started }
    }

    /// How many descriptors are open; the one that counts is among them.
    fn open_descriptors(&self) -> Option<u64> {
        let mut folder = self.descriptors.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = folder.as_mut()?;
        folder.rewind();
        let mut count: u64 = 0;
        while let Some(entry) = folder.read() {
            // `.` and `..` are no descriptors.
            count += u64::from(!entry.ok()?.file_name().to_bytes().starts_with(b"."));
        }
        Some(count)
    }
}

fn read(file: &File) -> Option<Stat> {
    let mut bytes = [0; 1024];
    let count = file.read_at(&mut bytes, 0).ok()?;
    parse(std::str::from_utf8(bytes.get(..count)?).ok()?)
}

/// The name may hold anything, blanks and brackets too, so fields are counted from the last bracket.
fn parse(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    // The field behind the name is number 3 of the manual.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    Some(Stat {
        cpu_seconds: (number(14)? + number(15)?) as f64 / ticks,
        started: number(22)? as f64 / ticks,
        virtual_bytes: number(23)?,
        resident_bytes: number(24)? * rustix::param::page_size() as u64,
    })
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stat = self.stat.as_ref().and_then(read);
        if let Some(seconds) = stat.map(|stat| stat.cpu_seconds) {
            let counter = ConstCounter::new(seconds);
            let help = "CPU time used, in user and kernel mode";
            counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, counter.metric_type())?)?;
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let gauges = [
            ("process_open_fds", "Open file descriptors", self.open_descriptors().map(|count| count as f64)),
            ("process_max_fds", "Most file descriptors that may be open", limit.map(|most| most as f64)),
            ("process_virtual_memory_bytes", "Address space", stat.map(|stat| stat.virtual_bytes as f64)),
            ("process_resident_memory_bytes", "Memory in use", stat.map(|stat| stat.resident_bytes as f64)),
            ("process_start_time_seconds", "When the process started, since 1970", self.started),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "7 (a) (b c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 12345 4096000 250 18446744073709551615 1 1\n";
        let stat = parse(text).unwrap();
        assert_eq!((stat.cpu_seconds, stat.started, stat.virtual_bytes), (2.0, 123.45, 4_096_000));
        assert_eq!(stat.resident_bytes, 250 * rustix::param::page_size() as u64);
        assert_eq!(parse("7 (a"), None);
        assert_eq!(parse("7 (a) S 1"), None);
    }

    #[test]
    fn descriptors_are_counted_anew_each_time() {
        let process = Process::open();
        let before = process.open_descriptors().unwrap();
        let held: Vec<File> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
        // Other tests of this process open and close theirs meanwhile.
        assert!(process.open_descriptors().unwrap() >= before + 30);
        drop(held);
        assert!(process.open_descriptors().unwrap() < before + 30);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((0.0..600.0).contains(&(now - process.started.unwrap())), "{process:?}");
    }
}
