//! `queue dashboard`.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use crate::shell::{Shell, stopped_by};
use queue_core::{NewJob, Options};
use queue_tests::world::{World, eventually};
use rustix::process::Signal;
use serde_json::json;
use tokio::task::spawn_blocking;

fn get(address: &str, path: &str, scheme: &str, login: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {scheme} {login}\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

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
    let mut child = shell
        .command(&["dashboard", "--listen", "127.0.0.1:0"])
        .env("QUEUE_DASHBOARD_USER", "mira")
        .env("QUEUE_DASHBOARD_PASSWORD", hash.trim())
        .env("QUEUE_DASHBOARD_PLACE", "production")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.next().unwrap().unwrap();
    let address = url.strip_prefix("http://").unwrap();
    let address = address.strip_suffix("/ops/jobs").unwrap().to_owned();

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
    let mut child = shell
        .command(&["dashboard", "--listen", "127.0.0.1:0"])
        .env("QUEUE_DASHBOARD_TOKEN", token)
        .spawn()
        .unwrap();
    let job = NewJob::untyped("send", &json!({}), Options::new().queue("mail"));
    let _ = world.queue.enqueue_all([job]).await.unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.next().unwrap().unwrap();
    let address = url.strip_prefix("http://").unwrap();
    let address = address.strip_suffix("/ops/jobs").unwrap();
    let ask = |scheme: &'static str| {
        let address = address.to_owned();
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
