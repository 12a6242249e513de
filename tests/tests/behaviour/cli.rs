//! The command line.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::shell::{Shell, said, stopped_by};
use queue_core::{NewJob, Options};
use queue_tests::stage::Stage;
use queue_tests::world::{World, eventually, worker};
use rustix::process::Signal;
use serde_json::{Value, json};

#[tokio::test]
async fn without_a_database_the_error_says_what_to_do() {
    let shell = Shell::without_database();
    let said = shell.refused(2, &["jobs"]).await;
    assert_eq!(
        said,
        "error: no database given: set DATABASE_URL, or `test-queue dev` starts one\n"
    );
}

#[tokio::test]
async fn an_unreachable_database_has_its_own_exit_code() {
    let mut shell = Shell::without_database();
    shell.url = Some("postgres://ada:secret@127.0.0.1:1/app".to_owned());
    for line in [["queues"], ["doctor"], ["stats"]] {
        let said = shell.refused(3, &line).await;
        assert!(
            said.contains("`app` at 127.0.0.1, port 1, as `ada`"),
            "{said}"
        );
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn a_database_url_that_is_not_valid_is_refused_without_showing_a_part_of_it() {
    let mut shell = Shell::without_database();
    for password in ["s#cret", "s/cret", "s@cret", "s?cret", "s%ffcret"] {
        shell.url = Some(format!("postgres://ada:{password}@db/app"));
        let said = shell.refused(2, &["queues"]).await;
        let advice = "; characters such as @ : / ? # % in the password must be percent-encoded, as %40 for @\n";
        assert!(said.contains("the database URL is not valid: "), "{said}");
        assert!(said.ends_with(advice), "{said}");
        assert!(!said.contains("cret") && !said.contains("ada"), "{said}");
    }
}

#[tokio::test]
async fn migrate_creates_the_tables_and_other_commands_report_missing_ones() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let elsewhere = |line: &[&'static str]| [line, &["--schema", "elsewhere"]].concat();

    let said = shell.refused(1, &elsewhere(&["jobs"])).await;
    assert!(said.contains("run `test-queue migrate`"), "{said}");
    shell.refused(1, &elsewhere(&["migrate", "status"])).await;
    shell.print(&elsewhere(&["migrate"])).await;
    let status = shell.json(&elsewhere(&["migrate", "status"])).await;
    assert!(
        status
            .as_array()
            .unwrap()
            .iter()
            .all(|each| each["applied_at"].is_string())
    );
    assert_eq!(shell.json(&elsewhere(&["jobs"])).await, json!([]));
}

#[tokio::test]
async fn migrate_sql_is_a_script_that_needs_no_database() {
    let shell = Shell::without_database();
    let script = shell
        .print(&["migrate", "sql", "--schema", "elsewhere"])
        .await;
    assert!(script.contains("create table elsewhere.jobs"), "{script}");
}

#[tokio::test]
async fn a_job_is_enqueued_with_its_options_and_its_id_is_printed() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let line = [
        "enqueue",
        "greet",
        "--force",
        "--args",
        "{\"name\": \"Ada\"}",
        "--queue",
        "mail",
        "--priority",
        "-5",
        "--attempts",
        "3",
        "--delay",
        "1h",
        "--tag",
        "a",
        "--tag",
        "b",
    ];

    let id = shell.print(&line).await;

    let job = shell.json(&["jobs", "show", id.trim(), "--args"]).await;
    let expected = json!({
        "kind": "greet", "args": {"name": "Ada"}, "queue": "mail", "priority": -5,
        "attempts_max": 3, "state": "scheduled", "tags": ["a", "b"],
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&job[field], value, "{field}");
    }
}

#[tokio::test]
async fn a_job_is_enqueued_with_the_options_of_its_kind_unless_others_are_given() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write("jobs.jsonl", "{\"kind\": \"send\", \"attempts\": 2}\n");

    shell.print(&["enqueue", "send"]).await;
    shell.print(&["enqueue", "send", "--queue", "slow"]).await;
    shell
        .print(&["enqueue", "--file", "jobs.jsonl", "--force"])
        .await;

    assert_eq!(
        world
            .count("jobs where queue = 'mail' and attempts_max = 8")
            .await,
        1
    );
    assert_eq!(
        world
            .count("jobs where queue = 'slow' and attempts_max = 8")
            .await,
        1
    );
    assert_eq!(
        world
            .count("jobs where queue = 'mail' and attempts_max = 2")
            .await,
        1
    );
}

