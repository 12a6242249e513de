//! What those who watch a process from outside learn: probes, `queue health` and systemd.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use queue_core::{NewJob, Options};
use queue_tests::world::{World, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::served::Served;
use crate::shell::{Shell, stopped_by};

const SETTINGS: &str = "
[process]
heartbeat_interval = \"100ms\"
dead_after = \"2s\"

[handlers.long]
command = [\"sleep\", \"20\"]
";

async fn enqueue_long(world: &World) {
    let job = NewJob::untyped("long", &json!({}), Options::new());
    let _ = world.queue.enqueue_all([job]).await.unwrap();
}

/// Runs `queue health`, and returns its exit code and what it printed.
async fn health(shell: &Shell, port: u16) -> (Option<i32>, String) {
    let output = shell.run(&["health", "--port", &port.to_string()]).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn a_process_is_ready_from_its_registration_until_it_stops() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    shell.write("queue.toml", SETTINGS);
    enqueue_long(&world).await;

    let process = Served::start(shell.command(&["start", "--port", "0"])).await;
    eventually("it is ready", async || process.get("/ready").await.0 == 200).await;
    let ready = health(&shell, process.port).await;
    world.until("claimed", 1).await;
    kill_process(Pid::from_child(&process.child), Signal::TERM).unwrap();
    eventually("it is not ready", async || {
        process.get("/ready").await.0 == 503
    })
    .await;
    let stopping = health(&shell, process.port).await;
    let up = process.get("/up").await;
    kill_process(Pid::from_child(&process.child), Signal::QUIT).unwrap();
    let port = process.port;
    stopped_by(process.child, Signal::QUIT).await;
    let gone = health(&shell, port).await;

    assert_eq!(ready, (Some(0), "ready\n".to_owned()));
    assert_eq!(stopping, (Some(1), "the process is stopping\n".to_owned()));
    assert_eq!(up, (200, "up\n".to_owned()));
    assert_eq!(gone.0, Some(1));
    assert!(gone.1.contains("nothing answers"), "{}", gone.1);
}

#[tokio::test]
async fn a_process_without_its_tables_is_up_but_not_ready() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let mut command = shell.command(&["start", "--port", "0", "--schema", "elsewhere"]);
    command.env("QUEUE_LOG", "info");

    let process = Served::start(command).await;

    assert_eq!(process.get("/up").await.0, 200);
    let (status, why) = process.get("/ready").await;
    assert_eq!(status, 503);
    assert!(why.contains("has not registered"), "{why}");
    stopped_by(process.child, Signal::TERM).await;
}

/// Starts a process under a service manager that listens on a socket, and returns all that it says until it
/// has stopped.
async fn said_to(world: &World, socket: UnixDatagram, address: &str) -> Vec<String> {
    let shell = Shell::on(world);
    let mut command = shell.command(&["start"]);
    command
        .env("NOTIFY_SOCKET", address)
        .env("WATCHDOG_USEC", "300000");
    let child = command.spawn().unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let receive = move |socket: &UnixDatagram| {
        let mut bytes = [0; 100];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let pid = Pid::from_child(&child);
    let listening = spawn_blocking(move || {
        let mut said: Vec<String> = Vec::new();
        while said.last().is_none_or(|last| last != "STOPPING=1") {
            said.push(receive(&socket));
            let count = |word: &str| said.iter().filter(|said| *said == word).count();
            if count("READY=1") == 1 && count("WATCHDOG=1") == 4 {
                kill_process(pid, Signal::TERM).unwrap();
            }
        }
        said
    });
    let said = listening.await.unwrap();
    stopped_by(child, Signal::TERM).await;
    said
}

#[tokio::test]
async fn systemd_is_told_when_a_process_is_ready_alive_and_stopping() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();

    let said = said_to(&world, socket, path.to_str().unwrap()).await;

    let count = |word: &str| said.iter().filter(|said| *said == word).count();
    assert_eq!((count("READY=1"), count("STOPPING=1")), (1, 1), "{said:?}");
}

#[tokio::test]
async fn the_socket_of_systemd_may_be_abstract() {
    let world = World::new().await;
    let name = format!("queue-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();

    let said = said_to(&world, socket, &format!("@{name}")).await;

    assert!(said.contains(&"READY=1".to_owned()), "{said:?}");
}

#[tokio::test]
async fn a_process_that_waits_says_for_what_and_asks_systemd_for_time() {
    let world = World::new().await;
    world.sql("drop schema queue cascade").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let shell = Shell::on(&world);
    let mut command = shell.command(&["start", "--port", "0"]);
    command.env("NOTIFY_SOCKET", &path);

    let process = Served::start(command).await;
    eventually("it says what it waits for", async || {
        process
            .get("/ready")
            .await
            .1
            .contains("run `queue migrate`")
    })
    .await;
    stopped_by(process.child, Signal::TERM).await;

    let mut bytes = [0; 100];
    let length = socket.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"EXTEND_TIMEOUT_USEC=60000000");
}

#[tokio::test]
async fn silent_connections_to_the_port_are_closed_and_do_not_keep_others_away() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let process = Served::start(shell.command(&["start", "--port", "0"])).await;
    let port = process.port;
    let silent = spawn_blocking(move || {
        let connect = |_| TcpStream::connect(("::1", port)).unwrap();
        (0..100).map(connect).collect::<Vec<_>>()
    });
    let silent = silent.await.unwrap();

    assert_eq!(process.get("/up").await.0, 200);

    let closed = spawn_blocking(move || {
        silent.into_iter().all(|mut stream| {
            let patience = Some(Duration::from_secs(20));
            stream.set_read_timeout(patience).unwrap();
            stream.read(&mut [0]).is_ok_and(|bytes| bytes == 0)
        })
    });
    assert!(closed.await.unwrap());
    stopped_by(process.child, Signal::TERM).await;
}
