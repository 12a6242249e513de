//! One process sends an alert when something is wrong, and another when it is over.

use std::process::{Child, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use queue_core::{NewJob, Options};
use queue_tests::world::{World, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::shell::{Shell, said, stopped_by};

/// A server that keeps the messages that it takes.
#[derive(Clone, Default)]
struct Hook {
    messages: Arc<Mutex<Vec<Value>>>,
    /// How many messages it refuses before it takes one.
    refusals: Arc<AtomicUsize>,
}

impl Hook {
    async fn start(refusals: usize) -> (Self, String) {
        let hook = Self::default();
        hook.refusals.store(refusals, Ordering::SeqCst);
        let router = Router::new().route("/hook", post(Self::take));
        let router = router.with_state(hook.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        (hook, format!("http = \"http://{address}/hook?key=s3cret\""))
    }

    async fn take(State(hook): State<Self>, Json(message): Json<Value>) -> StatusCode {
        let less = |left: usize| left.checked_sub(1);
        let refused = hook
            .refusals
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        if refused.is_ok() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        hook.messages.lock().unwrap().push(message);
        StatusCode::OK
    }

    fn messages(&self) -> Vec<Value> {
        self.messages.lock().unwrap().clone()
    }

    /// Returns the kinds and subjects that have `begun`, or are `over`, sorted.
    fn told(&self, what: &str) -> Vec<(String, String)> {
        let messages = self.messages();
        let alerts = messages
            .iter()
            .flat_map(|message| message[what].as_array().unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut told: Vec<_> = alerts
            .map(|alert| (text(&alert["kind"]), text(&alert["subject"])))
            .collect();
        told.sort();
        told
    }

    async fn until(&self, what: &str, kind: &str, subject: &str) {
        let alert = (kind.to_owned(), subject.to_owned());
        let waited_for = format!("{alert:?} is told in {what}");
        eventually(&waited_for, async || self.told(what).contains(&alert)).await;
    }
}

/// Settings of a process that serves only the queue `work`.
fn settings(receiver: &str) -> String {
    format!(
        "
[[workers]]
queues = \"work\"
[scheduler]
enabled = false
[process]
heartbeat_interval = \"200ms\"
[alerts]
{receiver}
interval = \"100ms\"
latency = \"200ms\"
on = [\"failed_job\", \"cause\", \"backlog\", \"dead_process\", \"late_schedule\", \"partial_batch\"]
[handlers.bad]
command = [\"sh\", \"-c\", \"echo order 70001 declined, token=t0p >&2; exit 65\"]
"
    )
}

/// A process with its working directory.
struct Running(Shell, Child);

impl Running {
    fn start(world: &World, receiver: &str) -> Self {
        let shell = Shell::on(world);
        shell.write("queue.toml", &settings(receiver));
        let child = shell.command(&["start"]).spawn().unwrap();
        Self(shell, child)
    }

    async fn stop(self) -> Output {
        let Self(_shell, child) = self;
        stopped_by(child, Signal::TERM).await
    }
}

async fn enqueue(world: &World, queue: &str) {
    let job = NewJob::untyped("bad", &json!({}), Options::new().queue(queue.to_owned()));
    let _ = world.queue.enqueue_all([job]).await.unwrap();
}

/// Puts a dead process, a late recurring job and a batch with a failed job into the tables.
async fn break_things(world: &World) {
    world
        .sql(
            "insert into queue.processes (id, heartbeat_at, pid, name, host, version, details)
             values (gen_random_uuid(), now() - interval '1 hour', 1, 'w-1', 'here', '1', '{}')",
        )
        .await;
    world
        .sql(
            "insert into queue.recurring_jobs
                 (name, next_at, jitter_ms, missed_max, priority, attempts_max, crashes_max,
                 schedule, zone, missed, overlap, kind, queue, tags, args)
             values ('report', now() - interval '2 minutes', 0, 1, 0, 1, 1,
                 '0 9 * * *', 'UTC', 'once', 'allow', 'bad', 'work', '{}', '{}')",
        )
        .await;
    world
        .sql(
            "insert into queue.batches (id, completed_at, failed_at, added, failed, name)
             values (7, now(), now(), 2, 1, 'import')",
        )
        .await;
}

#[tokio::test]
async fn of_two_processes_one_tells_what_is_wrong_once_and_once_when_it_is_over() {
    let world = World::new().await;
    let (hook, receiver) = Hook::start(0).await;
    let processes = [
        Running::start(&world, &receiver),
        Running::start(&world, &receiver),
    ];
    world.until("alert_turn", 1).await;
    enqueue(&world, "work").await;
    enqueue(&world, "mail").await;
    break_things(&world).await;

    let kinds = [
        ("failed_job", "bad"),
        ("backlog", "mail"),
        ("dead_process", "w-1"),
        ("late_schedule", "report"),
        ("partial_batch", "7"),
    ];
    for (kind, subject) in kinds {
        hook.until("begun", kind, subject).await;
    }
    world.sql("delete from queue.failed").await;
    world.sql("delete from queue.ready").await;
    world
        .sql("update queue.recurring_jobs set next_at = now() + interval '1 day'")
        .await;
    for (kind, subject) in [kinds[0], kinds[1], kinds[3]] {
        hook.until("over", kind, subject).await;
    }
    // One that was told twice would have been by now.
    enqueue(&world, "later").await;
    hook.until("begun", "backlog", "later").await;

    for process in processes {
        process.stop().await;
    }
    let begun = hook.told("begun");
    let told: Vec<&str> = begun.iter().map(|(kind, _)| &**kind).collect();
    let expected = [
        "backlog",
        "backlog",
        "cause",
        "dead_process",
        "failed_job",
        "late_schedule",
        "partial_batch",
    ];
    assert_eq!(told, expected);
    let over = hook.told("over");
    let told: Vec<&str> = over.iter().map(|(kind, _)| &**kind).collect();
    assert_eq!(told, ["backlog", "cause", "failed_job", "late_schedule"]);
    let text = format!("{:?}", hook.messages());
    assert!(
        text.contains("fail: exited with status 65: order <id> declined"),
        "{text}"
    );
    assert!(!text.contains("t0p"), "{text}");
}

#[tokio::test]
async fn an_endpoint_that_is_down_at_first_gets_the_alert_later() {
    let world = World::new().await;
    let (hook, receiver) = Hook::start(2).await;
    enqueue(&world, "mail").await;

    let process = Running::start(&world, &receiver);
    hook.until("begun", "backlog", "mail").await;
    let output = process.stop().await;

    assert_eq!(hook.told("begun").len(), 1);
    let log = said(&output);
    assert_eq!(
        log.matches("could not send alerts; trying again").count(),
        2,
        "{log}"
    );
    assert!(log.contains("answered 503 Service Unavailable"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[tokio::test]
async fn an_alert_that_was_sent_by_a_process_that_died_then_is_sent_again() {
    let world = World::new().await;
    let (hook, receiver) = Hook::start(0).await;
    enqueue(&world, "mail").await;
    let process = Running::start(&world, &receiver);
    hook.until("begun", "backlog", "mail").await;
    process.stop().await;

    // As if it had not come to record that, and had held the turn.
    world.sql("update queue.alerts set told_at = null").await;
    world
        .sql("update queue.alert_turn set until = now() + interval '1 second'")
        .await;
    let process = Running::start(&world, &receiver);
    eventually("a second message", async || hook.told("begun").len() == 2).await;

    process.stop().await;
}

#[tokio::test]
async fn a_message_names_fifty_alerts_and_the_next_one_the_others() {
    let world = World::new().await;
    let (hook, receiver) = Hook::start(0).await;
    for number in 0..60 {
        enqueue(&world, &format!("q{number}")).await;
    }
    world
        .sql("update queue.ready set ready_at = now() - interval '1 minute'")
        .await;

    let process = Running::start(&world, &receiver);
    eventually("both messages", async || hook.told("begun").len() == 60).await;
    process.stop().await;

    let messages = hook.messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["begun"].as_array().unwrap().len(), 50);
    assert_eq!(messages[0]["more"], 10);
    let text = messages[0]["text"].as_str().unwrap();
    assert!(text.starts_with("a job of the queue `q"), "{text}");
    assert!(text.ends_with("\nand 10 more"), "{text}");
}

/// Puts failed jobs into the tables, a pair for each of some causes.
async fn fail_for(world: &World, causes: std::ops::Range<i32>) {
    for cause in causes {
        let job = || NewJob::untyped("sync", &json!({}), Options::new());
        let _ = world.queue.enqueue_all([job(), job()]).await.unwrap();
        world
            .sql(&format!(
                "with moved as (delete from queue.ready where kind = 'sync' returning job_id, queue, kind),
                 failed as (
                     insert into queue.failed (job_id, attempt, failures, crashes, queue, kind)
                     select job_id, 1, 1, 0, queue, kind from moved
                 )
                 insert into queue.attempts (job_id, attempt, started_at, process, ending, error)
                 select job_id, 1, now(), 'w', 'error', 'cause <{cause}>' from moved"
            ))
            .await;
    }
}

#[tokio::test]
async fn a_cause_is_not_over_while_there_are_too_many_to_see_it() {
    let world = World::new().await;
    let (hook, receiver) = Hook::start(0).await;
    fail_for(&world, 0..1).await;
    let process = Running::start(&world, &receiver);
    hook.until("begun", "failed_job", "sync").await;

    fail_for(&world, 1..206).await;
    eventually("the newest causes", async || {
        hook.messages()
            .iter()
            .any(|message| message.to_string().contains("cause &lt;205&gt;"))
    })
    .await;
    enqueue(&world, "work").await;
    hook.until("begun", "failed_job", "bad").await;
    assert_eq!(hook.told("over"), []);

    world.sql("delete from queue.failed").await;
    hook.until("over", "failed_job", "sync").await;
    process.stop().await;
}

#[tokio::test]
async fn a_process_that_stops_leaves_its_turn_to_others() {
    let world = World::new().await;
    let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = hangs.local_addr().unwrap().port();
    enqueue(&world, "mail").await;

    let process = Running::start(&world, &format!("http = \"http://127.0.0.1:{port}/\""));
    let _connection = hangs.accept().await.unwrap();
    process.stop().await;

    let left = "alert_turn where until > now() + interval '10 seconds'";
    assert_eq!(world.count(left).await, 0);
}

#[tokio::test]
async fn a_command_gets_alerts_as_its_input() {
    let world = World::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    enqueue(&world, "mail").await;

    let process = Running::start(&world, &format!("command = [\"tee\", \"{path}\"]"));
    let written = || std::fs::read_to_string(file.path()).unwrap();
    eventually("a message", async || written().ends_with('\n')).await;
    process.stop().await;

    let message: Value = serde_json::from_str(&written()).unwrap();
    assert_eq!(message["begun"][0]["subject"], "mail");
}

#[tokio::test]
async fn alerts_need_a_receiver_and_kinds_that_exist() {
    let shell = Shell::without_database();
    shell.write(
        "queue.toml",
        "[alerts]\non = [\"fire\"]\ninterval = \"1ms\"\n",
    );

    let said = shell.refused(2, &["check"]).await;

    assert!(
        said.contains("queue.toml:2:7: alerts.on[0]: unknown value `fire`"),
        "{said}"
    );
    shell.write("queue.toml", "[alerts]\ninterval = \"1ms\"\n");
    let said = shell.refused(2, &["check"]).await;
    assert!(said.contains("alerts: give `command` or `http`"), "{said}");
    assert!(
        said.contains("alerts.interval: expected a duration from 100ms"),
        "{said}"
    );
}
