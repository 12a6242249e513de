//! What several shards have, as one: numbers add up, and lists are merged.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::failures::FailureGroup;
use super::queues::QueueSummary;
use super::stats::{Endings, KindCount, StateCounts, Stats};

/// What shards have together, and the part of each.
#[derive(Clone, Debug)]
pub struct Merged<N, T> {
    /// All parts, added up.
    pub whole: T,
    /// The shards that have a part, and their parts.
    pub parts: Vec<(N, T)>,
}

/// Adds up the queues of shards by their names. A queue is paused if it is on any shard, since the first of these
/// pauses; the parts say where.
pub fn queues<N: Clone>(
    shards: impl IntoIterator<Item = (N, Vec<QueueSummary>)>,
) -> Vec<Merged<N, QueueSummary>> {
    merge(shards, |queue| queue.name.clone())
}

/// Adds up the failed jobs of shards by their causes, the largest first. The first part of a cause has its newest
/// job, which is its sample.
pub fn failures<N: Clone>(
    shards: impl IntoIterator<Item = (N, Vec<FailureGroup>)>,
) -> Vec<Merged<N, FailureGroup>> {
    let mut causes = merge(shards, |cause| {
        (cause.kind.clone(), cause.fingerprint.clone())
    });
    for cause in &mut causes {
        cause.parts.sort_by_key(|(_, part)| Reverse(part.last_at));
    }
    causes.sort_by_key(|cause| Reverse((cause.whole.count, cause.whole.last_at)));
    causes
}

/// Returns the newest rows of lists of which each begins with its newest row. Of each list it returns the beginning,
/// even if its times are not in order.
pub fn newest<N: Clone, L: IntoIterator, K: Ord>(
    shards: impl IntoIterator<Item = (N, L)>,
    at: impl Fn(&L::Item) -> K,
    limit: usize,
) -> Vec<(N, L::Item)> {
    let lists = shards.into_iter();
    let mut lists: Vec<_> = lists
        .map(|(shard, rows)| (shard, rows.into_iter().peekable()))
        .collect();
    let next = || {
        let ats = lists.iter_mut().map(|(_, rows)| rows.peek().map(&at));
        let (place, _) = ats
            .enumerate()
            .rev()
            .max_by(|(_, one), (_, other)| one.cmp(other))?;
        let (shard, rows) = &mut lists[place];
        Some((shard.clone(), rows.next()?))
    };
    std::iter::from_fn(next).take(limit).collect()
}

/// Adds up the rows of shards that have the same key, in the order of the keys.
pub fn merge<N, T, K>(
    shards: impl IntoIterator<Item = (N, Vec<T>)>,
    key: impl Fn(&T) -> K,
) -> Vec<Merged<N, T>>
where
    N: Clone,
    T: Clone + for<'a> AddAssign<&'a T>,
    K: Ord,
{
    let mut merged: BTreeMap<K, Merged<N, T>> = BTreeMap::new();
    for (shard, rows) in shards {
        for row in rows {
            let same = merged.entry(key(&row));
            let part = (shard.clone(), row.clone());
            same.and_modify(|merged| {
                merged.whole += &row;
                merged.parts.push(part.clone());
            })
            .or_insert_with(|| Merged {
                whole: row,
                parts: vec![part],
            });
        }
    }
    merged.into_values().collect()
}

