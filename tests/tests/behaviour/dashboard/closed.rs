//! Authentication, and the headers of answers.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use queue_tests::world::World;
use queue_worker::dashboard::{Dashboard, Role, Viewer, hash_password};

use super::Site;

#[tokio::test]
async fn a_program_with_the_token_reads_and_changes_nothing() {
    let world = World::new().await;
    let token = "a-token-of-thirty-two-characters";
    let dashboard = Dashboard::new(world.queue.clone()).token(token).unwrap();
    let site = Site::of(dashboard);
    let ask = async |method: &str, path: &str, token: &str| {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(format!("/ops/jobs{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(axum::body::Body::empty()).unwrap();
        site.request(request).await.status.as_u16()
    };

    assert_eq!(ask("GET", "/queues", token).await, 200);
    assert_eq!(ask("POST", "/queues/mail/pause", token).await, 403);
    assert_eq!(ask("GET", "/queues", "another").await, 401);
    assert_eq!(site.get("/queues").await.status.as_u16(), 401);
    assert!(Dashboard::new(world.queue.clone()).token("short").is_err());
}

#[tokio::test]
async fn every_page_but_the_probes_is_closed_until_a_way_to_log_in_is_configured() {
    let world = World::new().await;
    let site = Site::of(Dashboard::new(world.queue.clone()));

    for path in ["", "/jobs", "/jobs/1", "/nowhere", "/live?view=/"] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(
            answer.text.contains("This dashboard is closed"),
            "{}",
            answer.text
        );
        assert!(!answer.header("www-authenticate").starts_with("Basic"));
    }
    assert_eq!(site.page("/up").await, "up\n");
    assert_eq!(site.page("/ready").await, "ready\n");
}

#[tokio::test]
async fn a_user_with_a_password_comes_in() {
    let world = World::new().await;
    for password in ["open", &hash_password("open").unwrap()] {
        let dashboard = Dashboard::new(world.queue.clone())
            .login("mira", password)
            .unwrap();
        let site = Site::of(dashboard);

        let unasked = site.get("/jobs").await;
        let wrong = site.clone().signed_in("mira", "shut").get("/jobs").await;
        let right = site.signed_in("mira", "open").get("/jobs").await;

        assert_eq!(unasked.status, StatusCode::UNAUTHORIZED);
        assert!(
            unasked
                .header("www-authenticate")
                .starts_with("Basic realm=")
        );
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert!(wrong.text.contains("You have 9 left"), "{}", wrong.text);
        assert_eq!(right.status, StatusCode::OK, "{}", right.text);
    }
}

#[tokio::test]
async fn after_ten_wrong_passwords_the_right_one_is_not_looked_at() {
    let world = World::new().await;
    let dashboard = Dashboard::new(world.queue.clone())
        .login("mira", "open")
        .unwrap();
    let site = Site::of(dashboard);
    let guessing = site.clone().signed_in("mira", "guess");
    for _ in 0..10 {
        guessing.get("/jobs").await;
    }

    let answer = site.signed_in("mira", "open").get("/jobs").await;

    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "60");
}

#[tokio::test]
async fn the_application_says_who_may_come_in() {
    let world = World::new().await;
    let dashboard = Dashboard::new(world.queue.clone()).authorize(|request| async move {
        let name = request.headers.get("x-user")?.to_str().ok()?.to_owned();
        Some(Viewer::new(name, Role::Viewer))
    });
    let site = Site::of(dashboard);
    let ask = |user: Option<&str>| {
        let mut request = Request::builder().uri("/ops/jobs/help");
        if let Some(user) = user {
            request = request.header("x-user", user);
        }
        site.request(request.body(Body::empty()).unwrap())
    };

    let (nobody, lena) = (ask(None).await, ask(Some("lena")).await);

    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    assert!(lena.text.contains("<bdi>lena</bdi>"), "{}", lena.text);
}

#[tokio::test]
async fn browsers_are_told_to_run_nothing_foreign_and_to_keep_nothing() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Admin);
    for (path, status) in [
        ("", 200),
        ("/jobs/77", 404),
        ("/nowhere", 404),
        ("/up", 200),
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        let policy = answer.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn assets_have_a_hash_and_are_kept_and_compressed() {
    let world = World::new().await;
    let site = Site::of(Dashboard::new(world.queue.clone()));
    let page = site.get("/").await;
    for begin in [
        "rel=\"stylesheet\" href=\"/ops/jobs",
        "rel=\"icon\" href=\"/ops/jobs",
    ] {
        let path = page.after(begin);
        let answer = site.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.header("cache-control").contains("immutable"));
    }
    let style = page.after("rel=\"stylesheet\" href=\"");
    let request = Request::builder()
        .uri(style)
        .header("accept-encoding", "br, gzip");
    let compressed = site.request(request.body(Body::empty()).unwrap()).await;
    assert_eq!(compressed.header("content-encoding"), "gzip");
    assert_eq!(
        site.get("/assets/style-0.css").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_page_says_that_the_database_is_away_and_comes_back() {
    let pool = sqlx::postgres::PgPoolOptions::new()
        .acquire_timeout(std::time::Duration::from_millis(300))
        .connect_lazy("postgres://127.0.0.1:1/nowhere")
        .unwrap();
    let dashboard = Dashboard::new(queue_core::Queue::new(pool));
    let site = Site::of(dashboard.authorize(|_| async { Some(Viewer::new("mira", Role::Admin)) }));

    let answer = site.get("/jobs?state=failed").await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "5");
    assert!(
        answer.text.contains("The database does not answer"),
        "{}",
        answer.text
    );
    assert_eq!(answer.header("refresh"), "5");
    assert_eq!(site.get("/ready").await.text, "away\n");
    assert_eq!(site.get("/up").await.text, "up\n");
}

#[tokio::test]
async fn a_database_without_tables_is_named_on_a_page() {
    let world = World::new().await;
    world.sql("drop schema queue cascade").await;
    let site = Site::open(&world, Role::Admin);

    let answer = site.get("/jobs").await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("queue migrate"), "{}", answer.text);
    assert_ne!(site.get("/ready").await.status, StatusCode::OK);
}
