//! The context of a request, for the jobs that a web service enqueues.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::Response;
use queue_core::Context;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The most bytes of a request id that is taken from a header.
const REQUEST_ID_BYTES_MAX: usize = 200;

/// Makes the request id and the trace of a request the current [`Context`] while it is answered, so that
/// the jobs that it enqueues have them. A layer of axum:
///
/// ```
/// use axum::Router;
/// use axum::extract::Request;
/// use axum::middleware::{Next, from_fn};
/// use axum::response::Response;
/// use queue_worker::{Context, web};
///
/// /// Adds who the request is for, once that is known.
/// async fn of_tenant(request: Request, next: Next) -> Response {
///     let tenant = "acme"; // of the session
///     let context = Context::current().tenant(tenant);
///     context.scope(next.run(request)).await
/// }
///
/// let router: Router = Router::new()
///     .layer(from_fn(of_tenant))
///     .layer(from_fn(web::context));
/// ```
pub async fn context(request: Request, next: Next) -> Response {
    let context = context_of(request.headers());
    context.scope(next.run(request)).await
}

/// Returns the context of a request: its id from the header `x-request-id`, or a new one, and its trace
/// from the header `traceparent`.
pub fn context_of(headers: &HeaderMap) -> Context {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_id = |id: &&str| !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX;
    let id = text(REQUEST_ID).filter(is_id).map(str::to_owned);
    let context = Context::new().request_id(id.unwrap_or_else(|| Uuid::now_v7().to_string()));
    match text(TRACEPARENT) {
        Some(traceparent) => context.traceparent(traceparent),
        None => context,
    }
}
