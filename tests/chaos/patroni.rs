//! Two servers that Patroni keeps available, with etcd: commits wait for the standby, which Patroni promotes
//! when the primary server is away.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use queue_tests::pgbouncer::free_port;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long Patroni may take to do what it is expected to: three times the time after which it promotes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    account: (u32, u32),
    etcd: Child,
    nodes: [Node; 2],
}

/// A server and its Patroni.
pub(crate) struct Node {
    /// Where the socket of the server is, and the folder `data`.
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    /// The port at which Patroni answers.
    api: u16,
    patroni: Option<Child>,
}

impl Cluster {
    /// Starts etcd and both servers in folders of their own, with the programs of Postgres in `bin`.
    pub(crate) async fn start(
        bin: &Path,
        account: (u32, u32),
        folders: [PathBuf; 3],
    ) -> Result<Self> {
        let (clients, peers) = (free_port(), free_port());
        let [etcd, first, second] = folders;
        let etcd = start_etcd(account, &etcd, clients, peers)?;
        let nodes = [first, second].map(|folder| Node {
            folder,
            port: free_port(),
            api: free_port(),
            patroni: None,
        });
        let mut cluster = Self {
            account,
            etcd,
            nodes,
        };
        for number in 0..2 {
            let node = &cluster.nodes[number];
            std::fs::write(node.settings(), node.configuration(number, bin, clients))?;
            cluster.start_patroni(number)?;
            // The second server copies the first.
            cluster.until_primary(0).await?;
        }
        cluster.roles().await?;
        Ok(cluster)
    }

    fn start_patroni(&mut self, number: usize) -> Result<()> {
        let node = &mut self.nodes[number];
        let mut command = program("patroni", self.account, &node.folder.join("patroni.log"))?;
        command.arg(node.settings());
        let patroni = Command::from(command).kill_on_drop(true).spawn();
        node.patroni =
            Some(patroni.context("could not start patroni: bin/setup --full installs it")?);
        Ok(())
    }

    /// Returns the primary server.
    pub(crate) async fn primary(&self) -> Option<&Node> {
        for node in &self.nodes {
            if node.answers("GET /primary").await {
                return Some(node);
            }
        }
        None
    }

    /// Makes the standby the primary server, in order, and waits until it is.
    pub(crate) async fn switch_over(&self) -> Result<()> {
        let (old, new) = self.roles().await?;
        let body = format!(r#"{{"leader": "node{old}", "candidate": "node{new}"}}"#);
        let asking = self.nodes[old].ask("POST /switchover", &body);
        let answer = asking.await.context("Patroni does not answer")?;
        if !answer.starts_with("HTTP/1.0 200") {
            bail!("Patroni does not switch over: {answer}");
        }
        self.until_primary(new).await
    }

    /// Kills the primary server and its Patroni, waits until the standby is the primary server, and starts
    /// Patroni again, which makes the former primary server a standby.
    pub(crate) async fn fail_over(&mut self) -> Result<()> {
        let (old, new) = self.roles().await?;
        self.nodes[old].kill().await?;
        self.until_primary(new).await?;
        self.start_patroni(old)
    }

    /// Returns the numbers of the primary server and of the standby for which commits wait, once it is there.
    async fn roles(&self) -> Result<(usize, usize)> {
        let found = async || {
            for (old, new) in [(0, 1), (1, 0)] {
                let nodes = &self.nodes;
                if nodes[old].answers("GET /primary").await && nodes[new].answers("GET /sync").await
                {
                    return Some((old, new));
                }
            }
            None
        };
        until("a standby is synchronous", found).await
    }

    /// Waits until a server is the primary server.
    async fn until_primary(&self, number: usize) -> Result<()> {
        let is_primary = async || {
            let is_primary = self.nodes[number].answers("GET /primary").await;
            is_primary.then_some(())
        };
        until("a server is primary", is_primary).await
    }

    /// Stops everything.
    pub(crate) async fn stop(&mut self) {
        for node in &mut self.nodes {
            let _gone = node.kill().await;
        }
        let _gone = self.etcd.kill().await;
    }
}

impl Node {
    fn settings(&self) -> PathBuf {
        self.folder.join("patroni.yml")
    }

