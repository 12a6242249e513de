//! Reads jobs that this process ended but did not run, for the events of hooks. Changes nothing.

use serde_json::value::RawValue;
use sqlx::{FromRow, PgConnection};

use crate::context::Context;
use crate::encryption::Place;
use crate::job::JobId;
use crate::sql::Schema;

const FACTS: &str = include_str!("facts.sql");

/// The columns of a job that never change.
#[derive(Debug, FromRow)]
pub struct Facts {
    /// The job.
    pub job_id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Its labels.
    pub tags: Vec<String>,
    /// The runs that may end in an error before it fails.
    pub attempts_max: i16,
    /// Its arguments, as JSON.
    #[sqlx(json)]
    pub args: Box<RawValue>,
    tenant: Option<String>,
    #[sqlx(json(nullable))]
    context: Option<Box<RawValue>>,
}

impl Facts {
    /// Returns where the job comes from; nothing if that cannot be read.
    pub fn context(&self) -> Context {
        let json = self.context.as_ref().map(|json| json.get());
        Context::read(self.tenant.clone(), json).unwrap_or_default()
    }
}

/// Reads jobs. Those that were cleared meanwhile are missing. Arguments stay encrypted if their key is unknown.
pub async fn facts(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Vec<Facts>, sqlx::Error> {
    let mut facts: Vec<Facts> = schema.query_as(FACTS).bind(jobs).fetch_all(conn).await?;
    for job in &mut facts {
        if let Ok(Some(opened)) = schema.open(&job.kind, Place::Args, job.args.get()) {
            job.args = opened;
        }
    }
    Ok(facts)
}
