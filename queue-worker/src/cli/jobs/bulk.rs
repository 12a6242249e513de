//! Changing many jobs: batch by batch, and afterwards saying what was not changed and why.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::ProgressBar;
use queue_core::inspect::{Count, JobFilter, JobSummary, jobs};
use queue_core::{JobId, Schema};
use serde::Serialize;
use sqlx::PgConnection;

use super::verbs::Verb;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{counted, print_json, say};
use crate::cli::progress;

const BATCH: u32 = 1_000;
/// The ids that are named for each reason; more would hide the reasons.
const NAMED_MAX: usize = 10;
const UNKNOWN: &str = "there is no such job (any more)";

/// What became of the jobs that were to be changed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Jobs that were changed.
    changed: u64,
    /// Running jobs that were asked to stop.
    asked_to_stop: u64,
    /// Jobs that were not changed, by reason.
    unchanged: Vec<Unchanged>,
}

#[derive(Debug, Serialize)]
struct Unchanged {
    reason: String,
    jobs: usize,
    /// The first of them.
    ids: Vec<JobId>,
}

/// Changes the jobs that are named.
pub(super) async fn change_named(
    conn: &mut PgConnection,
    schema: &Schema,
    verb: Verb,
    ids: &[JobId],
) -> Result<Report, Failure> {
    let named: BTreeSet<JobId> = ids.iter().copied().collect();
    let named: Vec<JobId> = named.into_iter().collect();
    let mut change = Change::new(verb, progress::bar(named.len() as u64));
    for batch in named.chunks(BATCH as usize) {
        let found = find(conn, schema, batch).await?;
        change.reject_unfit(batch, &found);
        let fit = change.fit(&found);
        change.apply(conn, schema, &fit).await?;
    }
    Ok(change.report())
}

/// Changes the jobs that the filter finds, going down from the newest.
pub(super) async fn change_matching(
    conn: &mut PgConnection,
    schema: &Schema,
    verb: Verb,
    filter: &JobFilter,
    count: Count,
) -> Result<Report, Failure> {
    let mut change = Change::new(verb, progress::bar(count.count));
    let mut below = None;
    loop {
        let batch = jobs::ids(conn, schema, filter, below, BATCH).await?;
        let Some(last) = batch.last() else {
            return Ok(change.report());
        };
        below = Some(*last);
        change.apply(conn, schema, &batch).await?;
    }
}

async fn find(
    conn: &mut PgConnection,
    schema: &Schema,
    ids: &[JobId],
) -> Result<Vec<JobSummary>, Failure> {
    let named = JobFilter {
        ids: Some(ids.to_vec()),
        ..JobFilter::default()
    };
    Ok(jobs::list(conn, schema, &named, None, BATCH).await?)
}

struct Change {
    verb: Verb,
    bar: ProgressBar,
    changed: u64,
    asked_to_stop: u64,
    unchanged: BTreeMap<String, Vec<JobId>>,
}

impl Change {
    fn new(verb: Verb, bar: ProgressBar) -> Self {
        Self {
            verb,
            bar,
            changed: 0,
            asked_to_stop: 0,
            unchanged: BTreeMap::new(),
        }
    }

    /// Sets aside what does not exist, and what the verb does not apply to.
    fn reject_unfit(&mut self, named: &[JobId], found: &[JobSummary]) {
        let known: BTreeSet<JobId> = found.iter().map(|job| job.id).collect();
        for id in named.iter().filter(|id| !known.contains(id)) {
            self.leave(UNKNOWN, *id);
        }
        let verb = self.verb;
        for job in found.iter().filter(|job| !verb.applies_to(job)) {
            self.leave(&verb.refusal(job), job.id);
        }
    }

    fn fit(&self, found: &[JobSummary]) -> Vec<JobId> {
        let fit = found.iter().filter(|job| self.verb.applies_to(job));
        fit.map(|job| job.id).collect()
    }

