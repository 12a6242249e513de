//! Connections with TLS, to a server whose certificate a CA of its own has signed.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use crate::shell::Shell;
use queue_core::Queue;
use queue_tests::deeds::{Deed, Ledger};
use queue_tests::postgres::DedicatedServer;
use queue_tests::victim::{Orders, Victim};
use queue_tests::world::eventually;
use sqlx::PgPool;
use tempfile::TempDir;

const WORKER: &str = env!("CARGO_BIN_EXE_test-worker");

/// Makes two CAs, and a certificate for the address `$1` that the first one signs.
const CERTIFICATES: &str = "
    set -e
    for ca in ca other; do
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$ca -keyout $ca.key -out $ca.crt
    done
    openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr
    echo subjectAltName=IP:$1 >server.ext
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
        -extfile server.ext -out server.crt
";

/// A server at two addresses, of which its certificate names the first.
struct TlsServer {
    server: DedicatedServer,
    certificates: TempDir,
    named: String,
    unnamed: String,
}

impl TlsServer {
    async fn start() -> Self {
        // Addresses of this machine at which no other test listens.
        let network = format!("127.{}.{}", fastrand::u8(1..), fastrand::u8(..));
        let (named, unnamed) = (format!("{network}.1"), format!("{network}.2"));
        let addresses = format!("{named},{unnamed}");
        let mut server = DedicatedServer::start_with(&[("listen_addresses", &addresses)]).await;
        let certificates = tempfile::tempdir().unwrap();
        make_certificates(certificates.path(), &named);
        install(certificates.path(), server.data_dir());
        server.stop_server().await;
        server.start_server().await;
        Self {
            server,
            certificates,
            named,
            unnamed,
        }
    }

    /// Returns a URL that trusts only certificates that a CA has signed for the host.
    fn url(&self, host: &str, ca: &str) -> String {
        let ca = self.certificates.path().join(ca);
        format!(
            "postgres://queue@{host}:5432/queue?sslmode=verify-full&sslrootcert={}",
            ca.display()
        )
    }
}

fn make_certificates(folder: &Path, address: &str) {
    let script = ["-c", CERTIFICATES, "certificates", address];
    let made = Command::new("sh").args(script).current_dir(folder).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// Gives a server its certificate, and lets it accept only encrypted connections by TCP.
fn install(certificates: &Path, data: &Path) {
    let owner = fs::metadata(data).unwrap();
    for name in ["server.crt", "server.key"] {
        let file = data.join(name);
        fs::copy(certificates.join(name), &file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    append(&data.join("postgresql.conf"), "ssl = on\n");
    append(
        &data.join("pg_hba.conf"),
        "hostssl all all 127.0.0.0/8 trust\n",
    );
}

fn append(file: &Path, line: &str) {
    let mut file = OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

#[tokio::test]
async fn verify_full_refuses_another_ca_and_another_host_and_says_what_to_do() {
    let server = TlsServer::start().await;
    let mut shell = Shell::without_database();

    shell.url = Some(server.url(&server.named, "ca.crt"));
    shell.print(&["migrate", "status"]).await;

    shell.url = Some(server.url(&server.named, "other.crt"));
    let said = shell.refused(3, &["queues"]).await;
    assert!(said.contains("`sslrootcert` in the database URL"), "{said}");

    shell.url = Some(server.url(&server.unnamed, "ca.crt"));
    let said = shell.refused(3, &["queues"]).await;
    assert!(said.contains("is for another host"), "{said}");
}

#[tokio::test]
async fn all_connections_of_a_process_are_encrypted() {
    let server = TlsServer::start().await;
    let ledger = PgPool::connect_lazy_with(server.server.connect_options());
    Ledger::build(&ledger).await;
    let queue = Queue::new(ledger.clone());
    queue.enqueue(Deed::Quick).await.unwrap();

    let mut victim = Victim::start(WORKER, &Orders::to(server.url(&server.named, "ca.crt")));
    eventually("the job has ended", async || {
        let ended = sqlx::query_scalar("select count(*) from queue.finished");
        ended.fetch_one(&ledger).await.ok() == Some(1_i64)
    })
    .await;

    // A count by TCP and one by encryption: the test itself uses a Unix socket.
    let counts = "select count(*), count(*) filter (where ssl)
        from pg_stat_activity join pg_stat_ssl using (pid) where client_port > 0";
    let (connections, encrypted): (i64, i64) =
        sqlx::query_as(counts).fetch_one(&ledger).await.unwrap();
    assert!(connections > 0);
    assert_eq!(connections, encrypted);
    victim.terminate();
    assert!(victim.ended().await.success());
}
