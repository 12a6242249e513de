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
//! The two notions are those of Vixie's cron. The answer depends on nothing but the instant asked
//! about. Clocks are not set twice within the hours that one change moves them.
//!
//! All times here are whole seconds. A function returns none only at the ends of time, beyond
//! which there is no date.

use std::iter;

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

/// Returns the first instant later than `after` at which the clock first reaches or passes a
/// time, given the function that returns the first time later than another.
pub(super) fn next_reached(
    zone: Tz,
    after: DateTime<Utc>,
    next: impl Fn(&NaiveDateTime) -> Option<NaiveDateTime>,
) -> Option<DateTime<Utc>> {
    let reached = |civil: NaiveDateTime| {
        let shown = zone.from_local_datetime(&civil).earliest();
        let instant = shown.or_else(|| GapInfo::new(&civil, &zone)?.end)?;
        Some(instant.to_utc())
    };
    let times = iter::successors(next(&shown(zone, after)?), &next);
    // In the second pass of an overlap, times to come were reached before.
    times.filter_map(reached).find(|instant| *instant > after)
}

/// Returns the first instant later than `after` at which the clock shows a time, given the
/// function that returns the first time later than another.
pub(super) fn next_shown(
    zone: Tz,
    after: DateTime<Utc>,
    next: impl Fn(&NaiveDateTime) -> Option<NaiveDateTime>,
) -> Option<DateTime<Utc>> {
    let shown = shown(zone, after)?;
    let times_after = |civil| iter::successors(next(&civil), &next);
    let to_come = |civil: NaiveDateTime| {
        let shown = zone.from_local_datetime(&civil);
        let passes = [shown.earliest(), shown.latest()].into_iter().flatten();
        passes
            .map(|instant| instant.to_utc())
            .find(|instant| *instant > after)
    };
    let ahead = times_after(shown).find_map(to_come);
    let MappedLocalTime::Ambiguous(first, second) = zone.from_local_datetime(&shown) else {
        return ahead;
    };
    if first != after || ahead.is_some_and(|ahead| ahead < second) {
        return ahead;
    }
    // The first pass ends before another time. The second shows earlier times again, from no
    // earlier than the distance of the passes before this one.
    let again = times_after(shown.checked_sub_signed(second - first)?);
    let mut again = again.take_while(|civil| *civil <= shown);
    again.find_map(to_come).or(ahead)
}

/// Returns what the clock shows.
fn shown(zone: Tz, instant: DateTime<Utc>) -> Option<NaiveDateTime> {
    let utc = instant.naive_utc();
    utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix())
}
