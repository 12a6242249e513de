//! Names, arguments and errors that try to become part of a page.

use axum::http::StatusCode;
use queue_core::{NewJob, Options};
use queue_tests::world::World;
use queue_worker::dashboard::{Role, routes};
use serde_json::json;

use super::{Site, fail};

const SCRIPT: &str = "<script>alert(\"x\")</script>";
const ATTRIBUTE: &str = "\" onmouseover=\"alert(1)\" x='";
/// Both as a part of an address.
const ASKED: &str = "%3Cscript%3Ealert(%22x%22)%3C%2Fscript%3E%22%20onmouseover%3D%22alert(1)";
const DIRECTION: &str = "\u{202e}gnp.exe";

/// Rows as another program may have written them: the checks of names are in our code, not in the tables.
async fn hostile(world: &World) -> i64 {
    let args = json!({SCRIPT: [ATTRIBUTE, DIRECTION, "</pre>", 12345], "n": "\u{1}"});
    let job = NewJob::untyped("kind", &args, Options::new().tag("tag"));
    let job = world.queue.enqueue_all([job]).await.unwrap()[0].id();
    fail(
        world,
        job,
        &format!("{SCRIPT}{ATTRIBUTE}{DIRECTION}\nmore {SCRIPT}"),
    )
    .await;
    let id = job.0;
    let text = format!("{SCRIPT}{ATTRIBUTE}").replace('\'', "''");
    for statement in [
        format!("update queue.jobs set kind = '{text}', queue = '{text}', tags = array['{text}']"),
        format!("update queue.failed set kind = '{text}', queue = '{text}'"),
        format!(
            "insert into queue.audit (who, role, what, target, why)
             values ('{text}', '{text}', '{text}', 'queues/{text}', '{text}'), ('{text}', 'x', 'x', '{text}', null)"
        ),
        format!(
            "insert into queue.operations (who, role, action, why, stopped_by, error, counted, counted_at_least,
                 filter, left_out, ended_at)
             values ('{text}', 'x', '{text}', '{text}', '{text}', '{text}', 1, false, '{{}}',
                 jsonb_build_object('{text}', 1), now())"
        ),
        format!("update queue.jobs set context = jsonb_build_object('{text}', '{text}')"),
        format!("insert into queue.steps (job_id, occurrence, name, result) values ({id}, 1, '{text}', '1')"),
        format!(
            "insert into queue.progress (job_id, set_at, name, value)
             values ({id}, now(), '{text}', to_json('{text}'::text)),
                 ({id}, now(), '@output', to_json('{text}'::text)),
                 ({id}, now(), '@log/1', json_build_object('dropped', 0, 'lines', json_build_array('{text}')))"
        ),
        format!("update queue.attempts set process = '{text}', backtrace = '0: a::b{text}'"),
        format!("insert into queue.kind_versions values (now(), '{text}', '{text}')"),
        format!("insert into queue.queues (name, paused_at) values ('{text}', now())"),
        format!(
            "insert into queue.batches (id, name, metadata)
             values (1, '{text}', jsonb_build_object('{text}', '{text}'))"
        ),
        format!("insert into queue.limits (name, slots, declared) values ('{text}', 3, false)"),
        format!(
            "insert into queue.recurring_jobs (name, schedule, zone, kind, args, queue, priority, attempts_max,
                 crashes_max, tags, missed, missed_max, overlap, jitter_ms)
             values ('hostile', '{text}', '{text}', '{text}', jsonb_build_object('{text}', '{DIRECTION}'), '{text}', 0, 1, 1,
                 array['{text}'], 'once', 1, 'allow', 0)"
        ),
        format!(
            "insert into queue.processes (id, name, host, pid, version, details, started_at, heartbeat_at)
             values ('00000000-0000-7000-8000-000000000001', '{text}', '{text}', 1, '{text}',
                 jsonb_build_object('queues', jsonb_build_array('{text}'),
                     'kinds', jsonb_build_array('{text}'), 'concurrency', 3), now(), now())"
        ),
    ] {
        world.sql(&statement).await;
    }
    make_tenant(world, &text).await;
    id
}

/// Makes the jobs those of a tenant, which is paused and limited.
async fn make_tenant(world: &World, text: &str) {
    for statement in [
        format!("update queue.jobs set tenant = '{text}'"),
        format!(
            "insert into queue.tenants (name, paused_at, paused_by, paused_why)
             values ('{text}', now(), '{text}', '{text}')"
        ),
        format!(
            "insert into queue.limits (name, slots, declared) values ('@tenant/{text}', 3, false)"
        ),
    ] {
        world.sql(&statement).await;
    }
}

