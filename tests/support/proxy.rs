//! A proxy before a database, as an unreliable network. It delays, breaks connections, lets them rest
//! without passing anything, and loses answers: the server carries out and commits a statement, and the
//! connection breaks before the answer arrives.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A proxy between programs and a server.
pub struct Proxy {
    options: PgConnectOptions,
    orders: Arc<Orders>,
    server: Arc<Mutex<Address>>,
    accepting: JoinHandle<()>,
    _directory: TempDir,
}

/// What to do to the connections.
#[derive(Default)]
struct Orders {
    rules: watch::Sender<Rules>,
    /// The next answer on a connection that has sent this text is lost, once.
    after: Mutex<Option<Vec<u8>>>,
    /// One answer in this many is lost; none if zero.
    one_in: AtomicU32,
    lost: AtomicUsize,
    accepted: AtomicUsize,
}

/// Which connections pass what. They are numbered in the order in which they were opened.
#[derive(Clone, Copy, Default)]
struct Rules {
    /// How long everything takes, each way.
    delay: Duration,
    /// Whether nothing passes.
    drops: bool,
    /// Connections with a smaller number pass nothing more, and stay open.
    cut_below: usize,
    /// Connections with a smaller number break.
    reset_below: usize,
}

impl Proxy {
    /// Starts a proxy before a server.
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
        let address = Arc::new(Mutex::new(Address::of(server)));
        let accepting = accept(listener, Arc::clone(&address), Arc::clone(&orders));
        Self {
            // The answer to a request for encryption has another format than all other messages.
            options: server
                .clone()
                .socket(directory.path())
                .ssl_mode(PgSslMode::Disable),
            orders,
            server: address,
            accepting: tokio::spawn(accepting),
            _directory: directory,
        }
    }

    /// Returns the options to connect through it.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Returns the URL to connect through it.
    #[must_use]
    pub fn url(&self) -> String {
        self.options.to_url_lossy().to_string()
    }

    /// Leads new connections to another server.
    ///
    /// # Panics
    /// When another thread panicked with the lock held.
    pub fn lead_to(&self, server: &PgConnectOptions) {
        *self.server.lock().expect("an address") = Address::of(server);
    }

    /// Delays everything from now on, each way.
    pub fn delay(&self, delay: Duration) {
        self.orders.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Drops everything from now on, also on connections that are opened meanwhile, or passes it on again.
    /// Connections stay open.
    pub fn drop_all(&self, drops: bool) {
        self.orders.rules.send_modify(|rules| rules.drops = drops);
    }

    /// Cuts the open connections in the middle: they pass nothing more, not even that one side has closed
    /// them. New connections work. Those that were cut before break, as by a keepalive.
    pub fn cut(&self) {
        let opened = self.accepted();
        self.orders.rules.send_modify(|rules| {
            rules.reset_below = rules.reset_below.max(rules.cut_below);
            rules.cut_below = opened;
        });
    }

    /// Breaks the open connections, so that both sides notice.
    pub fn reset(&self) {
        let opened = self.accepted();
        self.orders
            .rules
            .send_modify(|rules| rules.reset_below = opened);
    }

    /// Loses the next answer to a statement with rows, on a connection that has sent `after`.
    ///
    /// # Panics
    /// When another thread panicked with the lock held.
    pub fn lose_one(&self, after: &str) {
        *self.orders.after.lock().expect("orders") = Some(after.as_bytes().to_vec());
    }

    /// Loses one answer in this many from now on; none if zero.
    pub fn lose_one_in(&self, many: u32) {
        self.orders.one_in.store(many, Ordering::Relaxed);
    }

    /// Returns how many connections were opened.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.orders.accepted.load(Ordering::Relaxed)
    }

    /// Returns how many answers were lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.orders.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone)]
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

async fn accept(listener: UnixListener, server: Arc<Mutex<Address>>, orders: Arc<Orders>) {
    while let Ok((client, _)) = listener.accept().await {
        let number = orders.accepted.fetch_add(1, Ordering::Relaxed);
        let orders = Arc::clone(&orders);
        let server = server.lock().expect("an address").clone();
        match server {
            Address::Socket(path) => {
                if let Ok(server) = UnixStream::connect(path).await {
                    tokio::spawn(keep(number, client, server, orders));
                }
            }
            Address::Tcp(host, port) => {
                if let Ok(server) = TcpStream::connect((host.as_str(), port)).await {
                    tokio::spawn(keep(number, client, server, orders));
                }
            }
        }
    }
}

