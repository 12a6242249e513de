//! What the doctor and processes say about troubles that have a cause outside the jobs.

use std::time::Duration;

use queue_core::inspect::doctor::{self, Finding};
use queue_core::recurring::pause;
use queue_core::{NewJob, Options};
use queue_tests::recurring::{by, recurring_job, until_names};
use queue_tests::stage::Stage;
use queue_tests::world::{World, worker};
use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

const DEAD_AFTER: Duration = Duration::from_secs(30);

async fn examine(world: &World, options: PgConnectOptions) -> Vec<Finding> {
    let mut conn = options.connect().await.unwrap();
    let found = doctor::examine(&mut conn, world.queue.schema(), DEAD_AFTER).await;
    found.unwrap()
}

/// Returns the findings of one check.
async fn found(world: &World, check: &str) -> Vec<Finding> {
    let mut findings = examine(world, world.connect_options()).await;
    findings.retain(|finding| finding.check == check);
    findings
}

/// Makes a role with the rights that these grants give, and returns its name.
async fn role(world: &World, grants: &[&str]) -> String {
    let role: String = world.value("select current_database() || '_role'").await;
    world.sql(&format!("create role {role} login")).await;
    for grant in grants {
        world.sql(&format!("grant {grant} to {role}")).await;
    }
    role
}

/// Executes the grants that findings propose.
async fn grant(world: &World, findings: &[Finding]) {
    for finding in findings {
        let statement = finding.next.split('`').nth(1).unwrap();
        world.sql(statement).await;
    }
}

#[tokio::test]
async fn the_doctor_names_paused_recurring_jobs_and_sources_without_a_process() {
    let (world, stage) = (World::new().await, Stage::default());
    let yearly = |name| recurring_job(name, "@yearly");
    let app = stage.app().recurring(yearly("a")).recurring(yearly("b"));
    let process = world.start(app, by("old"));
    until_names(&world, &["a", "b"]).await;
    pause(&mut world.connect().await, world.queue.schema(), "a")
        .await
        .unwrap();
    assert_eq!(found(&world, "abandoned_source").await, []);
    process.stop().await;

    let process = world.start(stage.app(), by("new"));
    world.until("processes", 1).await;

    let paused = found(&world, "paused_recurring_jobs").await;
    assert!(paused[0].what.ends_with(": a"), "{paused:?}");
    let abandoned = found(&world, "abandoned_source").await;
    assert!(abandoned[0].what.contains("source old"), "{abandoned:?}");
    process.stop().await;
}

#[tokio::test]
async fn the_doctor_names_kinds_whose_arguments_do_not_fit_their_type() {
    let (world, stage) = (World::new().await, Stage::default());
    let process = world.start(stage.app(), worker("*", 1));
    let misfit = NewJob::untyped("note", &json!({"no": "text"}), Options::new());
    let job = world.queue.enqueue_all([misfit]).await.unwrap()[0].id();
    world.until_state(job, "scheduled").await;

    let findings = found(&world, "undecodable_kind").await;
    assert!(
        findings[0].what.contains("1 job of kind note"),
        "{findings:?}"
    );

    world.queue.discard(job).await.unwrap();
    assert_eq!(found(&world, "undecodable_kind").await, []);
    process.stop().await;
}
