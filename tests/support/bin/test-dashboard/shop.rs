//! What is in the queues of the shop: jobs in every state, a batch, a past, and a process that is silent.

use std::time::Duration;

use anyhow::Result;
use queue_core::operations::limits::{LimitSetting, change};
use queue_core::operations::queues::{pause_because, set_fair};
use queue_core::operations::tenants;
use queue_core::{Batch, Context, Limits, NewJob, OnFailure, Options};
use queue_tests::world::{Running, World, worker};
use serde_json::{Value, json};

use crate::jobs::app;

/// How many deliveries have failed.
const FAILED: usize = 10_000;
/// The processes have no time to be declared dead by each other.
const DEAD_AFTER: Duration = Duration::from_secs(3_600);

/// The tenants whose reports wait.
const TENANTS: [&str; 6] = [
    "acme",
    "nordlicht-gmbh",
    "株式会社みなと",
    "شركة النور",
    "o'brien & sons \"ltd\"",
    "a-tenant-whose-name-is-as-long-as-names-may-become-and-longer-still",
];

/// Fills the queues, and starts the processes. Jobs that stand still are enqueued before.
pub(crate) async fn open(world: &World) -> Result<Vec<Running>> {
    fill(world).await?;
    fill_batch(world).await?;
    end_some(world).await?;
    let processes = vec![
        start(world, "worker-eu-1.311", "billing,media,webhooks", 8)?,
        start(world, "worker-eu-2.912", "imports,statements,default", 8)?,
    ];
    world.until("failed where kind = 'charge_card'", 4).await;
    world
        .until("failed where kind = 'build_statement'", 1)
        .await;
    world.until("claimed", 4).await;
    world
        .until("blocked where kind = 'import_account'", 9)
        .await;
    age(world).await;
    Ok(processes)
}

fn start(world: &World, name: &str, queues: &str, concurrency: usize) -> Result<Running> {
    let mut settings = worker(queues, concurrency);
    settings.process.name = Some(name.to_owned());
    settings.process.dead_after = DEAD_AFTER;
    settings.process.heartbeat_interval = Duration::from_secs(1);
    Ok(world.start(app()?, settings))
}

fn on(queue: &'static str) -> Options {
    Options::new().queue(queue)
}

async fn enqueue(
    world: &World,
    kind: &'static str,
    many: usize,
    job: impl Fn(usize) -> (Value, Options),
) -> Result<()> {
    let jobs = (0..many).map(|number| {
        let (args, options) = job(number);
        NewJob::untyped(kind, &args, options)
    });
    world.queue.enqueue_all(jobs).await?;
    Ok(())
}

async fn fill(world: &World) -> Result<()> {
    let account = |number: usize| Limits::key(format!("account/{}", number % 3)).to(1);
    enqueue(world, "import_account", 12, |number| {
        let args = json!({"account_id": number % 3, "since": "2026-11-01", "token": "x"});
        let context = Context::new().tenant(TENANTS[number % 2]);
        let options = on("imports").limits(account(number)).tag("crm");
        (args, options.context(context))
    })
    .await?;
    enqueue(world, "send_invoice", 40, |number| {
        let args = json!({"invoice": format!("INV-{number}"), "to": "accounts@acme.example"});
        (args, on("billing"))
    })
    .await?;
    enqueue(world, "resize_image", 180, |number| {
        (json!({"image": number, "width": 640}), on("media"))
    })
    .await?;
    enqueue(world, "send_invoice", 25, |number| {
        let delay = Duration::from_secs(60 * (number as u64 + 1));
        (json!({"reminder": number}), on("billing").delay(delay))
    })
    .await?;
    enqueue(world, "sync_ledger_v2", 7, |number| {
        (json!({"ledger": number}), on("billing"))
    })
    .await?;
    share_reports(world).await?;
    enqueue(world, "build_report", 31, |number| {
        let title = "<script>alert('Q4')</script>";
        let tenant = TENANTS[number * number % TENANTS.len()];
        let context = Context::new().tenant(tenant);
        let options = on("reports").context(context);
        (json!({"report": number, "title": title}), options)
    })
    .await?;
    enqueue(world, "charge_card", 3, |number| {
        let args = json!({"invoice": format!("INV-{}", 7000 + number), "amount": "49.90",
                          "card": "4242424242424242"});
        (args, on("billing").attempts(1).tag("checkout"))
    })
    .await?;
    enqueue(world, "build_statement", 2, |number| {
        let ends = ["well", "badly"][number];
        let args = json!({"month": format!("2026-{:02}", 9 + number), "ends": ends});
        (args, on("statements").attempts(1))
    })
    .await?;
    enqueue(world, "ship_order", 1, |_| {
        (json!({"order": 1007}), on("default"))
    })
    .await?;
    fail_deliveries(world).await
}

