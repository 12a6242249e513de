//! The server to measure on: the caller's, or a durable one that the benchmark starts.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use queue_worker::embedded::{Embedded, EmbeddedOptions};

/// Differences from the defaults of Postgres: more clients, and no checkpoint within a round.
const SETTINGS: [(&str, &str); 3] = [
    ("max_connections", "600"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "30min"),
];

pub(crate) enum Server {
    Given(String),
    Started {
        embedded: Box<Embedded>,
        data: PathBuf,
    },
}

impl Server {
    pub(crate) async fn start(url: Option<&str>) -> Result<Self> {
        if let Some(url) = url {
            return Ok(Self::Given(url.to_owned()));
        }
        Self::own("").await
    }

    /// Starts a durable server, whose folder has this suffix.
    pub(crate) async fn own(suffix: &str) -> Result<Self> {
        // Not /tmp, which is often in memory, where durability costs nothing.
        let process = std::process::id();
        let data = PathBuf::from(format!("/var/tmp/queue-benches-{process}{suffix}"));
        let embedded = Embedded::start(EmbeddedOptions {
            data: Some(data.clone()),
            durable: true,
            settings: SETTINGS
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        })
        .await?;
        eprintln!("{}", embedded.announcement());
        Ok(Self::Started {
            embedded: Box::new(embedded),
            data,
        })
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Given(url) => url.clone(),
            Self::Started { embedded, .. } => embedded.url(),
        }
    }

    /// Stops the server and removes its data, unless it is the caller's.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self::Started { embedded, data } = self else {
            return Ok(());
        };
        embedded.stop().await?;
        std::fs::remove_dir_all(&data)
            .with_context(|| format!("could not remove {}", data.display()))
    }
}
