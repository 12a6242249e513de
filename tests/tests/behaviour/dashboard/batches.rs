//! The pages of batches, and what their buttons do.

use axum::http::StatusCode;
use queue_core::{Batch, BatchId, OnFailure, Options};
use queue_tests::world::{World, worker};
use queue_worker::dashboard::Role;
use queue_worker::{App, Cx, Job, Perform};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Site;
use super::many::{confirm, ended};

#[derive(Serialize, Deserialize)]
struct ListDue;

impl Job for ListDue {
    const KIND: &'static str = "list_due";
}

impl Perform<()> for ListDue {
    type Error = std::io::Error;

    async fn perform(self, _: Cx<()>) -> Result<(), std::io::Error> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Charge;

impl Job for Charge {
    const KIND: &'static str = "charge";

    fn options() -> Options {
        Options::new().attempts(1)
    }
}

impl Perform<()> for Charge {
    type Error = std::io::Error;

    async fn perform(self, _: Cx<()>) -> Result<(), std::io::Error> {
        Err(std::io::Error::other("card declined"))
    }
}

#[derive(Serialize, Deserialize)]
struct Report;

impl Job for Report {
    const KIND: &'static str = "report";
}

impl Perform<()> for Report {
    type Error = std::io::Error;

    async fn perform(self, _: Cx<()>) -> Result<(), std::io::Error> {
        Ok(())
    }
}

/// Runs a batch of which one job fails, and another one waits for it.
async fn failing_batch(world: &World) -> BatchId {
    let mut batch = Batch::new()
        .name("Renewals <b>")
        .metadata(json!({"month": 11, "token": "s3cret"}))
        .on_success(&Report)
        .unwrap();
    let list = batch.add(&ListDue).unwrap();
    let charge = batch.add(&Charge).unwrap();
    let report = batch.add(&Report).unwrap();
    batch.after(charge, [list], OnFailure::Hold);
    batch.after(report, [charge], OnFailure::Hold);
    let id = world.queue.enqueue_batch(batch).await.unwrap().id;
    let app = App::new(()).register::<ListDue>();
    let app = app.register::<Charge>().register::<Report>();
    let process = world.start(app, worker("*", 2));
    world.until("failed", 1).await;
    process.stop().await;
    id
}

#[tokio::test]
async fn a_batch_is_shown_with_what_holds_it_up() {
    let world = World::new().await;
    let id = failing_batch(&world).await;
    let site = Site::open(&world, Role::Viewer);

    let list = site.page("/batches").await;
    let one = site.page(&format!("/batches/{id}")).await;

    for text in [
        "One batch is under way.",
        "Renewals &lt;b&gt;",
        "cannot succeed: one of its jobs failed",
        "2 of 3 ended, 1 failed",
    ] {
        assert!(list.contains(text), "no {text:?} in {list}");
    }
    for text in [
        "<strong>1 of 3 jobs are done.</strong>",
        "<bdi>1 done</bdi></a>",
        "<bdi>1 failed</bdi></a>",
        "<a href=\"#members\"><bdi>1 to go</bdi></a>",
        "report waits for charge, charge waits for list_due",
        "<text class=\"sub\" x=\"12\" y=\"40\">1 of 1 failed</text>",
        "On success",
        "<em class=\"hidden\">redacted</em>",
    ] {
        assert!(one.contains(text), "no {text:?} in {one}");
    }
    assert!(!one.contains("s3cret") && !one.contains("Cancel…"), "{one}");
    let api = site.page(&format!("/api/v1/batches/{id}")).await;
    assert!(!api.contains("s3cret"), "{api}");
    let ended = site.page("/batches?state=ended").await;
    assert!(!ended.contains("#1<") && ended.contains("A batch is a set of jobs"));
}

#[tokio::test]
async fn the_failed_jobs_of_a_batch_are_retried_and_a_batch_is_cancelled_after_a_page_that_asks() {
    let world = World::new().await;
    let id = failing_batch(&world).await;
    let site = Site::open(&world, Role::Operator);
    let page = format!("/batches/{id}");
    assert!(site.page(&page).await.contains("Retry 1 failed…"));

    let retry = format!("/jobs/retry?state=failed&batch={id}");
    let linked = retry.replace('&', "&#38;");
    let text = site.page(&page).await;
    assert!(text.contains(&linked), "{text}");
    let other = site.page("/jobs?state=failed&batch=4711").await;
    assert!(other.contains("No job is failed"), "{other}");
    let listed = site.page(&format!("/jobs?state=failed&batch={id}")).await;
    assert!(
        listed.contains("charge") && listed.contains("Batch"),
        "{listed}"
    );
    let answer = confirm(&site, &retry, "").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    ended(&world).await;
    assert_eq!(world.count("failed").await, 0);
    assert_eq!(world.count("ready where kind = 'charge'").await, 1);

    let cancel = format!("{page}/cancel");
    assert!(site.page(&cancel).await.contains("2 jobs have not ended."));
    let answer = site.press(&cancel, &cancel).await;
    assert_eq!(answer.header("location"), format!("/ops/jobs{page}"));
    assert_eq!(
        world.count("batches where cancelled_at is not null").await,
        1
    );
    let audit = site.page("/audit").await;
    for text in ["retried operation ", "cancelled batch "] {
        assert!(audit.contains(text), "no {text:?} in {audit}");
    }
}
