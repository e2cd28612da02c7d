//! The entry points of `fuzz/`, driven by a seeded generator: what was seen to be good, changed at random.
//!
//! It finds less than libFuzzer does, which knows which branches an input took; it runs everywhere, and it keeps the entry
//! points compiling. `PODKIT_SEED` repeats a run; with `PODKIT_FULL` each entry point gets a minute.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::print_stderr, reason = "the seed is what one needs to repeat a run")]

#[path = "../fuzz/entry/chunked.rs"]
mod chunked;
#[path = "../fuzz/entry/mysql.rs"]
mod mysql;
#[path = "../fuzz/entry/postgres.rs"]
mod postgres;
#[path = "../fuzz/entry/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "../fuzz/entry/request.rs"]
mod request;
#[path = "../fuzz/entry/script.rs"]
mod script;
#[path = "../fuzz/entry/token.rs"]
mod token;

use std::path::Path;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_secs(2);
const WHOLE: Duration = Duration::from_secs(60);
/// Longer inputs find nothing that shorter ones do not, and take longer.
const LONGEST: usize = 4096;

#[expect(clippy::disallowed_methods, reason = "what a test run is told, not a tool")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    /// One change.
    fn change(&mut self, input: &mut Vec<u8>, others: &[Vec<u8>], words: &[&[u8]]) {
        let at = self.below(input.len() + 1);
        let span = at..(at + self.below(9)).min(input.len());
        match self.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.next() as u8,
            2 => drop(input.drain(span)),
            3 => {
                let copy = input[span].to_vec();
                input.splice(at..at, copy);
            }
            4 => input.truncate(at),
            5 => {
                let other = &others[self.below(others.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let word = words[self.below(words.len())];
                let end = if self.below(2) == 0 { at } else { (at + word.len()).min(input.len()) };
                input.splice(at..end, word.iter().copied());
            }
        }
        input.truncate(LONGEST);
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Every input of the corpus as it is, then changed ones until the time is over.
fn drive(name: &str, words: &[&[u8]], run: impl Fn(&[u8])) {
    let seeds = corpus(name);
    seeds.iter().for_each(|input| run(input));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = variable("PODKIT_SEED").and_then(|text| text.parse().ok()).unwrap_or(now);
    let mut random = Random(seed);
    let limit = if variable("PODKIT_FULL").is_some() { WHOLE } else { SHORT };
    let (began, mut runs) = (Instant::now(), 0_u64);
    // A chain of changes strays far from the corpus; it begins anew now and then.
    while began.elapsed() < limit {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..1 + random.below(24) {
            random.change(&mut input, &seeds, words);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&input)));
            assert!(outcome.is_ok(), "PODKIT_SEED={seed}, after {runs} runs of {name}: {}", input.escape_ascii());
            runs += 1;
        }
    }
    eprintln!("{name}: {runs} inputs from PODKIT_SEED={seed}");
}

#[test]
fn request_heads_are_read_in_one_way_or_refused() {
    let words: [&[u8]; 14] = [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\0",
        b"\r\nContent-Length: 5",
        b"\r\nTransfer-Encoding: chunked",
        b"\r\nHost: a",
        b"HTTP/1.0",
        b"http://a@b:0/",
        b"\r\nConnection: close, x",
        b"\r\n ",
        b"\xff",
        b"\r\nX_Forwarded_User: root",
    ];
    drive("request", &words, request::run);
}

#[test]
fn chunks_are_read_alike_whole_and_byte_by_byte() {
    let words: [&[u8]; 8] =
        [b"\r\n", b"0\r\n\r\n", b";a=b", b"ffffffffffffffff", b"1\r\na\r\n", b"\n", b" ", b"A: b\r\n"];
    drive("chunked", &words, chunked::run);
}

#[test]
fn tokens_and_key_sets_never_panic() {
    let words: [&[u8]; 10] =
        [b".", b"\"", b"{", b"[", b"=", b"eyJhbGciOiJub25lIn0", b"\"exp\":1e400", b"\\ud800", b"\"keys\":", b"\\u0000"];
    drive("token", &words, token::run);
}

#[test]
fn postgres_is_never_spoken_to_without_tls() {
    let words: [&[u8]; 8] = [
        b"S",
        b"N",
        b"E",
        b"SCRAM-SHA-256-PLUS\0",
        b"R\0\0\0\x0c\0\0\0\x0a",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\0\0\x08\x04\xd2\x16\x30",
        b"\x16\x03\x01",
    ];
    drive("postgres", &words, postgres::run);
}

#[test]
fn mysql_gets_no_login_without_tls() {
    let words: [&[u8]; 6] = [b"\xff", b"\0", b"\x0a", b"\x20\0\0\x01", b"\xfe", b"\x01\x04"];
    drive("mysql", &words, mysql::run);
}

#[test]
fn proxy_headers_are_taken_whole_and_nothing_behind_them() {
    let words: [&[u8]; 7] =
        [b"PROXY ", b"TCP4 ", b"\r\n", b"UNKNOWN", b"\r\n\r\n\0\r\nQUIT\n", b"\x21\x11\0\x0c", b"\x21\x31\0\xd8"];
    drive("proxy_protocol", &words, proxy_protocol::run);
}
