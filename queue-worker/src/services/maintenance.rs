//! Cleaning up: jobs of processes that died, and jobs and firings that have been kept long enough.

use std::time::Duration;

use chrono::{DateTime, Utc};
use queue_core::Schema;
use queue_core::recurring::clear_firings;
use queue_core::transitions::clear::{ClearFilter, clear_failed, clear_finished, clear_rates};
use queue_core::transitions::recover::{RECOVERED_MAX, Recovered, recover};
use queue_core::transitions::unblock::unblock;
use tokio_util::sync::CancellationToken;

use crate::config::{KeepFor, MaintenanceSettings, ProcessSettings, Retention};
use crate::connection::Connection;

/// Every how many looks for dead processes it also looks for jobs without any process, which
/// reads all claims.
const STRAYS_EVERY: u32 = 12;

/// Recovers the jobs of dead processes until the process stops. Every process does it.
pub(crate) async fn recover_dead(
    mut connection: Connection,
    schema: Schema,
    settings: ProcessSettings,
    stopping: CancellationToken,
) -> Result<(), sqlx::Error> {
    let mut look = 0_u32;
    while !stopping.is_cancelled() {
        let mut strays = look.is_multiple_of(STRAYS_EVERY);
        loop {
            let recovered = connection
                .run(async |conn| {
                    let recovered = recover(conn, &schema, settings.dead_after, strays).await?;
                    let keys: Vec<String> =
                        recovered.iter().flat_map(|job| job.keys.clone()).collect();
                    unblock(conn, &schema, &keys).await?;
                    Ok(recovered)
                })
                .await?;
            report(&recovered);
            if recovered.len() < RECOVERED_MAX || stopping.is_cancelled() {
                break;
            }
            // The rest belongs to processes whose rows are gone by now.
            strays = true;
        }
        look = look.wrapping_add(1);
        pause(settings.heartbeat_interval, &stopping).await;
    }
    connection.close().await;
    Ok(())
}

fn report(recovered: &[Recovered]) {
    for job in recovered {
        tracing::warn!(
            job_id = %job.job_id,
            kind = job.kind,
            queue = job.queue,
            process = job.process,
            became = job.became,
            "recovered a job of a process that died",
        );
    }
}

/// One rule of what to clear: which jobs, and how long they are kept.
struct Rule {
    which: ClearFilter,
    keep: Duration,
    /// Where the last pass ended.
    from: Option<DateTime<Utc>>,
    passes: u32,
}

/// Every how many passes a rule begins at the beginning, for what was locked or not yet committed
/// when a pass came by. All others skip what is kept for longer.
const PASSES: u32 = 60;

/// Clears ended jobs and old firings in small batches until the process stops.
pub(crate) async fn clear_old(
    mut connection: Connection,
    schema: Schema,
    settings: MaintenanceSettings,
    retention: Retention,
    stopping: CancellationToken,
) -> Result<(), sqlx::Error> {
    let mut rules = rules(&retention);
    while !stopping.is_cancelled() {
        for rule in &mut rules {
            clear_by(
                rule,
                &mut connection,
                &schema,
                settings.batch_size,
                &stopping,
            )
            .await?;
        }
        if let Some(keep) = retention.failed {
            let limit = settings.batch_size;
            while connection
                .run(async |conn| clear_failed(conn, &schema, keep, limit).await)
                .await?
                == u64::from(limit)
                && !stopping.is_cancelled()
            {}
        }
        if let Some(keep) = retention.firings {
            let limit = settings.batch_size;
            while connection
                .run(async |conn| clear_firings(conn, &schema, keep, limit).await)
                .await?
                == u64::from(limit)
                && !stopping.is_cancelled()
            {}
        }
        let limit = settings.batch_size;
        while connection
            .run(async |conn| clear_rates(conn, &schema, limit).await)
            .await?
            == u64::from(limit)
            && !stopping.is_cancelled()
        {}
        pause(settings.interval, &stopping).await;
    }
    connection.close().await;
    Ok(())
}

async fn clear_by(
    rule: &mut Rule,
    connection: &mut Connection,
    schema: &Schema,
    limit: u32,
    stopping: &CancellationToken,
) -> Result<(), sqlx::Error> {
    while !stopping.is_cancelled() {
        let Rule {
            which, keep, from, ..
        } = &*rule;
        let (cleared, last) = connection
            .run(async |conn| clear_finished(conn, schema, which, *keep, *from, limit).await)
            .await?;
        rule.from = last.or(rule.from);
        if cleared < u64::from(limit) {
            break;
        }
    }
    rule.passes += 1;
    if rule.passes.is_multiple_of(PASSES) {
        rule.from = None;
    }
    Ok(())
}

/// Turns the settings into rules that do not overlap: kinds of their own, queues of their own
/// without those kinds, and all the rest.
fn rules(retention: &Retention) -> Vec<Rule> {
    let kinds: Vec<String> = retention.kinds.keys().cloned().collect();
    let queues: Vec<String> = retention.queues.keys().cloned().collect();
    let of_kinds = retention.kinds.iter().map(|(kind, keep)| {
        let which = ClearFilter {
            kind: Some(kind.clone()),
            ..ClearFilter::default()
        };
        (which, *keep)
    });
    let of_queues = retention.queues.iter().map(|(queue, keep)| {
        let which = ClearFilter {
            queue: Some(queue.clone()),
            except_kinds: kinds.clone(),
            ..ClearFilter::default()
        };
        (which, *keep)
    });
    let rest = ClearFilter {
        except_kinds: kinds.clone(),
        except_queues: queues,
        ..ClearFilter::default()
    };
    of_kinds
        .chain(of_queues)
        .chain([(rest, KeepFor::from(retention.finished))])
        .filter_map(|(which, keep)| match keep {
            KeepFor::Forever => None,
            KeepFor::For(keep) => Some(Rule {
                which,
                keep,
                from: None,
                passes: 0,
            }),
        })
        .collect()
}

async fn pause(wait: Duration, stopping: &CancellationToken) {
    tokio::select! {
        () = stopping.cancelled() => {}
        () = tokio::time::sleep(wait.mul_f64(0.9 + fastrand::f64() / 5.0)) => {}
    }
}
