//! Commands on several shards. A command runs on one shard after the other, and what it prints is put together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::{join_all, try_join_all};
use queue_core::inspect::recurring;
use queue_core::{Queue, Schema, ShardState, Shards};
use serde_json::value::RawValue;
use sqlx::PgConnection;

use super::database::Database;
use super::exit::{Exit, Failure};
use super::global::Global;
use super::here::{self, Done, List, ListRow, Places, Printed};
use super::output::{print, print_json, say};
use crate::config::Config;

/// The title of a column with ids.
const ID: &str = "#ID";

/// Runs a command on each shard that is used, or on the queue if it has no shards.
pub(super) async fn on_each(
    global: &Global,
    command: impl AsyncFn(&Global) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let config = global.load_all()?;
    match config.shards.is_empty() {
        true => command(global).await,
        false => on(global, used_shards(&config), command).await,
    }
}

/// Runs a command on the shard that has a recurring job, on that which its name decides if none has it, or on the queue if
/// it has no shards.
pub(super) async fn on_shard_of_recurring(
    global: &Global,
    name: &str,
    command: impl AsyncFn(&Global) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let config = global.load_all()?;
    if config.shards.is_empty() {
        return command(global).await;
    }
    let mut used = used_shards(&config);
    let shard = shard_of_recurring(&config, name).await?;
    used.retain(|(used, _)| *used == shard);
    if used.is_empty() {
        let used = config.used_shards().join(", ");
        return Err(Failure::usage(format!(
            "nothing was done: it is on none of the shards that are used: {used}"
        )));
    }
    on(global, used, command).await
}

/// Returns the shard that has a recurring job, or that which its name decides: one that was added at run time stays
/// where it is when the shards change. If none has it, says which shards are away.
async fn shard_of_recurring(config: &Config, name: &str) -> Result<String, Failure> {
    let shards = handles(config, Database::queue).await?;
    let (by_name, _) = shards.shard_of_recurring(name);
    let has = async |conn: &mut PgConnection, schema: &Schema| {
        let found = recurring::show(conn, schema, name, 0).await?;
        Ok(found.is_some())
    };
    let asked = config.each_shard();
    let asked = asked.filter(|(name, _)| config.shards[*name].state != ShardState::Adding);
    let (mut having, mut away) = (Vec::new(), Vec::new());
    for (shard, answer) in read_from(asked.collect(), has).await {
        match answer {
            Ok(true) => having.push(shard),
            Ok(false) => {}
            Err(failure) => away.push((shard, failure)),
        }
    }
    if having.contains(&by_name) {
        return Ok(by_name.to_owned());
    }
    if having.is_empty() {
        for (shard, failure) in away.iter().filter(|(shard, _)| *shard != by_name) {
            say_away(shard, failure);
        }
    }
    Ok(having.first().copied().unwrap_or(by_name).to_owned())
}

/// Runs a command on some shards, one after the other, and puts together what it prints.
async fn on(
    global: &Global,
    shards: Vec<(&str, Config)>,
    command: impl AsyncFn(&Global) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let names = shards.iter().map(|(name, _)| (*name).to_owned());
    let names: Arc<[String]> = names.collect();
    let (mut together, places) = (Together::default(), Places::default());
    for (name, config) in shards {
        let on_shard = global.on_shard(config);
        let command = command(&on_shard);
        let done = here::on(Arc::from(name), Arc::clone(&names), &places, command).await;
        together.add(name, done)?;
    }
    together.conclude(global, names.len() > 1)
}

/// Returns the names of the shards that are used, and their configurations.
fn used_shards(config: &Config) -> Vec<(&str, Config)> {
    let used = config.used_shards();
    let shards = config.each_shard();
    shards.filter(|(name, _)| used.contains(name)).collect()
}

/// Reads from all shards that are used at once, or from the queue if it has no shards. Says which cannot be reached,
/// which the exit code shows too. Returns the names of the shards with the answers.
pub(super) async fn read_each<T>(
    global: &Global,
    read: impl AsyncFn(&mut PgConnection, &Schema) -> Result<T, sqlx::Error>,
) -> Result<(Vec<(Option<String>, T)>, Exit), Failure> {
    let config = global.load_all()?;
    if config.shards.is_empty() {
        let answer = read_one(&config, &read).await?;
        return Ok((vec![(None, answer)], Exit::Fine));
    }
    let (mut answers, mut exit) = (Vec::new(), Exit::Fine);
    for (name, answer) in read_from(used_shards(&config), read).await {
        match answer {
            Ok(answer) => answers.push((Some(name.to_owned()), answer)),
            Err(failure) => exit = say_away(name, &failure),
        }
    }
    match answers.is_empty() {
        true => Err(Failure::said(exit)),
        false => Ok((answers, exit)),
    }
}

