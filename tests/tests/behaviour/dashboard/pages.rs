//! Every page with real data.

use queue_core::depths::sample;
use queue_core::recurring::{RecurringJob, add};
use queue_core::schedule::Tz;
use queue_core::{Context, JobId, NewJob, Options};
use queue_tests::world::{World, eventually, worker};
use queue_worker::dashboard::{Dashboard, Role, Viewer};
use queue_worker::{App, Cx, Job, Limits, Perform};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Site, enqueue, fail};

/// A job that waits until it is cancelled, and of which one of an account runs at once.
#[derive(Serialize, Deserialize)]
struct Import {
    account: i64,
}

impl Job for Import {
    const KIND: &'static str = "import";

    fn limits(&self) -> Limits {
        Limits::key(format!("account/{}", self.account)).to(1)
    }
}

impl Perform<()> for Import {
    type Error = std::io::Error;

    async fn perform(self, cx: Cx<()>) -> Result<(), std::io::Error> {
        cx.cancelled().await;
        Ok(())
    }
}

fn assert_contains(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "no {text:?} in {page}");
    }
}

#[tokio::test]
async fn an_empty_queue_has_pages_that_say_what_to_do() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    for (path, text) in [
        ("", "No job has been enqueued yet."),
        ("/jobs", "No job is ready."),
        ("/jobs?state=failed", "No job is failed."),
        ("/failures", "No job is failed."),
        ("/queues", "No queue has been seen yet."),
        ("/limits", "No job waits for a key."),
        ("/recurring", "No job recurs."),
        ("/batches", "No batch is under way."),
        ("/processes", "No process is alive."),
        ("/help", "Who you are"),
    ] {
        assert_contains(&site.page(path).await, &[text]);
    }
}

#[tokio::test]
async fn running_and_blocked_jobs_are_explained() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    let running = world.start(App::new(()).register::<Import>(), worker("*", 2));
    let import = async || world.queue.enqueue(Import { account: 7 }).await.unwrap();
    let first = import().await.id();
    world.until("claimed", 1).await;
    let second = import().await.id();
    world.until("blocked", 1).await;

    let holds = site.page(&format!("/jobs/{first}")).await;
    assert_contains(
        &holds,
        &[
            "running for",
            "account/7",
            "1 at once",
            "Cancel…",
            "Claimed",
        ],
    );
    let waits = site.page(&format!("/jobs/{second}")).await;
    let because = "It is not running because its key";
    assert_contains(
        &waits,
        &[
            because,
            &format!("#{first}"),
            "Run anyway…",
            "Everything that must be so",
        ],
    );
    let limits = site.page("/limits").await;
    assert_contains(
        &limits,
        &[
            "1 job waits for 1 key.",
            "account/7",
            "1 of 1",
            &format!("#{first}"),
        ],
    );
    let processes = site.page("/processes").await;
    assert_contains(&processes, &["The one process is well.", "1 of 2"]);
    let process = processes.split("/ops/jobs/processes/").nth(1).unwrap();
    let process = process.split('"').next().unwrap();
    let process = site.page(&format!("/processes/{process}")).await;
    assert_contains(&process, &["It is alive.", &format!("#{first}"), "import"]);
    let queue = site.page("/queues/default").await;
    assert_contains(&queue, &["Who serves it", "alive"]);
    let overview = site.page("").await;
    assert_contains(&overview, &["Jobs by state", "default", "1 of 2"]);
    for tab in ["running", "blocked"] {
        let list = site.page(&format!("/jobs?state={tab}")).await;
        assert_contains(
            &list,
            &["import", &format!("1 job is {tab}"), "account&#34;: 7"],
        );
    }
    running.stop_at_once().await;
}

#[tokio::test]
async fn a_job_that_was_blocked_at_once_was_enqueued_first() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    let imports = [Import { account: 7 }, Import { account: 7 }];
    let jobs = world.queue.enqueue_many(imports).await.unwrap();
    world.until("blocked", 1).await;

    let page = site.page(&format!("/jobs/{}", jobs[1].id())).await;

    let place = |text: &str| page.find(&format!("<span class=\"what\">{text}<"));
    let (blocked, enqueued) = (place("Blocked"), place("Enqueued"));
    assert!(blocked.is_some() && blocked < enqueued, "{page}");
}

