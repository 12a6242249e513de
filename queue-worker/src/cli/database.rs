//! The database of a command.

use std::str::FromStr;
use std::time::Duration;

use queue_core::{Queue, Schema};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection};

use super::{Exit, Failure};
use crate::config::{Config, DatabaseSettings};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const NO_DATABASE: &str = "no database given: set DATABASE_URL, or `queue dev` starts one";

/// The configured database, and the schema in it.
pub(super) struct Database {
    pub(super) schema: Schema,
    options: PgConnectOptions,
}

impl Database {
    /// Opens a connection to the configured database, and returns its schema too.
    pub(super) async fn open(config: &Config) -> Result<(PgConnection, Schema), Failure> {
        let database = Self::configured(config)?;
        Ok((database.connect().await?, database.schema))
    }

    pub(super) fn configured(config: &Config) -> Result<Self, Failure> {
        let DatabaseSettings { url, schema } = &config.database;
        let url = url.as_deref().ok_or_else(|| Failure::usage(NO_DATABASE))?;
        let schema = Schema::named(schema)?;
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| Failure::usage(format!("the database URL is not valid: {error}")))?;
        Ok(Self {
            schema,
            options: options.application_name("queue"),
        })
    }

    /// Opens one connection.
    pub(super) async fn connect(&self) -> Result<PgConnection, Failure> {
        let connecting = PgConnection::connect_with(&self.options);
        let error = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => anyhow::Error::new(error),
            Err(_elapsed) => anyhow::anyhow!("no answer in {} s", CONNECT_TIMEOUT.as_secs()),
        };
        let context = format!("could not connect to {}", self.place());
        Err(Failure::new(Exit::Unreachable, error.context(context)))
    }

    /// Makes a handle to enqueue with, which connects when it is used.
    pub(super) fn queue(&self) -> Result<Queue, Failure> {
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(self.options.clone());
        Ok(Queue::new(pool).in_schema(self.schema.name())?)
    }

    /// Describes where the database is, without the password.
    pub(super) fn place(&self) -> String {
        let options = &self.options;
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let user = options.get_username();
        let database = options.get_database().unwrap_or(user);
        format!(
            "the database `{database}` at {host}, port {}, as `{user}`",
            options.get_port()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Config {
        Config {
            settings: crate::config::Settings::default(),
            database: DatabaseSettings {
                url: Some(url.to_owned()),
                schema: "queue".to_owned(),
            },
            handlers: std::collections::BTreeMap::new(),
            recurring: std::collections::BTreeMap::new(),
            file: None,
        }
    }

    #[test]
    fn the_place_of_a_database_does_not_contain_its_password() {
        let database = Database::configured(&at("postgres://ada:secret@db:6432/app"))
            .unwrap_or_else(|_| panic!());
        assert_eq!(
            database.place(),
            "the database `app` at db, port 6432, as `ada`"
        );
    }
}