/// Makes the queue of reports fair. One tenant has more turns and a limit, another is paused.
async fn share_reports(world: &World) -> Result<()> {
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    set_fair(&mut conn, schema, "reports", true).await?;
    tenants::set_weight(&mut conn, schema, TENANTS[0], 4).await?;
    let five = LimitSetting {
        to: Some(5),
        rate: None,
    };
    change(&mut conn, schema, "@tenant/acme", five).await?;
    let why = Some("their import floods the disk");
    tenants::pause(&mut conn, schema, TENANTS[1], Some("jonas"), why).await?;
    Ok(())
}

/// A batch in which one job has failed, one runs, and one waits for all others.
async fn fill_batch(world: &World) -> Result<()> {
    let job = |kind, args| NewJob::untyped(kind, &args, on("statements").attempts(1));
    let mut batch = Batch::new()
        .name("Renewals of November")
        .metadata(json!({"month": "2026-11", "asked_by": "jonas"}))
        .on_completion_new(job("send_invoice", json!({"to": "office@acme.example"})));
    let load = [1, 2, 3].map(|meter| batch.add_new(job("load_meters", json!({"meter": meter}))));
    let mut last = Vec::new();
    for plan in 0..12 {
        let renew = batch.add_new(job("renew_plan", json!({"plan": plan})));
        batch.after(renew, load, OnFailure::Cancel);
        last.push(renew);
    }
    let charge = batch.add_new(job("charge_card", json!({"invoice": "INV-7100"})));
    batch.after(charge, load, OnFailure::Cancel);
    let args = json!({"month": "2026-11", "ends": "late"});
    let build = batch.add_new(job("build_statement", args));
    batch.after(build, last.iter().copied(), OnFailure::Cancel);
    let report = batch.add_new(job("reindex_product", json!({"range": "all"})));
    batch.after(report, [charge, build], OnFailure::Hold);
    world.queue.enqueue_batch(batch).await?;
    let quick = Batch::new().name("Prices of the winter sale");
    let prices = (1..=4).map(|range| job("reindex_product", json!({"range": range})));
    let quick = prices.fold(quick, |mut batch, price| {
        batch.add_new(price);
        batch
    });
    world.queue.enqueue_batch(quick).await?;
    Ok(())
}

/// Cancels and discards a job.
async fn end_some(world: &World) -> Result<()> {
    let jobs = (0..2).map(|_| NewJob::untyped("build_report", &json!({}), on("reports")));
    let enqueued = world.queue.enqueue_all(jobs).await?;
    world.queue.cancel(enqueued[0].id()).await?;
    let discarded = format!(
        "with gone as (delete from queue.ready where job_id = {} returning *)
         insert into queue.finished (job_id, attempt, outcome) select job_id, 0, 'discarded' from gone",
        enqueued[1].id(),
    );
    world.sql(&discarded).await;
    let mut conn = world.connect().await;
    let why = Some("the old CRM is switched off");
    pause_because(
        &mut conn,
        world.queue.schema(),
        "imports-old",
        Some("jonas"),
        why,
    )
    .await?;
    Ok(())
}