#[tokio::test]
async fn a_job_is_enqueued_with_the_options_of_its_handler() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write(
        "queue.toml",
        "[handlers.thumbnail]\ncommand = [\"true\"]\nqueue = \"images\"\nattempts = 2\n",
    );

    shell.print(&["enqueue", "thumbnail"]).await;

    let as_configured = "jobs where queue = 'images' and attempts_max = 2";
    assert_eq!(world.count(as_configured).await, 1);
}

#[tokio::test]
async fn with_a_taken_unique_key_the_earlier_job_is_kept() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let line = ["enqueue", "reindex", "--unique-key", "reindex/7", "--force"];

    let first = shell.json(&line).await;
    let second = shell.json(&line).await;

    assert_eq!(
        (&first["result"], &second["result"]),
        (&json!("new"), &json!("kept"))
    );
    assert_eq!(first["id"], second["id"]);
    let said = shell.refused(0, &line).await;
    let holder = format!("not enqueued: job {} holds the unique key", first["id"]);
    assert!(said.contains(&holder), "{said}");
}

#[tokio::test]
async fn arguments_are_shown_only_with_a_flag() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let id = shell
        .print(&[
            "enqueue",
            "greet",
            "--args",
            "{\"name\": \"Ada\"}",
            "--force",
        ])
        .await;
    let id = id.trim();

    for line in [
        vec!["jobs"],
        vec!["jobs", "--json"],
        vec!["jobs", "show", id],
        vec!["jobs", "show", id, "--json"],
    ] {
        let text = shell.print(&line).await;
        assert!(!text.contains("Ada"), "{line:?}: {text}");
    }
    assert!(
        shell
            .print(&["jobs", "show", id, "--args"])
            .await
            .contains("Ada")
    );
}

#[tokio::test]
async fn the_lines_before_a_bad_one_are_enqueued() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write(
        "jobs.jsonl",
        "{\"kind\": \"a\"}\n\n{\"kind\": \"b\", \"delay\": \"1h\", \"tags\": [\"x\"]}\n\
         {\"kind\": \"two words\"}\n{\"kind\": \"c\"}\n",
    );

    let said = shell
        .refused(2, &["enqueue", "--file", "jobs.jsonl", "--force"])
        .await;

    assert!(
        said.contains("line 4 of jobs.jsonl: the kind \"two words\""),
        "{said}"
    );
    assert!(said.contains("2 jobs were enqueued"), "{said}");
    assert_eq!(world.count("ready where kind = 'a'").await, 1);
    assert_eq!(world.count("scheduled where kind = 'b'").await, 1);
    assert_eq!(world.count("jobs").await, 2);
}

