//! Running the adapter inside a test, and numbers that look random and can be had again.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a test has no Context, and prints its seed")]

use std::ffi::OsString;

use date_adapter::{Adapter, Args, Counts, Stream, ZoneEnvironment};

/// The adapter of this command line.
pub(crate) fn adapter(arguments: &[&str]) -> Result<Adapter, String> {
    let argv: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let (args, _) =
        kit_run::parse::<Args>(argv, &kit_run::Environment::default()).map_err(|error| error.to_string())?;
    let config = args.config(&ZoneEnvironment::default()).map_err(|refusal| refusal.what)?;
    Ok(config.into_adapter())
}

/// What `input`, given in pieces of `piece` bytes, becomes.
pub(crate) fn pieces(arguments: &[&str], input: &[u8], piece: usize) -> (Vec<u8>, Counts) {
    let mut adapter = adapter(arguments).unwrap_or_else(|refusal| panic!("{arguments:?}: {refusal}"));
    let mut stream = Stream::default();
    let mut out = Vec::new();
    for bytes in input.chunks(piece) {
        stream.push(&mut adapter, bytes, |bytes| collect(&mut out, bytes)).unwrap();
    }
    stream.finish(&mut adapter, |bytes| collect(&mut out, bytes)).unwrap();
    (out, adapter.counts().clone())
}

fn collect(out: &mut Vec<u8>, bytes: &[u8]) -> std::io::Result<()> {
    out.extend_from_slice(bytes);
    Ok(())
}

pub(crate) fn adapted(arguments: &[&str], input: &[u8]) -> (Vec<u8>, Counts) {
    pieces(arguments, input, usize::MAX)
}

/// One line in, one line out, as text.
#[track_caller]
pub(crate) fn check(arguments: &[&str], input: &str, expected: &str) {
    let (out, _) = adapted(arguments, input.as_bytes());
    assert_eq!(String::from_utf8_lossy(&out), expected, "{arguments:?} {input:?}");
}

/// SplitMix64: a seed, and every number after it.
pub(crate) struct Random(u64);

/// Whether the long runs are wanted whole.
pub(crate) fn full() -> bool {
    std::env::var_os("PODKIT_FULL").is_some()
}

impl Random {
    /// From `PODKIT_SEED`, else from the clock; printed, so that a failure can be had again.
    pub(crate) fn seeded(test: &str) -> Self {
        let chosen = std::env::var("PODKIT_SEED").ok().and_then(|text| text.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = chosen.unwrap_or(now.as_nanos() as u64);
        println!("{test}: PODKIT_SEED={seed}");
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1) as u64) as i64
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}
