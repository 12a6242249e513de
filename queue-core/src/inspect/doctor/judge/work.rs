//! Findings about processes, queues and jobs.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::super::work::{Backlog, ClosedLimit, Source, Work};
use super::super::{Finding, Severity};
use super::{error, finding, jobs, warning};
use crate::inspect::ProcessSummary;
use crate::inspect::stats::KindCount;
use crate::inspect::{grouped, spell_duration as spell};

/// How long a job may be ready before it is reported.
const LATE_SECONDS: f64 = 60.0;
/// How many kinds of failed jobs, or overdue recurring jobs, are named.
const NAMED: usize = 5;

pub(in super::super) fn judge(work: &Work) -> Vec<Finding> {
    let (live, dead): (Vec<_>, Vec<_>) = work
        .processes
        .iter()
        .partition(|process| process.silent_seconds <= work.dead_after.as_secs_f64());
    let serving: Vec<&ProcessSummary> = live
        .iter()
        .copied()
        .filter(|process| process.stopping_at.is_none() && !process.is_quiet())
        .collect();
    let mut findings = Vec::new();
    findings.extend(no_process_serves(&live, &serving));
    findings.extend(
        dead.iter()
            .map(|process| dead_process(process, !live.is_empty())),
    );
    findings.extend(orphans(work.orphans));
    findings.extend(paused(&work.backlog));
    findings.extend(work.closed_limits.iter().map(closed_limit));
    findings.extend(unserved(&work.backlog, &serving));
    findings.extend(late(&work.backlog, &serving));
    findings.extend(overdue(work));
    findings.extend(overdue_recurring_jobs(work));
    findings.extend(paused_recurring_jobs(work));
    findings.extend(abandoned_sources(&work.sources, &live));
    findings.extend(work.undecodable.iter().map(undecodable));
    findings.extend(failed(work));
    findings
}

fn no_process_serves(live: &[&ProcessSummary], serving: &[&ProcessSummary]) -> Option<Finding> {
    if live.is_empty() {
        return Some(error(
            "no_live_process",
            "no process is alive".to_owned(),
            "no job runs, and scheduled jobs do not become ready",
            "start one with `queue start`, or with your application's own program",
        ));
    }
    serving.is_empty().then(|| {
        error(
            "all_stopping",
            "every live process is stopping or quiet".to_owned(),
            "no further job is started",
            "resume a quiet one with `queue processes resume`, or start another with `queue start`, or with your application's own program",
        )
    })
}

fn dead_process(process: &ProcessSummary, others_live: bool) -> Finding {
    let ProcessSummary {
        name, host, pid, ..
    } = process;
    let (severity, next) = if others_live {
        let next = "wait: another process recovers its jobs with its next heartbeat";
        (Severity::Warning, next)
    } else {
        (Severity::Error, "start a process: it recovers these jobs")
    };
    let (age, jobs) = (spell(process.silent_seconds), jobs(process.running));
    finding(
        severity,
        "dead_process",
        format!("process {name} (pid {pid} on {host}) has been silent for {age} and holds {jobs}"),
        "its jobs wait until another process recovers them",
        next,
    )
}

fn orphans(count: i64) -> Option<Finding> {
    let jobs = jobs_that(count, "is", "are");
    (count > 0).then(|| {
        error(
            "orphaned_jobs",
            format!("{jobs} claimed by processes that are gone"),
            "they wait until a process recovers them",
            "if this does not pass within seconds, start a process",
        )
    })
}

fn paused(backlog: &[Backlog]) -> Vec<Finding> {
    by_queue(backlog.iter().filter(|each| each.paused.is_some()))
        .into_iter()
        .map(|(queue, waiting)| {
            let paused = backlog.iter().find(|each| each.queue == queue);
            let by_and_why = paused.and_then(|each| each.paused.as_deref());
            warning(
                "paused_queue",
                format!(
                    "queue {queue} is paused with {} ready{}",
                    waiting.jobs(),
                    by_and_why.unwrap_or_default()
                ),
                "none of them starts until it is resumed",
                format!("run `queue queues resume {queue}` when they may run"),
            )
        })
        .collect()
}

fn closed_limit(limit: &ClosedLimit) -> Finding {
    let ClosedLimit { name, waiting } = limit;
    let more = if waiting.at_least { "more than " } else { "" };
    let jobs = jobs(i64::try_from(waiting.count).unwrap_or(i64::MAX));
    warning(
        "closed_limit",
        format!("the limit of {name} is 0, with {more}{jobs} waiting"),
        "none of them starts until it is raised",
        format!(
            "run `queue limits set {name} --to N` or `queue limits reset {name}` when they may run"
        ),
    )
}

