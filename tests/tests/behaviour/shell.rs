//! Runs the program like a shell.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use queue_tests::world::World;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A working directory for the program, and the URL of its database.
pub(crate) struct Shell {
    folder: TempDir,
    program: PathBuf,
    pub(crate) url: Option<String>,
}

impl Shell {
    pub(crate) fn on(world: &World) -> Self {
        Self {
            url: Some(world.url()),
            ..Self::without_database()
        }
    }

    /// The same, of another program.
    pub(crate) fn of(program: PathBuf, world: &World) -> Self {
        Self {
            program,
            ..Self::on(world)
        }
    }

    pub(crate) fn without_database() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            program: env!("CARGO_BIN_EXE_test-queue").into(),
            url: None,
        }
    }

    pub(crate) fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(line)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove("DATABASE_URL")
            .env_remove("QUEUE_CONFIG")
            .env_remove("QUEUE_SCHEMA")
            .env_remove("QUEUE_LOG");
        if let Some(url) = &self.url {
            command.env("DATABASE_URL", url);
        }
        command
    }

    /// Runs a command line, and waits for its end on another thread than the test's.
    pub(crate) async fn run(&self, line: &[&str]) -> Output {
        let mut command = self.command(line);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub(crate) async fn print(&self, line: &[&str]) -> String {
        let output = self.run(line).await;
        assert!(output.status.success(), "{line:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) async fn json(&self, line: &[&str]) -> Value {
        let text = self.print(&[line, &["--json"]].concat()).await;
        serde_json::from_str(&text).unwrap()
    }

    /// Runs a command that must end with this exit code, and returns its standard error.
    pub(crate) async fn refused(&self, code: i32, line: &[&str]) -> String {
        let output = self.run(line).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{line:?}: {}",
            said(&output)
        );
        said(&output)
    }

    /// Starts a dashboard with these variables, and returns the address at which it listens.
    pub(crate) fn dashboard(&self, variables: &[(&str, &str)]) -> (Child, String) {
        let mut command = self.command(&["dashboard", "--listen", "127.0.0.1:0"]);
        command
            .envs(variables.iter().copied())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.next().unwrap().unwrap();
        let address = url.strip_prefix("http://").unwrap();
        let address = address.strip_suffix("/ops/jobs").unwrap().to_owned();
        (child, address)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }
}

/// Returns the standard error of a program.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asks a dashboard for a page, and returns its answer.
pub(crate) fn get(address: &str, path: &str, scheme: &str, login: &str) -> String {
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

/// Sends a signal to a running program, and waits for its end.
pub(crate) async fn stopped_by(child: Child, signal: Signal) -> Output {
    kill_process(Pid::from_child(&child), signal).unwrap();
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    waiting.await.unwrap()
}

/// Returns an example program, which is built together with the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        example.exists(),
        "{} is missing: run the tests with bin/test, or build it with \
         `cargo build --workspace --examples`",
        example.display()
    );
    example
}