/// Makes thousands of failed deliveries, as if they had failed during the last hours.
async fn fail_deliveries(world: &World) -> Result<()> {
    enqueue(world, "deliver_webhook", FAILED, |number| {
        let args = json!({"delivery": number, "url": "https://hooks.acme.example/in"});
        (args, on("webhooks").attempts(3))
    })
    .await?;
    world
        .sql(
            "with gone as (
                 delete from queue.ready where kind = 'deliver_webhook' returning *
             )
             insert into queue.failed (job_id, failed_at, attempt, failures, crashes, queue, kind)
             select job_id, now() - job_id % 9000 * interval '1 s', 3, 3, 0, queue, kind from gone",
        )
        .await;
    world
        .sql(
            "insert into queue.attempts
                 (job_id, attempt, started_at, ended_at, process, ending, error, backtrace)
             select job_id, 3, failed_at - interval '2 s', failed_at, 'worker-eu-1.311', 'error',
                 case when job_id % 4 = 0
                     then 'no answer from 10.0.7.' || job_id % 200 || ':443 within 30s'
                     else 'hooks.acme.example answered 503 to delivery ' || job_id * 7919
                 end || E'\\n\\nCaused by:\\n    connection reset by peer',
                 E'   0: shop::webhooks::deliver\\n             at ./src/webhooks.rs:88\\n'
                 '   1: tokio::runtime::task::core::poll'
             from queue.failed where kind = 'deliver_webhook'",
        )
        .await;
    Ok(())
}

/// Makes the past: jobs that stand still for long, what ended in the last hour, and a process that is silent.
async fn age(world: &World) {
    for statement in [
        "update queue.ready set ready_at = now() - interval '40 minutes' where queue = 'reports'",
        "update queue.ready set ready_at = now() - interval '4 minutes' where queue = 'billing'",
        "insert into queue.counts
             (span, at, queue, kind, done, discarded, cancelled, failed, retried, waited_ms, ran_ms)
         select 0, date_bin('1 minute', now(), 'epoch'::timestamptz) - ago * interval '1 minute', queue, kind,
             (many * (1 + 0.25 * sin(ago / 7.0) + 0.08 * sin(ago * 1.7)))::int, 0, 0,
             case when kind = 'deliver_webhook' and ago < 24 then (30 + 9 * sin(ago))::int else 0 end,
             case when ago % 11 = 0 then 2 else 0 end, many * 40, many * 120
         from generate_series(1, 59) as ago,
             (values ('media', 'resize_image', 210), ('billing', 'send_invoice', 64),
                 ('webhooks', 'deliver_webhook', 38)) as kinds (queue, kind, many)",
        "insert into queue.depths (span, at, queue, ready, scheduled, blocked, running, failed, oldest_ms, is_least)
         select span, date_bin(span * interval '1 minute', now(), 'epoch'::timestamptz)
                 - ago * span * interval '1 minute',
             queue, (many * (1 + 0.4 * sin(ago / 5.0)))::int, 0, 0, 0, 0, 4000, false
         from unnest(array[1, 60]) as span, generate_series(1, 59) as ago,
             (values ('*', 900), ('media', 460), ('billing', 240), ('reports', 40), ('webhooks', 160))
                 as queues (queue, many)",
        "insert into queue.processes (id, name, host, pid, version, details, started_at, heartbeat_at)
         values ('00000000-0000-7000-8000-000000000001', 'worker-eu-3.77', 'eu-3', 77, '2.14.1',
             '{\"queues\": [\"billing\", \"media\"], \"kinds\": [\"send_invoice\"], \"concurrency\": 8,
               \"services\": []}', now() - interval '3 hours', now() - interval '24 s')",
    ] {
        world.sql(statement).await;
    }
}