#[tokio::test]
async fn a_long_file_is_read_from_the_standard_input_in_order() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let mut child = shell
        .command(&["enqueue", "--file", "-", "--json", "--force"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = tokio::task::spawn_blocking(move || {
        for number in 0..12_000 {
            writeln!(input, "{{\"kind\": \"import\", \"args\": {number}}}").unwrap();
        }
        drop(input);
        child.wait_with_output().unwrap()
    });

    let output = output.await.unwrap();

    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(output.stdout, b"{\"enqueued\":12000}\n");
    let in_order: bool = sqlx::query_scalar(
        "select array_agg(args::text::integer order by id) = array(select generate_series(0, 11999))
         from queue.jobs",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert!(in_order);
}

#[tokio::test]
async fn an_age_that_no_job_can_have_is_refused() {
    let world = World::new().await;
    let shell = Shell::on(&world);

    for age in ["7000years", "300000years", "101years"] {
        let said = shell
            .refused(2, &["jobs", "list", "--older-than", age])
            .await;
        assert!(said.contains("--older-than"), "{said}");
    }
    shell
        .print(&["jobs", "list", "--older-than", "99years"])
        .await;
}

#[tokio::test]
async fn enqueued_arguments_keep_their_digits() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let args = r#"{"n": 99999999999999999999, "x": 99999999999999999.99}"#;

    shell
        .print(&["enqueue", "k", "--args", args, "--force"])
        .await;
    let line = format!(r#"{{"kind": "k", "args": {args}}}"#);
    shell.write("jobs.jsonl", &line);
    shell
        .print(&["enqueue", "--file", "jobs.jsonl", "--force"])
        .await;

    let stored: Vec<(String,)> = world.rows("select args::text from queue.jobs").await;
    assert_eq!(stored, [(args.to_owned(),), (args.to_owned(),)]);
}

#[tokio::test]
async fn shown_arguments_keep_their_digits() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let wide = format!("1{}", "0".repeat(400));
    let args = format!("{{\"n\": [99999999999999999999, {wide}]}}");
    let id = shell
        .print(&["enqueue", "k", "--args", &args, "--force"])
        .await;
    let add = [
        "recurring",
        "add",
        "a",
        "--schedule",
        "@yearly",
        "--kind",
        "k",
    ];
    shell.print(&[&add[..], &["--args", &args]].concat()).await;

    for line in [
        ["jobs", "show", id.trim(), "--args"],
        ["recurring", "show", "a", "--args"],
    ] {
        let text = shell.print(&line).await;
        let json = shell.print(&[&line[..], &["--json"]].concat()).await;
        for shown in [text, json] {
            assert!(shown.contains("99999999999999999999"), "{shown}");
            assert!(shown.contains(&wide), "{shown}");
        }
    }
}

#[tokio::test]
async fn without_a_terminal_many_jobs_are_changed_only_with_yes() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let jobs = (0..2_500).map(|_| NewJob::untyped("old", &json!(null), Options::new()));
    world.queue.enqueue_all(jobs).await.unwrap();
    let discard = ["jobs", "discard", "--kind", "old"];

    let said = shell.refused(2, &discard).await;
    assert!(said.contains("discard 2,500 jobs"), "{said}");
    assert!(said.contains("add --yes"), "{said}");
    assert_eq!(world.count("ready").await, 2_500);

    let report = shell.json(&[&discard[..], &["--yes"]].concat()).await;
    assert_eq!(
        report,
        json!({"changed": 2500, "asked_to_stop": 0, "unchanged": []})
    );
    assert_eq!(
        world.count("finished where outcome = 'discarded'").await,
        2_500
    );
}

#[tokio::test]
async fn jobs_that_cannot_be_changed_are_listed_with_the_reason() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let ready = shell.print(&["enqueue", "a", "--force"]).await;
    let later = shell
        .print(&["enqueue", "a", "--delay", "1h", "--force"])
        .await;

    let said = shell
        .refused(1, &["jobs", "retry", ready.trim(), later.trim()])
        .await;
    assert!(said.contains("it is ready already"), "{said}");
    assert!(said.contains("scheduled for its first attempt"), "{said}");

    let said = shell
        .refused(4, &["jobs", "cancel", ready.trim(), "9999"])
        .await;
    assert!(said.contains("cancelled 1 job"), "{said}");
    assert!(said.contains("no such job"), "{said}");
    shell.refused(4, &["jobs", "show", "9999"]).await;

    let said = shell
        .refused(2, &["jobs", "discard", "--state", "running"])
        .await;
    assert!(said.contains("use `test-queue jobs cancel`"), "{said}");
    let said = shell.refused(2, &["jobs", "retry"]).await;
    assert!(said.contains("which jobs?"), "{said}");
}

#[tokio::test]
async fn tenants_are_paused_resumed_and_weighted_and_that_is_recorded() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let pausing = ["tenants", "pause", "acme & co", "--why", "floods the disk"];
    shell.print(&pausing).await;
    shell.print(&["tenants", "weight", "acme & co", "3"]).await;
    let tenants = shell.json(&["tenants"]).await;
    assert_eq!(tenants[0]["name"], json!("acme & co"));
    assert_eq!(tenants[0]["weight"], json!(3));
    assert_eq!(tenants[0]["paused_why"], json!("floods the disk"));
    let again = shell.json(&pausing).await;
    assert_eq!(again["changed"], json!(false));
    let resumed = shell.json(&["tenants", "resume", "acme & co"]).await;
    assert_eq!(resumed["changed"], json!(true));
    shell.refused(2, &["tenants", "weight", "acme", "0"]).await;
    shell.refused(2, &["tenants", "pause", ""]).await;

    let acts: Vec<(String, String)> = world
        .rows("select what, target from queue.audit order by id")
        .await;
    let acts: Vec<&str> = acts.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(acts, ["pause", "weight 3", "resume"]);
}

