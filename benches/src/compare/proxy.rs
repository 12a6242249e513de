//! A proxy between the benchmark and its server that counts statements and round trips.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// The counts of a proxy.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) statements: AtomicU64,
    pub(crate) round_trips: AtomicU64,
}

/// Starts a proxy to a server's Unix socket, and returns its port on the loopback address. It runs
/// until the program ends.
pub(crate) async fn start(socket: String, counts: Arc<Counts>) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, socket.clone(), Arc::clone(&counts)));
        }
    });
    Ok(port)
}

async fn pass(client: TcpStream, socket: String, counts: Arc<Counts>) -> Result<()> {
    client.set_nodelay(true)?;
    let (mut answers, asked) = UnixStream::connect(socket).await?.into_split();
    let (from_client, mut to_client) = client.into_split();
    let asking = tokio::spawn(count(from_client, asked, counts));
    let _closed = copy_answers(&mut answers, &mut to_client).await;
    asking.abort();
    Ok(())
}

async fn copy_answers(
    answers: &mut OwnedReadHalf,
    to_client: &mut tokio::net::tcp::OwnedWriteHalf,
) -> Result<()> {
    tokio::io::copy(answers, to_client).await?;
    Ok(())
}

/// Forwards the messages of the client: a type, the length of the rest, the rest. The first message has
/// no type.
async fn count(
    mut from_client: tokio::net::tcp::OwnedReadHalf,
    mut asked: OwnedWriteHalf,
    counts: Arc<Counts>,
) -> Result<()> {
    let mut is_first = true;
    loop {
        let mut message = Vec::new();
        if !is_first {
            let kind = from_client.read_u8().await?;
            message.push(kind);
            let (executes, syncs) = (matches!(kind, b'E' | b'Q'), matches!(kind, b'S' | b'Q'));
            counts
                .statements
                .fetch_add(executes.into(), Ordering::Relaxed);
            counts
                .round_trips
                .fetch_add(syncs.into(), Ordering::Relaxed);
        }
        let length = from_client.read_u32().await?;
        message.extend_from_slice(&length.to_be_bytes());
        let body = message.len();
        message.resize(body + length as usize - 4, 0);
        from_client.read_exact(&mut message[body..]).await?;
        asked.write_all(&message).await?;
        is_first = false;
    }
}
