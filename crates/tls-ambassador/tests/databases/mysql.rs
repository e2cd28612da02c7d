//! MySQL 8 and later with its own client: accounts whose first login sends the password itself (`caching_sha2_password`).

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use kit_test::{Process, free_port};

use super::support::pki::text;
use super::support::{Door, PATIENCE, variable};
use super::{Place, as_owner, stderr, stdout};

/// A program of this name on the path that is MySQL's and not MariaDB's.
fn oracles(name: &str) -> Option<PathBuf> {
    let path = variable("PATH")?;
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    places.find(|program| {
        let said = Command::new(program).arg("--version").output();
        said.is_ok_and(|said| said.status.success() && !String::from_utf8_lossy(&said.stdout).contains("MariaDB"))
    })
}

struct MySql {
    place: Place,
    _process: Process,
    client: PathBuf,
    port: u16,
    socket: PathBuf,
}

/// A server with the account `app`, which never logged in.
fn mysql(tls: bool) -> Option<MySql> {
    let (Some(server), Some(client)) = (oracles("mysqld"), oracles("mysql")) else {
        eprintln!("skipped: no mysqld and mysql of MySQL 8 or later on the path");
        return None;
    };
    let place = Place::new("mysql");
    let data = place.path("data");
    let start = place.path("init.sql");
    fs::write(&start, "CREATE USER app@'%' IDENTIFIED WITH caching_sha2_password BY 'secret';\n").unwrap();
    let data_flag = format!("--datadir={}", data.display());
    let mut install = as_owner(&place, &server);
    let installed = install.args(["--no-defaults", "--initialize-insecure", &data_flag]).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let (port, socket) = (free_port(), place.path("my.sock"));
    let mut command = as_owner(&place, &server);
    command.args([
        "--no-defaults",
        "--bind-address=127.0.0.1",
        "--skip-log-bin",
        "--mysqlx=OFF",
        "--secure-file-priv=",
        &data_flag,
    ]);
    command.arg(format!("--port={port}")).arg(format!("--socket={}", socket.display()));
    command.arg(format!("--init-file={}", start.display())).arg("--innodb-buffer-pool-size=16M");
    if tls {
        let (cert, key) = (text(&place.server.cert), text(&place.server.key));
        command.arg(format!("--ssl-cert={cert}")).arg(format!("--ssl-key={key}")).arg("--require-secure-transport=ON");
    }
    let process = Process::spawn(&mut command);
    process.wait_for_stderr("ready for connections", PATIENCE);
    Some(MySql { place, _process: process, client, port, socket })
}

impl MySql {
    /// Logs in and asks something.
    fn login(&self, password: &str, way: &[&str]) -> Output {
        let mut command = Command::new(&self.client);
        command.args(["--no-defaults", "-uapp", "-N", "-B", "--connect-timeout=20"]).args(way);
        command.arg(format!("-p{password}")).args(["-e", "select 40 + 2"]).output().unwrap()
    }

    fn over_tls(&self, door: &Door) -> Output {
        let ca = format!("--ssl-ca={}", text(&self.place.root.ca.cert));
        let port = format!("-P{}", door.port);
        self.login("secret", &["--protocol=tcp", "-h127.0.0.1", &port, &ca, "--ssl-mode=VERIFY_CA"])
    }

    /// Over TCP without TLS, where the client asks for the server's RSA key.
    fn plainly(&self, port: u16) -> Output {
        let port = format!("-P{port}");
        self.login(
            "secret",
            &["--protocol=tcp", "-h127.0.0.1", &port, "--ssl-mode=DISABLED", "--get-server-public-key"],
        )
    }

    /// Makes the next login a first one.
    fn forget(&self) {
        let socket = format!("--socket={}", self.socket.display());
        let mut command = Command::new(&self.client);
        command.args(["--no-defaults", "-uroot", &socket, "-e", "FLUSH PRIVILEGES"]);
        let forgot = command.output().unwrap();
        assert!(forgot.status.success(), "{}", stderr(&forgot));
    }
}

#[test]
fn d07_the_first_login_of_mysql_8_goes_through_a_local_side_with_tls_or_on_a_socket() {
    let Some(server) = mysql(true) else { return };
    let refused = server.plainly(server.port);
    assert!(!refused.status.success(), "the server must insist on TLS for this test to mean anything");

    let (cert, key) = (text(&server.place.server.cert), text(&server.place.server.key));
    let local = server.place.tunnel(server.port, "mysql", &["--local-cert", cert, "--local-key", key]);
    let first = server.over_tls(&local);
    assert_eq!(stdout(&first), "42", "{}", stderr(&first));

    // Forgotten, so that the plain tunnel meets a first login.
    server.forget();
    let plain = server.place.tunnel(server.port, "mysql", &["--run-connection-test"]);
    let told = server.plainly(plain.port);
    let expected = "tls-ambassador: the first caching_sha2_password login must not go through a tunnel";
    assert!(stderr(&told).contains(expected), "{}", stderr(&told));

    // On a socket the client knows that nobody listens, and says the password itself, as over TLS.
    let front = server.place.path("front.sock");
    let flags = ["--starttls", "mysql", "--cacert", text(&server.place.root.ca.cert)];
    let listen = format!("unix:{},mode=0666", front.display());
    let on_socket = Door::start_on("client", &listen, &format!("localhost:{}", server.port), &flags).ready();
    let first = server.login("secret", &[&format!("--socket={}", front.display()), "--ssl-mode=DISABLED"]);
    assert_eq!(stdout(&first), "42", "{}: {}", stderr(&first), on_socket.process.stderr());

    // The server knows the password again: now the plain tunnel will do, and still for the right password only.
    let second = server.plainly(plain.port);
    assert_eq!(stdout(&second), "42", "{}", stderr(&second));
}

#[test]
fn d07_a_door_in_front_of_a_plain_mysql_8_takes_its_first_login() {
    let Some(server) = mysql(false) else { return };
    let by_socket = server.place.door(&format!("unix:{}", server.socket.display()), "mysql");
    let first = server.over_tls(&by_socket);
    assert_eq!(stdout(&first), "42", "{}: {}", stderr(&first), by_socket.process.stderr());
    let by_port = server.place.door(&format!("127.0.0.1:{}", server.port), "mysql");
    let cached = server.over_tls(&by_port);
    assert_eq!(stdout(&cached), "42", "{}", stderr(&cached));
    server.forget();
    let first = server.over_tls(&by_port);
    assert_eq!(stdout(&first), "42", "{}: {}", stderr(&first), by_port.process.stderr());
}
