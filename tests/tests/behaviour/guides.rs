//! The commands of the README and of the guides do what they are for, on jobs as they name them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use queue_core::{JobId, Limits, NewJob, Options};
use queue_tests::stage::Stage;
use queue_tests::world::{World, worker};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::shell::said;

const PROGRAM: &str = env!("CARGO_BIN_EXE_test-queue");
const QUEUE: &str = r#"queue() { "$PROGRAM" "$@"; }"#;
const REPORT: &str = "queue recurring add report --schedule @yearly --kind send";
const NIGHTLY: &str = "queue recurring add nightly --replace --schedule @yearly --kind send";
const NO_NIGHTLY: &str = "queue recurring remove nightly --yes";

/// Returns the commands in the shell blocks of a text, each with the lines that continue it.
fn commands(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let blocks = text.split("```sh\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split_once("```"));
    blocks
        .flat_map(|(block, _)| block.lines())
        .filter(|line| line.starts_with("queue "))
        .map(str::to_owned)
        .collect()
}

/// Returns the commands of the README and of each guide.
fn guides() -> Vec<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guides = fs::read_dir(root.join("docs/guides")).unwrap();
    let mut files: Vec<_> = guides.map(|guide| guide.unwrap().path()).collect();
    files.push(root.join("README.md"));
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    texts.map(|text| commands(&text)).collect()
}

/// Makes the jobs that guides name: blocked, if one is to run in spite of its limit, or else failed.
async fn make_jobs(world: &World, commands: &[String]) {
    let are_blocked = commands
        .iter()
        .any(|line| line.starts_with("queue jobs run"));
    let (options, state) = match are_blocked {
        true => (Options::new().limits(Limits::key("crm").to(1)), "blocked"),
        false => (Options::new().attempts(1), "failed"),
    };
    run(world, "queue limits set note/crm --to 0").await;
    for id in [1, 3, 4711] {
        let next = format!("alter sequence queue.job_seq restart with {id}");
        world.sql(&next).await;
        let job = NewJob::untyped(
            "note",
            &json!({"no": "text"}),
            options.clone().queue("mail"),
        );
        let made = world.queue.enqueue_all([job]).await.unwrap();
        assert_eq!(made[0].id(), JobId(id));
    }
    let process = world.start(Stage::default().app(), worker("*", 1));
    world.until_state(JobId(4711), state).await;
    process.stop().await;
}

/// Runs a line of a shell in which `queue` is the program, and returns how it ended and its errors.
async fn run(world: &World, line: &str) -> (Option<i32>, String) {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{QUEUE}\n{line}")])
        .current_dir(std::env::temp_dir())
        .env("PROGRAM", PROGRAM)
        .env("DATABASE_URL", world.url())
        .stdin(Stdio::null());
    let output = spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    (output.status.code(), said(&output))
}

/// Runs a command as somebody who reads the guide would.
async fn follow(world: &World, line: &str) -> (Option<i32>, String) {
    if line.contains(" nightly") {
        let is_new = line.starts_with("queue recurring add") && !line.contains("--replace");
        run(world, if is_new { NO_NIGHTLY } else { NIGHTLY }).await;
    }
    let (command, remark) = line.split_once('#').unwrap_or((line, ""));
    match command.trim() {
        // It serves until it is stopped.
        "queue dashboard" => run(world, "queue dashboard --help").await,
        command if remark.contains("confirmation") => run(world, &format!("{command} --yes")).await,
        command => run(world, command).await,
    }
}

#[tokio::test]
async fn every_command_of_a_guide_runs() {
    let mut count = 0;
    for commands in guides() {
        if commands.is_empty() {
            continue;
        }
        let world = World::new().await;
        make_jobs(&world, &commands).await;
        run(&world, REPORT).await;
        for line in &commands {
            let (code, said) = follow(&world, line).await;
            let ends = match line {
                line if line.contains("# refused") => code == Some(2),
                // It ends with 1 if it finds anything.
                line if line.starts_with("queue doctor") => matches!(code, Some(0 | 1)),
                _ => code == Some(0),
            };
            assert!(ends, "{line}: ended with {code:?}: {said}");
        }
        count += commands.len();
    }
    assert!(count > 50, "{count} commands");
}

#[test]
fn a_command_has_the_lines_that_continue_it() {
    let text = "```sh\nls\nqueue jobs \\\n  list\n```\nqueue no\n```toml\nqueue = 1\n```\n";

    assert_eq!(commands(text), ["queue jobs    list"]);
}
