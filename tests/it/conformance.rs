//! `cargo xtask conformance` with small suites of the forms that it knows: what it runs, and what it takes for a failure.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use xtask::conformance::known::Known;
use xtask::conformance::{Bench, Outcome, Ran, Row, find, ghostunnel, tlsfuzzer, wycheproof};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn known() -> Known {
    Known::read(&xtask::workspace::root().join("tests/conformance/known.toml")).unwrap()
}

fn rows(run: impl FnOnce(&Bench<'_>) -> anyhow::Result<Ran>) -> Vec<Row> {
    let ours = kit_test::tool("tls-ambassador");
    let known = known();
    let bench = Bench { binaries: ours.parent().unwrap(), python: Path::new("python3"), only: "", known: &known };
    match run(&bench).unwrap() {
        Ran::Rows(rows) => rows,
        Ran::Skipped(why) => panic!("skipped: {why}"),
    }
}

#[test]
fn ghostunnel_s_tests_start_our_program_in_its_ways_and_their_exit_codes_count() {
    let checkout = tempfile::tempdir().unwrap();
    let test = |name: &str, text: &str| write(&checkout.path().join(format!("tests/test-{name}.py")), text);
    write(
        &checkout.path().join("tests/common.py"),
        "import os\nROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))\n",
    );
    // A flag that only ghostunnel's ways know means that they hold; check says what it would do and ends.
    let both = "import os, subprocess, json\nfrom common import ROOT\n\
        newer = subprocess.run([ROOT + '/ghostunnel.cover', 'server', '--help'], capture_output=True)\n\
        older = dict(os.environ, GHOSTUNNEL_INTEGRATION_ARGS=json.dumps(['client', '--help']))\n\
        older = subprocess.run([ROOT + '/ghostunnel.test', '-test.run=x'], env=older, capture_output=True)\n\
        assert b'--allow-cn' in newer.stdout and newer.returncode == 0, newer\n\
        assert b'--verify-cn' in older.stdout and older.returncode == 0, older\n";
    test("server-both", both);
    test("server-bad", "print('it is broken')\nraise SystemExit(1)\n");
    test("server-skipped", "raise SystemExit(2)\n");
    test("server-acme-order", "raise SystemExit(1)\n");
    test("server-syslog", "pass\n");
    let rows = rows(|bench| ghostunnel::run(bench, checkout.path()));
    let outcome = |name: &str| rows.iter().find(|row| row.name == format!("test-{name}")).map(|row| &row.outcome);
    assert_eq!(outcome("server-both"), Some(&Outcome::Passed));
    assert!(matches!(outcome("server-bad"), Some(Outcome::Failed(said)) if said.contains("it is broken")), "{rows:?}");
    assert_eq!(outcome("server-skipped"), None);
    assert!(matches!(outcome("server-acme-order"), Some(Outcome::Known(_))), "{rows:?}");
    assert!(matches!(outcome("server-syslog"), Some(Outcome::Stale(_))), "{rows:?}");
    let left: Vec<PathBuf> = fs::read_dir(checkout.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 1, "nothing is written into the checkout: {left:?}");
}

#[test]
fn tlsfuzzer_s_scripts_meet_a_door_with_an_rsa_certificate_and_their_counts_are_read() {
    let checkout = tempfile::tempdir().unwrap();
    write(&checkout.path().join("tlsfuzzer/runner.py"), "");
    write(&checkout.path().join("tlslite/__init__.py"), "");
    let script = |name: &str, failed: usize| {
        let text = format!(
            "import socket, ssl, sys\n\
             context = ssl._create_unverified_context()\n\
             plain = socket.create_connection((sys.argv[2], int(sys.argv[4])))\n\
             tls = context.wrap_socket(plain, server_hostname='localhost')\n\
             tls.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n\
             assert tls.recv(4096).startswith(b'HTTP/1.1 200')\n\
             assert tls.cipher()[0].startswith('TLS_AES')\n\
             print('PASS: 2')\nprint('FAIL: {failed}')\nsys.exit({failed})\n"
        );
        write(&checkout.path().join(format!("scripts/test-{name}.py")), &text);
    };
    script("tls13-conversation", 0);
    script("tls13-ccs", 1);
    script("tls13-keyupdate", 1);
    let rows = rows(|bench| tlsfuzzer::run(bench, checkout.path()));
    let found: Vec<(&str, (usize, usize))> = rows.iter().map(|row| (row.name.as_str(), row.count)).collect();
    assert_eq!(found, [("tls13-conversation", (2, 2)), ("tls13-ccs", (2, 3)), ("tls13-keyupdate", (2, 3))]);
    assert_eq!(rows[0].outcome, Outcome::Passed);
    assert!(matches!(rows[1].outcome, Outcome::Failed(_)) && matches!(rows[2].outcome, Outcome::Known(_)), "{rows:?}");
}

/// RFC 7515 appendix A.3: a key and what it signed.
const KEY: [&str; 2] = ["f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"];
const SIGNED: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

#[test]
fn wycheproof_s_vectors_are_judged_by_whether_the_signature_was_taken() {
    let checkout = tempfile::tempdir().unwrap();
    let vector = |id: u32, jws: &str, result: &str| json!({"tcId": id, "comment": "c", "jws": jws, "result": result, "flags": []});
    let forged = SIGNED.replace(".DtEh", ".EtEh");
    let vectors = json!({"testGroups": [
        {"comment": "hmac", "private": {"kty": "oct", "k": "AAAA"}, "tests": [vector(9, SIGNED, "invalid")]},
        {"comment": "ec", "public": {"kty": "EC", "crv": "P-256", "use": "sig", "x": KEY[0], "y": KEY[1]}, "tests": [
            vector(1, SIGNED, "valid"), vector(2, &forged, "invalid"),
            // What such a file would say of a program that takes forgeries, and of one that refuses what is right.
            vector(3, &forged, "valid"), vector(4, SIGNED, "invalid"),
        ]},
        {"comment": "rsa", "public": {"kty": "RSA", "use": "sig", "n": "_".repeat(342), "e": "AQAB"}, "tests": [vector(5, &forged, "invalid")]},
    ]});
    write(&checkout.path().join(wycheproof::MARK), &vectors.to_string());
    let below = checkout.path().parent().unwrap().to_owned();
    assert_eq!(
        find(&[below.join("nothing"), checkout.path().to_owned()], wycheproof::MARK),
        Some(checkout.path().to_owned())
    );
    let rows = rows(|bench| wycheproof::run(bench, checkout.path()));
    let failed: Vec<&str> =
        rows.iter().filter(|row| row.outcome != Outcome::Passed).map(|row| row.name.as_str()).collect();
    assert_eq!((rows.len(), failed), (5, vec!["ec c 3", "ec c 4"]), "{rows:?}");
}
