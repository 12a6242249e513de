//! `queue limits set` and `reset`

use clap::Args;
use queue_core::operations::limits::{self, LimitSet, LimitSetting, parse_rate};
use serde_json::json;

use super::Name;
use super::words::{setting_json, setting_words};
use crate::cli::output::{counted, say};
use crate::cli::{Database, Exit, Failure, Global};

pub(super) const RESET_HELP: &str = "\
What the jobs bring with them holds again at once. What queue.toml says holds again when a process
with it starts.";

#[derive(Debug, Args)]
#[command(after_help = "\
What is not given stays as it was set before; without that, it is as the jobs say. It holds at once,
in all processes. Jobs that run are left alone, and those that wait go on when there is room.")]
pub(super) struct Set {
    #[command(flatten)]
    name: Name,
    /// How many may run at once; 0 lets none start
    #[arg(long, value_name = "JOBS",
        value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    to: Option<u32>,
    /// How many may start in a period, such as `100/1m` or `5/s`
    #[arg(long, value_name = "STARTS/PERIOD")]
    rate: Option<String>,
    /// How many may start at once after a pause; as many as start in a period, unless given
    #[arg(long, value_name = "STARTS", requires = "rate")]
    burst: Option<u32>,
}

impl Set {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let name = self.name.full();
        let setting = self.setting()?;
        limits::check(&name, setting).map_err(|invalid| Failure::usage(invalid.to_string()))?;
        let (mut conn, schema) = Database::open(global).await?;
        let set = limits::change(&mut conn, &schema, &name, setting).await?;
        say_set(&name, &set);
        let mut result = setting_json(&name, &set.now);
        result["beyond"] = set.beyond.into();
        result["unblocked"] = set.unblocked.into();
        global.conclude(&result)
    }

    fn setting(&self) -> Result<LimitSetting, Failure> {
        if self.to.is_none() && self.rate.is_none() {
            return Err(Failure::usage(
                "which limit? Say how many at once (`--to 5`), at which rate (`--rate 100/1m`), or \
                 both",
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
            "{} beyond the new limit: they drain, and nothing of this key starts until then",
            counted(set.beyond, "job runs", "jobs run")
        ));
    }
    if set.unblocked > 0 {
        let jobs = counted(set.unblocked, "blocked job", "blocked jobs");
        say(format!("let {jobs} go on"));
    }
}

pub(super) async fn reset(global: &Global, name: &Name) -> Result<Exit, Failure> {
    let name = name.full();
    let (mut conn, schema) = Database::open(global).await?;
    let changed = limits::reset(&mut conn, &schema, &name).await?;
    say(match changed {
        true => format!("reset the limit of {name}: what the jobs say holds again"),
        false => format!("no limit was set for {name}"),
    });
    global.conclude(&json!({"name": name, "changed": changed}))
}
