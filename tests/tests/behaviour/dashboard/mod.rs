//! The pages that show jobs and change them.

mod acts;
mod api;
mod batches;
mod closed;
mod command;
mod hostile;
mod live;
mod many;
mod pages;
mod recurring;
mod replica;
mod routes;
mod shards;
mod tenants;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use queue_core::{JobId, NewJob, Options, Shards};
use queue_tests::world::World;
use queue_worker::dashboard::{Dashboard, Role, Viewer};
use serde_json::Value;
use tower::ServiceExt as _;

/// The answer to a request.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the value of the first attribute that stands behind a text.
    fn after(&self, text: &str) -> String {
        let (_, rest) = self
            .text
            .split_once(text)
            .unwrap_or_else(|| panic!("no {text}: {}", self.text));
        rest.split('"').next().unwrap().to_owned()
    }

    fn token(&self) -> String {
        self.after("name=\"token\" value=\"")
    }
}

/// A dashboard at `/ops/jobs`, and one who looks at it.
#[derive(Clone)]
pub(crate) struct Site {
    router: Router,
    login: Option<String>,
}

impl Site {
    fn of(dashboard: Dashboard) -> Self {
        Self {
            router: Router::new().nest_service("/ops/jobs", dashboard.router()),
            login: None,
        }
    }

    /// A dashboard whose viewers have this role.
    pub(crate) fn open(world: &World, role: Role) -> Self {
        let dashboard = Dashboard::new(world.queue.clone());
        Self::of(dashboard.authorize(move |_| async move { Some(Viewer::new("mira", role)) }))
    }

    /// A dashboard of shards.
    pub(crate) fn open_all(shards: &Shards, role: Role) -> Self {
        let dashboard = Dashboard::of_shards(shards);
        Self::of(dashboard.authorize(move |_| async move { Some(Viewer::new("mira", role)) }))
    }

    fn signed_in(mut self, user: &str, password: &str) -> Self {
        self.login = Some(STANDARD.encode(format!("{user}:{password}")));
        self
    }

    async fn request(&self, request: Request<Body>) -> Answer {
        let (mut parts, body) = request.into_parts();
        if let Some(login) = &self.login {
            let value = format!("Basic {login}").parse().unwrap();
            parts.headers.insert("authorization", value);
        }
        let request = Request::from_parts(parts, body);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 4 << 20).await.unwrap();
        Answer {
            status,
            headers,
            text: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/ops/jobs{path}"))
            .header("content-type", "application/x-www-form-urlencoded");
        self.request(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    /// Opens a page that must be there.
    async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.text
    }

    /// Presses a button, with the token of a page.
    async fn press(&self, page: &str, path: &str) -> Answer {
        let token = self.get(page).await.token();
        self.send("POST", path, &format!("token={token}")).await
    }
}

async fn enqueue(world: &World, kind: &'static str, args: &Value, options: Options) -> JobId {
    let job = NewJob::untyped(kind, args, options);
    world.queue.enqueue_all([job]).await.unwrap()[0].id()
}

/// Makes a ready job failed, with an error.
async fn fail(world: &World, job: JobId, error: &str) {
    let error = error.replace('\'', "''");
    world
        .sql(&format!(
            "with gone as (delete from queue.ready where job_id = {job} returning *)
             insert into queue.failed (job_id, attempt, failures, crashes, queue, kind)
             select job_id, 1, 1, 0, queue, kind from gone"
        ))
        .await;
    world
        .sql(&format!(
            "insert into queue.attempts
                 (job_id, attempt, started_at, ended_at, process, ending, error, backtrace)
             values ({job}, 1, now() - interval '2 s', now(), 'worker', 'error', '{error}',
                 '   0: shop::charge')"
        ))
        .await;
}
