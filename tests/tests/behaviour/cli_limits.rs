//! The commands for limits.

use std::time::Duration;

use crate::shell::Shell;
use queue_core::operations::limits::parse_rate;
use queue_core::{JobId, Limits, NewJob, Options};
use queue_tests::stage::{Gated, Stage};
use queue_tests::world::{Running, World};
use queue_worker::Settings;
use queue_worker::config::LimitSetting;
use serde_json::{Value, json};

/// Enqueues jobs of one key. Once a job runs, it waits at the gate with its name.
async fn gated(world: &World, names: &[&str], to: u32) -> Vec<JobId> {
    let mut ids = Vec::new();
    for name in names {
        let job = world.queue.enqueue(Gated::new(*name));
        ids.push(job.limits(Limits::key("7").to(to)).await.unwrap().id());
    }
    ids
}

/// Starts a process that runs the first job of a key, while the second one is blocked.
async fn one_runs_and_one_is_blocked(world: &World, stage: &Stage) -> (Running, [String; 2]) {
    let ids = gated(world, &["first", "second"], 1).await;
    let process = world.start(stage.app(), Settings::default());
    world.until("claimed", 1).await;
    world.until("blocked", 1).await;
    stage.noted("first begins").await;
    (process, [ids[0].to_string(), ids[1].to_string()])
}

async fn end(stage: &Stage, process: Running) {
    for gate in ["first", "second", "third"] {
        stage.open(gate);
    }
    process.stop().await;
}

#[tokio::test]
async fn a_key_is_listed_with_its_holders_and_waiting_jobs() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let stage = Stage::default();
    let (process, [first, second]) = one_runs_and_one_is_blocked(&world, &stage).await;

    let keys = shell.json(&["limits"]).await;
    let key = json!({"key": "gated/7", "to": 1, "set_by": "job", "in_use": 1});
    for (field, value) in key.as_object().unwrap() {
        assert_eq!(&keys[0][field], value, "{keys}");
    }
    assert_eq!(keys[0]["holders"], json!([first.parse::<i64>().unwrap()]));
    assert_eq!(keys[0]["waiting"]["count"], json!(1));
    assert!(keys[0]["waiting_since"].is_string(), "{keys}");
    let table = shell.print(&["limits", "list"]).await;
    assert!(table.contains("1 at once"), "{table}");

    let blocked = shell.print(&["jobs", "show", &second]).await;
    assert!(blocked.contains("blocked    on gated/7 since"), "{blocked}");
    assert!(
        blocked.contains(&format!("held by    job {first} since")),
        "{blocked}"
    );
    assert!(
        blocked.contains("limit      gated/7: 1 at once"),
        "{blocked}"
    );
    let holder = shell.print(&["jobs", "show", &first]).await;
    assert!(holder.contains("holds      a slot of gated/7"), "{holder}");
    assert!(!holder.contains("held by"), "{holder}");

    assert_eq!(shell.json(&["queues"]).await[0]["blocked"], json!(1));
    assert_eq!(
        shell.json(&["stats"]).await["jobs"]["blocked"]["count"],
        json!(1)
    );
    let listed = shell.json(&["jobs", "list", "--state", "blocked"]).await;
    assert_eq!(listed[0]["id"].to_string(), second);
    end(&stage, process).await;
}

#[tokio::test]
async fn the_next_start_of_a_key_is_shown() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let stage = Stage::default();
    let slow = Limits::key("7").rate(1, Duration::from_secs(5_400));
    for name in ["first", "second"] {
        let job = world.queue.enqueue(Gated::new(name)).limits(slow.clone());
        job.await.unwrap();
    }
    let process = world.start(stage.app(), Settings::default());
    world.until("blocked", 1).await;

    let second: i64 = world.value("select job_id from queue.blocked").await;
    let shown = shell.print(&["jobs", "show", &second.to_string()]).await;
    assert!(
        shown.contains("gated/7: 16 starts per day, one by one"),
        "{shown}"
    );
    assert!(shown.contains("next start of this key in 1h"), "{shown}");
    let table = shell.print(&["limits"]).await;
    assert!(table.contains("next start in 1h"), "{table}");
    end(&stage, process).await;
}