/// Returns the longer of two times; none if there is neither.
pub fn longest(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

impl AddAssign<&Self> for QueueSummary {
    fn add_assign(&mut self, other: &Self) {
        self.ready += other.ready;
        self.scheduled += other.scheduled;
        self.blocked += other.blocked;
        self.running += other.running;
        self.failed += other.failed;
        self.latency_seconds = longest(self.latency_seconds, other.latency_seconds);
        let since = |queue: &Self| queue.paused_at.map_or((1, None), |at| (0, Some(at)));
        if since(other) < since(self) {
            self.paused_at = other.paused_at;
            self.paused_by.clone_from(&other.paused_by);
            self.paused_why.clone_from(&other.paused_why);
        }
        let sampled = self.sampled_at.into_iter().chain(other.sampled_at);
        self.sampled_at = sampled.min();
        self.at_least |= other.at_least;
    }
}

impl AddAssign<&Self> for FailureGroup {
    fn add_assign(&mut self, other: &Self) {
        self.count += other.count;
        for (jobs, others) in self.by_hour.iter_mut().zip(&other.by_hour) {
            *jobs += others;
        }
        if other.first_at < self.first_at {
            self.first_at = other.first_at;
            self.first_version.clone_from(&other.first_version);
            self.began_with.clone_from(&other.began_with);
        }
        if other.last_at > self.last_at {
            self.last_at = other.last_at;
            self.last_version.clone_from(&other.last_version);
            self.error.clone_from(&other.error);
            self.sample = other.sample;
        }
    }
}

impl AddAssign<&Self> for Stats {
    fn add_assign(&mut self, other: &Self) {
        self.jobs += other.jobs;
        self.oldest_ready_seconds = longest(self.oldest_ready_seconds, other.oldest_ready_seconds);
        self.last_minute += other.last_minute;
        self.last_hour += other.last_hour;
        add_kinds(&mut self.failed_by_kind, &other.failed_by_kind);
        add_kinds(&mut self.errors_by_kind, &other.errors_by_kind);
    }
}

fn add_kinds(kinds: &mut Vec<KindCount>, others: &[KindCount]) {
    for other in others {
        match kinds.iter_mut().find(|kind| kind.kind == other.kind) {
            Some(kind) => kind.count += other.count,
            None => kinds.push(other.clone()),
        }
    }
    kinds.sort_by(|one, other| (other.count, &one.kind).cmp(&(one.count, &other.kind)));
}

impl AddAssign for StateCounts {
    fn add_assign(&mut self, other: Self) {
        self.scheduled += other.scheduled;
        self.ready += other.ready;
        self.blocked += other.blocked;
        self.running += other.running;
        self.failed += other.failed;
        self.finished += other.finished;
    }
}

impl AddAssign for Endings {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.discarded += other.discarded;
        self.cancelled += other.cancelled;
        self.failed += other.failed;
        self.errors += other.errors;
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::inspect::Count;
    use crate::job::JobId;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn queue(name: &str, ready: i64, latency_seconds: Option<f64>) -> QueueSummary {
        QueueSummary {
            name: name.to_owned(),
            ready,
            scheduled: 1,
            blocked: 2,
            running: 3,
            failed: 4,
            latency_seconds,
            paused_at: None,
            paused_by: None,
            paused_why: None,
            sampled_at: None,
            at_least: false,
        }
    }

    #[test]
    fn queues_add_up_and_are_paused_if_any_is() {
        let paused = |seconds| QueueSummary {
            paused_at: Some(at(seconds)),
            paused_by: Some(seconds.to_string()),
            ..queue("mail", 5, Some(7.0))
        };
        let merged = queues([
            (
                "eu",
                vec![queue("mail", 10, Some(3.0)), queue("send", 1, None)],
            ),
            ("us", vec![paused(20)]),
            ("asia", vec![paused(10)]),
        ]);

        let [mail, send] = &merged[..] else {
            panic!("{merged:?}");
        };
        assert_eq!((mail.whole.ready, mail.whole.failed), (20, 12));
        assert_eq!(mail.whole.latency_seconds, Some(7.0));
        assert_eq!(mail.whole.paused_by.as_deref(), Some("10"));
        let parts = mail.parts.iter();
        let parts = parts.map(|(shard, part)| (*shard, part.paused_at.is_some()));
        assert!(parts.eq([("eu", false), ("us", true), ("asia", true)]));
        assert_eq!((send.whole.ready, send.parts.len()), (1, 1));
    }

    #[test]
    fn causes_add_up_and_the_first_part_has_the_sample() {
        let cause = |kind: &str, count, first: i64, last: i64| FailureGroup {
            kind: kind.to_owned(),
            fingerprint: "f".to_owned(),
            error: last.to_string(),
            cause: "no answer".to_owned(),
            count,
            by_hour: vec![0, count],
            first_at: at(first),
            last_at: at(last),
            sample: JobId(last),
            began_with: None,
            first_version: Some(first.to_string()),
            last_version: Some(last.to_string()),
        };
        let merged = failures([
            ("eu", vec![cause("send", 2, 10, 20), cause("pack", 4, 0, 1)]),
            ("us", vec![cause("send", 3, 5, 30)]),
        ]);

        let [send, pack] = &merged[..] else {
            panic!("{merged:?}");
        };
        assert_eq!(
            (send.whole.count, &send.whole.by_hour[..]),
            (5, &[0, 5][..])
        );
        assert_eq!((send.whole.sample, send.parts[0].0), (JobId(30), "us"));
        assert_eq!(send.whole.first_version.as_deref(), Some("5"));
        assert_eq!(send.whole.last_version.as_deref(), Some("30"));
        assert_eq!(pack.whole.count, 4);
    }

    #[test]
    fn the_newest_rows_are_the_beginnings_of_their_lists() {
        let lists = [("eu", vec![9, 2, 8]), ("us", vec![5, 4]), ("asia", vec![])];

        let newest = |limit| newest(lists.clone(), |at| *at, limit);

        assert_eq!(newest(4), [("eu", 9), ("us", 5), ("us", 4), ("eu", 2)]);
        assert_eq!(newest(9).len(), 5);
    }

    #[test]
    fn statistics_add_up() {
        let count = |count, at_least| Count { count, at_least };
        let kind = |kind: &str, count| KindCount {
            kind: kind.to_owned(),
            count,
        };
        let stats = |ready, oldest, kinds| Stats {
            jobs: StateCounts {
                ready,
                ..StateCounts::default()
            },
            oldest_ready_seconds: oldest,
            failed_by_kind: kinds,
            ..Stats::default()
        };
        let mut sum = stats(count(2, false), None, vec![kind("send", 2)]);
        sum += &stats(
            count(3, true),
            Some(4.0),
            vec![kind("pack", 3), kind("send", 2)],
        );

        assert_eq!(sum.jobs.ready, count(5, true));
        assert_eq!(sum.oldest_ready_seconds, Some(4.0));
        assert_eq!(sum.failed_by_kind, [kind("send", 4), kind("pack", 3)]);
    }
}
