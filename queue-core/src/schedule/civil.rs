//! From times on a wall clock to instants, and back.
//!
//! A schedule is about a wall clock, which is set forward and back: in the *gap*, times are left
//! out; in the *overlap*, times come twice. Which instants a schedule means then depends on
//! whether it has fixed times or ticks:
//!
//! - A **fixed** time such as 02:30 fires the first time that the clock *reaches or passes* it.
//!   So one in the gap fires right after it, at the first instant of the new time, on the next
//!   date if the gap leaves out the rest of the day. Several in the same gap are the same
//!   instant, and fire once. One in the overlap fires in its first pass only.
//! - A **ticking** schedule such as `*/30 * * * *` fires *whenever the clock shows* one of its
//!   times: in both passes of the overlap, and not in the gap. Across either change the ticks
//!   keep their distance in real time, as long as the change is a multiple of that distance.
//!
//! The two notions are those of Vixie's cron. The first makes the answer depend on nothing but
//! the instant asked about: the times up to the furthest that the clock has yet shown are done,
//! and those beyond it are to come.
//!
//! The zone database tells an instant's offset, and a wall clock time's instants, but not when
//! the clock is set. That instant is found by halving a span around it. A span never holds two
//! changes that matter: clocks are not set twice within the hours that one change moves them.
//!
//! All times here are whole seconds. A function returns none only at the ends of time, beyond
//! which there is no date.

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::line::Line;

/// No clock has ever been further from UTC.
const OFFSET_MAX: TimeDelta = TimeDelta::hours(16);

/// The instants at which a clock shows a time.
enum Passes {
    Once(DateTime<Utc>),
    Twice(DateTime<Utc>, DateTime<Utc>),
    /// The clock was set forward over it.
    Never,
}

/// Returns the first instant later than `after` at which the clock first reaches or passes a
/// time of the line.
pub(super) fn next_reached(line: &Line, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let civil = line.next_after(furthest(zone, after)?)?;
    match passes(zone, civil)? {
        Passes::Once(instant) | Passes::Twice(instant, _) => Some(instant),
        Passes::Never => end_of_gap(zone, civil),
    }
}

/// Returns the first instant later than `after` at which the clock shows a time of the line.
pub(super) fn next_shown(line: &Line, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let ahead = next_ahead(line, zone, after);
    let again = next_again(line, zone, after);
    match (ahead, again) {
        (Some(ahead), Some(again)) => Some(ahead.min(again)),
        _ => ahead.or(again),
    }
}

/// Returns when the clock shows a time later than the one it shows now.
fn next_ahead(line: &Line, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut civil = line.next_after(shown(zone, after)?)?;
    loop {
        match passes(zone, civil)? {
            Passes::Once(instant) => return Some(instant),
            Passes::Twice(first, second) => {
                return Some(if first > after { first } else { second });
            }
            Passes::Never => {
                let resumes = shown(zone, end_of_gap(zone, civil)?)?;
                civil = line.next_after(second_before(resumes)?)?;
            }
        }
    }
}

/// Returns when the clock, in the first pass of an overlap now, is set back and then shows a
/// time that is not later than the one it shows now.
fn next_again(line: &Line, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let now = shown(zone, after)?;
    let Passes::Twice(first, second) = passes(zone, now)? else {
        return None;
    };
    if after != first {
        return None;
    }
    let set_back = set_back(zone, first, second);
    let resumes = shown(zone, set_back)?;
    let civil = line.next_after(second_before(resumes)?)?;
    (civil <= now).then(|| set_back + (civil - resumes))
}

/// Returns the furthest time that the clock has shown yet: the present one, or, in the second
/// pass of an overlap, the last of the first.
fn furthest(zone: Tz, instant: DateTime<Utc>) -> Option<NaiveDateTime> {
    let now = shown(zone, instant)?;
    match passes(zone, now)? {
        Passes::Twice(first, second) if instant == second => {
            let set_back = set_back(zone, first, second);
            second_before(now.checked_add_signed(set_back - first)?)
        }
        _ => Some(now),
    }
}

/// Returns what the clock shows.
pub(super) fn shown(zone: Tz, instant: DateTime<Utc>) -> Option<NaiveDateTime> {
    let utc = instant.naive_utc();
    utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix())
}

fn passes(zone: Tz, civil: NaiveDateTime) -> Option<Passes> {
    let instant = |offset: <Tz as TimeZone>::Offset| {
        let utc = civil.checked_sub_offset(offset.fix())?;
        Some(utc.and_utc())
    };
    Some(match zone.offset_from_local_datetime(&civil) {
        MappedLocalTime::Single(offset) => Passes::Once(instant(offset)?),
        MappedLocalTime::Ambiguous(first, second) => {
            Passes::Twice(instant(first)?, instant(second)?)
        }
        MappedLocalTime::None => Passes::Never,
    })
}

/// Returns the first instant at which the clock shows a time later than one in the gap.
fn end_of_gap(zone: Tz, civil: NaiveDateTime) -> Option<DateTime<Utc>> {
    let before = civil.and_utc().checked_sub_signed(OFFSET_MAX)?;
    let behind = civil.and_utc().checked_add_signed(OFFSET_MAX)?;
    Some(first_second(before, behind, |instant| {
        shown(zone, instant).is_some_and(|shown| shown > civil)
    }))
}

/// Returns when the clock is set back, given the two instants at which it shows the same.
fn set_back(zone: Tz, first: DateTime<Utc>, second: DateTime<Utc>) -> DateTime<Utc> {
    let offset = |instant: DateTime<Utc>| zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
    let new = offset(second);
    first_second(first, second, |instant| offset(instant) == new)
}

/// Returns the first whole second behind `before` and up to `behind` that `is_behind`, which
/// every one is from there on.
fn first_second(
    before: DateTime<Utc>,
    behind: DateTime<Utc>,
    is_behind: impl Fn(DateTime<Utc>) -> bool,
) -> DateTime<Utc> {
    let (mut low, mut high) = (0, (behind - before).num_seconds());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_behind(before + TimeDelta::seconds(middle)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    before + TimeDelta::seconds(high)
}

fn second_before(civil: NaiveDateTime) -> Option<NaiveDateTime> {
    civil.checked_sub_signed(TimeDelta::seconds(1))
}
