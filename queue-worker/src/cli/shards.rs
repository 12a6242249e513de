//! `queue shards`: lists the shards, and shows what it means to add or to drain one.

use clap::{Args, Subcommand};
use queue_core::inspect::{COUNT_MAX, grouped, processes, recurring, stats};
use queue_core::{ShardState, Shards, migrate};
use serde::Serialize;
use serde_json::json;

use super::across::{handles, say_away};
use super::confirm::confirm;
use super::output::{counted, say};
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

/// What a shard has.
#[derive(Serialize)]
struct Shard {
    shard: String,
    state: ShardState,
    /// Whether it answers and has its tables.
    answers: bool,
    /// The jobs that are neither finished nor failed, counted up to a million in each state.
    unfinished: u64,
    failed: u64,
    processes: usize,
    recurring_jobs: Vec<String>,
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
    let (shards, exit) = read_all(config, config.shards.keys()).await;
    let number = |shard: &Shard, count: u64| match shard.answers {
        true => grouped(count),
        false => "-".to_owned(),
    };
    global.print_list(
        &shards,
        "",
        &[
            ("SHARD", &|shard| shard.shard.clone()),
            ("STATE", &|shard| word(shard.state).to_owned()),
            ("#UNFINISHED", &|shard| number(shard, shard.unfinished)),
            ("#FAILED", &|shard| number(shard, shard.failed)),
            ("#PROCESSES", &|shard| number(shard, shard.processes as u64)),
            ("RECURRING", &|shard| shard.recurring_jobs.join(", ")),
        ],
    )?;
    Ok(exit)
}

async fn add(global: &Global, config: &Config, name: &str, yes: bool) -> Result<Exit, Failure> {
    let settings = config
        .shards
        .get(name)
        .ok_or_else(|| unknown(config, name))?;
    let database = Database::configured(&config.of_shard(name).unwrap_or_else(|| config.clone()))?;
    let mut conn = database.connect().await?;
    let missing = migrate::status(&mut conn, &database.schema)
        .await?
        .missing();
    let others = config.shards.keys().filter(|other| *other != name);
    let (all, exit) = read_all(config, others).await;
    let moving = moving(config, &all, name, ShardState::Open).await?;
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
        "its share is one key of {}; a key moves when its old shard has none of its unfinished jobs:",
        takers.count()
    ));
    for shard in &all {
        say(format!(
            "  {}: {} unfinished",
            shard.shard,
            grouped(shard.unfinished)
        ));
    }
    say_moving(&moving, "once it is open");
    if missing > 0 {
        if !confirm(&format!("create the tables of {name}"), yes)? {
            return Ok(Exit::Failed);
        }
        let applied = migrate::migrate(&mut conn, &database.schema).await;
        applied.map_err(|error| Failure::new(Exit::Failed, error))?;
    }
    say(next_of_adding(name, settings.state));
    global.conclude(&json!({
        "shard": name, "state": settings.state, "migrations_applied": missing,
        "recurring_jobs_that_move": moving, "others": all,
    }))?;
    Ok(exit)
}

fn next_of_adding(name: &str, state: ShardState) -> String {
    match state {
        ShardState::Adding => format!(
            "next: bring the file to all programs and start processes for {name}; remove its state when most \
             keys have moved"
        ),
        _ => format!(
            "next: its state is {}: set state = \"adding\" in [shards.{name}] before programs get the file, or \
             keys move while their jobs are on other shards",
            word(state)
        ),
    }
}

