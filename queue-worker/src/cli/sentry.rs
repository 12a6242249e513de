//! Errors of jobs that fail for good, sent to Sentry if the environment names a project.

use std::sync::Arc;
use std::time::Duration;
use std::{env, thread};

use reqwest::Client;
use sentry::transports::ReqwestHttpTransportOptions;
use sentry::types::Dsn;
use sentry::{
    ClientInitGuard, ClientOptions, Hub, Transport, TransportFactory, TransportOptions, init,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Failure;
use super::output::program_name;
use crate::handlers::{built, http_builder};
use crate::process::host_name;
use crate::{App, ReportOn, report_to_sentry};

/// The variable that names a project.
const DSN: &str = "SENTRY_DSN";

/// How long a request may take. Until it has ended, later errors wait, and soon are lost.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the end of a process may wait for the last errors.
const LAST_TIMEOUT: Duration = Duration::from_secs(3);

/// Lets an application report its errors if there is a project, unless the program has set up Sentry itself.
/// [`send_last`] takes the guard.
pub(super) fn install<S: Send + Sync + 'static>(
    app: App<S>,
) -> Result<(App<S>, Option<ClientInitGuard>), Failure> {
    let Some(dsn) = env::var(DSN).ok().filter(|dsn| !dsn.is_empty()) else {
        return Ok((app, None));
    };
    if Hub::main().client().is_some() {
        return Ok((app, None));
    }
    let invalid = |reason: String| Failure::usage(format!("{DSN}: {reason}"));
    let project: Dsn = dsn
        .parse()
        .map_err(|_| invalid("expected a DSN of Sentry".to_owned()))?;
    let builder = http_builder([&*project.envelope_api_url().to_string()]);
    let client = built(builder.timeout(REQUEST_TIMEOUT)).map_err(invalid)?;
    let release = env::var("SENTRY_RELEASE");
    let version = app.version;
    let options = ClientOptions::new()
        .dsn(&dsn)
        .release(release.unwrap_or_else(|_| format!("{}@{version}", program_name())))
        .server_name(host_name())
        .transport(Http(client));
    let guard = init(options);
    let app = app.report_errors(ReportOn::LastAttempt, report_to_sentry);
    Ok((app, Some(guard)))
}

/// Sends the last errors. The thread that sends them cannot be stopped, and ends with the program.
pub(super) async fn send_last(guard: Option<ClientInitGuard>) {
    let (sent, all_sent) = oneshot::channel::<()>();
    thread::spawn(move || {
        drop(guard);
        drop(sent);
    });
    if timeout(LAST_TIMEOUT, all_sent).await.is_err() {
        tracing::warn!("Sentry does not answer; the last reports are lost");
    }
}

/// Sends with a client that needs no certificates unless the project has `https`.
struct Http(Client);

impl TransportFactory for Http {
    fn create_transport_with_options(&self, options: TransportOptions) -> Arc<dyn Transport> {
        let options = ReqwestHttpTransportOptions::from(options);
        Arc::new(options.with_client(self.0.clone()).build())
    }
}
