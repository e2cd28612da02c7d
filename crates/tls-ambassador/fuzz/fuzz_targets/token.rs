//! The entry point of the same name for libFuzzer.
#![no_main]

#[path = "../entry/token.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
