//! Lists of jobs on the command line, and what is shown about their runs.

use crate::shell::Shell;
use queue_core::{JobId, NewJob, Options};
use queue_tests::world::{World, eventually, notifications, worker};
use queue_worker::{App, Cx, Job, Next, Perform};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A job that does what its argument says.
#[derive(Serialize, Deserialize)]
enum Act {
    Succeed,
    Fail(String),
    Panic,
    Wait,
}

impl Job for Act {
    const KIND: &'static str = "act";

    fn options() -> Options {
        Options::new().attempts(4)
    }
}

impl Perform<()> for Act {
    type Error = std::io::Error;

    async fn perform(self, cx: Cx<()>) -> Result<(), std::io::Error> {
        match self {
            Self::Succeed => {}
            Self::Fail(error) => return Err(std::io::Error::other(error)),
            Self::Panic => panic_in_the_application(),
            Self::Wait => cx.cancelled().await,
        }
        Ok(())
    }

    fn on_error(_error: &std::io::Error, _attempt: &queue_worker::Attempt) -> Next {
        Next::Fail
    }
}

#[inline(never)]
fn panic_in_the_application() {
    panic!("no more cups");
}

fn app() -> App<()> {
    App::new(()).register::<Act>()
}

async fn enqueue(world: &World, kind: &'static str, args: &Value) -> JobId {
    let job = NewJob::untyped(kind, args, Options::new());
    world.queue.enqueue_all([job]).await.unwrap()[0].id()
}

/// Lists the ids of jobs.
async fn ids(shell: &Shell, filter: &[&str]) -> Vec<JobId> {
    let line = [&["jobs", "list"], filter].concat();
    let listed: Vec<Value> = serde_json::from_value(shell.json(&line).await).unwrap();
    listed
        .iter()
        .map(|job| JobId(job["id"].as_i64().unwrap()))
        .collect()
}

#[tokio::test]
async fn finished_jobs_are_listed_by_how_they_ended() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let done = world.queue.enqueue(Act::Succeed).await.unwrap().id();
    let process = world.start(app(), worker("*", 2));
    world.until_state(done, "finished").await;
    process.stop().await;
    let discarded = enqueue(&world, "a", &json!(null)).await;
    world.queue.discard(discarded).await.unwrap();
    let cancelled = enqueue(&world, "a", &json!(null)).await;
    let _cancelled = world.queue.cancel(cancelled).await.unwrap();
    let ready = enqueue(&world, "a", &json!(null)).await;

    assert_eq!(ids(&shell, &["--state", "done"]).await, [done]);
    assert_eq!(ids(&shell, &["--state", "discarded"]).await, [discarded]);
    assert_eq!(
        ids(&shell, &["--state", "cancelled,ready"]).await,
        [ready, cancelled]
    );
    assert_eq!(
        ids(&shell, &["--state", "finished,done"]).await,
        [cancelled, discarded, done]
    );
}

#[tokio::test]
async fn jobs_are_listed_and_changed_by_their_last_error() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let no_stock = Act::Fail("the Stock is empty".to_owned());
    let no_stock = world.queue.enqueue(no_stock).await.unwrap().id();
    let no_stamp = Act::Fail("100% of stamps are gone".to_owned());
    let no_stamp = world.queue.enqueue(no_stamp).await.unwrap().id();
    let process = world.start(app(), worker("*", 2));
    world.until("failed", 2).await;
    process.stop().await;

    assert_eq!(ids(&shell, &["--error", "stock is"]).await, [no_stock]);
    assert_eq!(ids(&shell, &["--error", "100% of"]).await, [no_stamp]);
    assert_eq!(ids(&shell, &["--error", "%"]).await, [no_stamp]);
    shell
        .print(&["jobs", "discard", "--error", "stamps", "--yes"])
        .await;
    assert_eq!(world.state(no_stamp).await, "finished");
    assert_eq!(world.state(no_stock).await, "failed");
}

