//! The program of an application, for tests of the command line.

use std::process::ExitCode;

use queue_worker::{App, Cx, Job, Limits, Options, Perform, Unique, cli};
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

/// A kind with rules: one job of a page at a time, and one at all that waits for a page.
#[derive(Serialize, Deserialize)]
struct IndexPage {
    page: i64,
}

impl Job for IndexPage {
    const KIND: &'static str = "index_page";

    fn options() -> Options {
        Options::new().queue("index")
    }

    fn unique(&self) -> Option<Unique> {
        Some(Unique::by_key(format!("page/{}", self.page)))
    }

    fn limits(&self) -> Limits {
        Limits::key(self.page.to_string()).to(1)
    }
}

impl Perform<()> for IndexPage {
    type Error = std::io::Error;

    async fn perform(self, _cx: Cx<()>) -> Result<(), std::io::Error> {
        Ok(())
    }
}

fn main() -> ExitCode {
    cli::run(App::new(()).register::<Send>().register::<IndexPage>())
}
