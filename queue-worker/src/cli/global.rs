//! The flags that every command has.

use std::path::PathBuf;

use clap::Args;

use super::exit::Failure;
use crate::config::{self, Config, Overrides};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// The database, as postgres://user:password@host/name [env: DATABASE_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(super) database_url: Option<String>,
    /// The schema that holds the queue's tables [env: QUEUE_SCHEMA] [default: queue]
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) schema: Option<String>,
    /// The configuration file [env: QUEUE_CONFIG] [default: queue.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Prints one JSON value for programs, with stable field names
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Logs more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

impl Global {
    /// Reads the configuration, with nothing but these flags over it.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        self.load_with(Overrides::default())
    }

    /// Reads the configuration, with these flags and those of a command over it.
    pub(super) fn load_with(&self, overrides: Overrides) -> Result<Config, Failure> {
        let overrides = Overrides {
            config: self.config.clone(),
            database_url: self.database_url.clone(),
            schema: self.schema.clone(),
            ..overrides
        };
        config::load(&overrides, |name| std::env::var_os(name))
            .map_err(|invalid| Failure::usage(invalid.to_string()))
    }
}
