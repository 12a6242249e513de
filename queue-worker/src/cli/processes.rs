//! `queue processes`

use queue_core::inspect::{ProcessSummary, processes, spell_duration};

use super::output::relative;
use super::{Database, Exit, Failure, Global};

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let config = global.load()?;
    let (mut conn, schema) = Database::open(&config).await?;
    let processes = processes::list(&mut conn, &schema).await?;
    let dead_after_seconds = config.settings.process.dead_after.as_secs_f64();
    let status = |process: &ProcessSummary| status(process, dead_after_seconds).to_owned();
    let silence = |seconds| format!("{} ago", spell_duration(seconds));
    global.print_list(
        &processes,
        "no process is running: start one with `queue start`",
        &[
            ("NAME", &|process| process.name.clone()),
            ("#PID", &|process| process.pid.to_string()),
            ("HOST", &|process| process.host.clone()),
            ("STATUS", &status),
            ("#RUNNING", &|process| process.running.to_string()),
            ("#OF", &|process| detail(process, "concurrency")),
            ("STARTED", &|process| relative(process.started_at)),
            ("HEARTBEAT", &|process| silence(process.silent_seconds)),
            ("QUEUES", &|process| detail(process, "queues")),
        ],
    )
}

fn status(process: &ProcessSummary, dead_after_seconds: f64) -> &'static str {
    if process.silent_seconds > dead_after_seconds {
        "dead"
    } else if process.stopping_at.is_some() {
        "stopping"
    } else if process.idle && process.running == 0 {
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
