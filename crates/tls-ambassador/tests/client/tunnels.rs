//! Several tunnels in one process, each with its own idea of which server is the right one.

use kit_test::{eventually, free_port};

use super::pki;
use super::support::pki::{Authority, text};
use super::support::{Door, PATIENCE, plain, run, tls_server};

fn through(port: u16) -> bool {
    plain(port, b"ping").is_ok_and(|answer| answer == b"ping")
}

#[test]
fn each_tunnel_of_a_file_checks_its_server_by_its_own_rules() {
    let pki = pki();
    let stranger = Authority::new(&tempfile::tempdir_in(pki.folder.path()).unwrap().keep(), "other").issue("else");
    let (_one, port1) = pki.serve(&pki.server1);
    let (two, port2) = pki.serve(&pki.server2);
    let (_other, port3) = tls_server(&["--cert", text(&stranger.cert), "--key", text(&stranger.key)]);
    let pin = stranger.pin();
    let listeners: Vec<u16> = std::iter::repeat_with(free_port).take(5).collect();
    let route = |index: usize, target: u16, rules: &str| {
        let listen = listeners[index];
        format!(
            "[[route]]\nname = \"r{index}\"\nlisten = \"127.0.0.1:{listen}\"\ntarget = \"localhost:{target}\"\n{rules}\n"
        )
    };
    let routes = [
        // The flags' rule, which is about the first server.
        route(0, port1, ""),
        // Either of two, instead of the flags' one.
        route(1, port2, "verify-cn = [\"nobody\", \"server2\"]"),
        // A key of another authority, which alone decides.
        route(2, port3, &format!("verify-spki-pin = \"{pin}\"")),
        route(3, port2, "verify-dns = \"server1\""),
        // A route whose rules are the flags' again.
        route(4, port2, ""),
    ];
    let file = pki.folder.path().join("tunnels.toml");
    std::fs::write(&file, format!("cacert = \"{}\"\nverify-cn = \"server1\"\n{}", pki.ca(), routes.concat())).unwrap();
    let unused = format!("localhost:{port1}");
    let door = Door::start("client", &unused, &["--config", text(&file)]).ready();
    let worked: Vec<bool> = listeners.iter().map(|port| through(*port)).collect();
    assert_eq!(worked, [true, true, true, false, false], "{}", door.process.stderr());
    two.wait_for_stdout("alert access denied", PATIENCE);
    for refused in ["r3", "r4"] {
        let name = format!("tls_ambassador_connections_total{{listener=\"{refused}\",result=\"denied\"}}");
        // Counted when the connection is over, which its client may see first.
        eventually(&format!("{name} 1"), PATIENCE, || door.metric(&name) == 1.0);
    }
}

#[test]
fn check_prints_which_servers_each_tunnel_accepts() {
    let pki = pki();
    let ca = pki.ca();
    let pin = pki.server1.pin();
    let routes = [
        "a:listen=127.0.0.1:1,target=db.example:5432,starttls=postgres,verify-cn=db,verify-uri=spiffe://*/db"
            .to_owned(),
        format!("b:listen=127.0.0.1:2,target=10.0.0.1:6379,verify-spki-pin={pin}"),
        "c:listen=127.0.0.1:3,target=es.example:9200,server-name=search.example".to_owned(),
    ];
    let base =
        ["check", "client", "--cacert", ca, "--listen", "127.0.0.1:4", "--target", "x.example:1", "--verify-ou", "ops"];
    let flags = routes.iter().flat_map(|route| ["--route", route]);
    let exit = run(&base.into_iter().chain(flags).collect::<Vec<_>>());
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let lines: Vec<&str> = exit.stderr.lines().collect();
    let expected = [
        "client 127.0.0.1:4 -> x.example:1".to_owned(),
        format!("  accepted: the server \"x.example\" with ou \"ops\" (signed by {ca})"),
        "client 127.0.0.1:1 -> db.example:5432, starttls postgres (a)".to_owned(),
        format!("  accepted: the server \"db.example\" with cn \"db\", uri \"spiffe://*/db\" (signed by {ca})"),
        "client 127.0.0.1:2 -> 10.0.0.1:6379 (b)".to_owned(),
        format!("  accepted: key {pin}, whatever the rest of the certificate says"),
        "client 127.0.0.1:3 -> es.example:9200 (c)".to_owned(),
        format!("  accepted: the server \"search.example\" with ou \"ops\" (signed by {ca})"),
    ];
    assert_eq!(lines[..8], expected, "{}", exit.stderr);
    let public = run(&["check", "client", "--listen", "127.0.0.1:4", "--target", "x.example:1"]);
    let accepted = public.stderr.lines().nth(1);
    assert_eq!(accepted, Some("  accepted: the server \"x.example\" (signed by a public authority)"));
}

#[test]
fn wrong_rules_about_servers_are_refused_by_the_names_of_their_routes() {
    let pki = pki();
    let pin = format!("verify-spki-pin={}", pki.server1.pin());
    let refused = |mode: &str, route: &str, flags: &[&str]| {
        let route = format!("db:listen=127.0.0.1:0,target=127.0.0.1:1,{route}");
        let exit = run(&[&["check", mode, "--route", &route, "--cacert", pki.ca()], flags].concat());
        assert_eq!(exit.code, Some(2), "{route}: {}", exit.stderr);
        exit.stderr.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    };
    assert_eq!(
        refused("client", &format!("{pin},verify-cn=x"), &[]),
        "route db: verify-spki-pin alone decides, so other verify- rules would not count"
    );
    assert_eq!(
        refused("server", "verify-cn=x,disable-authentication", &["--disable-authentication"]),
        "route db has verify- rules, which are about a client's server"
    );
}

#[test]
fn a_server_that_wants_another_certificate_is_told_of_and_fails_the_connection_test() {
    let pki = pki();
    let (cert, key) = (text(&pki.server1.cert), text(&pki.server1.key));
    // Asks for a certificate of its authority, and judges it once the client has finished its part (TLS 1.3).
    let (_server, port) = tls_server(&["--cert", cert, "--key", key, "--ca", pki.ca()]);
    let silent = pki.tunnel(port, &[]);
    assert!(!through(silent.port));
    let line = silent.process.wait_for_stderr("the server ended the session", PATIENCE);
    assert!(line.contains("WARN") && line.contains("CertificateRequired"), "{line}");
    let reason = "tls_ambassador_handshake_failures_total{reason=\"peer_refused\"";
    eventually("it is counted", PATIENCE, || silent.metric(reason) == 1.0);

    let target = format!("localhost:{port}");
    let base = ["client", "--listen", "127.0.0.1:0", "--target", &target, "--admin-listen", "127.0.0.1:0"];
    let exit = run(&[&base[..], &["--cacert", pki.ca(), "--run-connection-test"]].concat());
    let expected = format!(
        "error: the connection test to {target} failed: the server ended the session: received fatal alert: CertificateRequired"
    );
    assert_eq!((exit.code, exit.stderr.lines().next()), (Some(1), Some(expected.as_str())), "{}", exit.stderr);
    let own = ["--cert", text(&pki.client1.cert), "--key", text(&pki.client1.key), "--run-connection-test"];
    assert!(through(pki.tunnel(port, &own).port));
}
