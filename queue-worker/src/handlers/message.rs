//! Messages to a command or an endpoint, which concern no job.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::http::http_client;
use super::{HandlerOutcome, command};
use crate::app::run_error::with_causes;
use crate::config::HandlerRun;

/// How long a message may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What messages are sent to.
pub(crate) struct Receiver {
    run: HandlerRun,
    client: Client,
}

impl Receiver {
    /// Makes one.
    ///
    /// # Errors
    /// Fails if the endpoint needs certificates and the system has none.
    pub(crate) fn new(run: HandlerRun) -> Result<Self, String> {
        let url = match &run {
            HandlerRun::Http(endpoint) => Some(&*endpoint.url),
            HandlerRun::Command(_) => None,
        };
        let client = http_client(url)?;
        Ok(Self { run, client })
    }

    /// Posts JSON, or runs the command with it as input.
    ///
    /// # Errors
    /// Says why it did not arrive, without the URL, which may be secret.
    pub(crate) async fn send(&self, json: &str) -> Result<(), String> {
        let sending = timeout(TIMEOUT, self.try_send(json)).await;
        sending.unwrap_or_else(|_| Err("it took longer than ten seconds".to_owned()))
    }

    async fn try_send(&self, json: &str) -> Result<(), String> {
        let spec = match &self.run {
            HandlerRun::Http(spec) => spec,
            HandlerRun::Command(spec) => {
                let stop = CancellationToken::new();
                return match command::run_with_input(spec, &[], json, stop).await {
                    HandlerOutcome::Retry { error } | HandlerOutcome::Fail { error } => Err(error),
                    _ => Ok(()),
                };
            }
        };
        let headers = spec.headers.iter();
        let request = headers.fold(self.client.post(&spec.url), |request, (name, value)| {
            request.header(name, value)
        });
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .body(json.to_owned());
        let answer = request.send().await;
        let answer = answer.map_err(|error| with_causes(&error.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("answered {status}")),
        }
    }
}
