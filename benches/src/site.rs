//! A dashboard on a port of this machine, and requests to it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use queue_core::Queue;
use queue_worker::dashboard::{Dashboard, PATH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// `mira` and `open`, in base64.
const LOGIN: &str = "bWlyYTpvcGVu";

pub(crate) struct Site {
    address: SocketAddr,
    serving: JoinHandle<std::io::Result<()>>,
}

/// A page as it came.
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Site {
    /// Serves the dashboard of a queue, in this process.
    pub(crate) async fn serve(queue: Queue) -> Result<Self> {
        let dashboard = Dashboard::new(queue).login("mira", "open")?;
        let router = Router::new().nest_service(PATH, dashboard.metrics(String::new).router());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let serving = tokio::spawn(async move { axum::serve(listener, service).await });
        Ok(Self { address, serving })
    }

    /// Requests a page, and reads all of it.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        let mut text = Vec::new();
        let mut stream = self.open(path).await?;
        stream.read_to_end(&mut text).await?;
        let end = text.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let body = text.split_off(end.context("no answer")? + 4);
        let head = String::from_utf8(text)?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        let is_well = status.starts_with('2') || status.starts_with('3');
        ensure!(is_well, "{path} answers {status}");
        Ok(Answer { head, body })
    }

    /// Requests a page, and leaves its answer to be read. The old version of HTTP sends it as it is.
    pub(crate) async fn open(&self, path: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!("GET {PATH}{path} HTTP/1.0\r\nauthorization: Basic {LOGIN}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