#[tokio::test]
async fn a_list_without_acts_has_no_column_for_them() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    enqueue(&world, "send", &json!({}), Options::new()).await;
    let job = enqueue(&world, "send", &json!({}), Options::new()).await;
    world.queue.cancel(job).await.unwrap();

    let [waiting, ended] = ["ready", "cancelled"].map(|tab| format!("/jobs?state={tab}"));

    assert_contains(&site.page(&waiting).await, &[">Actions<", "acts-cell"]);
    let ended = site.page(&ended).await;
    assert_contains(&ended, &["1 job is cancelled"]);
    assert!(!ended.contains(">Actions<") && !ended.contains("acts-cell"));
}

#[tokio::test]
async fn a_failed_job_shows_its_error_and_why_it_stays() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    let args = json!({"invoice": 9_007_199_254_740_993_i64, "cardToken": "tok_1"});
    let job = enqueue(&world, "charge", &args, Options::new().tag("eu")).await;
    fail(&world, job, "503 Service Unavailable\ncaused by: token=abc").await;

    let page = site.page(&format!("/jobs/{job}")).await;
    assert_contains(
        &page,
        &[
            "1 attempt of ",
            ": <bdi>503 Service Unavailable</bdi>",
            "It stays so until somebody retries it.",
            "caused by: token=[redacted]",
            "<span class=\"ours\">   0: shop::charge</span>",
            "9007199254740993",
            "<em class=\"hidden\">redacted</em>",
            "Retry now",
            "Discard…",
        ],
    );
    assert!(
        !page.contains("tok_1") && !page.contains("token=abc"),
        "{page}"
    );
    let list = site
        .page("/jobs?state=failed&kind=charge&error=service")
        .await;
    assert_contains(
        &list,
        &[
            "1 job is failed",
            "with kind",
            "503 Service",
            "Remove the filter Kind",
        ],
    );
    let failures = site.page("/failures").await;
    assert_contains(
        &failures,
        &[
            "1 cause is behind 1 failed job.",
            "503 Service",
            "href=\"/ops/jobs/failures/charge/",
        ],
    );
    assert_contains(
        &site.page("").await,
        &["Causes of failures in the last hour", "503 Service"],
    );
}

#[tokio::test]
async fn a_list_goes_on_with_older_jobs() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    let jobs = (0..60).map(|_| NewJob::untyped("send", &json!({}), Options::new()));
    let jobs = world.queue.enqueue_all(jobs).await.unwrap();
    let row = |id: JobId| format!("id=\"job-{id}\"");
    let (first, last) = (jobs[0].id(), jobs[59].id());

    let newest = site.page("/jobs?kind=send").await;
    let (before, rest) = newest.split_once("rel=\"next\" href=\"/ops/jobs").unwrap();
    let older = rest
        .split('"')
        .next()
        .unwrap()
        .replace("&#38;", "&")
        .replace("&amp;", "&");
    let older = site.page(&older).await;

    assert!(before.contains(&row(last)) && !before.contains(&row(first)));
    assert!(
        older.contains(&row(first)) && !older.contains(&row(last)),
        "{older}"
    );
    assert!(!older.contains("rel=\"next\""));
    assert!(newest.len() < 200_000, "{}", newest.len());
}

#[tokio::test]
async fn many_queues_and_schedules_have_several_pages() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    world
        .sql(
            "insert into queue.queues (name) select 'queue-' || n from generate_series(1, 60) as n",
        )
        .await;
    world
        .sql(
            "insert into queue.recurring_jobs
                 (name, schedule, zone, missed, overlap, kind, queue, tags, args, jitter_ms, missed_max,
                 priority, attempts_max, crashes_max)
             select 'daily-' || n, '@daily', 'UTC', 'once', 'skip', 'k', 'mail', '{}', '{}', 0, 1, 0, 1, 1
             from generate_series(1, 60) as n",
        )
        .await;

    for path in ["/queues", "/recurring"] {
        let first = site.page(path).await;
        let next = format!("rel=\"next\" href=\"/ops/jobs{path}?from=50\"");
        assert_contains(&first, &["1 to 50 of 60", &next]);
        let last = site.page(&format!("{path}?from=50")).await;
        assert_contains(
            &last,
            &["51 to 60 of 60", &format!("href=\"/ops/jobs{path}\">First")],
        );
        assert!(!last.contains("rel=\"next\""));
        assert_eq!(first.matches("c-main").count(), 50);
        assert_eq!(last.matches("c-main").count(), 10);
    }
}

