//! A job that is registered with an application whose state it does not know.

use queue_worker::{App, Cx, Job, Perform};
use serde::{Deserialize, Serialize};

struct Mailer;
struct Printer;

#[derive(Serialize, Deserialize)]
struct Send;

impl Job for Send {
    const KIND: &'static str = "send";
}

impl Perform<Mailer> for Send {
    type Error = std::io::Error;

    async fn perform(self, _: Cx<Mailer>) -> Result<(), std::io::Error> {
        Ok(())
    }
}

fn main() {
    let _ = App::new(Printer).register::<Send>();
}
