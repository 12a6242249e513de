//! What all requests share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use queue_core::inspect::doctor::{self, Finding};
use queue_core::inspect::{begin_read, replica};
use queue_core::operations::signing_key::signing_key;
use queue_core::recurring::Kinds;
use queue_core::schedule::Tz;
use queue_core::{Queue, Redaction, ShardState, begin};
use sqlx::{ConnectOptions as _, PgConnection, Postgres, Transaction};
use tokio::sync::{Notify, OnceCell, watch};
use tokio::time::timeout;

use crate::auth::{Gate, Role};
use crate::sign::Signer;

/// The most jobs of one state that are counted.
pub(crate) const COUNTED_MAX: u32 = 100_000;
/// How long a statement of a page may take.
const STATEMENT_MAX: Duration = Duration::from_secs(2);
/// How long it may take to find out why there is no connection.
pub(crate) const CONNECTS_WITHIN: Duration = Duration::from_secs(1);
/// How old the findings of the doctor may be, and what is known about the server.
const FINDINGS_FOR: Duration = Duration::from_secs(5);

/// How a dashboard is set, of one queue or of several shards.
pub(crate) struct Settings {
    /// The names of the shards; none of a dashboard of one queue.
    pub(crate) shards: Vec<Arc<str>>,
    pub(crate) redaction: Redaction,
    /// The kinds of the program, whose rules jobs of recurring jobs follow.
    pub(crate) kinds: Kinds,
    pub(crate) dead_after: Duration,
    /// The time zone of new recurring jobs.
    pub(crate) time_zone: Tz,
    /// The name of the place, such as `production`.
    pub(crate) place: Option<String>,
    /// The path that a proxy in front removes from addresses.
    pub(crate) proxy_prefix: String,
    pub(crate) is_read_only: bool,
    /// Who sees the arguments of jobs.
    pub(crate) args_for: Role,
    pub(crate) gate: Gate,
    /// The key that signs forms, instead of the one in the database.
    pub(crate) secret: Option<Vec<u8>>,
    /// Becomes true when streams must end.
    pub(crate) closing: watch::Sender<bool>,
    /// Writes the metrics of the program.
    pub(crate) metrics: Option<Box<dyn Fn() -> String + Send + Sync>>,
}

/// The pages of one queue.
pub(crate) struct Site {
    pub(crate) settings: Arc<Settings>,
    pub(crate) queue: Queue,
    /// The name of the shard that it is.
    pub(crate) shard: Option<Arc<str>>,
    /// Which jobs the shard takes.
    pub(crate) state: ShardState,
    signer: OnceCell<Signer>,
    /// Set when the task that works on acts on many jobs has been started.
    pub(crate) works: OnceLock<()>,
    /// Notified when such an act begins.
    pub(crate) begun: Arc<Notify>,
    pub(crate) findings: Mutex<Option<(Instant, Vec<Finding>)>>,
    behind: Mutex<Option<(Instant, Option<Duration>)>>,
}

impl Settings {
    /// Makes settings with which the dashboard refuses everybody.
    pub(crate) fn closed() -> Self {
        Self {
            shards: Vec::new(),
            redaction: Redaction::default(),
            kinds: Kinds::default(),
            dead_after: Duration::from_secs(30),
            time_zone: Tz::UTC,
            place: None,
            proxy_prefix: String::new(),
            is_read_only: false,
            args_for: Role::Viewer,
            gate: Gate::closed(),
            secret: None,
            closing: watch::Sender::new(false),
            metrics: None,
        }
    }

    /// Returns how long a process is silent before it is shown as that.
    pub(crate) fn silent_after(&self) -> Duration {
        self.dead_after / 2
    }

    pub(crate) fn trust(&mut self, proxies: impl IntoIterator<Item = IpAddr>) {
        let proxies = proxies.into_iter().map(|address| address.to_canonical());
        self.gate.trusted_proxies.extend(proxies);
    }
}

impl Site {
    pub(crate) fn new(
        settings: &Arc<Settings>,
        queue: Queue,
        shard: Option<Arc<str>>,
        state: ShardState,
    ) -> Self {
        Self {
            settings: Arc::clone(settings),
            queue,
            shard,
            state,
            signer: OnceCell::new(),
            works: OnceLock::new(),
            begun: Arc::default(),
            findings: Mutex::default(),
            behind: Mutex::default(),
        }
    }

    /// Begins the reads of a page.
    pub(crate) async fn read(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        begin_read(self.queue.pool(), STATEMENT_MAX).await
    }

    /// Returns why there is no connection to the server. The pool does not say: it only says that it has waited.
    pub(crate) async fn connection_error(&self) -> Option<String> {
        let options = self.queue.pool().connect_options();
        let connected = timeout(CONNECTS_WITHIN, options.connect()).await.ok()?;
        let error = connected.err()?;
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let port = options.get_port();
        Some(format!("could not connect to {host}, port {port}: {error}"))
    }

    /// Returns how far the server is behind its primary server at most, if it is a replica.
    pub(crate) async fn behind(&self) -> Result<Option<Duration>, sqlx::Error> {
        let kept = || self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, behind)) = *kept()
            && at.elapsed() < FINDINGS_FOR
        {
            return Ok(behind.map(|behind| behind + at.elapsed()));
        }
        let behind = replica::behind(&mut *self.read().await?).await?;
        *kept() = Some((Instant::now(), behind));
        Ok(behind)
    }

    /// Returns what signs forms and messages. Without a secret its key is kept in the database.
    pub(crate) async fn signer(&self, is_replica: bool) -> Result<Signer, sqlx::Error> {
        if is_replica {
            // It has no forms, until it is promoted.
            return Ok(Signer::new(Signer::random_key()));
        }
        let key = async || match &self.settings.secret {
            Some(secret) => Ok(secret.clone()),
            // It has no forms, and perhaps not the right to write.
            None if self.settings.is_read_only => Ok(Signer::random_key()),
            None => self.stored_key().await,
        };
        let signer = async || key().await.map(Signer::new);
        self.signer.get_or_try_init(signer).await.cloned()
    }

    async fn stored_key(&self) -> Result<Vec<u8>, sqlx::Error> {
        let mut tx = begin(self.queue.pool()).await?;
        let key = signing_key(&mut tx, self.queue.schema(), &Signer::random_key()).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Returns what keeps jobs from running, as of some seconds ago.
    pub(crate) async fn findings(
        &self,
        conn: &mut PgConnection,
    ) -> Result<Vec<Finding>, sqlx::Error> {
        let kept = || self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, findings)) = &*kept()
            && at.elapsed() < FINDINGS_FOR
        {
            return Ok(findings.clone());
        }
        let is_replica = replica::behind(&mut *conn).await?.is_some();
        let mut findings =
            doctor::examine(conn, self.queue.schema(), self.settings.dead_after).await?;
        // Its frame says so, and processes use the primary server.
        findings.retain(|finding| !is_replica || finding.check != "takes_no_writes");
        *kept() = Some((Instant::now(), findings.clone()));
        Ok(findings)
    }

    /// Returns where the database is, for people.
    pub(crate) fn database(&self) -> String {
        let options = self.queue.pool().connect_options();
        let name = options.get_database().unwrap_or(options.get_username());
        name.to_owned()
    }
}
