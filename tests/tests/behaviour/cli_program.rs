//! The command line as the program of an application: its state, its name and its version.

use std::os::unix::process::CommandExt as _;

use crate::shell::{Shell, said, stopped_by};
use queue_tests::world::World;
use rustix::process::Signal;

/// Runs a command of a program that is called by another name, and returns what it prints and says.
async fn called(shell: &Shell, name: &str, line: &[&str]) -> String {
    let mut command = shell.command(line);
    command.arg0(name);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &said(&output)
}

#[tokio::test]
async fn the_state_is_built_only_by_commands_that_run_jobs() {
    let shell = Shell::without_database();

    for line in [&["check"][..], &["help"], &["completions", "fish"]] {
        let output = shell.run(line).await;
        assert!(output.status.success(), "{line:?}: {}", said(&output));
        assert!(!said(&output).contains("built the state"));
    }
    let checked = shell.json(&["check"]).await;
    assert_eq!(checked["kinds"][0], "index_page");
}

#[tokio::test]
async fn the_state_is_built_with_the_pool_and_the_settings_of_the_command_line() {
    let world = World::new().await;
    let mut shell = Shell::without_database();
    shell.write("queue.toml", "[[workers]]\nconcurrency = 3\n");
    shell.url = None;
    let url = world.url();
    let line = ["start", "--database-url", &url];
    let child = shell.command(&line).spawn().unwrap();
    shell
        .print(&["enqueue", "send", "--database-url", &url])
        .await;

    world.until("finished where outcome = 'done'", 1).await;
    let output = stopped_by(child, Signal::TERM).await;

    let name: String = world.value("select current_database()::text").await;
    let log = said(&output);
    let built = format!("built the state database=\"{name}\" concurrency=3");
    assert!(log.contains(&built), "{log}");
}

#[tokio::test]
async fn a_state_that_cannot_be_built_ends_the_command_with_the_reason() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let mut command = shell.command(&["start"]);
    command.env("REFUSE_THE_STATE", "the shop is closed");

    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();

    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(
        said.ends_with("error: could not build the state of the program: the shop is closed\n"),
        "{said}"
    );
}

#[tokio::test]
async fn help_and_hints_name_the_program_as_it_is_called() {
    let shell = Shell::without_database();

    let help = called(&shell, "/srv/shop", &["--help"]).await;
    assert!(help.contains("\n  shop dev  "), "{help}");
    assert!(!help.contains("  queue "), "{help}");
    let help = called(&shell, "/srv/shop", &["jobs", "retry", "--help"]).await;
    assert!(!help.contains("queue jobs"), "{help}");
    let said = called(&shell, "shop", &["jobs"]).await;
    assert!(said.contains("or `shop dev` starts one"), "{said}");
    let version = called(&shell, "shop", &["--version"]).await;
    assert_eq!(version, "shop 7.8.9\n");
}

#[tokio::test]
async fn a_program_called_jobs_has_the_commands_for_jobs_as_its_own() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let id = shell.print(&["enqueue", "send"]).await;

    let listed = called(&shell, "jobs", &["list"]).await;
    assert!(listed.contains("send"), "{listed}");
    let shown = called(&shell, "jobs", &["show", id.trim(), "--json"]).await;
    assert!(shown.contains("\"kind\":\"send\""), "{shown}");
    let refused = called(&shell, "jobs", &["discard", "--state", "running"]).await;
    assert!(refused.contains("use `jobs cancel`"), "{refused}");
    let listed = called(&shell, "jobs", &["jobs", "list"]).await;
    assert!(listed.contains("send"), "{listed}");
    let help = called(&shell, "jobs", &["--help"]).await;
    assert!(help.contains("\n  jobs list  "), "{help}");
    assert!(!help.contains("jobs jobs"), "{help}");
}