/// Reads from some shards at once, and refuses those that have the same tables as another: they would count twice.
pub(super) async fn read_from<T>(
    shards: Vec<(&str, Config)>,
    read: impl AsyncFn(&mut PgConnection, &Schema) -> Result<T, sqlx::Error>,
) -> impl Iterator<Item = (&str, Result<T, Failure>)> {
    let names: Arc<[String]> = shards.iter().map(|(name, _)| (*name).to_owned()).collect();
    let places = Places::default();
    let reading = shards.iter().map(|(name, config)| {
        let reading = read_one(config, &read);
        here::on(Arc::from(*name), Arc::clone(&names), &places, reading)
    });
    let answers = join_all(reading).await.into_iter();
    let names = shards.into_iter().map(|(name, _)| name);
    names.zip(answers.map(|done| done.answer))
}

async fn read_one<T>(
    config: &Config,
    read: impl AsyncFn(&mut PgConnection, &Schema) -> Result<T, sqlx::Error>,
) -> Result<T, Failure> {
    let (mut conn, schema) = Database::open(config).await?;
    Ok(read(&mut conn, &schema).await?)
}

/// Makes handles of all shards, used or not: each is one of those on which a job may belong.
pub(super) async fn handles(
    config: &Config,
    handle: impl AsyncFn(&Database) -> Result<Queue, Failure>,
) -> Result<Shards, Failure> {
    let handle = async |(name, config): (_, Config)| {
        let database = Database::configured(&config).map_err(|failure| failure.on_shard(name))?;
        Ok::<_, Failure>((name, handle(&database).await?))
    };
    let queues = try_join_all(config.each_shard().map(handle)).await?;
    let mut shards = Shards::new(queues).map_err(Failure::usage)?;
    for (name, shard) in &config.shards {
        shards = shards
            .with_state(name, shard.state)
            .map_err(Failure::usage)?;
    }
    Ok(shards)
}

/// Makes handles of all shards, if the queue has any, and returns those that are used with their names: there is at
/// least one.
pub(super) async fn used(
    config: &Config,
    handle: impl AsyncFn(&Database) -> Result<Queue, Failure>,
) -> Result<(Option<Shards>, Vec<(Option<&str>, Queue)>), Failure> {
    if config.shards.is_empty() {
        let queue = handle(&Database::configured(config)?).await?;
        return Ok((None, vec![(None, queue)]));
    }
    let shards = handles(config, handle).await?;
    refuse_same_tables(&used_shards(config)).await?;
    let used = config.used_shards().into_iter();
    let used = used.filter_map(|name| Some((Some(name), shards.get(name)?.clone())));
    let used = used.collect();
    Ok((Some(shards), used))
}

/// Refuses two shards with the same tables. Those of a shard that is away, or behind a pooler, are not known.
async fn refuse_same_tables(shards: &[(&str, Config)]) -> Result<(), Failure> {
    let databases = shards
        .iter()
        .map(|(_, config)| Database::configured(config));
    let databases: Vec<Database> = databases.collect::<Result<_, _>>()?;
    let places = join_all(databases.iter().map(Database::place)).await;
    let mut known = BTreeMap::new();
    for ((name, _), (database, place)) in shards.iter().zip(databases.iter().zip(places)) {
        if let Some(place) = place
            && let Some(other) = known.insert(place, name)
        {
            return Err(database.same_tables(other, name));
        }
    }
    Ok(())
}

/// What was done on the shards so far.
#[derive(Default)]
struct Together {
    printed: Vec<(String, Printed)>,
    /// What was found on no shard so far.
    absent: Option<BTreeSet<String>>,
    exits: Vec<Exit>,
}

impl Together {
    /// Adds what was done on a shard. An error of the command line ends the command.
    fn add(&mut self, name: &str, done: Done<Result<Exit, Failure>>) -> Result<(), Failure> {
        if done.is_passed_over {
            return Ok(());
        }
        let mut absent = done.absent;
        match done.answer {
            Ok(exit) => self.exits.push(exit),
            Err(failure) if failure.exit == Exit::NotFound => absent.extend(failure.message()),
            Err(failure) if failure.exit == Exit::Unreachable || failure.exit == Exit::Failed => {
                self.exits.push(say_away(name, &failure));
                return Ok(());
            }
            Err(failure) => return Err(failure),
        }
        let absent: BTreeSet<String> = absent.into_iter().collect();
        self.absent = Some(match self.absent.take() {
            Some(before) => before.intersection(&absent).cloned().collect(),
            None => absent,
        });
        let printed = done.printed.into_iter();
        self.printed
            .extend(printed.map(|printed| (name.to_owned(), printed)));
        Ok(())
    }

