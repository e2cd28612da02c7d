//! One line of JSON on stdout for each request, written beside the requests and never in their way.
//!
//! A line holds who asked for what, and what became of it: no query, no cookie, no header, no token. Requests hand their
//! lines to a queue; one thread writes it out. When stdout takes nothing, at most 1 MiB waits, further lines are
//! counted and dropped, and requests go on.
//!
//! ```json
//! {"time":"2026-11-21T18:45:00.123Z","peer":"10.0.0.7:40112","sni":"search.example","protocol":"HTTP/2","method":"GET",
//!  "host":"search.example","path":"/_search","request_id":"5f0c...","identity":"ann","status":200,"received_bytes":0,
//!  "sent_bytes":1024,"seconds":0.004215,"app_seconds":0.003970}
//! ```

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;

use super::caller::Caller;
use super::forward::line;
use super::names::same_name;
use super::request::Request;

/// Bytes of lines that wait for stdout.
const MOST_QUEUED: usize = 1 << 20;
/// Longest request id of a client that is kept.
const MOST_ID: usize = 128;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_millis(300);
/// Pause after a stdout that others made non-blocking took nothing.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// The lines of all threads.
#[derive(Debug)]
pub(super) struct AccessLog {
    queue: Mutex<Queue>,
    more: Condvar,
    written: Condvar,
    ids: RandomState,
    next_id: AtomicU64,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct Queue {
    text: Vec<u8>,
    /// The writer has nothing to do and waits.
    waiting: bool,
    /// No line will come any more, or none can be written.
    over: bool,
}

/// One request's line as far as it is known.
#[derive(Debug)]
pub(super) struct Entry {
    text: Vec<u8>,
    /// The id to tell the app, where the client gave none that can be kept.
    new_id: Option<String>,
    /// Headers, as bits, that it replaces.
    replaced: u128,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) status: u16,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) took: Duration,
    /// Until the app's response began.
    pub(super) app: Option<Duration>,
}

impl AccessLog {
    /// `dropped` counts lines that found no room.
    pub(super) fn new(dropped: Counter) -> AccessLog {
        AccessLog {
            queue: Mutex::default(),
            more: Condvar::new(),
            written: Condvar::new(),
            ids: RandomState::new(),
            next_id: AtomicU64::new(0),
            dropped,
        }
    }

    /// Begins the line of a request; None: what came could not be read as one.
    pub(super) fn begin(&self, caller: &Caller, protocol: &str, request: Option<&Request<'_, '_>>) -> Entry {
        let mut text = Vec::with_capacity(512);
        text.extend_from_slice(b"{\"time\":\"");
        text.extend_from_slice(rfc3339(SystemTime::now()).as_bytes());
        text.push(b'"');
        field(&mut text, "peer", caller.peer.as_deref());
        field(&mut text, "sni", caller.server_name.as_deref());
        field(&mut text, "protocol", Some(protocol));
        let (mut new_id, mut replaced) = (None, 0);
        if let Some(request) = request {
            field(&mut text, "method", Some(request.method));
            let host = request.authority.map(String::from_utf8_lossy);
            field(&mut text, "host", host.as_deref());
            let path = request.target.split('?').next().unwrap_or_default();
            field(&mut text, "path", Some(if path.is_empty() { "/" } else { path }));
            match id_of(request) {
                Some(id) => field(&mut text, "request_id", Some(id)),
                None => {
                    let id = self.make_id();
                    field(&mut text, "request_id", Some(&id));
                    new_id = Some(id);
                    for (index, _) in request.headers.iter().enumerate().filter(|(_, header)| is_id(header)) {
                        replaced |= 1 << index;
                    }
                }
            }
        }
        Entry { text, new_id, replaced }
    }

    /// Not secret, only unlikely to come twice.
    fn make_id(&self) -> String {
        let count = self.next_id.fetch_add(2, Ordering::Relaxed);
        format!("{:016x}{:016x}", self.ids.hash_one(count), self.ids.hash_one(count + 1))
    }

    /// Ends a line and hands it over.
    pub(super) fn end(&self, mut entry: Entry, ending: Ending) {
        let Ending { status, received, sent, took, app } = ending;
        let text = &mut entry.text;
        let seconds = took.as_secs_f64();
        let numbers = format!(
            ",\"status\":{status},\"received_bytes\":{received},\"sent_bytes\":{sent},\"seconds\":{seconds:.6}"
        );
        text.extend_from_slice(numbers.as_bytes());
        if let Some(app) = app {
            text.extend_from_slice(format!(",\"app_seconds\":{:.6}", app.as_secs_f64()).as_bytes());
        }
        text.extend_from_slice(b"}\n");
        let mut queue = self.lock();
        if queue.over || queue.text.len() + text.len() > MOST_QUEUED {
            self.dropped.inc();
            return;
        }
        queue.text.extend_from_slice(text);
        // Waking costs a system call, so it is for a writer that sleeps only.
        if std::mem::take(&mut queue.waiting) {
            self.more.notify_one();
        }
    }

