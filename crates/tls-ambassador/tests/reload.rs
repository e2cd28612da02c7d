//! Certificates swapped in kubelet's manner while clients connect and talk: no request fails, every certificate is met.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::print_stderr, reason = "the count is what one wants to see")]

mod support;

use kit_test::{LinkOrder, Mount, eventually};
use support::pki::{Authority, Pair, text};
use support::{Door, Echo, PATIENCE, hello, peer};

/// A fiftieth of what `PODKIT_RELOADS=1000` at compile time asks for; each costs a few openssl processes and a Python one.
const SWAPS: u32 = 20;

fn publish(mount: &mut Mount, pair: &Pair) {
    mount.publish(&[("tls.crt", &pair.cert_bytes()), ("tls.key", &pair.key_bytes())]);
}

#[test]
fn s18_swaps_under_load_fail_no_request_and_every_certificate_is_met() {
    let swaps = option_env!("PODKIT_RELOADS").map_or(SWAPS, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let first = root.issue("gen-0");
    let volume = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 2] = [("tls.crt", &first.cert_bytes()), ("tls.key", &first.key_bytes())];
    let mut mount = Mount::new(volume.path(), LinkOrder::AfterSwap, &files);
    let (cert, key) = (mount.path("tls.crt"), mount.path("tls.key"));
    let echo = Echo::start();
    let flags = ["--cert", text(&cert), "--key", text(&key), "--disable-authentication"];
    let door = Door::start("server", &echo.target(), &flags).ready();
    let mut load = peer(&["flood", &door.port.to_string(), "--ca", text(&root.ca.cert)]);
    eventually("load", PATIENCE, || echo.connections() > 10);
    for generation in 1..=swaps {
        let name = format!("gen-{generation}");
        publish(&mut mount, &root.issue(&name));
        door.process.wait_for_stderr(&format!("CN={name}\""), PATIENCE);
        let said = hello(&door, &root, None);
        assert!(said.contains(&format!("\"cn\": \"{name}\"")), "{said}");
    }
    load.close_stdin();
    let said = String::from_utf8(load.wait_within(PATIENCE).stdout).unwrap();
    assert!(said.contains("\"failed\": 0,"), "{said}");
    assert_eq!(door.metric("tls_ambassador_reload_total{result=\"ok\""), f64::from(swaps));
    eprintln!("{swaps} swaps: {}", said.trim());
}
