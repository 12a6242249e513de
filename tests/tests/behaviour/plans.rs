//! All statements are valid, and their plans use the intended indexes regardless of statistics.

use queue_core::{Schema, migrate};
use queue_tests::pgbouncer::{PgBouncer, PoolMode};
use queue_tests::statements::{Statement, statements};
use queue_tests::world::World;
use queue_worker::PLANNER_SETTINGS;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, SqlSafeStr as _};

/// Tables with a handful of rows.
const SMALL: &[&str] = &[
    "processes",
    "queues",
    "idle_processes",
    "pollers",
    "alerts",
    "alert_turn",
    "origin",
];

/// Statements that read a whole table on purpose. Recovery looks for jobs of processes without a row,
/// and a process reads all claims. Failed jobs, rates and firings are cleared seldom, limits and
/// recurring jobs set seldom, lanes listed seldom, batches swept seldom, keys rotated seldom. Claims check
/// whether any limit exists. The end of the line is a sequence. Operations that have not ended are few, and have
/// an index of their own. A sample of depths counts all jobs that have not finished, once a minute.
const MAY_READ_WHOLE: &[(&str, &str)] = &[
    ("claim_front", "limits"),
    ("claim_front_fair", "limits"),
    ("claim_seats", "limits"),
    ("lanes", "limits"),
    ("look", "limits"),
    ("recover", "claimed"),
    ("cancel_requests", "claimed"),
    ("unknown_claims", "claimed"),
    ("clear_failed", "failed"),
    ("clear_rates", "rates"),
    ("depths/sample", "ready"),
    ("depths/sample", "scheduled"),
    ("depths/sample", "blocked"),
    ("depths/sample", "claimed"),
    ("depths/sample", "failed"),
    ("batches/sweep", "batches"),
    ("batches/sweep", "deltas"),
    ("recurring/clear_firings", "recurring_jobs"),
    ("recurring/pause", "recurring_jobs"),
    ("recurring/leftovers", "recurring_jobs"),
    ("recurring/undeclare", "recurring_jobs"),
    ("operations/keys/find", "recurring_jobs"),
    ("recurring/undeclare_moved", "recurring_jobs"),
    ("shards/limit_keys", "ready"),
    ("shards/limit_keys", "blocked"),
    ("shards/limit_keys", "claimed"),
    ("shards/limit_keys", "scheduled"),
    ("operations/limits/set", "slots"),
    ("operations/many/next", "operations"),
    ("claim/line_end", "job_seq"),
];

