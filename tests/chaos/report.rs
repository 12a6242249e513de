//! What a run found: a table with a line for each fault, and all problems.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use clap::ValueEnum as _;

use crate::faults::Fault;

/// One fault that struck.
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    /// When, in microseconds since 1970.
    pub(crate) at: i64,
    /// How long after the fault was over the jobs enqueued before that had ended.
    pub(crate) back: Option<Duration>,
}

pub(crate) struct Report {
    seed: u64,
    strikes: Vec<Strike>,
    pub(crate) jobs: usize,
    lost: BTreeMap<usize, usize>,
    doubled: BTreeMap<usize, usize>,
    pub(crate) problems: Vec<String>,
}

impl Report {
    pub(crate) fn new(seed: u64, strikes: Vec<Strike>) -> Self {
        let mut problems = Vec::new();
        for Strike { fault, back, .. } in &strikes {
            let limit = fault.back_within();
            if back.is_none_or(|back| back > limit) {
                problems.push(format!(
                    "{fault}: back after {back:?}, not within {limit:?}"
                ));
            }
        }
        Self {
            seed,
            strikes,
            jobs: 0,
            lost: BTreeMap::new(),
            doubled: BTreeMap::new(),
            problems,
        }
    }

    pub(crate) fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Notes an acknowledged job that has not ended.
    pub(crate) fn note_lost(&mut self, job: i64, at: i64) {
        let taken_back = self.taken_back_by(at);
        let strike = taken_back.unwrap_or_else(|| self.strike_of(at));
        *self.lost.entry(strike).or_default() += 1;
        if taken_back.is_none() {
            self.problem(format!("job {job} was acknowledged, and has not ended"));
        }
    }

    /// Notes an effect outside of a transaction that was written more than once.
    pub(crate) fn note_doubled(&mut self, at: i64) {
        *self.doubled.entry(self.strike_of(at)).or_default() += 1;
    }

    /// Returns the strike that concerns what happened at a time: the first one that ends later, because
    /// what has not ended by then may be lost, or the last one.
    fn strike_of(&self, at: i64) -> usize {
        let later = self.strikes.iter().position(|strike| strike.at > at);
        let last = self.strikes.len().saturating_sub(1);
        later.unwrap_or(last)
    }

    /// Returns whether what happened at a time may have been taken back.
    pub(crate) fn is_taken_back(&self, at: i64) -> bool {
        self.taken_back_by(at).is_some()
    }

    /// Returns the promotion of a server that lagged behind, if there was one soon after this time.
    fn taken_back_by(&self, at: i64) -> Option<usize> {
        const LAG_MAX: i64 = 15_000_000;

        let mut strikes = self.strikes.iter();
        strikes.position(|strike| {
            strike.fault.takes_back() && (at - LAG_MAX..at + LAG_MAX).contains(&strike.at)
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| fault | times | lost | doubled | back after, at most |"
        )?;
        writeln!(f, "| --- | --- | --- | --- | --- |")?;
        for fault in Fault::value_variants() {
            let strikes = || {
                let strikes = self.strikes.iter().enumerate();
                strikes.filter(|(_, strike)| strike.fault == *fault)
            };
            let sum = |of: &BTreeMap<usize, usize>| -> usize {
                strikes().filter_map(|(number, _)| of.get(&number)).sum()
            };
            let back = strikes().filter_map(|(_, strike)| strike.back).max();
            let back = back.map_or("-".to_owned(), |back| {
                format!("{:.1} s", back.as_secs_f64())
            });
            let (lost, doubled) = (sum(&self.lost), sum(&self.doubled));
            let times = strikes().count();
            if times == 0 {
                continue;
            }
            writeln!(f, "| {fault} | {times} | {lost} | {doubled} | {back} |")?;
        }
        writeln!(f, "\n{} jobs, seed {}", self.jobs, self.seed)?;
        for problem in self.problems.iter().take(30) {
            writeln!(f, "PROBLEM: {problem}")?;
        }
        match self.problems.len() {
            0 => write!(f, "passed"),
            count => write!(f, "{count} problems"),
        }
    }
}
