//! Behaves like the apps of the examples: a small web server. See `demo-app --help` or the crate docs.

fn main() -> std::process::ExitCode {
    kit_run::main(|args: demo_app::Args, cx| async move { demo_app::run(args, cx).await })
}
