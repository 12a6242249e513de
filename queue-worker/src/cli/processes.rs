//! `queue processes`

use queue_core::inspect::{ProcessSummary, processes, spell_duration};

use super::output::{Rows, relative};
use super::{Database, Exit, Failure, Global};

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let config = global.load()?;
    let database = Database::configured(&config)?;
    let mut conn = database.connect().await?;
    let processes = processes::list(&mut conn, &database.schema).await?;
    let dead_after_seconds = config.settings.process.dead_after.as_secs_f64();
    let empty = "no process is running: start one with `queue start`";
    global.print_list(&processes, empty, |processes| {
        table(processes, dead_after_seconds)
    })
}

fn table(processes: &[ProcessSummary], dead_after_seconds: f64) -> Rows {
    let titles = [
        "NAME",
        "#PID",
        "HOST",
        "STATUS",
        "#RUNNING",
        "#OF",
        "STARTED",
        "HEARTBEAT",
        "QUEUES",
    ];
    Rows::of(&titles, processes, |process| {
        vec![
            process.name.clone(),
            process.pid.to_string(),
            process.host.clone(),
            status(process, dead_after_seconds).to_owned(),
            process.running.to_string(),
            detail(process, "concurrency"),
            relative(process.started_at),
            format!("{} ago", spell_duration(process.silent_seconds)),
            detail(process, "queues"),
        ]
    })
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

/// Returns a value from the details of a process; a list is joined with commas.
fn detail(process: &ProcessSummary, key: &str) -> String {
    match process.details.get(key) {
        Some(serde_json::Value::Array(values)) => {
            values.iter().map(text).collect::<Vec<_>>().join(",")
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