#[tokio::test]
async fn queues_are_paused_resumed_and_cleared() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let enqueued = ["enqueue", "a", "--queue", "mail", "--force"];
    let id = shell.print(&enqueued).await;

    let pausing = ["queues", "pause", "mail", "--why", "the relay is down"];
    let mut pausing = shell.command(&pausing);
    let user = rustix::process::getuid().as_raw();
    assert!(
        pausing
            .env_remove("USER")
            .env_remove("LOGNAME")
            .status()
            .unwrap()
            .success()
    );
    let by: String = world.value("select paused_by from queue.queues").await;
    assert!(by.starts_with(&format!("uid {user}@")), "{by}");
    let listed = shell.print(&["queues"]).await;
    let pause = format!("ago, by {by}: the relay is down");
    assert!(listed.contains(&pause), "{listed}");
    let job = shell.print(&["jobs", "show", id.trim()]).await;
    assert!(
        job.contains("its queue was paused") && job.contains(&pause),
        "{job}"
    );
    let findings = shell.run(&["doctor"]).await;
    let found = String::from_utf8_lossy(&findings.stdout);
    assert!(
        found.contains(&format!("1 job ready, by {by}: the relay is down")),
        "{found}"
    );
    let queues = shell.json(&["queues"]).await;
    assert!(queues[0]["paused_at"].is_string(), "{queues}");
    assert_eq!(queues[0]["ready"], json!(1));
    let resumed = shell.json(&["queues", "resume", "mail"]).await;
    assert_eq!(resumed, json!([{"queue": "mail", "changed": true}]));
    shell.refused(2, &["queues", "clear", "mail"]).await;
    let cleared = shell.json(&["queues", "clear", "mail", "--yes"]).await;
    assert_eq!(cleared, json!({"queue": "mail", "discarded": 1}));
    shell.refused(2, &["queues", "pause", "mail*"]).await;
}

#[tokio::test]
async fn a_queue_whose_jobs_have_ended_or_that_a_process_names_is_paused_without_a_confirmation() {
    let (world, stage) = (World::new().await, Stage::default());
    let shell = Shell::on(&world);
    world
        .sql(
            "insert into queue.counts (span, at, queue, kind, done, discarded, cancelled, failed, retried, waited_ms,
                ran_ms)
             select 1440, now() - interval '90 days', queue, 'k', 1, 0, 0, 0, 0, 0, 0
             from unnest(array['*', '', 'mail', 'night']) as queue",
        )
        .await;
    let process = world.start(stage.app(), worker("urgent, reports*, *", 1));
    world.until("processes", 1).await;

    shell
        .print(&["queues", "pause", "mail", "night", "urgent"])
        .await;
    for unknown in ["reports", "nigth"] {
        shell.refused(2, &["queues", "pause", unknown]).await;
    }

    assert_eq!(world.count("queues where paused_at is not null").await, 3);
    process.stop().await;
}

#[tokio::test]
async fn an_unused_queue_is_paused_only_after_a_confirmation() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell
        .print(&["enqueue", "a", "--queue", "mail", "--force"])
        .await;

    let said = shell.refused(2, &["queues", "pause", "mail", "mial"]).await;
    let question = "pause queue `mial`, which no job has been seen in (did you mean `mail`?)";
    assert!(said.contains(question), "{said}");
    assert!(said.contains("add --yes"), "{said}");
    assert_eq!(world.count("queues where paused_at is not null").await, 0);
    shell.print(&["queues", "pause", "mial", "--yes"]).await;
    shell.print(&["queues", "pause", "mail", "mial"]).await;
    assert_eq!(world.count("queues where paused_at is not null").await, 2);
}

#[tokio::test]
async fn dev_uses_a_database_of_the_environment_only_after_a_confirmation() {
    let world = World::in_schema("elsewhere").await;
    let shell = Shell::on(&world);

    let refusal = shell.refused(2, &["dev"]).await;
    assert!(refusal.contains("and run jobs there"), "{refusal}");
    assert!(refusal.contains("--database-url"), "{refusal}");
    let has_tables = "select to_regclass('queue.jobs') is not null";
    assert!(!world.value::<bool>(has_tables).await);

    let url = world.url();
    let line = ["dev", "--database-url", &url];
    let child = shell.command(&line).spawn().unwrap();
    eventually("the tables are there", async || {
        world.value(has_tables).await
    })
    .await;
    let output = stopped_by(child, Signal::TERM).await;
    assert!(said(&output).contains("using the database"));
}

