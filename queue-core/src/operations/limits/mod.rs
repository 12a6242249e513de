//! What an operator does to limits while jobs run.
//!
//! Jobs bring their limits with them. What is set here wins over that, for the next claim in every
//! process: under the name of one key (`import/account/7`), of a group, which is the kind unless the
//! job says otherwise (`import`), of a queue (`@queue/mail`) or of a kind (`@kind/import`). The
//! limits of queues and kinds also hold for jobs that bring none. A recurring job whose jobs run one
//! after another has a key of its own (`@recurring/nightly`).

use std::time::Duration;

use sqlx::PgConnection;

use crate::limit::{InvalidLimit, KEY_BYTES_MAX, Rate, interval};
use crate::names::{check_group, check_kind, check_queue, check_recurring_job};
use crate::sql::Schema;
use crate::transitions::unblock::{Unblocked, unblock};

const SET: &str = include_str!("set.sql");
const RESET: &str = include_str!("reset.sql");
const WAITING_KEYS: &str = include_str!("waiting_keys.sql");

/// What is said about a name at run time. What is not said is left to the jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSetting {
    /// How many may run at once; 0 lets none start.
    pub to: Option<u32>,
    /// How many may start in a period.
    pub rate: Option<Rate>,
}

/// Who sets a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// An operator, or the application at run time: it holds until it is changed or reset.
    Operator,
    /// The configuration of a process that starts: it holds where no operator has set anything.
    Configuration,
}

/// What became of a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSet {
    /// Whether it holds now; a configured one does not where an operator has set another.
    pub is_in_force: bool,
    /// What holds now. A rate is told as one start in the time between two.
    pub now: LimitSetting,
    /// How many jobs run beyond the limit. They are left alone, and nothing starts until they have
    /// ended.
    pub beyond: u64,
    /// How many jobs that were blocked have room now.
    pub unblocked: u64,
}

