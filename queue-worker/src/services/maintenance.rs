//! Maintenance: recovers the jobs of dead processes, warns of jobs that no process can run, clears what has
//! been kept long enough, adds up counts, and samples depths.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use queue_core::Schema;
use queue_core::batches::clear_batches;
use queue_core::counts::fold;
use queue_core::depths::sample;
use queue_core::events::clear_events;
use queue_core::operations::audit::clear_audit;
use queue_core::process::unknown_kinds;
use queue_core::recurring::clear_firings;
use queue_core::transitions::clear::{ClearFilter, clear_failed, clear_finished, clear_rates};
use queue_core::transitions::recover::{RECOVERED_MAX, Recovered, recover};
use queue_core::transitions::unblock::unblock;
use sqlx::PgConnection;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::supervision::ServiceContext;
use crate::app::hooks::Hooks;
use crate::completer::{EndCounts, EndedInBatches, EndedJob, EndedRun, announce};
use crate::config::{KeepFor, Retention};
use crate::metrics::note_crash;

/// Only every so many times are jobs without any process recovered too, because that reads all
/// claims, and jobs of unknown kinds looked for.
const STRAYS_EVERY: u32 = 12;

/// The unknown kinds that were logged. They are not logged again after a lost connection.
#[derive(Default)]
pub(crate) struct Reported(Mutex<HashSet<String>>);

impl Reported {
    fn is_new(&self, kind: &str) -> bool {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.insert(kind.to_owned())
    }
}

/// Recovers the jobs of dead processes until the process stops. Every process does it, and calls the
/// hooks about the jobs that it has recovered.
pub(crate) async fn recover_dead(
    mut context: ServiceContext,
    hooks: Hooks,
    reported: Arc<Reported>,
    ended: Arc<EndedInBatches>,
    counts: Arc<EndCounts>,
) -> Result<(), sqlx::Error> {
    let mut passes = 0_u32;
    while !context.stopping.is_cancelled() {
        let mut strays = passes.is_multiple_of(STRAYS_EVERY);
        // The rest belongs to processes whose rows are gone by then.
        while recover_some(&mut context, &hooks, &ended, &counts, strays).await? >= RECOVERED_MAX
            && !context.stopping.is_cancelled()
        {
            strays = true;
        }
        if passes.is_multiple_of(STRAYS_EVERY) {
            report_unknown_kinds(&context, &reported).await?;
        }
        passes = passes.wrapping_add(1);
        let interval = context.settings.process.heartbeat_interval;
        let pause = context.lookout.pause(interval);
        context.stopping.run_until_cancelled(pause).await;
    }
    Ok(())
}

/// Logs, once per kind, that jobs wait which no process can run.
async fn report_unknown_kinds(
    context: &ServiceContext,
    reported: &Reported,
) -> Result<(), sqlx::Error> {
    let schema = &context.schema;
    let kinds = context
        .shared
        .run(async |conn| unknown_kinds(conn, schema).await)
        .await?;
    for kind in kinds {
        if reported.is_new(&kind) {
            tracing::warn!(
                kind,
                "jobs wait whose kind no process knows: start a program in which it is registered, or \
                 discard them",
            );
        }
    }
    Ok(())
}

async fn recover_some(
    context: &mut ServiceContext,
    hooks: &Hooks,
    ended_in_batches: &EndedInBatches,
    counts: &EndCounts,
    strays: bool,
) -> Result<usize, sqlx::Error> {
    let schema = &context.schema;
    let dead_after = context.settings.process.dead_after;
    let recovered = context
        .shared
        .run(async |conn| recover(conn, schema, dead_after, strays).await)
        .await?;
    let mut ended = Vec::new();
    for job in &recovered {
        report(job);
        note_crash(&job.queue, &job.kind);
        let became = job.became.parse()?;
        let run = EndedRun::elsewhere(&job.queue, &job.kind, became);
        counts.add(std::iter::once(run));
        ended.push(EndedJob {
            job_id: job.job_id,
            attempt: job.attempt,
            failures: job.failures,
            became,
            reason: job.error.clone(),
        });
    }
    ended_in_batches.add_others(recovered.iter().map(|job| job.job_id));
    let keys: Vec<String> = recovered.iter().flat_map(|job| job.keys.clone()).collect();
    let unblocked = context
        .shared
        .run(async |conn| unblock(conn, schema, &keys).await)
        .await;
    announce(hooks, &mut context.connection, schema, &ended).await;
    context.connection.close().await;
    unblocked.map(|_| recovered.len())
}

fn report(job: &Recovered) {
    tracing::warn!(
        job_id = %job.job_id,
        kind = job.kind,
        queue = job.queue,
        tenant = job.tenant,
        process = job.process,
        became = job.became,
        "recovered a job of a process that died",
    );
}

/// How long after the beginning of a minute it is sampled at most. Each process waits for a part of that, at
/// random, so that they seldom sample at once.
const SAMPLED_WITHIN: Duration = Duration::from_secs(30);