    async fn apply(
        &mut self,
        conn: &mut PgConnection,
        schema: &Schema,
        jobs: &[JobId],
    ) -> Result<(), Failure> {
        let applied = self.verb.apply(conn, schema, jobs).await?;
        self.changed += applied.changed.len() as u64;
        self.asked_to_stop += applied.asked_to_stop.len() as u64;
        let touched: BTreeSet<JobId> = applied
            .changed
            .into_iter()
            .chain(applied.asked_to_stop)
            .collect();
        let left: Vec<JobId> = jobs
            .iter()
            .copied()
            .filter(|id| !touched.contains(id))
            .collect();
        if !left.is_empty() {
            self.explain(conn, schema, &left).await?;
        }
        self.bar.inc(jobs.len() as u64);
        Ok(())
    }

    async fn explain(
        &mut self,
        conn: &mut PgConnection,
        schema: &Schema,
        left: &[JobId],
    ) -> Result<(), Failure> {
        let found = find(conn, schema, left).await?;
        let known: BTreeSet<JobId> = found.iter().map(|job| job.id).collect();
        for job in &found {
            self.leave(&self.verb.refusal(job), job.id);
        }
        for id in left.iter().filter(|id| !known.contains(id)) {
            self.leave(UNKNOWN, *id);
        }
        Ok(())
    }

    fn leave(&mut self, reason: &str, id: JobId) {
        self.unchanged
            .entry(reason.to_owned())
            .or_default()
            .push(id);
    }

    fn report(self) -> Report {
        self.bar.finish_and_clear();
        Report {
            changed: self.changed,
            asked_to_stop: self.asked_to_stop,
            unchanged: self
                .unchanged
                .into_iter()
                .map(|(reason, ids)| Unchanged {
                    reason,
                    jobs: ids.len(),
                    ids: ids.into_iter().take(NAMED_MAX).collect(),
                })
                .collect(),
        }
    }
}

impl Report {
    /// Says what was done and what was left.
    pub(super) fn conclude(&self, verb: Verb, json: bool) -> Result<(), Failure> {
        if json {
            print_json(self)?;
        }
        if self.changed > 0 || self.asked_to_stop == 0 {
            let jobs = counted(self.changed, "job", "jobs");
            say(verb.done(&jobs));
        }
        if self.asked_to_stop > 0 {
            let jobs = counted(self.asked_to_stop, "running job", "running jobs");
            say(format!("asked {jobs} to stop"));
        }
        for unchanged in &self.unchanged {
            say(unchanged.sentence());
        }
        Ok(())
    }

    /// Tells how a command ends that named its jobs: with success only if none was left.
    pub(super) fn exit(&self) -> Exit {
        match self.unchanged.as_slice() {
            [] => Exit::Fine,
            left if left.iter().any(|each| each.reason == UNKNOWN) => Exit::NotFound,
            _ => Exit::Failed,
        }
    }
}

impl Unchanged {
    fn sentence(&self) -> String {
        let ids: Vec<String> = self.ids.iter().map(JobId::to_string).collect();
        let more = if self.jobs > self.ids.len() {
            ", …"
        } else {
            ""
        };
        format!(
            "left {} alone ({}{more}): {}",
            counted(self.jobs as u64, "job", "jobs"),
            ids.join(", "),
            self.reason
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(reason: &str, jobs: usize) -> Unchanged {
        Unchanged {
            reason: reason.to_owned(),
            jobs,
            ids: (1..=jobs.min(NAMED_MAX))
                .map(|id| JobId(id as i64))
                .collect(),
        }
    }

    #[test]
    fn what_was_left_alone_is_named_up_to_a_point() {
        assert_eq!(
            left("it is running", 1).sentence(),
            "left 1 job alone (1): it is running"
        );
        assert_eq!(
            left("it is running", 12).sentence(),
            "left 12 jobs alone (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …): it is running"
        );
    }

    #[test]
    fn a_job_that_is_not_there_has_an_exit_code_of_its_own() {
        let mut report = Report::default();
        assert_eq!(report.exit(), Exit::Fine);
        report.unchanged.push(left("it is running", 1));
        assert_eq!(report.exit(), Exit::Failed);
        report.unchanged.push(left(UNKNOWN, 1));
        assert_eq!(report.exit(), Exit::NotFound);
    }
}