/// Why a limit was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The name or a number is refused.
    #[error(transparent)]
    Invalid(#[from] InvalidLimit),
    /// The database refused, or could not be reached.
    #[error("could not change the limit")]
    Database(#[from] sqlx::Error),
}

/// Sets the limit of a name, instead of what was set before. Lowering it takes nothing away from
/// jobs that run.
///
/// # Errors
/// Refuses a name that no limit can have, and a setting that says nothing or is out of range;
/// returns what the server answered.
pub async fn set(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
    setting: LimitSetting,
    by: SetBy,
) -> Result<LimitSet, LimitError> {
    write(conn, schema, name, setting, by, false).await
}

/// Changes the limit of a name as an operator: as [`set`] does, but what the setting leaves open
/// stays as it was set before.
///
/// # Errors
/// As [`set`].
pub async fn change(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
    setting: LimitSetting,
) -> Result<LimitSet, LimitError> {
    write(conn, schema, name, setting, SetBy::Operator, true).await
}

async fn write(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
    setting: LimitSetting,
    by: SetBy,
    keeps_rest: bool,
) -> Result<LimitSet, LimitError> {
    check(name, setting)?;
    let slots = setting.to.map(|to| i32::try_from(to).unwrap_or(i32::MAX));
    let burst = setting
        .rate
        .map(|rate| i32::try_from(rate.burst).unwrap_or(i32::MAX));
    let row = sqlx::query_as(schema.sql(SET))
        .bind(name)
        .bind(slots)
        .bind(setting.rate.map(|rate| interval(rate.space())))
        .bind(burst)
        .bind(by == SetBy::Configuration)
        .bind(keeps_rest)
        .fetch_optional(&mut *conn)
        .await?;
    // There is no row when an operator has set another at this very moment.
    let mut set = row.map(limit_set).unwrap_or_default();
    set.unblocked = unblock_name(conn, schema, name).await?.jobs;
    Ok(set)
}

/// A row of `set.sql`: whether it is new, slots, seconds between starts, burst, slots beyond it.
type SetRow = (bool, Option<i32>, Option<f64>, Option<i32>, i64);

fn limit_set((is_in_force, to, space, burst, beyond): SetRow) -> LimitSet {
    LimitSet {
        is_in_force,
        now: LimitSetting {
            to: to.map(i32::unsigned_abs),
            rate: space.zip(burst).map(|(space, burst)| Rate {
                starts: 1,
                period: Duration::from_secs_f64(space.abs()),
                burst: burst.unsigned_abs(),
            }),
        },
        beyond: beyond.unsigned_abs(),
        unblocked: 0,
    }
}

/// Removes what was set for a name, so that what the jobs say holds again. Returns whether there
/// was anything.
///
/// # Errors
/// Returns what the server answered.
pub async fn reset(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query(schema.sql(RESET))
        .bind(name)
        .execute(&mut *conn)
        .await?;
    unblock_name(conn, schema, name).await?;
    Ok(removed.rows_affected() == 1)
}

/// Lets jobs go on for which there is room now.
async fn unblock_name(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<Unblocked, sqlx::Error> {
    let keys: Vec<String> = sqlx::query_scalar(schema.sql(WAITING_KEYS))
        .bind(name)
        .fetch_all(&mut *conn)
        .await?;
    unblock(conn, schema, &keys).await
}

/// Refuses a name that no limit can have, and a setting that says nothing or is out of range.
///
/// # Errors
/// Says what is wrong.
pub fn check(name: &str, setting: LimitSetting) -> Result<(), InvalidLimit> {
    check_name(name)?;
    if setting == LimitSetting::default() {
        return Err(InvalidLimit::of(
            name,
            "say how many at once, or at which rate",
        ));
    }
    if setting.to.is_some_and(|to| i32::try_from(to).is_err()) {
        let reason = format!("allow at most {} jobs at once", i32::MAX);
        return Err(InvalidLimit::of(name, reason));
    }
    if let Some(Err(reason)) = setting.rate.map(Rate::check) {
        return Err(InvalidLimit::of(name, reason));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), InvalidLimit> {
    if let Some(queue) = name.strip_prefix("@queue/") {
        return Ok(check_queue(queue)?);
    }
    if let Some(kind) = name.strip_prefix("@kind/") {
        return Ok(check_kind(kind)?);
    }
    if let Some(schedule) = name.strip_prefix("@recurring/") {
        return Ok(check_recurring_job(schedule)?);
    }
    if name.starts_with('@') {
        let reason = "a name with `@` is `@queue/NAME`, `@kind/NAME` or `@recurring/NAME`";
        return Err(InvalidLimit::of(name, reason));
    }
    if name.len() > KEY_BYTES_MAX || name.contains('\0') {
        let reason = format!("a name has at most {KEY_BYTES_MAX} bytes, and no NUL character");
        return Err(InvalidLimit::of(name, reason));
    }
    let group = name.split('/').next().unwrap_or_default();
    Ok(check_group(group)?)
}

/// Reads a rate as people write it: `100/1m`, or `5/s`.
///
/// # Errors
/// Says what was expected.
pub fn parse_rate(text: &str, burst: Option<u32>) -> Result<Rate, String> {
    let expected =
        || format!("{text:?} is not a rate: write starts and a period, such as `100/1m`");
    let (starts, period) = text.split_once('/').ok_or_else(expected)?;
    let starts: u32 = starts.trim().parse().map_err(|_| expected())?;
    let period = parse_period(period.trim()).ok_or_else(expected)?;
    let rate = Rate {
        starts,
        period,
        burst: burst.unwrap_or(starts),
    };
    rate.check().map_err(str::to_owned)?;
    Ok(rate)
}

/// Reads a number and a unit; the number may be left out.
fn parse_period(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = match number {
        "" => 1,
        digits => digits.parse().ok()?,
    };
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_groups_queues_and_kinds_are_accepted() {
        let setting = LimitSetting {
            to: Some(3),
            rate: None,
        };
        for name in [
            "import",
            "import/account/7 ü",
            "@queue/mail",
            "@kind/import",
            "@recurring/nightly",
        ] {
            check(name, setting).unwrap();
        }
        for name in [
            "",
            "@mail",
            "@queue/",
            "@recurring",
            "@recurring/",
            "@kind/two words",
            "two words/x",
            "a\0",
        ] {
            assert!(check(name, setting).is_err(), "{name:?} was accepted");
        }
        assert!(check("import", LimitSetting::default()).is_err());
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        let rate = parse_rate("100/1m", Some(5)).unwrap();
        assert_eq!(
            (rate.starts, rate.period.as_secs(), rate.burst),
            (100, 60, 5)
        );
        assert_eq!(parse_rate("5/s", None).unwrap().burst, 5);
        assert_eq!(
            parse_rate("1 / 250ms", None).unwrap().space().as_millis(),
            250
        );
        for text in ["", "5", "5/", "x/1m", "5/1y", "0/1s", "5/0s", "-1/s"] {
            assert!(parse_rate(text, None).is_err(), "{text:?} was accepted");
        }
    }
}
