//! `queue shards`: lists the shards, and shows what it means to add or to drain one.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use queue_core::inspect::{COUNT_MAX, grouped, limits, processes, recurring, stats};
use queue_core::{Schema, ShardState, Shards, migrate};
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use super::across::{handles, read_from, say_away};
use super::confirm::confirm;
use super::output::{counted, one_line, say};
use super::{Database, Exit, Failure, Global};
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  queue shards                 the shards, with their states and their unfinished jobs
  queue shards add asia        what moves to it, and creates its tables
  queue shards drain eu        what it still has, and what moves away

The states of shards are in the file (`state` in [shards.NAME]), because all programs must agree on them;
these commands change no state. See docs/guides/shards.md for the steps.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ShardsCommand {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Lists the shards [default]
    List,
    /// Shows what moves to a shard that is added, and creates its tables
    Add {
        /// The shard, which is in the file
        shard: String,
        /// Skips the confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Shows what a shard still has, and what moves to others
    Drain {
        /// The shard
        shard: String,
    },
}

/// How many keys of limits are read of each shard.
const LIMITS_READ: u32 = 1_000;

/// How many limits that are in use on several shards are named.
const LIMITS_NAMED: usize = 5;

/// A shard, and what it has.
#[derive(Serialize)]
struct Shard {
    shard: String,
    state: ShardState,
    /// Whether it answers and has its tables.
    answers: bool,
    #[serde(flatten)]
    has: Has,
}

#[derive(Default, Serialize)]
struct Has {
    /// The jobs that are neither finished nor failed, counted up to a million in each state.
    unfinished: u64,
    failed: u64,
    processes: usize,
    recurring_jobs: Vec<String>,
    /// Those of them that were added at run time.
    #[serde(skip)]
    added_at_run_time: BTreeSet<String>,
    /// The keys of limits that jobs hold or wait for, up to a thousand.
    #[serde(skip)]
    limits_in_use: BTreeSet<String>,
}

impl ShardsCommand {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let config = global.load_all()?;
        if config.shards.is_empty() {
            return Err(Failure::usage("the configuration has no [shards]"));
        }
        match self.command.unwrap_or(Command::List) {
            Command::List => list(global, &config).await,
            Command::Add { shard, yes } => add(global, &config, &shard, yes).await,
            Command::Drain { shard } => drain(global, &config, &shard).await,
        }
    }
}

async fn list(global: &Global, config: &Config) -> Result<Exit, Failure> {
    let used = config.used_shards();
    let (shards, exit) = read_all(config, |shard| used.contains(&shard)).await;
    let number = |shard: &Shard, count: u64| match shard.answers {
        true => grouped(count),
        false => "-".to_owned(),
    };
    global.print_list(
        &shards,
        "",
        &[
            ("SHARD", &|shard| shard.shard.clone()),
            ("STATE", &|shard| shard.state.as_str().to_owned()),
            ("#UNFINISHED", &|shard| number(shard, shard.has.unfinished)),
            ("#FAILED", &|shard| number(shard, shard.has.failed)),
            ("#PROCESSES", &|shard| {
                number(shard, shard.has.processes as u64)
            }),
            ("RECURRING", &|shard| shard.has.recurring_jobs.join(", ")),
        ],
    )?;
    say_limits_on_several(&shards);
    Ok(exit)
}

/// Warns of limits whose keys are in use on several shards: together their jobs may exceed the limit. Shards that are
/// drained are left out, because keys move away from them while their jobs still run.
fn say_limits_on_several(shards: &[Shard]) {
    let mut used_on: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let taking = shards
        .iter()
        .filter(|shard| shard.state != ShardState::Draining);
    for shard in taking {
        for key in &shard.has.limits_in_use {
            used_on.entry(key).or_default().push(&shard.shard);
        }
    }
    used_on.retain(|_, shards| shards.len() > 1);
    for (key, shards) in used_on.iter().take(LIMITS_NAMED) {
        let (key, shards) = (one_line(key), shards.join(", "));
        say(format!(
            "warning: the limit of {key} is in use on {shards}, and holds on each of them alone"
        ));
    }
    let more = used_on.len().saturating_sub(LIMITS_NAMED);
    if more > 0 {
        let more = counted(more as u64, "more limit is", "more limits are");
        say(format!("warning: {more} in use on several shards"));
    }
}