/// A recurring job that is not due while the test runs.
const NIGHTLY: [&str; 7] = [
    "recurring",
    "add",
    "nightly",
    "--schedule",
    "every day at 9am in Asia/Tokyo",
    "--kind",
    "send",
];

#[tokio::test]
async fn a_recurring_job_is_added_with_the_options_of_its_kind_and_its_next_times_are_shown() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let more = [
        "--args",
        "{\"to\": 7}",
        "--tag",
        "a",
        "--overlap",
        "skip",
        "--jitter",
        "30s",
    ];

    let added = shell.json(&[&NIGHTLY[..], &more].concat()).await;

    assert_eq!(added["result"], json!("added"));
    assert_eq!(added["words"], json!("every day at 09:00 (Asia/Tokyo)"));
    assert_eq!(added["upcoming"].as_array().unwrap().len(), 5);
    let shown = shell
        .json(&["recurring", "show", "nightly", "--args"])
        .await;
    let expected = json!({
        "name": "nightly", "schedule": "every day at 9am in Asia/Tokyo", "zone": "Asia/Tokyo",
        "kind": "send", "queue": "mail", "attempts_max": 8, "priority": 0, "tags": ["a"],
        "args": {"to": 7}, "missed": "once", "overlap": "skip", "jitter_seconds": 30.0,
        "source": null, "paused_at": null, "firings": [],
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field}");
    }
    assert_eq!(shown["upcoming"], added["upcoming"]);
    assert_eq!(shown["next_at"], added["upcoming"][0]);
}

#[tokio::test]
async fn the_arguments_of_a_recurring_job_are_shown_only_with_a_flag() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell
        .print(&[&NIGHTLY[..], &["--args", "{\"secret\": 1}"]].concat())
        .await;

    for line in [&["recurring", "show", "nightly"][..], &["recurring"]] {
        assert!(!shell.print(line).await.contains("secret"));
        assert!(!shell.json(line).await.to_string().contains("secret"));
    }
    let shown = shell
        .print(&["recurring", "show", "nightly", "--args"])
        .await;
    assert!(shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn an_invalid_recurring_job_is_rejected_with_the_reason() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let add = |name, times, more: [&'static str; 2]| {
        [
            &[
                "recurring",
                "add",
                name,
                "--kind",
                "send",
                "--schedule",
                times,
            ][..],
            &more,
        ]
        .concat()
    };
    for (line, reason) in [
        (add("a", "every blue moon", ["--tag", "x"]), "`blue"),
        (add("a", "0 0 31 2 *", ["--tag", "x"]), "never fire"),
        (add("a", "@daily", ["--zone", "Berlin"]), "Europe/Berlin"),
        (add("a b", "@daily", ["--tag", "x"]), "' ' is not allowed"),
        (add("a", "@daily", ["--queue", "a b"]), "' ' is not allowed"),
        (add("a", "@daily", ["--args", "{"]), "it is not JSON"),
        (
            add("a", "@daily", ["--missed", "never"]),
            "[possible values: skip, once, all]",
        ),
        (add("a", "@daily", ["--missed-max", "0"]), "1 to 1000"),
        (add("a", "@daily", ["--jitter", "2days"]), "at most 86400 s"),
    ] {
        let said = shell.refused(2, &line).await;
        assert!(said.contains(reason), "{line:?}: {said}");
    }
    assert_eq!(world.count("recurring_jobs").await, 0);
}

#[tokio::test]
async fn a_recurring_job_is_replaced_only_with_a_flag() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.print(&NIGHTLY).await;

    let said = shell.refused(1, &NIGHTLY).await;
    assert!(
        said.contains("there is a recurring job `nightly` already"),
        "{said}"
    );
    let replacing = [&NIGHTLY[..], &["--replace", "--queue", "slow"]].concat();
    let replaced = shell.json(&replacing).await;

    assert_eq!(replaced["result"], json!("replaced"));
    assert_eq!(world.count("recurring_jobs where queue = 'slow'").await, 1);
}

