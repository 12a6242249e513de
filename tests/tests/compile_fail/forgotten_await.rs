//! A request to enqueue that is not awaited.
#![deny(unused_must_use)]

use queue_core::{Job, Queue};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Send;

impl Job for Send {
    const KIND: &'static str = "send";
}

async fn enqueue(queue: Queue) {
    queue.enqueue(Send);
    queue.enqueue_many([Send]).with(|options| options.queue("mail"));
}

fn main() {}
