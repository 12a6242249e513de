//! Processes that serve several shards.

use std::collections::BTreeSet;
use std::time::Duration;

use queue_core::{Options, Queue, Shards};
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{World, eventually, worker};
use queue_worker::{
    App, BoxError, Cx, InvalidProcess, Job, Perform, Process, RecurringJob, ReportOn, SHARDS_MAX,
    Settings, Stop,
};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinHandle;

use crate::shards::Two;

/// Makes two shards, on two servers if there are two.
async fn two_shards() -> Two {
    Two::of(World::new().await, World::on_other_server().await)
}

fn start<S: Send + Sync + 'static>(
    shards: &Shards,
    served: &[&str],
    app: App<S>,
    settings: Settings,
) -> (Stop, JoinHandle<()>) {
    let served = served.iter().copied();
    let process = Process::of_shards(shards, served, app, settings).unwrap();
    let stop = Stop::new();
    (stop.clone(), tokio::spawn(process.run(stop)))
}

async fn end((stop, task): (Stop, JoinHandle<()>)) {
    stop.gracefully();
    task.await.unwrap();
}

#[tokio::test]
async fn a_process_serves_all_shards_that_it_is_given() {
    let two = two_shards().await;
    let stage = Stage::default();
    for (world, text) in two.worlds().into_iter().zip(["in eu", "in us"]) {
        world.queue.enqueue(Note::new(text)).await.unwrap();
    }
    let app = || App::new(stage.clone()).register::<Note>();
    let us_alone = start(&two.shards, &["us"], app(), worker("*", 2));
    two.us.until_all_ended().await;
    end(us_alone).await;
    assert_eq!(stage.notes(), ["in us"]);

    let all = start(&two.shards, &["eu", "us"], app(), worker("*", 2));
    two.eu.until_all_ended().await;
    two.us.queue.enqueue(Note::new("again")).await.unwrap();
    two.us.until_all_ended().await;
    end(all).await;
    assert_eq!(stage.notes(), ["in us", "in eu", "again"]);
    for world in two.worlds() {
        assert_eq!(world.count("processes").await, 0);
    }
}

/// A job that notes its shard, and fails.
#[derive(Serialize, Deserialize)]
struct Lost;

impl Job for Lost {
    const KIND: &'static str = "lost";

    fn options() -> Options {
        Options::new().attempts(1)
    }
}

impl Perform<Stage> for Lost {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        let shard = cx.attempt().shard.as_deref();
        cx.state().note(format!("ran on {shard:?}"));
        Err("lost".into())
    }
}

#[tokio::test]
async fn a_job_its_hooks_and_its_reports_know_its_shard() {
    let two = two_shards().await;
    let stage = Stage::default();
    let (hooked, reported) = (stage.clone(), stage.clone());
    let app = App::new(stage.clone())
        .register::<Lost>()
        .on_failed(move |job| hooked.note(format!("failed on {:?}", job.shard)))
        .report_errors(ReportOn::LastAttempt, move |report| {
            reported.note(format!("reported of {:?}", report.shard));
        });
    two.us.queue.enqueue(Lost).await.unwrap();

    let process = start(&two.shards, &["eu", "us"], app, worker("*", 2));
    two.us.until("failed", 1).await;
    end(process).await;

    let mut notes = stage.notes();
    notes.sort();
    let known = ["failed on", "ran on", "reported of"].map(|what| format!("{what} Some(\"us\")"));
    assert_eq!(notes, known);
}

#[tokio::test]
async fn the_concurrency_is_divided_among_the_shards() {
    let two = two_shards().await;
    let stage = Stage::default();
    for world in two.worlds() {
        let jobs = (0..4).map(|_| Gated::new("gate"));
        world.queue.enqueue_many(jobs).await.unwrap();
    }
    let app = App::new(stage.clone()).register::<Gated>();
    let process = start(&two.shards, &["eu", "us"], app, worker("*", 3));

    // Three jobs at once, and so two on each shard, since no part of one is left out.
    eventually("four jobs run", async || stage.notes().len() == 4).await;
    for world in two.worlds() {
        let concurrency = world
            .value::<i32>("select (details->>'concurrency')::int from queue.processes")
            .await;
        assert_eq!(concurrency, 2);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.notes().len(), 4);
    stage.open("gate");
    for world in two.worlds() {
        world.until_all_ended().await;
    }
    end(process).await;
}

