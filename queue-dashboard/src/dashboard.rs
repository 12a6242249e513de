//! The dashboard, as an application mounts it.

use std::env;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::request::Parts;
use axum::response::Redirect;
use axum::routing::get;
use queue_core::recurring::Kinds;
use queue_core::schedule::Tz;
use queue_core::{Queue, Redaction, ShardState, Shards};
use sha2::{Digest, Sha256};

use crate::auth::{Credentials, Role, Viewer};
use crate::routes::{Route, probes, router, table, table_of_shards};
use crate::site::{Settings, Site};
use crate::sites::Sites;

/// Where a dashboard that is served alone is mounted.
pub const PATH: &str = "/ops/jobs";

/// The pages of one queue, or of all shards together and of each, to mount in a router of axum under any path:
///
/// ```no_run
/// # use queue_core::Queue;
/// # use queue_dashboard::Dashboard;
/// # fn example(queue: Queue) -> Result<axum::Router, queue_dashboard::InvalidDashboard> {
/// let dashboard = Dashboard::from_environment(queue)?;
/// let app = axum::Router::new().nest_service("/ops/jobs", dashboard.router());
/// # Ok(app)
/// # }
/// ```
///
/// It refuses everybody until a way to log in is configured: `QUEUE_DASHBOARD_USER` and
/// `QUEUE_DASHBOARD_PASSWORD`, [`login`](Self::login), or [`authorize`](Self::authorize). Serve the router
/// with `into_make_service_with_connect_info::<SocketAddr>()`, so that wrong passwords are counted per
/// address; otherwise all callers count as one.
pub struct Dashboard {
    settings: Settings,
    /// The queue, or the shards with their names and states.
    queues: Vec<(Option<Arc<str>>, ShardState, Queue)>,
}

/// A setting of the dashboard that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDashboard {
    variable: &'static str,
    reason: String,
}

impl std::fmt::Display for InvalidDashboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.variable, self.reason)
    }
}

impl std::error::Error for InvalidDashboard {}

const USER: &str = "QUEUE_DASHBOARD_USER";
const PASSWORD: &str = "QUEUE_DASHBOARD_PASSWORD";
const ROLE: &str = "QUEUE_DASHBOARD_ROLE";
const TOKEN: &str = "QUEUE_DASHBOARD_TOKEN";
const SECRET: &str = "QUEUE_DASHBOARD_SECRET";
const READ_ONLY: &str = "QUEUE_DASHBOARD_READ_ONLY";
const PLACE: &str = "QUEUE_DASHBOARD_PLACE";
const PROXIES: &str = "QUEUE_DASHBOARD_TRUSTED_PROXIES";
const PREFIX: &str = "QUEUE_DASHBOARD_PROXY_PREFIX";
/// The fewest bytes of a secret.
const SECRET_BYTES_MIN: usize = 32;

impl Dashboard {
    /// Makes a dashboard that is closed to all.
    pub fn new(queue: Queue) -> Self {
        Self {
            settings: Settings::closed(),
            queues: vec![(None, ShardState::Open, queue)],
        }
    }

    /// Makes a dashboard of shards that is closed to all. Its pages show all shards as one, to read; those below
    /// `/shards/NAME` are the whole dashboard of one shard. A shard that is away is named, and the rest is shown.
    pub fn of_shards(shards: &Shards) -> Self {
        let queues = shards.iter().map(|(name, queue)| {
            let state = shards.state(name).unwrap_or_default();
            (Some(Arc::from(name)), state, queue.clone())
        });
        Self {
            settings: Settings::closed(),
            queues: queues.collect(),
        }
    }

    /// Shows only the shards with these names, of which one must be there.
    #[must_use]
    pub fn only(mut self, names: &[&str]) -> Self {
        let is_left = |shard: Option<&str>| shard.is_none_or(|shard| names.contains(&shard));
        self.queues.retain(|(shard, ..)| is_left(shard.as_deref()));
        self
    }

    /// Makes a dashboard of a queue with the settings of the environment: see
    /// [`with_environment`](Self::with_environment).
    ///
    /// # Errors
    /// Returns the first variable that is not valid.
    pub fn from_environment(queue: Queue) -> Result<Self, InvalidDashboard> {
        Self::new(queue).with_environment()
    }

