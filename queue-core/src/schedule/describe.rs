//! Schedules in plain words.

use chrono_tz::Tz;

use super::{Plan, period};

pub(super) fn describe(plan: &Plan, zone: Tz) -> String {
    match plan {
        Plan::Interval(period) => format!(
            "every {}, counted from 1970-01-01 00:00 UTC",
            period::describe(*period)
        ),
        Plan::Calendar(lines) => format!("{} lines of crontab ({zone})", lines.len()),
    }
}
