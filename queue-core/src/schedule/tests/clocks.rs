//! What becomes of a schedule when the clock is set, and at the ends of months.

use super::*;

#[test]
fn a_fixed_time_keeps_to_the_clock() {
    fires("
        0 9 * * * | Europe/Berlin | 2026-03-28T00:00:00Z | 2026-03-28 09:00 +01:00 | 2026-03-29 09:00 +02:00 | 2026-03-30 09:00 +02:00
        0 9 * * * | Europe/Berlin | 2026-10-24T00:00:00Z | 2026-10-24 09:00 +02:00 | 2026-10-25 09:00 +01:00 | 2026-10-26 09:00 +01:00
    ");
}

#[test]
fn a_fixed_time_in_the_gap_fires_right_after_it() {
    fires("
        30 2 * * *   | America/New_York    | 2026-03-07T12:00:00Z | 2026-03-08 03:00 -04:00 | 2026-03-09 02:30 -04:00
        // Half an hour is left out, from 02:00 to 02:30.
        15 2 * * *   | Australia/Lord_Howe | 2026-10-03T12:00:00Z | 2026-10-04 02:30 +11:00 | 2026-10-05 02:15 +11:00
        // The day begins at 01:00.
        0 0 * * *    | America/Sao_Paulo   | 2018-11-03T12:00:00Z | 2018-11-04 01:00 -02:00 | 2018-11-05 00:00 -02:00
        0 0 * * *    | Asia/Beirut         | 2026-03-28T12:00:00Z | 2026-03-29 01:00 +03:00 | 2026-03-30 00:00 +03:00
        30 0 * * fri | Africa/Cairo        | 2026-04-20T12:00:00Z | 2026-04-24 01:00 +03:00 | 2026-05-01 00:30 +03:00
    ");
}

#[test]
fn fixed_times_in_the_same_gap_fire_once() {
    fires("
        30,45 2 * * *              | Europe/Berlin | 2026-03-28T12:00:00Z | 2026-03-29 03:00 +02:00 | 2026-03-30 02:30 +02:00
        0 2,3 * * *                | Europe/Berlin | 2026-03-28T12:00:00Z | 2026-03-29 03:00 +02:00 | 2026-03-30 02:00 +02:00
        every day at 2:10 and 2:50 | Europe/Berlin | 2026-03-28T12:00:00Z | 2026-03-29 03:00 +02:00 | 2026-03-30 02:10 +02:00
    ");
}

#[test]
fn a_day_that_is_left_out_fires_at_the_beginning_of_the_next() {
    fires("
        0 9 * * *    | Pacific/Apia | 2011-12-29T12:00:00Z | 2011-12-29 09:00 -10:00 | 2011-12-31 00:00 +14:00 | 2011-12-31 09:00 +14:00
        0 9 30 * *   | Pacific/Apia | 2011-12-01T12:00:00Z | 2011-12-31 00:00 +14:00 | 2012-01-30 09:00 +14:00
        0 */12 * * * | Pacific/Apia | 2011-12-29T12:00:00Z | 2011-12-29 12:00 -10:00 | 2011-12-31 00:00 +14:00 | 2011-12-31 12:00 +14:00
    ");
}

#[test]
fn a_fixed_time_in_the_overlap_fires_in_its_first_pass_only() {
    fires("
        30 1 * * *     | America/New_York    | 2026-10-31T12:00:00Z | 2026-11-01 01:30 -04:00 | 2026-11-02 01:30 -05:00
        // Asked in the first pass behind it, and in the second before, at and behind it.
        30 1 * * *     | America/New_York    | 2026-11-01T01:40:00-04:00 | 2026-11-02 01:30 -05:00
        30 1 * * *     | America/New_York    | 2026-11-01T01:00:00-05:00 | 2026-11-02 01:30 -05:00
        30 1 * * *     | America/New_York    | 2026-11-01T01:29:59-05:00 | 2026-11-02 01:30 -05:00
        30 1 * * *     | America/New_York    | 2026-11-01T01:30:00-05:00 | 2026-11-02 01:30 -05:00
        30 1 * * *     | America/New_York    | 2026-11-01T01:40:00-05:00 | 2026-11-02 01:30 -05:00
        // From 02:00 the clock goes back to 01:30.
        45 1 * * *     | Australia/Lord_Howe | 2026-04-04T00:00:00Z | 2026-04-05 01:45 +11:00 | 2026-04-06 01:45 +10:30
        // The end of the overlap comes once.
        0,30 1,2 * * * | America/New_York    | 2026-11-01T01:10:00-04:00 | 2026-11-01 01:30 -04:00 | 2026-11-01 02:00 -05:00 | 2026-11-01 02:30 -05:00
        // At midnight the clock goes back to 23:00 of the same day.
        30 23 * * *    | America/Sao_Paulo   | 2018-02-17T12:00:00Z | 2018-02-17 23:30 -02:00 | 2018-02-18 23:30 -03:00
    ");
}

#[test]
fn a_ticking_schedule_keeps_its_rhythm_when_the_clock_is_set_forward() {
    fires("
        */30 * * * *     | America/New_York    | 2026-03-08T01:00:00-05:00 | 2026-03-08 01:30 -05:00 | 2026-03-08 03:00 -04:00 | 2026-03-08 03:30 -04:00
        every 30 minutes | America/New_York    | 2026-03-08T01:00:00-05:00 | 2026-03-08 01:30 -05:00 | 2026-03-08 03:00 -04:00 | 2026-03-08 03:30 -04:00
        @hourly          | America/New_York    | 2026-03-08T00:30:00-05:00 | 2026-03-08 01:00 -05:00 | 2026-03-08 03:00 -04:00 | 2026-03-08 04:00 -04:00
        */30 * * * *     | Australia/Lord_Howe | 2026-10-04T01:00:00+10:30 | 2026-10-04 01:30 +10:30 | 2026-10-04 02:30 +11:00 | 2026-10-04 03:00 +11:00
        // Ticks that are all in the gap are left out, as there is no such hour.
        */30 2 * * *     | America/New_York    | 2026-03-08T00:00:00-05:00 | 2026-03-09 02:00 -04:00 | 2026-03-09 02:30 -04:00
    ");
}

#[test]
fn a_ticking_schedule_keeps_its_rhythm_when_the_clock_is_set_back() {
    fires("
        */30 * * * * | America/New_York    | 2026-11-01T00:59:00-04:00 | 2026-11-01 01:00 -04:00 | 2026-11-01 01:30 -04:00 | 2026-11-01 01:00 -05:00 | 2026-11-01 01:30 -05:00 | 2026-11-01 02:00 -05:00
        0 * * * *    | America/New_York    | 2026-11-01T01:00:00-04:00 | 2026-11-01 01:00 -05:00 | 2026-11-01 02:00 -05:00 | 2026-11-01 03:00 -05:00
        */30 * * * * | Australia/Lord_Howe | 2026-04-05T01:00:00+11:00 | 2026-04-05 01:30 +11:00 | 2026-04-05 01:30 +10:30 | 2026-04-05 02:00 +10:30
        // The first of the second pass comes although the clock has shown a later time.
        */30 1 * * * | America/New_York    | 2026-11-01T01:59:00-04:00 | 2026-11-01 01:00 -05:00 | 2026-11-01 01:30 -05:00 | 2026-11-02 01:00 -05:00
    ");
}

#[test]
fn the_last_days_of_months_and_leap_years_are_right() {
    fires("
        0 0 31 * *    | UTC           | 2026-01-31T00:00:00Z | 2026-03-31 00:00 +00:00 | 2026-05-31 00:00 +00:00 | 2026-07-31 00:00 +00:00
        0 0 29 2 *    | UTC           | 2024-02-29T00:00:00Z | 2028-02-29 00:00 +00:00 | 2032-02-29 00:00 +00:00
        // 2100 is not a leap year.
        0 0 29 2 *    | Europe/Berlin | 2092-03-01T00:00:00Z | 2096-02-29 00:00 +01:00 | 2104-02-29 00:00 +01:00
        0 0 L 2 *     | UTC           | 2096-01-01T00:00:00Z | 2096-02-29 00:00 +00:00 | 2097-02-28 00:00 +00:00 | 2098-02-28 00:00 +00:00 | 2099-02-28 00:00 +00:00 | 2100-02-28 00:00 +00:00
        // The last Friday of February 2020 was the 28th, neither odd nor the last day.
        0 0 */2,L 2 5L | UTC          | 2019-03-01T00:00:00Z | 2022-02-25 00:00 +00:00
        // A fifth Monday of February is a 29th: the rarest day there is.
        0 0 * 2 1#5   | UTC           | 2044-03-01T00:00:00Z | 2072-02-29 00:00 +00:00 | 2112-02-29 00:00 +00:00
        59 23 31 12 * | UTC           | 2199-12-31T23:59:00Z | 2200-12-31 23:59 +00:00 | 2201-12-31 23:59 +00:00
    ");
}
