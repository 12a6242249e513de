//! What processes export.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use queue_core::{NewJob, Options};
use queue_tests::world::{World, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

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

/// A Prometheus that scrapes some processes, until it is dropped.
struct Prometheus {
    child: Child,
    address: String,
    _directory: TempDir,
}

impl Prometheus {
    fn start(processes: &[&Served]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let targets: Vec<_> = processes.iter().map(|process| process.address()).collect();
        let settings = format!(
            "global: {{ scrape_interval: 500ms }}
scrape_configs: [{{ job_name: queue, static_configs: [{{ targets: {targets:?} }}] }}]"
        );
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, settings).unwrap();
        // Its port is free again until it listens there.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus should be there: run `bin/setup --tests`");
        Self {
            child,
            address,
            _directory: directory,
        }
    }

    /// Returns whether an expression has a value.
    fn has(&self, expression: &str) -> bool {
        let asking = Command::new("promtool")
            .args(["query", "instant", &format!("http://{}", self.address)])
            .arg(expression)
            .output();
        let answer = asking.unwrap();
        let values = String::from_utf8_lossy(&answer.stdout);
        let mut values = values.lines().filter(|line| line.contains("=>"));
        answer.status.success() && values.any(|value| !value.contains("NaN"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn deployed(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file);
    fs::read_to_string(path).unwrap()
}

/// Returns what the rules of the alerts compare, and what the panels show.
fn expressions() -> Vec<String> {
    let rules = deployed("prometheus-rules.yml");
    let rules = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let rules = rules.map(|rule| rule.split(" > ").next().unwrap().to_owned());
    let panels: Value = serde_json::from_str(&deployed("grafana-dashboard.json")).unwrap();
    let panels = panels["panels"].as_array().unwrap().clone();
    let targets = panels
        .into_iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    let panels = targets.map(|target| {
        let expression = target["expr"].as_str().unwrap();
        expression
            .replace("$queue", ".*")
            .replace("$__rate_interval", "1m")
    });
    rules.chain(panels).collect()
}

fn assert_passes(arguments: &[&str]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let run = Command::new("promtool")
        .args(arguments)
        .current_dir(directory)
        .output();
    let run = run.unwrap();
    let said = [run.stdout, run.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(run.status.success(), "{said}");
}

#[test]
fn the_rules_of_alerts_are_sound_and_pass_their_tests() {
    assert_passes(&["check", "rules", "prometheus-rules.yml"]);
    assert_passes(&["test", "rules", "prometheus-rules.test.yml"]);
}

#[tokio::test]
async fn every_alert_and_every_panel_finds_its_metrics() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write("queue.toml", SETTINGS);
    for kind in ["good", "bad", "long", "long"] {
        enqueue(&world, kind, Options::new().queue("mail").attempts(2)).await;
    }
    let mut dies = Served::start(shell.command(&["start"])).await;
    until_exported(&dies, &["queue_jobs_blocked_total{kind=\"long\""]).await;
    dies.child.kill().unwrap();
    let mut heir = Served::start(shell.command(&["start"])).await;
    enqueue(&world, "bad", Options::new().queue("mail").attempts(2)).await;

    let prometheus = Prometheus::start(&[&heir]);

    let expressions = expressions();
    assert!(expressions.len() > 30, "{expressions:?}");
    for expression in expressions {
        eventually(&format!("a value of {expression}"), async || {
            prometheus.has(&expression)
        })
        .await;
    }
    heir.child.kill().unwrap();
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
            "queue_findings{check=\"failed_jobs\"} 1\n",
            "queue_findings{check=\"horizon\"} 0\n",
            "queue_pool_connections{state=\"used\"} 0\n",
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
