//! Commands over several shards: all as one, each alone, and one that is away.

use serde_json::{Value, json};

use crate::shell::{Shell, get, said, stopped_by};
use queue_core::{Context, Limits};
use queue_tests::stage::{Stage, gated};
use queue_tests::world::{World, eventually, without_passes};
use rustix::process::Signal;
use tokio::task::spawn_blocking;

const AWAY: &str = "postgres://ada@127.0.0.1:1/app";

/// Two shards, and a folder whose `queue.toml` names them.
struct Two {
    eu: World,
    us: World,
    shell: Shell,
}

impl Two {
    async fn new() -> Self {
        let (eu, us) = (World::new().await, World::new().await);
        let shell = shell([("eu", &eu.url()), ("us", &us.url())]);
        Self { eu, us, shell }
    }

    /// Enqueues a job on each shard: first `eu:1`, then `us:1`.
    async fn enqueue(&self) {
        for world in [&self.eu, &self.us] {
            let job = queue_core::NewJob::untyped("say", &json!({}), queue_core::Options::new());
            let enqueued = world.queue.enqueue_all([job]).await.unwrap();
            assert_eq!(enqueued[0].id().0, 1);
        }
    }

    /// The same folder, with a second shard that cannot be reached.
    fn with_us_away(&self) -> Shell {
        shell([("eu", &self.eu.url()), ("us", AWAY)])
    }
}

fn shell(shards: [(&str, &str); 2]) -> Shell {
    let shell = Shell::without_database();
    let shards = shards.map(|(name, url)| format!("[shards.{name}]\nurl = \"{url}\"\n"));
    let handlers = "[handlers.say]\ncommand = [\"true\"]\n";
    shell.write("queue.toml", &format!("{}{handlers}", shards.concat()));
    shell
}