#[tokio::test]
async fn numbers_of_a_sample_say_when_it_was_taken() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    world
        .sql(
            "insert into queue.ready (job_id, seq, queue, kind, priority)
             select n, n, 'mail', 'k', 0 from generate_series(1, 20001) as n",
        )
        .await;
    let paths = ["", "/queues", "/queues/mail", "/queues/mail/pause"];
    for path in paths {
        let counted = site.page(path).await;
        assert!(!counted.contains("as of <time"), "{path}: {counted}");
    }

    sample(&mut world.connect().await, world.queue.schema())
        .await
        .unwrap();

    for path in paths {
        assert_contains(&site.page(path).await, &["20,001", "as of <time"]);
    }
}

#[tokio::test]
async fn a_search_leads_to_the_job_or_to_the_filters() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);

    let job = site.get("/jobs?q=%234711").await;
    let filters = site
        .get("/jobs?state=failed&q=kind:send+error:%22timed+out%22")
        .await;
    let unknown = site.page("/jobs?q=colour:red").await;

    assert_eq!(job.header("location"), "/ops/jobs/jobs/4711");
    let location = "/ops/jobs/jobs?state=failed&kind=send&error=timed%20out";
    assert_eq!(filters.header("location"), location);
    assert_contains(&unknown, &["`colour` is no filter"]);
}

#[tokio::test]
async fn arguments_are_for_those_who_may_see_them() {
    let world = World::new().await;
    let args = json!({"name": "Ada", "password": "hunter2"});
    let job = enqueue(&world, "greet", &args, Options::new()).await;
    let dashboard = |role| {
        Dashboard::new(world.queue.clone())
            .authorize(move |_| async move { Some(Viewer::new("mira", role)) })
            .args_for(Role::Operator)
    };
    // Templates and coloured JSON escape a quote in two ways.
    let shows_name = |page: &str| {
        ["&quot;name&quot;", "&#34;name&#34;"]
            .iter()
            .any(|name| page.contains(name))
    };
    let (viewer, operator) = (
        Site::of(dashboard(Role::Viewer)),
        Site::of(dashboard(Role::Operator)),
    );
    for path in [
        "/jobs".to_owned(),
        format!("/jobs/{job}"),
        "/jobs?arg=name:Ada".to_owned(),
    ] {
        assert!(!shows_name(&viewer.page(&path).await), "{path}");
        let page = operator.page(&path).await;
        assert!(
            shows_name(&page) && !page.contains("hunter2"),
            "{path}: {page}"
        );
    }
    let guess = operator.page("/jobs?arg=password:hunter2").await;
    assert_contains(&guess, &["is redacted and cannot be searched"]);
    assert_contains(
        &operator.page("/jobs?arg=name:Ada").await,
        &["1 job is ready"],
    );
}

#[tokio::test]
async fn recurring_jobs_show_their_times_and_outcomes() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    let job = NewJob::untyped(
        "tidy",
        &json!({"secret": "x1", "dir": "/tmp"}),
        Options::new(),
    );
    let nightly = RecurringJob::of("nightly", "every day at 2am", job).unwrap();
    let mut conn = world.pool().acquire().await.unwrap();
    add(&mut conn, world.queue.schema(), &nightly, Tz::UTC)
        .await
        .unwrap();

    let list = site.page("/recurring").await;
    let one = site.page("/recurring/nightly").await;

    assert_contains(
        &list,
        &[
            "The one schedule did what it should.",
            "nightly",
            "none yet",
            "Run now",
        ],
    );
    assert_contains(
        &one,
        &["It runs ", "Next times", "02:00:00", "/tmp", "redacted"],
    );
    assert!(!one.contains("x1"));
}

