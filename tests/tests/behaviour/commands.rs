//! Commands as handlers, run by a process of their own.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Command;
use std::time::Duration;

use queue_tests::world::World;

use crate::shell::Shell;

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_killed_process_takes_its_command_and_the_children_of_the_command_along() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    // The command and its child keep the pipe open as long as they live.
    let script = format!("exec 3>{}; sleep 1000 & echo up >&3; wait", pipe.display());
    let handlers = format!("[handlers.nap]\ncommand = [\"sh\", \"-c\", \"{script}\"]\n");
    shell.write("queue.toml", &handlers);
    shell.print(&["enqueue", "nap"]).await;
    let mut process = shell.command(&["start"]).spawn().unwrap();
    let mut pipe = tokio::task::spawn_blocking(move || {
        let mut pipe = BufReader::new(File::open(pipe).unwrap());
        pipe.read_line(&mut String::new()).unwrap();
        pipe
    })
    .await
    .unwrap();

    process.kill().unwrap();
    process.wait().unwrap();

    let closed = tokio::task::spawn_blocking(move || pipe.read_to_end(&mut Vec::new()).unwrap());
    tokio::time::timeout(LONG, closed)
        .await
        .expect("the command and its child have ended")
        .unwrap();
}

#[tokio::test]
async fn a_command_goes_on_where_its_last_attempt_has_come_to() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let script = r#"
        case $(tail -n 1 "$QUEUE_STATE") in *'"cursor": 2'*) exit 0;; esac
        echo '{"progress": {"done": 1, "of": 4}, "cursor": 1}' >> "$QUEUE_STATE"
        echo '{"progress": {"done": 2, "of": 4}, "cursor": 2}' >> "$QUEUE_STATE"
        exit 75"#;
    let handlers = format!("[handlers.walk]\ncommand = [\"sh\", \"-c\", \'\'\'{script}\'\'\']\n");
    shell.write("queue.toml", &handlers);
    shell.print(&["enqueue", "walk"]).await;
    let mut process = shell.command(&["start"]).spawn().unwrap();

    world.until("scheduled where failures = 1", 1).await;
    world.make_scheduled_due().await;

    world.until("finished where outcome = 'done'", 1).await;
    let shown = shell.print(&["jobs", "show", "1"]).await;
    assert!(shown.contains("2 of 4"), "{shown}");
    process.kill().unwrap();
    process.wait().unwrap();
}
