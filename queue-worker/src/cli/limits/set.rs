//! `queue limits set` and `reset`

use clap::Args;
use queue_core::operations::limits::{self, LimitSet, LimitSetting, parse_rate};
use serde_json::json;

use super::Name;
use super::words::{setting_json, setting_words};
use crate::cli::audit::{act, audit};
use crate::cli::output::{counted, say};
use crate::cli::{Database, Exit, Failure, Global};

pub(super) const RESET_HELP: &str = "\
The limits of the jobs themselves apply again at once. A limit in queue.toml applies again when a
process with that file starts.";

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
A value that is not given stays as it was set before, or as the jobs have it. The limit applies at
once in all processes. Running jobs go on, and blocked jobs become ready when there is room.")]
pub(super) struct Set {
    #[command(flatten)]
    name: Name,
    /// How many jobs may run at once; with 0 none starts
    #[arg(long, value_name = "JOBS",
        value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    to: Option<u32>,
    /// How many jobs may start in a period, such as `100/1m` or `5/s`
    #[arg(long, value_name = "STARTS/PERIOD")]
    rate: Option<String>,
    /// How many jobs may start at once after a pause [default: as many as in a period]
    #[arg(long, value_name = "STARTS", requires = "rate")]
    burst: Option<u32>,
}

impl Set {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let name = self.name.full();
        let setting = self.setting()?;
        limits::check(&name, setting).map_err(Failure::usage)?;
        let (mut conn, schema) = Database::open(&global.load()?).await?;
        let set = limits::change(&mut conn, &schema, &name, setting).await?;
        audit(&mut conn, &schema, act("set", format!("limits/{name}"))).await?;
        say_set(&name, &set);
        let mut result = setting_json(&name, &set.now);
        result["beyond"] = set.beyond.into();
        result["unblocked"] = set.unblocked.into();
        global.conclude(&result)
    }

    fn setting(&self) -> Result<LimitSetting, Failure> {
        if self.to.is_none() && self.rate.is_none() {
            return Err(Failure::usage(
                "which limit? Give `--to 5` for jobs at once, `--rate 100/1m` for starts in a period, \
                 or both",
            ));
        }
        let rate = self.rate.as_deref();
        let rate = rate.map(|text| parse_rate(text, self.burst)).transpose();
        Ok(LimitSetting {
            to: self.to,
            rate: rate.map_err(|reason| Failure::usage(format!("--rate: {reason}")))?,
        })
    }
}

fn say_set(name: &str, set: &LimitSet) {
    let words = setting_words(&set.now);
    say(format!("the limit of {name} is now: {words}"));
    if set.beyond > 0 {
        say(format!(
            "{} beyond the new limit: no job of this key starts until enough of them have ended",
            counted(set.beyond, "job runs", "jobs run")
        ));
    }
    if set.unblocked > 0 {
        let jobs = counted(set.unblocked, "blocked job", "blocked jobs");
        say(format!("made {jobs} ready"));
    }
}

pub(super) async fn reset(global: &Global, name: &Name) -> Result<Exit, Failure> {
    let name = name.full();
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    let changed = limits::reset(&mut conn, &schema, &name).await?;
    if changed {
        audit(&mut conn, &schema, act("reset", format!("limits/{name}"))).await?;
    }
    say(match changed {
        true => format!(
            "removed the limit of {name}: the limits of the jobs apply again; one in queue.toml applies when a \
             process with that file starts"
        ),
        false => format!("no limit was set for {name}"),
    });
    global.conclude(&json!({"name": name, "changed": changed}))
}
