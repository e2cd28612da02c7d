//! Certificates for tests, made by openssl and not by the library under test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "a module of several test files")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Certificate and key files.
#[derive(Debug, Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    pub fn cert_bytes(&self) -> Vec<u8> {
        fs::read(&self.cert).unwrap()
    }

    pub fn key_bytes(&self) -> Vec<u8> {
        fs::read(&self.key).unwrap()
    }

    /// The pin as the tool's flags take it.
    pub fn pin(&self) -> String {
        let der = openssl(&["x509", "-in", text(&self.cert), "-noout", "-pubkey"]);
        let folder = self.cert.parent().unwrap();
        let public = folder.join("public.pem");
        fs::write(&public, der).unwrap();
        let spki = folder.join("public.der");
        openssl(&["pkey", "-pubin", "-in", text(&public), "-outform", "DER", "-out", text(&spki)]);
        let digest = openssl(&["dgst", "-sha256", "-r", text(&spki)]);
        format!("sha256:{}", digest.split(' ').next().unwrap())
    }
}

/// A certificate authority in a folder.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    pub ca: Pair,
}

pub const EC: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
pub const ED25519: &[&str] = &["-algorithm", "ED25519"];

impl Authority {
    pub fn new(folder: &Path, name: &str) -> Self {
        let ca = Pair { cert: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
        generate(&ca.key, EC);
        let subject = format!("/CN={name}");
        openssl(&["req", "-x509", "-key", text(&ca.key), "-out", text(&ca.cert), "-subj", &subject, "-days", "30"]);
        Self { folder: folder.to_owned(), ca }
    }

    /// CN and OU are `name`; names are 127.0.0.1, localhost, `name` and `spiffe://name`.
    pub fn issue(&self, name: &str) -> Pair {
        let names = format!("IP:127.0.0.1,IP:::1,DNS:localhost,DNS:{name},URI:spiffe://{name}");
        self.issue_with(name, EC, &names, 30)
    }

    pub fn issue_with(&self, name: &str, kind: &[&str], names: &str, days: i32) -> Pair {
        // Names repeat when a certificate is renewed; each has files of its own.
        let count = fs::read_dir(&self.folder).unwrap().count();
        let file = |end: &str| self.folder.join(format!("{name}-{count}.{end}"));
        let (pair, request, extensions) = (Pair { cert: file("crt"), key: file("key") }, file("csr"), file("ext"));
        generate(&pair.key, kind);
        let subject = format!("/CN={name}/OU={name}");
        openssl(&["req", "-new", "-key", text(&pair.key), "-out", text(&request), "-subj", &subject]);
        fs::write(&extensions, format!("subjectAltName={names}\n")).unwrap();
        let mut arguments = vec!["x509", "-req", "-in", text(&request), "-out", text(&pair.cert)];
        arguments.extend(["-CA", text(&self.ca.cert), "-CAkey", text(&self.ca.key), "-CAcreateserial"]);
        let days = days.to_string();
        arguments.extend(["-extfile", text(&extensions), "-days", &days]);
        openssl(&arguments);
        pair
    }
}

fn generate(key: &Path, kind: &[&str]) {
    let mut arguments = vec!["genpkey", "-out", text(key)];
    arguments.extend(kind);
    openssl(&arguments);
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
