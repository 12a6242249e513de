//! A process is made quiet, resumed and stopped from outside, and reads that with its heartbeat.

use std::time::Duration;

use queue_core::JobId;
use queue_core::inspect::processes::{self, ProcessSummary};
use queue_core::operations::processes::{ProcessRequest, ask};
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{Running, World, worker};
use queue_worker::Settings;

use crate::shell::{Shell, said};

const QUIET: Option<ProcessRequest> = Some(ProcessRequest::Quiet);

fn settings(concurrency: usize) -> Settings {
    let mut settings = worker("*", concurrency);
    settings.process.heartbeat_interval = Duration::from_millis(100);
    settings.process.name = Some("it".to_owned());
    settings
}

async fn only(world: &World) -> ProcessSummary {
    let mut conn = world.connect().await;
    let mut all = processes::list(&mut conn, world.queue.schema())
        .await
        .unwrap();
    all.pop().unwrap()
}

/// Asks the only process for something. Returns whether that changed anything.
async fn request(world: &World, request: Option<ProcessRequest>) -> bool {
    let process = only(world).await.id;
    let mut conn = world.connect().await;
    let asked = ask(
        &mut conn,
        world.queue.schema(),
        process,
        request,
        Some("mira"),
    );
    asked.await.unwrap().unwrap()
}

/// Starts a process, and makes it quiet while it runs a job.
async fn quiet_process(world: &World, stage: &Stage, concurrency: usize) -> Running {
    let process = world.start(stage.app(), settings(concurrency));
    let _ = world.queue.enqueue(Gated::new("g")).await.unwrap();
    stage.noted("g begins").await;
    assert!(request(world, QUIET).await);
    until_quiet(world).await;
    process
}

async fn until_quiet(world: &World) {
    world
        .until(
            "processes where asked = 'quiet' and heartbeat_at > asked_at",
            1,
        )
        .await;
    assert!(only(world).await.is_quiet());
}

async fn note(world: &World, text: &str) -> JobId {
    world.queue.enqueue(Note::new(text)).await.unwrap().id()
}

#[tokio::test]
async fn a_quiet_process_ends_what_it_runs_and_claims_nothing_more_until_it_is_resumed() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = quiet_process(&world, &stage, 2).await;

    let job = note(&world, "waits").await;
    stage.open("g");
    world.until("finished", 1).await;
    let late = note(&world, "waits too").await;
    let beats = only(&world).await.heartbeat_at;
    world
        .until(
            &format!("processes where heartbeat_at > '{beats}'::timestamptz + interval '2 s'"),
            1,
        )
        .await;

    assert_eq!(stage.notes(), ["g begins", "g ends"]);
    assert_eq!(
        (world.state(job).await, world.state(late).await),
        ("ready".into(), "ready".into())
    );
    assert!(request(&world, None).await);
    stage.noted("waits").await;
    stage.noted("waits too").await;
    process.stop().await;
}

#[tokio::test]
async fn an_idle_process_becomes_quiet_and_others_are_woken_instead() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), settings(1));
    note(&world, "a").await;
    world.until("finished", 1).await;

    request(&world, QUIET).await;

    world.until("idle_processes", 0).await;
    world.until("pollers", 0).await;
    process.stop().await;
    assert_eq!(world.count("processes").await, 0);
}

#[tokio::test]
async fn a_quiet_process_stays_quiet_when_it_starts_a_new_life() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = quiet_process(&world, &stage, 1).await;
    stage.open("g");
    world.until("finished", 1).await;

    world.sql("delete from queue.processes").await;

    world
        .until("processes where asked = 'quiet' and asked_by = 'mira'", 1)
        .await;
    let job = note(&world, "waits").await;
    until_quiet(&world).await;
    assert_eq!(world.state(job).await, "ready");
    request(&world, None).await;
    stage.noted("waits").await;
    process.stop().await;
}

#[tokio::test]
async fn a_process_that_is_asked_to_stop_ends_its_jobs_and_is_gone() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = quiet_process(&world, &stage, 1).await;

    assert!(request(&world, Some(ProcessRequest::Stop)).await);
    world
        .until("processes where stopping_at is not null", 1)
        .await;
    assert!(!request(&world, None).await, "it is stopping");
    assert!(!request(&world, QUIET).await, "it is stopping");
    stage.open("g");
    process.ended().await;

    assert_eq!(stage.notes(), ["g begins", "g ends"]);
    assert_eq!(world.count("processes").await, 0);
}

#[tokio::test]
async fn requests_that_change_nothing_say_so() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), settings(1));
    world.until("processes", 1).await;
    assert!(!request(&world, None).await);
    assert!(request(&world, QUIET).await);
    assert!(!request(&world, QUIET).await);
    let mut conn = world.connect().await;
    let asking_an_unknown_process = ask(
        &mut conn,
        world.queue.schema(),
        uuid::Uuid::nil(),
        QUIET,
        None,
    );
    assert_eq!(asking_an_unknown_process.await.unwrap(), None);
    process.stop().await;
}

#[tokio::test]
async fn the_command_line_makes_a_process_quiet_resumes_and_stops_it() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write(
        "queue.toml",
        "[process]\nheartbeat_interval = \"100ms\"\n\n[handlers.greet]\ncommand = [\"true\"]\n",
    );
    let child = shell.command(&["start", "--name", "w"]).spawn().unwrap();
    world.until("processes", 1).await;

    shell
        .print(&["processes", "quiet", "w", "--why", "a deploy"])
        .await;
    until_quiet(&world).await;
    let listed = shell.print(&["processes"]).await;
    assert!(listed.contains("quiet"), "{listed}");
    shell.print(&["enqueue", "greet"]).await;
    let id = only(&world).await.id.to_string();
    shell.print(&["processes", "resume", &id]).await;
    world.until("finished", 1).await;
    shell.print(&["processes", "stop", "w"]).await;
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let output = ended.await.unwrap();

    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(world.count("processes").await, 0);
    let acts: Vec<(String, String, String, Option<String>)> = world
        .rows("select what, target, role, why from queue.audit order by id")
        .await;
    let target = format!("processes/{id}");
    let act = |what: &str, why: Option<&str>| {
        let role = "command line".to_owned();
        (
            what.to_owned(),
            target.clone(),
            role,
            why.map(str::to_owned),
        )
    };
    assert_eq!(
        acts,
        [
            act("quiet", Some("a deploy")),
            act("resume", None),
            act("stop", None)
        ]
    );
    let said = shell.refused(4, &["processes", "quiet", "w"]).await;
    assert!(said.contains("there is no process w"), "{said}");
}
