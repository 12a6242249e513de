//! A worker process with a port.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::thread;

use tokio::task::spawn_blocking;

/// A program that was started with `--port 0`, and its port.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) port: u16,
}

impl Served {
    /// Starts a program, and waits until it says at which port it answers.
    pub(crate) async fn start(mut command: Command) -> Self {
        let starting = spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
            let port = lines.find_map(|line| {
                let line = line.unwrap();
                line.split_once("/metrics port=")?.1.parse().ok()
            });
            // It must not be stopped by a pipe that is full or closed.
            thread::spawn(move || lines.for_each(drop));
            let port = port.expect("the program should say at which port it answers");
            Self { child, port }
        });
        starting.await.unwrap()
    }

    /// Returns the host and the port at which it answers.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the status and the text of an answer.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let (port, path) = (self.port, path.to_owned());
        let asking = spawn_blocking(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            write!(stream, "GET {path} HTTP/1.0\r\nhost: x\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let (head, text) = answer.split_once("\r\n\r\n").unwrap();
            (head[9..12].parse().unwrap(), text.to_owned())
        });
        asking.await.unwrap()
    }
}
