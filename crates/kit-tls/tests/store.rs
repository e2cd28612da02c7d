//! Material from files that change in all the ways that a pod has.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod pki;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use kit_test::{LinkOrder, Mount};
use kit_tls::server::{Files, Settings, load};
use kit_tls::{Event, Policy, Store, rustls};
use pki::{Authority, EC, Pair};
use tokio::sync::Notify;

fn settings() -> Settings {
    Settings::for_everybody(Policy::default(), Vec::new())
}

fn files(cert: impl AsRef<Path>, key: impl AsRef<Path>) -> Files {
    Files { pair: Some((cert.as_ref().to_owned(), key.as_ref().to_owned())), ..Files::default() }
}

fn open(files: &Files) -> Result<Store<rustls::ServerConfig>, kit_tls::LoadError> {
    let loaded = files.clone();
    Store::open(files.paths(), move || load(&loaded, &settings()))
}

fn publish(mount: &mut Mount, cert: &Pair, key: &Pair) {
    mount.publish(&[("tls.crt", &cert.cert_bytes()), ("tls.key", &key.key_bytes())]);
}

/// Runs `test` while the store follows its files; `told` collects what became of each change.
async fn following(store: &Store<rustls::ServerConfig>, test: impl AsyncFnOnce(&Notify, &Mutex<Vec<String>>)) {
    let told = Mutex::new(Vec::new());
    let now = Notify::new();
    let tell = |event: Event<'_, rustls::ServerConfig>| {
        told.lock().unwrap().push(match event {
            Event::Replaced(material) => format!("replaced {}", material.certificates[0].leaf.subject),
            Event::Refused(error) => format!("refused {error}"),
        });
    };
    tokio::select! {
        () = store.follow(&now, tell) => unreachable!("a store follows for ever"),
        () = test(&now, &told) => {}
    }
}

async fn until(told: &Mutex<Vec<String>>, count: usize) -> Vec<String> {
    let waiting = async {
        while told.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the change is noticed");
    told.lock().unwrap().clone()
}

#[tokio::test]
async fn l10_a_torn_swap_is_refused_and_the_good_one_after_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "root");
    let (first, second) = (authority.issue("first"), authority.issue("second"));
    let root = tempfile::tempdir().unwrap();
    let pair = [("tls.crt", first.cert_bytes()), ("tls.key", first.key_bytes())];
    let pair = pair.each_ref().map(|(key, bytes)| (*key, bytes.as_slice()));
    let mut mount = Mount::new(root.path(), LinkOrder::AfterSwap, &pair);
    let store = open(&files(mount.path("tls.crt"), mount.path("tls.key"))).unwrap();
    let before = store.current();
    // Nobody follows yet: what changes after the first load is noticed all the same.
    publish(&mut mount, &second, &first);
    following(&store, async |_, told| {
        let refused = until(told, 1).await;
        let (cert, key) = (mount.path("tls.crt"), mount.path("tls.key"));
        let expected = format!(
            "refused {} and {} are not a pair: the key belongs to another certificate",
            cert.display(),
            key.display()
        );
        assert_eq!(refused, [expected]);
        assert!(Arc::ptr_eq(&before, &store.current()));
        publish(&mut mount, &second, &second);
        assert_eq!(until(told, 2).await[1], "replaced OU=second,CN=second");
        assert_eq!(store.current().certificates[0].leaf.cn.as_deref(), Some("second"));
    })
    .await;
}

#[tokio::test]
async fn a_reload_to_an_expired_or_broken_certificate_keeps_the_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "root");
    let (good, expired) = (authority.issue("good"), authority.issue_with("old", EC, "DNS:old", -1));
    let used = tempfile::tempdir().unwrap();
    let (cert, key) = (used.path().join("tls.pem"), used.path().join("tls.pem"));
    let both = |pair: &Pair| [pair.cert_bytes(), pair.key_bytes()].concat();
    std::fs::write(&cert, both(&good)).unwrap();
    let store = open(&files(&cert, &key)).unwrap();
    following(&store, async |_, told| {
        std::fs::write(&cert, both(&expired)).unwrap();
        assert!(until(told, 1).await[0].contains("is expired since "), "{told:?}");
        std::fs::write(&cert, b"-----BEGIN CERTIFICATE-----\nbroken").unwrap();
        assert!(until(told, 2).await[1].starts_with("refused no certificate in "), "{told:?}");
        assert_eq!(store.current().certificates[0].leaf.cn.as_deref(), Some("good"));
    })
    .await;
}

#[tokio::test]
async fn asked_to_it_reads_again_without_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Authority::new(folder.path(), "root").issue("good");
    let store = open(&files(&pair.cert, &pair.key)).unwrap();
    following(&store, async |now, told| {
        now.notify_one();
        assert_eq!(until(told, 1).await, ["replaced OU=good,CN=good"]);
    })
    .await;
}

#[test]
fn an_expired_certificate_is_taken_at_the_start_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let expired = Authority::new(folder.path(), "root").issue_with("old", EC, "DNS:old", -1);
    let store = open(&files(&expired.cert, &expired.key)).unwrap();
    let material = store.current();
    let (certificate, state) = material.out_of_date(SystemTime::now()).unwrap();
    assert_eq!(certificate.path, expired.cert);
    assert!(state.starts_with("expired since 20"), "{state}");
    assert!(
        material.out_of_date(certificate.leaf.not_after).is_none()
            || certificate.leaf.not_before > certificate.leaf.not_after
    );
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "root");
    let (one, other) = (authority.issue("one"), authority.issue("other"));
    let missing = folder.path().join("missing");
    let refused = |cert: &Path, key: &Path| open(&files(cert, key)).unwrap_err().to_string();
    assert_eq!(refused(&missing, &one.key), format!("cannot read certificate {}", missing.display()));
    assert_eq!(refused(&one.cert, &missing), format!("cannot read key {}", missing.display()));
    assert_eq!(refused(&one.key, &one.key), format!("no certificate in {}", one.key.display()));
    assert_eq!(refused(&one.cert, &one.cert), format!("no private key in {}", one.cert.display()));
    let mismatch = format!(
        "{} and {} are not a pair: the key belongs to another certificate",
        one.cert.display(),
        other.key.display()
    );
    assert_eq!(refused(&one.cert, &other.key), mismatch);
}

#[test]
fn a_leaf_tells_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Authority::new(folder.path(), "root").issue("client1");
    let store = open(&files(&pair.cert, &pair.key)).unwrap();
    let leaf = store.current().certificates[0].leaf.clone();
    assert_eq!(leaf.subject, "OU=client1,CN=client1");
    assert_eq!((leaf.cn.as_deref(), leaf.ou.as_slice()), (Some("client1"), ["client1".to_owned()].as_slice()));
    assert_eq!(leaf.dns, ["localhost", "client1"]);
    assert_eq!(leaf.uri, ["spiffe://client1"]);
    assert_eq!(leaf.ip.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1", "::1"]);
    let hex: String = leaf.spki_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(format!("sha256:{hex}"), pair.pin());
    assert!(leaf.covers("LOCALHOST") && leaf.covers("client1.") && !leaf.covers("x.client1"));
}