/// Keeps a connection until one side closes it or it is reset.
async fn keep(
    number: usize,
    client: UnixStream,
    server: impl AsyncRead + AsyncWrite + Send + Unpin,
    orders: Arc<Orders>,
) {
    let mut rules = orders.rules.subscribe();
    tokio::select! {
        () = pass_on(number, client, server, &orders) => {}
        _reset = rules.wait_for(|rules| number < rules.reset_below) => {}
    }
}

/// Forwards everything until an answer is to be lost: then both sides find the connection broken.
async fn pass_on(
    number: usize,
    client: UnixStream,
    server: impl AsyncRead + AsyncWrite + Send + Unpin,
    orders: &Orders,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let heard = &Mutex::new(Vec::new());
    let (asking, asked) = mpsc::unbounded_channel();
    let questions = async move {
        let mut chunk = [0; 16 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut chunk).await {
            remember(heard, &chunk[..length]);
            let _other_side_is_gone = asking.send((Instant::now(), chunk[..length].to_vec()));
        }
    };
    let (answering, answered) = mpsc::unbounded_channel();
    let answers = async move {
        let mut answer = Answer::default();
        while let Ok(1..) = from_server.read_buf(&mut answer.unread).await {
            let passed = answer.take(|| orders.is_to_lose(heard));
            let Some(passed) = passed else { break };
            let _other_side_is_gone = answering.send((Instant::now(), passed));
        }
    };
    tokio::select! {
        _all = async { tokio::join!(questions, orders.carry(number, asked, &mut to_server)) } => {}
        _all = async { tokio::join!(answers, orders.carry(number, answered, &mut to_client)) } => {}
    }
}

/// Keeps the first bytes that a connection sent: statements are prepared once, early.
fn remember(heard: &Mutex<Vec<u8>>, chunk: &[u8]) {
    const HEARD_MAX: usize = 256 * 1024;

    let mut heard = heard.lock().expect("what was heard");
    if heard.len() < HEARD_MAX {
        heard.extend_from_slice(chunk);
    }
}

impl Orders {
    /// Delivers what was sent on a connection, each piece after its delay, and returns when the sender has
    /// closed it. Never returns if it is cut.
    async fn carry(
        &self,
        number: usize,
        mut sent: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
        to: &mut (impl AsyncWrite + Unpin),
    ) {
        while let Some((at, bytes)) = sent.recv().await {
            self.pass(number, at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        self.pass(number, Instant::now()).await;
    }

    /// Waits until what was sent on a connection at a time arrives: for ever if it is cut.
    async fn pass(&self, number: usize, sent_at: Instant) {
        let mut rules = self.rules.subscribe();
        let delay = rules.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep_until(sent_at + delay).await;
        }
        let passes = |rules: &Rules| !rules.drops && number >= rules.cut_below;
        // The sender is a field of `self`.
        let _passes = rules.wait_for(passes).await;
    }

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

/// The incoming messages of the server: a letter, a length, and that many bytes.
#[derive(Default)]
struct Answer {
    unread: Vec<u8>,
    is_lost: bool,
}

impl Answer {
    /// Takes the complete messages, to be forwarded. Returns nothing once an answer is lost and the
    /// server is ready for the next statement: before that, the last one may not be committed.
    fn take(&mut self, mut is_to_lose: impl FnMut() -> bool) -> Option<Vec<u8>> {
        let mut passed = Vec::new();
        while let Some(message) = self.next_message() {
            match message[0] {
                b'C' if is_completion_with_rows(&message) && is_to_lose() => self.is_lost = true,
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

/// Returns whether a command's completion reports rows: not `SELECT 0` or `BEGIN`.
fn is_completion_with_rows(message: &[u8]) -> bool {
    let tag = &message[5..message.len() - 1];
    let count = tag.rsplit(|byte| *byte == b' ').next();
    count.is_some_and(|count| count != b"0" && count.iter().all(u8::is_ascii_digit))
}
