//! The entry point of the same name for libFuzzer.
#![no_main]

#[path = "../entry/mysql.rs"]
mod entry;

#[path = "../entry/script.rs"]
mod script;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
