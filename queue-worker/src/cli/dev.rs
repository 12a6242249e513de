//! `queue dev`: everything on one machine, for development.

use std::mem;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::confirm::confirm;
use super::output::say;
use super::start::ProcessFlags;
use super::{Database, Exit, Failure, Global, Program, migrate, start};
use crate::app::State;
use crate::config::Config;
use crate::embedded::{Embedded, EmbeddedOptions};

const HELP: &str = "\
Starts a private Postgres on a Unix socket, with the programs of an installed one; applies the
migrations; and runs jobs as `queue start` would. The data is kept between runs. Prints where the
data is, and how to use the same database with other commands.

If DATABASE_URL or queue.toml names a database, asks whether to migrate and use that one; with
--database-url does so. It starts no Postgres then.";

#[derive(Clone, Args)]
#[command(after_help = HELP)]
pub(super) struct Dev {
    /// The directory for the database
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// Uses the database that DATABASE_URL or queue.toml names, without a confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    flags: ProcessFlags,
}

impl Dev {
    pub(super) async fn run<S: State>(
        self,
        global: &Global,
        program: Program<S>,
    ) -> Result<Exit, Failure> {
        let mut config = global.read()?;
        if !mem::take(&mut config.shards).is_empty() {
            config.database.shards = None;
            say("without [shards]: everything is on one database");
        }
        if config.database.url.is_some() {
            let place = Database::configured(&config)?.servers.place;
            let question =
                format!("migrate {place}, which --database-url does not name, and run jobs there");
            let is_meant = self.yes || global.names("DATABASE_URL");
            if !confirm(&question, is_meant)? {
                return Ok(Exit::Failed);
            }
            say(format!("using {place}"));
            return run(program, config).await;
        }
        let embedded = start_postgres(self.data).await?;
        let url = embedded.url();
        say(embedded.announcement());
        say(format!(
            "to use it with other commands: export DATABASE_URL='{url}'"
        ));
        config.database.url = Some(url);
        let ended = run(program, config).await;
        embedded.stop().await.map_err(anyhow::Error::new)?;
        ended
    }
}

async fn start_postgres(data: Option<PathBuf>) -> Result<Embedded, Failure> {
    let options = EmbeddedOptions {
        data,
        ..EmbeddedOptions::default()
    };
    let started = Embedded::start(options).await;
    let started = started.context("could not start a Postgres for development");
    started.map_err(|error| Failure::new(Exit::Unreachable, error))
}

async fn run<S: State>(program: Program<S>, config: Config) -> Result<Exit, Failure> {
    migrate::apply(&Database::configured(&config)?).await?;
    start::run(program, config).await
}
