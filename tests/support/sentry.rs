//! A server that takes the envelopes of Sentry, and keeps the events in them.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;

/// The events that were received. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sentry(Arc<Mutex<Vec<Value>>>);

impl Sentry {
    /// Starts to listen, and returns the DSN of its only project too.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> (Self, String) {
        let sentry = Self::default();
        let router = Router::new()
            .route("/api/7/envelope/", post(take))
            .with_state(sentry.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a port");
        tokio::spawn(axum::serve(listener, router).into_future());
        (sentry, format!("http://key@{address}/7"))
    }

    /// Starts to listen, and never answers. Returns the DSN.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn silent() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a port");
        (listener, format!("http://key@{address}/7"))
    }

    /// Returns the events, in the order in which they came.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.clone()
    }
}

/// Takes an envelope: a line with its header, then for each item a line with its header and the payload,
/// whose length the header says.
async fn take(State(sentry): State<Sentry>, headers: HeaderMap, body: Bytes) {
    let auth = headers["x-sentry-auth"].to_str().expect("text");
    assert!(auth.contains("sentry_key=key"), "{auth}");
    let (_envelope, mut items) = line(&body);
    while !items.is_empty() {
        let (header, rest) = line(items);
        let length = header["length"].as_u64().expect("a length");
        let (payload, rest) = rest.split_at(usize::try_from(length).expect("a length"));
        items = rest.strip_prefix(b"\n").unwrap_or(rest);
        if header["type"] == "event" {
            let event = serde_json::from_slice(payload).expect("an event");
            let mut events = sentry.0.lock().unwrap_or_else(PoisonError::into_inner);
            events.push(event);
        }
    }
}

/// Reads a line of JSON, and returns what follows.
fn line(text: &[u8]) -> (Value, &[u8]) {
    let end = text.iter().position(|byte| *byte == b'\n');
    let (line, rest) = text.split_at(end.unwrap_or(text.len()));
    let line = serde_json::from_slice(line).expect("a line of JSON");
    (line, rest.strip_prefix(b"\n").unwrap_or(rest))
}
