//! Welcomes a user, in a job.

use queue_worker::{App, Cx, Job, Perform, Process, Queue, Settings};

#[derive(serde::Serialize, serde::Deserialize)]
struct SendWelcome {
    user_id: i64,
}

impl Job for SendWelcome {
    const KIND: &'static str = "send_welcome";
}

impl Perform<()> for SendWelcome {
    type Error = std::io::Error;

    async fn perform(self, _cx: Cx<()>) -> Result<(), Self::Error> {
        println!("Welcome, user {}!", self.user_id);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL")?;
    let pool = queue_worker::pool_options().connect(&url).await?;
    let queue = Queue::new(pool.clone());
    queue.migrate().await?;

    let mut tx = pool.begin().await?;
    // What makes the job necessary happens in the same transaction.
    let welcome = SendWelcome { user_id: 7 };
    queue.enqueue(welcome).tx(&mut tx).await?;
    tx.commit().await?;

    let app = App::new(()).register::<SendWelcome>();
    let process = Process::new(queue, app, Settings::load()?)?;
    process.run_until_signal().await;
    Ok(())
}
