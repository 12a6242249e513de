//! Restored copies: processes run nothing there until an operator accepts the copy.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command};

use queue_core::Schema;
use queue_core::origin::{accept, is_original};
use queue_tests::postgres::DedicatedServer;
use queue_tests::world::World;
use rustix::process::Signal;
use sqlx::{ConnectOptions as _, Executor as _, PgConnection};
use tokio::task::spawn_blocking;

use crate::shell::{Shell, said, stopped_by};

/// Replaces the queue in a database by a dump of another one.
async fn restore(from: String, to: String) {
    // The programs do not know the parameters of sqlx.
    let [from, to] = [from, to].map(|url| url.split('?').next().unwrap().to_owned());
    let restoring = spawn_blocking(move || {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("dump");
        let queue = ["--format=custom", "--schema=queue", "--file"];
        run(Command::new("pg_dump").args(queue).arg(&file).arg(from));
        let replaced = ["--clean", "--if-exists", "--exit-on-error", "--dbname"];
        run(Command::new("pg_restore").args(replaced).arg(to).arg(&file));
    });
    restoring.await.unwrap();
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
}

/// Starts a process, and returns it when it has said that it waits.
async fn start_waiting(shell: &Shell) -> Child {
    let mut child = shell.command(&["start"]).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let waits = |line: &String| line.contains("restored copy, so no job is run");
    let found = spawn_blocking(move || lines.map(Result::unwrap).find(waits));
    assert!(found.await.unwrap().is_some());
    child
}

async fn is_accepted(conn: &mut PgConnection) -> bool {
    is_original(conn, &Schema::default()).await.unwrap()
}

#[tokio::test]
async fn a_restored_copy_runs_nothing_until_it_is_accepted() {
    let (world, copy) = (World::new().await, World::new().await);
    let (original, shell) = (Shell::on(&world), Shell::on(&copy));
    original.print(&["enqueue", "send"]).await;
    world.claim("mail", "send").await;
    world
        .sql("update queue.processes set heartbeat_at = now() - interval '1 hour'")
        .await;
    original.print(&["enqueue", "send"]).await;
    let schedule = ["--schedule", "every day at 2am", "--kind", "send"];
    let line = [&["recurring", "add", "nightly"], &schedule[..]].concat();
    original.print(&line).await;
    world
        .sql("update queue.recurring_jobs set next_at = next_at - interval '3 days'")
        .await;
    restore(world.url(), copy.url()).await;

    let child = start_waiting(&shell).await;
    let doctor = shell.run(&["doctor"]).await;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let before = [copy.count("claimed").await, copy.count("ready").await];
    let before = (before, copy.count("firings").await);
    let accepted = shell.json(&["restored", "accept", "--why", "moved"]).await;
    copy.until("finished where outcome = 'done'", 3).await;
    stopped_by(child, Signal::TERM).await;

    assert!(doctor.contains("queue restored accept"), "{doctor}");
    assert_eq!(before, ([1, 1], 0));
    assert_eq!(accepted["changed"], true);
    assert_eq!(copy.count("attempts").await, 1);
    assert_eq!(copy.count("firings where job_id is not null").await, 1);
    assert_eq!(copy.count("audit where why = 'moved'").await, 1);
    assert!(is_accepted(&mut world.connect().await).await);
}

#[tokio::test]
async fn a_database_can_be_held_until_it_is_accepted() {
    let world = World::new().await;
    let shell = Shell::on(&world);

    let held = shell.json(&["restored", "hold"]).await;
    let child = start_waiting(&shell).await;
    let processes = world.count("processes").await;
    let shown = shell.json(&["restored"]).await;
    shell.print(&["restored", "accept"]).await;
    world.until("processes", 1).await;
    let again = shell.json(&["restored", "accept"]).await;
    stopped_by(child, Signal::TERM).await;

    assert_eq!(held["changed"], true);
    assert_eq!(processes, 0);
    assert_eq!(shown["accepted"], false);
    assert_eq!(again["changed"], false);
}

#[tokio::test]
async fn a_copy_on_another_new_server_is_found_and_so_is_a_copy_of_the_copy() {
    let (first, second) = (
        DedicatedServer::start().await,
        DedicatedServer::start().await,
    );
    let third = World::new().await;
    restore(first.url(), second.url()).await;
    let mut conn = second.connect_options().connect().await.unwrap();

    let found = is_accepted(&mut conn).await;
    let changed = accept(&mut conn, &Schema::default()).await.unwrap();
    conn.execute("vacuum (full, freeze) queue.origin")
        .await
        .unwrap();
    let rewritten = is_accepted(&mut conn).await;
    restore(second.url(), third.url()).await;

    assert!(!found);
    assert!(changed && rewritten);
    assert!(!is_accepted(&mut third.connect().await).await);
}