#[tokio::test]
async fn jobs_are_listed_by_a_part_of_their_arguments() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let seven = enqueue(&world, "a", &json!({"user": {"id": 7}, "mail": "ada@x"})).await;
    let _eight = enqueue(&world, "a", &json!({"user": {"id": 8}})).await;

    let filter = ["--args-contain", "{\"user\": {\"id\": 7}}"];
    assert_eq!(ids(&shell, &filter).await, [seven]);
    let said = shell.refused(2, &["jobs", "--args-contain", "{"]).await;
    assert!(said.contains("it is not JSON"), "{said}");
    for unstorable in ["\"\\ud800\"", "[1e131072]"] {
        let line = ["jobs", "--args-contain", unstorable];
        let said = shell.refused(2, &line).await;
        assert!(said.contains("the arguments hold"), "{said}");
    }
}

#[tokio::test]
async fn a_list_shows_the_beginning_of_arguments_on_request() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let long = "x".repeat(500);
    enqueue(&world, "a", &json!({"name": "Ada", "of": long})).await;

    assert!(!shell.print(&["jobs"]).await.contains("Ada"));
    let shown = shell.print(&["jobs", "list", "--args"]).await;
    assert!(shown.contains("{\"of\": \"xxx") || shown.contains("\"name\": \"Ada\""));
    assert!(shown.contains('…') && !shown.contains(&long), "{shown}");
    let listed = shell.json(&["jobs", "--args"]).await;
    assert_eq!(listed[0]["args"], json!({"name": "Ada", "of": long}));
}

#[tokio::test]
async fn a_table_fits_eighty_columns_without_a_cut_word() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let kind = "synchronize_the_warehouse";
    let options = Options::new().queue("warehouse").tag("europe");
    let jobs = [NewJob::untyped(kind, &json!({}), options)];
    world.queue.enqueue_all(jobs).await.unwrap();

    let wide = shell.print(&["jobs"]).await;
    let mut command = shell.command(&["jobs"]);
    command.env("COLUMNS", "80");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let narrow = String::from_utf8(output.await.unwrap().stdout).unwrap();

    assert!(wide.lines().all(|line| line.len() > 80), "{wide}");
    assert!(narrow.lines().all(|line| line.len() <= 80), "{narrow}");
    let words: Vec<&str> = wide.split_whitespace().collect();
    let is_time = |word: &str| word.ends_with(['s', 'm']) && word.starts_with(char::is_numeric);
    let mut whole = narrow.split_whitespace();
    assert!(
        whole.all(|word| words.contains(&word) || is_time(word)),
        "{narrow}"
    );
    for shown in [kind, "warehouse", "ready", "europe"] {
        assert!(narrow.contains(shown), "{narrow}");
    }
    assert!(!narrow.contains("ENQUEUED"), "{narrow}");
}

#[tokio::test]
async fn a_list_counts_the_failures_since_a_retry_by_hand() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let job = world.queue.enqueue(Act::Fail("no".to_owned())).await;
    let job = job.unwrap().id();
    let process = world.start(app(), worker("*", 2));
    for _ in 0..5 {
        world.until_state(job, "failed").await;
        world.queue.retry(job).await.unwrap();
    }
    world.until_state(job, "failed").await;
    process.stop().await;

    let listed = shell.print(&["jobs"]).await;
    let cells: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();

    assert!(listed.contains("ATTEMPT  FAILURES"), "{listed}");
    assert!(
        cells.windows(2).any(|cells| cells == ["6", "1/4"]),
        "{listed}"
    );
}

#[tokio::test]
async fn a_process_that_runs_a_job_is_not_called_idle() {
    if !notifications() {
        return; // A process that only polls is never idle.
    }
    let world = World::new().await;
    let shell = Shell::on(&world);
    world.queue.enqueue(Act::Wait).await.unwrap();
    let process = world.start(app(), worker("*", 2));
    world.until("claimed", 1).await;
    world.until("idle_processes", 1).await;

    let listed = shell.print(&["processes"]).await;
    process.stop_at_once().await;

    assert!(!listed.contains("idle"), "{listed}");
    assert!(listed.contains("running"), "{listed}");
}

