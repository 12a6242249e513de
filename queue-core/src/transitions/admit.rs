//! Decides which jobs with limits are claimed, and what happens to the others: a rule without a database.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::types::PgInterval;

use crate::job::JobId;
use crate::limit::Conflict;

/// A job whose turn has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) job_id: JobId,
    /// How often it has run.
    pub(super) attempt: i32,
    /// Its limits, in the order of their keys.
    pub(super) limits: Vec<Asked>,
}

/// What a job asks of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) key: String,
    /// How many jobs of the key may run at once, in the eyes of this job.
    pub(super) slots: Option<i32>,
    pub(super) conflict: Conflict,
    /// Whether jobs of its queue and kind are blocked by the key and have the first right to room.
    pub(super) is_behind: bool,
    /// How long its slot counts at most.
    pub(super) hold: Option<PgInterval>,
    /// The rate of the key: the time between starts, and how many may come at once.
    pub(super) space: Option<PgInterval>,
    pub(super) burst: Option<i32>,
}

/// What is left of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// The slots in use.
    pub(super) used: i32,
    /// The highest number in use.
    pub(super) top: i32,
    /// The smallest free numbers, if some are below the highest in use.
    pub(super) numbers: Option<Vec<i32>>,
    /// How many jobs may start, if the key has a rate.
    pub(super) starts: Option<i32>,
    /// Whether a slot in use has expired.
    pub(super) is_expired: bool,
}

/// What happens to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It takes these, one for each limit.
    Claim(Vec<Take>),
    /// It leaves `ready` because of a key.
    Park(Parking),
    /// It stays where it is: nothing can be decided now.
    Leave,
}

/// What a job takes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Take {
    /// The number of its slot, if the key has slots.
    pub(super) number: Option<i32>,
    /// Its place among the jobs that take something of the key, from 1.
    pub(super) nth: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parking {
    pub(super) key: String,
    /// `blocked`, `discarded` or `cancelled`.
    pub(super) becomes: &'static str,
    /// Whether a later job of the key replaces it.
    pub(super) replaces: bool,
}

/// Decides about jobs in their order, with what is left of their keys and seats for so many.
///
/// A job fits when all its keys have room for it besides the jobs before it that fit. A job that does not
/// fit takes no room from those behind it. It is parked if jobs that are claimed use up one of its keys, or
/// others have the first right to it. A key with room that is left because there are no more seats parks
/// nothing, and neither do the slots of a queue: its jobs wait in their lane.
pub(super) fn admit(
    jobs: &[Waiting],
    rooms: &HashMap<String, Room>,
    mut seats: usize,
) -> Vec<Decision> {
    let mut taken = HashMap::new();
    let mut left_over = HashSet::new();
    let mut verdicts = Vec::with_capacity(jobs.len());
    for job in jobs {
        let verdict = judge(job, rooms, &taken);
        if let Ok(takes) = &verdict {
            let keys = job.limits.iter().map(|limit| &*limit.key);
            taken.extend(keys.clone().zip(takes.iter().map(|take| take.nth)));
            if seats == 0 {
                left_over.extend(keys);
                verdicts.push(Err(Vec::new()));
                continue;
            }
            seats -= 1;
        }
        verdicts.push(verdict);
    }
    let parked: Vec<Option<&Asked>> = verdicts
        .iter()
        .map(|verdict| parks(verdict, &left_over))
        .collect();
    let newest = newest_replacing(jobs, &parked);
    let decide = |((job, verdict), asked)| match (verdict, asked) {
        (Ok(takes), _) => Decision::Claim(takes),
        (Err(_), Some(asked)) => Decision::Park(park(job, asked, rooms, &newest)),
        (Err(_), None) => Decision::Leave,
    };
    jobs.iter().zip(verdicts).zip(parked).map(decide).collect()
}

/// What a job takes if it fits, or else the limits that may park it.
type Verdict<'a> = Result<Vec<Take>, Vec<&'a Asked>>;

/// Decides whether a job fits after those before it, which have taken so much of each key.
fn judge<'a>(
    job: &'a Waiting,
    rooms: &HashMap<String, Room>,
    taken: &HashMap<&str, i32>,
) -> Verdict<'a> {
    let (mut takes, mut stuck, mut fits) = (Vec::new(), Vec::new(), true);
    let empty = Room::default();
    for limit in &job.limits {
        let room = rooms.get(&limit.key).unwrap_or(&empty);
        let nth = 1 + taken.get(&*limit.key).copied().unwrap_or_default();
        let has_slot = limit.slots.is_none_or(|slots| nth <= slots - room.used);
        let has_start = room.starts.is_none_or(|starts| nth <= starts);
        let waits_in_lane = limit.key.starts_with("@queue/");
        fits &= has_slot && has_start && !limit.is_behind;
        if limit.is_behind || !has_start || (!has_slot && !waits_in_lane) {
            stuck.push(limit);
        }
        let number = limit.slots.map(|_| room.number(nth));
        takes.push(Take { number, nth });
    }
    if fits { Ok(takes) } else { Err(stuck) }
}

