//! The pod's TLS door. See `tls-ambassador --help` or the crate docs.

fn main() -> std::process::ExitCode {
    kit_run::main_blocking(tls_ambassador::run)
}
