//! Every address: its method, who may use it, and where it is below the mount.

use axum::http::StatusCode;
use queue_core::Options;
use queue_tests::world::World;
use queue_worker::dashboard::{Dashboard, Role, Viewer, routes};
use serde_json::json;

use super::{Site, enqueue};

/// Every address with its method and the role that it needs.
pub(super) const ROUTES: [(&str, &str, Role); 74] = [
    ("GET", "/jobs/retry", Role::Operator),
    ("POST", "/jobs/retry", Role::Operator),
    ("GET", "/jobs/discard", Role::Operator),
    ("POST", "/jobs/discard", Role::Operator),
    ("GET", "/jobs/cancel", Role::Operator),
    ("POST", "/jobs/cancel", Role::Operator),
    ("GET", "/jobs/run", Role::Operator),
    ("POST", "/jobs/run", Role::Operator),
    ("GET", "/jobs/reschedule", Role::Operator),
    ("POST", "/jobs/reschedule", Role::Operator),
    ("GET", "/jobs/priority", Role::Operator),
    ("POST", "/jobs/priority", Role::Operator),
    ("GET", "/jobs/{id}", Role::Viewer),
    ("GET", "/jobs/{id}/{verb}", Role::Operator),
    ("POST", "/jobs/{id}/{verb}", Role::Operator),
    ("GET", "/operations/{id}", Role::Viewer),
    ("POST", "/operations/{id}/stop", Role::Operator),
    ("GET", "/failures/{kind}/{fingerprint}", Role::Viewer),
    ("GET", "/queues/{name}", Role::Viewer),
    ("GET", "/queues/{name}/{verb}", Role::Operator),
    ("POST", "/queues/{name}/{verb}", Role::Operator),
    ("POST", "/limits/{key}/{verb}", Role::Operator),
    ("GET", "/batches/{id}", Role::Viewer),
    ("GET", "/batches/{id}/{verb}", Role::Operator),
    ("POST", "/batches/{id}/{verb}", Role::Operator),
    ("GET", "/tenants/{name}", Role::Viewer),
    ("GET", "/tenants/{name}/{verb}", Role::Operator),
    ("POST", "/tenants/{name}/{verb}", Role::Operator),
    ("GET", "/processes/{id}", Role::Viewer),
    ("GET", "/processes/{id}/stop", Role::Admin),
    ("POST", "/processes/{id}/stop", Role::Admin),
    ("POST", "/processes/{id}/{verb}", Role::Operator),
    ("GET", "/", Role::Viewer),
    ("GET", "/jobs", Role::Viewer),
    ("GET", "/failures", Role::Viewer),
    ("GET", "/queues", Role::Viewer),
    ("GET", "/limits", Role::Viewer),
    ("GET", "/recurring", Role::Viewer),
    ("GET", "/batches", Role::Viewer),
    ("GET", "/tenants", Role::Viewer),
    ("GET", "/processes", Role::Viewer),
    ("GET", "/audit", Role::Viewer),
    ("GET", "/audit.csv", Role::Viewer),
    ("GET", "/help", Role::Viewer),
    ("GET", "/display", Role::Viewer),
    ("GET", "/metrics", Role::Viewer),
    ("GET", "/api/v1/openapi.json", Role::Viewer),
    ("GET", "/recurring/{name}", Role::Viewer),
    ("GET", "/recurring/{name}/change", Role::Admin),
    ("POST", "/recurring/{name}/change", Role::Admin),
    ("GET", "/recurring/{name}/remove", Role::Admin),
    ("POST", "/recurring/{name}/remove", Role::Admin),
    ("POST", "/recurring/{name}/{verb}", Role::Operator),
    ("GET", "/add-recurring", Role::Admin),
    ("POST", "/add-recurring", Role::Admin),
    ("GET", "/api/v1/findings", Role::Viewer),
    ("GET", "/api/v1/stats", Role::Viewer),
    ("GET", "/api/v1/counts", Role::Viewer),
    ("GET", "/api/v1/depths", Role::Viewer),
    ("GET", "/api/v1/jobs", Role::Viewer),
    ("GET", "/api/v1/failures", Role::Viewer),
    ("GET", "/api/v1/queues", Role::Viewer),
    ("GET", "/api/v1/limits", Role::Viewer),
    ("GET", "/api/v1/recurring", Role::Viewer),
    ("GET", "/api/v1/batches", Role::Viewer),
    ("GET", "/api/v1/tenants", Role::Viewer),
    ("GET", "/api/v1/processes", Role::Viewer),
    ("GET", "/api/v1/operations", Role::Viewer),
    ("GET", "/api/v1/audit", Role::Viewer),
    ("GET", "/api/v1/jobs/{id}", Role::Viewer),
    ("GET", "/api/v1/recurring/{name}", Role::Viewer),
    ("GET", "/api/v1/batches/{id}", Role::Viewer),
    ("GET", "/api/v1/batches/{id}/jobs", Role::Viewer),
    ("GET", "/api/v1/tenants/{name}", Role::Viewer),
];

#[test]
fn the_table_of_addresses_is_whole() {
    let routes = routes();
    let routes = routes
        .iter()
        .map(|(method, path, role)| (*method, &**path, *role));
    assert_eq!(routes.collect::<Vec<_>>(), ROUTES);
}

