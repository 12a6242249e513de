//! `[limits]`: how many jobs of a key, group, queue or kind may run at once, and start in a period.

use queue_core::operations::limits::{LimitSetting, parse_rate};
use serde::Deserialize;

use super::check::Check;

const MAX: u64 = i32::MAX as u64;

/// A limit in the file.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct LimitTable {
    /// How many jobs run at once; 0 lets none start.
    to: Option<u32>,
    /// How many jobs start in a period, as in `"100/1m"`.
    rate: Option<String>,
    /// How many of them may start at once; by default all of them.
    burst: Option<u32>,
}

impl LimitTable {
    /// Returns the limit, and rejects what is invalid in it. `Settings::problems` checks its name.
    pub(super) fn limit(&self, check: &mut Check) -> LimitSetting {
        check.number("to", self.to, 0..=MAX);
        check.number("burst", self.burst, 1..=MAX);
        if self.burst.is_some() && self.rate.is_none() {
            let message = "a burst belongs to a rate, as in { rate = \"100/1m\", burst = 20 }";
            check.refuse("burst", message);
        }
        let burst = self.burst.filter(|burst| *burst > 0);
        let rate = self.rate.as_deref().map(|rate| parse_rate(rate, burst));
        LimitSetting {
            to: self.to,
            rate: rate.and_then(|rate| check.accept("rate", rate)),
        }
    }
}
