//! One write: a group of completions is recorded in one statement, logged, and told to the hooks.

use std::collections::HashMap;
use std::sync::Arc;

use queue_core::process::ProcessId;
use queue_core::transitions::end::{End, end, was_written};
use queue_core::transitions::finish::finish;
use queue_core::transitions::{Became, Run};
use queue_core::{JobId, Outcome, Schema, is_transient, redact};
use sqlx::PgConnection;
use tracing::field;

use super::freed_keys::FreedKeys;
use crate::app::hooks::{self, Hooks, JobEvent};
use crate::attempt::{Completion, InFlight};
use crate::connection::Connection;

/// Why a group was not written.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The database is away, or cannot take anything now.
    Away(sqlx::Error),
    /// It rejects this group: a lock is in the way of one completion, or something is wrong with it.
    Stuck(sqlx::Error),
}

/// Writes completions, on a connection of its own.
pub(crate) struct Writer {
    pub(crate) schema: Schema,
    pub(crate) process: ProcessId,
    pub(crate) process_name: String,
    pub(crate) connection: Connection,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) hooks: Hooks,
    pub(crate) freed_keys: Arc<FreedKeys>,
}

impl Writer {
    /// Makes a writer like this one, with a connection of its own.
    pub(crate) fn another(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            process: self.process,
            process_name: self.process_name.clone(),
            connection: self.connection.another(),
            in_flight: Arc::clone(&self.in_flight),
            hooks: self.hooks.clone(),
            freed_keys: Arc::clone(&self.freed_keys),
        }
    }

    /// Tries once to write a group, in which all verdicts are to finish or none is, and returns what
    /// the jobs became whose runs this process ended.
    pub(crate) async fn try_write(
        &mut self,
        group: &[Completion],
    ) -> Result<HashMap<JobId, Became>, Trouble> {
        // Being refused as a client says nothing about what would have been written.
        self.connection.connect().await.map_err(Trouble::Away)?;
        let (schema, process, name) = (&self.schema, self.process, &self.process_name);
        let write = async |conn: &mut PgConnection| write(conn, schema, process, name, group).await;
        self.connection.run(write).await.map_err(|error| {
            if is_transient(&error) && !is_about_the_statement(&error) {
                Trouble::Away(error)
            } else {
                Trouble::Stuck(error)
            }
        })
    }

    /// Removes a group that was written from what is in flight, logs what the jobs became, and calls
    /// the hooks.
    pub(crate) fn settle(&self, group: &[Completion], became: &HashMap<JobId, Became>) {
        let jobs = || group.iter().map(|completion| &completion.job);
        self.freed_keys.add(jobs().flat_map(|job| &job.keys));
        self.in_flight.remove(jobs());
        for completion in group {
            match became.get(&completion.job.claim.job_id()) {
                Some(became) => tell(&self.hooks, completion, *became),
                None => report_lost(completion),
            }
        }
    }
}

/// Returns whether a transient error concerns this statement rather than the database: it waited too
/// long for a lock, or took too long.
fn is_about_the_statement(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == "55P03" || code == "57014")
}

async fn write(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    process_name: &str,
    group: &[Completion],
) -> Result<HashMap<JobId, Became>, sqlx::Error> {
    let runs: Vec<Run> = group.iter().map(|completion| completion.run).collect();
    let ends: Vec<(Run, &End)> = group
        .iter()
        .filter_map(|completion| Some((completion.run, completion.end()?)))
        .collect();
    let mut became: HashMap<JobId, Became> = if ends.is_empty() {
        let finished = finish(conn, schema, process, &runs).await?;
        let done = Became::Finished(Outcome::Done);
        finished.into_iter().map(|job| (job, done)).collect()
    } else {
        let ended = end(conn, schema, process, process_name, &ends).await?;
        ended.into_iter().collect()
    };
    if became.len() < runs.len() {
        let is_gone = |run: &Run| !became.contains_key(&run.claim.job_id());
        let gone: Vec<Run> = runs.into_iter().filter(is_gone).collect();
        became.extend(was_written(conn, schema, &gone).await?);
    }
    Ok(became)
}

/// Logs what became of a job, once, and calls the hooks.
fn tell(hooks: &Hooks, completion: &Completion, became: Became) {
    let Completion { run, job, .. } = completion;
    let end = match became {
        Became::Finished(Outcome::Done) => None,
        _ => completion.end(),
    };
    let event = JobEvent {
        job_id: job.claim.job_id(),
        kind: &job.kind,
        queue: &job.queue,
        attempt: job.claim.attempt(),
        ran: run.ran,
        error: end.and_then(End::error).map(|error| &*error.message),
    };
    log(&event, became, end);
    let concerned = match became {
        Became::Finished(Outcome::Done) => &hooks.finished[..],
        Became::Finished(_) => &hooks.discarded,
        Became::Failed => &hooks.failed,
        Became::Scheduled | Became::Ready => &[],
    };
    hooks::tell_of_job(concerned, &event);
}

fn log(event: &JobEvent<'_>, became: Became, end: Option<&End>) {
    let &JobEvent {
        job_id,
        kind,
        queue,
        attempt,
        ..
    } = event;
    let error = event.error.map(redact);
    let delay = end.and_then(End::delay).map(field::debug);
    match became {
        Became::Finished(Outcome::Done) => {
            tracing::debug!(%job_id, kind, queue, attempt, "finished");
        }
        Became::Finished(outcome) => {
            tracing::info!(%job_id, kind, queue, attempt, error, "{}", outcome.as_str());
        }
        Became::Failed => {
            tracing::error!(%job_id, kind, queue, attempt, error, "failed for good");
        }
        Became::Scheduled if error.is_some() => {
            tracing::warn!(%job_id, kind, queue, attempt, error, delay, "failed; retrying");
        }
        Became::Scheduled => tracing::debug!(%job_id, kind, queue, attempt, delay, "snoozed"),
        Became::Ready => tracing::debug!(%job_id, kind, queue, attempt, "given back"),
    }
}

fn report_lost(completion: &Completion) {
    tracing::warn!(
        job_id = %completion.job.claim.job_id(),
        kind = completion.job.kind,
        queue = completion.job.queue,
        attempt = completion.job.claim.attempt(),
        "outcome ignored: the job now belongs to another process",
    );
}