/// For each hot statement, the index it must use and the condition it must search with.
const INDEXES: &[(&str, &str, &str)] = &[
    (
        "claim",
        "ready_claim",
        "Index Cond: ((queue = lane.queue) AND (priority = lane.priority) AND (track = 0) AND (seq > ",
    ),
    (
        "claim_fair",
        "ready_fair",
        "Index Cond: ((queue = $1) AND (priority = $2) AND (track = 3) AND (tenant = turn.tenant) AND (seq > ",
    ),
    (
        "claim_front_fair",
        "ready_fair",
        "Index Cond: ((queue = $1) AND (priority = $2) AND (track > 2) AND (track = $3) AND (tenant = turn.tenant) AND (seq > ",
    ),
    (
        "tenants_in_turn",
        "ready_fair",
        "Index Cond: ((queue = $1) AND (priority = $2) AND (track = $3) AND (tenant > found.tenant))",
    ),
    (
        "claim_front",
        "ready_claim",
        "Index Cond: ((queue = lane.queue) AND (priority = lane.priority) AND (track = lane.track) AND (seq > ",
    ),
    (
        "claim_front",
        "slots_pkey",
        "Index Cond: (key = brought.key)",
    ),
    (
        "claim_seats",
        "ready_claim",
        "Index Cond: ((queue = lane.queue) AND (priority = lane.priority) AND (track = lane.track) AND (seq > ",
    ),
    (
        "claim_front",
        "limits_pkey",
        "Index Cond: (name = brought.key)",
    ),
    (
        "claim_front",
        "limits_pkey",
        "Index Cond: (name = brought.name)",
    ),
    ("claim_seats", "slots_pkey", "(key = "),
    ("unblock", "limits_pkey", "Index Cond: (name = asked.key)"),
    ("claim_seats", "jobs_pkey", "Index Cond: (id = won.job_id"),
    ("claim_front", "jobs_pkey", "Index Cond: (id = front.job_id"),
    (
        "claim_limited",
        "ready_pkey",
        "Index Cond: (job_id = won.job_id",
    ),
    (
        "claim_seats",
        "blocked_line",
        "Index Cond: ((key = own.key) AND (queue = front.queue) AND (kind = front.kind))",
    ),
    (
        "unblock",
        "blocked_line",
        "Index Cond: ((key = room.key) AND (queue = room.queue) AND (kind = room.kind) AND (ROW(priority, seq) >= ",
    ),
    (
        "unblock",
        "ready_admitted",
        "Index Cond: ((waited_for = room.key) AND (queue = room.queue) AND (kind = room.kind))",
    ),
    (
        "hand_over",
        "blocked_line",
        "AND (kind = offered.kind) AND (ROW(priority, seq) > ",
    ),
    (
        "hand_over",
        "limits_pkey",
        "Index Cond: (name = ANY (ARRAY[",
    ),
    ("hand_over", "slots_pkey", "Index Cond: ((key = (stopped"),
    ("blocked_keys", "blocked_line", "Index Cond: (key > line"),
    ("claim", "jobs_pkey", "Index Cond: (id = taken.job_id"),
    (
        "lanes",
        "ready_claim",
        "Index Cond: ((queue > other.queue) AND (queue < other.next_queue))",
    ),
    (
        "lanes",
        "ready_claim",
        "Index Cond: ((queue = known.queue) AND (priority = known.priority) AND (track = known.track) AND (seq > ",
    ),
    (
        "promote",
        "scheduled_promote",
        "Index Cond: ((ROW(due_at, job_id) > ",
    ),
    (
        "next_due",
        "scheduled_promote",
        "Index Cond: (ROW(due_at, job_id) > ",
    ),
    (
        "look",
        "ready_claim",
        "Index Cond: ((queue > other.queue) AND (queue < other.next_queue))",
    ),
    (
        "look",
        "ready_claim",
        "Index Cond: ((queue = known.queue) AND (priority = known.priority) AND (track = known.track) AND (seq > ",
    ),
    (
        "look",
        "scheduled_promote",
        "Index Cond: (ROW(due_at, job_id) > ",
    ),
    ("look", "recurring_jobs_due", ""),
    ("look", "blocked_line", ""),
    (
        "recurring/lock_due",
        "recurring_jobs_due",
        "Index Cond: (next_at <= ",
    ),
    ("recurring/next_due", "recurring_jobs_due", ""),
    (
        "recurring/clear_firings",
        "firings_clear",
        "Index Cond: (fired_at < ",
    ),
    (
        "clear_finished",
        "finished_clear",
        "Index Cond: ((finished_at < ",
    ),
    ("clear_finished", "steps_pkey", "Index Cond: (job_id = ANY"),
    (
        "clear_finished",
        "progress_pkey",
        "Index Cond: (job_id = ANY",
    ),
    ("steps/load", "steps_pkey", "Index Cond: (job_id = "),
    ("wake", "waits_wake", "Index Cond: ((event = emitted.event)"),
    (
        "steps/read_progress",
        "progress_pkey",
        "Index Cond: ((job_id = ",
    ),
    (
        "steps/write_progress",
        "claimed_pkey",
        "Index Cond: (job_id = entry.job_id)",
    ),
    (
        "steps/record",
        "claimed_pkey",
        "Index Cond: (job_id = step.job_id)",
    ),
    ("cancel", "ready_pkey", "Index Cond: (job_id = ANY"),
    ("batches/look", "deltas_target", "Index Cond: (target = "),
    (
        "batches/settle",
        "deltas_target",
        "Index Cond: (target = ANY",
    ),
    ("key_holders", "unique_keys_pkey", "Index Cond: (key = ANY"),
];

/// The statements that end runs. They look up each run in the claims, its slots and its key; `end` and
/// `recover` also look up its job.
const ENDS: &[&str] = &[
    "end",
    "end/end_in_batches",
    "finish",
    "finish/finish_in_batches",
    "recover",
];

/// The statements of producers and processes, which must use an index.
fn transitions() -> impl Iterator<Item = Statement> {
    let all = statements().into_iter();
    all.filter(|statement| !statement.is_look())
}

