//! From times on a wall clock to instants, and back.
//!
//! A schedule reads a wall clock. When the clock is set forward, it skips times: the *gap*. When it
//! is set back, it shows times twice: the *overlap*, with a first and a second pass. The instants of
//! a schedule then depend on its kind:
//!
//! - A **fixed** time such as 02:30 fires when the clock first *reaches or passes* it. A time in
//!   the gap fires at the end of the gap, which may be on the next date. Several times in one gap
//!   fire once. A time in the overlap fires in the first pass only.
//! - A **ticking** schedule such as `*/30 * * * *` fires *whenever the clock shows* one of its
//!   times: in both passes of the overlap, and not in the gap. The ticks keep their distance in
//!   real time if the change of the clock is a multiple of that distance.
//!
//! Vixie's cron has the same two rules. The next instant depends only on the schedule, the zone and
//! the instant before it. Clocks are not set twice within the hours that one change moves them.
//!
//! All times here are whole seconds. A function returns `None` only where the calendar of chrono
//! ends.

use std::iter;

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

/// Returns the first instant later than `after` at which the clock first reaches or passes a time
/// of the schedule. `next` returns the first of these times later than another.
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
    // In the second pass of an overlap, the clock reached the next times before.
    times.filter_map(reached).find(|instant| *instant > after)
}

/// Returns the first instant later than `after` at which the clock shows a time of the schedule.
/// `next` returns the first of these times later than another.
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
    // No time is left in the first pass. The second pass begins after `shown` minus the distance of
    // the passes, and may show earlier times again.
    let again = times_after(shown.checked_sub_signed(second - first)?);
    let mut again = again.take_while(|civil| *civil <= shown);
    again.find_map(to_come).or(ahead)
}

/// Returns the time that the clock shows at an instant.
fn shown(zone: Tz, instant: DateTime<Utc>) -> Option<NaiveDateTime> {
    let utc = instant.naive_utc();
    utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix())
}