    /// Prints everything, and returns the exit code of the whole.
    fn conclude(self, global: &Global, are_several: bool) -> Result<Exit, Failure> {
        match global.json {
            _ if self.printed.is_empty() => {}
            true => print_as_json(self.printed)?,
            false => print_as_text(self.printed, are_several)?,
        }
        let mut exits = self.exits;
        let is_whole = !exits.contains(&Exit::Unreachable);
        for message in self.absent.unwrap_or_default() {
            match is_whole {
                true => say(format!("error: {message}")),
                false => say(format!(
                    "error: {message}; it may be on a shard that is away"
                )),
            }
            exits.push(Exit::NotFound);
        }
        // What cannot be reached counts most: the rest is not the whole.
        let worst = exits
            .into_iter()
            .max_by_key(|exit| (*exit == Exit::Unreachable, *exit as u8));
        Ok(worst.unwrap_or(Exit::Fine))
    }
}

/// Says that a command failed on a shard, and returns its exit code.
pub(super) fn say_away(name: &str, failure: &Failure) -> Exit {
    let message = failure.message().unwrap_or_default();
    say(format!("error: shard {name}: {message}"));
    failure.exit
}

/// Prints the lists as one, the rest as an object with a value for each shard.
fn print_as_json(printed: Vec<(String, Printed)>) -> Result<(), Failure> {
    let mut values = BTreeMap::new();
    let mut lists = Vec::new();
    for (shard, printed) in printed {
        match printed {
            Printed::Json(value) => _ = values.insert(shard, value),
            Printed::List(list) => lists.push((shard, list)),
            Printed::Text(_) => {}
        }
    }
    if !lists.is_empty() {
        let rows = merged(lists)?.rows.into_iter();
        return print_json(&rows.map(|row| row.json).collect::<Vec<_>>());
    }
    print_json(&values)
}

/// Prints the lists as one table, and the rest below the names of the shards if there are several.
fn print_as_text(printed: Vec<(String, Printed)>, are_several: bool) -> Result<(), Failure> {
    let mut lists = Vec::new();
    for (shard, printed) in printed {
        match printed {
            Printed::Text(text) if are_several => print(format!("shard {shard}\n{text}"))?,
            Printed::Text(text) => print(text)?,
            Printed::List(list) => lists.push((shard, list)),
            Printed::Json(_) => {}
        }
    }
    match lists.is_empty() {
        true => Ok(()),
        false => merged(lists)?.print(),
    }
}

/// Makes one list of those of the shards. An id names its shard; without ids there is a column with the shard.
fn merged(lists: Vec<(String, List)>) -> Result<List, Failure> {
    let mut all = List::default();
    for (_, list) in &lists {
        let new = list
            .titles
            .iter()
            .filter(|title| !all.titles.contains(title));
        let new: Vec<String> = new.cloned().collect();
        all.titles.extend(new);
        all.empty.clone_from(&list.empty);
        all.newest = list.newest;
    }
    let has_ids = all.titles.iter().any(|title| title == ID);
    for (shard, list) in lists {
        for row in list.rows {
            let mut cells = list
                .titles
                .iter()
                .zip(row.cells)
                .collect::<BTreeMap<_, _>>();
            let cells = all.titles.iter().map(|title| match cells.remove(title) {
                Some(id) if title == ID => format!("{shard}:{id}"),
                cell => cell.unwrap_or_default(),
            });
            let own = (!has_ids).then(|| shard.clone());
            all.rows.push(ListRow {
                at: row.at,
                cells: own.into_iter().chain(cells).collect(),
                json: of_shard(&shard, &row.json)?,
            });
        }
    }
    if !has_ids {
        all.titles.insert(0, "SHARD".to_owned());
    }
    if let Some(most) = all.newest {
        all.rows.sort_by_key(|row| Reverse(row.at));
        all.rows.truncate(most);
    }
    Ok(all)
}

/// Adds the shard to an object.
fn of_shard(shard: &str, object: &RawValue) -> Result<Box<RawValue>, Failure> {
    let fields = object.get().trim_start_matches('{');
    let json = format!("{{\"shard\":\"{shard}\",{fields}");
    Ok(RawValue::from_string(json).context("could not write JSON")?)
}
