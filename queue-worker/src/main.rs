//! The `queue` program: every command, with no compiled-in jobs.

use std::process::ExitCode;

use queue_worker::{App, cli};

fn main() -> ExitCode {
    cli::run(App::new(()))
}