#[tokio::test]
async fn a_silent_process_is_shown_as_that() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    let running = world.start(App::new(()).register::<Import>(), worker("*", 1));
    eventually("a process", async || world.count("processes").await == 1).await;
    running.stop().await;
    world
        .sql(
            "insert into queue.processes (id, name, host, pid, version, details, started_at, heartbeat_at)
             values (gen_random_uuid(), 'worker-3', 'host', 1, '1', '{\"concurrency\": 5}',
                 now() - interval '1 h', now() - interval '20 s')",
        )
        .await;

    let page = site.page("/processes").await;

    assert_contains(
        &page,
        &[
            "One of 1 process is silent.",
            "was last heard of 20s ago",
            "1 silent",
        ],
    );
}

#[tokio::test]
async fn the_overview_and_queues_chart_how_many_jobs_were_ready() {
    let world = World::new().await;
    world
        .sql(
            "insert into queue.depths
                 (span, at, queue, ready, scheduled, blocked, running, failed, oldest_ms, is_least)
             select span, date_bin(span * interval '1 minute', now(), 'epoch'), queue, 1204, 0, 0, 0, 0, 90000, false
             from unnest(array[1, 60]) as span, unnest(array['*', 'mail']) as queue",
        )
        .await;
    world
        .sql("insert into queue.queues (name) values ('mail'), ('idle')")
        .await;
    let site = Site::open(&world, Role::Viewer);

    for path in ["", "/queues"] {
        let page = site.page(path).await;
        assert_contains(
            &page,
            &[
                "Ready in the last 24 hours: at most 1,204",
                "V22H92V0H96V22z",
            ],
        );
        assert_eq!(page.matches("class=\"spark\"").count(), 1);
    }
    let hour = site.page("/queues/mail").await;
    assert_contains(
        &hour,
        &[
            "<b>Ready</b> at most 1,204 in the last hour",
            "The most ready jobs of each minute: at most 1,204 in the last hour",
            "<td role=\"cell\" class=\"r\">1,204</td><td role=\"cell\" class=\"r\">1m 30s</td>",
        ],
    );
    assert_contains(
        &site.page("/queues/idle").await,
        &["<b>Ready</b> at most 0 in the last hour"],
    );
}

#[tokio::test]
async fn the_overview_and_a_queue_chart_what_has_ended() {
    let world = World::new().await;
    world
        .sql(
            "insert into queue.counts
                (span, at, queue, kind, done, discarded, cancelled, failed, retried, waited_ms, ran_ms)
             select 0, now() - n * interval '1 minute', queue, 'k', 1200, 30, 4, 0, 0, 0, 0
             from generate_series(1, 3) as n, unnest(array['mail', 'media']) as queue
             union all
             select 0, now() - interval '2 hours', 'mail', 'k', 0, 0, 0, 5, 45, 0, 0",
        )
        .await;
    world
        .sql("insert into queue.queues (name) values ('mail')")
        .await;
    let site = Site::open(&world, Role::Viewer);

    let hour = site.page("").await;
    assert_contains(
        &hour,
        &[
            "<b>Finished</b> 7,404 in the last hour",
            "Finished jobs per minute in the last hour: between 0 and 2,468; 7,404 in all",
            "Failed runs per minute in the last hour: none",
            "<span>4,000</span>",
        ],
    );
    assert_eq!(hour.matches("<rect class=\"ok\"").count(), 3);
    let day = site.page("/queues/mail?within=24h").await;
    assert_contains(
        &day,
        &[
            "<b>Finished</b> 3,702 in the last 24 hours",
            "<b>Failed</b> 50 in the last 24 hours, 5 of them for good",
            "<span aria-current=\"true\">24h</span>",
            "/queues/mail?within=7d",
        ],
    );
    assert_eq!(day.matches("<rect class=\"not-ok\"").count(), 1);
}

