//! The program of an application with one kind of job, for tests of the command line.

use std::process::ExitCode;

use queue_worker::{App, Cx, Job, Options, Perform, cli};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Send {}

impl Job for Send {
    const KIND: &'static str = "send";

    fn options() -> Options {
        Options::new().queue("mail").attempts(8)
    }
}

impl Perform<()> for Send {
    type Error = std::io::Error;

    async fn perform(self, _cx: Cx<()>) -> Result<(), std::io::Error> {
        Ok(())
    }
}

fn main() -> ExitCode {
    cli::run(App::new(()).register::<Send>())
}
