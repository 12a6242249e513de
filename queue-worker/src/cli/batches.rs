//! `queue batches`: lists and shows batches, cancels them, and retries their failed jobs.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use queue_core::batches::{self as verbs, cancel_batch, retry_failed};
use queue_core::inspect::{BatchJob, BatchSummary, batches};
use queue_core::{BatchId, JobId};
use serde::Serialize;
use serde_json::json;

use super::audit::{act, audit};
use super::confirm::confirm;
use super::global::Newest;
use super::here::are_several;
use super::ids::{WrittenId, batch_id};
use super::output::{Column, Fact, absolute, facts_text, grouped, one_line, pretty, relative, say};
use super::{Database, Exit, Failure, Global};

/// How many batches are listed, if nothing is said.
const LISTED: u32 = 50;

/// How many jobs of a batch are shown.
const JOBS_SHOWN: u32 = 1_000;

const EXAMPLES: &str = "\
Examples:
  queue batches                    batches, newest first, with their progress
  queue batches show 17            a batch, its jobs, and what they wait for
  queue batches retry 17           makes its failed jobs ready; it succeeds if they do
  queue batches cancel 17          cancels its jobs, and those of batches within it
  queue batches close 17           lets a batch end that a program has left open";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Batches {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Lists batches with their progress, newest first [default]
    List(List),
    /// Shows a batch, its jobs and its callbacks
    Show {
        /// The batch
        #[arg(value_parser = batch_id)]
        id: WrittenId<BatchId>,
    },
    /// Cancels a batch: it takes no more jobs, and those that have not ended are cancelled
    Cancel {
        /// The batch
        #[arg(value_parser = batch_id)]
        id: WrittenId<BatchId>,
        /// Skips the confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Makes the failed jobs of a batch ready
    Retry {
        /// The batch
        #[arg(value_parser = batch_id)]
        id: WrittenId<BatchId>,
    },
    /// Closes a batch that was left open: it ends as soon as all its jobs have
    Close {
        /// The batch
        #[arg(value_parser = batch_id)]
        id: WrittenId<BatchId>,
    },
}

#[derive(Clone, Debug, Args)]
struct List {
    /// Only batches that have ended
    #[arg(long, conflicts_with = "running")]
    ended: bool,
    /// Only batches that have not ended
    #[arg(long)]
    running: bool,
    /// Only batches older than this one, such as the last one of the previous page
    #[arg(long, value_name = "ID", value_parser = batch_id)]
    below: Option<WrittenId<BatchId>>,
    /// The maximum number of batches
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = LISTED,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

impl Default for List {
    fn default() -> Self {
        Self {
            ended: false,
            running: false,
            below: None,
            limit: LISTED,
        }
    }
}

/// A batch with its jobs and callbacks.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    batch: BatchSummary,
    members: Vec<BatchJob>,
    callbacks: Vec<BatchJob>,
}

impl Batches {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self.command.unwrap_or(Command::List(List::default())) {
            Command::List(asked) => list(global, asked).await,
            Command::Show { id } => show(global, id.here()?).await,
            Command::Cancel { id, yes } => cancel(global, id.here()?, yes).await,
            Command::Retry { id } => retry(global, id.here()?).await,
            Command::Close { id } => close(global, id.here()?).await,
        }
    }
}

async fn list(global: &Global, asked: List) -> Result<Exit, Failure> {
    let List {
        ended,
        below,
        limit,
        ..
    } = asked;
    let below = below.as_ref().map(WrittenId::here).transpose()?;
    let config = global.load()?;
    let (mut conn, schema) = Database::open(&config).await?;
    let has_ended = (ended || asked.running).then_some(ended);
    let mut found = batches::list(&mut conn, &schema, has_ended, below, limit).await?;
    let redaction = config.settings.redact.redaction();
    found.iter_mut().for_each(|batch| batch.redact(&redaction));
    let newest = Newest {
        at: |batch: &BatchSummary| batch.created_at,
        most: limit,
    };
    global.print_newest(&found, "there are no such batches", &COLUMNS, Some(newest))?;
    if let (false, false, Some(last)) = (global.json, are_several(), found.last())
        && found.len() == limit as usize
    {
        say(format!("there may be more: add --below {}", last.id));
    }
    Ok(Exit::Fine)
}

const COLUMNS: [Column<'_, BatchSummary>; 7] = [
    ("#ID", &|batch| batch.id.to_string()),
    ("NAME", &|batch| batch.name.clone().unwrap_or_default()),
    ("STATE", &|batch| batch.state.to_owned()),
    ("#JOBS", &|batch| number(batch.jobs)),
    ("#ENDED", &|batch| number(batch.jobs - batch.pending)),
    ("#FAILED", &|batch| number(batch.failed + batch.cancelled)),
    ("CREATED", &|batch| relative(batch.created_at)),
];

fn number(count: i64) -> String {
    grouped(count.unsigned_abs())
}