#[tokio::test]
async fn recurring_jobs_are_paused_resumed_run_and_removed() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let said = shell.print(&["recurring"]).await;
    assert_eq!(said, "");
    shell.print(&NIGHTLY).await;

    let paused = shell.json(&["recurring", "pause", "nightly"]).await;
    assert_eq!(
        paused,
        json!([{"recurring_job": "nightly", "changed": true}])
    );
    let again = shell.json(&["recurring", "pause", "nightly"]).await;
    assert_eq!(again[0]["changed"], json!(false));
    assert!(shell.json(&["recurring"]).await[0]["paused_at"].is_string());
    let id = shell.print(&["recurring", "run", "nightly"]).await;
    let job = shell.json(&["jobs", "show", id.trim()]).await;
    assert_eq!(
        (&job["kind"], &job["state"]),
        (&json!("send"), &json!("ready"))
    );
    let shown = shell.json(&["recurring", "show", "nightly"]).await;
    assert_eq!(shown["firings"][0]["job_id"], job["id"]);
    assert_eq!(shown["firings"][0]["due_at"], json!(null));
    let text = shell.print(&["recurring", "show", "nightly"]).await;
    assert!(text.contains("by hand"), "{text}");
    shell.print(&["recurring", "resume", "nightly"]).await;
    assert_eq!(
        shell.json(&["recurring"]).await[0]["paused_at"],
        json!(null)
    );

    shell.refused(2, &["recurring", "remove", "nightly"]).await;
    assert_eq!(world.count("recurring_jobs").await, 1);
    shell
        .print(&["recurring", "remove", "nightly", "--yes"])
        .await;
    assert_eq!(world.count("recurring_jobs").await, 0);
    for verb in ["show", "pause", "resume", "run"] {
        let said = shell.refused(4, &["recurring", verb, "nightly"]).await;
        assert!(
            said.contains("there is no recurring job `nightly`"),
            "{said}"
        );
    }
    shell
        .refused(4, &["recurring", "remove", "nightly", "--yes"])
        .await;
}

#[tokio::test]
async fn a_recurring_job_of_a_kind_that_no_handler_knows_is_reported_by_check_and_start() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write(
        "queue.toml",
        "[recurring.daily]\nschedule = \"@daily\"\nkind = \"unknown\"\n",
    );

    let checked = shell.json(&["check"]).await;
    let child = shell.command(&["start"]).spawn().unwrap();
    world.until("processes", 1).await;
    let output = stopped_by(child, Signal::TERM).await;

    let warning = "the recurring job `daily` enqueues jobs of kind `unknown`";
    assert!(
        checked["warnings"][0]
            .as_str()
            .unwrap()
            .starts_with(warning)
    );
    let log = said(&output);
    assert!(log.contains(warning), "{log}");
    assert!(log.contains("read the configuration"), "{log}");
}

#[tokio::test]
async fn a_recurring_job_that_is_no_longer_declared_is_named_at_the_start() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let mut log = String::new();
    for (count, name) in [(1, "old"), (2, "new")] {
        let recurring = format!("[recurring.{name}]\nschedule = \"@yearly\"\nkind = \"send\"\n");
        shell.write("queue.toml", &recurring);
        let child = shell.command(&["start"]).spawn().unwrap();
        world.until("recurring_jobs", count).await;
        log = said(&stopped_by(child, Signal::TERM).await);
    }

    let line = log.lines().find(|line| line.contains("no longer declares"));
    assert!(line.unwrap().contains("leftovers=[\"old\"]"), "{log}");
}

#[tokio::test]
async fn a_recurring_job_of_the_configuration_runs_its_command() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write(
        "queue.toml",
        "[scheduler]\nsource = \"shop\"\n\n\
         [recurring.beat]\nschedule = \"every second\"\ncommand = [\"true\"]\n\n\
         [handlers.greet]\ncommand = [\"cat\"]\nqueue = \"greetings\"\n\n\
         [recurring.daily]\nschedule = \"@daily\"\nkind = \"greet\"\n",
    );
    let checked = shell.json(&["check"]).await;
    assert_eq!(checked["recurring_jobs"], json!(["beat", "daily"]));
    assert_eq!(
        checked["kinds"],
        json!([
            "beat",
            "greet",
            "index_page",
            "print",
            "relay",
            "send",
            "send_welcome"
        ])
    );
    let child = shell.command(&["start"]).spawn().unwrap();

    world.until("recurring_jobs where source = 'shop'", 2).await;
    let done = "finished join queue.jobs on id = job_id where kind = 'beat' and outcome = 'done'";
    eventually("the command has run", async || world.count(done).await > 0).await;

    assert_eq!(
        world
            .count("recurring_jobs where kind = 'greet' and queue = 'greetings'")
            .await,
        1
    );
    shell.print(&["recurring", "pause", "daily"]).await;
    let listed = shell.print(&["recurring", "list"]).await;
    assert!(listed.contains("enqueued"), "{listed}");
    let removed = shell.run(&["recurring", "remove", "daily", "--yes"]).await;
    let said = said(&removed);
    assert!(removed.status.success(), "{said}");
    assert!(said.contains("declared by `shop`: it comes back"), "{said}");
    assert_eq!(world.count("recurring_jobs where name = 'daily'").await, 0);
    assert!(stopped_by(child, Signal::TERM).await.status.success());
}