/// Returns the verbs of an address that has some.
pub(super) fn verbs(method: &str, path: &str) -> &'static [&'static str] {
    match (method, path.split('/').nth(1)) {
        ("GET", Some("jobs")) => &["discard", "cancel", "run", "reschedule", "priority"],
        ("GET", Some("queues")) => &["pause"],
        ("GET", Some("tenants")) => &["pause", "limit", "weight"],
        (_, Some("tenants")) => &["pause", "resume", "limit", "weight"],
        (_, Some("limits")) => &["set", "reset"],
        (_, Some("batches")) => &["cancel"],
        (_, Some("jobs")) => &[
            "retry",
            "discard",
            "cancel",
            "run",
            "reschedule",
            "priority",
        ],
        (_, Some("queues")) => &["pause", "resume"],
        (_, Some("processes")) => &["quiet", "resume"],
        _ => &["run", "pause", "resume"],
    }
}

#[tokio::test]
async fn every_address_is_refused_to_lower_roles() {
    let world = World::new().await;
    let job = enqueue(&world, "send", &json!({}), Options::new())
        .await
        .to_string();
    let closed = Site::of(Dashboard::new(world.queue.clone()));
    let viewer = Site::open(&world, Role::Viewer);
    for (method, path, role) in ROUTES {
        for verb in verbs(method, path) {
            let path = path.replace("{id}", &job).replace("{name}", "default");
            let path = path.replace("{verb}", verb);
            let unknown = closed.send(method, &path, "").await;
            assert_eq!(unknown.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            let known = viewer.send(method, &path, "").await;
            let is_refused = known.status == StatusCode::FORBIDDEN;
            assert_eq!(
                is_refused,
                role > Role::Viewer,
                "{method} {path}: {}",
                known.status
            );
            if is_refused {
                let needed = format!("needs the {} role", role.as_str());
                assert!(known.text.contains(&needed), "{}", known.text);
            }
        }
    }
    assert_eq!(world.count("ready").await, 1);
}

#[tokio::test]
async fn addresses_that_are_none_are_pages_that_say_so() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Admin);
    for path in [
        "/nowhere",
        "/jobs/12345",
        "/jobs/x",
        "/jobs/12345/explode",
        "/queues/none",
        "/queues/a%20b",
        "/queues/none/clear",
        "/recurring/none",
        "/tenants/none",
        "/tenants/none/pause",
        "/tenants/none/explode",
        "/batches/12345",
        "/batches/x",
        "/processes/none",
        "/operations/1",
        "/operations/x",
        "/failures/send/0000",
        "/processes/00000000-0000-0000-0000-000000000000",
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(
            answer.text.contains("There is no"),
            "{path}: {}",
            answer.text
        );
    }
    assert_eq!(
        site.send("POST", "/jobs", "").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        site.get("/jobs/12345")
            .await
            .after("id=\"q\" name=\"q\" value=\""),
        "12345"
    );
    let bad = site.get("/display").await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    assert!(bad.text.contains("This cannot be read"), "{}", bad.text);
}

#[tokio::test]
async fn links_lead_below_the_mount_and_the_prefix_of_a_proxy() {
    let world = World::new().await;
    let dashboard = Dashboard::new(world.queue.clone())
        .authorize(|_| async { Some(Viewer::new("mira", Role::Admin)) })
        .proxy_prefix("/shop/");
    let site = Site::of(dashboard);

    for path in ["", "/jobs?state=failed", "/nowhere"] {
        let page = site.get(path).await.text;
        let links = page
            .split("href=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap());
        for link in links {
            let is_inside = link.starts_with("/shop/ops/jobs") || link.starts_with('#');
            assert!(is_inside, "{path}: {link}");
        }
    }
    assert!(
        site.page("/")
            .await
            .contains("href=\"/shop/ops/jobs/queues\"")
    );
}

#[tokio::test]
async fn the_router_alone_is_at_its_path_and_the_root_leads_to_it() {
    let world = World::new().await;
    let dashboard = Dashboard::new(world.queue.clone())
        .authorize(|_| async { Some(Viewer::new("mira", Role::Admin)) });
    let site = Site {
        router: dashboard.alone(),
        login: None,
    };
    let ask = |path: &str| {
        let request = axum::http::Request::builder().uri(path);
        site.request(request.body(axum::body::Body::empty()).unwrap())
    };

    assert_eq!(ask("/").await.header("location"), "/ops/jobs");
    assert_eq!(ask("/up").await.text, "up\n");
    assert_eq!(ask("/ready").await.text, "ready\n");
    assert_eq!(ask("/ops/jobs").await.status, StatusCode::OK);
}

#[tokio::test]
async fn colours_are_chosen_in_a_cookie_and_lead_back_inside_only() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);

    let dark = site
        .get("/display?theme=dark&back=%2Fjobs%3Fstate%3Dfailed")
        .await;
    let away = site
        .get("/display?theme=dark&back=%2F%2Fevil.example")
        .await;

    assert_eq!(dark.header("location"), "/ops/jobs/jobs?state=failed");
    assert!(
        dark.header("set-cookie")
            .starts_with("queue_theme=dark; Path=/ops/jobs")
    );
    assert!(away.header("location").starts_with("/ops/jobs"));
    let request = axum::http::Request::builder()
        .uri("/ops/jobs/help")
        .header("cookie", "queue_theme=dark");
    let page = site
        .request(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert!(page.text.contains("data-theme=\"dark\""));
}