/// Finds ready jobs that no live process would claim. Finds nothing when no process serves any queue,
/// which is a finding of its own.
fn unserved(backlog: &[Backlog], serving: &[&ProcessSummary]) -> Vec<Finding> {
    if serving.is_empty() {
        return Vec::new();
    }
    let waiting = || backlog.iter().filter(|each| each.paused.is_none());
    let is_served = |queue: &str| serving.iter().any(|process| serves(process, queue));
    let mut findings: Vec<Finding> = by_queue(waiting().filter(|each| !is_served(&each.queue)))
        .into_iter()
        .map(|(queue, waiting)| queue_not_served(queue, waiting))
        .collect();
    findings.extend(
        waiting()
            .filter(|each| is_served(&each.queue) && !is_runnable(each, serving))
            .map(|each| kind_not_served(each, serving)),
    );
    findings
}

fn queue_not_served(queue: &str, waiting: Waiting) -> Finding {
    let what = waiting.jobs_wait();
    let oldest = spell(waiting.oldest_seconds);
    error(
        "queue_not_served",
        format!("no live process serves queue {queue}, where {what} for {oldest}"),
        "none of them starts",
        format!(
            "add {queue} to the queues of a process: `--queues`, `QUEUE_QUEUES`, or `queues` in \
             queue.toml, which a process inside an application reads with `Settings::load()`"
        ),
    )
}

fn kind_not_served(waiting: &Backlog, serving: &[&ProcessSummary]) -> Finding {
    let Backlog { kind, queue, .. } = waiting;
    let known_elsewhere = serving.iter().any(|process| knows(process, kind));
    let what = Waiting::of(waiting).jobs_wait();
    let oldest = spell(waiting.oldest_seconds);
    if known_elsewhere {
        return error(
            "kind_not_served",
            format!("kind {kind}: {what} in queue {queue} for {oldest}"),
            "the processes that know the kind do not serve the queue",
            format!("let a process that knows {kind} serve {queue} too"),
        );
    }
    error(
        "unknown_kind",
        format!("no live process knows kind {kind}: {what} in queue {queue} for {oldest}"),
        "none of them starts",
        format!(
            "start a program in which {kind} is registered, or give it a handler in queue.toml; \
             if the kind was removed: `queue jobs discard --kind {kind}`"
        ),
    )
}

fn late(backlog: &[Backlog], serving: &[&ProcessSummary]) -> Vec<Finding> {
    let running: i64 = serving.iter().map(|process| process.running).sum();
    let late = backlog.iter().filter(|each| {
        each.paused.is_none() && each.oldest_seconds > LATE_SECONDS && is_runnable(each, serving)
    });
    by_queue(late)
        .into_iter()
        .map(|(queue, waiting)| {
            let what = waiting.jobs_wait();
            let oldest = spell(waiting.oldest_seconds);
            warning(
                "late_jobs",
                format!("{what} in queue {queue}, the first for {oldest}"),
                "jobs arrive faster than they run, or other queues and priorities come first",
                format!(
                    "add concurrency or processes ({running} running in {} now); `queue stats` \
                     shows how fast they go",
                    processes(serving.len())
                ),
            )
        })
        .collect()
}

fn overdue(work: &Work) -> Option<Finding> {
    let (overdue, oldest) = (work.overdue, spell(work.overdue_seconds));
    (overdue.count > 0).then(|| {
        error(
            "overdue_jobs",
            format!("jobs that are due but still scheduled: {overdue}, the first for {oldest}"),
            "no dispatcher moves them to ready",
            "start a process with its dispatcher on (`dispatcher.enabled = true`, the default)",
        )
    })
}

fn overdue_recurring_jobs(work: &Work) -> Option<Finding> {
    let overdue = &work.overdue_recurring_jobs;
    let oldest = spell(overdue.first()?.overdue_seconds);
    let names = some_of(overdue.iter().map(|each| each.name.clone()));
    Some(error(
        "overdue_recurring_jobs",
        format!("recurring jobs that are due but not enqueued: {names}, the first for {oldest}"),
        "no scheduler enqueues them",
        "start a process with its scheduler on (`scheduler.enabled = true`, the default); if one \
         runs, its log names the recurring jobs that it does not understand",
    ))
}

fn paused_recurring_jobs(work: &Work) -> Option<Finding> {
    let paused = &work.paused_recurring_jobs;
    let names = some_of(paused.iter().cloned());
    (!paused.is_empty()).then(|| {
        warning(
            "paused_recurring_jobs",
            format!("recurring jobs that are paused: {names}"),
            "they are not enqueued until they are resumed",
            "run `queue recurring resume NAME` when they may be enqueued",
        )
    })
}

