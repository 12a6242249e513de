//! The files of `deploy`, as far as they can be tried without containers.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use queue_tests::world::{World, eventually};
use queue_worker::Settings;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::shell::{Shell, said, stopped_by};

const PROGRAM: &str = env!("CARGO_BIN_EXE_test-queue");

fn path_of(file: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    directory.join(file)
}

fn text_of(file: &str) -> String {
    fs::read_to_string(path_of(file)).unwrap()
}

/// Returns the values of the lines of a file that begin so.
fn values(file: &str, name: &str) -> Vec<String> {
    let text = text_of(file);
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix(name));
    lines.map(|value| value.trim().to_owned()).collect()
}

/// An image with the program as `queue`.
struct Image {
    programs: TempDir,
    url: String,
}

impl Image {
    fn new(world: &World) -> Self {
        let programs = tempfile::tempdir().unwrap();
        symlink(PROGRAM, programs.path().join("queue")).unwrap();
        let url = world.url();
        Self { programs, url }
    }

    fn command(&self, line: &[&str], migrates: bool) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(path_of("entrypoint.sh"));
        command
            .args(line)
            .current_dir(&self.programs)
            .env("PATH", format!("{}:{path}", self.programs.path().display()))
            .env("DATABASE_URL", &self.url)
            .env("QUEUE_MIGRATE", migrates.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    async fn run(&self, line: &[&str], migrates: bool) -> Output {
        let mut command = self.command(line, migrates);
        spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn the_entrypoint_creates_the_tables_if_asked_and_passes_signals_on() {
    let world = World::new().await;
    world.sql("drop schema queue cascade").await;
    let image = Image::new(&world);

    let refused = image.run(&["jobs", "list"], false).await;
    let child = image.command(&["start"], true).spawn().unwrap();
    eventually("the tables are created", async || {
        world
            .value("select to_regclass('queue.depths') is not null")
            .await
    })
    .await;
    world.until("processes", 1).await;
    let stopped = stopped_by(child, Signal::TERM).await;

    assert!(!refused.status.success());
    assert!(
        said(&refused).contains("queue migrate"),
        "{}",
        said(&refused)
    );
    assert!(stopped.status.success(), "{}", said(&stopped));
    assert_eq!(world.count("processes").await, 0);
}

#[tokio::test]
async fn every_command_of_a_deploy_file_is_one_of_the_program() {
    let shell = Shell::without_database();
    let compose = values("compose.yaml", "command: ");
    let compose = compose
        .iter()
        .map(|line| line.replace(['[', ']', '"', ','], ""));
    let commands: Vec<String> = [
        values("Procfile", "release: queue"),
        values("Procfile", "web: queue"),
        values("Procfile", "worker: queue"),
        values("kamal.yml", "cmd: "),
        values("queue.service", "ExecStart=/usr/local/bin/queue"),
        values("entrypoint.sh", "queue"),
        compose.collect(),
    ]
    .concat();

    assert_eq!(commands.len(), 9, "{commands:?}");
    for command in commands {
        let line = command.replace("$PORT", "8080");
        let line: Vec<&str> = line.split(' ').chain(["--help"]).collect();
        shell.print(&line).await;
    }
}

#[test]
fn containers_and_services_may_stop_longer_than_their_process() {
    let granted = [
        values("compose.yaml", "stop_grace_period: "),
        values("kamal.yml", "drain_timeout: "),
        values("queue.service", "TimeoutStopSec="),
    ]
    .concat();

    assert_eq!(granted.len(), 3);
    for granted in granted {
        let seconds = granted.trim_end_matches('s').parse().unwrap();
        let needed = Settings::default().process.shutdown_timeout;
        assert!(Duration::from_secs(seconds) > needed, "{granted}");
    }
}

#[test]
fn the_unit_of_systemd_is_sound() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("queue.service");
    let text = text_of("queue.service").replace("/usr/local/bin/queue", PROGRAM);
    fs::write(&unit, text).unwrap();

    match Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
    {
        Ok(verified) => {
            assert!(verified.status.success(), "{}", said(&verified));
            assert_eq!(said(&verified), "");
        }
        Err(error) => eprintln!("left out, because systemd-analyze does not run: {error}"),
    }
}
