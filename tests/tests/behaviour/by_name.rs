//! Jobs made by the name of their kind follow the rules of their type: its limits, its unique key and
//! its options, and arguments that fit.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use queue_core::recurring::{FiringOutcome, Kinds, Overlap, RecurringJob, Tick, add, fire_next};
use queue_core::schedule::Tz;
use queue_core::{Job, Limits, NewJob, Options, Unique};
use queue_tests::world::World;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::shell::Shell;

#[tokio::test]
async fn a_job_by_name_has_the_options_the_limits_and_the_unique_key_of_its_type() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let line = ["enqueue", "index_page", "--args", "{\"page\": 7}"];
    shell.write(
        "jobs.jsonl",
        "{\"kind\": \"index_page\", \"args\": { \"page\" : 7 }}\n",
    );

    let first = shell.json(&line).await;
    let second = shell.json(&line).await;
    shell.print(&["enqueue", "--file", "jobs.jsonl"]).await;

    assert_eq!(second, json!({"id": first["id"], "result": "kept"}));
    assert_eq!(world.count("jobs").await, 1);
    let by_its_rules = "jobs where queue = 'index' and limits is not null";
    assert_eq!(world.count(by_its_rules).await, 1);
}

#[tokio::test]
async fn arguments_that_do_not_fit_the_type_are_refused_by_name() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let args = "{\"page\": \"seven\"}";

    let said = shell
        .refused(2, &["enqueue", "index_page", "--args", args])
        .await;

    let reason = "the arguments of `index_page` do not fit its type: `page`: invalid type";
    assert!(said.contains(reason), "{said}");
    let add = [
        "recurring",
        "add",
        "a",
        "--schedule",
        "@daily",
        "--kind",
        "index_page",
    ];
    let said = shell
        .refused(2, &[&add[..], &["--args", args]].concat())
        .await;
    assert!(said.contains("`page`"), "{said}");
    assert_eq!(world.count("jobs").await, 0);
}

#[tokio::test]
async fn a_program_with_kinds_refuses_unknown_ones_unless_forced() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write(
        "jobs.jsonl",
        "{\"kind\": \"send\"}\n{\"kind\": \"other\"}\n",
    );

    let said = shell.refused(2, &["enqueue", "sent"]).await;
    assert!(said.contains("did you mean `send`?"), "{said}");
    let said = shell.refused(2, &["enqueue", "--file", "jobs.jsonl"]).await;
    assert!(
        said.contains("line 2 of jobs.jsonl: this program has no kind `other`"),
        "{said}"
    );

    shell.write("jobs.jsonl", &"{\"kind\": \"sent\"}\n".repeat(3));
    let file = ["enqueue", "--file", "jobs.jsonl", "--force"];
    let said = shell.refused(0, &file).await;
    assert_eq!(world.count("jobs where kind = 'sent'").await, 3);
    let warning = "warning: this program does not know the kind `sent` (did you mean `send`?)";
    assert_eq!(said.matches(warning).count(), 1, "{said}");
}

#[tokio::test]
async fn a_recurring_job_of_an_unknown_kind_is_added_with_a_warning() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let add = ["recurring", "add", "a", "--schedule", "@yearly"];

    let said = shell
        .refused(0, &[&add[..], &["--kind", "sent"]].concat())
        .await;

    assert!(
        said.contains("(did you mean `send`?): a scheduler that knows it"),
        "{said}"
    );
    let said = shell.refused(0, &["recurring", "run", "a"]).await;
    assert!(said.contains("its limits, its unique key"), "{said}");
}

#[tokio::test]
async fn a_recurring_job_of_a_program_without_the_type_is_run_by_its_rules() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let job = NewJob::untyped("index_page", &json!({"page": 7}), Options::new());
    due(&world, RecurringJob::of("a", "@yearly", job).unwrap()).await;

    let said = shell.refused(0, &["recurring", "run", "a"]).await;

    assert!(!said.contains("warning"), "{said}");
    let by_its_rules = "jobs where queue = 'index' and limits is not null";
    assert_eq!(world.count(by_its_rules).await, 1);
    assert_eq!(world.count("unique_keys").await, 1);
}

#[tokio::test]
async fn a_recurring_job_by_name_is_unique_by_the_rule_of_its_type() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let add = [
        "recurring",
        "add",
        "index",
        "--schedule",
        "@yearly",
        "--kind",
        "index_page",
    ];
    shell
        .print(&[&add[..], &["--args", "{\"page\": 7}"]].concat())
        .await;

    let id = shell.print(&["recurring", "run", "index"]).await;
    let said = shell.refused(1, &["recurring", "run", "index"]).await;

    let holder = format!("job {} holds the unique key", id.trim());
    assert!(said.contains(&holder), "{said}");
}

