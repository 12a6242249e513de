//! The tables of the example, in a schema of their own.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use queue_worker::{BatchId, JobId};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use crate::path::from_bytes;
use crate::report::Report;

/// A folder as it was when it was walked.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) id: i64,
    pub(crate) job_id: JobId,
    pub(crate) batch: BatchId,
    pub(crate) folder: PathBuf,
}

/// A file of a run and the job that stores it, or a folder that could not be listed, and why.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) job_id: Option<JobId>,
    pub(crate) error: Option<String>,
}

/// Creates the tables that are missing.
pub(crate) async fn create(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut tx = queue_core::begin(pool).await?;
    sqlx::raw_sql(include_str!("tables.sql"))
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

pub(crate) async fn add_run(
    conn: &mut PgConnection,
    job_id: JobId,
    batch: BatchId,
    folder: &Path,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "insert into pipeline.runs (job_id, batch_id, folder) values ($1, $2, $3) returning id",
    )
    .bind(job_id)
    .bind(batch)
    .bind(folder.as_os_str().as_bytes())
    .fetch_one(conn)
    .await
}

pub(crate) async fn add_files(
    conn: &mut PgConnection,
    run_id: i64,
    job_ids: Vec<JobId>,
    files: &[PathBuf],
) -> Result<(), sqlx::Error> {
    let paths: Vec<&[u8]> = files
        .iter()
        .map(|file| file.as_os_str().as_bytes())
        .collect();
    sqlx::query(
        "insert into pipeline.files (run_id, job_id, path)
        select $1, job_id, path from unnest($2::bigint[], $3::bytea[]) as file (job_id, path)",
    )
    .bind(run_id)
    .bind(job_ids)
    .bind(paths)
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds folders that could not be listed. May be repeated.
pub(crate) async fn add_unlisted(
    pool: &PgPool,
    run_id: i64,
    unlisted: &[(PathBuf, String)],
) -> Result<(), sqlx::Error> {
    let paths: Vec<&[u8]> = unlisted
        .iter()
        .map(|(path, _)| path.as_os_str().as_bytes())
        .collect();
    let errors: Vec<&str> = unlisted.iter().map(|(_, error)| error.as_str()).collect();
    sqlx::query(
        "insert into pipeline.files (run_id, path, error)
        select $1, path, error from unnest($2::bytea[], $3::text[]) as each (path, error)
        on conflict do nothing",
    )
    .bind(run_id)
    .bind(paths)
    .bind(errors)
    .execute(pool)
    .await?;
    Ok(())
}

/// Returns what a run has found, by path.
pub(crate) async fn found(pool: &PgPool, run_id: i64) -> Result<Vec<Found>, sqlx::Error> {
    let rows: Vec<(Vec<u8>, Option<JobId>, Option<String>)> = sqlx::query_as(
        "select path, job_id, error from pipeline.files where run_id = $1 order by path",
    )
    .bind(run_id)
    .fetch_all(pool)
    .await?;
    let found = rows.into_iter().map(|(path, job_id, error)| Found {
        path: from_bytes(path),
        job_id,
        error,
    });
    Ok(found.collect())
}

/// Delivers the report of a run.
pub(crate) async fn add_report(
    conn: &mut PgConnection,
    run_id: i64,
    report: &Report,
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into pipeline.reports (run_id, report) values ($1, $2)")
        .bind(run_id)
        .bind(Json(report))
        .execute(conn)
        .await?;
    Ok(())
}

/// Returns the report of a run, with the seconds from its start to its report.
pub(crate) async fn report_of(
    pool: &PgPool,
    run_id: i64,
) -> Result<Option<(Report, f64)>, sqlx::Error> {
    let found: Option<(Json<Report>, f64)> = sqlx::query_as(
        "select report, extract(epoch from delivered_at - started_at)::double precision
        from pipeline.reports
        join pipeline.runs on runs.id = run_id
        where run_id = $1",
    )
    .bind(run_id)
    .fetch_optional(pool)
    .await?;
    Ok(found.map(|(Json(report), seconds)| (report, seconds)))
}

/// Finds the run that a job has begun, if it has.
pub(crate) async fn run_of(pool: &PgPool, job_id: JobId) -> Result<Option<Run>, sqlx::Error> {
    let found =
        sqlx::query_as("select id, job_id, batch_id, folder from pipeline.runs where job_id = $1")
            .bind(job_id)
            .fetch_optional(pool)
            .await?;
    Ok(found.map(run))
}

/// Finds the first run after another.
pub(crate) async fn run_after(pool: &PgPool, run_id: i64) -> Result<Option<Run>, sqlx::Error> {
    let found = sqlx::query_as(
        "select id, job_id, batch_id, folder from pipeline.runs where id > $1 order by id limit 1",
    )
    .bind(run_id)
    .fetch_optional(pool)
    .await?;
    Ok(found.map(run))
}

/// Returns the last run before which all runs have been reported.
pub(crate) async fn last_reported_run(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select coalesce(
            min(runs.id) filter (where reports.id is null) - 1,
            max(runs.id),
            0
        )
        from pipeline.runs
        left join pipeline.reports on reports.run_id = runs.id",
    )
    .fetch_one(pool)
    .await
}

fn run((id, job_id, batch, folder): (i64, JobId, BatchId, Vec<u8>)) -> Run {
    Run {
        id,
        job_id,
        batch,
        folder: from_bytes(folder),
    }
}

/// Returns why a job ended without a report, if it did.
pub(crate) async fn why_no_report(
    pool: &PgPool,
    job_id: JobId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select coalesce(
            (select error from queue.attempts where job_id = $1 order by attempt desc limit 1),
            'it was given up'
        )
        where exists (select from queue.failed where job_id = $1)
            or exists (select from queue.finished where job_id = $1 and outcome <> 'done')",
    )
    .bind(job_id)
    .fetch_optional(pool)
    .await
}
