//! How schedules are described.

use super::*;

#[test]
fn a_few_times_a_day_are_described_by_their_days() {
    reads("
        0 9 * * *                          | every day at 09:00 (Europe/Berlin)
        0 9 * * * UTC                      | every day at 09:00 (UTC)
        @daily                             | every day at 00:00 (Europe/Berlin)
        15 30 9 * * *                      | every day at 09:30:15 (Europe/Berlin)
        0 9,17 * * *                       | every day at 09:00 and 17:00 (Europe/Berlin)
        */30 9 * * *                       | every day at 09:00 and 09:30 (Europe/Berlin)
        0 9 * * mon-fri                    | every weekday at 09:00 (Europe/Berlin)
        0 9 * * 0,6                        | every Saturday and Sunday at 09:00 (Europe/Berlin)
        30 8 * 5 1,4                       | every Monday and Thursday in May at 08:30 (Europe/Berlin)
        @weekly                            | every Sunday at 00:00 (Europe/Berlin)
        @monthly                           | on the 1st of every month at 00:00 (Europe/Berlin)
        @yearly                            | on the 1st of January at 00:00 (Europe/Berlin)
        0 0 29 2 *                         | on the 29th of February at 00:00 (Europe/Berlin)
        0 9 * 1-3 *                        | every day in January to March at 09:00 (Europe/Berlin)
        0 0 1-7,15,22 * *                  | on the 1st to 7th, 15th and 22nd of every month at 00:00 (Europe/Berlin)
        0 0 L * *                          | on the last day of every month at 00:00 (Europe/Berlin)
        0 0 1,L 3 *                        | on the 1st and last day of March at 00:00 (Europe/Berlin)
        0 0 * * 1#2                        | on the second Monday of every month at 00:00 (Europe/Berlin)
        0 0 * 12 5L                        | on the last Friday of December at 00:00 (Europe/Berlin)
        0 0 13 * 5                         | on the 13th of every month and every Friday at 00:00 (Europe/Berlin)
        0 0 */15 * 5                       | on the 1st, 16th and 31st of every month, if it is a Friday, at 00:00 (Europe/Berlin)
        0 0 13 * */2                       | on the 13th of every month, if it is a Tuesday, Thursday, Saturday or Sunday, at 00:00 (Europe/Berlin)
        0 0 1-31 * 5                       | every day at 00:00 (Europe/Berlin)
        every day at 15:20 and 00:40       | every day at 00:40 and 15:20 (Europe/Berlin)
        every weekend at 10:00             | every Saturday and Sunday at 10:00 (Europe/Berlin)
        every monday at 8:30 in Asia/Tokyo | every Monday at 08:30 (Asia/Tokyo)
    ");
}

#[test]
fn many_times_a_day_are_described_by_their_rhythm() {
    reads("
        * * * * *               | every minute
        */5 * * * *             | every 5 minutes
        0-59/5 * * * *          | every 5 minutes
        2/5 * * * *             | every 5 minutes from minute 2
        0 * * * *               | every hour
        15 * * * *              | every hour at minute 15
        */7 * * * *             | at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56
        * * * * * *             | every second
        */30 * * * * *          | every 30 seconds
        15 * * * * *            | at second 15
        */10 */20 * * * *       | every 10 seconds during minutes 0, 20 and 40
        0 */2 * * *             | every 2 hours (Europe/Berlin)
        15 */12 * * *           | every 12 hours from 00:15 (Europe/Berlin)
        30 9-17 * * *           | every hour from 09:30 to 17:30 (Europe/Berlin)
        0 20-4 * * *            | every hour from 20:00 to 04:00 (Europe/Berlin)
        */5 9-17 * * 1-5        | every 5 minutes from 09:00 to 17:55 on weekdays (Europe/Berlin)
        */5 9 * * *             | every 5 minutes from 09:00 to 09:55 (Europe/Berlin)
        */5 9,12,15 * * mon,fri | every 5 minutes during hours 9, 12 and 15 on Mondays and Fridays (Europe/Berlin)
        0 1,3,5,7,9,11,20 * * * | at minute 0 during hours 1, 3, 5, 7, 9, 11 and 20 (Europe/Berlin)
        */5 * * 7 *             | every 5 minutes in July (Europe/Berlin)
        */5 * 15 * *            | every 5 minutes on the 15th of every month (Europe/Berlin)
        every 90 minutes        | every 90 minutes, counted from 1970-01-01 00:00 UTC
        @every 1h               | every hour, counted from 1970-01-01 00:00 UTC
    ");
}

/// Asserts for each row that the schedule is described with these words.
#[track_caller]
fn reads(rows: &str) {
    for row in table(rows) {
        let [text, words] = row[..] else {
            panic!("{row:?}");
        };
        let schedule = Schedule::parse(text, Tz::Europe__Berlin);
        let schedule = schedule.unwrap_or_else(|invalid| panic!("{text}: {invalid}"));
        assert_eq!(schedule.describe(), words, "{text}");
    }
}
