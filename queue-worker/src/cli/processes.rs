//! `queue processes`

use clap::Args;
use queue_core::inspect::{ProcessSummary, processes, spell_duration};

use super::database::Database;
use super::exit::{Exit, Failure};
use super::global::Global;
use super::output::{Rows, print_json, relative, say};

#[derive(Debug, Args)]
pub(super) struct Processes {}

impl Processes {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let config = global.load()?;
        let database = Database::configured(&config)?;
        let mut conn = database.connect().await?;
        let processes = processes::list(&mut conn, &database.schema).await?;
        if global.json {
            print_json(&processes)?;
        } else if processes.is_empty() {
            say("no process is running: start one with `queue start`");
        } else {
            table(&processes, config.settings.process.dead_after.as_secs_f64())?;
        }
        Ok(Exit::Fine)
    }
}

fn table(processes: &[ProcessSummary], dead_after_seconds: f64) -> Result<(), Failure> {
    let mut rows = Rows::new(&[
        "NAME",
        "#PID",
        "HOST",
        "STATUS",
        "#RUNNING",
        "#OF",
        "STARTED",
        "HEARTBEAT",
        "QUEUES",
    ]);
    for process in processes {
        rows.add([
            process.name.clone(),
            process.pid.to_string(),
            process.host.clone(),
            status(process, dead_after_seconds).to_owned(),
            process.running.to_string(),
            told(process, "concurrency"),
            relative(process.started_at),
            format!("{} ago", spell_duration(process.silent_seconds)),
            told(process, "queues"),
        ]);
    }
    rows.print()
}

fn status(process: &ProcessSummary, dead_after_seconds: f64) -> &'static str {
    if process.silent_seconds > dead_after_seconds {
        "dead"
    } else if process.stopping_at.is_some() {
        "stopping"
    } else if process.idle {
        "idle"
    } else {
        "running"
    }
}

/// What a process tells of itself: a value as it is, a list with commas.
fn told(process: &ProcessSummary, key: &str) -> String {
    match process.details.get(key) {
        Some(serde_json::Value::Array(values)) => {
            let values: Vec<String> = values.iter().map(text).collect();
            values.join(",")
        }
        Some(value) => text(value),
        None => "-".to_owned(),
    }
}

fn text(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
