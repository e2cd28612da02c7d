//! Writes given content into a shared volume, once, then exits. See `init-writer --help` or the crate docs.
fn main() -> std::process::ExitCode {
    kit_run::main_blocking(init_writer::run)
}
