//! An attempt as a request to an endpoint.
//!
//! The arguments are the body of a `POST`, as JSON. The headers `Queue-Job-Id`, `Queue-Job-Kind`,
//! `Queue-Job-Queue`, `Queue-Job-Attempt` and `Queue-Job-Attempts-Max` name the job, and
//! `Idempotency-Key` is its id, the same for every attempt. The status is the outcome:
//!
//! | status | outcome |
//! | --- | --- |
//! | 2xx | done |
//! | 429, 503 with `Retry-After` | tried again after that time, at most a day |
//! | 410 | discarded: what the job was about is gone |
//! | any other | tried again, with the start of the answer's body |
//!
//! Redirects are not followed: a `POST` that is redirected tends to arrive as a `GET`. A `4xx` is
//! tried again too, for it mostly means that one side was deployed before the other.

use std::sync::Once;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use tokio_util::sync::CancellationToken;

use super::{HandlerOutcome, storable};
use crate::app::context::Attempt;
use crate::app::problem::with_causes;
use crate::config::HttpHandler;

/// How much of the start of an answer becomes part of the error.
const BODY_BYTES: usize = 2 * 1024;

/// How long the body may take to arrive once the status says that something is wrong.
const BODY_TIME: Duration = Duration::from_secs(5);

/// How long it may take when the job is done, and its body serves nothing but the connection.
const IDLE_BODY_TIME: Duration = Duration::from_millis(50);

const CONNECT_TIME: Duration = Duration::from_secs(10);

/// The longest wait that an endpoint may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// Makes the client that all endpoints of a process share.
///
/// An attempt has no time limit here: that is its timeout, which drops the future.
///
/// # Errors
///
/// When an endpoint is `https` and the system has no certificates to trust. Without such an
/// endpoint none are needed, and a container without them will do.
pub(crate) fn http_client<'a>(
    handlers: impl IntoIterator<Item = &'a HttpHandler>,
) -> Result<Client, String> {
    install_crypto();
    let needs_certificates = handlers.into_iter().any(|handler| handler.is_https());
    let builder = Client::builder()
        .user_agent(concat!("queue/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIME);
    let builder = match needs_certificates {
        true => builder,
        false => builder.tls_certs_only([]),
    };
    builder
        .build()
        .map_err(|error| format!("could not set up HTTP: {}", with_causes(&error)))
}

/// Chooses ring for the whole program, unless the program has chosen already.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| _ = rustls::crypto::ring::default_provider().install_default());
}

impl HttpHandler {
    fn is_https(&self) -> bool {
        Url::parse(&self.url).is_ok_and(|url| url.scheme() == "https")
    }
}

/// Runs one attempt as a request.
///
/// When `stop` is cancelled, or the future is dropped, the connection is closed: there is no
/// gentler way to ask an endpoint to stop.
pub(crate) async fn call_http(
    spec: &HttpHandler,
    client: &Client,
    attempt: &Attempt,
    args: &str,
    stop: CancellationToken,
) -> HandlerOutcome {
    // Only the wait for the status can be stopped: once it is known the outcome is, and a job
    // that is done must not be run again for want of the rest of the answer.
    let answer = tokio::select! {
        biased;
        answer = request(spec, client, attempt, args).send() => answer,
        () = stop.cancelled() => {
            let error = format!("stopped before `{}` answered", address(spec));
            return HandlerOutcome::Retry { error };
        }
    };
    match answer {
        Ok(response) => judge(response).await,
        Err(error) => HandlerOutcome::Retry {
            error: not_answered(spec, error),
        },
    }
}

fn request(
    spec: &HttpHandler,
    client: &Client,
    attempt: &Attempt,
    args: &str,
) -> reqwest::RequestBuilder {
    let own = spec.headers.iter();
    own.fold(client.post(&spec.url), |request, (name, value)| {
        request.header(name, value)
    })
    .header(CONTENT_TYPE, "application/json")
    .header("Queue-Job-Id", attempt.job_id.0)
    .header("Queue-Job-Kind", &attempt.kind)
    .header("Queue-Job-Queue", &attempt.queue)
    .header("Queue-Job-Attempt", attempt.number)
    .header("Queue-Job-Attempts-Max", attempt.attempts_max)
    .header("Idempotency-Key", attempt.job_id.0)
    .body(args.to_owned())
}

async fn judge(response: Response) -> HandlerOutcome {
    let status = response.status();
    let after = retry_after(response.headers(), Utc::now());
    if status.is_success() {
        // A connection whose answer was read to its end serves the next job.
        start_of_body(response, IDLE_BODY_TIME).await;
        return HandlerOutcome::Done;
    }
    let body = start_of_body(response, BODY_TIME).await;
    let error = match body.as_str() {
        "" => format!("answered {status}"),
        body => format!("answered {status}: {body}"),
    };
    match (status, after) {
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(after)) => {
            HandlerOutcome::RetryAfter { after, error }
        }
        (StatusCode::GONE, _) => HandlerOutcome::Discard { error },
        _ => HandlerOutcome::Retry { error },
    }
}

/// The time to wait that the answer asks for, as seconds or as a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = DateTime::parse_from_rfc2822(value).ok()?;
            (at.to_utc() - now).to_std().unwrap_or(Duration::ZERO)
        }
    };
    Some(after.min(RETRY_AFTER_MAX))
}

async fn start_of_body(mut response: Response, time: Duration) -> String {
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > BODY_BYTES {
                break;
            }
        }
    };
    _ = tokio::time::timeout(time, read).await;
    let text = storable(&body);
    match text.floor_char_boundary(BODY_BYTES) {
        end if end < text.len() => format!("{}…", &text[..end]),
        _ => text.trim_end().to_owned(),
    }
}

fn not_answered(spec: &HttpHandler, error: reqwest::Error) -> String {
    format!(
        "no answer from `{}`: {}",
        address(spec),
        with_causes(&error.without_url())
    )
}

/// The address without what may be secret in it: user, password and query.
fn address(spec: &HttpHandler) -> String {
    let Ok(mut url) = Url::parse(&spec.url) else {
        return "the endpoint".to_owned();
    };
    _ = url.set_username("");
    _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests;
