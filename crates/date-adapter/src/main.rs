//! Rewrites the timestamps of a log stream. See `date-adapter --help` or the crate docs.

fn main() -> std::process::ExitCode {
    kit_run::main(date_adapter::run)
}
