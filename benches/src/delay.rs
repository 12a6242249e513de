//! A proxy between the benchmark and its server that delays everything, as a distance does.

use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Starts a proxy to a server's Unix socket, and returns its port on the loopback address. It runs
/// until the program ends.
pub(crate) async fn start(socket: String, one_way: Duration) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, socket.clone(), one_way));
        }
    });
    Ok(port)
}

async fn pass(client: TcpStream, socket: String, one_way: Duration) -> Result<()> {
    client.set_nodelay(true)?;
    let (from_server, to_server) = UnixStream::connect(socket).await?.into_split();
    let (from_client, to_client) = client.into_split();
    tokio::select! {
        passed = carry(from_client, to_server, one_way) => passed,
        passed = carry(from_server, to_client, one_way) => passed,
    }
}

/// Delivers each piece after the delay, while the next ones are on their way.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    one_way: Duration,
) -> Result<()> {
    let (sender, mut on_the_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = async move {
        let mut piece = vec![0; 64 * 1024];
        while let length @ 1.. = from.read(&mut piece).await? {
            sender.send((Instant::now() + one_way, piece[..length].to_vec()))?;
        }
        anyhow::Ok(())
    };
    let writing = async move {
        while let Some((arrives_at, piece)) = on_the_way.recv().await {
            sleep_until(arrives_at).await;
            to.write_all(&piece).await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(reading, writing)?;
    Ok(())
}
