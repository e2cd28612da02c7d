//! Follows log files and writes every line to stdout, once. See `log-tailer --help` or the crate docs.

fn main() -> std::process::ExitCode {
    kit_run::main(log_tailer::run)
}
