//! The history of a run, and what must be true of it.
//!
//! It comes from three sources: the jobs whose enqueueing was acknowledged, the journal of the runs, and
//! the tables at the end.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use sqlx::PgPool;

use crate::jobs::{Event, Journal, Line, Shape};
use crate::load::{Acknowledged, Load};
use crate::report::Report;
use crate::stage::{CONCURRENCY, Stage};

/// The most jobs that one process may hold.
const RESERVE_MAX: i64 = 500 + CONCURRENCY as i64;

pub(crate) struct History {
    acknowledged: Vec<Acknowledged>,
    lines: Vec<Line>,
    /// How often the effect of each job was written.
    effects: HashMap<i64, i64>,
    finished: HashSet<i64>,
    /// When runs lost their jobs, in microseconds since 1970.
    taken: HashMap<(i64, i32), i64>,
    reserve: i64,
}

impl History {
    pub(crate) async fn read(stage: &Stage, load: &Load, pool: &PgPool) -> Result<Self> {
        let effects = "select job_id, count(*) from chaos.effects group by job_id";
        let effects: Vec<(i64, i64)> = sqlx::query_as(effects).fetch_all(pool).await?;
        let finished = "select job_id from queue.finished where outcome = 'done'";
        let finished: Vec<i64> = sqlx::query_scalar(finished).fetch_all(pool).await?;
        let taken = "select job_id, attempt, (extract(epoch from ended_at) * 1e6)::bigint
            from queue.attempts";
        let taken: Vec<(i64, i32, i64)> = sqlx::query_as(taken).fetch_all(pool).await?;
        Ok(Self {
            acknowledged: load.acknowledged(),
            lines: Journal::read(stage.journal())?,
            effects: effects.into_iter().collect(),
            finished: finished.into_iter().collect(),
            taken: taken
                .into_iter()
                .map(|(job, attempt, at)| ((job, attempt), at))
                .collect(),
            reserve: stage.reserve(),
        })
    }

    pub(crate) fn check(&self, report: &mut Report) {
        report.jobs = self.acknowledged.len();
        self.check_ends(report);
        self.check_effects(report);
        self.check_runs(report);
        self.check_limits(report);
        if self.reserve > RESERVE_MAX {
            report.problem(format!("a process held {} jobs", self.reserve));
        }
    }

    /// Every job whose enqueueing was acknowledged has ended.
    fn check_ends(&self, report: &mut Report) {
        for found in &self.acknowledged {
            if !self.finished.contains(&found.job) {
                report.note_lost(found.job, found.at);
            }
        }
    }

    /// Every effect in a transaction was written once, and every other one at least once. A promotion may take
    /// back an effect of its own whose job is recorded as finished afterwards.
    fn check_effects(&self, report: &mut Report) {
        let mut last_run = HashMap::new();
        for (_, job, _, at) in self.lines.iter().filter(|line| line.0 == Event::Began) {
            last_run.insert(*job, *at);
        }
        for found in &self.acknowledged {
            let written = self.effects.get(&found.job).copied().unwrap_or(0);
            match found.shape {
                Shape::Limited(_) => {}
                _ if !self.finished.contains(&found.job) => {}
                Shape::Alone if written > 1 => report.note_doubled(last_run[&found.job]),
                Shape::Alone if report.is_taken_back(last_run[&found.job]) => {}
                _ if written == 1 => {}
                _ => report.problem(format!(
                    "the effect of job {} was written {written} times",
                    found.job
                )),
            }
        }
    }

    /// No attempt runs twice, and none begins after the end of its job was acknowledged.
    fn check_runs(&self, report: &mut Report) {
        let mut begun = HashSet::new();
        let mut ended = HashSet::new();
        let mut lines = self.lines.clone();
        lines.sort_by_key(|line| line.3);
        for (event, job, attempt, at) in lines {
            match event {
                Event::Began => {
                    if !begun.insert((job, attempt)) && !report.is_taken_back(at) {
                        report.problem(format!("job {job} ran attempt {attempt} twice"));
                    }
                    if ended.contains(&job) && !report.is_taken_back(at) {
                        report.problem(format!("job {job} ran after it had finished"));
                    }
                }
                Event::Acknowledged => {
                    ended.insert(job);
                }
                Event::Ended => {}
            }
        }
    }

    /// No more runs of a key than its limit are under way at any moment. A run is over when it ends, or
    /// when its job is taken from its process.
    fn check_limits(&self, report: &mut Report) {
        let limits: HashMap<i64, u32> = self
            .acknowledged
            .iter()
            .filter_map(|found| match found.shape {
                Shape::Limited(limit) => Some((found.job, limit)),
                _ => None,
            })
            .collect();
        let mut changes: BTreeMap<u32, Vec<(i64, i32)>> = BTreeMap::new();
        for ((job, _), (began, ended)) in self.runs() {
            if let Some(limit) = limits.get(&job)
                && began < ended
                && !report.is_taken_back(began)
            {
                let changes = changes.entry(*limit).or_default();
                changes.extend([(began, 1), (ended, -1)]);
            }
        }
        for (limit, mut changes) in changes {
            changes.sort_unstable();
            let mut running = 0;
            for (at, change) in changes {
                running += change;
                if change > 0 && running > i64::from(limit) as i32 {
                    report.problem(format!("{running} runs of limit {limit} at {at}"));
                }
            }
        }
    }

    /// Returns when each run began and was over. Runs without an end are left out: their server forgot
    /// them.
    fn runs(&self) -> HashMap<(i64, i32), (i64, i64)> {
        let mut ends = self.taken.clone();
        for (_, job, attempt, at) in self.lines.iter().filter(|line| line.0 == Event::Ended) {
            let end = ends.entry((*job, *attempt)).or_insert(*at);
            *end = (*end).min(*at);
        }
        let begun = self.lines.iter().filter(|line| line.0 == Event::Began);
        begun
            .filter_map(|(_, job, attempt, began)| {
                let run = (*job, *attempt);
                Some((run, (*began, *ends.get(&run)?)))
            })
            .collect()
    }
}
