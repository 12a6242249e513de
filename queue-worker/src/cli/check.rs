//! `queue check`: the configuration, without a database.

use queue_core::ShardState;
use queue_core::recurring::RecurringJob;
use serde_json::json;

use super::database::keys_of_environment;
use super::limits::{setting_json, setting_words};
use super::start::{complete, warnings};
use super::{Exit, Failure, Global};
use crate::app::State;
use crate::config::Config;
use crate::{App, ProcessProblem, SHARDS_MAX};

pub(super) const HELP: &str = "\
Reads the configuration as `queue start` would with the same flags, and shows what would run.
Reports all problems at once, each with its place, and exits with 2 if there are any.";

pub(super) fn run<S: State>(global: &Global, app: App<S>) -> Result<Exit, Failure> {
    let config = global.load_all()?;
    let app = complete(app, &config)?;
    keys_of_environment()?;
    let shards = config.used_shards().len();
    if shards > SHARDS_MAX {
        return Err(Failure::usage(ProcessProblem::TooManyShards(shards)));
    }
    global.print(&summary(&config, &app), |_| text(&config, &app))
}

fn summary<S>(config: &Config, app: &App<S>) -> serde_json::Value {
    let settings = &config.settings;
    let workers = settings.workers.iter().map(|worker| {
        let queues = worker.queues.patterns().iter().map(ToString::to_string);
        json!({"queues": queues.collect::<Vec<_>>(), "concurrency": worker.concurrency})
    });
    let limits = settings.limits.iter();
    json!({
        "source": source(config),
        "schema": config.database.schema,
        "shards": config.used_shards(),
        "database_given": config.database.url.is_some(),
        "workers": workers.collect::<Vec<_>>(),
        "limits": limits.map(|(name, limit)| setting_json(name, limit)).collect::<Vec<_>>(),
        "dispatcher": settings.dispatcher.enabled,
        "scheduler": settings.scheduler.enabled,
        "maintenance": settings.maintenance.enabled,
        "alerts": config.alerts.as_ref().map(|alerts| &alerts.on),
        "kinds": app.kinds(),
        "recurring_jobs": recurring_jobs(app),
        "warnings": warnings(config, app),
    })
}

fn source(config: &Config) -> String {
    match &config.file {
        Some(path) => path.display().to_string(),
        None => "the defaults (there is no queue.toml here)".to_owned(),
    }
}

fn recurring_jobs<S>(app: &App<S>) -> Vec<&str> {
    let recurring_jobs = app.recurring_jobs().iter();
    recurring_jobs.map(RecurringJob::name).collect()
}

fn text<S>(config: &Config, app: &App<S>) -> String {
    let settings = &config.settings;
    let on = |enabled| if enabled { "on" } else { "off" };
    let mut lines = vec![format!("the configuration is valid: {}", source(config))];
    let mut add = |name: &str, value: &str| lines.push(format!("{name:<12} {value}"));
    for worker in &settings.workers {
        let words = format!("{} with {} jobs at once", worker.queues, worker.concurrency);
        add("worker", &words);
    }
    for (name, limit) in &settings.limits {
        add("limit", &format!("{name}: {}", setting_words(limit)));
    }
    add("dispatcher", on(settings.dispatcher.enabled));
    add("scheduler", on(settings.scheduler.enabled));
    add("maintenance", on(settings.maintenance.enabled));
    if let Some(alerts) = &config.alerts {
        let on: Vec<&str> = alerts.on.iter().map(|kind| kind.as_str()).collect();
        add("alerts", &on.join(", "));
    }
    match config.used_shards() {
        shards if shards.is_empty() => add("schema", &config.database.schema),
        shards => {
            let words = shards.iter().map(|name| match config.shards[*name].state {
                ShardState::Open => (*name).to_owned(),
                state => format!("{name} ({})", state.as_str()),
            });
            add("shards", &words.collect::<Vec<_>>().join(", "));
        }
    }
    match app.kinds() {
        kinds if kinds.is_empty() => add(
            "kinds",
            "none, so no job would run: register some, or add handlers to queue.toml",
        ),
        kinds => add("kinds", &kinds.join(", ")),
    }
    if !app.recurring_jobs().is_empty() {
        add("recurring", &recurring_jobs(app).join(", "));
    }
    if config.database.url.is_none() && config.shards.is_empty() {
        let advice = "not set: set DATABASE_URL before `queue start`";
        add("database", advice);
    }
    for warning in warnings(config, app) {
        add("warning", &warning);
    }
    lines.join("\n")
}
