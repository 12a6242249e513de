//! Decides which due times become jobs. Pure: the plan and the database's clock are arguments.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use super::Missed;
use crate::schedule::Schedule;

/// How long after its due time a job is on time. A due time that is decided later was missed.
pub const GRACE: TimeDelta = TimeDelta::seconds(60);

/// The decisions about the due times until now, oldest first, and the next due time.
#[derive(Debug, PartialEq)]
pub(super) struct Decisions {
    pub(super) decisions: Vec<Decision>,
    pub(super) next_at: Option<DateTime<Utc>>,
}

/// The decision about one due time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) due_at: DateTime<Utc>,
    /// Set if the decision covers all due times from this one on.
    pub(super) since: Option<DateTime<Utc>>,
    /// Whether a job is enqueued; otherwise the due time was missed.
    pub(super) enqueue: bool,
}

impl Decisions {
    /// Keeps the decisions for up to `jobs_max` jobs. The first due time beyond them becomes the next
    /// one.
    pub(super) fn at_most(mut self, jobs_max: usize) -> Self {
        let decisions = self.decisions.iter().enumerate();
        let mut jobs = decisions.filter(|(_, each)| each.enqueue);
        if let Some((place, too_many)) = jobs.nth(jobs_max) {
            self.next_at = Some(too_many.due_at);
            self.decisions.truncate(place);
        }
        self
    }
}

/// Decides about all due times from `first`, the plan, until `now`.
///
/// The policy decides about the `missed_max` newest missed due times one by one. All older ones
/// share one decision, so that catching up after years takes little time.
pub(super) fn decide(
    schedule: &Schedule,
    first: DateTime<Utc>,
    now: DateTime<Utc>,
    policy: Missed,
    missed_max: usize,
) -> Decisions {
    let on_time_from = now - GRACE;
    let on_time: Vec<_> = due_from(schedule, first, on_time_from)
        .take_while(|due_at| *due_at <= now)
        .collect();
    let (last_older, missed) = newest(schedule, first, on_time_from, missed_max);
    let older = last_older.map(|last| Decision {
        due_at: last,
        since: Some(first),
        enqueue: false,
    });
    // The policy makes up for the newest.
    let made_up = match policy {
        Missed::Skip => 0,
        Missed::Once => usize::from(on_time.is_empty()).min(missed.len()),
        Missed::All => missed.len(),
    };
    let passed_over = missed.len() - made_up;
    let missed = missed.into_iter().enumerate();
    let missed = missed.map(|(place, due_at)| decision(due_at, place >= passed_over));
    let on_time = on_time.into_iter().map(|due_at| decision(due_at, true));
    Decisions {
        decisions: older.into_iter().chain(missed).chain(on_time).collect(),
        next_at: schedule.next_after(now),
    }
}

fn decision(due_at: DateTime<Utc>, enqueue: bool) -> Decision {
    Decision {
        due_at,
        since: None,
        enqueue,
    }
}

/// Returns the `max` newest due times from `first` on and before `end`, oldest first, and the one
/// before them, if there is one.
///
/// Looks back further and further instead of stepping from `first`, which can take millions of
/// steps.
fn newest(
    schedule: &Schedule,
    first: DateTime<Utc>,
    end: DateTime<Utc>,
    max: usize,
) -> (Option<DateTime<Utc>>, Vec<DateTime<Utc>>) {
    let mut back = TimeDelta::hours(1);
    loop {
        let from = first.max(end - back);
        let mut times = VecDeque::new();
        for due_at in due_from(schedule, first, from).take_while(|due_at| *due_at < end) {
            if times.len() > max {
                times.pop_front();
            }
            times.push_back(due_at);
        }
        if times.len() > max {
            return (times.pop_front(), times.into());
        }
        if from == first {
            return (None, times.into());
        }
        back = back * 2;
    }
}

