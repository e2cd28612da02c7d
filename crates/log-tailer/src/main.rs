//! Follows log files and writes every line to stdout, once. See `log-tailer --help` or the crate docs.
use std::process::ExitCode;

fn main() -> ExitCode {
    kit_run::main(log_tailer::run)
}
