//! The ends of runs, and how one group of them is written and told of.

use std::collections::HashSet;
use std::sync::Arc;

use queue_core::process::ProcessId;
use queue_core::transitions::Run;
use queue_core::transitions::discard::{Discarded, discard};
use queue_core::transitions::fail::{Failed, fail};
use queue_core::transitions::finish::{finish, still_claimed, was_written};
use queue_core::transitions::release::release;
use queue_core::transitions::retry::{Retried, retry};
use queue_core::transitions::snooze::snooze;
use queue_core::{JobId, Schema, is_transient};
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

    /// Tries once to write verdicts of one sort.
    pub(crate) async fn try_write(
        &mut self,
        group: &[Ended],
        repeated: bool,
    ) -> Result<Vec<JobId>, Trouble> {
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

    async fn flush(&mut self, group: &[Ended], repeated: bool) -> Result<Vec<JobId>, sqlx::Error> {
        let Self {
            link,
            schema,
            process,
            process_name,
            ..
        } = self;
        link.run(async |conn| {
            let mut written = apply(conn, schema, *process, process_name, group).await?;
            if repeated && asks_whether_written(group) && written.len() < group.len() {
                let runs: Vec<Run> = group.iter().map(|ended| ended.run).collect();
                written.extend(was_written(conn, schema, &runs).await?);
            }
            Ok(written)
        })
        .await
    }

    /// Forgets the runs and tells of them. Returns those that have another end to be written.
    pub(crate) fn settle(&self, group: Vec<Ended>, written: &[JobId]) -> Vec<Ended> {
        self.vacated
            .add(group.iter().flat_map(|ended| &ended.held.keys));
        if let Some(Verdict::Completed { .. }) = group.first().map(|ended| &ended.verdict) {
            return self.settle_completed(group, written);
        }
        self.holdings.remove(group.iter().map(|ended| &ended.held));
        let written: HashSet<JobId> = written.iter().copied().collect();
        for ended in &group {
            if written.contains(&ended.held.claim.job_id()) {
                tell(&self.hooks, ended);
            } else {
                report_lost(ended);
            }
        }
        Vec::new()
    }

    /// Jobs that said they finished themselves but are still claimed did not commit: that is an
    /// error of theirs, and they are tried again.
    fn settle_completed(&self, group: Vec<Ended>, still_claimed: &[JobId]) -> Vec<Ended> {
        let mut uncommitted = Vec::new();
        for ended in group {
            match ended {
                Ended {
                    verdict: Verdict::Completed { otherwise },
                    ..
                } if still_claimed.contains(&ended.held.claim.job_id()) => {
                    uncommitted.push(Ended {
                        verdict: *otherwise,
                        ..ended
                    });
                }
                ended => {
                    self.holdings.remove([&ended.held]);
                    tell(&self.hooks, &ended);
                }
            }
        }
        uncommitted
    }
}

/// Tells whether it means anything that a run's end is written: a job that finished itself is
/// asked for as one that is still claimed.
fn asks_whether_written(group: &[Ended]) -> bool {
    let first = group.first().map(|ended| &ended.verdict);
    !matches!(first, Some(Verdict::Completed { .. }))
}

/// Tells whether a passing error is one of this statement rather than of the database: it waited
/// too long for a lock, or took too long.
fn is_about_the_statement(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == "55P03" || code == "57014")
}

/// Sorts verdicts, so that each sort is one statement. Finishes come first: there are most.
pub(crate) fn by_verdict(batch: impl Iterator<Item = Ended>) -> impl Iterator<Item = Vec<Ended>> {
    let mut groups: [Vec<Ended>; 7] = Default::default();
    for ended in batch {
        let sort = match ended.verdict {
            Verdict::Finish => 0,
            Verdict::Completed { .. } => 1,
            Verdict::Retry { .. } => 2,
            Verdict::Snooze { .. } => 3,
            Verdict::Discard { .. } => 4,
            Verdict::Fail { .. } => 5,
            Verdict::Release { .. } => 6,
        };
        groups[sort].push(ended);
    }
    groups.into_iter().filter(|group| !group.is_empty())
}

