//! Time zones, and where they stand in the text of a schedule.

use chrono_tz::{TZ_VARIANTS, Tz};

use super::field::{WEEKDAY, number_of_name};
use super::invalid::{InvalidSchedule, SCHEDULE_BYTES_MAX};

/// How alike two names must be for the hint "did you mean".
const ALIKE: f64 = 0.85;

/// Finds a time zone by its name in the IANA database; case does not matter.
///
/// # Errors
/// Returns [`InvalidSchedule::UnknownZone`] for an unknown name, with the nearest known one: for
/// `Berlin`, `Europe/Berlin`.
pub fn parse_zone(name: &str) -> Result<Tz, InvalidSchedule> {
    find(name).ok_or_else(|| InvalidSchedule::UnknownZone {
        name: name.chars().take(SCHEDULE_BYTES_MAX).collect(),
        nearest: nearest(name),
    })
}

/// Splits a time zone from the text of a schedule: `TZ=` or `CRON_TZ=` before it, or a name after it,
/// with or without the word `in`.
pub(super) fn split(text: &str) -> Result<(Option<Tz>, &str), InvalidSchedule> {
    let (before, text) = split_prefix(text)?;
    let (behind, text) = split_suffix(text)?;
    match (before, behind) {
        (Some(first), Some(second)) => Err(InvalidSchedule::TwoZones {
            first: first.name(),
            second: second.name(),
        }),
        _ => Ok((before.or(behind), text)),
    }
}

fn split_prefix(text: &str) -> Result<(Option<Tz>, &str), InvalidSchedule> {
    let named = text
        .strip_prefix("TZ=")
        .or_else(|| text.strip_prefix("CRON_TZ="));
    let Some(named) = named else {
        return Ok((None, text));
    };
    let (name, rest) = named.split_once(char::is_whitespace).unwrap_or((named, ""));
    Ok((Some(parse_zone(name)?), rest.trim_start()))
}

fn split_suffix(text: &str) -> Result<(Option<Tz>, &str), InvalidSchedule> {
    let Some((rest, last)) = text.rsplit_once(char::is_whitespace) else {
        return Ok((None, text));
    };
    let rest = rest.trim_end();
    let schedule = match without_in(rest) {
        Some(schedule) => schedule,
        None if find(last).is_some() || is_meant_as_zone(last) => rest,
        None => return Ok((None, text)),
    };
    Ok((Some(parse_zone(last)?), schedule))
}

fn without_in(text: &str) -> Option<&str> {
    let (schedule, word) = text.rsplit_once(char::is_whitespace)?;
    word.eq_ignore_ascii_case("in").then(|| schedule.trim_end())
}

/// Returns true for `Europe/Berln`; false for `mon/2`, `mon/x`, `mon-fri/x` and `*/5`.
fn is_meant_as_zone(word: &str) -> bool {
    let Some((area, place)) = word.split_once('/') else {
        return false;
    };
    let is_area = !area.is_empty() && area.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_place = place.starts_with(|c: char| c.is_ascii_alphabetic());
    is_area && is_place && number_of_name(&WEEKDAY, area).is_none()
}

fn find(name: &str) -> Option<Tz> {
    TZ_VARIANTS
        .iter()
        .find(|zone| zone.name().eq_ignore_ascii_case(name))
        .copied()
}

fn nearest(name: &str) -> Option<&'static str> {
    // The time for likeness grows with the square of the length, and no zone is this long.
    if name.len() > 50 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    TZ_VARIANTS
        .iter()
        .map(|zone| (likeness(&name, zone.name()), zone.name()))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .map(|(_, name)| name)
}

/// Compares with the whole name and with the city alone.
fn likeness(name: &str, zone: &str) -> f64 {
    let zone = zone.to_ascii_lowercase();
    let city = zone.rsplit('/').next().unwrap_or(&zone);
    strsim::jaro_winkler(name, &zone).max(strsim::jaro_winkler(name, city))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_found_by_its_name_in_any_case() {
        assert_eq!(parse_zone("Europe/Berlin"), Ok(Tz::Europe__Berlin));
        assert_eq!(parse_zone("europe/berlin"), Ok(Tz::Europe__Berlin));
        assert_eq!(parse_zone("utc"), Ok(Tz::UTC));
    }

    #[test]
    fn the_error_for_an_unknown_zone_names_the_nearest_one() {
        for (name, nearest) in [
            ("Europe/Berln", "Europe/Berlin"),
            ("Berlin", "Europe/Berlin"),
            ("new_york", "America/New_York"),
        ] {
            let refused = parse_zone(name).unwrap_err();
            assert!(
                refused
                    .to_string()
                    .ends_with(&format!("did you mean `{nearest}`?")),
                "{refused}"
            );
        }
        assert!(
            parse_zone("xyzzy")
                .unwrap_err()
                .to_string()
                .contains("such as")
        );
        assert!(parse_zone(&"long".repeat(1_000)).is_err());
    }

    #[test]
    fn a_zone_is_split_off_either_end() {
        let berlin = Some(Tz::Europe__Berlin);
        for (text, zone, rest) in [
            ("0 9 * * *", None, "0 9 * * *"),
            ("*/5 * * * mon/2", None, "*/5 * * * mon/2"),
            ("0 9 * * * Europe/Berlin", berlin, "0 9 * * *"),
            ("TZ=Europe/Berlin  0 9 * * *", berlin, "0 9 * * *"),
            ("CRON_TZ=Europe/Berlin 0 9 * * *", berlin, "0 9 * * *"),
            (
                "every day at 9am in europe/berlin",
                berlin,
                "every day at 9am",
            ),
            ("every day at noon UTC", Some(Tz::UTC), "every day at noon"),
        ] {
            assert_eq!(split(text), Ok((zone, rest)), "{text}");
        }
        assert!(split("TZ=Europe/Berlin 0 9 * * * UTC").is_err());
        assert!(split("every day in Bonn").is_err());
    }
}