#[tokio::test]
async fn charts_causes_and_jobs_name_versions() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    let app = App::new(()).version("2.14.2").register::<Import>();
    let running = world.start(app, worker("*", 1));
    eventually("a process", async || world.count("processes").await == 1).await;
    world
        .sql(
            "insert into queue.kind_versions (kind, version, first_seen_at)
             values ('import', '<2.14.1>', now() - interval '2 hours'),
                 ('sync', '2.14.0', now() - interval '9 hours')",
        )
        .await;
    // The process must not run the job before it is made a failed one.
    world
        .sql("insert into queue.queues (name, paused_at) values ('other', now())")
        .await;
    let import = enqueue(&world, "import", &json!({}), Options::new().queue("other")).await;
    fail(&world, import, "no such account").await;
    let sync = enqueue(&world, "sync", &json!({}), Options::new()).await;

    let hour = site.page("").await;
    assert_contains(
        &hour,
        &[
            "Version 2.14.2 was first seen at ",
            "<line class=\"mark\"",
            ">2.14.2</text>",
        ],
    );
    assert!(!hour.contains("2.14.1"), "{hour}");
    let day = site.page("/queues/default?within=24h").await;
    assert_contains(&day, &["Version &#60;2.14.1&#62; was first seen at "]);
    let failures = site.page("/failures").await;
    assert_contains(&failures, &["new in version <bdi>2.14.2</bdi>"]);
    let cause = failures.split("/failures/import/").nth(1).unwrap();
    let cause = cause.split('"').next().unwrap();
    let cause = site.page(&format!("/failures/import/{cause}")).await;
    assert_contains(&cause, &["after version <bdi>2.14.2</bdi> was first seen."]);
    let job = site.page(&format!("/jobs/{sync}")).await;
    let knew = "<bdi>sync</bdi>. Version <bdi>2.14.0</bdi> knew it.";
    assert_contains(&job, &["no living process knows the kind", knew]);
    running.stop().await;
}

#[tokio::test]
async fn failures_and_attempts_name_the_versions_that_ran_them_and_failures_their_hours() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    let mut jobs = Vec::new();
    for version in ["2.13.0", "<2.14.2>"] {
        let app = App::new(()).version(version).register::<Import>();
        let running = world.start(app, worker("*", 1));
        let unreadable = json!("no object");
        let once = Options::new().attempts(1);
        let enqueuing = enqueue(&world, "import", &unreadable, once);
        let job = Context::new().tenant(version).scope(enqueuing).await;
        world.until_state(job, "failed").await;
        running.stop().await;
        jobs.push(job);
    }
    world
        .sql(
            "update queue.failed set failed_at = now() - interval '200 minutes'
             where job_id = (select min(job_id) from queue.failed)",
        )
        .await;

    let failures = site.page("/failures").await;
    assert_contains(
        &failures,
        &[
            "versions 2.13.0 to &#60;2.14.2&#62;",
            "Failed in the last 24 hours: 2, at most 1 in an hour",
            "\">1</a></td><td role=\"cell\" class=\"r\" data-label=\"In 24h\">",
            "\">2</a></td><td role=\"cell\" class=\"r\" data-label=\"Failed now\">",
        ],
    );
    let cause = failures.split("/failures/import/").nth(1).unwrap();
    let cause = cause.split('"').next().unwrap();
    let cause = site.page(&format!("/failures/import/{cause}")).await;
    assert_contains(
        &cause,
        &[
            "versions 2.13.0 to &#60;2.14.2&#62;",
            "/queues/default\"><bdi>default</bdi></a> <span class=\"faint\">2</span>",
            "/tenants/2.13.0\"><bdi>2.13.0</bdi></a> <span class=\"faint\">1</span>",
        ],
    );
    let first = site.page(&format!("/jobs/{}", jobs[0])).await;
    assert_contains(&first, &[", version <bdi>2.13.0</bdi>: "]);
    let second = site.page(&format!("/jobs/{}", jobs[1])).await;
    let why = "its arguments cannot be read</strong> by version <bdi>&lt;2.14.2&gt;</bdi>";
    assert_contains(&second, &[why]);
}

#[tokio::test]
async fn failures_are_those_of_a_period_and_the_last_retry_is_named_when_there_are_none() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    let job = enqueue(&world, "import", &json!({}), Options::new()).await;
    fail(&world, job, "no such account").await;
    world
        .sql("update queue.failed set failed_at = now() - interval '3 hours'")
        .await;

    let hour = site.page("/failures?within=1h").await;
    assert_contains(
        &hour,
        &["No job that is failed now failed in the last hour."],
    );
    assert!(!hour.contains("no such account"), "{hour}");
    let day = site.page("/failures?within=24h").await;
    let causes = [
        "1 cause is behind what failed in the last 24 hours.",
        "no such account",
    ];
    assert_contains(&day, &causes);
    let overview = site.page("").await;
    assert_contains(&overview, &["No job failed for good in the last hour."]);

    world.queue.retry(job).await.unwrap();
    world
        .sql(
            "insert into queue.audit (at, who, role, what, target)
             values (now() - interval '3 days', 'mira', 'operator', 'retry', 'jobs/1')",
        )
        .await;
    let none = site.page("/failures?within=1h").await;
    let answer = ["No job is failed.", "Somebody last retried one 3d ago."];
    assert_contains(&none, &answer);
}

