//! `queue queues`: lists, pauses, resumes and clears queues.

use clap::{Args, Subcommand};
use queue_core::inspect::merged::{self, Merged};
use queue_core::inspect::queues::{self, QueueSummary};
use queue_core::inspect::{COUNT_MAX, JobFilter, jobs, spell_duration};
use queue_core::operations::audit::Act;
use queue_core::operations::queues::{self as verbs, Place};
use queue_core::{JobState, Schema, check_queue};
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::across::{on_each, read_each};
use super::audit::{act, actor, audit, with_jobs};
use super::confirm::confirm;
use super::output::{count_of_jobs, counted, grouped, paused, say};
use super::{Database, Exit, Failure, Global, progress};
use crate::config::document::nearest;

const BATCH: u32 = 1_000;

const EXAMPLES: &str = "\
Examples:
  queue queues                    depth and latency of every queue
  queue queues pause mail         starts none of its jobs; running jobs go on
  queue queues pause mail --why 'the relay is down'
  queue queues resume mail
  queue queues clear mail         discards its ready jobs after a confirmation

Latency is how long the oldest ready job has been waiting. To limit how many jobs of a queue run at
once in all processes, use `queue limits set --queue NAME`.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Queues {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Lists every queue with its depth and latency [default]
    List,
    /// Pauses queues: none of their jobs is started
    Pause {
        /// The queues
        #[arg(required = true, value_name = "QUEUE")]
        queues: Vec<String>,
        /// Why, for those who find them paused
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Pauses queues that no job has been seen in, without a confirmation
        #[arg(long, short)]
        yes: bool,
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
        /// Skips the confirmation
        #[arg(long, short)]
        yes: bool,
    },
}

impl Queues {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self.command.unwrap_or(Command::List) {
            Command::List => list(global).await,
            Command::Pause { queues, why, yes } => {
                if !are_meant(global, &queues, yes).await? {
                    return Ok(Exit::Failed);
                }
                let why = why.as_deref();
                on_each(global, async |on| pause(on, &queues, why).await).await
            }
            Command::Resume { queues } => {
                on_each(global, async |on| resume(on, &queues).await).await
            }
            Command::Clear { queue, yes } => {
                on_each(global, async |on| clear(on, &queue, yes).await).await
            }
        }
    }
}

async fn list(global: &Global) -> Result<Exit, Failure> {
    let (of_shards, exit) = read_each(global, queues::list).await?;
    let merged = merged::queues(of_shards).into_iter();
    let queues: Vec<QueueOnShards> = merged.map(Into::into).collect();
    let number = |count: i64| grouped(count.unsigned_abs());
    let latency = |seconds: Option<f64>| seconds.map_or("-".to_owned(), spell_duration);
    global.print_list(
        &queues,
        "there are no queues yet: one appears with its first job",
        &[
            ("QUEUE", &|queue| queue.whole.name.clone()),
            ("#READY", &|queue| number(queue.whole.ready)),
            ("#LATENCY", &|queue| latency(queue.whole.latency_seconds)),
            ("#SCHEDULED", &|queue| number(queue.whole.scheduled)),
            ("#BLOCKED", &|queue| number(queue.whole.blocked)),
            ("#RUNNING", &|queue| number(queue.whole.running)),
            ("#FAILED", &|queue| number(queue.whole.failed)),
            ("PAUSED", &QueueOnShards::paused),
        ],
    )?;
    Ok(exit)
}

/// A queue, added up if it is on several shards.
#[derive(Serialize)]
struct QueueOnShards {
    #[serde(flatten)]
    whole: QueueSummary,
    /// The shards on which it is paused, if it is not paused on all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    paused_only_on: Vec<String>,
}

impl From<Merged<Option<String>, QueueSummary>> for QueueOnShards {
    fn from(merged: Merged<Option<String>, QueueSummary>) -> Self {
        let all = merged.parts.len();
        let parts = merged.parts.into_iter();
        let paused = parts.filter(|(_, part)| part.pause().is_some());
        let paused: Vec<String> = paused.filter_map(|(shard, _)| shard).collect();
        Self {
            whole: merged.whole,
            paused_only_on: if paused.len() < all {
                paused
            } else {
                Vec::new()
            },
        }
    }
}

