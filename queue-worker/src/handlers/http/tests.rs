//! A real client against a listener that gives one answer.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::handlers::tests::attempt;

const ARGS: &str = r#"{"user_id":7}"#;

/// A timeout that only a failing test reaches.
const LONG: Duration = Duration::from_secs(30);

fn handler(url: String) -> HttpHandler {
    HttpHandler {
        url,
        headers: BTreeMap::new(),
    }
}

/// Starts an endpoint that gives one answer. The task returns the request.
async fn answering(answer: String) -> (HttpHandler, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?key=secret", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        // The client may hang up before it has read all of a long answer.
        _ = stream.write_all(answer.as_bytes()).await;
        request
    });
    (handler(url), asked)
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    while !request.ends_with(ARGS) {
        let mut chunk = [0; 1024];
        let count = stream.read(&mut chunk).await.unwrap();
        assert_ne!(count, 0, "the request ends with its body: {request}");
        request.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
    }
    request
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

async fn call(handler: &HttpHandler) -> HandlerOutcome {
    let client = http_client([&*handler.url]).unwrap();
    let facts = Attempt {
        shard: Some("eu".into()),
        created_at: DateTime::from_timestamp_micros(0x5_f3a1_b2c3_d4e5).unwrap(),
        ..attempt()
    };
    let attempt = call_http(handler, &client, &facts, ARGS, CancellationToken::new());
    timeout(LONG, attempt).await.expect("the endpoint answers")
}

fn retry(error: &str) -> HandlerOutcome {
    HandlerOutcome::Retry {
        error: error.to_owned(),
    }
}

fn retry_after_seconds(seconds: u64, error: &str) -> HandlerOutcome {
    HandlerOutcome::RetryAfter {
        after: Duration::from_secs(seconds),
        error: error.to_owned(),
    }
}

#[tokio::test]
async fn the_status_is_the_outcome() {
    let gone = HandlerOutcome::Discard {
        error: "answered 410 Gone: no such user".to_owned(),
    };
    for (status, headers, body, outcome) in [
        ("200 OK", "", "fine", HandlerOutcome::Done),
        ("204 No Content", "", "", HandlerOutcome::Done),
        (
            "302 Found",
            "Location: http://127.0.0.1:1/\r\n",
            "",
            retry("answered 302 Found"),
        ),
        (
            "404 Not Found",
            "",
            "no route",
            retry("answered 404 Not Found: no route"),
        ),
        ("410 Gone", "", "no such user", gone),
        (
            "429 Too Many Requests",
            "",
            "",
            retry("answered 429 Too Many Requests"),
        ),
        (
            "429 Too Many Requests",
            "Retry-After: 7\r\n",
            "slow down",
            retry_after_seconds(7, "answered 429 Too Many Requests: slow down"),
        ),
        (
            "503 Service Unavailable",
            "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n",
            "",
            retry_after_seconds(0, "answered 503 Service Unavailable"),
        ),
        (
            "500 Internal Server Error",
            "Retry-After: 7\r\n",
            "a\0b",
            retry("answered 500 Internal Server Error: a\u{fffd}b"),
        ),
    ] {
        let (handler, asked) = answering(answer(status, headers, body)).await;
        assert_eq!(call(&handler).await, outcome, "{status}");
        asked.await.unwrap();
    }
}

#[tokio::test]
async fn the_request_carries_the_job() {
    let (mut handler, asked) = answering(answer("200 OK", "", "")).await;
    handler
        .headers
        .insert("Authorization".to_owned(), "Bearer x".to_owned());

    assert_eq!(call(&handler).await, HandlerOutcome::Done);

    let request = asked.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, r#"{"user_id":7}"#);
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /hook?key=secret HTTP/1.1"));
    let lines: Vec<String> = lines.map(str::to_ascii_lowercase).collect();
    for header in [
        "content-type: application/json",
        "queue-job-id: 42",
        "queue-job-kind: send",
        "queue-job-queue: mail",
        "queue-job-attempt: 2",
        "queue-job-attempts-max: 5",
        "queue-job-shard: eu",
        "idempotency-key: 42-5f3a1b2c3d4e5",
        "authorization: bearer x",
    ] {
        assert!(
            lines.iter().any(|line| line == header),
            "{header} is in {head}"
        );
    }
}