/// Samples, once a minute, how many jobs each queue has, until the process stops. Of all processes, the first
/// does it.
pub(crate) async fn sample_depths(context: ServiceContext) -> Result<(), sqlx::Error> {
    let (schema, stopping) = (&context.schema, &context.stopping);
    while !stopping.is_cancelled() {
        let sampled = context.shared.run(async |conn| sample(conn, schema).await);
        let wait = sampled.await? + SAMPLED_WITHIN.mul_f64(fastrand::f64());
        stopping.run_until_cancelled(sleep(wait)).await;
    }
    Ok(())
}

/// What is cleared, and how long it is kept.
enum Rule {
    Finished {
        which: ClearFilter,
        keep: Duration,
        /// The time up to which the last pass has cleared.
        from: Option<DateTime<Utc>>,
        passes: u32,
    },
    Failed(Duration),
    Firings(Duration),
    Events(Duration),
    Batches(Duration),
    Audit(Duration),
    Rates,
    Counts,
}

/// Every so many passes a rule starts from the oldest job, to find what was locked or not yet
/// committed before. All other passes skip the jobs that they have to keep.
const PASSES: u32 = 60;

/// Clears ended jobs, old firings, old events and old acts in small batches until the process stops.
pub(crate) async fn clear_old(context: ServiceContext) -> Result<(), sqlx::Error> {
    let (schema, stopping) = (&context.schema, &context.stopping);
    let mut rules = rules(&context.settings.retention);
    let limit = context.settings.maintenance.batch_size;
    while !stopping.is_cancelled() {
        for rule in &mut rules {
            while context
                .shared
                .run(async |conn| rule.clear_batch(conn, schema, limit).await)
                .await?
                == u64::from(limit)
                && !stopping.is_cancelled()
            {}
        }
        pause(context.settings.maintenance.interval, stopping).await;
    }
    Ok(())
}

impl Rule {
    /// Clears up to `limit` jobs, firings, events, batches, acts or rates, or adds up counts. Returns how many.
    async fn clear_batch(
        &mut self,
        conn: &mut PgConnection,
        schema: &Schema,
        limit: u32,
    ) -> Result<u64, sqlx::Error> {
        let (which, keep, from, passes) = match self {
            Self::Finished {
                which,
                keep,
                from,
                passes,
            } => (which, *keep, from, passes),
            Self::Failed(keep) => return clear_failed(conn, schema, *keep, limit).await,
            Self::Firings(keep) => return clear_firings(conn, schema, *keep, limit).await,
            Self::Events(keep) => return clear_events(conn, schema, *keep, limit).await,
            Self::Batches(keep) => return clear_batches(conn, schema, *keep, limit).await,
            Self::Audit(keep) => return clear_audit(conn, schema, *keep, limit).await,
            Self::Rates => return clear_rates(conn, schema, limit).await,
            Self::Counts => return fold(conn, schema, limit).await,
        };
        let (cleared, last) = clear_finished(conn, schema, which, keep, *from, limit).await?;
        *from = last.or(*from);
        if cleared < u64::from(limit) {
            *passes += 1;
            if passes.is_multiple_of(PASSES) {
                *from = None;
            }
        }
        Ok(cleared)
    }
}

/// Turns the settings into rules. Those for finished jobs do not overlap: one for each kind with a
/// setting, one for each queue with a setting without those kinds, and one for the rest.
fn rules(retention: &Retention) -> Vec<Rule> {
    let except_kinds: Vec<String> = retention.kinds.keys().cloned().collect();
    let except_queues = retention.queues.keys().cloned().collect();
    let of_kinds = retention.kinds.iter().map(|(kind, keep)| {
        let which = ClearFilter {
            kind: Some(kind.clone()),
            ..ClearFilter::default()
        };
        (*keep, which)
    });
    let of_queues = retention.queues.iter().map(|(queue, keep)| {
        let which = ClearFilter {
            queue: Some(queue.clone()),
            except_kinds: except_kinds.clone(),
            ..ClearFilter::default()
        };
        (*keep, which)
    });
    let mut finished: Vec<(KeepFor, ClearFilter)> = of_kinds.chain(of_queues).collect();
    let rest = ClearFilter {
        except_kinds,
        except_queues,
        ..ClearFilter::default()
    };
    finished.push((retention.finished.into(), rest));
    let finished = finished.into_iter().filter_map(|(keep, which)| match keep {
        KeepFor::Forever => None,
        KeepFor::For(keep) => Some(Rule::Finished {
            which,
            keep,
            from: None,
            passes: 0,
        }),
    });
    finished
        .chain(retention.failed.map(Rule::Failed))
        .chain(retention.firings.map(Rule::Firings))
        .chain(retention.events.map(Rule::Events))
        .chain(retention.finished.map(Rule::Batches))
        .chain(retention.audit.map(Rule::Audit))
        .chain([Rule::Rates, Rule::Counts])
        .collect()
}

async fn pause(wait: Duration, stopping: &CancellationToken) {
    let wait = wait.mul_f64(0.9 + fastrand::f64() / 5.0);
    stopping.run_until_cancelled(sleep(wait)).await;
}
