//! Failed runs are reported to a function that may block, and to Sentry, without what people must not see.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use queue_core::{Context, NewJob, Options};
use queue_tests::sentry::Sentry;
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, eventually, worker};
use queue_worker::{App, BoxError, Cx, ErrorReport, Job, Next, Perform, ReportOn, Settings};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::shell::{Shell, said, stopped_by};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A job that fails, or panics.
#[derive(Serialize, Deserialize)]
struct Charge {
    order: u32,
    token: String,
    panics: bool,
}

impl Charge {
    fn new(order: u32) -> Self {
        Self {
            order,
            token: "t0p".to_owned(),
            panics: false,
        }
    }
}

impl Job for Charge {
    const KIND: &'static str = "charge";

    fn options() -> Options {
        let context = Context::new()
            .tenant("acme")
            .request_id("r-1")
            .user("u-7")
            .traceparent(TRACEPARENT);
        Options::new().attempts(2).tag("eu").context(context)
    }
}

impl Perform<Stage> for Charge {
    type Error = BoxError;

    async fn perform(self, _cx: Cx<Stage>) -> Result<(), BoxError> {
        assert!(!self.panics, "the card is gone");
        Err(format!("order {} declined, token={}", self.order, self.token).into())
    }

    fn on_error(_: &BoxError, _: &queue_worker::Attempt) -> Next {
        Next::RetryAfter(Duration::ZERO)
    }
}

/// What was reported.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<ErrorReport>>>);

impl Reports {
    fn app(&self, on: ReportOn, stage: &Stage) -> App<Stage> {
        let reports = self.clone();
        let report = move |report: &ErrorReport| reports.0.lock().unwrap().push(report.clone());
        stage.app().register::<Charge>().report_errors(on, report)
    }

    /// Runs a job until it has failed, and returns what was reported when the process has stopped.
    async fn of(on: ReportOn, settings: Settings) -> Vec<ErrorReport> {
        let (world, reports) = (World::new().await, Self::default());
        let _ = world.queue.enqueue(Charge::new(70_001)).await.unwrap();
        let process = world.start(reports.app(on, &Stage::default()), settings);
        world.until("failed", 1).await;
        process.stop().await;
        let reports = reports.0.lock().unwrap();
        reports.clone()
    }
}

#[tokio::test]
async fn a_report_tells_the_whole_story_without_what_people_must_not_see() {
    let reports = Reports::of(ReportOn::LastAttempt, worker("*", 1)).await;

    let [report] = &*reports else {
        panic!("not one report: {reports:?}");
    };
    assert_eq!((&*report.kind, &*report.queue), ("charge", "default"));
    assert_eq!(report.tags, ["eu"]);
    assert_eq!(report.tenant.as_deref(), Some("acme"));
    assert_eq!(report.request_id.as_deref(), Some("r-1"));
    assert_eq!(report.trace_id.as_deref(), Some(TRACE));
    assert_eq!(report.user, None);
    let args: Value = serde_json::from_str(report.args.get()).unwrap();
    assert_eq!(
        args,
        json!({"order": 70_001, "token": "[redacted]", "panics": false})
    );
    assert_eq!(
        (report.attempt, report.failures, report.attempts_max),
        (2, 2, 2)
    );
    assert!(report.is_last);
    assert_eq!(report.error, "order 70001 declined, token=[redacted]");
    assert_eq!(report.cause, "order <id> declined, token=[redacted]");
}

#[tokio::test]
async fn each_failure_is_reported_if_that_is_chosen_and_names_the_user_if_that_is_allowed() {
    let mut settings = worker("*", 1);
    settings.log.user = true;

    let reports = Reports::of(ReportOn::EachFailure, settings).await;

    let runs: Vec<_> = reports
        .iter()
        .map(|run| (run.attempt, run.is_last))
        .collect();
    assert_eq!(runs, [(1, false), (2, true)]);
    assert_eq!(reports[0].user.as_deref(), Some("u-7"));
}

#[tokio::test]
async fn a_panic_is_reported_with_its_backtrace() {
    let (world, reports) = (World::new().await, Reports::default());
    let mut job = Charge::new(1);
    job.panics = true;
    let _ = world.queue.enqueue(job).attempts(1).await.unwrap();

    let app = reports.app(ReportOn::LastAttempt, &Stage::default());
    let process = world.start(app, worker("*", 1));
    world.until("failed", 1).await;
    process.stop().await;

    let reports = reports.0.lock().unwrap();
    assert_eq!(reports[0].error, "panicked: the card is gone");
    let backtrace = reports[0].backtrace.as_deref().unwrap();
    assert!(backtrace.contains("error_reports.rs"), "{backtrace}");
}

#[tokio::test]
async fn a_job_of_a_dead_process_is_reported_by_the_one_that_recovers_it() {
    let (world, reports) = (World::new().await, Reports::default());
    let jobs = world.queue.enqueue_many([Note::new("lost")]);
    let jobs = jobs.with(|options| options.crashes(1));
    let _ = jobs.await.unwrap();
    let (process, _jobs) = world.claim("default", "note").await;
    world
        .sql(&format!(
            "delete from queue.processes where id = '{process}'"
        ))
        .await;

    let app = reports.app(ReportOn::LastAttempt, &Stage::default());
    let process = world.start(app, worker("*", 1));
    // A hook that a stop cuts off is not called.
    let count = || reports.0.lock().unwrap().len();
    eventually("a report", async || count() > 0).await;
    process.stop().await;

    let reports = reports.0.lock().unwrap();
    assert_eq!(reports.len(), 1);
    assert!(reports[0].error.ends_with("died while it held this job"));
}

