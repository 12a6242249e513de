//! What processes export.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use queue_core::{NewJob, Options};
use queue_tests::reference::assert_page;
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

[handlers.short]
command = ["sleep", "1"]

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
    let rules = rules.map(|rule| {
        let absent = rule
            .strip_prefix("absent(")
            .and_then(|rest| rest.strip_suffix(')'));
        absent
            .unwrap_or_else(|| rule.split(" > ").next().unwrap())
            .to_owned()
    });
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

const REFERENCE: &str = "\
# Metrics

What each process exports at `/metrics`, under the names of Prometheus. By OTLP they have dots instead of underscores,
and no `_total` and `_seconds`. [The guide](../guides/monitoring.md) says how to read them.

| metric | kind | unit | labels | meaning |
| --- | --- | --- | --- | --- |
";

/// The code that makes the instruments.
const INSTRUMENTS: [&str; 3] = [
    include_str!("../../../queue-core/src/metrics.rs"),
    include_str!("../../../queue-worker/src/metrics/mod.rs"),
    include_str!("../../../queue-worker/src/metrics/readings.rs"),
];

#[derive(Default)]
struct Metric {
    kind: String,
    meaning: String,
    labels: BTreeSet<String>,
}

/// Returns the metrics in the text that a process exports, by name.
fn metrics(exported: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut current = String::new();
    for line in exported.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, meaning) = help.split_once(' ').unwrap();
            current = name.to_owned();
            metrics.entry(current.clone()).or_default().meaning = meaning.to_owned();
            continue;
        }
        let metric = metrics.get_mut(&current).unwrap();
        if line.starts_with("# TYPE ") {
            metric.kind = line.rsplit(' ').next().unwrap().to_owned();
        } else if let Some((_, labels)) = line.split_once('{') {
            let (labels, _) = labels.split_once('}').unwrap();
            let names = labels
                .split(',')
                .map(|label| label.split_once('=').unwrap().0);
            // The bounds of a histogram.
            let names = names.filter(|name| *name != "le");
            metric.labels.extend(names.map(str::to_owned));
        }
    }
    metrics
}

/// Returns the page of the reference. A process exports a metric once it has a value.
fn reference(exported: &str) -> String {
    let mut page = REFERENCE.to_owned();
    for (name, metric) in metrics(exported) {
        let unit = if name.contains("_seconds") { "s" } else { "" };
        let labels: Vec<String> = metric.labels.iter().map(|it| format!("`{it}`")).collect();
        writeln!(
            page,
            "| `{name}` | {} | {unit} | {} | {} |",
            metric.kind,
            labels.join(", "),
            metric.meaning
        )
        .unwrap();
    }
    page
}

#[tokio::test]
async fn the_reference_has_every_metric() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write("queue.toml", SETTINGS);
    for kind in ["good", "long", "long"] {
        enqueue(&world, kind, Options::new()).await;
    }
    let mut dies = Served::start(shell.command(&["start"])).await;
    let blocked = until_exported(&dies, &["queue_jobs_blocked_total{"]).await;
    dies.child.kill().unwrap();
    let mut heir = Served::start(shell.command(&["start"])).await;
    until_exported(&heir, &["queue_jobs_crashed_total{"]).await;

    enqueue(&world, "short", Options::new()).await;
    let take = "update queue.claimed set attempt = attempt + 1
        where job_id in (select id from queue.jobs where kind = 'short')";
    eventually("another process has the job", async || {
        world.sql(take).await == 1
    })
    .await;
    let lines = [
        "queue_jobs_lost_total{",
        "queue_depth{",
        "queue_findings{",
        "queue_recurring_late_seconds_count",
    ];
    let exported = blocked + &until_exported(&heir, &lines).await;
    heir.child.kill().unwrap();

    let instruments: usize = INSTRUMENTS
        .iter()
        .map(|code| code.matches("\"queue.").count())
        .sum();
    assert_eq!(metrics(&exported).len(), instruments, "{exported}");
    assert_page("metrics.md", &reference(&exported));
}
