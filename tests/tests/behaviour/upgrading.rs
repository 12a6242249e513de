//! An upgrade from the version of the commit in `tests/upgrade-from`, and a rollback to it: its programs work on the
//! tables of this version, beside processes of this version. `bin/upgrade` builds them and runs these tests.

use std::env;
use std::path::PathBuf;

use queue_core::{Batch, Limits};
use queue_tests::deeds::{Deed, Ledger};
use queue_tests::soundness::assert_sound;
use queue_tests::victim::{Orders, Victim};
use queue_tests::world::{World, eventually};

use crate::shell::Shell;

const WORKER: &str = env!("CARGO_BIN_EXE_test-worker");

/// Jobs of many sorts, a line each, as commands of both versions enqueue them. The last one fails: it names a deed
/// that there is not.
const LINES: &str = r#"
{"kind": "deed", "args": "Recorded"}
{"kind": "deed", "args": "Recorded", "tags": ["tagged"], "priority": -5}
{"kind": "deed", "args": "Recorded", "attempts": 1}
{"kind": "deed", "args": "Recorded", "delay": "500ms"}
{"kind": "deed", "args": {"Steps": 3}}
{"kind": "deed", "args": {"Walk": 9}}
{"kind": "deed", "args": {"Parent": 4}, "queue": "parents"}
{"kind": "deed", "args": {"None": 0}, "attempts": 2}
"#;

/// A database, and the commands of both versions on it.
struct Upgrade {
    world: World,
    earlier: Shell,
    current: Shell,
}

impl Upgrade {
    /// Begins with the tables of the earlier version. The first attempt of every seventh job fails.
    async fn begin() -> Self {
        let world = World::new().await;
        world.sql("drop schema queue cascade").await;
        Ledger::build(world.pool()).await;
        world
            .sql("alter table ledger.runs add check (attempt > 1 or job_id % 7 > 0)")
            .await;
        let upgrade = Self {
            earlier: Shell::of(earlier("queue"), &world),
            current: Shell::on(&world),
            world,
        };
        upgrade.earlier.print(&["migrate"]).await;
        upgrade
    }

    /// Migrates the tables to this version, and returns when that was done.
    async fn migrate(&self) -> String {
        self.current.print(&["migrate"]).await;
        self.world.value("select clock_timestamp()::text").await
    }

    fn start_earlier(&self) -> Victim {
        Victim::start(earlier("test-worker"), &Orders::of(&self.world))
    }

    fn start_current(&self) -> Victim {
        Victim::start(WORKER, &Orders::of(&self.world))
    }

    /// Enqueues jobs of many sorts with the commands of a version.
    async fn enqueue_by(&self, shell: &Shell) {
        shell.write("jobs.jsonl", &LINES.repeat(5));
        let file = ["enqueue", "--force", "--file", "jobs.jsonl"];
        shell.print(&file).await;
        let unique = ["--force", "--unique-key", "one", "--args", "\"Recorded\""];
        let unique = [&["enqueue", "deed"], &unique[..]].concat();
        shell.run(&unique).await;
        shell.run(&unique).await;
    }

    /// Enqueues jobs with limits and in a batch, as programs of this version do.
    async fn enqueue(&self) {
        let queue = &self.world.queue;
        let limits = Limits::key("key").to(2);
        let limited = queue.enqueue_many(vec![Deed::Recorded; 20]);
        let limited = limited.with(|options| options.limits(limits.clone()));
        limited.await.unwrap();
        let batch = Batch::new().on_completion(&Deed::Recorded);
        let mut batch = batch.unwrap();
        for deed in [Deed::Recorded, Deed::Steps(2), Deed::Parent(2)] {
            batch.add(&deed).unwrap();
        }
        queue.enqueue_batch(batch).await.unwrap();
        self.enqueue_by(&self.current).await;
    }

    /// Waits until a process has run some jobs since a time of the database.
    async fn until_runs_of(&self, process: &Victim, since: &str) {
        let runs = format!("pid = {} and began_at >= '{since}'", process.pid());
        let runs = async || Ledger::runs_where(self.world.pool(), &runs).await.unwrap();
        eventually("the process runs some jobs", async || runs().await >= 10).await;
    }

    /// Waits until every job has ended, and checks that all have run and none was lost or ran twice.
    async fn assert_ended(&self) {
        self.world.until_all_ended().await;
        assert_sound(self.world.pool()).await;
        assert_eq!(self.world.count("slots").await, 0);
        let failed = "failed join queue.jobs on id = job_id
            where args::text not like '%None%' and job_id % 7 > 0";
        assert_eq!(self.world.count(failed).await, 0);
    }
}

