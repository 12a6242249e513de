//! `[limits]`: how many jobs of a key, group, queue or kind run at once, and start in a period.

use std::ops::RangeInclusive;

use queue_core::operations::limits::{LimitSetting, parse_rate};

use super::document::{Entry, Section};
use super::draft::Draft;
use super::problem::Problem;

const TO: RangeInclusive<u64> = 0..=i32::MAX as u64;
const BURST: RangeInclusive<u64> = 1..=i32::MAX as u64;

/// Reads all limits. Names are checked with all other settings, when the draft is finished.
pub(super) fn read(section: &Section<'_>, draft: &mut Draft) {
    for (name, entry) in section.entries() {
        match read_limit(&entry) {
            Ok(limit) => {
                draft.record(&entry.key, entry.place(), Ok(()));
                draft.config.settings.limits.insert(name.to_owned(), limit);
            }
            Err(problems) => draft.problems.extend(problems),
        }
    }
}

fn read_limit(entry: &Entry<'_>) -> Result<LimitSetting, Vec<Problem>> {
    let mut section = entry.table().map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let to = number(&mut section, "to", &TO, &mut problems);
    let rate = section.get("rate");
    let burst = number(&mut section, "burst", &BURST, &mut problems);
    let mut limit = LimitSetting { to, rate: None };
    if let Some(rate) = &rate {
        match rate.given().text().and_then(|text| parse_rate(text, burst)) {
            Ok(rate) => limit.rate = Some(rate),
            Err(message) => problems.push(rate.problem(message)),
        }
    } else if burst.is_some() {
        problems.push(
            entry.problem("a burst belongs to a rate, as in { rate = \"100/1m\", burst = 20 }"),
        );
    }
    section.refuse_unknown(&mut problems);
    match problems.is_empty() {
        true => Ok(limit),
        false => Err(problems),
    }
}

fn number(
    section: &mut Section<'_>,
    key: &'static str,
    range: &RangeInclusive<u64>,
    problems: &mut Vec<Problem>,
) -> Option<u32> {
    let entry = section.get(key)?;
    match entry.given().whole_number(range) {
        Ok(number) => u32::try_from(number).ok(),
        Err(message) => {
            problems.push(entry.problem(message));
            None
        }
    }
}
