//! `queue dashboard`.

use std::io::Write as _;
use std::process::Stdio;

use crate::shell::{Shell, get, stopped_by};
use queue_core::{NewJob, Options};
use queue_tests::world::{World, eventually};
use rustix::process::Signal;
use serde_json::json;
use tokio::task::spawn_blocking;

#[tokio::test]
async fn the_command_serves_pages_to_a_user_until_it_is_stopped() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let mut hashing = shell.command(&["dashboard", "hash"]);
    let mut hashing = hashing.stdin(Stdio::piped()).spawn().unwrap();
    hashing.stdin.take().unwrap().write_all(b"open\n").unwrap();
    let hash = hashing.wait_with_output().unwrap().stdout;
    let hash = String::from_utf8(hash).unwrap();
    assert!(hash.starts_with("$argon2id$"), "{hash}");
    let (child, address) = shell.dashboard(&[
        ("QUEUE_DASHBOARD_USER", "mira"),
        ("QUEUE_DASHBOARD_PASSWORD", hash.trim()),
        ("QUEUE_DASHBOARD_PLACE", "production"),
    ]);

    let answers = spawn_blocking(move || {
        ["bWlyYTpvcGVu", "bWlyYTpzaHV0"].map(|login| get(&address, "/ops/jobs", "Basic", login))
    });
    let [right, wrong] = answers.await.unwrap();

    assert!(right.starts_with("HTTP/1.1 200"), "{right}");
    assert!(right.contains("production"), "{right}");
    assert!(wrong.starts_with("HTTP/1.1 401"), "{wrong}");
    assert!(stopped_by(child, Signal::TERM).await.status.success());
}

#[tokio::test]
async fn a_variable_that_is_not_valid_is_named() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let mut command = shell.command(&["dashboard"]);
    command.env("QUEUE_DASHBOARD_USER", "mira");
    let output = spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();

    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("QUEUE_DASHBOARD_PASSWORD: the user has no password"),
        "{said}"
    );
}

#[tokio::test]
async fn programs_with_a_token_read_the_metrics() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let token = "a token of at least thirty-two bytes";
    let (child, address) = shell.dashboard(&[("QUEUE_DASHBOARD_TOKEN", token)]);
    let job = NewJob::untyped("send", &json!({}), Options::new().queue("mail"));
    let _ = world.queue.enqueue_all([job]).await.unwrap();
    let ask = |scheme: &'static str| {
        let address = address.clone();
        let asking = spawn_blocking(move || get(&address, "/ops/jobs/metrics", scheme, token));
        async { asking.await.unwrap() }
    };

    let refused = ask("Basic").await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    eventually("it exports the depth of the queue", async || {
        let line = "queue_depth{queue=\"mail\",state=\"ready\"} 1\n";
        ask("Bearer").await.contains(line)
    })
    .await;
    stopped_by(child, Signal::TERM).await;
}
