//! Makes handlers out of commands and endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use queue_core::transitions::Ending;
use queue_core::{EnqueueError, NewJob, Options};
use reqwest::Client;
use serde_json::value::RawValue;

use super::state::with_state;
use super::{HandlerOutcome, command, http};
use crate::app::backoff::Backoff;
use crate::app::context::Cx;
use crate::app::handler::{Handler, Slot};
use crate::app::perform::{Next, Policy};
use crate::app::run_error::RunError;
use crate::app::{App, State};
use crate::config::options::{count, with};
use crate::config::{BackoffSettings, HandlerRun, HandlerSettings};

/// The first wait of an exponential backoff.
const FIRST_WAIT: Duration = Duration::from_secs(5);

impl<S: Send + Sync + 'static> App<S> {
    /// Registers commands and endpoints as handlers.
    ///
    /// # Errors
    /// Fails if an endpoint needs certificates and the system has none.
    pub fn with_handlers(
        self,
        handlers: &BTreeMap<String, HandlerSettings>,
    ) -> Result<Self, String> {
        let urls = handlers.values().filter_map(|handler| match &handler.run {
            HandlerRun::Http(endpoint) => Some(&*endpoint.url),
            HandlerRun::Command(_) => None,
        });
        let client = http::http_client(urls)?;
        Ok(handlers.iter().fold(self, |app, (kind, settings)| {
            app.add(kind, handler(settings, &client))
        }))
    }
}

/// Makes a job by its kind and arguments, as far as this program knows the kind.
pub(crate) fn new_job<S>(
    kind: &str,
    args: &RawValue,
    handlers: &BTreeMap<String, HandlerSettings>,
    app: &App<S>,
) -> Result<NewJob, EnqueueError> {
    match handlers.get(kind) {
        Some(handler) => Ok(NewJob::untyped(kind, args, options(handler))),
        None => app.new_job(kind, args),
    }
}

fn options(settings: &HandlerSettings) -> Options {
    let options = with(Options::new(), settings.queue.clone(), Options::queue);
    with(options, settings.attempts.map(count), Options::attempts)
}

/// Makes the handler of a kind whose work is done outside of this program.
fn handler<S: State>(settings: &HandlerSettings, client: &Client) -> Handler<S> {
    let run = Arc::new(settings.run.clone());
    let client = client.clone();
    let policy = Policy {
        backoff: settings.backoff.as_ref().map(backoff).unwrap_or_default(),
        timeout: settings.timeout,
        ..Policy::default()
    };
    let backoff = policy.backoff.clone();
    let start = move |args: &RawValue, cx: Cx<S>, slot: Slot| {
        let (run, client) = (Arc::clone(&run), client.clone());
        let args = args.get().to_owned();
        let wait_min = backoff.wait(u32::from(cx.attempt().failures.unsigned_abs()) + 1);
        let work = async move {
            let _slot = slot;
            let attempt = cx.attempt();
            let stop = cx.token().clone();
            let outcome = match &*run {
                HandlerRun::Command(spec) => {
                    with_state(&cx, async |file| {
                        let mut spec = spec.clone();
                        let file = file.display().to_string();
                        spec.env.insert("QUEUE_STATE".to_owned(), file);
                        command::run_command(&spec, attempt, &args, stop).await
                    })
                    .await?
                }
                HandlerRun::Http(spec) => {
                    http::call_http(spec, &client, attempt, &args, stop).await
                }
            };
            judge(outcome, wait_min)
        };
        Ok(work.boxed())
    };
    Handler {
        policy,
        start: Box::new(start),
    }
}

fn backoff(settings: &BackoffSettings) -> Backoff {
    match settings {
        BackoffSettings::Exponential => Backoff::exponential(FIRST_WAIT),
        BackoffSettings::Polynomial => Backoff::default(),
        BackoffSettings::Fixed(wait) => Backoff::fixed(*wait),
        BackoffSettings::List(waits) => Backoff::list(waits.clone()),
    }
}

/// Decides what an outcome leads to. An endpoint may ask for a longer wait than that of the backoff, but
/// not for a shorter one: a clock that is ahead would use up all attempts within seconds.
fn judge(outcome: HandlerOutcome, wait_min: Duration) -> Result<(), RunError> {
    let (next, message) = match outcome {
        HandlerOutcome::Done => return Ok(()),
        HandlerOutcome::Retry { error } => (Next::Retry, error),
        HandlerOutcome::RetryAfter { after, error } => {
            (Next::RetryAfter(after.max(wait_min)), error)
        }
        HandlerOutcome::Discard { error } => (Next::Discard, error),
        HandlerOutcome::Fail { error } => (Next::Fail, error),
    };
    Err(RunError {
        next,
        ..RunError::new(Ending::Error, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_is_the_shortest_wait_that_an_endpoint_can_ask_for() {
        let next = |after| {
            let error = String::new();
            let after = Duration::from_secs(after);
            let judged = judge(HandlerOutcome::RetryAfter { after, error }, FIRST_WAIT);
            judged.unwrap_err().next
        };
        assert_eq!(next(0), Next::RetryAfter(FIRST_WAIT));
        assert_eq!(next(60), Next::RetryAfter(Duration::from_secs(60)));
    }
}
