//! The database: the given one, or a private server for development.

use anyhow::{Context, Result};
use queue_core::Schema;
use queue_core::migrate::migrate;
use queue_worker::embedded::{Embedded, EmbeddedOptions};
use queue_worker::pool_options;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::console::Console;
use crate::tables;

/// A database with the tables of the queue and of the scan, and the server if it is a private one.
pub(crate) struct Database {
    pub(crate) pool: PgPool,
    pub(crate) url: String,
    embedded: Option<Embedded>,
}

impl Database {
    /// Connects to the given database, or starts a private server, and brings the tables up to
    /// date.
    pub(crate) async fn open(
        url: Option<String>,
        connections: u32,
        console: &Console,
    ) -> Result<Self> {
        let (options, url, embedded) = match url.filter(|url| !url.is_empty()) {
            Some(url) => {
                let options: PgConnectOptions = url
                    .parse()
                    .context("the database URL cannot be read; see --help")?;
                (options, url, None)
            }
            None => {
                let embedded = Embedded::start(EmbeddedOptions::default()).await?;
                console.say(embedded.announcement());
                (embedded.connect_options(), embedded.url(), Some(embedded))
            }
        };
        let pool = pool_options()
            .max_connections(connections)
            .connect_with(options)
            .await
            .context("could not connect to the database")?;
        let mut conn = pool.acquire().await?;
        migrate(&mut conn, &Schema::default()).await?;
        drop(conn);
        tables::create(&pool)
            .await
            .context("could not create the tables of the scan")?;
        Ok(Self {
            pool,
            url,
            embedded,
        })
    }

    /// Closes the connections, and stops the server if it is a private one.
    pub(crate) async fn close(self) -> Result<()> {
        self.pool.close().await;
        if let Some(embedded) = self.embedded {
            embedded.stop().await?;
        }
        Ok(())
    }
}