#[tokio::test]
async fn jobs_of_all_shards_are_one_list_with_the_newest_first() {
    let two = Two::new().await;
    two.enqueue().await;

    let jobs = two.shell.json(&["jobs"]).await;
    let ids = |jobs: &Value| {
        let jobs = jobs.as_array().unwrap().iter();
        jobs.map(|job| format!("{}:{}", job["shard"].as_str().unwrap(), job["id"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&jobs), ["us:1", "eu:1"]);
    assert_eq!(ids(&two.shell.json(&["jobs", "-n", "1"]).await), ["us:1"]);
    let only = two.shell.json(&["jobs", "--shards", "eu"]).await;
    assert_eq!(ids(&only), ["eu:1"]);

    let table = two.shell.print(&["jobs"]).await;
    let rows: Vec<&str> = table.lines().map(str::trim).collect();
    assert!(rows[1].starts_with("us:1  say   ready"), "{table}");
    assert!(rows[2].starts_with("eu:1  say   ready"), "{table}");
}

#[tokio::test]
async fn queues_and_statistics_add_up() {
    let two = Two::new().await;
    two.enqueue().await;
    two.shell
        .print(&["queues", "pause", "default", "--shards", "us"])
        .await;

    let queues = two.shell.json(&["queues"]).await;
    assert_eq!(queues[0]["name"], "default");
    assert_eq!(queues[0]["ready"], 2);
    assert_eq!(queues[0]["paused_only_on"], json!(["us"]));
    assert_eq!(queues.as_array().unwrap().len(), 1);
    assert!(two.shell.print(&["queues"]).await.contains("on us: "));
    let stats = two.shell.json(&["stats"]).await;
    assert_eq!(stats["jobs"]["ready"]["count"], 2);
}

#[tokio::test]
async fn jobs_are_addressed_by_their_shard() {
    let two = Two::new().await;
    two.enqueue().await;

    let shown = two.shell.print(&["jobs", "show", "us:1"]).await;
    assert!(shown.starts_with("shard us\njob        1 say"), "{shown}");
    let unclear = two.shell.refused(2, &["jobs", "show", "1"]).await;
    assert!(unclear.contains("name the shard, as in eu:1"), "{unclear}");
    let unknown = two.shell.refused(2, &["jobs", "show", "asia:1"]).await;
    assert!(unknown.contains("are used: eu, us"), "{unknown}");
    let unused = ["jobs", "show", "us:1", "--shards", "eu"];
    let unused = two.shell.refused(2, &unused).await;
    assert!(unused.contains("are used: eu"), "{unused}");
    let gone = two.shell.refused(4, &["jobs", "show", "us:7"]).await;
    assert!(gone.contains("there is no job 7"), "{gone}");

    two.shell.print(&["jobs", "discard", "us:1"]).await;
    assert_eq!(two.us.count("ready").await, 0);
    assert_eq!(two.eu.count("ready").await, 1);
    two.shell
        .print(&["jobs", "discard", "--queue", "default", "--yes"])
        .await;
    assert_eq!(two.eu.count("ready").await, 0);
}

#[tokio::test]
async fn without_shards_an_id_with_a_shard_is_refused() {
    let world = World::new().await;
    let refused = Shell::on(&world)
        .refused(2, &["jobs", "show", "eu:1"])
        .await;
    assert!(refused.contains("has no [shards]"), "{refused}");
}

#[tokio::test]
async fn a_shard_that_is_away_is_named_and_the_rest_is_shown() {
    let two = Two::new().await;
    two.enqueue().await;
    let shell = two.with_us_away();

    for line in [
        &["jobs"][..],
        &["queues"],
        &["stats"],
        &["processes"],
        &["migrate"],
    ] {
        let ran = shell.run(line).await;
        assert_eq!(ran.status.code(), Some(3), "{line:?}");
        let said = said(&ran);
        assert!(
            said.contains("error: shard us: could not connect"),
            "{said}"
        );
        assert!(!said.contains("shard eu: could not"), "{said}");
    }
    let jobs = shell.run(&["jobs", "--json"]).await;
    let jobs: Value = serde_json::from_slice(&jobs.stdout).unwrap();
    assert_eq!(jobs[0]["shard"], "eu");
    // It is not asked about a job that it cannot have.
    shell.print(&["jobs", "show", "eu:1"]).await;
}

#[tokio::test]
async fn a_job_is_enqueued_on_the_shard_of_its_tenant() {
    let two = Two::new().await;
    let shards = [("eu", two.eu.queue.clone()), ("us", two.us.queue.clone())];
    let shards = queue_core::Shards::new(shards).unwrap();
    let mut lines = String::new();
    for number in 0..20 {
        let tenant = format!("tenant-{number}");
        let line = ["enqueue", "say", "--tenant", &tenant];
        let id = two.shell.print(&line).await;
        let context = Context::new().tenant(tenant.clone());
        let options = queue_core::Options::new().context(context);
        let job = queue_core::NewJob::untyped("say", &json!({}), options);
        let (shard, _) = shards.shard_of(&job).await.unwrap();
        assert!(id.starts_with(&format!("{shard}:")), "{tenant}: {id}");
        lines.push_str(&format!(
            "{{\"kind\": \"say\", \"tenant\": \"{tenant}\"}}\n"
        ));
    }
    let counts = || async { [two.eu.count("jobs").await, two.us.count("jobs").await] };
    let one_by_one = counts().await;
    two.shell.write("jobs.jsonl", &lines);
    two.shell.print(&["enqueue", "--file", "jobs.jsonl"]).await;
    assert_eq!(counts().await, one_by_one.map(|count| 2 * count));

    let enqueued = two
        .shell
        .json(&["enqueue", "say", "--tenant", "acme"])
        .await;
    let id = format!("{}:{}", enqueued["shard"].as_str().unwrap(), enqueued["id"]);
    two.shell.print(&["jobs", "show", &id]).await;

    let unique = ["enqueue", "say", "--unique-key", "k"];
    let refused = two.shell.refused(2, &unique).await;
    assert!(refused.contains("no tenant to choose"), "{refused}");
}

#[tokio::test]
async fn what_is_on_no_shard_is_not_found() {
    let two = Two::new().await;
    add_recurring_jobs(&two.shell, &["a", "b", "c", "d"]).await;
    let counts = [
        two.eu.count("recurring_jobs").await,
        two.us.count("recurring_jobs").await,
    ];
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    assert_eq!(counts[0] + counts[1], 4);

    two.shell
        .print(&["recurring", "pause", "a", "b", "c", "d"])
        .await;
    let paused = two
        .shell
        .refused(4, &["recurring", "resume", "a", "zebra", "d"])
        .await;
    assert!(
        paused.contains("there is no recurring job `zebra`"),
        "{paused}"
    );
    let of = "recurring_jobs where paused_at is null";
    assert_eq!(two.eu.count(of).await + two.us.count(of).await, 2);
    two.shell.print(&["recurring", "show", "c"]).await;
    two.shell.refused(4, &["recurring", "show", "zebra"]).await;
    two.shell
        .print(&["recurring", "remove", "a", "b", "c", "d", "--yes"])
        .await;
}

#[tokio::test]
async fn each_shard_has_its_own_result_in_json() {
    let two = Two::new().await;
    let paused = two.shell.json(&["queues", "pause", "mail", "--yes"]).await;
    let changed = json!([{"queue": "mail", "changed": true}]);
    assert_eq!(paused, json!({"eu": changed, "us": changed}));
    let doctor = two.shell.run(&["doctor", "--json"]).await;
    let found: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(found["eu"]["healthy"], false);
    assert_eq!(found["us"]["healthy"], false);
    assert_eq!(doctor.status.code(), Some(1));
}

#[tokio::test]
async fn a_process_of_the_command_line_serves_the_shards_that_are_there() {
    let two = Two::new().await;
    two.enqueue().await;
    let shell = two.with_us_away();
    let mut child = shell.command(&["start"]).spawn().unwrap();

    two.eu.until_all_ended().await;
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    eventually("the process has ended", async || {
        child.try_wait().unwrap().is_some()
    })
    .await;
    assert_eq!(two.us.count("ready").await, 1);
}

/// Writes a file with a third shard, which has no tables yet, and with these states of two of them.
fn write_three(two: &Two, new: &World, eu: &str, asia: &str) {
    let shard = |name: &str, world: &World, schema: &str, state: &str| {
        let url = world.url();
        format!("[shards.{name}]\nurl = \"{url}\"\nschema = \"{schema}\"\nstate = \"{state}\"\n")
    };
    let file = [
        shard("eu", &two.eu, "queue", eu),
        shard("us", &two.us, "queue", "open"),
        shard("asia", new, "asia", asia),
        "[handlers.say]\ncommand = [\"true\"]\n".to_owned(),
    ];
    two.shell.write("queue.toml", &file.concat());
}

/// Returns the command that adds a recurring job.
fn add_recurring(name: &str) -> [&str; 7] {
    [
        "recurring",
        "add",
        name,
        "--schedule",
        "every hour",
        "--kind",
        "say",
    ]
}

async fn add_recurring_jobs(shell: &Shell, names: &[&str]) {
    for name in names {
        shell.print(&add_recurring(name)).await;
    }
}

#[tokio::test]
async fn a_limit_that_is_in_use_on_several_shards_is_named() {
    let two = Two::new().await;
    let stage = Stage::default();
    let [eu, us] = [&two.eu, &two.us].map(|world| world.start(stage.app(), without_passes(10)));
    let calls = || Limits::key("crm").group("api");
    gated(&two.eu, "a", calls()).await;
    gated(&two.us, "b", Limits::key("only us")).await;
    stage.noted("a begins").await;
    stage.noted("b begins").await;
    let listed = said(&two.shell.run(&["shards"]).await);
    assert!(!listed.contains("warning"), "{listed}");

    gated(&two.us, "c", calls()).await;
    stage.noted("c begins").await;
    let listed = said(&two.shell.run(&["shards"]).await);
    let named =
        "warning: the limit of api/crm is in use on eu, us, and holds on each of them alone";
    assert!(listed.contains(named), "{listed}");
    assert!(!listed.contains("only us"), "{listed}");

    let new = World::in_schema("asia").await;
    write_three(&two, &new, "draining", "open");
    let listed = said(&two.shell.run(&["shards"]).await);
    assert!(!listed.contains("warning"), "{listed}");

    for gate in ["a", "b", "c"] {
        stage.open(gate);
    }
    eu.stop().await;
    us.stop().await;
}

#[tokio::test]
async fn a_shard_is_added_with_a_preview() {
    let two = Two::new().await;
    two.enqueue().await;
    add_recurring_jobs(&two.shell, &["a", "b", "c", "d", "e", "f"]).await;
    let new = World::in_schema("other").await;
    write_three(&two, &new, "open", "adding");
    let listed = two.shell.run(&["shards", "--json"]).await;
    assert_eq!(listed.status.code(), Some(1));
    assert!(
        said(&listed).contains("shard asia: the tables"),
        "{}",
        said(&listed)
    );
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed[0]["shard"], "asia");
    assert_eq!(listed[0]["answers"], false);
    assert_eq!(
        (&listed[1]["unfinished"], &listed[1]["state"]),
        (&json!(1), &json!("open"))
    );
    let asked = two.shell.refused(2, &["shards", "add", "asia"]).await;
    assert!(asked.contains("create the tables of asia"), "{asked}");
    assert!(asked.contains("one key in 3"), "{asked}");
    assert!(asked.contains("eu: 1 unfinished"), "{asked}");
    let added = two.shell.json(&["shards", "add", "asia", "--yes"]).await;
    assert!(
        added["migrations_applied"].as_u64().unwrap() > 20,
        "{added}"
    );
    let moving = added["recurring_jobs_that_move"].as_array().unwrap();
    assert!(moving.iter().all(|job| job[1] == "asia"), "{added}");
    assert_eq!(two.shell.run(&["shards"]).await.status.code(), Some(0));

    let one_away = two.with_us_away();
    let preview = said(&one_away.run(&["shards", "add", "eu"]).await);
    assert!(preview.contains("us: not known"), "{preview}");
}

#[tokio::test]
async fn a_shard_is_drained_with_a_preview() {
    let two = Two::new().await;
    two.enqueue().await;
    add_recurring_jobs(&two.shell, &["a", "b", "c", "d", "e", "f"]).await;
    let on_eu = two.eu.count("recurring_jobs").await;
    let new = World::in_schema("asia").await;
    write_three(&two, &new, "draining", "open");
    let checked = two.shell.print(&["check"]).await;
    assert!(checked.contains("asia, eu (draining), us"), "{checked}");
    let drained = two.shell.json(&["shards", "drain", "eu"]).await;
    assert_eq!(
        (&drained["unfinished"], &drained["failed"]),
        (&json!(1), &json!(0))
    );
    // They were added at run time, so they stay until somebody moves them.
    assert_eq!(drained["recurring_jobs_that_move"], json!([]));
    let staying = drained["recurring_jobs_that_stay"].as_array().unwrap();
    assert_eq!(i64::try_from(staying.len()).unwrap(), on_eu, "{drained}");
    let remove = said(&two.shell.run(&["shards", "drain", "eu"]).await);
    assert!(
        remove.contains("next: remove these recurring jobs"),
        "{remove}"
    );

    two.eu
        .sql("update queue.recurring_jobs set source = 'a program'")
        .await;
    let drained = two.shell.json(&["shards", "drain", "eu"]).await;
    assert_eq!(drained["recurring_jobs_that_stay"], json!([]));
    let moving = drained["recurring_jobs_that_move"].as_array().unwrap();
    assert_eq!(i64::try_from(moving.len()).unwrap(), on_eu, "{drained}");
    let wait = two.shell.run(&["shards", "drain", "eu"]).await;
    assert!(
        said(&wait).contains("wait until its processes have run"),
        "{}",
        said(&wait)
    );
    two.shell.print(&["jobs", "discard", "eu:1"]).await;
    let off = two.shell.run(&["shards", "drain", "eu"]).await;
    assert!(
        said(&off).contains("it has no unfinished jobs: stop its processes"),
        "{}",
        said(&off)
    );
    let unknown = two.shell.refused(2, &["shards", "drain", "mars"]).await;
    assert!(unknown.contains("there are asia, eu, us"), "{unknown}");
}

#[tokio::test]
async fn a_recurring_job_that_was_added_stays_where_it_is_when_the_shards_change() {
    let two = Two::new().await;
    let names = ["a", "b", "c", "d", "e", "f"];
    add_recurring_jobs(&two.shell, &names).await;
    let shards = ["asia", "eu", "us"].map(|name| (name, two.eu.queue.clone()));
    let shards = queue_core::Shards::new(shards).unwrap();
    let on_asia = |name: &&&str| shards.shard_of_recurring(name).0 == "asia";
    let name = names.iter().find(on_asia).unwrap();
    let new = World::in_schema("asia").await;
    write_three(&two, &new, "open", "open");

    let add = add_recurring(name);
    let taken = two.shell.refused(1, &add).await;
    assert!(taken.contains("there is a recurring job"), "{taken}");
    let ran = two.shell.print(&["recurring", "run", name]).await;
    assert!(ran.starts_with("eu:") || ran.starts_with("us:"), "{ran}");
    let shown = two.shell.print(&["recurring", "show", name]).await;
    assert!(
        shown.contains(&format!("enqueued as job {}", ran.trim())),
        "{shown}"
    );
    assert_eq!(new.count("recurring_jobs").await, 0);

    two.shell
        .print(&["recurring", "remove", name, "--yes"])
        .await;
    two.shell.print(&add).await;
    assert_eq!(new.count("recurring_jobs").await, 1);
}

#[tokio::test]
async fn a_recurring_job_whose_limit_is_on_another_shard_says_so() {
    let two = Two::new().await;
    let shards = ["eu", "us"].map(|name| (name, two.eu.queue.clone()));
    let shards = queue_core::Shards::new(shards).unwrap();
    let mut warned = 0;
    for tenant in 0..8 {
        let name = format!("r{tenant}");
        let context = Context::new().tenant(tenant.to_string());
        let job = |limits| {
            let options = queue_core::Options::new().context(context.clone());
            queue_core::NewJob::untyped("say", &json!({}), options.limits(limits))
        };
        let recurring = |limits| {
            queue_core::recurring::RecurringJob::of(name.clone(), "every hour", job(limits))
                .unwrap()
        };
        let (of_tenant, _) = shards.shard_of(&job(Limits::none())).await.unwrap();
        let own = shards.shard_of_recurring(&name).0;
        let elsewhere = (of_tenant != own).then_some(of_tenant);
        assert_eq!(
            shards.shard_of_others(&recurring(Limits::key("k"))),
            elsewhere
        );
        assert_eq!(shards.shard_of_others(&recurring(Limits::none())), None);
        warned += usize::from(elsewhere.is_some());
    }
    assert!(warned > 0);
}

#[tokio::test]
async fn a_database_of_the_command_line_is_refused_if_no_shard_would_use_it() {
    let two = Two::new().await;
    let url = two.eu.url();
    let refused = two
        .shell
        .refused(2, &["jobs", "--database-url", &url])
        .await;
    assert!(
        refused.contains("--database-url names no shard"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_statements_of_migrations_are_those_of_the_schemas_of_the_shards() {
    let two = Two::new().await;
    let new = World::in_schema("asia").await;
    write_three(&two, &new, "open", "open");
    let script = two
        .shell
        .print(&["migrate", "sql", "--shards", "asia"])
        .await;
    assert!(
        script.contains("asia.jobs") && !script.contains("queue.jobs"),
        "{script}"
    );
}

#[tokio::test]
async fn the_dashboard_shows_all_shards_and_says_which_is_away() {
    let two = Two::new().await;
    two.enqueue().await;
    let token = "a token of at least thirty-two bytes";
    let shell = two.with_us_away();
    let (child, address) = shell.dashboard(&[("QUEUE_DASHBOARD_TOKEN", token)]);

    let pages = ["/ops/jobs/jobs", "/ops/jobs/shards/eu/jobs"];
    let asking = pages.map(|page| {
        let address = address.clone();
        spawn_blocking(move || get(&address, page, "Bearer", token))
    });
    let [all, eu] = asking;
    let (all, eu) = (all.await.unwrap(), eu.await.unwrap());

    assert!(all.starts_with("HTTP/1.1 200"), "{all}");
    assert!(all.contains("id=\"job-eu:1\""), "{all}");
    assert!(all.contains("<bdi>us</bdi></strong> is away"), "{all}");
    assert!(eu.contains("id=\"job-1\""), "{eu}");
    assert!(stopped_by(child, Signal::TERM).await.status.success());
}

#[tokio::test]
async fn the_dashboard_shows_the_shards_that_are_used_with_their_states() {
    let two = Two::new().await;
    let new = World::in_schema("asia").await;
    write_three(&two, &new, "draining", "open");
    let token = "a token of at least thirty-two bytes";
    let used = ("QUEUE_SHARDS", "eu");
    let (child, address) = two
        .shell
        .dashboard(&[("QUEUE_DASHBOARD_TOKEN", token), used]);

    let page = spawn_blocking(move || get(&address, "/ops/jobs", "Bearer", token));
    let page = page.await.unwrap();

    assert!(page.contains("draining</span>"), "{page}");
    assert!(page.contains("/ops/jobs/shards/eu\""), "{page}");
    for other in ["us", "asia"] {
        assert!(!page.contains(&format!("/shards/{other}")), "{page}");
    }
    assert!(stopped_by(child, Signal::TERM).await.status.success());
}

#[tokio::test]
async fn the_lines_of_a_file_that_are_not_enqueued_are_named() {
    let two = Two::new().await;
    let shards = [("eu", two.eu.queue.clone()), ("us", two.us.queue.clone())];
    let shards = queue_core::Shards::new(shards).unwrap();
    let (mut lines, mut of_us) = (String::new(), Vec::new());
    for number in 1..=8 {
        let tenant = format!("t{number}");
        let options = queue_core::Options::new().context(Context::new().tenant(tenant.clone()));
        let job = queue_core::NewJob::untyped("say", &json!({}), options);
        if shards.shard_of(&job).await.unwrap().0 == "us" {
            of_us.push(number);
        }
        lines.push_str(&format!(
            "{{\"kind\": \"say\", \"tenant\": \"{tenant}\"}}\n"
        ));
    }
    assert_eq!(of_us, [3, 5, 6]);
    let shell = two.with_us_away();
    shell.write("jobs.jsonl", &lines);

    let said = shell.refused(3, &["enqueue", "--file", "jobs.jsonl"]).await;

    let expected = "5 jobs were enqueued, but not those of lines 3, 5-6 of jobs.jsonl, and none from line 9 on";
    assert!(said.contains(expected), "{said}");
    assert_eq!(two.eu.count("jobs").await, 5);
}

#[tokio::test]
async fn a_queue_that_one_shard_knows_is_paused_on_all() {
    let two = Two::new().await;
    let job =
        queue_core::NewJob::untyped("say", &json!({}), queue_core::Options::new().queue("mail"));
    two.us.queue.enqueue_all([job]).await.unwrap();

    two.shell.print(&["queues", "pause", "mail"]).await;
    let asked = two.shell.refused(2, &["queues", "pause", "mial"]).await;
    assert!(asked.contains("did you mean `mail`?"), "{asked}");

    let paused = "queues where paused_at is not null";
    assert_eq!(
        [two.eu.count(paused).await, two.us.count(paused).await],
        [1, 1]
    );
}

#[tokio::test]
async fn what_may_be_on_a_shard_that_is_away_is_not_said_to_be_missing() {
    let two = Two::new().await;
    let shell = two.with_us_away();
    let ran = shell.run(&["processes", "stop", "p9"]).await;
    assert_eq!(ran.status.code(), Some(3));
    assert!(
        said(&ran).contains("it may be on a shard that is away"),
        "{}",
        said(&ran)
    );
    let some = shell
        .refused(2, &["enqueue", "say", "--shards", "eu"])
        .await;
    assert!(some.contains("leave out --shards"), "{some}");
    let file = format!(
        "[database]\nshards = \"us\"\n[shards.eu]\nurl = \"{}\"\n[shards.us]\nurl = \"{AWAY}\"\n",
        two.eu.url()
    );
    shell.write("queue.toml", &file);
    // What a process on this machine serves does not decide where jobs are enqueued.
    let spread = ["enqueue", "say", "--force"];
    let (one, other) = (shell.run(&spread).await, shell.run(&spread).await);
    assert!(
        one.status.success() || other.status.success(),
        "{}",
        said(&other)
    );
}

#[tokio::test]
async fn enqueueing_on_a_shard_that_is_away_says_why_it_is() {
    let two = Two::new().await;
    let tenants = (0..).map(|number| format!("tenant {number}"));
    for tenant in tenants {
        let enqueue = ["enqueue", "say", "--tenant", &tenant];
        if two.shell.print(&enqueue).await.starts_with("us:") {
            let error = two.with_us_away().refused(3, &enqueue).await;
            let expected = "could not enqueue on `us`; enqueued on no shard: could not connect to";
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("refused"), "{error}");
            return;
        }
    }
}

#[tokio::test]
async fn a_recurring_job_is_run_on_its_shard_alone() {
    let two = Two::new().await;
    add_recurring_jobs(&two.shell, &["a", "b", "c", "d", "e", "f"]).await;
    let names: Vec<(String,)> = two.eu.rows("select name from queue.recurring_jobs").await;
    let (name,) = &names[0];
    let id = two.with_us_away().print(&["recurring", "run", name]).await;
    assert_eq!(id.trim(), "eu:1");
}

#[tokio::test]
async fn a_process_that_would_serve_too_many_shards_is_refused_by_check() {
    let shell = Shell::without_database();
    let shard = |number| format!("[shards.s{number}]\nurl = \"{AWAY}\"\nschema = \"s{number}\"\n");
    shell.write("queue.toml", &(1..=17).map(shard).collect::<String>());

    let refused = shell.refused(2, &["check"]).await;
    assert!(
        refused.contains("serves 17 shards: name at most 16"),
        "{refused}"
    );
    shell.print(&["check", "--shards", "s1,s17"]).await;
}

#[tokio::test]
async fn two_names_of_one_place_are_refused() {
    let world = World::new().await;
    let other_words = format!(
        "{}{}application_name=x",
        world.url(),
        if world.url().contains('?') { '&' } else { '?' }
    );
    let shell = shell([("eu", &world.url()), ("us", &other_words)]);

    let refused = shell.refused(2, &["migrate"]).await;

    assert!(
        refused.contains("the shards eu and us have the same tables"),
        "{refused}"
    );
    for counting in ["queues", "stats", "shards", "start", "dashboard"] {
        let refused = shell.refused(2, &[counting]).await;
        assert!(refused.contains("have the same tables"), "{refused}");
    }
}
