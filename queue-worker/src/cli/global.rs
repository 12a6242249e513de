//! The flags that every command has, and how flags override the configuration.

use std::collections::BTreeMap;
use std::ffi::OsString;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, ValueEnum};
use serde::Serialize;
use serde_json::value::RawValue;

use super::exit::{Exit, Failure};
use super::here::{self, List, Printed};
use super::output::{Column, print, print_json, say, table_text};
use crate::config::{Config, Override};

#[derive(Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// The database, as postgres://user:password@host/name
    #[arg(long, global = true, value_name = "URL", env = "DATABASE_URL")]
    database_url: Option<OsString>,
    /// The schema that holds the queue's tables [default: queue]
    #[arg(long, global = true, value_name = "NAME", env = "QUEUE_SCHEMA")]
    schema: Option<OsString>,
    /// The shards to use, separated by commas [default: all in the configuration file]
    #[arg(long, global = true, value_name = "NAMES", env = "QUEUE_SHARDS")]
    shards: Option<OsString>,
    /// The configuration file [default: queue.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "QUEUE_CONFIG")]
    config: Option<OsString>,
    /// Prints JSON for programs, with stable field names
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// How log lines are written: for people, or as JSON for programs, as with --json
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "QUEUE_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,
    /// Logs more; may be given twice
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// The settings that are given by flags, as [`given_settings`] reads them.
    #[arg(skip)]
    pub(super) settings: Vec<Override>,
    /// The configuration of the shard on which the command runs, if the queue has shards.
    #[arg(skip)]
    of_shard: Option<Config>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

/// How lists of several shards are merged: the newest items first.
pub(super) struct Newest<T> {
    /// Returns when an item began.
    pub(super) at: fn(&T) -> DateTime<Utc>,
    /// The most items.
    pub(super) most: u32,
}

impl Global {
    /// Returns whether log lines are written as JSON.
    pub(super) fn logs_json(&self) -> bool {
        self.json || matches!(self.log_format, LogFormat::Json)
    }

    /// Reads the configuration with all shards, overridden by the flags of this command line. Refuses a flag with a
    /// database that no shard would use.
    pub(super) fn load_all(&self) -> Result<Config, Failure> {
        let config = self.read()?;
        let mut shards = config.shards.values();
        if !config.shards.is_empty()
            && self.names("DATABASE_URL")
            && shards.all(|it| it.url.is_some())
        {
            return Err(Failure::usage(
                "--database-url names no shard: each has a `url` in the configuration; leave it out, or choose \
                 shards with --shards",
            ));
        }
        Ok(config)
    }

    /// Reads the configuration, overridden by the flags of this command line.
    pub(super) fn read(&self) -> Result<Config, Failure> {
        let mut overrides = Override::environment();
        overrides.extend(self.settings.iter().cloned());
        Config::load(&overrides).map_err(Failure::usage)
    }

    /// Returns the configuration of the shard on which the command runs, or reads that of the queue if it has no shards.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        match &self.of_shard {
            Some(config) => Ok(config.clone()),
            None => self.load_all(),
        }
    }

    /// Returns the same flags for a command on a shard with this configuration.
    pub(super) fn on_shard(&self, config: Config) -> Self {
        Self {
            of_shard: Some(config),
            ..self.clone()
        }
    }

    /// Returns whether a flag gives what a variable of the environment may give too.
    pub(super) fn names(&self, variable: &str) -> bool {
        let mut settings = self.settings.iter();
        settings.any(|given| given.variable == variable)
    }

    /// Prints a result: with `--json` as JSON, otherwise as text.
    pub(super) fn print<T: Serialize + ?Sized>(
        &self,
        result: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<Exit, Failure> {
        match self.json {
            true => print_json(result)?,
            false => print(text(result))?,
        }
        Ok(Exit::Fine)
    }

    /// Prints what is known about a job. Its arguments, which may be personal data, are left out
    /// unless they were asked for.
    pub(super) fn print_details<T: Serialize>(
        &self,
        job: &T,
        with_args: bool,
        text: impl FnOnce(&T, bool) -> String,
    ) -> Result<Exit, Failure> {
        // The arguments keep their digits.
        let written = serde_json::to_string(job).context("could not write JSON")?;
        let mut fields: BTreeMap<&str, &RawValue> =
            serde_json::from_str(&written).context("could not write JSON")?;
        if !with_args {
            fields.remove("args");
            // These may be personal data, too.
            fields.remove("cursors");
            fields.remove("output");
            fields.remove("context");
        }
        self.print(&fields, |_| text(job, with_args))
    }

    /// Prints a list: with `--json` as JSON, otherwise as a table, or says that it is empty.
    pub(super) fn print_list<T: Serialize>(
        &self,
        list: &[T],
        empty: &str,
        columns: &[Column<'_, T>],
    ) -> Result<Exit, Failure> {
        self.print_newest(list, empty, columns, None)
    }

    /// Prints a list as [`print_list`](Self::print_list) does. Those of several shards are merged.
    pub(super) fn print_newest<T: Serialize>(
        &self,
        list: &[T],
        empty: &str,
        columns: &[Column<'_, T>],
        newest: Option<Newest<T>>,
    ) -> Result<Exit, Failure> {
        if here::shard().is_some() {
            let mut kept = List::of(list, empty, columns)?;
            if let Some(newest) = newest {
                kept.newest = Some(newest.most as usize);
                for (row, item) in kept.rows.iter_mut().zip(list) {
                    row.at = Some((newest.at)(item));
                }
            }
            here::keep(Printed::List(kept));
            return Ok(Exit::Fine);
        }
        match list {
            list if self.json => print_json(list)?,
            [] => say(empty),
            list => print(table_text(list, columns))?,
        }
        Ok(Exit::Fine)
    }

    /// Prints a result that was already reported in words: as JSON with `--json`, otherwise not.
    pub(super) fn conclude<T: Serialize + ?Sized>(&self, result: &T) -> Result<Exit, Failure> {
        if self.json {
            print_json(result)?;
        }
        Ok(Exit::Fine)
    }
}

/// Returns the settings that are given by flags: arguments on the command line that have an
/// environment variable. The configuration reads the variables itself, so that a problem is
/// reported where the value was given.
pub(super) fn given_settings(command: &Command, matches: &ArgMatches) -> Vec<Override> {
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        return given_settings(command, matches);
    }
    let given = command.get_arguments().filter_map(|argument| {
        let id = argument.get_id().as_str();
        let variable = argument.get_env()?.to_str()?;
        let flag = format!("--{}", argument.get_long()?);
        let is_typed = matches.value_source(id) == Some(ValueSource::CommandLine);
        let value = matches.get_raw(id)?.next_back().filter(|_| is_typed)?;
        Some(Override::flag(&flag, variable, value))
    });
    given.collect()
}