/// Returns the first limit that parks a job.
fn parks<'a>(verdict: &Verdict<'a>, left_over: &HashSet<&str>) -> Option<&'a Asked> {
    let mut stuck = verdict.as_ref().err()?.iter();
    stuck
        .find(|limit| !left_over.contains(&*limit.key))
        .copied()
}

impl Room {
    /// Returns the number of the slot for the nth job that takes one.
    fn number(&self, nth: i32) -> i32 {
        let listed = self.numbers.as_ref().and_then(|numbers| {
            let index = usize::try_from(nth - 1).ok()?;
            numbers.get(index).copied()
        });
        listed.unwrap_or(self.top + nth)
    }
}

/// Returns the newest job of each key that replaces others, of those that are parked.
fn newest_replacing<'a>(jobs: &[Waiting], parked: &[Option<&'a Asked>]) -> HashMap<&'a str, JobId> {
    let mut newest = HashMap::new();
    for (job, asked) in jobs.iter().zip(parked) {
        if let Some(asked) = asked
            && replaces(job, asked)
        {
            let newest = newest.entry(&*asked.key).or_insert(job.job_id);
            *newest = job.job_id.max(*newest);
        }
    }
    newest
}

/// Returns whether a job replaces those that wait for a key. One that has run before does not.
fn replaces(job: &Waiting, asked: &Asked) -> bool {
    job.attempt == 0 && asked.conflict == Conflict::Replace
}

