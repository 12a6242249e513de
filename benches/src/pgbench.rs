//! The program `pgbench`, which runs the SQL that the queue is compared with.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use sqlx::postgres::PgConnectOptions;
use tokio::process::Command;

/// A script for pgbench, and how often to run it.
pub(crate) struct Script {
    pub(crate) sql: String,
    pub(crate) clients: usize,
    pub(crate) transactions_per_client: usize,
}

impl Script {
    /// Runs the script and returns its transactions per second, without the time to connect.
    pub(crate) async fn run(&self, database: &PgConnectOptions) -> Result<f64> {
        let file = write_script(&self.sql)?;
        let output = self.command(database, &file)?.output().await?;
        std::fs::remove_file(&file)?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || complaint.contains("aborted") {
            bail!("pgbench failed: {complaint}");
        }
        transactions_per_second(&printed)
            .with_context(|| format!("could not read the output of pgbench: {printed}"))
    }

    fn command(&self, database: &PgConnectOptions, file: &Path) -> Result<Command> {
        let mut command = Command::new(find()?);
        command
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
            .arg(format!("--client={}", self.clients))
            .arg(format!("--transactions={}", self.transactions_per_client))
            .arg("--file")
            .arg(file)
            .arg(database.get_database().unwrap_or_default())
            .envs(connection(database))
            .stdin(Stdio::null());
        Ok(command)
    }
}

fn write_script(sql: &str) -> Result<PathBuf> {
    let file = std::env::temp_dir().join(format!("queue-bench-{}.sql", std::process::id()));
    std::fs::write(&file, sql).context("could not write a script for pgbench")?;
    Ok(file)
}

/// Sets libpq's variables for the server. A password comes from the caller's `PGPASSWORD`.
fn connection(database: &PgConnectOptions) -> Vec<(&'static str, String)> {
    let host = match database.get_socket() {
        Some(socket) => socket.to_string_lossy().into_owned(),
        None => database.get_host().to_owned(),
    };
    vec![
        ("PGHOST", host),
        ("PGPORT", database.get_port().to_string()),
        ("PGUSER", database.get_username().to_owned()),
    ]
}

fn transactions_per_second(printed: &str) -> Option<f64> {
    let (_, rest) = printed.split_once("tps = ")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn find() -> Result<PathBuf> {
    candidates()
        .into_iter()
        .map(|folder| folder.join("pgbench"))
        .find(|program| program.is_file())
        .context(
            "could not find pgbench, which runs the limit: install Postgres' programs \
             (Debian: postgresql-contrib or postgresql), or name their folder in QUEUE_PG_BIN",
        )
}

fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("QUEUE_PG_BIN")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    folders.extend(
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths),
    );
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_what_pgbench_prints() {
        let printed =
            "latency average = 0.25 ms\ntps = 1234.567 (without initial connection time)\n";
        assert_eq!(transactions_per_second(printed), Some(1234.567));
        assert_eq!(transactions_per_second("pgbench: error"), None);
    }
}