#[tokio::test]
async fn the_overview_shows_the_first_of_many_problems() {
    let world = World::new().await;
    let running = world.start(App::new(()).register::<Import>(), worker("served", 1));
    world.until("processes", 1).await;
    for number in 0..30 {
        let queue = format!("queue-{number}");
        enqueue(&world, "import", &json!({}), Options::new().queue(queue)).await;
    }

    let page = Site::open(&world, Role::Viewer).page("").await;

    assert_contains(
        &page,
        &["30 problems stop jobs", "and 10 more: <code>queue doctor"],
    );
    assert_eq!(
        page.matches("No live process serves queue").count(),
        20,
        "{page}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_job_shows_its_steps_output_log_and_context() {
    let world = World::new().await;
    let context = Context::new().request_id("req-17");
    let options = Options::new().context(context);
    let job = enqueue(&world, "report", &json!({}), options).await;
    for statement in [
        format!("insert into queue.steps values ({job}, now(), 2, 'load', '[1, 2]')"),
        format!(
            "insert into queue.steps
             select {job}, now() - interval '1 min', n, 'find', '1' from generate_series(1, 100) as n"
        ),
        format!(
            "insert into queue.progress (job_id, set_at, name, value)
             values ({job}, now(), 'pages', '812'), ({job}, now(), '@done', '{{\"done\": 3, \"of\": 1200}}'),
                 ({job}, now(), '@output', '{{\"pages\": 7, \"token\": \"x1\"}}'),
                 ({job}, now(), '@log/1', '{{\"dropped\": 2, \"lines\": [\"INFO begins\", \"WARN <slow>\"]}}')"
        ),
    ] {
        world.sql(&statement).await;
    }
    let dashboard = Dashboard::new(world.queue.clone()).args_for(Role::Admin);
    let viewer =
        Site::of(dashboard.authorize(|_| async { Some(Viewer::new("lena", Role::Viewer)) }));

    let page = Site::open(&world, Role::Admin)
        .page(&format!("/jobs/{job}"))
        .await;
    let without_args = viewer.page(&format!("/jobs/{job}")).await;

    let for_all = [
        "3 of 1,200 done",
        "1 earlier step is not listed",
        "load</bdi> (2)",
        "a result of 6 B",
        "attempt 1, without the first 2 lines",
        "INFO begins\nWARN &#60;slow&#62;",
    ];
    let for_some = ["cursor at <bdi>812</bdi>", "&quot;pages&quot;", "req-17"];
    assert_contains(&page, &for_all);
    assert_contains(&page, &for_some);
    assert!(!page.contains("x1"), "{page}");
    assert_contains(&without_args, &for_all);
    for text in for_some {
        assert!(!without_args.contains(text), "{text}: {without_args}");
    }
}

#[tokio::test]
async fn a_list_that_would_take_long_says_how_far_it_looked() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    world
        .sql(
            "with job as (
                 insert into queue.jobs (id, priority, attempts_max, crashes_max, kind, queue, args)
                 select n, 0, 10, 3, case when n = 1 then 'first' else 'k' end, 'q', '1'
                 from generate_series(1, 21000) as n
                 returning id, kind
             )
             insert into queue.ready (job_id, seq, priority, kind, queue)
             select id, id, 0, kind, 'q' from job",
        )
        .await;

    let page = site.page("/jobs?kind=first").await;

    assert!(page.contains("Looked back to"), "{page}");
    assert!(!page.contains("Looked back to</span>"), "{page}");
    let further = page.split("\">Look further").next().unwrap();
    let href = further
        .rsplit("href=\"")
        .next()
        .unwrap()
        .replace("&#38;", "&");
    let path = href
        .strip_prefix("/ops/jobs")
        .unwrap()
        .replace("&amp;", "&");
    assert!(path.contains("kind=first&before="), "{path}");
}
