//! Batches: settles those whose last job this process has ended, and jobs that wait for jobs it has ended.
//!
//! It looks after the commit of the ends. While it looks, further ends add up, so that a busy process looks
//! once for many of them. Now and then a sweep finds what other processes have left behind when they died.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::batches::{Ended, of_jobs, settle, sweep};
use tokio::time::{sleep, sleep_until};

use super::listener::wake_all;
use super::supervision::ServiceContext;
use crate::app::State;
use crate::completer::{EndedInBatches, News};
use crate::rest::rest_after;
use crate::worker::Worker;

/// How long it rests after a look that found nothing to settle: further jobs of the batches are ending.
const REST: Duration = Duration::from_millis(10);

/// How long until a batch is looked at again that another transaction had locked.
const LOCKED: Duration = Duration::from_millis(50);

/// How long a batch that misses no job may be left open.
const OPEN_MAX: Duration = Duration::from_secs(86_400);

/// Settles batches until it is aborted: it goes on while the process stops, because runs end then too.
/// Sweeps at once and then at every `interval` of maintenance, if that is on. Wakes the workers when jobs
/// that waited may be ready: a process without notifications would find them only when it next polls.
pub(crate) async fn settle_batches<S: State>(
    mut context: ServiceContext,
    ended: Arc<EndedInBatches>,
    workers: Vec<Arc<Worker<S>>>,
) -> Result<(), sqlx::Error> {
    context.connection = context.connection.without_sync();
    let maintenance = context.settings.maintenance.clone();
    let mut sweep_at = Instant::now();
    loop {
        let due = async {
            match maintenance.enabled {
                true => sleep_until(sweep_at.into()).await,
                false => std::future::pending().await,
            }
        };
        let waiting = async {
            tokio::select! {
                biased;
                () = ended.added() => false,
                () = due => true,
            }
        };
        if context.connection.idle_until(waiting).await {
            let began = Instant::now();
            sweep_all(&context).await?;
            sweep_at = Instant::now() + maintenance.interval.max(rest_after(began.elapsed()));
        } else {
            let has_settled = look(&mut context, &ended).await?;
            if has_settled {
                wake_all(&workers, None);
            }
        }
    }
}

async fn sweep_all(context: &ServiceContext) -> Result<(), sqlx::Error> {
    let schema = &context.schema;
    let swept = context
        .shared
        .run(async |conn| sweep(conn, schema, OPEN_MAX).await)
        .await?;
    for batch in swept.abandoned {
        tracing::warn!(%batch, "closed a batch that had been left open for a day");
    }
    Ok(())
}

/// Looks at what has ended, and returns whether anything was settled. After an error all of it is looked at
/// again.
async fn look(context: &mut ServiceContext, ended: &EndedInBatches) -> Result<bool, sqlx::Error> {
    let News {
        ended: mut known,
        others,
    } = ended.take();
    let (schema, connection) = (&context.schema, &mut context.connection);
    let looked = connection
        .run(async |conn| {
            if !others.is_empty() {
                known.extend(of_jobs(conn, schema, &others).await?);
            }
            settle(conn, schema, &known).await
        })
        .await;
    let unsettled = match looked {
        Ok(unsettled) => unsettled,
        Err(error) => {
            ended.add(known);
            ended.add_others(others);
            return Err(error);
        }
    };
    let (is_locked, has_settled) = (!unsettled.locked.is_empty(), unsettled.has_settled);
    ended.add(unsettled.ended);
    ended.add(Ended {
        batches: unsettled.locked,
        jobs: BTreeSet::new(),
    });
    if is_locked {
        sleep(LOCKED).await;
    } else if !has_settled {
        sleep(REST).await;
    }
    Ok(has_settled)
}