#[tokio::test]
async fn values_that_are_not_given_stay_until_the_limit_is_reset() {
    let world = World::new().await;
    let shell = Shell::on(&world);

    shell
        .json(&["limits", "set", "--queue", "mail", "--to", "5"])
        .await;
    let rate = [
        "limits", "set", "--queue", "mail", "--rate", "100/1m", "--burst", "20",
    ];
    let set = shell.json(&rate).await;
    assert_eq!(
        set,
        json!({
            "name": "@queue/mail", "to": 5, "space_seconds": 0.6, "burst": 20, "beyond": 0,
            "unblocked": 0,
        })
    );
    let output = shell
        .run(&["limits", "set", "@queue/mail", "--to", "7"])
        .await;
    assert_eq!(
        crate::shell::said(&output),
        "the limit of @queue/mail is now: 7 at once; 100 starts per minute, bursts of 20\n"
    );
    let listed = shell.json(&["limits"]).await;
    assert_eq!(listed[0]["key"], json!("@queue/mail"));
    assert_eq!(listed[0]["set_by"], json!("operator"));

    let reset = ["limits", "reset", "--queue", "mail"];
    assert_eq!(shell.json(&reset).await["changed"], json!(true));
    assert_eq!(shell.json(&reset).await["changed"], json!(false));
    assert_eq!(shell.json(&["limits"]).await, json!([]));
}

#[tokio::test]
async fn a_lowered_limit_drains_and_a_raised_one_unblocks_jobs() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let stage = Stage::default();
    gated(&world, &["first", "second", "third"], 2).await;
    let process = world.start(stage.app(), Settings::default());
    world.until("claimed", 2).await;
    world.until("blocked", 1).await;

    let output = shell.run(&["limits", "set", "gated", "--to", "1"]).await;
    let said = crate::shell::said(&output);
    assert!(
        said.contains("1 job runs beyond the new limit: no job"),
        "{said}"
    );
    assert_eq!(world.count("claimed").await, 2);

    let raised = shell.json(&["limits", "set", "gated", "--to", "3"]).await;
    assert_eq!(raised["unblocked"], json!(1));
    world.until("claimed", 3).await;
    end(&stage, process).await;
}

#[tokio::test]
async fn a_blocked_job_is_run_despite_its_limit_and_marked() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let stage = Stage::default();
    let (process, [_, second]) = one_runs_and_one_is_blocked(&world, &stage).await;

    let output = shell.run(&["jobs", "run", &second]).await;
    assert_eq!(
        crate::shell::said(&output),
        "let 1 job run despite limits\n"
    );
    stage.noted("second begins").await;

    let shown = shell.print(&["jobs", "show", &second]).await;
    assert!(shown.contains("run anyway despite its limits"), "{shown}");
    assert!(!shown.contains("a slot of"), "{shown}");
    let said = shell.refused(1, &["jobs", "run", &second]).await;
    assert!(said.contains("it is running"), "{said}");
    let said = shell.refused(2, &["jobs", "run", "--state", "ready"]).await;
    assert!(said.contains("ready jobs cannot be run anyway"), "{said}");
    end(&stage, process).await;
}

#[tokio::test]
async fn blocked_jobs_are_discarded_and_cancelled_but_not_retried() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let limited = Options::new().limits(Limits::key("7"));
    let jobs = (0..4).map(|_| NewJob::untyped("import", &json!(null), limited.clone()));
    world.queue.enqueue_all(jobs).await.unwrap();
    world.until("blocked", 3).await;
    let ids: Vec<(i64,)> = world
        .rows("select job_id from queue.blocked order by 1")
        .await;
    let ids: Vec<String> = ids.iter().map(|(id,)| id.to_string()).collect();

    let said = shell.refused(1, &["jobs", "retry", &ids[0]]).await;
    assert!(
        said.contains("it is blocked: use `test-queue jobs run`"),
        "{said}"
    );
    shell.print(&["jobs", "discard", &ids[0]]).await;
    let cancel = ["jobs", "cancel", "--state", "blocked", "--yes"];
    assert_eq!(shell.json(&cancel).await["changed"], json!(2));

    assert_eq!(world.count("finished where outcome = 'discarded'").await, 1);
    assert_eq!(world.count("finished where outcome = 'cancelled'").await, 2);
    assert_eq!(world.count("ready").await, 1);
}

#[tokio::test]
async fn a_long_list_of_keys_is_read_page_by_page() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    for name in ["a", "b", "c"] {
        shell.print(&["limits", "set", name, "--to", "1"]).await;
    }

    let output = shell.run(&["limits", "list", "--count", "2"]).await;
    assert!(crate::shell::said(&output).contains("add --after 'b'"));
    let rest = shell.json(&["limits", "list", "--after", "b"]).await;
    let keys: Vec<&Value> = rest
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["key"])
        .collect();
    assert_eq!(keys, [&json!("c")]);
}

