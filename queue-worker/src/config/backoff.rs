//! `backoff`: how long a handler's job waits before it is tried again.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{Entry, Section};
use super::problem::Problem;

const WAIT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 86_400);
const SHAPES: &str =
    "\"exponential\", \"polynomial\", { fixed = \"10s\" } or { list = [\"1s\", \"1m\"] }";

/// How long a job waits between its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackoffSettings {
    /// Twice as long each time.
    Exponential,
    /// With a power of the attempt's number.
    Polynomial,
    /// Always as long.
    Fixed(Duration),
    /// As the list says, attempt by attempt; its last entry for all that follow.
    List(Vec<Duration>),
}

/// Reads a backoff, or tells everything that is wrong with it.
pub(super) fn read(entry: &Entry<'_>) -> Result<BackoffSettings, Vec<Problem>> {
    match entry.given().text() {
        Ok("exponential") => return Ok(BackoffSettings::Exponential),
        Ok("polynomial") => return Ok(BackoffSettings::Polynomial),
        Ok(_) => return Err(vec![unexpected(entry)]),
        Err(_) => {}
    }
    let mut section = entry.table().map_err(|_| vec![unexpected(entry)])?;
    let mut problems = Vec::new();
    let backoff = read_table(&mut section, entry, &mut problems);
    section.refuse_unknown(&mut problems);
    backoff.filter(|_| problems.is_empty()).ok_or(problems)
}

fn read_table(
    section: &mut Section<'_>,
    entry: &Entry<'_>,
    problems: &mut Vec<Problem>,
) -> Option<BackoffSettings> {
    match (section.get("fixed"), section.get("list")) {
        (Some(fixed), None) => read_wait(&fixed, problems).map(BackoffSettings::Fixed),
        (None, Some(list)) => read_list(&list, problems).map(BackoffSettings::List),
        _ => {
            problems.push(unexpected(entry));
            None
        }
    }
}

fn read_list(list: &Entry<'_>, problems: &mut Vec<Problem>) -> Option<Vec<Duration>> {
    match list.array("an array of durations") {
        Ok(waits) if waits.is_empty() => {
            problems.push(list.problem("expected at least one duration, found none"));
            None
        }
        Ok(waits) => Some(
            waits
                .iter()
                .filter_map(|wait| read_wait(wait, problems))
                .collect(),
        ),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

fn read_wait(entry: &Entry<'_>, problems: &mut Vec<Problem>) -> Option<Duration> {
    entry
        .given()
        .duration(&WAIT)
        .map_err(|message| problems.push(entry.problem(message)))
        .ok()
}

fn unexpected(entry: &Entry<'_>) -> Problem {
    entry.problem(format!("expected {SHAPES}, found {}", entry.given()))
}