#[tokio::test]
async fn doctor_exits_with_one_if_there_are_findings() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let output = shell.run(&["doctor", "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["healthy"], json!(false));
    let checks: Vec<&Value> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| &each["check"])
        .collect();
    assert!(checks.contains(&&json!("no_live_process")), "{report}");
}

#[tokio::test]
async fn a_closed_pipe_ends_a_list_without_an_error() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let jobs = (0..5_000).map(|_| NewJob::untyped("a", &json!(null), Options::new()));
    world.queue.enqueue_all(jobs).await.unwrap();
    let mut child = shell.command(&["jobs", "-n", "5000"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());

    let output = tokio::task::spawn_blocking(move || {
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        drop(lines);
        child.wait_with_output().unwrap()
    });

    let output = output.await.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("panicked"), "{}", said(&output));
}

#[tokio::test]
async fn a_configuration_is_checked_without_a_database() {
    let shell = Shell::without_database();
    shell.write(
        "queue.toml",
        "[[workers]]\nqueues = [\"mail\", \"*\"]\nconcurrency = 4\n\n\
         [handlers.greet]\ncommand = [\"cat\"]\n",
    );
    let checked = shell.json(&["check"]).await;
    assert_eq!(
        checked["workers"],
        json!([{"queues": ["mail", "*"], "concurrency": 4}])
    );
    assert_eq!(
        checked["kinds"],
        json!([
            "greet",
            "index_page",
            "print",
            "relay",
            "send",
            "send_welcome"
        ])
    );

    let said = shell
        .refused(2, &["check", "--concurrency", "0", "--queues", "*,mail"])
        .await;
    assert!(
        said.contains("--concurrency") && said.contains("--queues"),
        "{said}"
    );
}

#[tokio::test]
async fn start_runs_the_handlers_of_the_configuration_until_it_is_asked_to_stop() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write(
        "queue.toml",
        "[handlers.greet]\ncommand = [\"true\"]\n\n[handlers.flaky]\ncommand = [\"false\"]\n",
    );
    shell.print(&["enqueue", "greet"]).await;
    shell.print(&["enqueue", "flaky", "--attempts", "1"]).await;
    let child = shell
        .command(&["start", "--name", "under-test"])
        .spawn()
        .unwrap();

    world.until("finished where outcome = 'done'", 1).await;
    world.until("failed", 1).await;
    let processes = shell.json(&["processes"]).await;
    assert_eq!(processes[0]["name"], json!("under-test"));
    shell
        .print(&["jobs", "retry", "--state", "failed", "--yes"])
        .await;
    world.until("attempts", 2).await;
    let output = stopped_by(child, Signal::TERM).await;

    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(world.count("processes").await, 0);
}

#[tokio::test]
async fn an_interrupt_from_the_terminal_stops_a_process_gracefully() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let child = shell.command(&["start"]).spawn().unwrap();
    world.until("processes", 1).await;

    let output = stopped_by(child, Signal::INT).await;

    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(world.count("processes").await, 0);
}

#[tokio::test]
async fn a_process_goes_on_when_its_log_cannot_be_written() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write("queue.toml", "[handlers.greet]\ncommand = [\"true\"]\n");
    let mut child = shell.command(&["start"]).spawn().unwrap();
    world.until("processes", 1).await;

    drop(child.stderr.take());
    drop(child.stdout.take());
    shell.print(&["enqueue", "greet"]).await;
    world.until("finished where outcome = 'done'", 1).await;

    assert!(stopped_by(child, Signal::TERM).await.status.success());
    assert_eq!(world.count("attempts").await, 0);
}

#[tokio::test]
async fn completions_include_every_command() {
    let shell = Shell::without_database();
    let script = shell.print(&["completions", "bash"]).await;
    for command in ["start", "enqueue", "doctor", "retry", "recurring"] {
        assert!(script.contains(command), "{command}");
    }
}
