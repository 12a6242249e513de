//! The clock of the host decides nothing: times are written, and ages counted, by the clock of the database.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use queue_tests::world::{World, eventually};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::shell::{Shell, said, stopped_by};

/// Longer than finished jobs are kept.
const TWO_DAYS: i64 = 2 * 86_400;

/// A library that shifts the clock of a program into which it is loaded.
const CLOCK: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += atol(getenv("CLOCK_AHEAD"));
    return result;
}
"#;

/// A shell on a host whose clock is wrong.
struct Host {
    shell: Shell,
    clock: PathBuf,
    ahead: i64,
    _folder: TempDir,
}

impl Host {
    fn new(world: &World, ahead: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("clock.c");
        std::fs::write(&source, CLOCK).unwrap();
        Self {
            shell: Shell::on(world),
            clock: compiled(&source),
            ahead,
            _folder: folder,
        }
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = self.shell.command(line);
        command
            .env("LD_PRELOAD", &self.clock)
            .env("CLOCK_AHEAD", self.ahead.to_string());
        command
    }

    async fn run(&self, line: &[&str]) -> Output {
        let mut command = self.command(line);
        let running = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = running.await.unwrap();
        assert!(output.status.success(), "{line:?}: {}", said(&output));
        output
    }

    async fn print(&self, line: &[&str]) -> String {
        String::from_utf8(self.run(line).await.stdout).unwrap()
    }
}

fn compiled(source: &Path) -> PathBuf {
    let library = source.with_extension("so");
    let compiling = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, source])
        .status();
    assert!(compiling.unwrap().success());
    library
}

#[tokio::test]
async fn the_clock_of_the_host_decides_nothing() {
    for ahead in [TWO_DAYS, -TWO_DAYS] {
        let world = World::new().await;
        let host = Host::new(&world, ahead);
        let settings =
            "[handlers.greet]\ncommand = [\"true\"]\n\n[maintenance]\ninterval = \"100ms\"\n";
        host.shell.write("queue.toml", settings);
        let process = host.command(&["start"]).spawn().unwrap();
        world.until("processes", 1).await;

        host.run(&["enqueue", "greet"]).await;
        host.run(&["enqueue", "greet", "--delay", "1s"]).await;
        host.run(&["enqueue", "greet", "--delay", "1h"]).await;
        world.until("finished where outcome = 'done'", 2).await;

        // Neither promoted, cleared nor discarded as if it were older.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let discard = ["jobs", "discard", "--older-than", "30m", "--yes"];
        host.run(&discard).await;
        assert_eq!(world.count("finished where outcome = 'done'").await, 2);
        assert_eq!(world.count("scheduled").await, 1);
        let jobs = host.print(&["jobs"]).await;
        assert!(jobs.contains("in 59m"), "{jobs}");
        let of_finished = jobs.lines().filter(|line| line.contains(" done "));
        for line in of_finished {
            assert!(line.contains("s ago"), "{jobs}");
        }
        let processes = host.print(&["processes"]).await;
        assert!(processes.contains("s ago"), "{processes}");
        assert!(!processes.contains("dead"), "{processes}");

        let add = [
            "recurring",
            "add",
            "tick",
            "--schedule",
            "every second",
            "--kind",
            "greet",
        ];
        host.run(&add).await;
        let fired = "firings where outcome = 'enqueued' and due_at between now() - interval '1 minute' and now()";
        eventually("the recurring job has run", async || {
            world.count(fired).await > 1
        })
        .await;
        let missed = "firings where outcome = 'missed'";
        assert_eq!(world.count(missed).await, 0);
        assert!(stopped_by(process, Signal::TERM).await.status.success());
    }
}