#[tokio::test]
async fn a_slow_report_delays_no_job_and_a_stop_waits_for_it() {
    let (world, stage) = (World::new().await, Stage::default());
    let (slow, opened) = (stage.clone(), stage.clone());
    let app = stage.app().register::<Charge>();
    let app = app.report_errors(ReportOn::LastAttempt, move |_| {
        slow.note("begins");
        while !slow.is_open("report") {
            std::thread::sleep(Duration::from_millis(5));
        }
        slow.note("reported");
    });
    let app = app.on_finished(move |_| opened.open("report"));
    let process = world.start(app, worker("*", 1));

    let failing = world.queue.enqueue(Charge::new(1)).attempts(1);
    let _ = failing.await.unwrap();
    stage.noted("begins").await;
    // Its outcome is recorded while the report goes on, or the gate would stay closed.
    let _ = world.queue.enqueue(Note::new("a")).await.unwrap();
    world.until("finished", 1).await;
    process.stop().await;

    assert_eq!(stage.notes(), ["begins", "a", "reported"]);
}

#[tokio::test]
async fn after_a_report_that_panics_the_next_one_is_made() {
    let (world, stage) = (World::new().await, Stage::default());
    let noting = stage.clone();
    let app = stage.app().register::<Charge>();
    let app = app.report_errors(ReportOn::EachFailure, move |report| {
        noting.note(format!("attempt {}", report.attempt));
        assert!(report.is_last, "the service is away");
    });
    let process = world.start(app, worker("*", 1));

    let _ = world.queue.enqueue(Charge::new(1)).await.unwrap();
    world.until("failed", 1).await;
    process.stop().await;

    assert_eq!(stage.notes(), ["attempt 1", "attempt 2"]);
}

const SETTINGS: &str = "
[log]
user = true
[handlers.charge]
command = [\"sh\", \"-c\", \"echo order 70001 declined, token=t0p >&2; exit 65\"]
";

#[tokio::test]
async fn jobs_that_fail_are_issues_of_sentry() {
    let world = World::new().await;
    let (sentry, dsn) = Sentry::start().await;
    let context = Context::new()
        .tenant("acme")
        .user("u-7")
        .traceparent(TRACEPARENT);
    let options = Options::new().queue("money").context(context);
    let job = NewJob::untyped("charge", &json!({"token": "t0p", "order": 1}), options);
    let _ = world.queue.enqueue_all([job]).await.unwrap();
    let shell = Shell::on(&world);
    shell.write("queue.toml", SETTINGS);

    let mut command = shell.command(&["start"]);
    command
        .env("SENTRY_DSN", &dsn)
        .env("SENTRY_ENVIRONMENT", "test");
    let child = command.spawn().unwrap();
    world.until("failed", 1).await;
    let output = stopped_by(child, Signal::TERM).await;

    let events = sentry.events();
    assert_eq!(events.len(), 1, "{}", said(&output));
    let event = &events[0];
    let error = "exited with status 65: order 70001 declined, token=[redacted]";
    let cause = "exited with status 65: order <id> declined, token=[redacted]";
    assert_eq!(event["fingerprint"], json!(["charge", cause]));
    assert_eq!(event["exception"]["values"][0]["type"], "charge");
    assert_eq!(event["exception"]["values"][0]["value"], error);
    assert_eq!(
        event["tags"],
        json!({"kind": "charge", "queue": "money", "tenant": "acme"})
    );
    assert_eq!(event["user"]["id"], "u-7");
    assert_eq!(event["contexts"]["trace"]["trace_id"], TRACE);
    assert_eq!(
        event["extra"]["args"],
        json!({"token": "[redacted]", "order": 1})
    );
    assert_eq!(event["extra"]["attempt"], 1);
    assert_eq!(event["environment"], "test");
    assert!(!event.to_string().contains("t0p"), "{event}");
}

#[tokio::test]
async fn a_process_ends_although_sentry_does_not_answer() {
    let world = World::new().await;
    let (_silent, dsn) = Sentry::silent().await;
    let job = NewJob::untyped("charge", &json!({}), Options::new());
    let _ = world.queue.enqueue_all([job]).await.unwrap();
    let shell = Shell::on(&world);
    shell.write("queue.toml", SETTINGS);

    let mut command = shell.command(&["start"]);
    let child = command.env("SENTRY_DSN", &dsn).spawn().unwrap();
    world.until("failed", 1).await;
    let output = stopped_by(child, Signal::TERM).await;

    assert!(output.status.success(), "{}", said(&output));
    let lost = "Sentry does not answer; the last reports are lost";
    assert!(said(&output).contains(lost), "{}", said(&output));
}

#[tokio::test]
async fn a_process_refuses_a_dsn_that_it_cannot_read() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let mut command = shell.command(&["start"]);
    command.env("SENTRY_DSN", "sentry.example");

    let output = tokio::task::spawn_blocking(move || command.output().unwrap());

    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("SENTRY_DSN: expected a DSN of Sentry"));
}
