//! Starting and stopping the embedded Postgres.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use queue_tests::postgres::directory;
use queue_worker::embedded::{Embedded, EmbeddedError, EmbeddedOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const TEST_POSTGRES: &str = env!("CARGO_BIN_EXE_test-postgres");

#[tokio::test]
async fn a_server_starts_and_accepts_connections_at_its_url() {
    let place = directory();

    let server = start(place.path()).await;

    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    assert_eq!(
        show(&mut connection, "data_directory").await,
        server.data_dir().to_str().unwrap()
    );
    assert_eq!(show(&mut connection, "listen_addresses").await, "");
    assert_eq!(show(&mut connection, "server_encoding").await, "UTF8");
    assert!(!server.adopted());
    assert!(
        server
            .announcement()
            .contains(server.data_dir().to_str().unwrap())
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_socket_is_private_and_its_path_is_short() {
    let place = directory();

    let server = start(place.path()).await;

    let socket = server.socket_dir();
    assert_eq!(
        fs::metadata(socket).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert!(socket.join(".s.PGSQL.5432").as_os_str().len() < 100);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_start_adopts_the_server_and_leaves_it_running() {
    let place = directory();
    let first = start(place.path()).await;

    let second = start(place.path()).await;

    assert!(second.adopted());
    assert_eq!(second.url(), first.url());
    second.stop().await.unwrap();
    first
        .connect_options()
        .connect()
        .await
        .expect("the first still runs");
    first.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_ends_with_its_last_user_whichever_started_it() {
    let place = directory();
    let first = start(place.path()).await;
    let second = start(place.path()).await;
    let third = start(place.path()).await;
    let (options, data) = (third.connect_options(), third.data_dir().to_owned());

    first.stop().await.unwrap();
    drop(second);
    let mut connection = options.connect().await.expect("the third still runs");
    connection.ping().await.unwrap();
    third.stop().await.unwrap();

    // If what the second one left behind ends after the third, that stops the server.
    until_gone(&data.join("postmaster.pid")).await;
    assert!(options.connect().await.is_err());
}

#[tokio::test]
async fn a_server_outlives_the_process_that_started_it_while_another_uses_it() {
    let place = directory();
    let mut parent = Command::new(env!("CARGO_BIN_EXE_test-queue"))
        .args(["dev", "--data"])
        .arg(place.path())
        .env_remove("DATABASE_URL")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(parent.stderr.take().unwrap()).lines();
    let is_up = |line: &str| line.contains("export DATABASE_URL");
    assert!(said.map_while(Result::ok).any(|line| is_up(&line)));
    let options = EmbeddedOptions {
        data: Some(place.path().to_owned()),
        ..Default::default()
    };
    let user = Embedded::start(options).await.unwrap();
    assert!(user.adopted());

    parent.kill().unwrap();
    parent.wait().unwrap();

    let mut connection = user.connect_options().connect().await.unwrap();
    connection.ping().await.unwrap();
    let pid_file = user.data_dir().join("postmaster.pid");
    user.stop().await.unwrap();
    // If the killed process's shell leaves after this user, that shell stops the server.
    until_gone(&pid_file).await;
}

#[tokio::test]
async fn starts_at_the_same_instant_share_one_server() {
    let place = directory();
    let mut starts = JoinSet::new();
    for _ in 0..6 {
        let base = place.path().to_owned();
        starts.spawn(async move { start(&base).await });
    }

    let servers = starts.join_all().await;

    assert_eq!(servers.iter().filter(|server| !server.adopted()).count(), 1);
    for server in &servers {
        server
            .connect_options()
            .connect()
            .await
            .expect("each can connect");
    }
    for server in servers {
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_durable_server_syncs_and_keeps_its_data_from_run_to_run() {
    let place = directory();
    let durable = EmbeddedOptions {
        data: Some(place.path().to_owned()),
        ..Default::default()
    };
    let first = Embedded::start(durable.clone()).await.unwrap();
    let mut connection = first.connect_options().connect().await.unwrap();
    assert_eq!(show(&mut connection, "fsync").await, "on");
    remember(&mut connection, 7).await;
    first.stop().await.unwrap();

    let second = Embedded::start(durable).await.unwrap();

    assert!(!second.adopted());
    let mut connection = second.connect_options().connect().await.unwrap();
    assert_eq!(recall(&mut connection).await, 7);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn durable_and_other_servers_have_separate_data() {
    let place = directory();
    let fast = start(place.path()).await;
    let options = EmbeddedOptions {
        data: Some(place.path().to_owned()),
        ..Default::default()
    };

    let durable = Embedded::start(options).await.unwrap();

    assert!(!durable.adopted());
    assert_ne!(durable.data_dir(), fast.data_dir());
    fast.stop().await.unwrap();
    durable.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_recovers_committed_data_after_a_crash() {
    let place = directory();
    let mut server = start(place.path()).await;
    let mut connection = server.connect_options().connect().await.unwrap();
    remember(&mut connection, 11).await;

    server.crash_server().await.unwrap();
    server.start_server().await.unwrap();

    assert!(
        connection.ping().await.is_err(),
        "the old connection is gone"
    );
    let mut connection = server.connect_options().connect().await.unwrap();
    assert_eq!(recall(&mut connection).await, 11);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_pid_file_with_the_id_of_another_process_does_not_prevent_a_start() {
    let place = directory();
    let server = start(place.path()).await;
    let pid_file = server.data_dir().join("postmaster.pid");
    let left = fs::read_to_string(&pid_file).unwrap();
    server.stop().await.unwrap();
    let (_, rest) = left.split_once('\n').unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();

    let server = start(place.path()).await;

    assert!(!server.adopted());
    server.stop().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_ends_with_its_process_even_if_that_is_killed() {
    let mut parent = Command::new(TEST_POSTGRES)
        .args(["sh", "-c", "echo $TEST_DATABASE_URL; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(parent.stdout.take().unwrap())
        .read_line(&mut url)
        .unwrap();
    let pid_file = pid_file(url.trim()).await;
    assert!(pid_file.exists());

    parent.kill().unwrap();
    parent.wait().unwrap();

    until_gone(&pid_file).await;
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let place = directory();
    let base = place.path().to_owned();
    let starting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(start(&base))
    });
    let server = starting.join().unwrap();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut connection = server.connect_options().connect().await.unwrap();
        connection.ping().await.expect("the server still runs");
        server.stop().await.unwrap();
    });
}

#[tokio::test]
async fn a_stopped_server_leaves_no_socket_directory() {
    let place = directory();
    let server = start(place.path()).await;
    let socket = server.socket_dir().to_owned();

    server.stop().await.unwrap();

    assert!(!socket.exists());
}

#[test]
fn a_command_runs_with_a_server_and_its_exit_code_is_returned() {
    let ran = Command::new(TEST_POSTGRES)
        .args(["sh", "-c", "echo $TEST_DATABASE_URL; exit 7"])
        .output()
        .unwrap();

    assert_eq!(ran.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&ran.stdout).starts_with("postgres://queue@%2Ftmp"));
}

#[test]
fn without_a_postgres_the_error_lists_directories_and_ways_to_install_one() {
    let empty = directory();

    let said = complaint(run_with_programs(empty.path()));

    assert!(
        said.contains(&format!("QUEUE_PG_BIN: {}", empty.path().display())),
        "{said}"
    );
    assert!(said.contains("apt-get install postgresql"), "{said}");
    assert!(said.contains("brew install postgresql@17"), "{said}");
}

#[test]
fn a_postgres_that_is_too_old_is_not_used() {
    let programs = directory();
    write_program(
        programs.path(),
        "postgres",
        "echo 'postgres (PostgreSQL) 12.22'",
    );
    write_program(programs.path(), "initdb", "exit 0");

    let said = complaint(run_with_programs(programs.path()));

    assert!(said.contains("version 12 is older than 15"), "{said}");
}

#[test]
fn a_postgres_without_its_libraries_is_listed_with_its_error() {
    let programs = directory();
    write_program(
        programs.path(),
        "postgres",
        "echo 'libicuuc.so.60: cannot open' >&2; exit 127",
    );
    write_program(programs.path(), "initdb", "exit 0");

    let said = complaint(run_with_programs(programs.path()));

    assert!(said.contains("libicuuc.so.60: cannot open"), "{said}");
}

#[test]
fn if_initdb_fails_the_error_contains_its_output() {
    let programs = directory();
    write_program(
        programs.path(),
        "postgres",
        "echo 'postgres (PostgreSQL) 99.1'",
    );
    write_program(
        programs.path(),
        "initdb",
        "echo 'initdb: error: no space left' >&2; exit 1",
    );

    let said = complaint(run_with_programs(programs.path()));

    assert!(said.contains("initdb: error: no space left"), "{said}");
}

#[test]
fn a_user_without_an_entry_is_reported() {
    let programs = directory();
    let initdb = "echo 'initdb: error: could not look up effective user ID 12345: user does not \
                  exist' >&2; exit 1";
    write_program(
        programs.path(),
        "postgres",
        "echo 'postgres (PostgreSQL) 99.1'",
    );
    write_program(programs.path(), "initdb", initdb);

    let said = complaint(run_with_programs(programs.path()));

    assert!(said.contains("has no entry in the user database"), "{said}");
}

#[tokio::test]
async fn if_the_server_ends_at_its_start_the_error_contains_its_log() {
    let place = directory();
    let mut options = options(place.path());
    options
        .settings
        .push(("no_such_setting".to_owned(), "1".to_owned()));

    let error = Embedded::start(options).await.unwrap_err();

    assert!(matches!(error, EmbeddedError::Ended { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("unrecognized configuration parameter"),
        "{error}"
    );
}

#[tokio::test]
async fn data_of_another_version_is_rejected() {
    let place = directory();
    let server = start(place.path()).await;
    let data = server.data_dir().to_owned();
    server.stop().await.unwrap();
    fs::write(data.join("PG_VERSION"), "9\n").unwrap();

    let error = Embedded::start(options(place.path())).await.unwrap_err();

    assert!(
        error.to_string().contains("was written by Postgres 9"),
        "{error}"
    );
}

#[tokio::test]
async fn a_link_instead_of_a_private_directory_is_rejected() {
    let place = directory();
    let server = start(place.path()).await;
    let home = server.data_dir().parent().unwrap().to_owned();
    server.stop().await.unwrap();
    let moved = place.path().join("moved");
    fs::rename(&home, &moved).unwrap();
    symlink(&moved, &home).unwrap();

    let error = Embedded::start(options(place.path())).await.unwrap_err();

    assert!(matches!(error, EmbeddedError::NotOurs { .. }), "{error}");
}

#[tokio::test]
async fn a_directory_that_the_server_cannot_enter_is_named() {
    let place = directory();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o500)).unwrap();

    let error = Embedded::start(options(&place.path().join("below")))
        .await
        .unwrap_err();

    assert!(
        error.to_string().contains(place.path().to_str().unwrap()),
        "{error}"
    );
}

#[tokio::test]
async fn a_start_waits_for_a_server_that_is_shutting_down() {
    let place = directory();
    let first = start(place.path()).await;
    // The drop asks the server to stop and does not wait.
    drop(first);

    let second = start(place.path()).await;

    second
        .connect_options()
        .connect()
        .await
        .expect("the second server answers");
    second.stop().await.unwrap();
}

fn options(base: &Path) -> EmbeddedOptions {
    EmbeddedOptions {
        data: Some(base.to_owned()),
        durable: false,
        settings: Vec::new(),
    }
}

async fn start(base: &Path) -> Embedded {
    Embedded::start(options(base))
        .await
        .expect("a server should start")
}

async fn show(connection: &mut PgConnection, setting: &str) -> String {
    let asking = sqlx::query_scalar("select current_setting($1)").bind(setting);
    asking.fetch_one(connection).await.unwrap()
}

async fn remember(connection: &mut PgConnection, number: i32) {
    let making = sqlx::raw_sql("create table memory (number int)");
    making.execute(&mut *connection).await.unwrap();
    let keeping = sqlx::query("insert into memory values ($1)").bind(number);
    keeping.execute(connection).await.unwrap();
}

async fn recall(connection: &mut PgConnection) -> i32 {
    let asking = sqlx::query_scalar("select number from memory");
    asking.fetch_one(connection).await.unwrap()
}

/// Waits until a server has removed its pid file.
async fn until_gone(pid_file: &Path) {
    let gone = async {
        while pid_file.exists() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = timeout(Duration::from_secs(30), gone).await;
    waited.expect("the server should end");
}

/// Returns the file that a server removes at the end of a clean shutdown.
async fn pid_file(url: &str) -> PathBuf {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let data = show(&mut connection, "data_directory").await;
    Path::new(&data).join("postmaster.pid")
}

fn run_with_programs(programs: &Path) -> Output {
    Command::new(TEST_POSTGRES)
        .arg("true")
        .env("QUEUE_PG_BIN", programs)
        .output()
        .unwrap()
}

fn complaint(output: Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

fn write_program(directory: &Path, name: &str, script: &str) {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}