async fn execute(conn: &mut PgConnection, statement: String) {
    conn.execute(AssertSqlSafe(statement)).await.unwrap();
}

/// Explains a statement as a worker's connection plans it: with unknown parameter values.
async fn explain(conn: &mut PgConnection, name: &str, sql: &str) -> String {
    let count = (1..).take_while(|n| sql.contains(&format!("${n}"))).count();
    let values = match count {
        0 => String::new(),
        count => format!("({})", vec!["null"; count].join(", ")),
    };
    execute(conn, format!("prepare explained as {sql}")).await;
    let query = format!("explain (costs off) execute explained{values}");
    let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query))
        .persistent(false)
        .fetch_all(&mut *conn)
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    execute(conn, "deallocate explained".into()).await;
    lines.join("\n")
}

fn check(name: &str, plan: &str) {
    let lines: Vec<&str> = [""].into_iter().chain(plan.lines()).chain([""]).collect();
    for three in lines.windows(3) {
        let Some(table) = read_whole(three[0], three[1], three[2]) else {
            continue;
        };
        let on_purpose = SMALL.contains(&table) || MAY_READ_WHOLE.contains(&(name, table));
        assert!(on_purpose, "{name} reads all of {table}:\n{plan}");
    }
}

/// Returns the table that a line of a plan reads from end to end: by a sequential scan, or along an
/// index without a condition. A scan along an index for the first row only does not count.
fn read_whole<'a>(before: &str, line: &'a str, after: &str) -> Option<&'a str> {
    let (scan, table) = line.split_once(" on ")?;
    let is_for_the_first = before.ends_with("Limit") && !after.contains("Filter:");
    let is_whole = scan.ends_with("Seq Scan")
        || scan.contains(" using ") && !after.contains("Index Cond:") && !is_for_the_first;
    is_whole.then(|| table.split_whitespace().next().unwrap_or(table))
}

fn check_indexes(name: &str, plan: &str) {
    let plan = without_numbers(plan);
    for (_, index, condition) in INDEXES.iter().filter(|(of, ..)| *of == name) {
        assert_looks(name, &plan, index, condition);
    }
    if !ENDS.contains(&name) {
        return;
    }
    let of_slot = "Index Cond: ((key = slot.key) AND (number = slot.number))";
    assert_looks(name, &plan, "slots_pkey", of_slot);
    let of_key = "Index Cond: (job_id = ANY";
    assert_looks(name, &plan, "unique_keys_release", of_key);
    if name != "recover" {
        assert_looks(name, &plan, "claimed_pkey", "Index Cond: (job_id = ANY");
    }
    if name != "finish" {
        assert_looks(name, &plan, "jobs_pkey", "Index Cond: (id = ");
    }
    if name == "end" {
        let of_run = "Index Cond: (job_id = run.job_id)";
        assert_looks(name, &plan, "claimed_pkey", of_run);
    }
}

fn assert_looks(name: &str, plan: &str, index: &str, condition: &str) {
    let lines: Vec<&str> = plan.lines().chain([""]).collect();
    let found = lines
        .windows(2)
        .any(|pair| pair[0].contains(&format!("using {index} ")) && pair[1].contains(condition));
    assert!(
        found,
        "{name} does not look for {condition:?} in {index}:\n{plan}"
    );
}

/// Removes the numbers by which a plan distinguishes tables of the same name.
fn without_numbers(plan: &str) -> String {
    let parts = plan.split('.').map(|part| {
        let name = part.trim_end_matches(|last: char| last.is_ascii_digit());
        name.strip_suffix('_')
            .filter(|_| name != part)
            .unwrap_or(part)
    });
    parts.collect::<Vec<_>>().join(".")
}

async fn as_a_worker(world: &World) -> PgConnection {
    let mut conn = world.connect().await;
    for (setting, value) in PLANNER_SETTINGS {
        execute(&mut conn, format!("set {setting} = {value}")).await;
    }
    conn
}

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let world = World::new().await;
    let mut conn = world.connect().await;

    for Statement { name, sql, .. } in statements() {
        let prepared = conn.prepare(AssertSqlSafe(sql).into_sql_str()).await;
        assert!(prepared.is_ok(), "{name}: {prepared:?}");
    }
}

