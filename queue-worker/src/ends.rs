//! The ends of runs, and how one group of them is written and told of.

use std::collections::HashMap;
use std::sync::Arc;

use queue_core::process::ProcessId;
use queue_core::transitions::end::{End, end, was_written};
use queue_core::transitions::finish::finish;
use queue_core::transitions::{Became, Run};
use queue_core::{JobId, Outcome, Schema, is_transient, redact};
use sqlx::PgConnection;

use crate::hooks::{self, Hooks, JobEvent};
use crate::judge::Verdict;
use crate::link::Link;
use crate::running::{Held, Holdings};
use crate::vacated::Vacated;

/// A run that is over, and what is to be written about it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) run: Run,
    pub(crate) held: Arc<Held>,
    pub(crate) verdict: Verdict,
}

/// Why ends of runs could not be written.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The database is away, or cannot take anything now.
    Away(sqlx::Error),
    /// It does not take these ends: a lock is in the way of one, or something is wrong with it.
    Stuck(sqlx::Error),
}

/// What writes the ends of runs.
pub(crate) struct Writer {
    pub(crate) schema: Schema,
    pub(crate) process: ProcessId,
    pub(crate) process_name: String,
    pub(crate) link: Link,
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) hooks: Hooks,
    /// Told of the keys whose slots have been freed.
    pub(crate) vacated: Arc<Vacated>,
}

impl Writer {
    /// Makes a writer like this one, with a connection of its own.
    pub(crate) fn another(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            process: self.process,
            process_name: self.process_name.clone(),
            link: self.link.another(),
            holdings: Arc::clone(&self.holdings),
            hooks: self.hooks.clone(),
            vacated: Arc::clone(&self.vacated),
        }
    }

    /// Tries once to write a group, all of whose runs finished their jobs, or none.
    pub(crate) async fn try_write(
        &mut self,
        group: &[Ended],
        repeated: bool,
    ) -> Result<Vec<(JobId, Became)>, Trouble> {
        // Being refused as a client says nothing about what would have been written.
        self.link.connect().await.map_err(Trouble::Away)?;
        self.flush(group, repeated).await.map_err(|error| {
            if is_transient(&error) && !is_about_the_statement(&error) {
                Trouble::Away(error)
            } else {
                Trouble::Stuck(error)
            }
        })
    }

    async fn flush(
        &mut self,
        group: &[Ended],
        repeated: bool,
    ) -> Result<Vec<(JobId, Became)>, sqlx::Error> {
        let (schema, process, name) = (&self.schema, self.process, &self.process_name);
        let write = async |conn: &mut PgConnection| {
            let mut written = apply(conn, schema, process, name, group).await?;
            if repeated && written.len() < group.len() {
                let runs: Vec<Run> = group.iter().map(|ended| ended.run).collect();
                written.extend(was_written(conn, schema, &runs).await?);
            }
            Ok(written)
        };
        self.link.run(write).await
    }

    /// Forgets the runs of a group that was written, and tells what their jobs became.
    pub(crate) fn settle(&self, group: &[Ended], written: Vec<(JobId, Became)>) {
        self.vacated
            .add(group.iter().flat_map(|ended| &ended.held.keys));
        self.holdings.remove(group.iter().map(|ended| &ended.held));
        let written: HashMap<JobId, Became> = written.into_iter().collect();
        for ended in group {
            let became = written.get(&ended.held.claim.job_id()).copied();
            match became.or_else(|| ended.verdict.if_gone()) {
                Some(became) => tell(&self.hooks, ended, became),
                None => report_lost(ended),
            }
        }
    }
}

/// Tells whether a passing error is one of this statement rather than of the database: it waited
/// too long for a lock, or took too long.
fn is_about_the_statement(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == "55P03" || code == "57014")
}

/// Writes a group of ends in one statement, and returns what the jobs became that it changed.
async fn apply(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    process_name: &str,
    group: &[Ended],
) -> Result<Vec<(JobId, Became)>, sqlx::Error> {
    let ends: Vec<(Run, &End)> = group
        .iter()
        .filter_map(|ended| Some((ended.run, ended.verdict.end()?)))
        .collect();
    if !ends.is_empty() {
        return end(conn, schema, process, process_name, &ends).await;
    }
    let runs: Vec<Run> = group.iter().map(|ended| ended.run).collect();
    let finished = finish(conn, schema, process, &runs).await?;
    let done = Became::Finished(Outcome::Done);
    Ok(finished.into_iter().map(|job| (job, done)).collect())
}

/// Logs what became of a job, once, and calls the hooks.
fn tell(hooks: &Hooks, ended: &Ended, became: Became) {
    let Ended { run, held, verdict } = ended;
    let end = match became {
        Became::Finished(Outcome::Done) => None,
        _ => verdict.end(),
    };
    let event = JobEvent {
        job_id: held.claim.job_id(),
        kind: &held.kind,
        queue: &held.queue,
        attempt: held.claim.attempt(),
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
    let delay = end.and_then(End::delay);
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
            tracing::warn!(%job_id, kind, queue, attempt, error, ?delay, "failed; retrying");
        }
        Became::Scheduled => tracing::debug!(%job_id, kind, queue, attempt, ?delay, "snoozed"),
        Became::Ready => tracing::debug!(%job_id, kind, queue, attempt, "given back"),
    }
}

fn report_lost(ended: &Ended) {
    tracing::warn!(
        job_id = %ended.held.claim.job_id(),
        kind = ended.held.kind,
        queue = ended.held.queue,
        attempt = ended.held.claim.attempt(),
        "outcome ignored: the job now belongs to another process",
    );
}
