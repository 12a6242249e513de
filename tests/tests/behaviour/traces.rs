//! Spans of runs, and log lines with the job that they are about.

use std::process::Output;

use queue_core::{Context, NewJob, Options};
use queue_tests::collector::{Collector, attributes};
use queue_tests::world::World;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::shell::{Shell, said, stopped_by};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const SPAN: u64 = 0x00f0_67aa_0ba9_02b7;

const SETTINGS: &str = "
[handlers.bad]
command = [\"false\"]
";

/// The kinds of spans in the protocol.
const CONSUMER: i32 = 5;
/// The status of an error in the protocol.
const ERROR: i32 = 2;

async fn enqueue(world: &World, kind: &'static str) {
    let context = Context::new().tenant("acme").traceparent(TRACEPARENT);
    let options = Options::new().queue("mail").attempts(1).context(context);
    let job = NewJob::untyped(kind, &json!({}), options);
    let _ = world.queue.enqueue_all([job]).await.unwrap();
}

/// Runs a process until as many jobs have ended.
async fn run(world: &World, line: &[&str], collector: &str, finished: i64, failed: i64) -> Output {
    let shell = Shell::on(world);
    shell.write("queue.toml", SETTINGS);
    let mut command = shell.command(line);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
    let child = command.spawn().unwrap();
    world.until("finished", finished).await;
    world.until("failed", failed).await;
    stopped_by(child, Signal::TERM).await
}

#[tokio::test]
async fn a_run_has_a_span_that_links_to_the_one_that_enqueued_the_job() {
    let world = World::new().await;
    let (collector, address) = Collector::start().await;
    for kind in ["relay", "bad"] {
        enqueue(&world, kind).await;
    }

    run(&world, &["start"], &address, 2, 1).await;

    let spans = collector.spans("process mail");
    let of = |kind: &str| {
        let mut spans = spans.iter();
        let is_meant = |span: &&_| attributes(span)["queue.job.kind"] == kind;
        spans.find(is_meant).expect("a span of this kind")
    };
    assert_eq!(spans.len(), 3);
    let relay = of("relay");
    assert_eq!(relay.kind, CONSUMER);
    assert_eq!(relay.links.len(), 1);
    assert_eq!(relay.links[0].trace_id, TRACE.to_be_bytes());
    assert_eq!(relay.links[0].span_id, SPAN.to_be_bytes());
    assert_ne!(relay.trace_id, TRACE.to_be_bytes());
    let described = attributes(relay);
    assert_eq!(described["messaging.system"], "queue");
    assert_eq!(described["messaging.operation.name"], "process");
    assert_eq!(described["messaging.destination.name"], "mail");
    assert_eq!(described["queue.job.attempt"], "1");
    assert_eq!(described["queue.job.tenant"], "acme");
    let id: i64 = described["messaging.message.id"].parse().unwrap();
    assert_eq!(
        world.count(&format!("finished where job_id = {id}")).await,
        1
    );

    // A span of the job belongs to its run, and a job that it enqueues is linked to it.
    let inner = &collector.spans("forwarding")[0];
    assert_eq!(inner.trace_id, relay.trace_id);
    assert_eq!(inner.parent_span_id, relay.span_id);
    let sent = of("send");
    assert_eq!(sent.links[0].span_id, inner.span_id);

    let bad = of("bad");
    assert_eq!(bad.status.as_ref().unwrap().code, ERROR);
    assert_eq!(attributes(bad)["error.type"], "error");

    for operation in ["claim", "record"] {
        let spans = collector.spans(operation);
        let counts = spans.iter().map(|span| {
            let count = &attributes(span)["messaging.batch.message_count"];
            count.parse::<u32>().unwrap()
        });
        assert!(counts.sum::<u32>() >= 3, "{spans:?}");
    }

    let metrics = collector.metrics();
    assert!(
        metrics.contains(&"queue.jobs.ended".to_owned()),
        "{metrics:?}"
    );
}

#[tokio::test]
async fn every_line_that_a_job_logs_names_the_job() {
    let world = World::new().await;
    for kind in ["relay", "print"] {
        enqueue(&world, kind).await;
    }

    let line = ["start", "--log-format", "json"];
    let output = run(&world, &line, "", 3, 0).await;

    let log = said(&output);
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    for (message, kind) in [("relaying", "relay"), ("printing", "print")] {
        let mut lines = lines.iter();
        let line = lines.find(|line| line["fields"]["message"] == message);
        let spans = line.expect("a line")["spans"].as_array().unwrap();
        let job = spans.iter().find(|span| span["name"] == "job").unwrap();
        assert_eq!(job["kind"], kind);
        assert_eq!(job["queue"], "mail");
        assert_eq!(job["attempt"], 1);
        assert_eq!(job["tenant"], "acme");
        assert_eq!(job["trace_id"], format!("{TRACE:x}"));
        assert!(job["job_id"].is_string(), "{job}");
    }
}

#[tokio::test]
async fn an_invalid_collector_is_refused_without_its_password() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    for exported in ["ENDPOINT", "METRICS_ENDPOINT"] {
        let mut command = shell.command(&["start"]);
        let variable = format!("OTEL_EXPORTER_OTLP_{exported}");
        command.env(variable, "http://app:S3CRET@a b:4318");

        let output = tokio::task::spawn_blocking(move || command.output().unwrap());

        let output = output.await.unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
        assert!(!said(&output).contains("S3CRET"), "{}", said(&output));
    }
}
