//! What processes export.

use std::io::Write as _;
use std::process::{Command, Stdio};

use queue_core::{NewJob, Options};
use queue_tests::world::{World, eventually};
use serde_json::json;

use crate::served::Served;
use crate::shell::Shell;

const SETTINGS: &str = r#"
[process]
port = 0
heartbeat_interval = "100ms"
dead_after = "1s"

[handlers.good]
command = ["true"]
[handlers.bad]
command = ["false"]
backoff = { fixed = "10ms" }
[handlers.long]
command = ["sleep", "20"]

[recurring.often]
schedule = "every second"
kind = "good"

[limits]
"@kind/long" = { to = 1 }
"#;

async fn enqueue(world: &World, kind: &'static str, options: Options) {
    let job = NewJob::untyped(kind, &json!({}), options);
    let _ = world.queue.enqueue_all([job]).await.unwrap();
}

/// Asserts that the tool of Prometheus finds nothing to improve.
fn assert_clean(text: &str) {
    let mut checking = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool should be there: run `bin/setup --tests`");
    let mut input = checking.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let checked = checking.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(
        checked.status.success() && said.is_empty(),
        "{said}\n{text}"
    );
}

/// Waits until the process exports each of these lines, and returns what it exports then.
async fn until_exported(process: &Served, lines: &[&str]) -> String {
    for line in lines {
        eventually(&format!("it exports {line}"), async || {
            process.get("/metrics").await.1.contains(line)
        })
        .await;
    }
    process.get("/metrics").await.1
}

#[tokio::test]
async fn a_process_exports_how_its_jobs_end_and_what_it_does() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write("queue.toml", SETTINGS);
    for kind in ["good", "good", "bad", "long", "long"] {
        enqueue(&world, kind, Options::new().queue("mail").attempts(2)).await;
    }
    let mut process = Served::start(shell.command(&["start"])).await;

    world.until("failed", 1).await;
    let text = until_exported(
        &process,
        &[
            "queue_jobs_ended_total{kind=\"good\",outcome=\"done\",queue=\"mail\"} 2\n",
            "queue_jobs_ended_total{kind=\"bad\",outcome=\"retried\",queue=\"mail\"} 1\n",
            "queue_jobs_ended_total{kind=\"bad\",outcome=\"failed\",queue=\"mail\"} 1\n",
            "queue_jobs_started_total{kind=\"bad\",queue=\"mail\"} 2\n",
            "queue_job_wait_seconds_count{kind=\"good\",queue=\"mail\"} 2\n",
            "queue_job_run_seconds_count{kind=\"bad\",queue=\"mail\"} 2\n",
            "queue_jobs_enqueued_total{kind=\"good\",queue=\"default\"}",
            "queue_recurring_late_seconds_count",
            "queue_depth{queue=\"mail\",state=\"failed\"} 1\n",
            "queue_latency_seconds{queue=\"mail\"} 0\n",
            "queue_slots 10\n",
            "queue_slots_used",
            "queue_jobs_blocked_total{kind=\"long\",queue=\"mail\"} 1\n",
            "queue_claim_jobs_bucket",
            "queue_claim_duration_seconds_bucket",
            "queue_record_jobs_bucket",
            "queue_record_duration_seconds_bucket",
            "queue_workers_polling 0\n",
        ],
    )
    .await;

    assert_clean(&text);
    process.child.kill().unwrap();
    let mut heir = Served::start(shell.command(&["start"])).await;
    let crashed = "queue_jobs_crashed_total{kind=\"long\",queue=\"mail\"} 1\n";
    assert_clean(&until_exported(&heir, &[crashed]).await);
    heir.child.kill().unwrap();
}