#[tokio::test]
async fn an_invalid_limit_is_rejected_with_the_reason() {
    let shell = Shell::without_database();
    for (line, reason) in [
        (
            &["a", "--rate", "often"][..],
            "write starts and a period, such as `100/1m`",
        ),
        (&["a", "--rate", "0/1m"], "at least 1 start"),
        (
            &["@mail", "--to", "1"],
            "a name with `@` is `@queue/NAME`, `@kind/NAME`, `@tenant/NAME` or `@recurring/NAME`",
        ),
        (&["--queue", "two words", "--to", "1"], "' ' is not allowed"),
        (&["--to", "1"], "required"),
        (
            &["a", "--queue", "mail", "--to", "1"],
            "cannot be used with",
        ),
        (&["a"], "Give `--to 5` for jobs at once"),
        (&["a", "--to", "1", "--burst", "3"], "--rate"),
    ] {
        let said = shell.refused(2, &[&["limits", "set"], line].concat()).await;
        assert!(said.contains(reason), "{line:?}: {said}");
    }
}

#[tokio::test]
async fn a_process_declares_its_limits_unless_an_operator_has_set_others() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.print(&["limits", "set", "import", "--to", "7"]).await;
    let mut settings = Settings::default();
    let at_once = |to| LimitSetting {
        to: Some(to),
        rate: None,
    };
    settings.limits.insert("import".to_owned(), at_once(1));
    settings.limits.insert(
        "@queue/mail".to_owned(),
        LimitSetting {
            rate: Some(parse_rate("100/1m", Some(20)).unwrap()),
            ..at_once(10)
        },
    );

    let process = world.start(Stage::default().app(), settings);
    world.until("processes", 1).await;

    let limits = shell.json(&["limits"]).await;
    let told = |limit: &Value| {
        let fields = ["key", "to", "burst", "set_by"];
        Value::from(fields.map(|field| limit[field].clone()).to_vec())
    };
    let told: Vec<Value> = limits.as_array().unwrap().iter().map(told).collect();
    assert_eq!(
        told,
        [
            json!(["@queue/mail", 10, 20, "configuration"]),
            json!(["import", 7, null, "operator"]),
        ]
    );
    process.stop().await;
}

#[tokio::test]
async fn a_process_that_starts_over_does_not_declare_its_limits_again() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let mut settings = Settings::default();
    settings.process.heartbeat_interval = Duration::from_millis(100);
    let closed = LimitSetting {
        to: Some(0),
        rate: None,
    };
    settings.limits.insert("import".to_owned(), closed);
    let process = world.start(Stage::default().app(), settings);
    world.until("processes", 1).await;
    assert_eq!(world.count("limits where declared").await, 1);

    shell.print(&["limits", "reset", "import"]).await;
    world.sql("delete from queue.processes").await;
    world.until("processes", 1).await;

    assert_eq!(world.count("limits").await, 0);
    process.stop().await;
}

#[tokio::test]
async fn limits_of_the_configuration_are_checked_and_shown() {
    let shell = Shell::without_database();
    shell.write(
        "queue.toml",
        "[limits]\n\"@queue/mail\" = { to = 2, rate = \"10/1s\", burst = 1 }\n",
    );
    let checked = shell.print(&["check"]).await;
    assert!(
        checked.contains("limit        @queue/mail: 2 at once; 10 starts per second, one by one"),
        "{checked}"
    );

    shell.write("queue.toml", "[limits]\n\"@mail\" = { to = 2 }\n");
    let said = shell.refused(2, &["check"]).await;
    assert!(said.contains("queue.toml:2:11: limits.@mail"), "{said}");
}

#[tokio::test]
async fn doctor_finds_limits_of_zero() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let closed = async |shell: &Shell| {
        let output = shell.run(&["doctor"]).await;
        let report = String::from_utf8(output.stdout).unwrap();
        report.matches("is 0, with").count()
    };
    let limited = Options::new().limits(Limits::key("7"));
    let jobs = (0..3).map(|_| NewJob::untyped("import", &json!(null), limited.clone()));
    world.queue.enqueue_all(jobs).await.unwrap();
    assert_eq!(closed(&shell).await, 0);

    for name in ["import", "@queue/default", "@kind/other"] {
        shell.print(&["limits", "set", name, "--to", "0"]).await;
    }

    assert_eq!(closed(&shell).await, 2);
}