    /// Takes the settings of the environment:
    ///
    /// - `QUEUE_DASHBOARD_USER` and `QUEUE_DASHBOARD_PASSWORD` (plain, or an argon2 hash) open it;
    /// - `QUEUE_DASHBOARD_ROLE` is the role of that user: `viewer`, `operator`, or `admin` by default;
    /// - `QUEUE_DASHBOARD_TOKEN`: see [`token`](Self::token);
    /// - `QUEUE_DASHBOARD_SECRET`: see [`secret`](Self::secret);
    /// - `QUEUE_DASHBOARD_READ_ONLY`, if it is `true`: see [`read_only`](Self::read_only);
    /// - `QUEUE_DASHBOARD_PLACE`: see [`place`](Self::place);
    /// - `QUEUE_DASHBOARD_TRUSTED_PROXIES`, addresses with commas between them: see
    ///   [`trusted_proxies`](Self::trusted_proxies);
    /// - `QUEUE_DASHBOARD_PROXY_PREFIX`: see [`proxy_prefix`](Self::proxy_prefix).
    ///
    /// # Errors
    /// Returns the first variable that is not valid.
    pub fn with_environment(self) -> Result<Self, InvalidDashboard> {
        let given = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let mut dashboard = self;
        dashboard = match (given(USER), given(PASSWORD)) {
            (Some(user), Some(password)) => dashboard.login(&user, &password)?,
            (None, None) => dashboard,
            (None, Some(_)) => return Err(invalid(USER, "the password has no user")),
            (Some(_), None) => return Err(invalid(PASSWORD, "the user has no password")),
        };
        if let Some(word) = given(ROLE) {
            let role = Role::of_word(&word)
                .ok_or_else(|| invalid(ROLE, "use viewer, operator or admin"))?;
            dashboard = dashboard.role(role);
        }
        if let Some(token) = given(TOKEN) {
            dashboard = dashboard.token(&token)?;
        }
        if let Some(secret) = given(SECRET) {
            dashboard = dashboard.secret(secret)?;
        }
        dashboard = match given(READ_ONLY).as_deref() {
            Some("true" | "1" | "yes" | "on") => dashboard.read_only(),
            Some("false" | "0" | "no" | "off") | None => dashboard,
            Some(_) => return Err(invalid(READ_ONLY, "use true or false")),
        };
        if let Some(place) = given(PLACE) {
            dashboard = dashboard.place(place);
        }
        if let Some(proxies) = given(PROXIES) {
            let addresses = proxies.split(',').map(|text| text.trim().parse());
            let addresses: Result<Vec<IpAddr>, _> = addresses.collect();
            let addresses = addresses
                .map_err(|_| invalid(PROXIES, "use addresses with commas between them"))?;
            dashboard = dashboard.trusted_proxies(addresses);
        }
        if let Some(prefix) = given(PREFIX) {
            dashboard = dashboard.proxy_prefix(&prefix);
        }
        Ok(dashboard)
    }

    /// Opens it for a user with a password, plain or as [`hash_password`](crate::hash_password) made it.
    ///
    /// # Errors
    /// Refuses an empty user or password, and a hash that is not valid.
    pub fn login(mut self, user: &str, password: &str) -> Result<Self, InvalidDashboard> {
        let credentials = Credentials::new(user, password);
        let credentials = credentials.map_err(|reason| invalid(PASSWORD, reason))?;
        self.settings.gate.credentials = Some(credentials);
        Ok(self)
    }

