//! PKCS#12 archives as OpenSSL writes them, now and formerly.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod pki;

use std::path::{Path, PathBuf};

use kit_tls::server::{Files, Settings, load};
use kit_tls::{LoadError, Password, Policy};
use pki::{Authority, EC, ED25519, Pair, RSA, openssl, text};

fn archive(folder: &Path, pair: &Pair, ca: &Path, password: &str, options: &[&str]) -> PathBuf {
    let path = folder.join("store.p12");
    let password = format!("pass:{password}");
    let mut arguments = vec!["pkcs12", "-export", "-inkey", text(&pair.key), "-in", text(&pair.cert)];
    arguments.extend(["-certfile", text(ca), "-out", text(&path), "-passout", &password]);
    arguments.extend(options);
    openssl(&arguments);
    path
}

/// The subject of the leaf, or why there is none.
fn opened(path: &Path, password: Password) -> Result<String, String> {
    let pair = Some((path.to_owned(), path.to_owned()));
    let files = Files { pair, password, ..Files::default() };
    match load(&files, &Settings::for_everybody(Policy::default(), Vec::new())) {
        Ok(material) => Ok(material.certificates[0].leaf.subject.clone()),
        Err(LoadError::Keystore { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}

fn with(text: &str) -> Password {
    Password::Text(text.to_owned())
}

#[test]
fn archives_of_all_ages_and_kinds_of_keys_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let expected = Ok("OU=leaf,CN=leaf".to_owned());
    let ages: [&[&str]; 8] = [
        &[],
        &["-legacy"],
        &["-keypbe", "AES-128-CBC", "-certpbe", "AES-128-CBC", "-macalg", "sha512"],
        &["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"],
        &["-legacy", "-certpbe", "PBE-SHA1-RC2-128"],
        &["-certpbe", "NONE", "-macalg", "sha384"],
        &["-nomac"],
        &["-iter", "1"],
    ];
    for kind in [EC, RSA, ED25519] {
        let pair = root.issue_with("leaf", kind, "DNS:leaf", 30);
        for options in ages {
            let path = archive(folder.path(), &pair, &root.ca.cert, "gehe1m-ä", options);
            assert_eq!(opened(&path, with("gehe1m-ä")), expected, "{options:?}");
        }
    }
}

#[test]
fn the_password_may_be_empty_or_in_a_file_and_a_wrong_one_is_said_to_be_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let pair = root.issue("leaf");
    let expected = Ok("OU=leaf,CN=leaf".to_owned());
    for options in [&[][..], &["-legacy"]] {
        let path = archive(folder.path(), &pair, &root.ca.cert, "", options);
        assert_eq!(opened(&path, Password::Empty), expected, "{options:?}");
        assert_eq!(opened(&path, with("x")), Err("the password is wrong".to_owned()));
    }
    let path = archive(folder.path(), &pair, &root.ca.cert, "secret", &[]);
    let file = folder.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    assert_eq!(opened(&path, Password::File(file.clone())), expected);
    assert_eq!(opened(&path, Password::Empty), Err("the password is wrong".to_owned()));
    std::fs::remove_file(&file).unwrap();
    assert!(opened(&path, Password::File(file)).unwrap_err().starts_with("cannot read password file "));
    let unsigned = archive(folder.path(), &pair, &root.ca.cert, "secret", &["-nomac"]);
    assert_eq!(opened(&unsigned, with("x")), Err("the password is wrong, or the file is broken".to_owned()));
}

#[test]
fn a_broken_archive_is_refused_wherever_it_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let pair = root.issue("leaf");
    let path = archive(folder.path(), &pair, &root.ca.cert, "secret", &["-iter", "1"]);
    let whole = std::fs::read(&path).unwrap();
    for end in (0..whole.len()).step_by(7) {
        std::fs::write(&path, &whole[..end]).unwrap();
        assert!(opened(&path, with("secret")).is_err(), "cut at {end}");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        std::fs::write(&path, &changed).unwrap();
        // Never a panic; what is not part of the meaning (a friendly name's tag) may still open.
        let _judged = opened(&path, with("secret"));
    }
    let lone = folder.path().join("certificates.p12");
    let arguments =
        ["pkcs12", "-export", "-nokeys", "-in", text(&pair.cert), "-out", text(&lone), "-passout", "pass:x"];
    openssl(&arguments);
    assert_eq!(opened(&lone, with("x")), Err("it holds no private key".to_owned()));
    let key = root.issue("other").key;
    let stranger = Pair { cert: root.ca.cert.clone(), key: root.ca.key.clone() };
    let mut archive = archive(folder.path(), &stranger, &pair.cert, "x", &[]);
    assert!(opened(&archive, with("x")).is_ok(), "the key's certificate is found wherever it stands");
    archive.set_file_name("pem.pem");
    std::fs::write(&archive, [std::fs::read(&pair.cert).unwrap(), std::fs::read(&key).unwrap()].concat()).unwrap();
    assert!(opened(&archive, Password::Empty).unwrap_err().contains("are not a pair"));
}
