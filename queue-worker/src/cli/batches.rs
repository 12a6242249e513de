//! `queue batches`: lists and shows batches, cancels them, and retries their failed jobs.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use queue_core::batches::{cancel_batch, close, retry_failed};
use queue_core::inspect::{BatchJob, BatchSummary, batches};
use queue_core::{BatchId, JobId, Redaction, Schema};
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use super::audit::{act, audit};
use super::confirm::confirm;
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

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Batches {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists batches with their progress, newest first [default]
    List(List),
    /// Shows a batch, its jobs and its callbacks
    Show {
        /// The batch
        #[arg(value_parser = batch_id)]
        id: BatchId,
    },
    /// Cancels a batch: it takes no more jobs, and those that have not ended are cancelled
    Cancel {
        /// The batch
        #[arg(value_parser = batch_id)]
        id: BatchId,
        /// Skips the confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Makes the failed jobs of a batch ready
    Retry {
        /// The batch
        #[arg(value_parser = batch_id)]
        id: BatchId,
    },
    /// Closes a batch that was left open: it ends as soon as all its jobs have
    Close {
        /// The batch
        #[arg(value_parser = batch_id)]
        id: BatchId,
    },
}

#[derive(Debug, Args)]
struct List {
    /// Only batches that have ended
    #[arg(long, conflicts_with = "running")]
    ended: bool,
    /// Only batches that have not ended
    #[arg(long)]
    running: bool,
    /// Only batches older than this one, such as the last one of the previous page
    #[arg(long, value_name = "ID", value_parser = batch_id)]
    below: Option<BatchId>,
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
        let config = global.load()?;
        let (mut conn, schema) = Database::open(&config).await?;
        let redaction = config.settings.redact.redaction();
        match self.command {
            None => list(global, &mut conn, &schema, List::default(), &redaction).await,
            Some(Command::List(asked)) => list(global, &mut conn, &schema, asked, &redaction).await,
            Some(Command::Show { id }) => show(global, &mut conn, &schema, id, &redaction).await,
            Some(Command::Cancel { id, yes }) => cancel(global, &mut conn, &schema, id, yes).await,
            Some(Command::Retry { id }) => retry(global, &mut conn, &schema, id).await,
            Some(Command::Close { id }) => {
                if !close(&mut conn, &schema, id).await? {
                    return Err(unknown(id));
                }
                audit(&mut conn, &schema, act("close", target(id))).await?;
                global.print(&json!({ "closed": id }), |_| format!("closed batch {id}\n"))
            }
        }
    }
}

async fn list(
    global: &Global,
    conn: &mut PgConnection,
    schema: &Schema,
    asked: List,
    redaction: &Redaction,
) -> Result<Exit, Failure> {
    let List {
        ended,
        below,
        limit,
        ..
    } = asked;
    let has_ended = (ended || asked.running).then_some(ended);
    let mut found = batches::list(conn, schema, has_ended, below, limit).await?;
    found.iter_mut().for_each(|batch| batch.redact(redaction));
    global.print_list(&found, "there are no such batches", &COLUMNS)?;
    if let (false, Some(last)) = (global.json, found.last())
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

async fn show(
    global: &Global,
    conn: &mut PgConnection,
    schema: &Schema,
    id: BatchId,
    redaction: &Redaction,
) -> Result<Exit, Failure> {
    let mut batch = batches::show(conn, schema, id)
        .await?
        .ok_or_else(|| unknown(id))?;
    batch.redact(redaction);
    let whole = Whole {
        members: batches::jobs(conn, schema, id, JobId(0), JOBS_SHOWN).await?,
        callbacks: batches::callbacks(conn, schema, id).await?,
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

async fn cancel(
    global: &Global,
    conn: &mut PgConnection,
    schema: &Schema,
    id: BatchId,
    yes: bool,
) -> Result<Exit, Failure> {
    let batch = batches::show(conn, schema, id)
        .await?
        .ok_or_else(|| unknown(id))?;
    let question = format!(
        "cancel the {} jobs of batch {id} that have not ended",
        batch.pending
    );
    if !confirm(&question, yes)? {
        return Ok(Exit::Failed);
    }
    audit(conn, schema, act("cancel", target(id))).await?;
    let done = cancel_batch(conn, schema, id).await?;
    let (cancelled, asked) = (done.ended.len(), done.asked.len());
    let answer = json!({ "cancelled": cancelled, "asked_to_stop": asked });
    global.print(&answer, |_| {
        format!("cancelled {cancelled} jobs, and asked {asked} running ones to stop\n")
    })
}

async fn retry(
    global: &Global,
    conn: &mut PgConnection,
    schema: &Schema,
    id: BatchId,
) -> Result<Exit, Failure> {
    batches::show(conn, schema, id)
        .await?
        .ok_or_else(|| unknown(id))?;
    audit(conn, schema, act("retry", target(id))).await?;
    let retried = retry_failed(conn, schema, id).await?;
    global.print(&json!({ "retried": retried }), |_| {
        format!("retried {retried} jobs\n")
    })
}

/// Names a batch as the audit does. Acts on its jobs, some by some, are recorded beforehand.
fn target(id: BatchId) -> String {
    format!("batches/{id}")
}

fn unknown(id: BatchId) -> Failure {
    let error = anyhow::anyhow!("there is no batch {id}: it never existed, or it was cleared");
    Failure::new(Exit::NotFound, error)
}

fn batch_id(text: &str) -> Result<BatchId, String> {
    match text.trim_start_matches('#').parse() {
        Ok(id @ 1..) => Ok(BatchId(id)),
        _ => Err("the id of a batch is a whole number from 1".to_owned()),
    }
}