#[tokio::test]
async fn only_the_start_of_a_long_answer_is_kept() {
    let body = format!("x{}", "é".repeat(100_000));
    let (handler, asked) = answering(answer("500 Internal Server Error", "", &body)).await;

    let HandlerOutcome::Retry { error } = call(&handler).await else {
        panic!("status 500 is tried again");
    };

    let kept = error
        .strip_prefix("answered 500 Internal Server Error: xé")
        .unwrap();
    assert!(kept.ends_with("é…"), "{}", &kept[kept.len() - 20..]);
    assert!(kept.len() <= BODY_BYTES, "{}", kept.len());
    asked.await.unwrap();
}

#[tokio::test]
async fn an_unreachable_endpoint_is_named_with_the_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);

    let handler = handler(format!("http://user:secret@{address}/hook?key=secret"));
    let HandlerOutcome::Retry { error } = call(&handler).await else {
        panic!("an attempt without an answer is tried again");
    };

    assert!(
        error.starts_with(&format!("no answer from `http://{address}/hook`: ")),
        "{error}"
    );
    assert!(error.contains("refused"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn a_request_to_stop_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let handler = handler(format!("http://{}/hook", listener.local_addr().unwrap()));
    let client = http_client([&*handler.url]).unwrap();
    let stop = CancellationToken::new();
    let facts = attempt();
    let attempt = call_http(&handler, &client, &facts, ARGS, stop.clone());

    let endpoint = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stop.cancel();
        let mut rest = Vec::new();
        // The connection may be closed or reset.
        _ = stream.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
    };
    let (outcome, ()) = timeout(LONG, async { tokio::join!(attempt, endpoint) })
        .await
        .expect("both ends end");

    assert_eq!(
        outcome,
        retry(&format!("stopped before `{}` answered", handler.url))
    );
}

#[tokio::test]
async fn a_job_is_done_by_its_status_even_if_the_body_never_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let handler = handler(format!("http://{}/hook", listener.local_addr().unwrap()));
    let client = http_client([&*handler.url]).unwrap();
    let stop = CancellationToken::new();
    let facts = attempt();
    let attempt = call_http(&handler, &client, &facts, ARGS, stop);
    let (ended, end) = tokio::sync::oneshot::channel::<()>();

    let endpoint = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            .await
            .unwrap();
        // The rest of the body is never sent.
        end.await.unwrap();
    };
    let attempt = async {
        let outcome = attempt.await;
        ended.send(()).unwrap();
        outcome
    };
    let (outcome, ()) = timeout(LONG, async { tokio::join!(attempt, endpoint) })
        .await
        .expect("both ends end");

    assert_eq!(outcome, HandlerOutcome::Done);
}

#[test]
fn retry_after_is_seconds_or_a_date_and_at_most_a_day() {
    let now = DateTime::parse_from_rfc3339("2015-10-21T07:27:00Z")
        .unwrap()
        .to_utc();
    for (value, seconds) in [
        ("0", Some(0)),
        (" 120 ", Some(120)),
        ("99999999", Some(86_400)),
        ("Wed, 21 Oct 2015 07:28:00 GMT", Some(60)),
        ("Wed, 21 Oct 2015 07:26:00 GMT", Some(0)),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", Some(60)),
        ("Wed Oct 21 07:28:00 2015", Some(60)),
        ("Thu Oct  1 07:28:00 2015", Some(0)),
        ("-1", None),
        ("soon", None),
        ("99999999999999999999999", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        assert_eq!(
            retry_after(&headers, now),
            seconds.map(Duration::from_secs),
            "{value}"
        );
    }
}

#[test]
fn a_client_speaks_tls_when_an_endpoint_needs_it() {
    let handler = handler("https://example.com/".to_owned());
    match http_client([&*handler.url]) {
        Ok(_) => {}
        // Without certificates the error is clear; a missing provider would panic.
        Err(error) => assert!(error.contains("certificates"), "{error}"),
    }
}
