//! Wycheproof's signed tokens (JSON web signatures), sent as bearer tokens to the program that ships.
//!
//! Their payloads are no claims that the door would take, so it answers 401 to all of them; whether it took the signature is told
//! by the reason that it gives, since claims are read only after the signature was found right.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::door::{App, Door, certificate};
use super::{Bench, Outcome, Ran, Row, known};
use crate::workspace;

/// Tells a checkout.
pub const MARK: &str = "testvectors_v1/json_web_signature_test.json";

/// What a door says of a token whose signature it took and whose claims it did not.
const PAST_THE_SIGNATURE: [&str; 4] = [
    "the claims are not base64url",
    "the claims are not plain JSON",
    "the token has no expiry",
    "the token is expired",
];

/// All that the program has; without a word it takes some of them only.
const ALGORITHMS: [&str; 10] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];

#[derive(Deserialize)]
struct Vectors {
    #[serde(rename = "testGroups")]
    groups: Vec<Group>,
}

/// Tokens of one key.
#[derive(Deserialize)]
struct Group {
    comment: String,
    public: Option<Value>,
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    #[serde(rename = "tcId")]
    id: u32,
    comment: String,
    jws: Value,
    result: String,
}

/// Sends every token of the file to a door that holds its key.
///
/// # Errors
/// When the file is of another form, or a door or curl does not run.
pub fn run(bench: &Bench<'_>, checkout: &Path) -> anyhow::Result<Ran> {
    let text = fs::read_to_string(checkout.join(MARK))?;
    let vectors: Vectors = serde_json::from_str(&text).context(MARK)?;
    let folder = tempfile::tempdir()?;
    certificate(folder.path(), "rsa:2048")?;
    let app = App::start(bench)?;
    let mut rows: Vec<Row> = Vec::new();
    for group in &vectors.groups {
        let Some(key) = &group.public else {
            println!("left out {} {}: HMAC keys are never taken from a key set", group.tests.len(), group.comment);
            continue;
        };
        let wanted: Vec<&Vector> = group.tests.iter().filter(|vector| bench.wants(&name(group, vector))).collect();
        if wanted.is_empty() {
            continue;
        }
        // A set without any usable key is refused whole, and some of the keys are for other uses.
        let set = json!({ "keys": [key, another(&vectors.groups, key)?] });
        fs::write(folder.path().join("keys.json"), set.to_string())?;
        let mut flags = vec!["--jwt-issuer", "https://issuer", "--jwt-any-audience", "--jwt-jwks-file", "keys.json"];
        flags.extend(ALGORITHMS.iter().flat_map(|name| ["--jwt-alg", name]));
        let door = Door::start(bench, &app, folder.path(), &flags)?;
        let before = rows.len();
        for vector in wanted {
            rows.push(known::judge(name(group, vector), failure(&door, vector)?, &bench.known.wycheproof));
        }
        report(group, &rows[before..]);
    }
    Ok(Ran::Rows(rows))
}

fn name(group: &Group, vector: &Vector) -> String {
    format!("{} {} {}", group.comment, vector.comment, vector.id)
}

fn report(group: &Group, rows: &[Row]) {
    for row in rows.iter().filter(|row| row.outcome != Outcome::Passed) {
        println!("{row}");
    }
    let passed = rows.iter().map(|row| row.count.0).sum::<usize>();
    println!("{passed:8} of {} came out as they should: {}", rows.len(), group.comment);
}

/// A key of another kind, which no token of `key` is for.
fn another<'v>(groups: &'v [Group], key: &Value) -> anyhow::Result<&'v Value> {
    let keys = groups.iter().filter_map(|group| group.public.as_ref());
    let mut other = keys.filter(|other| other["kty"] != key["kty"] && other["use"] == "sig");
    other.next().context("the file has keys of one kind only")
}

/// How the door's judgement differs from the vector's, if it does.
fn failure(door: &Door, vector: &Vector) -> anyhow::Result<Option<String>> {
    let Some(token) = vector.jws.as_str() else {
        // The general and flattened forms: only the compact one can stand in a header.
        ensure!(vector.result != "valid", "vector {} is valid and not in compact form", vector.id);
        return Ok(None);
    };
    let (status, reason) = ask(door, token)?;
    let taken = status == "401" && PAST_THE_SIGNATURE.contains(&reason.as_str());
    Ok(match vector.result.as_str() {
        "valid" if !taken => Some(format!("valid, but {status}: {reason}")),
        "invalid" if taken || status == "200" => Some(format!("invalid, but {status}: {reason}")),
        _ => None,
    })
}

/// The status and the reason in `error_description`.
fn ask(door: &Door, token: &str) -> anyhow::Result<(String, String)> {
    let mut curl = Command::new("curl");
    curl.args(["-q", "--silent", "--show-error", "--insecure", "--max-time", "30", "--output", "/dev/null"]);
    curl.args(["--write-out", "%{http_code} %header{www-authenticate}"]);
    curl.arg("--header").arg(format!("Authorization: Bearer {token}")).arg(format!("https://{}/", door.address));
    let said = workspace::capture(&mut curl)?;
    let (status, challenge) = said.split_once(' ').unwrap_or((&said, ""));
    let reason = challenge.split_once("error_description=\"").map_or("", |(_, rest)| rest);
    Ok((status.to_owned(), reason.trim_end().trim_end_matches('"').to_owned()))
}