async fn add(global: &Global, config: &Config, name: &str, yes: bool) -> Result<Exit, Failure> {
    let of_shard = config.of_shard(name).ok_or_else(|| unknown(config, name))?;
    let (state, database) = (config.shards[name].state, Database::configured(&of_shard)?);
    let mut conn = database.connect().await?;
    let missing = migrate::status(&mut conn, &database.schema)
        .await?
        .missing();
    let (all, exit) = read_all(config, |other| other != name).await;
    let (moving, _) = moving(config, &all, name, ShardState::Open).await?;
    let takers = config.shards.values();
    let takers = takers.filter(|shard| shard.state != ShardState::Draining);
    say(format!(
        "{name} is in {}, {}",
        database.servers.place,
        match missing {
            0 => "and has its tables".to_owned(),
            count => format!(
                "and lacks {}",
                counted(count as u64, "migration", "migrations")
            ),
        }
    ));
    say(format!(
        "about one key in {} moves to it, each when its old shard has no unfinished jobs of that key; of all keys it has now:",
        takers.count()
    ));
    for shard in &all {
        say(match shard.answers {
            true => format!(
                "  {}: {} unfinished",
                shard.shard,
                grouped(shard.has.unfinished)
            ),
            false => format!("  {}: not known", shard.shard),
        });
    }
    say_moving(&moving, "once it is open");
    if missing > 0 {
        if !confirm(&format!("create the tables of {name}"), yes)? {
            return Ok(Exit::Failed);
        }
        let applied = migrate::migrate(&mut conn, &database.schema).await;
        applied.map_err(|error| Failure::new(Exit::Failed, error))?;
    }
    say(next_of_adding(name, state));
    global.conclude(&json!({
        "shard": name, "state": state, "migrations_applied": missing,
        "recurring_jobs_that_move": moving, "others": all,
    }))?;
    Ok(exit)
}

fn next_of_adding(name: &str, state: ShardState) -> String {
    match state {
        ShardState::Adding => format!(
            "next: set the limits and pause the queues and tenants there that are so on the others; bring the file to \
             all programs and start processes for {name}; remove its state when most keys have moved"
        ),
        _ => format!(
            "next: its state is {}: set state = \"adding\" in [shards.{name}] before programs get the file, or \
             keys move while their jobs are on other shards",
            state.as_str()
        ),
    }
}

async fn drain(global: &Global, config: &Config, name: &str) -> Result<Exit, Failure> {
    let (found, exit) = read_all(config, |shard| shard == name).await;
    let [shard] = &found[..] else {
        return Err(unknown(config, name));
    };
    if !shard.answers {
        return Err(Failure::said(exit));
    }
    let (moving, staying) = moving(config, &found, name, ShardState::Draining).await?;
    let unfinished = counted(shard.has.unfinished, "unfinished job", "unfinished jobs");
    let failed = counted(shard.has.failed, "failed job", "failed jobs");
    say(format!("{name} has {unfinished} and {failed}"));
    say_moving(&moving, "when processes start with the new file");
    for (job, _) in &staying {
        say(format!(
            "the recurring job {job} was added at run time, so it stays and enqueues jobs here"
        ));
    }
    say(match (shard.state, shard.has.unfinished) {
        (ShardState::Draining, _) if !staying.is_empty() => {
            "next: remove these recurring jobs with `queue recurring remove`, and add them again: that chooses another \
             shard"
                .to_owned()
        }
        (ShardState::Draining, 0) => format!(
            "next: it has no unfinished jobs: stop its processes and remove [shards.{name}] from the file of all \
             programs; failed and finished jobs stay in its tables"
        ),
        (ShardState::Draining, _) => {
            "next: wait until its processes have run its unfinished jobs".to_owned()
        }
        _ => format!(
            "next: set state = \"draining\" in [shards.{name}] and bring the file to all programs: its keys move to \
             the other shards at once"
        ),
    });
    global.conclude(&json!({
        "shard": name, "state": shard.state, "unfinished": shard.has.unfinished, "failed": shard.has.failed,
        "recurring_jobs_that_move": moving, "recurring_jobs_that_stay": staying,
    }))?;
    Ok(exit)
}

