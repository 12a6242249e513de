//! The program that the command line belongs to: its jobs, its state and its version.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::PgPool;

use super::exit::{Exit, Failure};
use crate::App;
use crate::app::perform::BoxError;
use crate::config::Settings;

type Build<S> = Box<dyn FnOnce(PgPool, Settings) -> BoxFuture<'static, Result<S, BoxError>> + Send>;

/// An application as a program, for [`run`](super::run).
///
/// ```no_run
/// # use queue_worker::{Cx, Job, Perform};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct SendWelcome { user_id: i64 }
/// # impl Job for SendWelcome { const KIND: &'static str = "send_welcome"; }
/// # impl Perform<Shop> for SendWelcome {
/// #     type Error = std::io::Error;
/// #     async fn perform(self, _cx: Cx<Shop>) -> Result<(), std::io::Error> { Ok(()) }
/// # }
/// # struct Shop { pool: sqlx::PgPool }
/// # impl Shop {
/// #     async fn open(pool: sqlx::PgPool) -> Result<Self, sqlx::Error> { Ok(Self { pool }) }
/// # }
/// use queue_worker::cli::{self, Program};
///
/// fn main() -> std::process::ExitCode {
///     let program = Program::new(
///         |app| app.register::<SendWelcome>(),
///         async |pool, _settings| Shop::open(pool).await,
///     );
///     cli::run(program.version(env!("CARGO_PKG_VERSION")))
/// }
/// ```
pub struct Program<S> {
    pub(super) app: App<S>,
    build: Option<Build<S>>,
}

impl<S: Send + Sync + 'static> Program<S> {
    /// Makes a program whose state is built only by the commands that run jobs, `start` and `dev`. The
    /// first function declares the jobs; the second builds the state from a pool on the configured
    /// database and the settings.
    pub fn new<F, R, E>(declare: impl FnOnce(App<S>) -> App<S>, build: F) -> Self
    where
        F: FnOnce(PgPool, Settings) -> R + Send + 'static,
        R: Future<Output = Result<S, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let build: Build<S> = Box::new(move |pool, settings| {
            let building = build(pool, settings);
            async move { building.await.map_err(Into::into) }.boxed()
        });
        Self {
            build: Some(build),
            ..declare(App::without_state()).into()
        }
    }

    /// Sets the version of the program: see [`App::version`].
    #[must_use]
    pub fn version(mut self, version: &'static str) -> Self {
        self.app = self.app.version(version);
        self
    }

    /// Returns the application with its state, which is built now.
    pub(super) async fn complete(
        self,
        pool: PgPool,
        settings: Settings,
    ) -> Result<App<S>, Failure> {
        let Some(build) = self.build else {
            return Ok(self.app);
        };
        let state = build(pool, settings).await.map_err(|error| {
            let error = anyhow::Error::from_boxed(error);
            Failure::new(
                Exit::Failed,
                error.context("could not build the state of the program"),
            )
        });
        Ok(self.app.with_state(state?))
    }
}

impl<S> From<App<S>> for Program<S> {
    fn from(app: App<S>) -> Self {
        Self { app, build: None }
    }
}