#[tokio::test]
async fn no_text_of_a_user_becomes_part_of_a_page() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Admin);
    let job = hostile(&world).await;
    let asked = ASKED;
    let name = format!("{asked}%22%20x%3D%27");
    for path in [
        String::new(),
        "/jobs".to_owned(),
        "/jobs?state=failed".to_owned(),
        format!(
            "/jobs?state=failed&kind={asked}&queue={asked}&tag={asked}&error={asked}&arg={asked}"
        ),
        format!("/jobs?state={asked}&before={asked}&{asked}={asked}"),
        format!("/jobs?q={asked}"),
        format!("/jobs/{job}"),
        format!("/jobs/{job}/discard"),
        "/failures".to_owned(),
        format!("/failures/{asked}/{asked}"),
        "/operations/1".to_owned(),
        "/audit".to_owned(),
        format!("/audit?who={asked}&what={asked}"),
        format!("/jobs/retry?state=failed&kind={asked}&cause={asked}"),
        format!("/jobs/discard?id={asked}"),
        "/queues".to_owned(),
        "/limits".to_owned(),
        "/batches".to_owned(),
        "/batches/1".to_owned(),
        format!("/batches/{asked}"),
        format!("/limits?after={asked}"),
        "/recurring".to_owned(),
        "/recurring/hostile".to_owned(),
        "/recurring/hostile/change".to_owned(),
        "/recurring/hostile/remove".to_owned(),
        "/tenants".to_owned(),
        format!("/tenants?after={asked}"),
        format!("/tenants/{name}"),
        format!("/tenants/{name}/pause"),
        format!("/tenants/{name}/limit"),
        format!("/tenants/{asked}"),
        format!("/jobs?state=failed&tenant={name}"),
        "/processes".to_owned(),
        "/processes/00000000-0000-7000-8000-000000000001".to_owned(),
        "/help".to_owned(),
        format!("/queues/{asked}"),
        format!("/jobs/{asked}"),
        format!("/recurring/{asked}"),
        format!("/processes/{asked}"),
        format!("/{asked}"),
    ] {
        let page = site.get(&path).await.text;
        assert!(!page.contains("<script>"), "{path}: {page}");
        assert!(!page.contains("\" onmouseover=\""), "{path}: {page}");
        assert!(!page.contains('\u{202e}'), "{path}: {page}");
        assert!(!page.contains('\u{1}'), "{path}: {page}");
        assert!(page.contains("</html>"), "{path}: {page}");
    }
    let page = site.page(&format!("/jobs/{job}")).await;
    assert!(page.contains("&lt;script&gt;"), "{page}");
    assert!(page.contains("&lt;U+202E&gt;gnp.exe"), "{page}");
}

#[tokio::test]
async fn no_text_of_a_form_becomes_part_of_the_page_that_shows_it_again() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Admin);
    let token = site.get("/add-recurring").await.token();
    let names = [
        "name", "schedule", "zone", "kind", "args", "queue", "priority", "tags", "missed",
        "jitter", "seen",
    ];
    let fields = names.map(|name| format!("{name}={ASKED}%E2%80%AE%01"));
    let body = format!("token={token}&{}", fields.join("&"));

    let page = site.send("POST", "/add-recurring", &body).await.text;

    assert!(page.contains("&#60;script&#62;"), "{page}");
    for text in ["<script>", "\" onmouseover=\"", "\u{202e}", "\u{1}"] {
        assert!(!page.contains(text), "{text}: {page}");
    }
}

#[tokio::test]
async fn names_and_fields_that_the_database_refuses_are_no_mistakes_of_the_program() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Admin);
    for (method, path, _) in routes() {
        let path = path.replace('{', "a%00b").replace('}', "");
        let status = match path.starts_with("/api/") {
            true => StatusCode::BAD_REQUEST,
            false => StatusCode::NOT_FOUND,
        };
        if path.contains("%00") {
            let answer = site.send(method, &path, "").await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        }
    }
    let filtered = site.get("/jobs?tag=a%00b").await;
    assert_eq!(filtered.status, StatusCode::NOT_FOUND);

    let token = site.get("/queues/mail/pause").await.token();
    let body = format!("token={token}&why=a%00b");
    let paused = site.send("POST", "/queues/mail/pause", &body).await;

    assert_eq!(paused.status, StatusCode::BAD_REQUEST);
    assert!(paused.text.contains("NUL"), "{}", paused.text);
}
