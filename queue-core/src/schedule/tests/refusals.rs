//! Invalid schedules, and the errors.

use super::*;

#[test]
fn an_invalid_schedule_is_rejected_with_the_reason() {
    for row in table("
        0 9 * *                     | `0 9 * *` has the wrong number of fields (4); crontab has 5
        0 0 0 9 * * *               | has the wrong number of fields (7)
        61 * * * *                  | `61` in the minute field: minutes go from 0 to 59
        0 24 * * *                  | `24` in the hour field: hours go from 0 to 23
        60 0 0 * * *                | `60` in the second field: seconds go from 0 to 59
        */90 * * * *                | `*/90` in the minute field: the step is larger than the range
        0 0 * * foo                 | unknown weekday `foo`, use mon to sun or 0 to 7
        0 0 * foo *                 | unknown month `foo`, use jan to dec or 1 to 12
        0 0 15W * *                 | `15W` in the day-of-month field: the nearest weekday (`W`) is not
        0 0 LW * *                  | `LW` in the day-of-month field: the nearest weekday
        0 0 * * L                   | `L` in the weekday field: write which weekday
        0 0 * * 1#6                 | `1#6` in the weekday field: 1 to 5 must follow the `#`
        0 0 * * 1-3#2               | only one weekday may stand before `#` or `L`
        0 0 L, * *                  | a list has an empty entry
        0 9 * * mon-fri/x           | `mon-fri/x` in the weekday field
        0 9 * * mon/x               | `mon/x` in the weekday field
        0 0 30 2 *                  | `0 0 30 2 *` can never fire
        0 0 31 4,6,9,11 *           | can never fire
        @reboot                     | `@reboot` is invalid: a schedule does not
        @fortnightly                | `@fortnightly` is invalid: use @yearly
        @every                      | the period `` is invalid: use at least 1 second
        @every 5x                   | the period `5x` is invalid: write numbers with w, d, h, m or s
        every 0 minutes             | the period `0 minutes` is invalid: use at least 1 second
        every 500 days              | the period `500 days` is invalid: use at most 366 days
        0 9 * * * Europe/Berln      | did you mean `Europe/Berlin`?
        every day at 9am in Berlin  | unknown time zone `Berlin`; did you mean `Europe/Berlin`?
        TZ=UTC 0 9 * * * Asia/Tokyo | names two time zones, `UTC` and `Asia/Tokyo`
        tomorrow                    | `tomorrow` in `tomorrow` is not understood; write for example `every 5
        every blue moon             | `blue` in `every blue moon` is not understood
        every                       | `every` in `every` is not understood
        every day at 25:00          | `25:00` in `every day at 25:00` is not understood
        every day at 13pm           | `13pm` in
        every day at 9am sharp      | `sharp` in
        every 2 days at 9am         | `at` in
        every 32nd of the month     | `32nd` in
        every monday and at noon    | `at` in
        every 1 5 minutes           | `5` in `every 1 5 minutes` is not understood
        every 1 monday              | `monday` in
        every 1 1 day               | `1` in
        every +5 minutes            | `+5` in
        every +5th of the month     | `+5th` in
        every 99999999999 minutes   | `99999999999` in
        every 15th and friday       | `friday` in `every 15th and friday` is not understood
        every 1st, monday at noon   | `monday` in
        every friday, 15th          | `15th` in
        every day at 9am, sharp     | `sharp` in
    ") {
        let [text, message] = row[..] else {
            panic!("{row:?}");
        };
        let error = Schedule::parse(text, Tz::UTC).expect_err(text).to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn a_text_without_a_schedule_is_rejected() {
    for text in ["", "  ", "TZ=UTC", "TZ=UTC "] {
        assert_eq!(Schedule::parse(text, Tz::UTC), Err(InvalidSchedule::Empty));
    }
}

#[test]
fn a_text_that_is_too_long_is_rejected() {
    let long = "* ".repeat(SCHEDULE_BYTES_MAX);
    let error = Schedule::parse(&long, Tz::UTC).unwrap_err();
    assert_eq!(error, InvalidSchedule::TooLong { bytes: 1_000 });
}
