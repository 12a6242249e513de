//! The example programs `first_job` and `web`.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::shell::{example, stopped_by};
use queue_tests::world::World;
use rustix::process::Signal;

/// Orders an item, and returns the status line of the answer.
fn order(address: &str, item: &str) -> String {
    let body = format!("{{\"item\": \"{item}\"}}");
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /orders HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn the_web_example_enqueues_in_transactions_and_stops_with_its_worker() {
    let world = World::new().await;
    let mut child = Command::new(example("web"))
        .env("DATABASE_URL", world.url())
        .env("ADDRESS", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.next().unwrap().unwrap();
    let address = url.strip_prefix("http://").unwrap().to_owned();

    let answers =
        tokio::task::spawn_blocking(move || [order(&address, "cup"), order(&address, "cup")]);
    let [taken, sold_out] = answers.await.unwrap();

    assert_eq!(taken, "HTTP/1.1 201 Created");
    assert_eq!(sold_out, "HTTP/1.1 409 Conflict");
    world.until("finished where outcome = 'done'", 1).await;
    assert_eq!(world.count("jobs").await, 1);
    let receipts = "select count(*) from orders where receipt_sent_at is not null";
    assert_eq!(world.value::<i64>(receipts).await, 1);
    assert!(stopped_by(child, Signal::TERM).await.status.success());
    assert_eq!(world.count("processes").await, 0);
}

#[tokio::test]
async fn the_first_job_of_the_readme_runs_on_an_empty_database() {
    let world = World::new().await;
    world.sql("drop schema queue cascade").await;
    let mut child = Command::new(example("first_job"))
        .env("DATABASE_URL", world.url())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();

    let line = tokio::task::spawn_blocking(move || lines.next().unwrap().unwrap());

    assert_eq!(line.await.unwrap(), "Welcome, user 7!");
    world.until("finished where outcome = 'done'", 1).await;
    assert!(stopped_by(child, Signal::INT).await.status.success());
}
