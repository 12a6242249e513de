//! Limits in words.

use queue_core::inspect::spell_duration;
use queue_core::operations::limits::LimitSetting;
use serde_json::{Value, json};

use crate::cli::output::{counted, grouped};

/// The periods in which a rate is written, with their seconds.
const PERIODS: [(&str, f64); 4] = [
    ("second", 1.0),
    ("minute", 60.0),
    ("hour", 3_600.0),
    ("day", 86_400.0),
];

/// The precision of the time between two starts, which is stored in whole microseconds.
const CUT_SECONDS: f64 = 1.1e-6;

/// Returns the JSON of a limit as it is set.
pub(in crate::cli) fn setting_json(name: &str, limit: &LimitSetting) -> Value {
    let space_seconds = limit.rate.map(|rate| rate.space().as_secs_f64());
    let burst = limit.rate.map(|rate| rate.burst);
    json!({"name": name, "to": limit.to, "space_seconds": space_seconds, "burst": burst})
}

/// Writes a limit as it is set.
pub(in crate::cli) fn setting_words(limit: &LimitSetting) -> String {
    let space_seconds = limit.rate.map(|rate| rate.space().as_secs_f64());
    limit_words(limit.to, space_seconds, limit.rate.map(|rate| rate.burst))
}

/// Writes how many jobs may run at once, and start in a period: `2 at once; 10 starts per second,
/// bursts of 20`, or `-` without a limit.
pub(in crate::cli) fn limit_words(
    to: Option<u32>,
    space_seconds: Option<f64>,
    burst: Option<u32>,
) -> String {
    let at_once = to.map(|to| match to {
        0 => "closed (0)".to_owned(),
        to => format!("{} at once", grouped(to.into())),
    });
    let rate = space_seconds
        .zip(burst)
        .map(|(space, burst)| rate_words(space, burst));
    let parts: Vec<String> = at_once.into_iter().chain(rate).collect();
    match parts.is_empty() {
        true => "-".to_owned(),
        false => parts.join("; "),
    }
}

fn rate_words(space: f64, burst: u32) -> String {
    let bursts = match burst {
        1 => "one by one".to_owned(),
        burst => format!("bursts of {}", grouped(burst.into())),
    };
    let whole = PERIODS.iter().find_map(|(period, seconds)| {
        let starts = (seconds / space).round();
        let is_whole = starts >= 1.0 && (seconds / starts - space).abs() < CUT_SECONDS;
        is_whole.then(|| format!("{} per {period}", counted(starts as u64, "start", "starts")))
    });
    let rate = whole.unwrap_or_else(|| format!("1 start every {}", spell_duration(space)));
    format!("{rate}, {bursts}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use queue_core::operations::limits::parse_rate;

    use super::*;

    #[test]
    fn a_rate_is_written_per_the_period_it_was_given_in() {
        for (rate, words) in [
            ("10/1s", "10 starts per second, bursts of 10"),
            ("7/s", "7 starts per second, bursts of 7"),
            ("100/1m", "100 starts per minute, bursts of 100"),
            ("1/1h", "1 start per hour, one by one"),
            ("5/d", "5 starts per day, bursts of 5"),
            ("1/7s", "1 start every 7s, one by one"),
            (
                "3000000/1m",
                "50,000 starts per second, bursts of 3,000,000",
            ),
        ] {
            let rate = parse_rate(rate, None).unwrap();
            let kept = Duration::from_micros(rate.space().as_micros() as u64);
            assert_eq!(
                limit_words(None, Some(kept.as_secs_f64()), Some(rate.burst)),
                words
            );
        }
    }

    #[test]
    fn missing_limits_are_left_out() {
        assert_eq!(limit_words(None, None, None), "-");
        assert_eq!(limit_words(Some(1_200), None, None), "1,200 at once");
        assert_eq!(
            limit_words(Some(0), Some(0.1), Some(20)),
            "closed (0); 10 starts per second, bursts of 20"
        );
    }
}
