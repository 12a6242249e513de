//! Rotation: encrypts with the newest key what is encrypted with an older one.
//!
//! It walks over the jobs by their ids, beside running workers: a value is replaced only if it is still the one
//! that was read. After a rotation that was stopped, another one does the rest.

use std::collections::BTreeMap;

use sqlx::postgres::PgBindIterExt as _;
use sqlx::{FromRow, PgConnection};

use crate::encryption::{Keys, Place, key_of, open};
use crate::sql::Schema;

const FIND: &str = include_str!("find.sql");

/// The most values that one statement replaces.
const VALUES_MAX: usize = 500;

const JOBS: &str = concat!(include_str!("given.sql"), include_str!("jobs.sql"));
const STEPS: &str = concat!(include_str!("given.sql"), include_str!("steps.sql"));
const PROGRESS: &str = concat!(include_str!("given.sql"), include_str!("progress.sql"));
const RECURRING: &str = concat!(
    include_str!("given.sql"),
    include_str!("recurring_jobs.sql")
);

/// The tables with encrypted values, and how they are replaced there.
const TABLES: [(&str, &str); 4] = [
    ("jobs", JOBS),
    ("steps", STEPS),
    ("progress", PROGRESS),
    ("recurring_jobs", RECURRING),
];

/// The encrypted values of some jobs, by the ids of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// The last of the jobs; none if there are no more.
    pub last: Option<i64>,
    /// How many values had been encrypted with each key.
    pub found: BTreeMap<String, u64>,
    /// How many of them are encrypted with the newest key now.
    pub rotated: u64,
    /// How many could not be decrypted: their key is not there, or they were changed.
    pub unreadable: u64,
}

#[derive(FromRow)]
struct Value {
    last: Option<i64>,
    place: String,
    job_id: i64,
    kind: String,
    name: String,
    occurrence: i16,
    value: String,
}

impl Value {
    fn at(&self) -> Place<'_> {
        match self.place.as_str() {
            "steps" => Place::Step(self.job_id, &self.name, self.occurrence),
            "progress" => Place::Progress(self.job_id, &self.name),
            _ => Place::Args,
        }
    }
}

/// Rotates the values of up to `jobs` jobs after a job, from 0 on, which is also the turn of recurring jobs. Only
/// counts them if that is asked for.
///
/// # Errors
/// Returns the error of the database. What was rotated until then stays.
pub async fn rotate(
    conn: &mut PgConnection,
    schema: &Schema,
    keys: &Keys,
    after: i64,
    jobs: u32,
    only_counts: bool,
) -> Result<Rotated, sqlx::Error> {
    let query = schema.query_as(FIND).bind(after).bind(i64::from(jobs));
    let values: Vec<Value> = query.fetch_all(&mut *conn).await?;
    let mut rotated = Rotated {
        last: values.first().and_then(|value| value.last),
        ..Rotated::default()
    };
    let mut new = Vec::new();
    for value in values.iter().filter(|value| !value.place.is_empty()) {
        let key = key_of(&value.value).unwrap_or_default();
        *rotated.found.entry(key.to_owned()).or_default() += 1;
        if key == keys.first() {
            continue;
        }
        match open(Some(keys), &value.kind, value.at(), &value.value) {
            Ok(Some(json)) => new.push((value, keys.seal(&value.kind, value.at(), json.get()))),
            _ => rotated.unreadable += 1,
        }
    }
    if !only_counts {
        for (table, statement) in TABLES {
            let of_table: Vec<&(&Value, String)> = new
                .iter()
                .filter(|(value, _)| value.place == table)
                .collect();
            for values in of_table.chunks(VALUES_MAX) {
                rotated.rotated += replace(conn, schema, statement, values).await?;
            }
        }
    }
    Ok(rotated)
}

/// Replaces values of one table, and returns how many.
async fn replace(
    conn: &mut PgConnection,
    schema: &Schema,
    statement: &'static str,
    values: &[&(&Value, String)],
) -> Result<u64, sqlx::Error> {
    let of = || values.iter().map(|(value, _)| value);
    let replaced = schema
        .query(statement)
        .bind(of().map(|value| value.job_id).bind_iter())
        .bind(of().map(|value| &value.name).bind_iter())
        .bind(of().map(|value| value.occurrence).bind_iter())
        .bind(of().map(|value| &value.value).bind_iter())
        .bind(values.iter().map(|(_, new)| new).bind_iter())
        .execute(conn)
        .await?;
    Ok(replaced.rows_affected())
}
