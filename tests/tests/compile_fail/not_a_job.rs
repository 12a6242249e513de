//! A type that is enqueued without being a job.

struct Plain;

async fn enqueue(queue: queue_core::Queue) {
    let _ = queue.enqueue(Plain).await;
}

fn main() {}
