//! A test program that uses the testing kit without a server of its own. It prints the data directory of
//! the server, waits for the end of its standard input, and uses its database once more.

use anyhow::{Result, ensure};
use queue_tests::stage::{Note, Stage};
use queue_worker::testing::{TestDatabase, TestProcess};

#[tokio::main]
async fn main() -> Result<()> {
    let database = TestDatabase::new().await;
    let queue = database.queue();
    let stage = Stage::default();
    let mut process = TestProcess::new(&queue, stage.app()).await;
    process.perform(Note::new("first")).await.assert_done();
    let data: String = sqlx::query_scalar("show data_directory")
        .fetch_one(queue.pool())
        .await?;
    println!("{data}");
    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
    process.perform(Note::new("second")).await.assert_done();
    ensure!(stage.notes() == ["first", "second"]);
    Ok(())
}
