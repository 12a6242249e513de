//! The schema of the tables, and statements for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::{RawValue, to_raw_value};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, FromRow, Postgres, SqlSafeStr, SqlStr};

use crate::encryption::{Keys, Place, Unopened, open};
use crate::names::InvalidName;

/// The schema of all tables of the queue, `queue` by default.
#[derive(Clone, Debug)]
pub struct Schema {
    name: Arc<str>,
    renamed: Option<Arc<Mutex<HashMap<&'static str, SqlStr>>>>,
    is_pooled: Arc<AtomicBool>,
    keys: Option<Keys>,
}

pub(crate) type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;
pub(crate) type QueryAs<'q, O> = sqlx::query::QueryAs<'q, Postgres, O, PgArguments>;
type QueryScalar<'q, O> = sqlx::query::QueryScalar<'q, Postgres, O, PgArguments>;

impl Schema {
    /// The name that is used in the statements of this crate.
    pub const DEFAULT: &'static str = "queue";

    /// Returns the schema of a name.
    ///
    /// # Errors
    /// Refuses a name that would need quoting: it must be 1 to 40 lower-case letters, digits and
    /// underscores, start with a letter, and not with `pg_`, which Postgres keeps for itself.
    pub fn named(name: &str) -> Result<Self, InvalidName> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
        if !starts_well || name.len() > 40 || !name.bytes().all(plain) {
            let rule = "use 1 to 40 of a-z, 0-9 and `_`, and a letter at the beginning";
            return Err(InvalidName::schema(name, rule));
        }
        if name.starts_with("pg_") {
            let rule = "Postgres keeps names that start with `pg_` for itself";
            return Err(InvalidName::schema(name, rule));
        }
        let renamed = (name != Self::DEFAULT).then(Arc::default);
        Ok(Self {
            name: name.into(),
            renamed,
            is_pooled: Arc::default(),
            keys: None,
        })
    }

    /// Returns the schema's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the channel on which enqueueing wakes idle workers; payloads are queue names.
    pub fn wake_channel(&self) -> String {
        format!("{}.wake", self.name)
    }

    /// Returns the channel that says that an event was emitted for which jobs wait.
    pub fn emitted_channel(&self) -> String {
        format!("{}.emitted", self.name)
    }

    /// Returns the channel on which running jobs are asked to stop; payloads are job ids.
    pub fn cancel_channel(&self) -> String {
        format!("{}.cancel", self.name)
    }

    /// Returns the statement for this schema.
    ///
    /// Statements have `queue.` before every name of ours, which is replaced for another schema. The result
    /// is kept, because a prepared statement is found by its text.
    pub(crate) fn sql(&self, statement: &'static str) -> SqlStr {
        let Some(renamed) = &self.renamed else {
            return SqlStr::from_static(statement);
        };
        let mut renamed = renamed.lock().unwrap_or_else(PoisonError::into_inner);
        renamed
            .entry(statement)
            .or_insert_with(|| self.rename(statement))
            .clone()
    }

    /// Records, for all copies of this handle, that connections lead to a pooler in transaction mode.
    /// Statements have no names then: the next client of the server may use the same ones.
    #[doc(hidden)]
    pub fn set_pooled(&self) {
        self.is_pooled.store(true, Ordering::Relaxed);
    }

    /// Returns whether connections lead to a pooler in transaction mode.
    pub(crate) fn is_pooled(&self) -> bool {
        self.is_pooled.load(Ordering::Relaxed)
    }

    /// Sets the keys with which values in it are encrypted.
    #[must_use]
    pub fn with_keys(self, keys: Option<Keys>) -> Self {
        Self { keys, ..self }
    }

    /// Returns the keys with which values in it are encrypted.
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// Decrypts a value of a job. Returns nothing if it is not encrypted.
    #[doc(hidden)]
    pub fn open(
        &self,
        kind: &str,
        place: Place<'_>,
        json: &str,
    ) -> Result<Option<Box<RawValue>>, Unopened> {
        open(self.keys(), kind, place, json)
    }

    /// Decrypts a value for people. One that cannot be read becomes a text that names its key.
    pub(crate) fn show(&self, kind: &str, place: Place<'_>, json: &mut Box<RawValue>) {
        match self.open(kind, place, json.get()) {
            Ok(None) => {}
            Ok(Some(opened)) => *json = opened,
            Err(unopened) => *json = to_raw_value(&unopened.to_string()).unwrap_or_default(),
        }
    }

    /// Makes a query of a statement for this schema.
    pub(crate) fn query<'q>(&self, statement: &'static str) -> Query<'q> {
        sqlx::query(self.sql(statement)).persistent(!self.is_pooled())
    }

    /// Makes a query whose rows are read into a type.
    pub(crate) fn query_as<'q, O>(&self, statement: &'static str) -> QueryAs<'q, O>
    where
        O: for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_as(self.sql(statement)).persistent(!self.is_pooled())
    }

    /// Makes a query whose rows have one column.
    pub(crate) fn query_scalar<'q, O>(&self, statement: &'static str) -> QueryScalar<'q, O>
    where
        (O,): for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_scalar(self.sql(statement)).persistent(!self.is_pooled())
    }

    pub(crate) fn rename(&self, statement: &str) -> SqlStr {
        let create = format!("create schema if not exists {};", self.name);
        let text = statement
            .replace("queue.", &format!("{}.", self.name))
            .replace("create schema if not exists queue;", &create);
        AssertSqlSafe(text).into_sql_str()
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self {
            name: Self::DEFAULT.into(),
            renamed: None,
            is_pooled: Arc::default(),
            keys: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_schema_is_written_into_every_statement() {
        let schema = Schema::named("jobs").unwrap();
        let sql = schema.sql("delete from queue.ready where queue = $1");
        assert_eq!(sql.as_str(), "delete from jobs.ready where queue = $1");
    }

    #[test]
    fn a_name_that_needs_quoting_is_refused() {
        for name in [
            "",
            "Queue",
            "my-queue",
            "1st",
            "a b",
            "q\"; drop",
            "pg_queue",
        ] {
            assert!(Schema::named(name).is_err(), "{name:?} was accepted");
        }
    }
}
