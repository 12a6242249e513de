//! Real commands, most of them scripts for `sh`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use rustix::process::test_kill_process;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::handlers::tests::attempt;

/// A timeout that only a failing test reaches.
const LONG: Duration = Duration::from_secs(30);

fn sh(script: &str) -> CommandHandler {
    CommandHandler {
        program: "sh".to_owned(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        env: BTreeMap::new(),
        cwd: None,
    }
}

async fn run(script: &str, args: &str) -> HandlerOutcome {
    let stop = CancellationToken::new();
    timeout(LONG, run_command(&sh(script), &attempt(), args, stop))
        .await
        .expect("the command ends")
}

fn retry(error: &str) -> HandlerOutcome {
    HandlerOutcome::Retry {
        error: error.to_owned(),
    }
}

/// A named pipe. A script writes its process id into it, and keeps it open while the script or a
/// child of it is alive.
struct Lifeline {
    path: PathBuf,
    _folder: TempDir,
}

impl Lifeline {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lifeline");
        let made = std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        Self {
            path,
            _folder: folder,
        }
    }

    /// Returns the first line once it is written, and the end once all writers have closed the pipe.
    fn watch(&self) -> (oneshot::Receiver<String>, oneshot::Receiver<()>) {
        let (told, line) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let path = self.path.clone();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(File::open(path).unwrap());
            let mut line = String::new();
            pipe.read_line(&mut line).unwrap();
            _ = told.send(line.trim().to_owned());
            pipe.read_to_end(&mut Vec::new()).unwrap();
            _ = ended.send(());
        });
        (line, end)
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(LONG, what).await.expect("it happens in time")
}

#[tokio::test]
async fn the_exit_status_is_the_outcome() {
    for (script, outcome) in [
        ("exit 0", HandlerOutcome::Done),
        ("echo 'not an error' >&2", HandlerOutcome::Done),
        ("exit 3", retry("exited with status 3")),
        (
            "echo 'no such user' >&2; exit 1",
            retry("exited with status 1: no such user"),
        ),
        ("exit 75", retry("exited with status 75")),
        (
            "echo bad >&2; exit 65",
            HandlerOutcome::Fail {
                error: "exited with status 65: bad".to_owned(),
            },
        ),
        ("kill -KILL $$", retry("killed by SIGKILL")),
        ("kill -ABRT $$", retry("killed by SIGABRT")),
        (
            "printf 'a\\0b' >&2; exit 1",
            retry("exited with status 1: a\u{fffd}b"),
        ),
    ] {
        assert_eq!(run(script, "{}").await, outcome, "{script}");
    }
}

#[tokio::test]
async fn the_job_is_in_the_environment_and_its_arguments_on_standard_input() {
    let script = r#"
        read -r args
        echo "$QUEUE_JOB_ID $QUEUE_JOB_KIND $QUEUE_JOB_QUEUE $QUEUE_JOB_ATTEMPT/$QUEUE_JOB_ATTEMPTS_MAX $OWN $(pwd -P) $args" >&2
        exit 1
    "#;
    let folder = tempfile::tempdir().unwrap();
    let cwd = folder.path().canonicalize().unwrap();
    let handler = CommandHandler {
        env: BTreeMap::from([("OWN".to_owned(), "mine".to_owned())]),
        cwd: Some(cwd.clone()),
        ..sh(script)
    };

    let outcome = run_command(
        &handler,
        &attempt(),
        r#"{"user_id":7}"#,
        CancellationToken::new(),
    )
    .await;

    let expected = format!(
        "exited with status 1: 42 send mail 2/5 mine {} {{\"user_id\":7}}",
        cwd.display()
    );
    assert_eq!(outcome, retry(&expected));
}