    /// Writes lines to `stdout` on a thread of its own, until what is returned is dropped.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(self: &Arc<Self>, stdout: OwnedFd) -> io::Result<LogWriter> {
        let log = Arc::clone(self);
        let body = move || log.write_out(&mut File::from(stdout));
        std::thread::Builder::new().name("access-log".to_owned()).spawn(body)?;
        Ok(LogWriter(Arc::clone(self)))
    }

    fn write_out(&self, out: &mut impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut queue = self.lock();
            while queue.text.is_empty() {
                if queue.over {
                    return;
                }
                queue.waiting = true;
                self.written.notify_all();
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            lines.clear();
            std::mem::swap(&mut queue.text, &mut lines);
            drop(queue);
            if let Err(error) = write_whole(out, &lines) {
                tracing::error!(%error, "cannot write the access log: no further lines");
                let mut queue = self.lock();
                *queue = Queue { over: true, ..Queue::default() };
                self.written.notify_all();
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The request may pass: says who asks, and appends to `extra` the line that tells the app of its id. Returns the
    /// headers, as bits, that this line replaces.
    pub(super) fn admitted(&mut self, name: Option<&str>, extra: &mut Vec<u8>) -> u128 {
        field(&mut self.text, "identity", name);
        if let Some(id) = &self.new_id {
            line(extra, b"X-Request-Id", id.as_bytes());
        }
        self.replaced
    }
}

/// Ends the writer's thread, after the lines that wait as far as stdout takes them soon.
#[derive(Debug)]
pub struct LogWriter(Arc<AccessLog>);

impl Drop for LogWriter {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        let idle = |queue: &mut Queue| !queue.waiting && !queue.over;
        queue = match self.0.written.wait_timeout_while(queue, LAST_LINES, idle) {
            Ok((queue, _)) => queue,
            Err(poisoned) => poisoned.into_inner().0,
        };
        queue.over = true;
        self.0.more.notify_one();
    }
}

fn write_whole(out: &mut impl Write, mut lines: &[u8]) -> io::Result<()> {
    while !lines.is_empty() {
        match out.write(lines) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => lines = &lines[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(FULL_PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The client's own id, if it is short and plain.
fn id_of<'b>(request: &Request<'_, 'b>) -> Option<&'b str> {
    let mut named = request.headers.iter().filter(|header| is_id(header));
    let id = std::str::from_utf8(named.next()?.value).ok()?;
    let plain = !id.is_empty() && id.len() <= MOST_ID && id.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && named.next().is_none()).then_some(id)
}

fn is_id(header: &httparse::Header<'_>) -> bool {
    same_name(header.name.as_bytes(), b"x-request-id")
}

/// `,"name":"value"` with the value escaped; nothing for None.
fn field(text: &mut Vec<u8>, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    let start = text.len();
    text.extend_from_slice(b",\"");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\":");
    if serde_json::to_writer(&mut *text, value).is_err() {
        text.truncate(start);
    }
}

/// UTC with milliseconds, `2026-11-21T18:45:00.123Z`.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days are counted from 0000-03-01, so that a leap day is the last of its year; 400 years have 146097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let day = day - (153 * shifted + 2) / 5 + 1;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_795_286_700, "2026-11-21T18:45:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
        assert!(rfc3339(UNIX_EPOCH + Duration::from_millis(7)).ends_with(":00.007Z"));
    }

    fn begun(text: &str) -> Entry {
        Entry { text: text.as_bytes().to_vec(), new_id: None, replaced: 0 }
    }

    const ENDING: Ending = Ending { status: 200, received: 1, sent: 2, took: Duration::from_micros(4215), app: None };

    #[test]
    fn a_value_cannot_end_its_string_or_its_line() {
        let mut text = Vec::new();
        field(&mut text, "path", Some("/\"\\\n\u{1}\u{e9}"));
        field(&mut text, "sni", None);
        assert_eq!(String::from_utf8(text).unwrap(), ",\"path\":\"/\\\"\\\\\\n\\u0001\u{e9}\"");
    }

    #[test]
    fn a_stdout_that_takes_nothing_costs_lines_and_no_requests() {
        let dropped = Counter::default();
        let log = Arc::new(AccessLog::new(dropped.clone()));
        for _ in 0..20_000 {
            log.end(begun(&"x".repeat(100)), ENDING);
        }
        assert!(log.lock().text.len() <= MOST_QUEUED);
        assert!(dropped.get() > 10_000, "{}", dropped.get());
    }

    #[test]
    fn all_lines_that_were_handed_over_are_written_before_the_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        let log = Arc::new(AccessLog::new(Counter::default()));
        let running = log.start(OwnedFd::from(writer)).unwrap();
        for index in 0..1000 {
            log.end(begun(&format!("{{\"n\":{index}")), ENDING);
        }
        let reading = std::thread::spawn(move || io::read_to_string(&mut reader).unwrap());
        drop(running);
        let text = reading.join().unwrap();
        assert_eq!(text.lines().count(), 1000);
        let expected = "{\"n\":999,\"status\":200,\"received_bytes\":1,\"sent_bytes\":2,\"seconds\":0.004215}";
        assert_eq!(text.lines().last(), Some(expected));
    }

    #[test]
    fn a_closed_stdout_ends_the_log_and_nothing_else() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let dropped = Counter::default();
        let log = Arc::new(AccessLog::new(dropped.clone()));
        let _running = log.start(OwnedFd::from(writer)).unwrap();
        kit_test::eventually("lines are dropped", Duration::from_secs(30), || {
            log.end(begun("{\"n\":0"), ENDING);
            dropped.get() > 0
        });
    }
}