/// Carries out verdicts of one sort, and returns the jobs they changed; for jobs that completed
/// themselves, those that turn out not to have.
async fn apply(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    process_name: &str,
    group: &[Ended],
) -> Result<Vec<JobId>, sqlx::Error> {
    let Some(first) = group.first() else {
        return Ok(Vec::new());
    };
    match &first.verdict {
        Verdict::Finish => {
            let runs: Vec<Run> = group.iter().map(|ended| ended.run).collect();
            finish(conn, schema, process, &runs).await
        }
        Verdict::Completed { .. } => {
            let runs: Vec<Run> = group.iter().map(|ended| ended.run).collect();
            still_claimed(conn, schema, process, &runs).await
        }
        Verdict::Retry { .. } => {
            let retried = collect(group, |run, verdict| match verdict {
                Verdict::Retry { error, delay } => Some(Retried {
                    run,
                    error: error.clone(),
                    delay: *delay,
                }),
                _ => None,
            });
            retry(conn, schema, process, process_name, &retried).await
        }
        Verdict::Snooze { .. } => {
            let snoozed = collect(group, |run, verdict| match verdict {
                Verdict::Snooze { delay } => Some((run.claim, *delay)),
                _ => None,
            });
            snooze(conn, schema, process, &snoozed).await
        }
        Verdict::Discard { .. } => {
            let discarded = collect(group, |run, verdict| match verdict {
                Verdict::Discard { error, outcome } => Some(Discarded {
                    run,
                    error: error.clone(),
                    outcome: *outcome,
                }),
                _ => None,
            });
            discard(conn, schema, process, process_name, &discarded).await
        }
        Verdict::Fail { .. } => {
            let failed = collect(group, |run, verdict| match verdict {
                Verdict::Fail { error } => Some(Failed {
                    run,
                    error: error.clone(),
                }),
                _ => None,
            });
            fail(conn, schema, process, process_name, &failed).await
        }
        Verdict::Release { .. } => {
            let released: Vec<_> = group.iter().map(|ended| ended.run.claim).collect();
            release(conn, schema, process, &released).await
        }
    }
}

fn collect<T>(group: &[Ended], pick: impl Fn(Run, &Verdict) -> Option<T>) -> Vec<T> {
    group
        .iter()
        .filter_map(|ended| pick(ended.run, &ended.verdict))
        .collect()
}

/// Logs what became of a job, once, and calls the hooks.
fn tell(hooks: &Hooks, ended: &Ended) {
    let Ended { run, held, verdict } = ended;
    let error = match verdict {
        Verdict::Retry { error, .. } | Verdict::Discard { error, .. } | Verdict::Fail { error } => {
            Some(error.message.as_str())
        }
        _ => None,
    };
    let event = JobEvent {
        job_id: held.claim.job_id(),
        kind: &held.kind,
        queue: &held.queue,
        attempt: held.claim.attempt(),
        ran: run.ran,
        error,
    };
    let JobEvent {
        job_id,
        kind,
        attempt,
        ..
    } = event;
    match verdict {
        Verdict::Finish | Verdict::Completed { .. } => {
            tracing::debug!(%job_id, kind, attempt, "finished");
            hooks::tell_of_job(&hooks.finished, &event);
        }
        Verdict::Retry { delay, .. } => {
            tracing::warn!(%job_id, kind, attempt, ?delay, "failed, and is tried again");
        }
        Verdict::Snooze { delay } => tracing::debug!(%job_id, kind, attempt, ?delay, "snoozed"),
        Verdict::Discard { outcome, .. } => {
            tracing::info!(%job_id, kind, attempt, outcome = outcome.as_str(), "given up");
            hooks::tell_of_job(&hooks.discarded, &event);
        }
        Verdict::Fail { .. } => {
            tracing::error!(%job_id, kind, attempt, "failed for good");
            hooks::tell_of_job(&hooks.failed, &event);
        }
        Verdict::Release { begun } => tracing::debug!(%job_id, kind, attempt, begun, "given back"),
    }
}

fn report_lost(ended: &Ended) {
    tracing::warn!(
        job_id = %ended.held.claim.job_id(),
        kind = ended.held.kind,
        attempt = ended.held.claim.attempt(),
        "the end of a run came too late: the job had been taken from this process",
    );
}
