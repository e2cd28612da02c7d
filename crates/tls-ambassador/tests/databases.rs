//! The D list with real servers and their own clients: PostgreSQL with psql, MariaDB with mariadb, MySQL with mysql.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

#[path = "databases/mysql.rs"]
mod mysql;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use kit_test::{Process, eventually, free_port};
use support::pki::{Authority, Pair, text};
use support::{Door, PATIENCE};
use tempfile::TempDir;

/// A folder that the database's user may enter, and files of the server that it alone may read.
struct Place {
    folder: TempDir,
    root: Authority,
    server: Pair,
    owner: Option<(u32, u32)>,
}

impl Place {
    fn new(user: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = Authority::new(folder.path(), "root");
        let server = root.issue("db");
        let place = Self { folder, root, server, owner: owner(user) };
        place.give(place.folder.path());
        place.give(&place.server.key);
        fs::set_permissions(&place.server.key, fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn give(&self, path: &Path) {
        if let Some((user, group)) = self.owner {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// The ambassador may read what the database owns: it runs as the tests do.
    fn tunnel(&self, port: u16, protocol: &str, flags: &[&str]) -> Door {
        let base = ["--starttls", protocol, "--cacert", text(&self.root.ca.cert)];
        Door::start("client", &format!("localhost:{port}"), &[base.as_slice(), flags].concat()).ready()
    }

    fn door(&self, target: &str, protocol: &str) -> Door {
        let (cert, key) = (text(&self.server.cert), text(&self.server.key));
        let flags = ["--starttls", protocol, "--cert", cert, "--key", key, "--disable-authentication"];
        Door::start("server", target, &flags).ready()
    }
}

/// The account of a database's package, when the tests run as root; databases refuse to run as root.
fn owner(user: &str) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user))?;
    let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
    (fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0))
        .then(|| (ids[0], ids[1]))
}

fn as_owner(place: &Place, program: &Path) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    if let Some((user, group)) = place.owner {
        command.uid(user).gid(group);
    }
    command.current_dir(place.folder.path());
    command
}

/// Debian keeps PostgreSQL's server programs out of the path, by version.
fn postgres_bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions.flatten().map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists())
}

struct Postgres {
    place: Place,
    process: Process,
    port: u16,
}