#[tokio::test]
async fn a_shard_that_is_away_does_not_stop_the_others() {
    let world = World::new().await;
    let away = PgPoolOptions::new().connect_lazy("postgres://127.0.0.1:1/nowhere");
    let away = Queue::new(away.unwrap());
    let shards = Shards::new([("away", away), ("here", world.queue.clone())]).unwrap();
    let stage = Stage::default();
    world.queue.enqueue(Note::new("done")).await.unwrap();
    let app = App::new(stage.clone()).register::<Note>();
    let process = start(&shards, &["away", "here"], app, worker("*", 2));
    world.until_all_ended().await;
    end(process).await;
    assert_eq!(stage.notes(), ["done"]);
}

#[tokio::test]
async fn a_recurring_job_is_declared_on_one_shard_and_moves_with_its_name() {
    let two = two_shards().await;
    let names: Vec<String> = (0..12).map(|number| format!("r{number}")).collect();
    let app = || {
        let app = App::new(Stage::default()).register::<Note>();
        names.iter().fold(app, |app, name| {
            let recurring = RecurringJob::new(name, "every hour", Note::new("tick"));
            app.recurring(recurring.unwrap())
        })
    };
    let declared = async |world: &World| {
        let rows: Vec<(String,)> = world.rows("select name from queue.recurring_jobs").await;
        rows.into_iter()
            .map(|(name,)| name)
            .collect::<BTreeSet<_>>()
    };
    let alone = Shards::new([("eu", two.eu.queue.clone())]).unwrap();
    let process = start(&alone, &["eu"], app(), worker("*", 1));
    two.eu.until("recurring_jobs", 12).await;
    end(process).await;

    let process = start(&two.shards, &["eu", "us"], app(), worker("*", 1));
    eventually("each recurring job is on one shard", async || {
        let (eu, us) = (declared(&two.eu).await, declared(&two.us).await);
        eu.is_disjoint(&us) && eu.len() + us.len() == 12 && !us.is_empty()
    })
    .await;
    end(process).await;
    for name in declared(&two.us).await {
        assert_eq!(two.shards.shard_of_recurring(&name).0, "us");
    }
}

#[tokio::test]
async fn shards_that_a_process_cannot_serve_are_refused() {
    let two = two_shards().await;
    let refused = |shards: &Shards, served: &[&str], app| {
        let served = served.iter().copied();
        let made = Process::of_shards(shards, served, app, Settings::default());
        made.err()
            .map(|refused: InvalidProcess| refused.to_string())
    };
    let app = || App::new(Stage::default()).register::<Note>();
    let unknown = refused(&two.shards, &["eu", "asia"], app());
    assert_eq!(unknown.unwrap(), "there is no shard `asia`");
    let none = refused(&two.shards, &[], app()).unwrap();
    assert!(none.contains("serves no shard"), "{none}");
    let all = refused(&two.shards, &["asia"], app().register::<Note>()).unwrap();
    assert_eq!(all.lines().count(), 2, "{all}");

    let names: Vec<String> = (0..=SHARDS_MAX).map(|number| number.to_string()).collect();
    let many = names.iter().map(|name| (name, two.eu.queue.clone()));
    let many = Shards::new(many).unwrap();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let too_many = refused(&many, &names, app()).unwrap();
    assert!(
        too_many.contains("serves 17 shards: name at most 16"),
        "{too_many}"
    );
    assert_eq!(refused(&many, &names[1..], app()), None);
}

#[tokio::test]
async fn a_process_has_few_connections_on_each_shard() {
    let two = two_shards().await;
    let stage = Stage::default();
    let app = App::new(stage.clone()).register::<Note>();
    let mut settings = worker("*", 10);
    settings.process.name = Some("counted".to_owned());
    let process = start(&two.shards, &["eu", "us"], app, settings);
    let mut most = 0;
    for round in 0..40 {
        for world in two.worlds() {
            let notes = (0..50).map(|_| Note::new("x"));
            world.queue.enqueue_many(notes).await.unwrap();
            let count: i64 = world
                .value(
                    "select count(*) from pg_stat_activity
                     where application_name = 'queue counted' and datname = current_database()",
                )
                .await;
            most = most.max(count);
        }
        if round % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    for world in two.worlds() {
        world.until_all_ended().await;
    }
    end(process).await;
    assert!((2..=10).contains(&most), "{most}");
}
