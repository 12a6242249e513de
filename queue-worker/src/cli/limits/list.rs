//! `queue limits list`

use clap::Args;
use queue_core::inspect::{LimitSummary, limits};

use super::words::limit_words;
use crate::cli::ids::of_shard;
use crate::cli::output::{Column, count, grouped, relative, say, since};
use crate::cli::{Database, Exit, Failure, Global};

const COUNT: u32 = 50;
/// How many holders are listed; `queue jobs show` of a blocked job lists more.
const HOLDERS_NAMED: usize = 3;

#[derive(Clone, Debug, Args)]
pub(super) struct List {
    /// Only keys after this one, such as the last one of the previous page
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// The maximum number of keys
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = COUNT,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
}

/// The list without any flags.
pub(super) const FIRST_PAGE: List = List {
    after: None,
    count: COUNT,
};

impl List {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let (mut conn, schema) = Database::open(&global.load()?).await?;
        let after = self.after.unwrap_or_default();
        let found = limits::list(&mut conn, &schema, &after, self.count).await?;
        let empty = match after.is_empty() {
            true => "no limit is set or in use: `queue limits set NAME` sets one",
            false => "there are no further keys",
        };
        global.print_list(&found, empty, &COLUMNS)?;
        if let (false, Some(last)) = (global.json, found.last())
            && found.len() == self.count as usize
        {
            say(format!("there may be more: add --after '{}'", last.key));
        }
        Ok(Exit::Fine)
    }
}

const COLUMNS: [Column<'_, LimitSummary>; 7] = [
    ("KEY", &|limit| limit.key.clone()),
    ("LIMIT", &words),
    ("SET BY", &|limit| limit.set_by.clone()),
    ("#IN USE", &|limit| grouped(limit.in_use.unsigned_abs())),
    ("#WAITING", &|limit| count(limit.waiting)),
    ("SINCE", &|limit| since(limit.waiting_since)),
    ("HELD BY", &holders),
];

fn words(limit: &LimitSummary) -> String {
    limit_words(limit.to, limit.space_seconds, limit.burst)
}

/// Lists the jobs that hold slots, and when the next one may start if jobs wait for that.
fn holders(limit: &LimitSummary) -> String {
    let ids = limit.holders.iter().take(HOLDERS_NAMED);
    let mut words: Vec<String> = ids.map(of_shard).collect();
    if limit.in_use.unsigned_abs() > words.len() as u64 {
        words.push("…".to_owned());
    }
    if let Some(next) = limit.next_start_at {
        words.push(format!("next start {}", relative(next)));
    }
    words.join(", ")
}