/// Returns the due times at or after `from`. `first` is one even if the schedule has no such time,
/// because it was planned.
fn due_from(
    schedule: &Schedule,
    first: DateTime<Utc>,
    from: DateTime<Utc>,
) -> impl Iterator<Item = DateTime<Utc>> {
    let planned = (first >= from).then_some(first);
    let after = planned.unwrap_or(from - TimeDelta::microseconds(1));
    planned.into_iter().chain(schedule.upcoming(after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Tz;

    fn at(time: &str) -> DateTime<Utc> {
        format!("2030-06-01T{time}Z").parse().unwrap()
    }

    fn decided(text: &str, first: &str, now: &str, policy: Missed, max: usize) -> Decisions {
        let schedule = Schedule::parse(text, Tz::UTC).unwrap();
        decide(&schedule, at(first), at(now), policy, max)
    }

    /// Writes decisions as `09:00:00-` for what is missed, `09:05:00+` for what is enqueued, and
    /// `08:00:00..09:00:00-` for what is missed together.
    fn spelled(decisions: &Decisions) -> String {
        let time = |time: DateTime<Utc>| time.format("%H:%M:%S").to_string();
        let decisions: Vec<String> = decisions
            .decisions
            .iter()
            .map(|decision| {
                let sign = if decision.enqueue { '+' } else { '-' };
                let since = decision.since.map(|since| format!("{}..", time(since)));
                format!(
                    "{}{}{sign}",
                    since.unwrap_or_default(),
                    time(decision.due_at)
                )
            })
            .collect();
        decisions.join(" ")
    }

    #[test]
    fn the_policy_applies_to_missed_due_times_only() {
        let every_hour = "0 * * * *";
        for (now, policy, max, expected) in [
            ("08:00:00", Missed::Skip, 9, "08:00:00+"),
            ("08:01:00", Missed::Skip, 9, "08:00:00+"),
            ("08:01:01", Missed::Skip, 9, "08:00:00-"),
            ("08:01:01", Missed::Once, 9, "08:00:00+"),
            ("08:01:01", Missed::All, 9, "08:00:00+"),
            ("10:30:00", Missed::Skip, 9, "08:00:00- 09:00:00- 10:00:00-"),
            ("10:30:00", Missed::Once, 9, "08:00:00- 09:00:00- 10:00:00+"),
            ("10:30:00", Missed::All, 9, "08:00:00+ 09:00:00+ 10:00:00+"),
            ("10:00:30", Missed::Skip, 9, "08:00:00- 09:00:00- 10:00:00+"),
            ("10:00:30", Missed::Once, 9, "08:00:00- 09:00:00- 10:00:00+"),
            ("10:00:30", Missed::All, 9, "08:00:00+ 09:00:00+ 10:00:00+"),
            (
                "10:30:00",
                Missed::All,
                2,
                "08:00:00..08:00:00- 09:00:00+ 10:00:00+",
            ),
            (
                "11:30:00",
                Missed::Once,
                2,
                "08:00:00..09:00:00- 10:00:00- 11:00:00+",
            ),
            ("11:30:00", Missed::Skip, 1, "08:00:00..10:00:00- 11:00:00-"),
        ] {
            let decided = decided(every_hour, "08:00:00", now, policy, max);
            assert_eq!(spelled(&decided), expected, "{now} {policy:?} {max}");
        }
    }

    #[test]
    fn the_next_due_time_is_the_first_after_now() {
        for (now, next) in [("08:00:00", "09:00:00"), ("10:59:59", "11:00:00")] {
            let decided = decided("0 * * * *", "08:00:00", now, Missed::Once, 9);
            assert_eq!(decided.next_at, Some(at(next)));
        }
    }

    #[test]
    fn at_most_as_many_jobs_are_enqueued_as_allowed() {
        let cut = |max| {
            let decided = decided("0 * * * *", "08:00:00", "12:30:00", Missed::All, 4);
            let decided = decided.at_most(max);
            (spelled(&decided), decided.next_at)
        };
        let missed = "08:00:00..08:00:00-";

        assert_eq!(
            cut(2),
            (
                format!("{missed} 09:00:00+ 10:00:00+"),
                Some(at("11:00:00"))
            )
        );
        let all = format!("{missed} 09:00:00+ 10:00:00+ 11:00:00+ 12:00:00+");
        assert_eq!(cut(4), (all, Some(at("13:00:00"))));
    }

    #[test]
    fn a_short_pause_of_a_frequent_schedule_loses_no_due_time() {
        let decided = decided("* * * * * *", "08:00:00", "08:00:03", Missed::Skip, 9);
        assert_eq!(spelled(&decided), "08:00:00+ 08:00:01+ 08:00:02+ 08:00:03+");
    }

    #[test]
    fn the_planned_time_is_due_even_if_the_schedule_has_changed() {
        let decided = decided("0 * * * *", "07:30:00", "08:00:00", Missed::All, 9);
        assert_eq!(spelled(&decided), "07:30:00+ 08:00:00+");
    }

    #[test]
    fn years_of_missed_seconds_take_a_few_decisions() {
        let schedule = Schedule::parse("* * * * * *", Tz::UTC).unwrap();
        let first = at("08:00:00") - TimeDelta::days(3_650);
        let now = at("08:00:00") + TimeDelta::minutes(2);

        let decided = decide(&schedule, first, now, Missed::Skip, 5);

        let older = decided.decisions[0];
        assert_eq!(older.since, Some(first));
        assert_eq!(older.due_at, at("08:00:54"));
        let times: Vec<_> = decided.decisions[1..]
            .iter()
            .map(|each| each.due_at)
            .collect();
        assert_eq!(times.first(), Some(&at("08:00:55")));
        assert_eq!(times.len(), 5 + 61);
    }
}