impl QueueOnShards {
    fn paused(&self) -> String {
        match &self.paused_only_on[..] {
            [] => paused(self.whole.pause()),
            shards => format!("on {}: {}", shards.join(", "), paused(self.whole.pause())),
        }
    }
}

/// Checks all names before the first change, and asks about those of queues that no shard has seen a job in.
async fn are_meant(global: &Global, queues: &[String], yes: bool) -> Result<bool, Failure> {
    queues.iter().try_for_each(|queue| check_queue(queue))?;
    let (of_shards, _) = read_each(global, queues::names).await?;
    let known: Vec<String> = of_shards.into_iter().flat_map(|(_, names)| names).collect();
    for queue in queues {
        if !known.contains(queue) && !confirm(&unknown(queue, &known), yes)? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn pause(global: &Global, queues: &[String], why: Option<&str>) -> Result<Exit, Failure> {
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    let mut changes = Vec::new();
    for queue in queues {
        let who = actor().who;
        let mut tx = conn.begin().await?;
        let changed = verbs::pause_because(&mut tx, &schema, queue, Some(&who), why).await?;
        if changed {
            let done = Act {
                why: why.map(str::to_owned),
                ..act("pause", format!("queues/{queue}"))
            };
            audit(&mut tx, &schema, done).await?;
        }
        tx.commit().await?;
        say(match changed {
            true => format!("paused queue {queue}"),
            false => format!("queue {queue} was paused already"),
        });
        changes.push(json!({"queue": queue, "changed": changed}));
    }
    global.conclude(&changes)
}

/// Asks for confirmation before a queue is paused that has had no job: its name is probably misspelled.
fn unknown(queue: &str, known: &[String]) -> String {
    let hint = match nearest(queue, known.iter().map(String::as_str)) {
        Some(near) => format!(" (did you mean `{near}`?)"),
        None => String::new(),
    };
    format!("pause queue `{queue}`, which no job has been seen in{hint}")
}

/// Resumes queues. Checks all names before the first change.
async fn resume(global: &Global, queues: &[String]) -> Result<Exit, Failure> {
    queues.iter().try_for_each(|queue| check_queue(queue))?;
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    let mut changes = Vec::new();
    for queue in queues {
        let mut tx = conn.begin().await?;
        let changed = verbs::resume(&mut tx, &schema, queue).await?;
        if changed {
            audit(&mut tx, &schema, act("resume", format!("queues/{queue}"))).await?;
        }
        tx.commit().await?;
        say(match changed {
            true => format!("resumed queue {queue}"),
            false => format!("queue {queue} was not paused"),
        });
        changes.push(json!({"queue": queue, "changed": changed}));
    }
    global.conclude(&changes)
}

async fn clear(global: &Global, queue: &str, yes: bool) -> Result<Exit, Failure> {
    check_queue(queue)?;
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    let ready = JobFilter {
        states: vec![JobState::Ready],
        queue: Some(queue.to_owned()),
        ..JobFilter::default()
    };
    let count = jobs::count(&mut conn, &schema, &ready, COUNT_MAX).await?;
    let mut discarded = 0;
    if count.count > 0 {
        let jobs = count_of_jobs(count);
        let question = format!("discard {jobs} in state ready, in queue {queue}");
        if !confirm(&question, yes)? {
            return Ok(Exit::Failed);
        }
        let target = format!("queues/{queue}");
        audit(&mut conn, &schema, act("begin to clear", &*target)).await?;
        discarded = discard(&mut conn, &schema, queue, count.count).await?;
        let jobs = usize::try_from(discarded).unwrap_or(usize::MAX);
        audit(&mut conn, &schema, with_jobs(act("clear", target), jobs)).await?;
    }
    let jobs = counted(discarded, "ready job", "ready jobs");
    say(format!("discarded {jobs} of queue {queue}"));
    global.conclude(&json!({"queue": queue, "discarded": discarded}))
}

async fn discard(
    conn: &mut PgConnection,
    schema: &Schema,
    queue: &str,
    expected: u64,
) -> Result<u64, Failure> {
    let bar = progress::bar(expected);
    let mut discarded = 0;
    let mut place = Some(Place::FRONT);
    while let Some(from) = place {
        let batch = verbs::clear(conn, schema, queue, from, BATCH).await?;
        discarded += batch.discarded.len() as u64;
        bar.inc(batch.discarded.len() as u64);
        place = batch.next;
    }
    bar.finish_and_clear();
    Ok(discarded)
}
