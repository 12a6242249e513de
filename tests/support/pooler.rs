//! A pooler before a database, as PgBouncer is in its session mode: it refuses the options of a connection,
//! and passes everything else on.

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::lossy::Address;

/// The error `unsupported startup parameter: options`, as a message of the protocol.
const REFUSAL: &[u8] =
    b"E\0\0\0\x42SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0";

/// A pooler between programs and a server.
pub struct Pooler {
    options: PgConnectOptions,
    accepting: JoinHandle<()>,
    _directory: TempDir,
}

impl Pooler {
    /// Starts a pooler before a server.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn before(server: &PgConnectOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory
            .path()
            .join(format!(".s.PGSQL.{}", server.get_port()));
        let listener = UnixListener::bind(path).expect("a socket to listen on");
        Self {
            options: server
                .clone()
                .socket(directory.path())
                .ssl_mode(PgSslMode::Disable),
            accepting: tokio::spawn(accept(listener, Address::of(server))),
            _directory: directory,
        }
    }

    /// Returns the options to connect through it.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.options.clone()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, server: Address) {
    while let Ok((client, _)) = listener.accept().await {
        match &server {
            Address::Socket(path) => {
                if let Ok(server) = UnixStream::connect(path).await {
                    tokio::spawn(pass_on(client, server));
                }
            }
            Address::Tcp(host, port) => {
                if let Ok(server) = TcpStream::connect((host.as_str(), *port)).await {
                    tokio::spawn(pass_on(client, server));
                }
            }
        }
    }
}

async fn pass_on(
    mut client: UnixStream,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let length = client.read_u32().await?;
    let mut startup = vec![0; length as usize - 4];
    client.read_exact(&mut startup).await?;
    if startup.windows(8).any(|part| part == b"options\0") {
        return client.write_all(REFUSAL).await;
    }
    server.write_u32(length).await?;
    server.write_all(&startup).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
