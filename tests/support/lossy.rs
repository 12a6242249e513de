//! A way to a database on which answers get lost: what was asked has been done and committed, and
//! the connection breaks before the answer arrives.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// Stands between programs and a server, and loses answers when told to.
pub struct Lossy {
    options: PgConnectOptions,
    orders: Arc<Orders>,
    accepting: JoinHandle<()>,
    _directory: TempDir,
}

/// What to lose.
#[derive(Default)]
struct Orders {
    /// A text of which only connections that have sent it lose an answer, once.
    after: Mutex<Option<Vec<u8>>>,
    /// One answer in so many is lost; none, when zero.
    one_in: AtomicU32,
    lost: AtomicUsize,
    accepted: AtomicUsize,
}

impl Lossy {
    /// Stands before a server.
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
        let orders = Arc::new(Orders::default());
        let accepting = tokio::spawn(accept(listener, Address::of(server), Arc::clone(&orders)));
        Self {
            // The answer to a wish for encryption is no message like the others.
            options: server
                .clone()
                .socket(directory.path())
                .ssl_mode(PgSslMode::Disable),
            orders,
            accepting,
            _directory: directory,
        }
    }

    /// How to connect through it.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Loses the next answer that says something was changed or found, on a connection that has
    /// sent a text.
    ///
    /// # Panics
    /// Never in practice: when a thread panicked while it gave an order.
    pub fn lose_one(&self, after: &str) {
        *self.orders.after.lock().expect("orders") = Some(after.as_bytes().to_vec());
    }

    /// Loses one answer in so many from now on; none, with zero.
    pub fn lose_one_in(&self, many: u32) {
        self.orders.one_in.store(many, Ordering::Relaxed);
    }

    /// How many connections were asked for.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.orders.accepted.load(Ordering::Relaxed)
    }

    /// How many answers have been lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.orders.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

enum Address {
    Socket(PathBuf),
    Tcp(String, u16),
}

impl Address {
    fn of(server: &PgConnectOptions) -> Self {
        let host = server.get_host();
        match server.get_socket() {
            Some(directory) => Self::Socket(socket_in(directory, server.get_port())),
            None if host.starts_with('/') => {
                Self::Socket(socket_in(host.as_ref(), server.get_port()))
            }
            None => Self::Tcp(host.to_owned(), server.get_port()),
        }
    }
}

fn socket_in(directory: &std::path::Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

async fn accept(listener: UnixListener, server: Address, orders: Arc<Orders>) {
    while let Ok((client, _)) = listener.accept().await {
        orders.accepted.fetch_add(1, Ordering::Relaxed);
        let orders = Arc::clone(&orders);
        match &server {
            Address::Socket(path) => {
                if let Ok(server) = UnixStream::connect(path).await {
                    tokio::spawn(pass_on(client, server, orders));
                }
            }
            Address::Tcp(host, port) => {
                if let Ok(server) = TcpStream::connect((host.as_str(), *port)).await {
                    tokio::spawn(pass_on(client, server, orders));
                }
            }
        }
    }
}

/// Passes everything on, until an answer is to be lost: then both sides find the line broken.
async fn pass_on(
    client: UnixStream,
    server: impl AsyncRead + AsyncWrite + Send + Unpin,
    orders: Arc<Orders>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let heard = Mutex::new(Vec::new());
    let questions = async {
        let mut chunk = [0; 16 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut chunk).await {
            remember(&heard, &chunk[..length]);
            if to_server.write_all(&chunk[..length]).await.is_err() {
                break;
            }
        }
    };
    let answers = async {
        let mut answer = Answer::default();
        while let Ok(1..) = from_server.read_buf(&mut answer.unread).await {
            let passed = answer.take(|| orders.is_to_lose(&heard));
            let Some(passed) = passed else { break };
            if to_client.write_all(&passed).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = questions => {}
        () = answers => {}
    }
}

/// Keeps the beginning of what a connection sent: statements are prepared once, early.
fn remember(heard: &Mutex<Vec<u8>>, chunk: &[u8]) {
    const HEARD_MAX: usize = 256 * 1024;

    let mut heard = heard.lock().expect("what was heard");
    if heard.len() < HEARD_MAX {
        heard.extend_from_slice(chunk);
    }
}

impl Orders {
    fn is_to_lose(&self, heard: &Mutex<Vec<u8>>) -> bool {
        let lose = self.is_the_one(heard) || self.is_one_in_many();
        if lose {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        lose
    }

    fn is_the_one(&self, heard: &Mutex<Vec<u8>>) -> bool {
        let mut after = self.after.lock().expect("orders");
        let heard = heard.lock().expect("what was heard");
        let is_it = after
            .as_ref()
            .is_some_and(|text| heard.windows(text.len()).any(|window| window == text));
        if is_it {
            *after = None;
        }
        is_it
    }

    fn is_one_in_many(&self) -> bool {
        match self.one_in.load(Ordering::Relaxed) {
            0 => false,
            many => fastrand::u32(0..many) == 0,
        }
    }
}

/// The server's messages as they come in: a letter, a length, and so many bytes.
#[derive(Default)]
struct Answer {
    unread: Vec<u8>,
    is_lost: bool,
}

impl Answer {
    /// Takes the messages that are complete, to be passed on; nothing, once an answer is lost and
    /// the server is through with it. Until it is ready for the next question, what it has done
    /// may not have been committed.
    fn take(&mut self, mut is_to_lose: impl FnMut() -> bool) -> Option<Vec<u8>> {
        let mut passed = Vec::new();
        while let Some(message) = self.next_message() {
            match message[0] {
                b'C' if tells_of_rows(&message) && is_to_lose() => self.is_lost = true,
                b'Z' if self.is_lost => return None,
                _ => {}
            }
            if !self.is_lost {
                passed.extend(message);
            }
        }
        Some(passed)
    }

    fn next_message(&mut self) -> Option<Vec<u8>> {
        let length = self.unread.get(1..5)?;
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize + 1;
        (self.unread.len() >= length).then(|| self.unread.drain(..length).collect())
    }
}

/// Tells whether a command's completion is that of one with rows: not `SELECT 0` or `BEGIN`.
fn tells_of_rows(message: &[u8]) -> bool {
    let tag = &message[5..message.len() - 1];
    let count = tag.rsplit(|byte| *byte == b' ').next();
    count.is_some_and(|count| count != b"0" && count.iter().all(u8::is_ascii_digit))
}