#[tokio::test]
async fn arguments_of_a_recurring_job_keep_their_digits() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let args = "{\"n\": 99999999999999999999, \"x\": 0.10}";

    let add = [
        "recurring",
        "add",
        "a",
        "--schedule",
        "@yearly",
        "--kind",
        "other",
    ];
    shell.print(&[&add[..], &["--args", args]].concat()).await;

    let stored: String = world
        .value("select args::text from queue.recurring_jobs")
        .await;
    assert_eq!(stored, args);
}

/// A kind with a limit and a unique key.
#[derive(Serialize, Deserialize)]
struct Ruled {
    page: i64,
}

impl Job for Ruled {
    const KIND: &'static str = "ruled";

    fn options() -> Options {
        Options::new().queue("index").attempts(2)
    }

    fn unique(&self) -> Option<Unique> {
        Some(Unique::by_key(format!("page/{}", self.page)))
    }

    fn limits(&self) -> Limits {
        Limits::key(self.page.to_string()).to(1)
    }
}

fn kinds_of_a_program_that_knows_the_type() -> Kinds {
    Kinds {
        known: Some(vec![Ruled::KIND.to_owned()]),
        types: [(Ruled::KIND, NewJob::of_json::<Ruled> as _)].into(),
    }
}

/// Adds a recurring job at run time, and returns when it is first due.
async fn due(world: &World, recurring: RecurringJob) -> DateTime<Utc> {
    let mut conn = world.connect().await;
    add(&mut conn, world.queue.schema(), &recurring, Tz::UTC)
        .await
        .unwrap();
    world
        .value("select next_at from queue.recurring_jobs")
        .await
}

async fn fire(world: &World, now: DateTime<Utc>, kinds: &Kinds) -> Option<FiringOutcome> {
    let mut conn = world.connect().await;
    match fire_next(&mut conn, world.queue.schema(), Some(now), kinds, &[]).await {
        Ok(Tick::Idle) => None,
        Ok(Tick::Fired(mut fired)) => fired.firings.pop().map(|firing| firing.outcome),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_scheduler_that_knows_the_type_applies_its_rules() {
    let world = World::new().await;
    let job = NewJob::untyped("ruled", &json!({"page": 7}), Options::new());
    let now = due(&world, RecurringJob::of("a", "every minute", job).unwrap()).await;
    let kinds = kinds_of_a_program_that_knows_the_type();

    let first = fire(&world, now, &kinds).await;
    let second = fire(&world, now + TimeDelta::minutes(1), &kinds).await;

    assert!(
        matches!(first, Some(FiringOutcome::Enqueued(_))),
        "{first:?}"
    );
    assert!(
        matches!(second, Some(FiringOutcome::Overlapped(_))),
        "{second:?}"
    );
    let by_its_rules = "jobs where limits is not null and queue = 'index' and attempts_max = 2";
    assert_eq!(world.count(by_its_rules).await, 1);
}

#[tokio::test]
async fn options_that_a_recurring_job_has_of_its_own_win_over_those_of_the_type() {
    let world = World::new().await;
    let options = Options::new().queue("night");
    let job = NewJob::untyped("ruled", &json!({"page": 7}), options);
    let now = due(&world, RecurringJob::of("a", "every minute", job).unwrap()).await;

    fire(&world, now, &kinds_of_a_program_that_knows_the_type()).await;

    let of_its_own = "jobs where queue = 'night' and attempts_max = 10 and limits is not null";
    assert_eq!(world.count(of_its_own).await, 1);
}

#[tokio::test]
async fn the_unique_key_of_a_declared_job_holds_for_schedulers_that_do_not_know_its_type() {
    for overlap in [Overlap::Allow, Overlap::Skip, Overlap::Queued] {
        let world = World::new().await;
        let recurring = RecurringJob::new("a", "every minute", Ruled { page: 7 }).unwrap();
        let now = due(&world, recurring.overlap(overlap)).await;
        world.queue.enqueue(Ruled { page: 7 }).await.unwrap();

        let outcome = fire(&world, now, &Kinds::default()).await;

        assert!(
            matches!(outcome, Some(FiringOutcome::Overlapped(_))),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_scheduler_leaves_kinds_that_it_does_not_know_to_others_for_five_seconds() {
    let world = World::new().await;
    let job = NewJob::untyped("ruled", &json!({"page": 7}), Options::new());
    let now = due(&world, RecurringJob::of("a", "every minute", job).unwrap()).await;
    let knows_others = Kinds {
        known: Some(vec!["other".to_owned()]),
        ..Kinds::default()
    };

    let at_once = fire(&world, now, &knows_others).await;
    let later = fire(&world, now + Duration::from_secs(5), &knows_others).await;

    assert!(at_once.is_none(), "{at_once:?}");
    assert!(
        matches!(later, Some(FiringOutcome::Enqueued(_))),
        "{later:?}"
    );
}