/// Decides how a job is parked. Of jobs that replace others, the newest stays.
fn park(
    job: &Waiting,
    asked: &Asked,
    rooms: &HashMap<String, Room>,
    newest: &HashMap<&str, JobId>,
) -> Parking {
    let is_held = !rooms.get(&asked.key).is_some_and(|room| room.is_expired);
    let replaces = replaces(job, asked);
    let becomes = if job.attempt == 0 && asked.conflict == Conflict::Discard && is_held {
        "discarded"
    } else if replaces
        && newest
            .get(&*asked.key)
            .is_some_and(|newest| job.job_id < *newest)
    {
        "cancelled"
    } else {
        "blocked"
    };
    Parking {
        key: asked.key.clone(),
        becomes,
        replaces,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job with a limit for each key; `*` after a key marks that others of it are blocked before the job.
    fn job(id: i64, limits: &[(&str, Option<i32>)]) -> Waiting {
        let asked = |(key, slots): &(&str, Option<i32>)| Asked {
            key: key.trim_end_matches('*').to_owned(),
            slots: *slots,
            is_behind: key.ends_with('*'),
            ..Asked::default()
        };
        Waiting {
            job_id: JobId(id),
            attempt: 0,
            limits: limits.iter().map(asked).collect(),
        }
    }

    fn on_conflict(conflict: Conflict, attempt: i32, id: i64) -> Waiting {
        let mut job = job(id, &[("k", Some(1))]);
        job.attempt = attempt;
        job.limits[0].conflict = conflict;
        job
    }

    fn used(used: i32) -> Room {
        Room {
            used,
            top: used,
            ..Room::default()
        }
    }

    fn starts(starts: i32) -> Room {
        Room {
            starts: Some(starts),
            ..Room::default()
        }
    }

    /// Writes decisions as `claim 1 2`, with the numbers of the slots, `blocked by k`, and `leave`.
    fn decide(jobs: &[Waiting], rooms: &[(&str, Room)], seats: usize) -> Vec<String> {
        let named = |(key, room): &(&str, Room)| ((*key).to_owned(), room.clone());
        let rooms = rooms.iter().map(named).collect();
        let write = |decision: &Decision| match decision {
            Decision::Claim(takes) => {
                let number = |take: &Take| take.number.map_or(" -".to_owned(), |n| format!(" {n}"));
                takes
                    .iter()
                    .map(number)
                    .fold("claim".to_owned(), |line, number| line + &number)
            }
            Decision::Park(parking) => format!("{} by {}", parking.becomes, parking.key),
            Decision::Leave => "leave".to_owned(),
        };
        admit(jobs, &rooms, seats).iter().map(write).collect()
    }

    #[test]
    fn jobs_take_the_slots_that_are_left_and_the_others_are_blocked() {
        let jobs = [1, 2, 3].map(|id| job(id, &[("k", Some(2))]));
        let some = ["claim 2", "blocked by k", "blocked by k"];
        assert_eq!(
            decide(&jobs, &[("k", used(0))], 9),
            ["claim 1", "claim 2", "blocked by k"]
        );
        assert_eq!(decide(&jobs, &[("k", used(1))], 9), some);
        assert_eq!(decide(&jobs, &[("k", used(5))], 9), ["blocked by k"; 3]);
    }

    #[test]
    fn free_numbers_below_the_highest_are_used_first() {
        let jobs = [1, 2].map(|id| job(id, &[("k", Some(4))]));
        let room = Room {
            used: 2,
            top: 4,
            numbers: Some(vec![1, 3]),
            ..Room::default()
        };
        assert_eq!(decide(&jobs, &[("k", room)], 9), ["claim 1", "claim 3"]);
    }

    #[test]
    fn a_job_takes_something_of_each_key_or_of_none() {
        let jobs = [
            job(1, &[("a", Some(1)), ("b", Some(1))]),
            job(2, &[("a", Some(1)), ("c", Some(1))]),
            job(3, &[("c", Some(1))]),
            job(4, &[]),
        ];
        let rooms = [("a", used(0)), ("b", used(0)), ("c", used(0))];
        let decided = decide(&jobs, &rooms, 9);
        assert_eq!(decided, ["claim 1 1", "blocked by a", "claim 1", "claim"]);
    }

    #[test]
    fn jobs_of_one_key_may_allow_different_numbers() {
        let jobs = [
            job(1, &[("k", Some(1))]),
            job(2, &[("k", Some(3))]),
            job(3, &[("k", Some(1))]),
        ];
        let decided = decide(&jobs, &[("k", used(1))], 9);
        assert_eq!(decided, ["blocked by k", "claim 2", "blocked by k"]);
    }

    #[test]
    fn a_key_with_a_rate_is_used_up_by_starts() {
        let jobs = [1, 2].map(|id| job(id, &[("k", None)]));
        assert_eq!(
            decide(&jobs, &[("k", starts(1))], 9),
            ["claim -", "blocked by k"]
        );
        assert_eq!(decide(&jobs, &[("k", starts(-2))], 9), ["blocked by k"; 2]);
    }

    #[test]
    fn without_seats_jobs_stay_and_their_keys_park_nothing() {
        let jobs = [1, 2, 3].map(|id| job(id, &[("k", Some(2))]));
        assert_eq!(
            decide(&jobs, &[("k", used(0))], 1),
            ["claim 1", "leave", "leave"]
        );
        assert_eq!(decide(&jobs, &[("k", used(2))], 0), ["blocked by k"; 3]);
    }

    #[test]
    fn jobs_behind_blocked_ones_are_blocked_although_there_is_room() {
        let jobs = [job(1, &[("k*", Some(5))]), job(2, &[("k", Some(5))])];
        assert_eq!(
            decide(&jobs, &[("k", used(0))], 9),
            ["blocked by k", "claim 1"]
        );
    }

    #[test]
    fn the_slots_of_a_queue_park_nothing_and_its_rate_does() {
        let jobs = [job(1, &[("@queue/mail", Some(1))])];
        assert_eq!(decide(&jobs, &[("@queue/mail", used(1))], 9), ["leave"]);
        let decided = decide(&jobs, &[("@queue/mail", starts(0))], 9);
        assert_eq!(decided, ["blocked by @queue/mail"]);
    }

    #[test]
    fn a_first_run_is_discarded_unless_the_slot_has_expired() {
        let jobs = [0, 1].map(|attempt| on_conflict(Conflict::Discard, attempt, 1));
        let decided = decide(&jobs, &[("k", used(1))], 9);
        assert_eq!(decided, ["discarded by k", "blocked by k"]);
        let expired = Room {
            is_expired: true,
            ..used(1)
        };
        assert_eq!(decide(&jobs, &[("k", expired)], 9), ["blocked by k"; 2]);
    }

    #[test]
    fn of_first_runs_that_replace_others_the_newest_is_blocked() {
        let jobs = [
            on_conflict(Conflict::Replace, 0, 1),
            on_conflict(Conflict::Replace, 1, 2),
            on_conflict(Conflict::Replace, 0, 4),
            on_conflict(Conflict::Replace, 0, 3),
        ];
        let decided = decide(&jobs, &[("k", used(1))], 9);
        let expected = [
            "cancelled by k",
            "blocked by k",
            "blocked by k",
            "cancelled by k",
        ];
        assert_eq!(decided, expected);
    }
}
