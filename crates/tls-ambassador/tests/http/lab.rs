//! A real ambassador in http mode between a raw app, which records every byte, and independent clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit_test::{Process, eventually, free_port};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the app does with one request: the bytes to answer, and whether it ends the connection then.
pub(crate) type Answer = (Vec<u8>, bool);

/// An app on a loopback port. Answers each request by its handler and keeps all bytes that it ever got.
pub(crate) struct App {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<u8>>>,
    connections: Arc<Mutex<usize>>,
}

impl App {
    pub(crate) fn start(handler: impl Fn(&str, &[u8]) -> Answer + Send + Sync + 'static) -> App {
        App::on(0, handler)
    }

    /// The same on a port that is known before.
    pub(crate) fn on(port: u16, handler: impl Fn(&str, &[u8]) -> Answer + Send + Sync + 'static) -> App {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let connections: Arc<Mutex<usize>> = Arc::default();
        let (log, count) = (Arc::clone(&seen), Arc::clone(&connections));
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                *count.lock().unwrap() += 1;
                let (log, handler) = (Arc::clone(&log), Arc::clone(&handler));
                std::thread::spawn(move || serve(socket, &log, handler.as_ref()));
            }
        });
        App { port, seen, connections }
    }

    /// Something else that listens on `port`.
    pub(crate) fn at(port: u16) -> App {
        App { port, seen: Arc::default(), connections: Arc::default() }
    }

    /// An app that answers with the request that it got, as the body.
    pub(crate) fn echo() -> App {
        App::start(|head, body| (ok(&[head.as_bytes(), body].concat()), false))
    }

    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// A 200 with `body`.
pub(crate) fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn serve(mut socket: TcpStream, log: &Mutex<Vec<u8>>, handler: &(impl Fn(&str, &[u8]) -> Answer + ?Sized)) {
    let mut got = Vec::new();
    let mut used = 0;
    loop {
        if let Some((head, body, end)) = request(&got[used..]) {
            used += end;
            let (answer, close) = handler(&head, &body);
            if socket.write_all(&answer).is_err() || close {
                return;
            }
            continue;
        }
        let mut block = [0; 65536];
        match socket.read(&mut block) {
            Ok(count) if count > 0 => {
                got.extend_from_slice(&block[..count]);
                log.lock().unwrap().extend_from_slice(&block[..count]);
            }
            _ => return,
        }
    }
}

/// Head, decoded body and length of the first whole request in `bytes`.
fn request(bytes: &[u8]) -> Option<(String, Vec<u8>, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let lower = head.to_ascii_lowercase();
    if lower.contains("transfer-encoding: chunked") {
        let mut at = end;
        let mut body = Vec::new();
        loop {
            let line = at + bytes[at..].windows(2).position(|window| window == b"\r\n")?;
            let size = std::str::from_utf8(&bytes[at..line]).ok()?;
            let size = usize::from_str_radix(size.split(';').next()?, 16).ok()?;
            if size == 0 {
                // Trailers, if there are any, end as a head does.
                let end = bytes[line..].windows(4).position(|window| window == b"\r\n\r\n")?;
                return Some((head, body, line + end + 4));
            }
            let next = line + 2 + size + 2;
            if bytes.len() < next {
                return None;
            }
            body.extend_from_slice(&bytes[line + 2..line + 2 + size]);
            at = next;
        }
    }
    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let whole = end + length.unwrap_or(0usize);
    (bytes.len() >= whole).then(|| (head, bytes[end..whole].to_vec(), whole))
}

/// An ambassador under test.
pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) admin: SocketAddr,
    pub(crate) process: Process,
}

impl Lab {
    /// In front of `app`, everybody let in unless `flags` say otherwise.
    pub(crate) fn open(app: &App, flags: &[&str]) -> Lab {
        Lab::start(app, &[&["--disable-authentication"], flags].concat(), tempfile::tempdir().unwrap())
    }

    /// In front of `app` with exactly these access rules; `dir` may hold files that they name.
    pub(crate) fn start(app: &App, flags: &[&str], dir: tempfile::TempDir) -> Lab {
        let (port, admin) = (free_port(), free_port());
        write_certificate(dir.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_tls-ambassador"));
        command.args(["server", "--mode", "http", "--threads", "1", "--cert", "tls.crt", "--key", "tls.key"]);
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        command.arg("--target").arg(format!("127.0.0.1:{}", app.port));
        command.arg("--admin-listen").arg(format!("127.0.0.1:{admin}"));
        command.args(flags).current_dir(dir.path());
        let mut process = Process::spawn(&mut command);
        eventually("it listens", PATIENCE, || {
            assert!(process.is_running(), "{}", process.stderr());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Lab { dir, port, admin: ([127, 0, 0, 1], admin).into(), process }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("tls.crt")
    }

    /// Sends each case on a connection of its own and returns what came back and how it ended.
    pub(crate) fn raw_parts(&self, wait: f64, cases: &[Vec<(f64, Vec<u8>)>]) -> Vec<(String, String)> {
        let cases: Vec<Vec<(f64, String)>> =
            cases.iter().map(|case| case.iter().map(|(pause, part)| (*pause, hex(part))).collect()).collect();
        let job = serde_json::json!({"port": self.port, "ca": self.ca(), "wait": wait, "cases": cases});
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/raw_client.py");
        let mut client = Command::new("/usr/bin/python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        client.stdin.take().unwrap().write_all(job.to_string().as_bytes()).unwrap();
        let output = client.wait_with_output().unwrap();
        let answers: Vec<(String, String)> = serde_json::from_slice(&output.stdout).expect("the client reports");
        answers.into_iter().map(|(answer, end)| (unhex(&answer), end)).collect()
    }

    pub(crate) fn raw(&self, cases: &[&str]) -> Vec<(String, String)> {
        let cases: Vec<_> = cases.iter().map(|case| vec![(0.0, case.as_bytes().to_vec())]).collect();
        self.raw_parts(20.0, &cases)
    }

    pub(crate) fn raw_one(&self, case: &str) -> (String, String) {
        self.raw(&[case]).remove(0)
    }

    /// curl with our certificate; returns its stdout.
    pub(crate) fn curl(&self, args: &[&str], path: &str) -> String {
        let url = format!("https://localhost:{}{path}", self.port);
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--path-as-is", "--cacert"])
            .arg(self.ca())
            .args(args)
            .arg(&url)
            .output()
            .expect("curl is installed");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// The status that curl sees.
    pub(crate) fn status(&self, args: &[&str], path: &str) -> String {
        self.curl(&[&["--output", "/dev/null", "--write-out", "%{http_code}"], args].concat(), path)
    }
}

fn write_certificate(dir: &std::path::Path) {
    if dir.join("tls.crt").exists() {
        return;
    }
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-keyout", "tls.key", "-out", "tls.crt", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .current_dir(dir)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> String {
    let bytes: Vec<u8> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
