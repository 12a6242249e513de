//! Random input to whatever reads what people and other programs write. Nothing may panic, hang or be reported as
//! a fault of ours. Runs a second for each kind of input, or `QUEUE_FUZZ_SECONDS`.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::Uri;
use chrono::{TimeZone as _, Utc};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use queue_core::schedule::{Schedule, Tz};
use queue_core::{NewJob, Options, Shards};
use queue_tests::world::{World, eventually};
use queue_worker::dashboard::{Role, routes, routes_of_shards};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::dashboard::Site;
use crate::shell::{Shell, said};

/// Makes random values until the time is over.
fn inputs<S: Strategy>(strategy: S) -> impl Iterator<Item = S::Value> {
    let seconds = std::env::var("QUEUE_FUZZ_SECONDS").map_or(1, |text| text.parse().unwrap());
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut runner = TestRunner::default();
    std::iter::from_fn(move || {
        let tree = (Instant::now() < until).then(|| strategy.new_tree(&mut runner).unwrap());
        tree.map(|tree| tree.current())
    })
}

/// Texts of some words in any order, or of any characters.
fn texts(words: &'static [&'static str], between: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(select(words), 0..9).prop_map(move |words| words.join(between)),
        1 => vec(prop_oneof![select(words).prop_map(str::to_owned), "\\PC{0,6}"], 0..6)
            .prop_map(move |words| words.join(between)),
        1 => "\\PC{0,40}",
    ]
}

const SCHEDULE: [&str; 44] = [
    "every",
    "day",
    "days",
    "hour",
    "minute",
    "second",
    "week",
    "month",
    "at",
    "on",
    "and",
    "the",
    "first",
    "last",
    "of",
    "monday",
    "sun",
    "weekdays",
    "from",
    "to",
    "2am",
    "14:30",
    "25:61",
    "noon",
    "midnight",
    "0",
    "1",
    "5",
    "59",
    "60",
    "99999999999999999999",
    "*",
    "*/5",
    "1-5",
    "5-1",
    "1,2",
    "@daily",
    "L",
    "Europe/Berlin",
    "America/St_Johns",
    "UTC",
    "-",
    "jan",
    "feb",
];

#[test]
fn every_schedule_is_read_or_refused() {
    let start = Utc.with_ymd_and_hms(2026, 10, 25, 0, 59, 59).unwrap();
    let mut read = 0;
    for text in inputs(texts(&SCHEDULE, " ")) {
        match Schedule::parse(&text, Tz::Europe__Berlin) {
            Ok(schedule) => {
                read += 1;
                assert!(!schedule.describe().is_empty(), "{text:?}");
                let next = schedule.next_after(start);
                assert!(next.is_none_or(|next| next > start), "{text:?}");
            }
            Err(error) => assert!(!error.to_string().is_empty(), "{text:?}"),
        }
    }
    assert!(read > 10, "only {read} schedules were read");
}

const SETTINGS: [&str; 30] = [
    "[[workers]]",
    "[process]",
    "[limits]",
    "[handlers.mail]",
    "[recurring.tidy]",
    "[retention]",
    "[scheduler]",
    "[redact]",
    "queues = \"*\"",
    "queues = [\"a\", \"b*\"]",
    "concurrency = 3",
    "concurrency = -1",
    "concurrency = 99999999999999999999",
    "poll_interval = \"1s\"",
    "poll_interval = 1",
    "\"@kind/a\" = { to = 1 }",
    "\"@kind/a\" = { rate = \"1/0s\" }",
    "command = [\"true\"]",
    "command = []",
    "http = \"http://x\"",
    "http = \"\\u0000\"",
    "schedule = \"every day\"",
    "schedule = \"\"",
    "kind = \"mail\"",
    "timeout = \"1y\"",
    "backoff = { fixed = \"1s\" }",
    "finished = \"forever\"",
    "time_zone = \"Nowhere\"",
    "port = 70000",
    "= [",
];

/// Runs a command, which must succeed or refuse the text as wrong usage.
async fn assert_read_or_refused(shell: &Shell, line: &[&str], text: &str) {
    let output = shell.run(line).await;
    let (code, said) = (output.status.code(), said(&output));
    assert!(
        matches!(code, Some(0 | 2)) && !said.contains("panicked"),
        "{code:?} for {text:?}: {said}"
    );
}

#[tokio::test]
async fn every_configuration_is_read_or_refused() {
    let shell = Shell::without_database();
    for text in inputs(texts(&SETTINGS, "\n")) {
        shell.write("queue.toml", &text);
        assert_read_or_refused(&shell, &["check"], &text).await;
    }
}

const JSON: [&str; 16] = [
    "{",
    "}",
    "[",
    "]",
    "\"a\"",
    ":",
    ",",
    "1",
    "-0",
    "1e999",
    "null",
    "true",
    "\"\\u0000\"",
    "\"\\ud800\"",
    " ",
    "\"",
];

