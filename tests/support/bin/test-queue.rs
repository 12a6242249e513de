//! The program of an application, for tests of the command line.

use std::process::ExitCode;

use queue_worker::cli::{self, Program};
use queue_worker::{
    BoxError, Cx, EnqueueError, Job, Limits, Options, Perform, PerformBlocking, Settings, Unique,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tracing::Instrument as _;

#[derive(Serialize, Deserialize)]
struct Send {}

impl Job for Send {
    const KIND: &'static str = "send";

    fn options() -> Options {
        Options::new().queue("mail").attempts(8)
    }
}

impl Perform<Shop> for Send {
    type Error = std::io::Error;

    async fn perform(self, _cx: Cx<Shop>) -> Result<(), std::io::Error> {
        Ok(())
    }
}

/// The kind of the guide to the first job.
#[derive(Serialize, Deserialize)]
struct SendWelcome {
    user_id: i64,
}

impl Job for SendWelcome {
    const KIND: &'static str = "send_welcome";
}

impl Perform<Shop> for SendWelcome {
    type Error = std::io::Error;

    async fn perform(self, _cx: Cx<Shop>) -> Result<(), std::io::Error> {
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

impl Perform<Shop> for IndexPage {
    type Error = std::io::Error;

    async fn perform(self, _cx: Cx<Shop>) -> Result<(), std::io::Error> {
        Ok(())
    }
}

/// A kind that is encrypted.
#[derive(Serialize, Deserialize)]
struct Secret {
    word: String,
}

impl Job for Secret {
    const KIND: &'static str = "secret";
    const ENCRYPTED: bool = true;
}

impl Perform<Shop> for Secret {
    type Error = std::io::Error;

    async fn perform(self, _cx: Cx<Shop>) -> Result<(), std::io::Error> {
        Ok(())
    }
}

/// A kind that logs, and enqueues another job.
#[derive(Serialize, Deserialize)]
struct Relay {}

impl Job for Relay {
    const KIND: &'static str = "relay";
}

impl Perform<Shop> for Relay {
    type Error = EnqueueError;

    async fn perform(self, cx: Cx<Shop>) -> Result<(), EnqueueError> {
        tracing::info!("relaying");
        let forwarding = tracing::info_span!("forwarding");
        let forward = async { cx.queue().enqueue(Send {}).await.map(drop) };
        forward.instrument(forwarding).await
    }
}

/// A kind that logs on a thread of its own.
#[derive(Serialize, Deserialize)]
struct Print {}

impl Job for Print {
    const KIND: &'static str = "print";
}

impl PerformBlocking<Shop> for Print {
    type Error = std::io::Error;

    fn perform(self, _cx: Cx<Shop>) -> Result<(), std::io::Error> {
        tracing::info!("printing");
        Ok(())
    }
}

/// The state, which needs the database.
struct Shop;

impl Shop {
    async fn open(pool: PgPool, settings: Settings) -> Result<Self, BoxError> {
        if let Ok(reason) = std::env::var("REFUSE_THE_STATE") {
            return Err(reason.into());
        }
        let database: String = sqlx::query_scalar("select current_database()::text")
            .fetch_one(&pool)
            .await?;
        let concurrency = settings.workers[0].concurrency;
        tracing::info!(database, concurrency, "built the state");
        Ok(Self)
    }
}

fn main() -> ExitCode {
    let program = Program::new(
        |app| {
            let app = app
                .register::<Send>()
                .register::<SendWelcome>()
                .register::<IndexPage>()
                .register::<Relay>()
                .register_blocking::<Print>();
            match std::env::var_os("QUEUE_ENCRYPTION_KEYS") {
                Some(_keys) => app.register::<Secret>(),
                None => app,
            }
        },
        Shop::open,
    );
    cli::run(program.version("7.8.9"))
}