/// Finds sources that no live process declares. Finds nothing when no process is alive, which is a finding of
/// its own.
fn abandoned_sources(sources: &[Source], live: &[&ProcessSummary]) -> Vec<Finding> {
    let declares = |process: &ProcessSummary, source: &Source| {
        let declared = process.details.get("source");
        declared.is_none_or(|declared| *declared == source.name)
    };
    let abandoned = sources
        .iter()
        .filter(|source| !live.is_empty() && !live.iter().any(|process| declares(process, source)));
    abandoned
        .map(|Source { name, count }| {
            warning(
                "abandoned_source",
                format!("no live process is of the source {name}, which declared {count} recurring jobs"),
                "they are still enqueued, although perhaps no program declares them any more",
                format!(
                    "start a program of that source; if there is none, see `queue recurring` and run \
                     `queue recurring remove NAME` for those of {name}"
                ),
            )
        })
        .collect()
}

fn undecodable(kind: &KindCount) -> Finding {
    let KindCount { kind, count } = kind;
    warning(
        "undecodable_kind",
        format!(
            "in the last hour, the arguments of {} of kind {kind} could not be read",
            jobs(*count)
        ),
        "each try costs an attempt, and the last one fails the job",
        "see the error with `queue jobs show`: run a version of the program that can read them \
         (docs/guides/changing-a-job.md), or add the missing key to QUEUE_ENCRYPTION_KEYS, then `queue jobs retry` \
         those that have failed",
    )
}

fn failed(work: &Work) -> Option<Finding> {
    let count: i64 = work.failed.iter().map(|kind| kind.count).sum();
    let kinds = work.failed.iter();
    let kinds =
        some_of(kinds.map(|kind| format!("{} {}", grouped(kind.count.unsigned_abs()), kind.kind)));
    (count > 0).then(|| {
        warning(
            "failed_jobs",
            format!("{} failed: {kinds}", jobs_that(count, "has", "have")),
            "they wait until an operator retries or discards them",
            "see `queue jobs list --state failed` and `queue jobs show ID`, then `queue jobs \
             retry` or `queue jobs discard`",
        )
    })
}

/// Lists the first few of some names.
fn some_of(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = if names.len() > NAMED { ", …" } else { "" };
    let named: Vec<String> = names.take(NAMED).collect();
    format!("{}{more}", named.join(", "))
}

fn is_runnable(waiting: &Backlog, serving: &[&ProcessSummary]) -> bool {
    serving
        .iter()
        .any(|process| serves(process, &waiting.queue) && knows(process, &waiting.kind))
}

/// Returns whether a process serves a queue. A process without a list of queues counts as serving all, to
/// avoid false alarms. Each of its workers has a list, separated by commas.
fn serves(process: &ProcessSummary, queue: &str) -> bool {
    details(process, "queues").is_none_or(|lists| {
        lists
            .iter()
            .filter_map(|list| list.as_str())
            .flat_map(|list| list.split(','))
            .any(|pattern| matches(pattern.trim(), queue))
    })
}

fn matches(pattern: &str, queue: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => queue.starts_with(prefix),
        None => queue == pattern,
    }
}

fn knows(process: &ProcessSummary, kind: &str) -> bool {
    details(process, "kinds").is_none_or(|kinds| kinds.iter().any(|known| known == kind))
}

fn details<'a>(process: &'a ProcessSummary, key: &str) -> Option<&'a Vec<serde_json::Value>> {
    process.details.get(key)?.as_array()
}

#[derive(Clone, Copy, Default)]
struct Waiting {
    ready: i64,
    at_least: bool,
    oldest_seconds: f64,
}

impl Waiting {
    fn of(each: &Backlog) -> Self {
        Self {
            ready: each.ready,
            at_least: each.at_least,
            oldest_seconds: each.oldest_seconds,
        }
    }

    fn jobs(self) -> String {
        format!("{}{}", self.at_least(), jobs(self.ready))
    }

    fn jobs_wait(self) -> String {
        let wait = jobs_that(self.ready, "waits", "wait");
        format!("{}{wait}", self.at_least())
    }

    fn at_least(self) -> &'static str {
        if self.at_least { "at least " } else { "" }
    }
}

fn by_queue<'a>(backlog: impl Iterator<Item = &'a Backlog>) -> BTreeMap<&'a str, Waiting> {
    let mut queues: BTreeMap<&str, Waiting> = BTreeMap::new();
    for each in backlog {
        let waiting = queues.entry(&each.queue).or_default();
        waiting.ready += each.ready;
        waiting.at_least |= each.at_least;
        waiting.oldest_seconds = waiting.oldest_seconds.max(each.oldest_seconds);
    }
    queues
}

/// Returns `1 job is` or `2 jobs are`, given both verbs.
fn jobs_that(count: i64, one: &str, many: &str) -> String {
    format!("{} {}", jobs(count), if count == 1 { one } else { many })
}

fn processes(count: usize) -> String {
    match count {
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    }
}
