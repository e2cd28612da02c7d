//! The access log and the app's own log, under rotation and on a full disk.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use kit_test::{Signal, Tmpfs, eventually, http_get};

use crate::app::{App, PATIENCE, rename};

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{} ends within a line", path.display());
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_request_that_was_answered_stands_in_the_access_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let app = App::start(&["--access-log", log.to_str().unwrap()]);
    app.send("GET /a%20b?c=d", "User-Agent: curl/8\r\nReferer: http://x/\"y\"\r\n");
    let line = lines(&log).remove(0);
    let (before, after) = line.split_once(" - - [").unwrap();
    let (stamp, rest) = after.split_once("] ").unwrap();
    assert_eq!(before, "127.0.0.1");
    assert_eq!((stamp.len(), &stamp[20..]), (26, " +0000"), "{stamp}");
    assert_eq!(rest, r#""GET /a%20b?c=d HTTP/1.1" 404 10 "http://x/\x22y\x22" "curl/8""#);
}

#[test]
fn rotations_under_load_lose_and_tear_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let app = App::start(&["--access-log", log.to_str().unwrap()]);
    let done = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (app, done) = (&app, &done);
                scope.spawn(move || requests(app, client, done))
            })
            .collect();
        for rotation in 1..=5 {
            // Opened again only after a line was written to the new name, as nobody waits in real life.
            eventually("lines in the log", PATIENCE, || fs::metadata(&log).is_ok_and(|log| log.len() > 500));
            rename(&log, &folder.path().join(format!("access.log.{rotation}")));
            signal(&app, Signal::USR1);
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
    });
    let mut written = Vec::new();
    for rotation in 1..=5 {
        written.extend(lines(&folder.path().join(format!("access.log.{rotation}"))));
    }
    eventually("the last rotation to be seen", PATIENCE, || log.exists());
    written.extend(lines(&log));
    assert_eq!(written.len(), sent);
    assert!(written.iter().all(|line| line.starts_with("127.0.0.1 - - [") && line.ends_with(r#" 200 3 "-" "-""#)));
    for client in 0..4 {
        let mine = format!("/healthz?{client}.");
        let numbers =
            written.iter().filter_map(|line| line.split(&mine).nth(1)?.split(' ').next()?.parse::<usize>().ok());
        assert!(
            numbers.eq(0..written.iter().filter(|line| line.contains(&mine)).count()),
            "client {client} is out of order"
        );
    }
}

fn signal(app: &App, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(app.process.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Numbered requests on one connection until told to stop; their number.
fn requests(app: &App, client: usize, done: &AtomicBool) -> usize {
    let mut stream = app.connect();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        write!(stream, "GET /healthz?{client}.{count} HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
        let ok = answers.by_ref().map(Result::unwrap).find(|line| line == "ok");
        assert!(ok.is_some());
        count += 1;
    }
    count
}

#[test]
fn a_full_disk_takes_lines_from_the_log_but_no_answer_from_the_client() {
    let Some(disk) = Tmpfs::of_size("a_full_disk_takes_lines_from_the_log_but_no_answer_from_the_client", 64 << 10)
    else {
        return;
    };
    let log = disk.path().join("access.log");
    let ballast = disk.path().join("ballast");
    let app = App::start(&["--access-log", log.to_str().unwrap(), "--admin-listen", "127.0.0.1:0"]);
    assert_eq!(app.status("/healthz"), 200);
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write(&[0; 4096]).is_ok_and(|count| count > 0) {}
    // A line has some 70 bytes: the page that the log already has is full long before this.
    for _ in 0..150 {
        assert_eq!(app.status("/healthz"), 200);
    }
    let metrics = http_get(app.admin(), "/metrics").body;
    let errors = metrics.lines().find_map(|line| line.strip_prefix("demo_app_log_errors_total{log=\"access\"} "));
    assert!(errors.and_then(|count| count.parse::<u32>().ok()).unwrap() > 10, "{metrics}");
    drop(file);
    fs::remove_file(&ballast).unwrap();
    assert_eq!(app.status("/after"), 404);
    let written = lines(&log);
    assert!(
        written.iter().all(|line| line.starts_with("127.0.0.1 - - [") && line.ends_with(r#""-" "-""#)),
        "{written:?}"
    );
    assert!(written.last().unwrap().contains("/after"));
    assert!(written.len() < 152, "the disk was not full");
}

#[test]
fn the_app_log_is_stamped_day_first_and_ends_with_a_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("ts.log");
    let mut app = App::start(&["--app-log", log.to_str().unwrap(), "--app-log-every", "5ms"]);
    eventually("ten lines", PATIENCE, || fs::read_to_string(&log).unwrap().lines().count() >= 10);
    rename(&log, &folder.path().join("ts.log.1"));
    app.process.signal(Signal::USR1);
    eventually("the new file", PATIENCE, || log.exists());
    app.process.signal(Signal::TERM);
    assert_eq!(app.process.wait_within(PATIENCE).code, Some(0));
    let mut written = lines(&folder.path().join("ts.log.1"));
    written.extend(lines(&log));
    for (index, line) in written.iter().enumerate() {
        let (stamp, rest) = line.split_at(19);
        let shape: String = stamp.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
        assert_eq!(shape, "00/00/0000T00:00:00", "{line}");
        assert!(rest.starts_with(&format!(" ents: line {}, ", index + 1)), "{line}");
    }
    assert!(written.last().unwrap().contains("the moot is over"));
}

#[test]
fn the_format_of_the_stamp_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("ts.log");
    let _app = App::start(&["--app-log", log.to_str().unwrap(), "--app-log-format", "<%Y/%m/%dT%T>"]);
    eventually("a line", PATIENCE, || fs::read_to_string(&log).unwrap().ends_with('\n'));
    let line = lines(&log).remove(0);
    assert!(line.starts_with("<20") && &line[20..22] == "> ", "{line}");
}

#[test]
fn elasticsearch_writes_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("docker-cluster_server.json");
    let _app = App::start(&["--shape", "elasticsearch", "--app-log", log.to_str().unwrap(), "--app-log-every", "5ms"]);
    eventually("two lines", PATIENCE, || fs::read_to_string(&log).unwrap().lines().count() >= 2);
    let text = fs::read_to_string(&log).unwrap();
    let whole = &text[..=text.rfind('\n').unwrap()];
    for line in whole.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&entry["type"], &entry["cluster.name"]), (&"server".into(), &"docker-cluster".into()), "{line}");
        assert!(entry["timestamp"].as_str().is_some_and(|stamp| stamp.len() == 24 && stamp.ends_with('Z')), "{line}");
    }
}