#[tokio::test]
async fn the_shard_is_in_the_environment_if_there_are_shards() {
    let script = "echo $QUEUE_JOB_ID on ${QUEUE_JOB_SHARD-none} >&2; exit 1";
    for (shard, said) in [(Some("eu"), "42 on eu"), (None, "42 on none")] {
        let attempt = Attempt {
            shard: shard.map(Into::into),
            ..attempt()
        };
        let stop = CancellationToken::new();
        let outcome = run_command(&sh(script), &attempt, "{}", stop).await;
        assert_eq!(outcome, retry(&format!("exited with status 1: {said}")));
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_named() {
    let handler = CommandHandler {
        program: "./no-such-command".to_owned(),
        ..sh("")
    };
    let outcome = run_command(&handler, &attempt(), "{}", CancellationToken::new()).await;
    assert_eq!(
        outcome,
        retry("could not start `./no-such-command`: command not found")
    );

    let handler = CommandHandler {
        cwd: Some("/no/such/folder".into()),
        ..sh("")
    };
    let outcome = run_command(&handler, &attempt(), "{}", CancellationToken::new()).await;
    assert_eq!(
        outcome,
        retry("could not start `sh`: there is no directory `/no/such/folder`")
    );
}

#[tokio::test]
async fn large_input_and_output_do_not_wait_for_each_other() {
    let args = format!("\"{}\"", "x".repeat(1_000_000));
    let errors_first = "head -c 1000000 /dev/zero | tr '\\0' e >&2; cat | wc -c >&2; exit 1";
    let HandlerOutcome::Retry { error } = run(errors_first, &args).await else {
        panic!("status 1 is tried again");
    };
    assert!(
        error.starts_with("exited with status 1: …eee"),
        "{}",
        &error[..40]
    );
    assert!(
        error.trim_end().ends_with("1000003"),
        "all of the input arrived"
    );
    assert!(error.len() < ERROR_BYTES + 100, "only the end is kept");

    let output = "head -c 1000000 /dev/zero; cat >/dev/null";
    assert_eq!(run(output, &args).await, HandlerOutcome::Done);
}

#[tokio::test]
async fn a_command_need_not_read_its_arguments() {
    let args = format!("\"{}\"", "x".repeat(1_000_000));
    assert_eq!(run("exec <&-; exit 0", &args).await, HandlerOutcome::Done);
}

#[test]
fn a_cut_text_starts_with_a_whole_character() {
    let mut tail = Tail::default();
    tail.push("é".repeat(ERROR_BYTES).as_bytes());
    tail.push(b"x");
    let text = tail.text();
    assert!(
        text.starts_with("…é") && text.ends_with("éx"),
        "{}",
        &text[..20]
    );
}

#[tokio::test]
async fn a_request_to_stop_terminates_the_whole_group() {
    let lifeline = Lifeline::new();
    let (line, end) = lifeline.watch();
    let script = format!(
        "exec >{}; sleep 1000 & echo up; wait",
        quoted(&lifeline.path)
    );
    let stop = CancellationToken::new();
    let handler = sh(&script);
    let facts = attempt();
    let attempt = run_command(&handler, &facts, "{}", stop.clone());

    let (outcome, ()) = soon(async {
        tokio::join!(attempt, async {
            line.await.unwrap();
            stop.cancel();
        })
    })
    .await;

    assert_eq!(outcome, retry("killed by SIGTERM"));
    soon(end).await.unwrap();
}

#[tokio::test]
async fn a_command_may_finish_after_a_request_to_stop() {
    let lifeline = Lifeline::new();
    let (line, _end) = lifeline.watch();
    let script = format!(
        "trap 'exit 0' TERM; exec 3>{}; echo up >&3; while :; do sleep 1000 & wait; done",
        quoted(&lifeline.path)
    );
    let stop = CancellationToken::new();
    let handler = sh(&script);
    let facts = attempt();
    let attempt = run_command(&handler, &facts, "{}", stop.clone());

    let (outcome, ()) = soon(async {
        tokio::join!(attempt, async {
            line.await.unwrap();
            stop.cancel();
        })
    })
    .await;

    assert_eq!(outcome, HandlerOutcome::Done);
}

#[tokio::test]
async fn dropping_the_future_kills_and_reaps_the_whole_group() {
    let lifeline = Lifeline::new();
    let (line, end) = lifeline.watch();
    // The command and its child ignore the request to stop.
    let script = format!(
        "trap '' TERM; exec >{}; (sleep 1000; :) & echo $$; wait",
        quoted(&lifeline.path)
    );
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let attempt =
        tokio::spawn(async move { run_command(&sh(&script), &attempt(), "{}", asked).await });
    let leader: i32 = soon(line).await.unwrap().parse().unwrap();

    stop.cancel();
    attempt.abort();

    soon(end).await.unwrap();
    let leader = Pid::from_raw(leader).unwrap();
    soon(async {
        while test_kill_process(leader).is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn processes_that_a_command_leaves_behind_are_killed() {
    let lifeline = Lifeline::new();
    let (line, end) = lifeline.watch();
    let script = format!(
        "exec 3>{}; sleep 1000 & echo up >&3; exit 0",
        quoted(&lifeline.path)
    );

    assert_eq!(run(&script, "{}").await, HandlerOutcome::Done);

    soon(line).await.unwrap();
    soon(end).await.unwrap();
}

#[tokio::test]
async fn a_command_goes_on_when_the_thread_that_started_it_ends() {
    let lifeline = Lifeline::new();
    let (line, _end) = lifeline.watch();
    let script = format!("echo up >{}; sleep 0.2", quoted(&lifeline.path));
    let handle = tokio::runtime::Handle::current();
    let (handler, facts) = (sh(&script), attempt());
    let attempt =
        async move { run_command(&handler, &facts, "{}", CancellationToken::new()).await };
    let mut attempt = Box::pin(attempt);

    let thread = std::thread::spawn(move || {
        handle.block_on(async {
            tokio::select! {
                _ = &mut attempt => panic!("the command ended at once"),
                line = line => line.unwrap(),
            }
        });
        attempt
    });
    let attempt = tokio::task::spawn_blocking(|| thread.join().unwrap());

    let outcome = soon(attempt.await.unwrap()).await;

    assert_eq!(outcome, HandlerOutcome::Done);
}
