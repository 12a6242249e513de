//! `queue queues`: lists, pauses, resumes and clears queues.

use clap::{Args, Subcommand};
use queue_core::inspect::{COUNT_MAX, JobFilter, QueueSummary, jobs, queues, spell_duration};
use queue_core::operations::queues::{self as verbs, Place};
use queue_core::{JobState, check_queue};
use serde::Serialize;
use sqlx::PgConnection;

use super::confirm::confirm;
use super::database::Database;
use super::exit::{Exit, Failure};
use super::global::Global;
use super::output::{Rows, count_of_jobs, counted, grouped, print_json, relative, say};
use super::progress;

const BATCH: u32 = 1_000;

const EXAMPLES: &str = "\
Examples:
  queue queues                    depth and latency of every queue
  queue queues pause mail         no job of it starts; those that run go on
  queue queues resume mail
  queue queues clear mail         discards its ready jobs, after asking

Latency is the time for which the oldest ready job has been waiting. How many jobs of a queue run at
once, in all processes together, is set by `queue limits set --queue NAME`.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Queues {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists every queue with its depth and latency [default]
    List,
    /// Pauses queues: their jobs are not started any more
    Pause {
        /// The queues
        #[arg(required = true, value_name = "QUEUE")]
        queues: Vec<String>,
    },
    /// Resumes queues
    Resume {
        /// The queues
        #[arg(required = true, value_name = "QUEUE")]
        queues: Vec<String>,
    },
    /// Discards the ready jobs of a queue; scheduled, blocked, running and failed ones stay
    Clear {
        /// The queue
        queue: String,
        /// Does not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Serialize)]
struct Changed<'a> {
    queue: &'a str,
    changed: bool,
}

#[derive(Serialize)]
struct Cleared<'a> {
    queue: &'a str,
    discarded: u64,
}

impl Queues {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let database = Database::of(global)?;
        match self.command.unwrap_or(Command::List) {
            Command::List => list(global, &database).await,
            Command::Pause { queues } => pause(global, &database, &queues).await,
            Command::Resume { queues } => resume(global, &database, &queues).await,
            Command::Clear { queue, yes } => clear(global, &database, &queue, yes).await,
        }
    }
}

async fn list(global: &Global, database: &Database) -> Result<Exit, Failure> {
    let mut conn = database.connect().await?;
    let queues = queues::list(&mut conn, &database.schema).await?;
    if global.json {
        print_json(&queues)?;
    } else if queues.is_empty() {
        say("there are no queues yet: one appears with its first job");
    } else {
        table(&queues)?;
    }
    Ok(Exit::Fine)
}

fn table(queues: &[QueueSummary]) -> Result<(), Failure> {
    let mut rows = Rows::new(&[
        "QUEUE",
        "#READY",
        "#LATENCY",
        "#SCHEDULED",
        "#BLOCKED",
        "#RUNNING",
        "#FAILED",
        "PAUSED",
    ]);
    let number = |count: i64| grouped(count.unsigned_abs());
    for queue in queues {
        rows.add([
            queue.name.clone(),
            number(queue.ready),
            queue.latency_seconds.map_or("-".to_owned(), spell_duration),
            number(queue.scheduled),
            number(queue.blocked),
            number(queue.running),
            number(queue.failed),
            queue.paused_at.map_or(String::new(), relative),
        ]);
    }
    rows.print()
}

async fn pause(global: &Global, database: &Database, queues: &[String]) -> Result<Exit, Failure> {
    check_all(queues)?;
    let mut conn = database.connect().await?;
    let mut changes = Vec::new();
    for queue in queues {
        let changed = verbs::pause(&mut conn, &database.schema, queue).await?;
        say(match changed {
            true => format!("paused queue {queue}"),
            false => format!("queue {queue} was paused already"),
        });
        changes.push(Changed { queue, changed });
    }
    finish(global, &changes)
}

async fn resume(global: &Global, database: &Database, queues: &[String]) -> Result<Exit, Failure> {
    check_all(queues)?;
    let mut conn = database.connect().await?;
    let mut changes = Vec::new();
    for queue in queues {
        let changed = verbs::resume(&mut conn, &database.schema, queue).await?;
        say(match changed {
            true => format!("resumed queue {queue}"),
            false => format!("queue {queue} was not paused"),
        });
        changes.push(Changed { queue, changed });
    }
    finish(global, &changes)
}

/// Looks at all names before the first queue is changed.
fn check_all(queues: &[String]) -> Result<(), Failure> {
    queues
        .iter()
        .try_for_each(|queue| check_queue(queue))
        .map_err(|invalid| Failure::usage(invalid.to_string()))
}

fn finish(global: &Global, changes: &[Changed<'_>]) -> Result<Exit, Failure> {
    if global.json {
        print_json(changes)?;
    }
    Ok(Exit::Fine)
}

async fn clear(
    global: &Global,
    database: &Database,
    queue: &str,
    yes: bool,
) -> Result<Exit, Failure> {
    check_all(&[queue.to_owned()])?;
    let mut conn = database.connect().await?;
    let ready = JobFilter {
        states: vec![JobState::Ready],
        queue: Some(queue.to_owned()),
        ..JobFilter::default()
    };
    let count = jobs::count(&mut conn, &database.schema, &ready, COUNT_MAX).await?;
    let mut discarded = 0;
    if count.count > 0 {
        let question = format!(
            "discard {} that are ready in queue {queue}",
            count_of_jobs(count)
        );
        if !confirm(&question, yes)? {
            return Ok(Exit::Failed);
        }
        discarded = discard(&mut conn, database, queue, count.count).await?;
    }
    say(format!(
        "discarded {} of queue {queue}",
        counted(discarded, "ready job", "ready jobs")
    ));
    if global.json {
        print_json(&Cleared { queue, discarded })?;
    }
    Ok(Exit::Fine)
}

async fn discard(
    conn: &mut PgConnection,
    database: &Database,
    queue: &str,
    expected: u64,
) -> Result<u64, Failure> {
    let bar = progress::bar(expected);
    let mut discarded = 0;
    let mut place = Some(Place::FRONT);
    while let Some(from) = place {
        let batch = verbs::clear(conn, &database.schema, queue, from, BATCH).await?;
        discarded += batch.discarded.len() as u64;
        bar.inc(batch.discarded.len() as u64);
        place = batch.next;
    }
    bar.finish_and_clear();
    Ok(discarded)
}