#[tokio::test]
async fn a_backtrace_shows_the_frames_of_the_application() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let job = world.queue.enqueue(Act::Panic).await.unwrap().id();
    let process = world.start(app(), worker("*", 2));
    eventually("the run has panicked", async || {
        world.count("attempts").await == 1
    })
    .await;
    process.stop().await;

    let id = job.to_string();
    let shown = shell.print(&["jobs", "show", &id]).await;
    let whole = shell.print(&["jobs", "show", &id, "--backtrace"]).await;

    assert!(shown.contains("panic_in_the_application"), "{shown}");
    assert!(shown.contains("frames of libraries"), "{shown}");
    for library in [": std::", ": core::", ": tokio::"] {
        assert!(!shown.contains(library), "{shown}");
        assert!(whole.contains(library), "{whole}");
    }
}

#[tokio::test]
async fn redacted_fields_are_not_shown() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("queue.toml");
    std::fs::write(&config, "[redact]\nkinds.import = [\"user.email\"]\n").unwrap();
    let config = config.to_str().unwrap();
    let args = json!({"user": {"email": "ada@example.org", "id": 7}, "apiToken": "t0p"});
    let job = enqueue(&world, "import", &args).await.to_string();
    let shell = Shell::on(&world);

    for line in [["show", &job], ["list", "--limit=1"]] {
        for flags in [&["--args"][..], &["--args", "--json"]] {
            let line = [&["jobs", line[0], line[1], "--config", config], flags].concat();
            let shown = shell.print(&line).await;
            assert!(shown.contains("[redacted]"), "{shown}");
            assert!(shown.contains("id"), "{shown}");
            assert!(!shown.contains("ada@") && !shown.contains("t0p"), "{shown}");
        }
    }
    let kept: String = world
        .value("select args->>'apiToken' from queue.jobs")
        .await;
    assert_eq!(kept, "t0p");
}

/// Command lines that change something, but for the second pause.
const CHANGES: [&[&str]; 12] = [
    &["jobs", "discard", "--kind", "greet", "--yes"],
    &["queues", "pause", "default", "--why", "a test", "--yes"],
    &["queues", "pause", "default", "--yes"],
    &["queues", "resume", "default"],
    &["limits", "set", "k", "--to", "1"],
    &["limits", "reset", "k"],
    &[
        "recurring",
        "add",
        "daily",
        "--schedule",
        "@daily",
        "--kind",
        "greet",
    ],
    &["recurring", "pause", "daily"],
    &["recurring", "resume", "daily"],
    &["recurring", "run", "daily"],
    &["recurring", "remove", "daily", "--yes"],
    &["queues", "clear", "default", "--yes"],
];

#[tokio::test]
async fn what_commands_change_is_in_the_audit() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write("queue.toml", "[handlers.greet]\ncommand = [\"true\"]\n");
    let printed = shell.print(&["enqueue", "greet"]).await;
    let id = printed.trim();
    shell
        .print(&["enqueue", "greet", "--args", "{\"a\": 1}"])
        .await;
    shell.print(&["jobs", "cancel", id]).await;
    for line in CHANGES {
        shell.print(line).await;
    }

    type Act = (String, String, Option<i64>, Option<String>);
    let acts: Vec<Act> = world
        .rows("select what, target, jobs, why from queue.audit order by id")
        .await;
    let acts: Vec<String> = acts
        .into_iter()
        .map(|(what, target, jobs, why)| format!("{what} {target} {jobs:?} {why:?}"))
        .collect();
    let all = "jobs in state scheduled, ready, blocked or failed, of kind greet";
    let expected = [
        &format!("cancel jobs/{id} Some(1) None"),
        &format!("begin to discard {all} None None"),
        &format!("discard {all} Some(1) None"),
        "pause queues/default None Some(\"a test\")",
        "resume queues/default None None",
        "set limits/k None None",
        "reset limits/k None None",
        "add recurring/daily None None",
        "pause recurring/daily None None",
        "resume recurring/daily None None",
        "run recurring/daily None None",
        "remove recurring/daily None None",
        "begin to clear queues/default None None",
        "clear queues/default Some(1) None",
    ];
    assert_eq!(acts, expected);
    let who: String = world.value("select min(who) from queue.audit").await;
    assert!(who.contains('@'), "{who}");
    assert_eq!(world.count("audit where role = 'command line'").await, 14);
}
