//! A transaction on many shards.

async fn enqueue(shards: queue_core::Shards, jobs: Vec<queue_core::NewJob>, tx: &mut sqlx::PgConnection) {
    let _ = shards.enqueue_all(jobs).tx(tx).await;
}

fn main() {}
