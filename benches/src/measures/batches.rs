//! Batches: draining the jobs of one batch, compared with the same jobs without a batch.

use anyhow::Result;
use queue_core::{Batch, BatchId, EnqueueError, NewJob};

use super::drain;
use crate::database::BenchDatabase;
use crate::jobs::Noop;
use crate::options::Options;
use crate::rate::Rate;
use crate::report::{Line, Report};

const JOBS: usize = 100_000;

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let without = fill_and_drain(options, database, false).await?;
        let with = fill_and_drain(options, database, true).await?;
        rounds.push((with, without));
    }
    report.add(Line {
        ratio_of: Some("no batch"),
        ..Line::against_limit(format!("batches, {JOBS} jobs of one"), &rounds)
    });
    Ok(())
}

async fn fill_and_drain(
    options: &Options,
    database: &BenchDatabase,
    in_batch: bool,
) -> Result<Rate> {
    database.reset().await?;
    let batch = match in_batch {
        true => Some(
            database
                .queue()
                .enqueue_batch(Batch::new().open())
                .await?
                .id,
        ),
        false => None,
    };
    database
        .copy((0..JOBS as i64).map(|id| job(id, batch)))
        .await?;
    if let Some(batch) = batch {
        database.queue().close_batch(batch).await?;
    }
    database.settle().await?;
    drain::drain(database, JOBS, options.concurrency).await
}

fn job(id: i64, batch: Option<BatchId>) -> Result<NewJob, EnqueueError> {
    let job = NewJob::of(&Noop::new(id))?;
    Ok(match batch {
        Some(batch) => job.with(|options| options.batch(batch)),
        None => job,
    })
}
