//! `queue dev`: everything on one machine, for development.

use std::path::PathBuf;

use clap::Args;

use super::output::say;
use super::start::{ProcessFlags, run_process};
use super::{Database, Exit, Failure, Global, migrate};
use crate::App;
use crate::config::Config;
use crate::embedded::{Embedded, EmbeddedOptions};

const HELP: &str = "\
Starts a private Postgres with the programs of one that is installed, on a Unix socket, with its
data kept between runs; brings its tables up to date; and runs jobs as `queue start` would. It
says where the data is, and how to let other commands use the same database.

With DATABASE_URL set, that database is used instead, and no Postgres is started.";

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct Dev {
    /// Where to keep the database
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    flags: ProcessFlags,
}

impl Dev {
    pub(super) async fn run<S: Send + Sync + 'static>(
        self,
        global: &Global,
        app: App<S>,
    ) -> Result<Exit, Failure> {
        let mut config = global.load()?;
        let embedded = match config.database.url {
            Some(_) => None,
            None => Some(start_postgres(self.data).await?),
        };
        if let Some(embedded) = &embedded {
            let url = embedded.url();
            say(embedded.announcement());
            say(format!("for other commands: export DATABASE_URL='{url}'"));
            config.database.url = Some(url);
        }
        let ended = run(app, config).await;
        if let Some(embedded) = embedded {
            embedded.stop().await.map_err(anyhow::Error::new)?;
        }
        ended
    }
}

async fn start_postgres(data: Option<PathBuf>) -> Result<Embedded, Failure> {
    let options = EmbeddedOptions {
        data,
        ..EmbeddedOptions::default()
    };
    let started = Embedded::start(options).await.map_err(anyhow::Error::new);
    started.map_err(|error| {
        let error = error.context("could not start a Postgres for development");
        Failure::new(Exit::Unreachable, error)
    })
}

async fn run<S: Send + Sync + 'static>(app: App<S>, config: Config) -> Result<Exit, Failure> {
    let database = Database::configured(&config)?;
    migrate::apply(&database).await?;
    run_process(&database, app, config).await
}
