//! The cost of a fleet of idle processes: their transactions, connections and processor time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use super::memory::spawn;
use crate::compare::usage::exact_processor_seconds;
use crate::database::BenchDatabase;
use crate::report::{Line, Report};

const PROCESSES: usize = 50;
const SETTLE: Duration = Duration::from_secs(10);
const WATCH: Duration = Duration::from_secs(30);

pub(crate) async fn run(database: &BenchDatabase, report: &mut Report) -> Result<()> {
    database.reset().await?;
    let fleet = (0..PROCESSES)
        .map(|_| spawn(database))
        .collect::<Result<Vec<_>>>()?;
    sleep(SETTLE).await;
    let (began, before) = (Instant::now(), Cost::now(database, &fleet).await?);
    let mut connections = 0;
    while began.elapsed() < WATCH {
        connections = connections.max(connections_of_one(database).await?);
        sleep(Duration::from_secs(1)).await;
    }
    let (elapsed, after) = (began.elapsed(), Cost::now(database, &fleet).await?);
    let per_second = |used: f64| used / elapsed.as_secs_f64();
    // One of the server's counts is ours, each second.
    let transactions = per_second(after.transactions - before.transactions) - 1.0;
    report.add(Line {
        measure: format!("{PROCESSES} idle processes"),
        cpu_percent: Some(100.0 * per_second(after.processor_seconds - before.processor_seconds)),
        transactions_per_second: Some(transactions / PROCESSES as f64),
        connections: Some(connections),
        ..Line::default()
    });
    Ok(())
}

/// What the processes have used so far.
struct Cost {
    transactions: f64,
    processor_seconds: f64,
}

impl Cost {
    async fn now(database: &BenchDatabase, fleet: &[Child]) -> Result<Self> {
        let transactions = sqlx::query_scalar(
            "select (xact_commit + xact_rollback)::float8 from pg_stat_database
             where datname = current_database()",
        );
        let mut processor_seconds = 0.0;
        for child in fleet {
            let pid = child.id().context("an idle process ended")?;
            processor_seconds += exact_processor_seconds(pid)?;
        }
        Ok(Self {
            transactions: transactions.fetch_one(database.pool()).await?,
            processor_seconds,
        })
    }
}

/// Returns the most connections that one process has.
async fn connections_of_one(database: &BenchDatabase) -> Result<i64> {
    let most = sqlx::query_scalar(
        "select coalesce(max(count), 0) from (
            select count(*) from pg_stat_activity
            where datname = current_database() and application_name like 'queue %'
            group by application_name
        ) as of_one",
    );
    Ok(most.fetch_one(database.pool()).await?)
}
