//! An attempt as an HTTP request.
//!
//! The arguments are the body of a `POST`, as JSON. The headers `Queue-Job-Id`, `Queue-Job-Kind`,
//! `Queue-Job-Queue`, `Queue-Job-Attempt`, `Queue-Job-Attempts-Max` and, if the queue has shards,
//! `Queue-Job-Shard` describe the job, and `Idempotency-Key` is the same for every attempt of the job, and for no
//! other job: `ID-TIME`, where TIME is when it was enqueued, in microseconds since 1970, in hexadecimal. The status
//! is the outcome:
//!
//! | status | outcome |
//! | --- | --- |
//! | 2xx | done |
//! | 429, 503 with `Retry-After` | retried after that time or the backoff, whichever is longer; at most a day |
//! | 410 | discarded |
//! | any other | retried; the error contains the start of the response's body |
//!
//! Redirects are not followed, because clients turn a redirected `POST` into a `GET`. A `4xx` is
//! retried too: it often means that one side was deployed before the other.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};
use tokio_util::sync::CancellationToken;

use super::{HandlerOutcome, storable};
use crate::app::context::Attempt;
use crate::app::run_error::with_causes;
use crate::config::HttpHandler;

/// How many bytes of the start of a body the error contains.
const BODY_BYTES: usize = 2 * 1024;

/// How long to wait for the body of an error.
const BODY_TIME: Duration = Duration::from_secs(5);

/// How long to wait for the body of a success, which is only read so that the connection can be
/// used again.
const IDLE_BODY_TIME: Duration = Duration::from_millis(50);

const CONNECT_TIME: Duration = Duration::from_secs(10);

/// The longest wait that `Retry-After` may demand.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// Makes the client for some URLs. It has no time limit: the timeout of an attempt drops the future.
///
/// # Errors
/// Fails if a URL has `https` and the system has no trusted certificates. Other URLs need none.
pub(crate) fn http_client<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Client, String> {
    built(http_builder(urls))
}

/// Begins to make such a client.
pub(crate) fn http_builder<'a>(urls: impl IntoIterator<Item = &'a str>) -> ClientBuilder {
    // Has no effect if the program uses another provider.
    _ = rustls::crypto::ring::default_provider().install_default();
    let is_https = |url: Url| url.scheme() == "https";
    let needs_certificates = |url: &str| Url::parse(url).is_ok_and(is_https);
    let builder = Client::builder()
        .user_agent(concat!("queue/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIME);
    match urls.into_iter().any(needs_certificates) {
        true => builder,
        false => builder.tls_certs_only([]),
    }
}

/// Makes the client.
///
/// # Errors
/// Fails as [`http_client`] does.
pub(crate) fn built(builder: ClientBuilder) -> Result<Client, String> {
    builder
        .build()
        .map_err(|error| format!("could not set up HTTP: {}", with_causes(&error)))
}

/// Runs one attempt as a request.
///
/// When `stop` is cancelled or the future is dropped, the connection is closed: an endpoint cannot
/// be asked to stop in another way.
pub(crate) async fn call_http(
    spec: &HttpHandler,
    client: &Client,
    attempt: &Attempt,
    args: &str,
    stop: CancellationToken,
) -> HandlerOutcome {
    // Only the wait for the status can be stopped: after that the outcome is known, and a done job
    // must not run again only because the body did not arrive.
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
    let request = own.fold(client.post(&spec.url), |request, (name, value)| {
        request.header(name, value)
    });
    let request = request
        .header(CONTENT_TYPE, "application/json")
        .header("Queue-Job-Id", attempt.job_id.0)
        .header("Queue-Job-Kind", &attempt.kind)
        .header("Queue-Job-Queue", &attempt.queue)
        .header("Queue-Job-Attempt", attempt.number)
        .header("Queue-Job-Attempts-Max", attempt.attempts_max)
        .header("Idempotency-Key", idempotency_key(attempt))
        .body(args.to_owned());
    match attempt.shard.as_deref() {
        Some(shard) => request.header("Queue-Job-Shard", shard),
        None => request,
    }
}

/// Returns what names the job at the endpoint. Its id alone is not enough: another schema has the same ids, and
/// after a restore from a dump they are given out again.
fn idempotency_key(attempt: &Attempt) -> String {
    let enqueued_at = attempt.created_at.timestamp_micros();
    format!("{}-{enqueued_at:x}", attempt.job_id)
}

async fn judge(response: Response) -> HandlerOutcome {
    let status = response.status();
    let after = retry_after(response.headers(), Utc::now());
    if status.is_success() {
        // A connection can be used again after the whole response was read.
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

/// Returns the wait of the header `Retry-After`, given in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (http_date(value)? - now).to_std().unwrap_or(Duration::ZERO),
    };
    Some(after.min(RETRY_AFTER_MAX))
}

/// Reads a date in the three formats of HTTP: RFC 9110, section 5.6.7.
fn http_date(text: &str) -> Option<DateTime<Utc>> {
    let obsolete = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let read = |format| NaiveDateTime::parse_from_str(text, format).ok();
    match DateTime::parse_from_rfc2822(text) {
        Ok(time) => Some(time.to_utc()),
        Err(_) => Some(obsolete.into_iter().find_map(read)?.and_utc()),
    }
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
    let reason = with_causes(&error.without_url());
    format!("no answer from `{}`: {reason}", address(spec))
}

/// Returns the URL without its parts that may be secret: user, password, query and fragment.
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
