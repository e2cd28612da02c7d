//! Certificates swapped in kubelet's manner while clients connect and talk: no request fails, every certificate is met.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::print_stderr, reason = "the counts are what one wants to see")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use kit_test::{LinkOrder, Mount, Process, eventually};
use support::pki::{Authority, Pair, openssl, text};
use support::{Door, Echo, PATIENCE, full, rough, verdict};

/// A tenth of the full run's.
const SWAPS: u32 = 100;

/// Processes of clients. Each has one thread: threads of one Python wait for one another.
const CLIENTS: usize = 3;

/// Certificates in turn for two keys, so that one of them with the other's key would be noticed.
struct Renewals<'a> {
    folder: &'a Path,
    root: &'a Authority,
    pairs: [Pair; 2],
}

impl Renewals<'_> {
    /// The certificate with serial number `generation`, and its key.
    fn issue(&self, generation: u32) -> (Vec<u8>, Vec<u8>) {
        let pair = &self.pairs[generation as usize % 2];
        let request = pair.cert.with_extension("csr");
        let extensions = pair.cert.with_extension("ext");
        let out: PathBuf = self.folder.join("renewed.crt");
        let serial = generation.to_string();
        openssl(&[
            "x509",
            "-req",
            "-in",
            text(&request),
            "-out",
            text(&out),
            "-CA",
            text(&self.root.ca.cert),
            "-CAkey",
            text(&self.root.ca.key),
            "-set_serial",
            &serial,
            "-extfile",
            text(&extensions),
            "-days",
            "30",
        ]);
        (std::fs::read(out).unwrap(), pair.key_bytes())
    }
}

fn met(clients: &[Process], generation: u32) -> bool {
    let line = format!("{{\"met\": \"{}\"}}", python_serial(generation));
    clients.iter().any(|client| client.stdout_contains(&line))
}

/// Python prints whole bytes in hexadecimal.
fn python_serial(generation: u32) -> String {
    let digits = format!("{generation:X}");
    if digits.len() % 2 == 0 { digits } else { format!("0{digits}") }
}

#[test]
fn s18_swaps_under_load_fail_no_request_and_every_certificate_is_met() {
    let swaps = if full() { 10 * SWAPS } else { SWAPS };
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let renewals = Renewals { folder: folder.path(), root: &root, pairs: [root.issue("even"), root.issue("odd")] };
    let volume = tempfile::tempdir().unwrap();
    // Before the load, which has the machine for itself then.
    let renewed: Vec<(Vec<u8>, Vec<u8>)> = (2..=swaps + 1).map(|generation| renewals.issue(generation)).collect();
    let (cert, key) = renewals.issue(1);
    let mut mount = Mount::new(volume.path(), LinkOrder::AfterSwap, &[("tls.crt", cert.as_slice()), ("tls.key", &key)]);
    let (cert, key) = (mount.path("tls.crt"), mount.path("tls.key"));
    let echo = Echo::start();
    let flags = ["--cert", text(&cert), "--key", text(&key), "--disable-authentication"];
    let door = Door::start("server", &echo.target(), &flags).ready();
    let clients: Vec<Process> = (0..CLIENTS).map(|_| rough(door.port, &root.ca.cert, "swaps", 1)).collect();
    eventually("the first certificate is met", PATIENCE, || met(&clients, 1));
    for (generation, (cert, key)) in (2..).zip(&renewed) {
        mount.publish(&[("tls.crt", cert), ("tls.key", key)]);
        eventually(&format!("certificate {generation} is met"), PATIENCE, || met(&clients, generation));
    }
    let verdicts: Vec<_> = clients.into_iter().map(|client| verdict(client, PATIENCE)).collect();
    let sum = |name: &str| verdicts.iter().map(|verdict| verdict[name].as_f64().unwrap()).sum::<f64>();
    assert_eq!(sum("failed"), 0.0, "{verdicts:?}");
    assert!(sum("new") * 2.0 >= sum("good"), "half of the requests come on new connections: {verdicts:?}");
    assert_eq!(door.metric("tls_ambassador_reload_total{result=\"ok\""), f64::from(swaps));
    let seconds = sum("seconds") / CLIENTS as f64;
    let rate = sum("good") / seconds;
    eprintln!("{swaps} swaps in {seconds:.0} s, {} requests, {rate:.0}/s, none failed", sum("good"));
    // The rate of the contract needs a machine of its own, and so does the full run.
    assert!(!full() || rate >= 500.0, "{rate:.0} requests/s");
    assert!(Duration::from_secs_f64(seconds) < Duration::from_secs(3600));
}