async fn drain(global: &Global, config: &Config, name: &str) -> Result<Exit, Failure> {
    let settings = config
        .shards
        .get(name)
        .ok_or_else(|| unknown(config, name))?;
    let (all, exit) = read_all(config, config.shards.keys()).await;
    let Some(shard) = all.iter().find(|shard| shard.shard == name) else {
        return Err(unknown(config, name));
    };
    if !shard.answers {
        return Err(Failure::said(exit));
    }
    let moving = moving(
        config,
        std::slice::from_ref(shard),
        name,
        ShardState::Draining,
    )
    .await?;
    let unfinished = counted(shard.unfinished, "unfinished job", "unfinished jobs");
    let failed = counted(shard.failed, "failed job", "failed jobs");
    say(format!(
        "{name} has {unfinished}, which it still runs, and {failed}"
    ));
    say_moving(&moving, "when processes start with the new file");
    say(match (settings.state, shard.unfinished) {
        (ShardState::Draining, 0) => format!(
            "next: it has run off: stop its processes and remove [shards.{name}] from the file of all programs"
        ),
        (ShardState::Draining, _) => "next: wait until it has run off".to_owned(),
        _ => format!(
            "next: set state = \"draining\" in [shards.{name}] and bring the file to all programs: its keys move to \
             the other shards at once"
        ),
    });
    global.conclude(&json!({
        "shard": name, "state": settings.state, "unfinished": shard.unfinished, "failed": shard.failed,
        "recurring_jobs_that_move": moving,
    }))?;
    Ok(exit)
}

/// Returns the recurring jobs of shards that are elsewhere when a shard is in another state, with where.
async fn moving(
    config: &Config,
    on: &[Shard],
    name: &str,
    state: ShardState,
) -> Result<Vec<(String, String)>, Failure> {
    let shards: Shards = handles(config, Database::queue).await?;
    let shards = shards.with_state(name, state).map_err(Failure::usage)?;
    let all = on
        .iter()
        .flat_map(|shard| shard.recurring_jobs.iter().map(move |job| (job, shard)));
    let new = all.map(|(job, shard)| (job, shard, shards.shard_of_recurring(job).0));
    let moving = new.filter(|(_, shard, new)| shard.shard != *new);
    Ok(moving
        .map(|(job, _, new)| (job.clone(), new.to_owned()))
        .collect())
}

fn say_moving(moving: &[(String, String)], when: &str) {
    for (job, shard) in moving {
        say(format!("the recurring job {job} moves to {shard} {when}"));
    }
}

/// Reads what shards have. Those that do not answer are said.
async fn read_all(config: &Config, names: impl Iterator<Item = &String>) -> (Vec<Shard>, Exit) {
    let (mut shards, mut exit) = (Vec::new(), Exit::Fine);
    for name in names {
        let settings = &config.shards[name];
        let mut shard = Shard {
            shard: name.clone(),
            state: settings.state,
            answers: false,
            unfinished: 0,
            failed: 0,
            processes: 0,
            recurring_jobs: Vec::new(),
        };
        if let Some(config) = config.of_shard(name)
            && let Err(failure) = read(&config, &mut shard).await
        {
            exit = say_away(name, &failure);
        }
        shards.push(shard);
    }
    (shards, exit)
}

async fn read(config: &Config, shard: &mut Shard) -> Result<(), Failure> {
    let (mut conn, schema) = Database::open(config).await?;
    let jobs = stats::gather(&mut conn, &schema, COUNT_MAX).await?.jobs;
    let unfinished = [jobs.scheduled, jobs.ready, jobs.blocked, jobs.running];
    shard.unfinished = unfinished.iter().map(|count| count.count).sum();
    shard.failed = jobs.failed.count;
    shard.processes = processes::list(&mut conn, &schema).await?.len();
    let recurring = recurring::list(&mut conn, &schema).await?.into_iter();
    shard.recurring_jobs = recurring.map(|job| job.name).collect();
    shard.answers = true;
    Ok(())
}

fn unknown(config: &Config, name: &str) -> Failure {
    let known = Vec::from_iter(config.shards.keys().map(String::as_str)).join(", ");
    Failure::usage(format!(
        "there is no shard `{name}` in the file: there are {known}"
    ))
}

fn word(state: ShardState) -> &'static str {
    match state {
        ShardState::Open => "open",
        ShardState::Adding => "adding",
        ShardState::Draining => "draining",
    }
}