#[tokio::test]
async fn every_filter_of_arguments_is_read_or_refused() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    for text in inputs(texts(&JSON, "")) {
        if text.contains('\0') {
            continue;
        }
        let line = ["jobs", "list", &format!("--args={text}")];
        assert_read_or_refused(&shell, &line, &text).await;
    }
}

const QUERY: [&str; 40] = [
    "state=",
    "failed",
    "ready",
    "finished",
    "running",
    "&",
    "=",
    "?",
    "queue=",
    "kind=",
    "tenant=",
    "error=",
    "args=",
    "tag=",
    "batch=",
    "after=",
    "before=",
    "within=",
    "24h",
    "%",
    "%00",
    "%ff",
    "%25",
    "+",
    "'",
    "\"",
    "%7B%22a%22%3A1%7D",
    "1",
    "-1",
    "99999999999999999999",
    "older=",
    "1d",
    "sort=",
    "id=",
    "to=",
    "back=/",
    "theme=",
    "dark",
    "why=",
    "%F0%9F%92%A9",
];

#[tokio::test]
async fn every_address_of_the_dashboard_has_an_answer() {
    let world = World::new().await;
    every_get_has_an_answer(&Site::open(&world, Role::Admin), routes()).await;
}

#[tokio::test]
async fn every_address_of_the_dashboard_of_shards_has_an_answer() {
    let (eu, us) = (World::new().await, World::new().await);
    let shards = Shards::new([("1", eu.queue.clone()), ("a", us.queue.clone())]).unwrap();
    let site = Site::open_all(&shards, Role::Admin);
    every_get_has_an_answer(&site, routes_of_shards()).await;
}

async fn every_get_has_an_answer(site: &Site, routes: Vec<(&str, String, Role)>) {
    let gets = routes.into_iter().filter(|(method, ..)| *method == "GET");
    // A stream of events does not end.
    let gets = gets.filter(|(_, path, _)| !path.ends_with("/live"));
    let paths: Vec<String> = gets.map(|(_, path, _)| path).collect();
    let names = prop_oneof![
        select(
            &[
                "1",
                "-1",
                "a",
                "%00",
                "%2F",
                "1:1",
                "a:-1",
                "pause",
                "cancel",
                "99999999999999999999"
            ][..]
        )
        .prop_map(str::to_owned),
        "[a-z0-9%]{1,8}"
    ];
    for (path, name, query) in inputs((select(paths), names, texts(&QUERY, ""))) {
        let path = path.split('/').map(|part| match part.starts_with('{') {
            true => name.as_str(),
            false => part,
        });
        let path = format!("{}?{query}", path.collect::<Vec<_>>().join("/"));
        if path.parse::<Uri>().is_err() {
            continue;
        }
        let answer = site.get(&path).await;
        assert!(
            !answer.status.is_server_error(),
            "{} for {path:?}: {}",
            answer.status,
            answer.text
        );
    }
}

const REPLY: [&str; 26] = [
    "HTTP/1.1 ",
    "HTTP/1.0 ",
    "200",
    "204",
    "301",
    "404",
    "409",
    "429",
    "500",
    "999",
    " OK",
    "\r\n",
    "\n",
    "\r\n\r\n",
    "Retry-After: ",
    "Location: /",
    "Content-Length: ",
    "Transfer-Encoding: chunked",
    "0",
    "5",
    "-1",
    "99999999999999999999",
    "Wed, 21 Oct 2099 07:28:00 GMT",
    "hello",
    "\u{0}",
    "\u{fffd}",
];

#[tokio::test]
async fn every_reply_of_an_endpoint_ends_the_run() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    shell.write(
        "queue.toml",
        &format!("[handlers.call]\nhttp = \"{url}\"\ntimeout = \"5s\"\n"),
    );
    let reply = Arc::new(Mutex::new(String::new()));
    let given = Arc::clone(&reply);
    let endpoint = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let reply = given.lock().unwrap().clone();
            let _request = stream.read(&mut [0; 4096]).await;
            let _hung_up = stream.write_all(reply.as_bytes()).await;
        }
    });
    let mut starting = shell.command(&["start"]);
    let starting = starting.stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = starting.spawn().unwrap();

    let mut jobs = 0;
    let started = texts(&REPLY, "").prop_map(|text| format!("HTTP/1.1 {text}"));
    for text in inputs(prop_oneof![texts(&REPLY, ""), started]) {
        reply.lock().unwrap().clone_from(&text);
        let job = NewJob::untyped("call", &json!({}), Options::new().attempts(1));
        let job = world.queue.enqueue_all([job]).await.unwrap()[0].id();
        eventually(&format!("an end after {text:?}"), async || {
            matches!(&*world.state(job).await, "finished" | "failed")
        })
        .await;
        jobs += 1;
    }
    assert!(jobs > 3, "only {jobs} replies");
    assert!(
        process.try_wait().unwrap().is_none(),
        "the process has ended"
    );
    process.kill().unwrap();
    endpoint.abort();
}