    /// Sets the role of the user of [`login`](Self::login); admin by default.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.settings.gate.role = Some(role);
        self
    }

    /// Opens it, as a viewer, for programs that send `Authorization: Bearer` with this token.
    ///
    /// # Errors
    /// Refuses fewer than 32 bytes.
    pub fn token(mut self, token: &str) -> Result<Self, InvalidDashboard> {
        if token.len() < SECRET_BYTES_MIN {
            return Err(invalid(TOKEN, "it has fewer than 32 bytes"));
        }
        self.settings.gate.token = Some(Sha256::digest(token).into());
        Ok(self)
    }

    /// Lets the application authenticate requests, instead of a password: the check gets the head of each
    /// request, with the extensions that layers of the application put into it, and returns a viewer.
    #[must_use]
    pub fn authorize<C, F>(mut self, check: C) -> Self
    where
        C: Fn(Parts) -> F + Send + Sync + 'static,
        F: Future<Output = Option<Viewer>> + Send + 'static,
    {
        self.settings.gate.check = Some(Arc::new(move |parts| Box::pin(check(parts))));
        self
    }

    /// Sets the secret with which forms are signed, instead of the key that is kept in the database, which all
    /// dashboards of a queue share.
    ///
    /// # Errors
    /// Refuses fewer than 32 bytes.
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Result<Self, InvalidDashboard> {
        let secret = secret.into();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(invalid(SECRET, "it has fewer than 32 bytes"));
        }
        self.settings.secret = Some(secret);
        Ok(self)
    }

    /// Shows pages, but changes nothing.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.settings.is_read_only = true;
        self
    }

    /// Sets the lowest role that sees the arguments of jobs; every role does by default.
    #[must_use]
    pub fn args_for(mut self, role: Role) -> Self {
        self.settings.args_for = role;
        self
    }

    /// Sets which fields are redacted; those of [`Redaction::default`] by default.
    #[must_use]
    pub fn redaction(mut self, redaction: Redaction) -> Self {
        self.settings.redaction = redaction;
        self
    }

    /// Names the place, such as `production`, beside the name of the database.
    #[must_use]
    pub fn place(mut self, name: impl Into<String>) -> Self {
        self.settings.place = Some(name.into());
        self
    }

    /// Names proxies whose `X-Forwarded-For` is taken for the address of the client.
    #[must_use]
    pub fn trusted_proxies(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.settings.trust(addresses);
        self
    }

    /// Sets the path that a proxy in front removes from addresses, such as `/shop`.
    #[must_use]
    pub fn proxy_prefix(mut self, path: &str) -> Self {
        let path = path.trim_matches('/');
        self.settings.proxy_prefix = match path {
            "" => String::new(),
            path => format!("/{path}"),
        };
        self
    }

    /// Sets how old a heartbeat may be before a process counts as dead, as the processes have it; 30 seconds
    /// by default.
    #[must_use]
    pub fn dead_after(mut self, dead_after: Duration) -> Self {
        self.settings.dead_after = dead_after;
        self
    }

    /// Sets the kinds of the program, whose limits and unique keys a recurring job that is run by hand
    /// follows.
    #[must_use]
    pub fn kinds(mut self, kinds: Kinds) -> Self {
        self.settings.kinds = kinds;
        self
    }

    /// Sets the time zone that the form for recurring jobs begins with, as the scheduler has it; UTC by
    /// default.
    #[must_use]
    pub fn time_zone(mut self, zone: Tz) -> Self {
        self.settings.time_zone = zone;
        self
    }

    /// Answers at `/metrics` with what this program exports, in the text format of Prometheus, to those who
    /// may read; without it there is no such page.
    #[must_use]
    pub fn metrics(mut self, text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.settings.metrics = Some(Box::new(text));
        self
    }

    /// Ends the streams of live pages when the application begins to stop, so that a graceful shutdown does
    /// not wait for them.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    #[must_use]
    pub fn closing(self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        let closing = self.settings.closing.clone();
        tokio::spawn(async move {
            stop.await;
            closing.send_replace(true);
        });
        self
    }

    /// Returns whether a way to log in is configured.
    pub fn is_open(&self) -> bool {
        let gate = &self.settings.gate;
        gate.check.is_some() || gate.credentials.is_some() || gate.token.is_some()
    }

    /// Returns the router, to mount with `nest_service` under any path; `nest` would miss the path with a slash
    /// at its end.
    pub fn router(self) -> Router {
        router(&self.sites())
    }

    /// Returns the router of a program that serves nothing else: the pages at [`PATH`], to which `/` leads,
    /// and `/up` and `/ready`, which answer everybody.
    pub fn alone(self) -> Router {
        let sites = self.sites();
        Router::new()
            .route("/", get(async || Redirect::to(PATH)))
            .merge(probes(&sites))
            .nest_service(PATH, router(&sites))
    }

    fn sites(mut self) -> Sites {
        let names = self.queues.iter().filter_map(|(shard, ..)| shard.clone());
        self.settings.shards = names.collect();
        let settings = Arc::new(self.settings);
        let queues = self.queues.into_iter();
        let site = |(shard, state, queue)| Arc::new(Site::new(&settings, queue, shard, state));
        Sites {
            all: queues.map(site).collect(),
            is_merged: !settings.shards.is_empty(),
            away: Arc::default(),
            settings: Arc::clone(&settings),
        }
    }
}

/// Returns the addresses below the mount that need a viewer, with their methods and roles.
#[doc(hidden)]
pub fn routes() -> Vec<(&'static str, String, Role)> {
    table().into_iter().map(Route::described).collect()
}

/// Returns those of the pages that show all shards.
#[doc(hidden)]
pub fn routes_of_shards() -> Vec<(&'static str, String, Role)> {
    table_of_shards()
        .into_iter()
        .map(Route::described)
        .collect()
}

fn invalid(variable: &'static str, reason: &str) -> InvalidDashboard {
    InvalidDashboard {
        variable,
        reason: reason.to_owned(),
    }
}