    /// Returns the settings of Patroni, as JSON, which is YAML too.
    fn configuration(&self, number: usize, bin: &Path, etcd: u16) -> String {
        let Self {
            folder, port, api, ..
        } = self;
        let (server, api) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{api}"));
        let configuration = serde_json::json!({
            "scope": "queue",
            "name": format!("node{number}"),
            "restapi": {"listen": api, "connect_address": api},
            "etcd3": {"host": format!("127.0.0.1:{etcd}")},
            "bootstrap": {
                "dcs": {
                    // The least that Patroni takes.
                    "ttl": 20,
                    "loop_wait": 1,
                    "retry_timeout": 3,
                    "synchronous_mode": true,
                    "postgresql": {
                        "use_pg_rewind": true,
                        "parameters": {"max_connections": 250, "fsync": "off"},
                    },
                },
                "initdb": [{"encoding": "UTF8"}, {"auth": "trust"}],
                "pg_hba": [
                    "local all all trust",
                    "host all all 127.0.0.1/32 trust",
                    "host replication all 127.0.0.1/32 trust",
                ],
            },
            "postgresql": {
                "listen": server,
                "connect_address": server,
                "bin_dir": bin,
                "data_dir": folder.join("data"),
                "pgpass": folder.join("pgpass"),
                "parameters": {"unix_socket_directories": folder},
                "authentication": {
                    "superuser": {"username": "queue"},
                    "replication": {"username": "replicator"},
                    "rewind": {"username": "queue"},
                },
            },
        });
        configuration.to_string()
    }

    /// Returns whether Patroni answers a request with yes.
    async fn answers(&self, request: &str) -> bool {
        let answer = self.ask(request, "").await;
        answer.is_ok_and(|answer| answer.starts_with("HTTP/1.0 200"))
    }

    async fn ask(&self, request: &str, body: &str) -> Result<String> {
        let asking = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.api)).await?;
            let length = body.len();
            let request = format!("{request} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        tokio::time::timeout(PATIENCE, asking).await?
    }

    /// Kills Patroni, so that it cannot start the server again, and then the server.
    async fn kill(&mut self) -> Result<()> {
        if let Some(mut patroni) = self.patroni.take() {
            patroni.kill().await?;
        }
        let lines = std::fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        let server = lines.lines().next().and_then(|line| line.parse().ok());
        let server = server
            .and_then(Pid::from_raw)
            .context("the id of the server's process")?;
        Ok(kill_process(server, Signal::KILL)?)
    }
}

/// Waits until there is an answer.
async fn until<T>(what: &str, answer: impl AsyncFn() -> Option<T>) -> Result<T> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(found) = answer().await {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("waited in vain for {PATIENCE:?}: {what}")
}

fn start_etcd(account: (u32, u32), folder: &Path, clients: u16, peers: u16) -> Result<Child> {
    let (clients, peers) = [clients, peers]
        .map(|port| format!("http://127.0.0.1:{port}"))
        .into();
    let mut command = program("etcd", account, &folder.join("log"))?;
    command
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(["--unsafe-no-fsync", "--listen-client-urls", &clients])
        .args(["--advertise-client-urls", &clients])
        .args(["--listen-peer-urls", &peers])
        .args(["--initial-advertise-peer-urls", &peers])
        .arg("--initial-cluster")
        .arg(format!("default={peers}"));
    let etcd = Command::from(command).kill_on_drop(true).spawn();
    etcd.context("could not start etcd: bin/setup --full installs it")
}

/// Prepares a program that runs as the account of the servers, and writes what it has to say to a file.
fn program(name: &str, account: (u32, u32), log: &Path) -> Result<std::process::Command> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = std::process::Command::new(name);
    if rustix::process::geteuid().is_root() {
        command.uid(account.0).gid(account.1);
    }
    command
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}