/// Returns a program of the earlier version.
fn earlier(program: &str) -> PathBuf {
    let folder = env::var_os("QUEUE_UPGRADE_FROM").expect("bin/upgrade runs this test");
    PathBuf::from(folder).join(program)
}

async fn end(process: &mut Victim) {
    process.terminate();
    assert!(process.ended().await.success());
}

#[tokio::test]
#[ignore = "needs the programs of an earlier version, which bin/upgrade builds"]
async fn earlier_processes_work_while_the_tables_are_migrated_and_beside_current_ones() {
    let upgrade = Upgrade::begin().await;
    let beat = ["recurring", "add", "beat", "--schedule", "every second"];
    let beat = [&beat[..], &["--kind", "deed", "--args", "\"Recorded\""]].concat();
    upgrade.earlier.print(&beat).await;
    let mut before = upgrade.start_earlier();
    upgrade.enqueue_by(&upgrade.earlier).await;
    upgrade.until_runs_of(&before, "-infinity").await;

    let migrated = upgrade.migrate().await;
    upgrade.enqueue_by(&upgrade.earlier).await;
    upgrade.enqueue().await;
    upgrade.until_runs_of(&before, &migrated).await;
    let mut after = upgrade.start_current();
    for _ in 0..5 {
        upgrade.enqueue_by(&upgrade.earlier).await;
        upgrade.enqueue().await;
    }
    upgrade.until_runs_of(&after, "-infinity").await;
    end(&mut before).await;
    upgrade.enqueue_by(&upgrade.earlier).await;

    upgrade.current.print(&["recurring", "pause", "beat"]).await;
    upgrade.assert_ended().await;
    end(&mut after).await;
}

#[tokio::test]
#[ignore = "needs the programs of an earlier version, which bin/upgrade builds"]
async fn earlier_processes_start_after_the_migration_and_go_on_with_jobs_of_killed_current_ones() {
    let upgrade = Upgrade::begin().await;
    upgrade.migrate().await;
    let mut after = upgrade.start_current();
    let gates = vec![Deed::Gate("gate".to_owned()); 2];
    let deeds = [gates, vec![Deed::Steps(400); 2]].concat();
    upgrade.world.queue.enqueue_many(deeds).await.unwrap();
    let some = async || upgrade.world.count("steps").await > 20;
    eventually("some steps are recorded", some).await;
    upgrade.enqueue().await;

    let mut before = upgrade.start_earlier();
    after.kill().await;
    upgrade.enqueue_by(&upgrade.earlier).await;
    Ledger::open_gate(upgrade.world.pool(), "gate").await;

    upgrade.assert_ended().await;
    assert!(upgrade.world.count("attempts where version is null").await > 0);
    end(&mut before).await;
}

#[tokio::test]
#[ignore = "needs the programs of an earlier version, which bin/upgrade builds"]
async fn earlier_commands_work_on_current_tables() {
    let upgrade = Upgrade::begin().await;
    upgrade.migrate().await;
    let mut process = upgrade.start_current();
    upgrade.enqueue().await;
    upgrade.world.until_all_ended().await;
    end(&mut process).await;
    let shell = &upgrade.earlier;

    for line in COMMANDS {
        let line: Vec<&str> = line.split(' ').collect();
        shell.print(&line).await;
    }
    let batch: i64 = upgrade
        .world
        .value("select min(id) from queue.batches")
        .await;
    shell.print(&["batches", "show", &batch.to_string()]).await;
    let refused = shell.refused(1, &["migrate"]).await;

    assert!(refused.contains("upgrade the program"), "{refused}");
    assert_sound(upgrade.world.pool()).await;
}

const COMMANDS: [&str; 27] = [
    "enqueue deed --force --args \"Recorded\"",
    "enqueue deed --force --delay 1h --args \"Recorded\"",
    "jobs",
    "jobs list --state failed",
    "jobs show 1",
    "jobs retry --state failed --yes",
    "jobs cancel --state scheduled --yes",
    "jobs discard --state ready --yes",
    "queues",
    "queues pause default --yes --why upgrade",
    "queues resume default",
    "limits",
    "limits set key --to 3",
    "limits reset key",
    "tenants",
    "tenants pause acme",
    "tenants resume acme",
    "batches",
    "recurring add nightly --kind deed --schedule @daily",
    "recurring",
    "recurring show nightly",
    "recurring pause nightly",
    "recurring resume nightly",
    "recurring run nightly",
    "recurring remove nightly --yes",
    "processes",
    "stats",
];