fn postgres(tls: bool) -> Option<Postgres> {
    let Some(bin) = postgres_bin() else {
        eprintln!("skipped: no PostgreSQL server under /usr/lib/postgresql");
        return None;
    };
    let place = Place::new("postgres");
    let data = place.path("data");
    let mut init = as_owner(&place, &bin.join("initdb"));
    let init = init.args(["-D", text(&data), "-U", "postgres", "-A", "trust", "--no-sync"]).output().unwrap();
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let port = free_port();
    let mut server = as_owner(&place, &bin.join("postgres"));
    server.args(["-D", text(&data), "-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
    server.args(["-c", &format!("unix_socket_directories={}", place.folder.path().display())]);
    if tls {
        server.args(["-c", "ssl=on", "-c", &format!("ssl_cert_file={}", text(&place.server.cert))]);
        server.args(["-c", &format!("ssl_key_file={}", text(&place.server.key))]);
        fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").unwrap();
    }
    let process = Process::spawn(&mut server);
    process.wait_for_stderr("ready to accept connections", PATIENCE);
    Some(Postgres { place, process, port })
}

fn psql(port: u16, options: &str, query: &str) -> Output {
    let target = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres connect_timeout=20 {options}");
    Command::new("psql").args([&target, "-XAtc", query]).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[test]
fn d01_d02_d03_a_plain_psql_reaches_a_postgres_that_takes_tls_only() {
    let Some(server) = postgres(true) else { return };
    let door = server.place.tunnel(server.port, "postgres", &["--run-connection-test"]);
    let query = "select version from pg_stat_ssl where pid = pg_backend_pid()";
    let plain = psql(door.port, "sslmode=disable gssencmode=disable", query);
    assert_eq!(stdout(&plain), "TLSv1.3", "{}", stderr(&plain));
    // This client asks for TLS on the local side, is told no, and goes on.
    let asking = psql(door.port, "sslmode=prefer", query);
    assert_eq!(stdout(&asking), "TLSv1.3", "{}", stderr(&asking));
    // A cancel request is a connection of its own; psql sends one on SIGINT.
    let target = format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable", door.port);
    let mut sleeping = Process::spawn(Command::new("psql").args([&target, "-XAtc", "select pg_sleep(300)"]));
    let running = "select count(*) from pg_stat_activity where query = 'select pg_sleep(300)' and state = 'active'";
    eventually("the query runs", PATIENCE, || stdout(&psql(door.port, "sslmode=disable", running)) == "1");
    sleeping.signal(kit_test::Signal::INT);
    let exit = sleeping.wait_within(PATIENCE);
    assert!(exit.stderr.contains("canceling statement due to user request"), "{}", exit.stderr);
    drop(server.process);
}

#[test]
fn psql_finds_the_tunnel_by_a_folder_and_may_speak_tls_to_it() {
    let Some(server) = postgres(true) else { return };
    let query = "select version from pg_stat_ssl where pid = pg_backend_pid()";
    let (cert, key) = (text(&server.place.server.cert), text(&server.place.server.key));
    let local = ["--local-cert", cert, "--local-key", key, "--pool-warm", "1"];
    let door = server.place.tunnel(server.port, "postgres", &local);
    let ca = text(&server.place.root.ca.cert);
    let whole = psql(door.port, &format!("host=localhost sslmode=verify-full sslrootcert={ca}"), query);
    assert_eq!(stdout(&whole), "TLSv1.3", "{}", stderr(&whole));
    assert!(!psql(door.port, "sslmode=disable", query).status.success(), "plain clients are refused then");

    let folder = tempfile::tempdir().unwrap();
    let (ca, target, admin) = (text(&server.place.root.ca.cert), format!("localhost:{}", server.port), free_port());
    let mut command = support::ambassador();
    command.args(["client", "--starttls", "postgres", "--cacert", ca, "--target", &target]);
    command.args(["--unix-socket", text(folder.path()), "--admin-listen", &format!("127.0.0.1:{admin}")]);
    let door = Door { process: Process::spawn(&mut command), port: 0, admin: ([127, 0, 0, 1], admin).into() }.ready();
    let options = format!("host={}", folder.path().display());
    let by_folder = psql(server.port, &options, query);
    assert_eq!(stdout(&by_folder), "TLSv1.3", "{}", stderr(&by_folder));
    assert_eq!(door.stop().code, Some(0));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the socket is removed at the end");
}

#[test]
fn d01_d05_a_postgres_without_tls_is_never_spoken_to_in_plain_text_and_a_door_gives_it_tls() {
    let Some(server) = postgres(false) else { return };
    let tunnel = server.place.tunnel(server.port, "postgres", &[]);
    let refused = psql(tunnel.port, "sslmode=disable", "select 1");
    assert!(!refused.status.success());
    let message = "FATAL:  tls-ambassador: the server does not offer TLS";
    assert!(stderr(&refused).contains(message), "{}", stderr(&refused));

    let door = server.place.door(&format!("127.0.0.1:{}", server.port), "postgres");
    let full = format!(
        "host=localhost hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={}",
        text(&server.place.root.ca.cert)
    );
    let through = psql(door.port, &full, "select 40 + 2");
    assert_eq!(stdout(&through), "42", "{}", stderr(&through));
    let plain = psql(door.port, "sslmode=disable", "select 1");
    let message = "this server accepts TLS only; use sslmode=require or verify-full";
    assert!(stderr(&plain).contains(message), "{}", stderr(&plain));

    // Door and tunnel back to back, also with TLS from the first byte as libpq 17 does it.
    for protocol in ["postgres", "postgres-direct"] {
        let tunnel = server.place.tunnel(door.port, protocol, &[]);
        let both = psql(tunnel.port, "sslmode=disable", "select 40 + 2");
        assert_eq!(stdout(&both), "42", "{protocol}: {}", stderr(&both));
    }
}

#[test]
fn d01_a_password_by_scram_passes_although_the_server_offers_to_bind_it_to_tls() {
    let Some(mut server) = postgres(true) else { return };
    let role = "create role app login password 'secret'";
    let tunnel = server.place.tunnel(server.port, "postgres", &[]);
    assert!(psql(tunnel.port, "sslmode=disable", role).status.success());
    let hba = "hostssl all app 127.0.0.1/32 scram-sha-256\nhostssl all all 127.0.0.1/32 trust\n";
    fs::write(server.place.path("data").join("pg_hba.conf"), hba).unwrap();
    server.process.signal(kit_test::Signal::HUP);
    let log_in = |port: u16, password: &str| {
        let target = format!("host=127.0.0.1 port={port} user=app dbname=postgres sslmode=disable connect_timeout=20");
        let query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        Command::new("psql").env("PGPASSWORD", password).args([&target, "-XAtc", query]).output().unwrap()
    };
    eventually("passwords are asked for", PATIENCE, || !log_in(tunnel.port, "wrong").status.success());
    let refused = stderr(&log_in(tunnel.port, "wrong"));
    assert!(refused.contains("password authentication failed for user \"app\""), "{refused}");
    let output = log_in(tunnel.port, "secret");
    assert_eq!(stdout(&output), "t", "{}", stderr(&output));
}

#[test]
fn d06_copies_and_backups_of_many_megabytes_come_through_whole() {
    let Some(mut server) = postgres(true) else { return };
    let hba = "hostssl all all 127.0.0.1/32 trust\nhostssl replication all 127.0.0.1/32 trust\n";
    fs::write(server.place.path("data").join("pg_hba.conf"), hba).unwrap();
    server.process.signal(kit_test::Signal::HUP);
    let tunnel = server.place.tunnel(server.port, "postgres", &[]);
    // 64 MiB each way; what arrives is added up by the server and compared with what it sent.
    let rows = "select i, repeat(md5(i::text), 64) from generate_series(1, 32768) i";
    let folder = server.place.path("copied");
    let out = psql(tunnel.port, "sslmode=disable", &format!("\\copy ({rows}) to '{}'", folder.display()));
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(fs::metadata(&folder).unwrap().len() > 64 << 20);
    for query in ["create table t(i int, x text)".to_owned(), format!("\\copy t from '{}'", folder.display())] {
        let done = psql(tunnel.port, "sslmode=disable", &query);
        assert!(done.status.success(), "{}", stderr(&done));
    }
    let same = format!("select count(*) from t join ({rows}) r(i, x) using (i, x)");
    assert_eq!(stdout(&psql(tunnel.port, "sslmode=disable", &same)), "32768");
    // A base backup speaks the replication protocol and brings the table's files.
    eventually("the replication entry is read", PATIENCE, || {
        let backup = server.place.path("backup");
        let _earlier = fs::remove_dir_all(&backup);
        let mut command = Command::new(postgres_bin().unwrap().join("pg_basebackup"));
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-X", "none", "-c", "fast", "--no-sync"]);
        command.args(["-p", &tunnel.port.to_string(), "-D", text(&backup)]).env("PGSSLMODE", "disable");
        let done = command.output().unwrap();
        done.status.success() && backup.join("backup_manifest").exists()
    });
}

#[test]
fn d05_bytes_behind_the_request_for_tls_and_plain_startups_never_reach_the_server() {
    let place = Place::new("nobody");
    let echo = support::Echo::start();
    let door = place.door(&echo.target(), "postgres");
    let request = [0, 0, 0, 8, 4, 210, 22, 47];
    let gss = [0, 0, 0, 8, 4, 210, 22, 48];
    let startup = b"\0\0\0\x10\0\x03\0\0user\0a\0\0";
    let say = |bytes: &[u8]| {
        let mut client = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(bytes).unwrap();
        let _half = client.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ended = client.read_to_end(&mut answer);
        answer
    };
    assert_eq!(say(&gss), b"N", "GSS encryption is declined, and the client may go on");
    assert!(say(&[gss, request].concat()).starts_with(b"NS"));
    // Slipped in plain text behind the request (CVE-2021-23214): part of the handshake, which it breaks.
    assert!(say(&[request.as_slice(), startup].concat()).starts_with(b"S"));
    assert!(say(startup).starts_with(b"E"));
    assert_eq!(echo.connections(), 0, "nothing of it reached the server");
}

#[test]
fn d04_direct_tls_without_the_protocol_name_is_refused() {
    let place = Place::new("nobody");
    let door = place.door("127.0.0.1:1", "postgres");
    let port = door.port.to_string();
    let ca = text(&place.root.ca.cert);
    let said = support::ask(&["echo", &port, "--ca", ca]);
    assert!(said.contains("\"ok\": false"), "{said}");
    door.process.wait_for_stderr("direct TLS without ALPN postgresql", PATIENCE);
}

/// A fake server that answers one connection, for what real ones do not do.
fn scripted(script: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || script(listener.accept().unwrap().0));
    port
}

#[test]
fn d01_an_error_or_bytes_slipped_in_before_tls_end_the_tunnel_and_are_not_shown() {
    let place = Place::new("nobody");
    for (answer, reason) in [
        (
            b"E\0\0\0\x20SFATAL\0Mplease send money\0\0".as_slice(),
            "the server answers the request for TLS with an error",
        ),
        (b"SE\0\0\0\x20SFATAL\0Mplease send money\0\0", "TLS: "),
        (b"x", "the server does not speak PostgreSQL"),
    ] {
        let port = scripted(move |mut stream| {
            stream.read_exact(&mut [0; 8]).unwrap();
            stream.write_all(answer).unwrap();
            let _ended = stream.read_to_end(&mut Vec::new());
        });
        let tunnel = place.tunnel(port, "postgres", &[]);
        let refused = psql(tunnel.port, "sslmode=disable", "select 1");
        let said = stderr(&refused);
        assert!(said.contains(&format!("tls-ambassador: {reason}")) && !said.contains("money"), "{said}");
    }
}

struct MariaDb {
    place: Place,
    _process: Process,
    port: u16,
}

fn mariadb(tls: bool) -> Option<MariaDb> {
    let server = ["/usr/sbin/mariadbd", "/usr/sbin/mysqld"].map(PathBuf::from).into_iter().find(|path| path.exists());
    let Some(server) = server else {
        eprintln!("skipped: no mariadbd under /usr/sbin");
        return None;
    };
    let place = Place::new("mysql");
    let data = place.path("data");
    fs::create_dir(&data).unwrap();
    place.give(&data);
    let socket = place.path("my.sock");
    let start = place.path("init.sql");
    // Named for the very host: an anonymous account for it would be preferred to one for any host.
    fs::write(&start, "CREATE USER app@localhost IDENTIFIED BY 'secret';\nGRANT ALL ON *.* TO app@localhost;\n")
        .unwrap();
    let install = as_owner(&place, Path::new("/usr/bin/mariadb-install-db"))
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .arg(format!("--datadir={}", data.display()))
        .output()
        .unwrap();
    assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
    let port = free_port();
    let mut command = as_owner(&place, &server);
    command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-log-bin"]);
    command.arg(format!("--datadir={}", data.display())).arg(format!("--port={port}"));
    command.arg(format!("--socket={}", socket.display())).arg(format!("--init-file={}", start.display()));
    if tls {
        command.arg(format!("--ssl-cert={}", text(&place.server.cert)));
        command.arg(format!("--ssl-key={}", text(&place.server.key)));
        command.arg("--require-secure-transport=ON");
    }
    let process = Process::spawn(&mut command);
    process.wait_for_stderr("ready for connections", PATIENCE);
    Some(MariaDb { place, _process: process, port })
}

fn mariadb_client(port: u16, password: &str, options: &[&str]) -> Output {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-uapp", "-N", "-B"]);
    command.arg(format!("-P{port}")).arg(format!("-p{password}")).arg("--connect-timeout=20");
    command.args(options).args(["-e", "show status like 'Ssl_version'; select 40 + 2"]).output().unwrap()
}

#[test]
fn d07_a_plain_mariadb_client_reaches_a_server_that_takes_tls_only() {
    let Some(server) = mariadb(true) else { return };
    let direct = mariadb_client(server.port, "secret", &["--skip-ssl"]);
    assert!(!direct.status.success(), "the server must insist on TLS for this test to mean anything");
    let tunnel = server.place.tunnel(server.port, "mysql", &["--run-connection-test"]);
    let output = mariadb_client(tunnel.port, "secret", &["--skip-ssl"]);
    assert_eq!(stdout(&output), "Ssl_version\tTLSv1.3\n42", "{}", stderr(&output));
    // With a certificate of its own, the tunnel takes clients that insist on TLS, and no others.
    let (cert, key) = (text(&server.place.server.cert), text(&server.place.server.key));
    let both = server.place.tunnel(server.port, "mysql", &["--local-cert", cert, "--local-key", key]);
    let ca = format!("--ssl-ca={}", text(&server.place.root.ca.cert));
    let checked = ["--ssl", &ca, "--ssl-verify-server-cert", "-hlocalhost"];
    let output = mariadb_client(both.port, "secret", &checked);
    assert_eq!(stdout(&output), "Ssl_version\tTLSv1.3\n42", "{}", stderr(&output));
    let wrong = mariadb_client(both.port, "wrong", &checked);
    assert!(stderr(&wrong).contains("Access denied for user 'app'"), "{}", stderr(&wrong));
    let open = mariadb_client(both.port, "secret", &["--skip-ssl"]);
    assert!(stderr(&open).contains("this server accepts TLS only"), "{}", stderr(&open));
    let elsewhere = Place::new("elsewhere");
    let strangers = elsewhere.tunnel(server.port, "mysql", &["--local-cert", cert, "--local-key", key]);
    let told = mariadb_client(strangers.port, "secret", &checked);
    assert!(stderr(&told).contains("tls-ambassador: TLS: "), "{}", stderr(&told));
    let wrong = mariadb_client(tunnel.port, "wrong", &["--skip-ssl"]);
    assert!(stderr(&wrong).contains("Access denied for user 'app'"), "{}", stderr(&wrong));
    // Statements far longer than one read, and answers as well, come through whole.
    let long = format!("select length('{}')", "x".repeat(300_000));
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-uapp", "-psecret", "-N", "-B", "--skip-ssl"]);
    let mut child = command
        .arg(format!("-P{}", tunnel.port))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(long.as_bytes()).unwrap();
    assert_eq!(stdout(&child.wait_with_output().unwrap()), "300000");
}

#[test]
fn d07_d08_a_mariadb_without_tls_is_refused_and_a_door_gives_it_tls() {
    let Some(server) = mariadb(false) else { return };
    let tunnel = server.place.tunnel(server.port, "mysql", &[]);
    let refused = mariadb_client(tunnel.port, "secret", &["--skip-ssl"]);
    assert!(stderr(&refused).contains("tls-ambassador: the server does not offer TLS"), "{}", stderr(&refused));
    let (cert, key) = (text(&server.place.server.cert), text(&server.place.server.key));
    let local = server.place.tunnel(server.port, "mysql", &["--local-cert", cert, "--local-key", key]);
    let refused = mariadb_client(local.port, "secret", &["--ssl"]);
    assert!(stderr(&refused).contains("tls-ambassador: the server does not offer TLS"), "{}", stderr(&refused));

    let door = server.place.door(&format!("127.0.0.1:{}", server.port), "mysql");
    let ca = format!("--ssl-ca={}", text(&server.place.root.ca.cert));
    let through = mariadb_client(door.port, "secret", &["--ssl", &ca, "--ssl-verify-server-cert", "-hlocalhost"]);
    assert!(stdout(&through).ends_with("42"), "{}", stderr(&through));
    let plain = mariadb_client(door.port, "secret", &["--skip-ssl"]);
    assert!(stderr(&plain).contains("this server accepts TLS only"), "{}", stderr(&plain));
    let both = server.place.tunnel(door.port, "mysql", &[]);
    let output = mariadb_client(both.port, "secret", &["--skip-ssl"]);
    assert!(stdout(&output).ends_with("42"), "{}", stderr(&output));
}

#[test]
fn d08_d09_a_server_that_refuses_is_relayed_and_one_that_is_silent_is_given_up() {
    let place = Place::new("nobody");
    let port = scripted(|mut stream| {
        let payload = b"\xff\x10\x04Too many connections";
        stream.write_all(&[payload.len() as u8, 0, 0, 0]).unwrap();
        stream.write_all(payload).unwrap();
        let _ended = stream.read_to_end(&mut Vec::new());
    });
    let tunnel = place.tunnel(port, "mysql", &[]);
    let mut client = TcpStream::connect(("127.0.0.1", tunnel.port)).unwrap();
    let mut said = Vec::new();
    client.read_to_end(&mut said).unwrap();
    assert!(said.ends_with(b"Too many connections"), "{said:?}");

    let port = scripted(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let tunnel = place.tunnel(port, "mysql", &["--connect-timeout", "500ms"]);
    let mut client = TcpStream::connect(("127.0.0.1", tunnel.port)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut buffer = [0; 256];
    let ended = client.read(&mut buffer);
    let said = tunnel.process.stderr();
    assert!(matches!(ended, Ok(0)), "a silent server must end the connection: {ended:?} {buffer:?} {said}");
}
