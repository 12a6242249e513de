//! `queue check`: the configuration, without a database.

use clap::Args;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::global::Global;
use super::limits::limit_words;
use super::output::{print, print_json};
use super::start::{ProcessFlags, complete};
use crate::App;
use crate::config::Config;

const HELP: &str = "\
Reads the configuration as `queue start` would with the same flags, reports everything that is
wrong with it at once, each with its place, and tells what would run. Exits with 2 if something is
wrong.";

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct Check {
    #[command(flatten)]
    flags: ProcessFlags,
}

#[derive(Serialize)]
struct Summary {
    source: String,
    schema: String,
    database_given: bool,
    workers: Vec<Worker>,
    limits: Vec<Limit>,
    dispatcher: bool,
    scheduler: bool,
    maintenance: bool,
    kinds: Vec<String>,
    recurring_jobs: Vec<String>,
}

#[derive(Serialize)]
struct Worker {
    queues: Vec<String>,
    concurrency: usize,
}

#[derive(Serialize)]
struct Limit {
    name: String,
    to: Option<u32>,
    space_seconds: Option<f64>,
    burst: Option<u32>,
}

impl Check {
    pub(super) fn run<S: Send + Sync + 'static>(
        self,
        global: &Global,
        app: App<S>,
    ) -> Result<Exit, Failure> {
        let config = global.load()?;
        let app = complete(app, &config)?;
        let summary = summary(&config, &app);
        if global.json {
            print_json(&summary)?;
        } else {
            print(text(&summary))?;
        }
        Ok(Exit::Fine)
    }
}

fn summary<S: Send + Sync + 'static>(config: &Config, app: &App<S>) -> Summary {
    let workers = config.settings.workers.iter().map(|worker| Worker {
        queues: worker
            .queues
            .to_string()
            .split(',')
            .map(|entry| entry.trim().to_owned())
            .collect(),
        concurrency: worker.concurrency,
    });
    let limits = config.settings.limits.iter().map(|(name, limit)| Limit {
        name: name.clone(),
        to: limit.to,
        space_seconds: limit.rate.map(|rate| rate.space().as_secs_f64()),
        burst: limit.rate.map(|rate| rate.burst),
    });
    Summary {
        source: config.source.to_string(),
        schema: config.database.schema.clone(),
        database_given: config.database.url.is_some(),
        workers: workers.collect(),
        limits: limits.collect(),
        dispatcher: config.settings.dispatcher.enabled,
        scheduler: config.settings.scheduler.enabled,
        maintenance: config.settings.maintenance.enabled,
        kinds: app.kinds(),
        recurring_jobs: app
            .recurring_jobs()
            .iter()
            .map(|each| each.name().to_owned())
            .collect(),
    }
}

fn text(summary: &Summary) -> String {
    let on = |enabled| if enabled { "on" } else { "off" };
    let mut lines = vec![format!("the configuration is right: {}", summary.source)];
    for worker in &summary.workers {
        lines.push(format!(
            "worker       {} with {} jobs at once",
            worker.queues.join(","),
            worker.concurrency
        ));
    }
    for limit in &summary.limits {
        let words = limit_words(limit.to, limit.space_seconds, limit.burst);
        lines.push(format!("limit        {}: {words}", limit.name));
    }
    lines.push(format!("dispatcher   {}", on(summary.dispatcher)));
    lines.push(format!("scheduler    {}", on(summary.scheduler)));
    lines.push(format!("maintenance  {}", on(summary.maintenance)));
    lines.push(format!("schema       {}", summary.schema));
    lines.push(format!(
        "kinds        {}",
        match summary.kinds.is_empty() {
            true => "none: it would run no jobs; register some, or give handlers in queue.toml"
                .to_owned(),
            false => summary.kinds.join(", "),
        }
    ));
    if !summary.recurring_jobs.is_empty() {
        lines.push(format!(
            "recurring    {}",
            summary.recurring_jobs.join(", ")
        ));
    }
    if !summary.database_given {
        lines.push("database     none given: set DATABASE_URL before `queue start`".to_owned());
    }
    lines.join("\n")
}
