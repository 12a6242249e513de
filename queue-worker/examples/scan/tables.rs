//! The tables of the scan, in a schema of their own.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use queue_worker::JobId;
use sqlx::{PgConnection, PgPool};

use crate::hash::Hashed;
use crate::path::from_bytes;

/// A folder as it was when it was walked.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) id: i64,
    pub(crate) folder: PathBuf,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) files: u64,
    pub(crate) hashed: u64,
    pub(crate) given_up: u64,
    pub(crate) bytes: u64,
    /// The time from the start of the run to its last digest.
    pub(crate) took: Duration,
}

impl Tally {
    pub(crate) fn is_over(&self) -> bool {
        self.hashed + self.given_up == self.files
    }

    /// Returns how many files were hashed in a second, on average.
    pub(crate) fn per_second(&self) -> u64 {
        let nanos = self.took.as_nanos().max(1);
        u64::try_from(u128::from(self.hashed) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    }
}

/// A file or folder of a run that has no digest, and why.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) path: PathBuf,
    /// The job that was to hash it; none for a folder that could not be listed.
    pub(crate) job_id: Option<i64>,
    pub(crate) error: String,
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
    folder: &Path,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("insert into scan.runs (job_id, folder) values ($1, $2) returning id")
        .bind(job_id.0)
        .bind(folder.as_os_str().as_bytes())
        .fetch_one(conn)
        .await
}

pub(crate) async fn add_files(
    conn: &mut PgConnection,
    run_id: i64,
    job_ids: &[JobId],
    files: &[PathBuf],
) -> Result<(), sqlx::Error> {
    let job_ids: Vec<i64> = job_ids.iter().map(|id| id.0).collect();
    let paths: Vec<&[u8]> = files
        .iter()
        .map(|file| file.as_os_str().as_bytes())
        .collect();
    sqlx::query(
        "insert into scan.files (run_id, job_id, path)
        select $1, job_id, path from unnest($2::bigint[], $3::bytea[]) as file (job_id, path)",
    )
    .bind(run_id)
    .bind(job_ids)
    .bind(paths)
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn add_unlisted(
    conn: &mut PgConnection,
    run_id: i64,
    unlisted: &[(PathBuf, String)],
) -> Result<(), sqlx::Error> {
    let paths: Vec<&[u8]> = unlisted
        .iter()
        .map(|(path, _)| path.as_os_str().as_bytes())
        .collect();
    let errors: Vec<&str> = unlisted.iter().map(|(_, error)| error.as_str()).collect();
    sqlx::query(
        "insert into scan.unlisted (run_id, path, error)
        select $1, path, error from unnest($2::bytea[], $3::text[]) as each (path, error)",
    )
    .bind(run_id)
    .bind(paths)
    .bind(errors)
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn add_digest(
    conn: &mut PgConnection,
    job_id: JobId,
    hashed: &Hashed,
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into scan.digests (job_id, bytes, digest) values ($1, $2, $3)")
        .bind(job_id.0)
        .bind(i64::try_from(hashed.bytes).unwrap_or(i64::MAX))
        .bind(&hashed.digest[..])
        .execute(conn)
        .await?;
    Ok(())
}

/// Finds the run that a `scan_folder` job has added, if it has.
pub(crate) async fn run_of(pool: &PgPool, job_id: JobId) -> Result<Option<Run>, sqlx::Error> {
    let found = sqlx::query_as("select id, folder from scan.runs where job_id = $1")
        .bind(job_id.0)
        .fetch_optional(pool)
        .await?;
    Ok(found.map(run))
}

/// Finds the oldest run that has not been reported.
pub(crate) async fn oldest_open_run(pool: &PgPool) -> Result<Option<Run>, sqlx::Error> {
    let found = sqlx::query_as(
        "select id, folder from scan.runs where ended_at is null order by id limit 1",
    )
    .fetch_optional(pool)
    .await?;
    Ok(found.map(run))
}

fn run((id, folder): (i64, Vec<u8>)) -> Run {
    Run {
        id,
        folder: from_bytes(folder),
    }
}

/// Returns why a `scan_folder` job ended without a run, if it did.
pub(crate) async fn why_no_run(
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
    .bind(job_id.0)
    .fetch_optional(pool)
    .await
}

pub(crate) async fn tally(pool: &PgPool, run_id: i64) -> Result<Tally, sqlx::Error> {
    let (files, hashed, given_up, bytes, seconds): (i64, i64, i64, i64, f64) =
        sqlx::query_as(include_str!("tally.sql"))
            .bind(run_id)
            .fetch_one(pool)
            .await?;
    Ok(Tally {
        files: files.unsigned_abs(),
        hashed: hashed.unsigned_abs(),
        given_up: given_up.unsigned_abs(),
        bytes: bytes.unsigned_abs(),
        took: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
    })
}

/// Returns the digests of a run, by path.
pub(crate) async fn digests(
    pool: &PgPool,
    run_id: i64,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as(
        "select files.path, digests.digest
        from scan.files
        join scan.digests on digests.job_id = files.job_id
        where files.run_id = $1
        order by files.path",
    )
    .bind(run_id)
    .fetch_all(pool)
    .await
}

pub(crate) async fn failures(pool: &PgPool, run_id: i64) -> Result<Vec<Failure>, sqlx::Error> {
    let rows: Vec<(Vec<u8>, Option<i64>, Option<String>)> =
        sqlx::query_as(include_str!("failures.sql"))
            .bind(run_id)
            .fetch_all(pool)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(path, job_id, error)| Failure {
            path: from_bytes(path),
            job_id,
            error: error.unwrap_or_else(|| "its job was given up".to_owned()),
        })
        .collect())
}

/// Records that a run is over and has been reported.
pub(crate) async fn end_run(pool: &PgPool, run_id: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update scan.runs set ended_at = clock_timestamp() where id = $1 and ended_at is null",
    )
    .bind(run_id)
    .execute(pool)
    .await?;
    Ok(())
}