/// A database of another encoding cannot read other characters, not even in comments.
#[test]
fn every_statement_is_ascii() {
    for Statement { name, sql, .. } in statements() {
        assert!(sql.is_ascii(), "{name}");
    }
    assert!(migrate::script(&Schema::default()).is_ascii());
}

#[test]
fn every_expectation_names_an_existing_statement() {
    let known: Vec<String> = transitions().map(|statement| statement.name).collect();

    let on_purpose = MAY_READ_WHOLE.iter().map(|(name, _)| *name);
    let by_index = INDEXES.iter().map(|(name, ..)| *name);
    for name in on_purpose.chain(by_index).chain(ENDS.iter().copied()) {
        assert!(known.iter().any(|known| known == name), "{name}");
    }
}

#[tokio::test]
async fn plans_made_on_empty_tables_read_no_table_whole() {
    let world = World::new().await;
    world.sql("analyze").await;
    let mut conn = as_a_worker(&world).await;

    for Statement { name, sql, .. } in transitions() {
        let plan = explain(&mut conn, &name, &sql).await;
        check(&name, &plan);
        check_indexes(&name, &plan);
    }
}

#[tokio::test]
async fn plans_made_with_the_statistics_of_empty_tables_use_the_indexes() {
    let world = World::new().await;
    world.sql("analyze").await;
    fill(&world).await;
    let mut conn = as_a_worker(&world).await;

    for Statement { name, sql, .. } in transitions() {
        let plan = explain(&mut conn, &name, &sql).await;
        check(&name, &plan);
        check_indexes(&name, &plan);
    }
}

/// After a vacuum of an empty table, the planner takes the table for empty until the next vacuum,
/// even if it is full by then.
#[tokio::test]
async fn plans_made_for_tables_that_a_vacuum_found_empty_use_the_indexes() {
    let world = World::new().await;
    fill(&world).await;
    world.sql("vacuum analyze").await;
    world
        .sql(
            "update pg_class set reltuples = 0
             where relnamespace = 'queue'::regnamespace and relkind in ('r', 'i')",
        )
        .await;
    let mut conn = as_a_worker(&world).await;

    for Statement { name, sql, .. } in transitions() {
        let plan = explain(&mut conn, &name, &sql).await;
        check(&name, &plan);
        check_indexes(&name, &plan);
    }
}

/// There the settings of the planner hold for one transaction.
#[tokio::test]
async fn plans_made_behind_a_pooler_in_transaction_mode_use_the_indexes() {
    let world = World::new().await;
    world.sql("analyze").await;
    fill(&world).await;
    let bouncer = PgBouncer::start(PoolMode::Transaction, &world.connect_options(), 2);
    let url = bouncer.url(&world.connect_options());
    let options: PgConnectOptions = url.parse().unwrap();
    let mut conn = options.extra_float_digits(None).connect().await.unwrap();
    let settings = PLANNER_SETTINGS.iter();
    let settings: String = settings
        .map(|(name, value)| format!("; set local {name} = {value}"))
        .collect();

    for Statement { name, sql, .. } in transitions() {
        execute(&mut conn, format!("begin{settings}")).await;
        let plan = explain(&mut conn, &name, &sql).await;
        execute(&mut conn, "commit".to_owned()).await;
        check(&name, &plan);
        check_indexes(&name, &plan);
    }
}

/// Fills the tables without updating their statistics.
async fn fill(world: &World) {
    for statement in [
        "insert into queue.jobs (id, priority, attempts_max, crashes_max, kind, queue, args)
         select n, n % 3, 5, 3, 'k', 'q' || n % 5, '{}' from generate_series(1, 100000) n",
        "insert into queue.ready (job_id, seq, priority, queue, kind)
         select id, id, priority, queue, kind from queue.jobs where id <= 40000",
        "insert into queue.scheduled (job_id, due_at, priority, queue, kind)
         select id, now(), priority, queue, kind from queue.jobs where id between 40001 and 60000",
        "insert into queue.finished (job_id, attempt, outcome)
         select id, 1, 'done' from queue.jobs where id between 60001 and 98000",
        "insert into queue.failed (job_id, attempt, failures, crashes, queue, kind)
         select id, 1, 1, 0, queue, kind from queue.jobs where id between 98001 and 99000",
        "insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes)
         select id, id, gen_random_uuid(), 1, 0, 0 from queue.jobs where id > 99000",
    ] {
        world.sql(statement).await;
    }
}