/// A recurring job, and the shard that its name decides.
type Placed = (String, String);

/// Returns the recurring jobs of shards whose names decide on another shard when a shard is in another state: those that
/// move to it, because programs declare them, and those that stay, because they were added at run time.
async fn moving(
    config: &Config,
    on: &[Shard],
    name: &str,
    state: ShardState,
) -> Result<(Vec<Placed>, Vec<Placed>), Failure> {
    let shards: Shards = handles(config, Database::queue).await?;
    let shards = shards.with_state(name, state).map_err(Failure::usage)?;
    let all = on
        .iter()
        .flat_map(|shard| shard.has.recurring_jobs.iter().map(move |job| (job, shard)));
    let new = all.map(|(job, shard)| (job, shard, shards.shard_of_recurring(job).0));
    let elsewhere = new.filter(|(_, shard, new)| shard.shard != *new);
    let (staying, moving): (Vec<_>, Vec<_>) =
        elsewhere.partition(|(job, shard, _)| shard.has.added_at_run_time.contains(*job));
    let placed = |jobs: Vec<(&String, &Shard, &str)>| {
        let jobs = jobs.into_iter();
        jobs.map(|(job, _, new)| (job.clone(), new.to_owned()))
            .collect()
    };
    Ok((placed(moving), placed(staying)))
}

fn say_moving(moving: &[(String, String)], when: &str) {
    for (job, shard) in moving {
        say(format!("the recurring job {job} moves to {shard} {when}"));
    }
}

/// Reads what shards have. Says which cannot be reached, which the exit code shows too.
async fn read_all(config: &Config, is_meant: impl Fn(&str) -> bool) -> (Vec<Shard>, Exit) {
    let meant = config.each_shard().filter(|(name, _)| is_meant(name));
    let (mut shards, mut exit) = (Vec::new(), Exit::Fine);
    for (name, answer) in read_from(meant.collect(), Has::read).await {
        shards.push(Shard {
            shard: name.to_owned(),
            state: config.shards[name].state,
            answers: answer.is_ok(),
            has: answer.unwrap_or_else(|failure| {
                exit = say_away(name, &failure);
                Has::default()
            }),
        });
    }
    (shards, exit)
}

impl Has {
    async fn read(conn: &mut PgConnection, schema: &Schema) -> Result<Self, sqlx::Error> {
        let jobs = stats::gather(conn, schema, COUNT_MAX).await?.jobs;
        let unfinished = [jobs.scheduled, jobs.ready, jobs.blocked, jobs.running];
        let processes = processes::list(conn, schema).await?;
        let recurring = recurring::list(conn, schema).await?;
        let added = recurring.iter().filter(|job| job.source.is_none());
        let limits = limits::list(conn, schema, "", LIMITS_READ)
            .await?
            .into_iter();
        // Limits of queues and kinds are set on each shard.
        let in_use = limits.filter(|limit| {
            !limit.key.starts_with('@') && (limit.in_use > 0 || limit.waiting.count > 0)
        });
        Ok(Self {
            unfinished: unfinished.iter().map(|count| count.count).sum(),
            failed: jobs.failed.count,
            processes: processes.len(),
            added_at_run_time: added.map(|job| job.name.clone()).collect(),
            recurring_jobs: recurring.into_iter().map(|job| job.name).collect(),
            limits_in_use: in_use.map(|limit| limit.key).collect(),
        })
    }
}

fn unknown(config: &Config, name: &str) -> Failure {
    let known = Vec::from_iter(config.shards.keys().map(String::as_str)).join(", ");
    Failure::usage(format!(
        "there is no shard `{name}` in the file: there are {known}"
    ))
}