async fn show(global: &Global, id: BatchId) -> Result<Exit, Failure> {
    let config = global.load()?;
    let (mut conn, schema) = Database::open(&config).await?;
    let mut batch = batches::show(&mut conn, &schema, id)
        .await?
        .ok_or_else(|| unknown(id))?;
    batch.redact(&config.settings.redact.redaction());
    let whole = Whole {
        members: batches::jobs(&mut conn, &schema, id, JobId(0), JOBS_SHOWN).await?,
        callbacks: batches::callbacks(&mut conn, &schema, id).await?,
        batch,
    };
    global.print(&whole, text)
}

fn text(whole: &Whole) -> String {
    let mut text = facts_text(&facts(&whole.batch));
    if let Some(metadata) = &whole.batch.metadata {
        text.extend([
            "\nmetadata\n  ",
            &pretty(metadata).replace('\n', "\n  "),
            "\n",
        ]);
    }
    text.push_str("\njobs\n");
    for job in &whole.members {
        text.push_str(&line(job));
    }
    if whole.members.len() == JOBS_SHOWN as usize {
        text.push_str("  and others\n");
    }
    if !whole.callbacks.is_empty() {
        text.push_str("\ncallbacks\n");
    }
    for job in &whole.callbacks {
        text.push_str(&line(job));
    }
    text
}

fn facts(batch: &BatchSummary) -> Vec<Fact> {
    let name = batch.name.as_deref().map(|name| one_line(name).to_string());
    let mut facts = vec![
        (
            "batch",
            format!("{} {}", batch.id, name.unwrap_or_default()),
        ),
        ("state", batch.state.to_owned()),
        (
            "jobs",
            format!("{}, {} to go", number(batch.jobs), number(batch.pending)),
        ),
        ("done", number(batch.done)),
    ];
    let others = [
        ("discarded", batch.discarded),
        ("failed", batch.failed),
        ("cancelled", batch.cancelled),
    ];
    let others = others.into_iter().filter(|(_, count)| *count > 0);
    facts.extend(others.map(|(name, count)| (name, number(count))));
    facts.extend(
        batch
            .parent_id
            .map(|parent| ("part of", format!("batch {parent}"))),
    );
    facts.push(("created", absolute(batch.created_at)));
    let times = [
        ("cancelled", batch.cancelled_at),
        ("completed", batch.completed_at),
        ("failed", batch.failed_at),
        ("succeeded", batch.succeeded_at),
    ];
    let times = times.into_iter();
    facts.extend(times.filter_map(|(name, time)| Some((name, absolute(time?)))));
    facts
}

/// Writes a job with what it waits for: `  12 merge, waiting, after 10, 11 (cancel)`.
fn line(job: &BatchJob) -> String {
    let mut line = format!("  {} {}, {}", job.id, job.kind, job.state);
    if !job.after.is_empty() {
        let after: Vec<String> = job.after.iter().map(i64::to_string).collect();
        let _ = write!(line, ", after {}", after.join(", "));
    }
    if let Some(rule) = &job.rule {
        let _ = write!(line, " ({rule})");
    }
    line + "\n"
}

async fn cancel(global: &Global, id: BatchId, yes: bool) -> Result<Exit, Failure> {
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    let batch = batches::show(&mut conn, &schema, id)
        .await?
        .ok_or_else(|| unknown(id))?;
    let question = format!(
        "cancel the {} jobs of batch {id} that have not ended",
        batch.pending
    );
    if !confirm(&question, yes)? {
        return Ok(Exit::Failed);
    }
    audit(&mut conn, &schema, act("cancel", target(id))).await?;
    let done = cancel_batch(&mut conn, &schema, id).await?;
    let (cancelled, asked) = (done.ended.len(), done.asked.len());
    let answer = json!({ "cancelled": cancelled, "asked_to_stop": asked });
    global.print(&answer, |_| {
        format!("cancelled {cancelled} jobs, and asked {asked} running ones to stop\n")
    })
}

async fn retry(global: &Global, id: BatchId) -> Result<Exit, Failure> {
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    batches::show(&mut conn, &schema, id)
        .await?
        .ok_or_else(|| unknown(id))?;
    audit(&mut conn, &schema, act("retry", target(id))).await?;
    let retried = retry_failed(&mut conn, &schema, id).await?;
    global.print(&json!({ "retried": retried }), |_| {
        format!("retried {retried} jobs\n")
    })
}

async fn close(global: &Global, id: BatchId) -> Result<Exit, Failure> {
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    if !verbs::close(&mut conn, &schema, id).await? {
        return Err(unknown(id));
    }
    audit(&mut conn, &schema, act("close", target(id))).await?;
    global.print(&json!({ "closed": id }), |_| format!("closed batch {id}\n"))
}

/// Names a batch as the audit does. Acts on its jobs, some by some, are recorded beforehand.
fn target(id: BatchId) -> String {
    format!("batches/{id}")
}

fn unknown(id: BatchId) -> Failure {
    let error = anyhow::anyhow!("there is no batch {id}: it never existed, or it was cleared");
    Failure::new(Exit::NotFound, error)
}
