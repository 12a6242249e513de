//! Setting limits while jobs run.
//!
//! Jobs bring their own limits. A limit that is set here replaces them, from the next claim of any
//! process on. Its name is that of one key (`import/account/7`), of a group, which is the kind by default
//! (`import`), of a queue (`@queue/mail`), of a kind (`@kind/import`) or of a tenant in fair queues
//! (`@tenant/acme`). These three also apply to jobs without limits. A recurring job whose jobs run one after
//! another has a key of its own (`@recurring/nightly`).

use std::time::Duration;

use sqlx::PgConnection;

use crate::context::check_tenant;
use crate::limit::{InvalidLimit, KEY_BYTES_MAX, Rate, interval};
use crate::names::{check_group, check_kind, check_queue, check_recurring_job};
use crate::sql::Schema;
use crate::transitions::unblock::{Unblocked, unblock};

const SET: &str = include_str!("set.sql");
const RESET: &str = include_str!("reset.sql");
const WAITING_KEYS: &str = include_str!("waiting_keys.sql");

/// The limit of a name. What is not set is left to the jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSetting {
    /// How many may run at once; 0 lets none start.
    pub to: Option<u32>,
    /// How many may start in a period.
    pub rate: Option<Rate>,
}

/// The origin of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// An operator, or the application at run time: it applies until it is changed or reset.
    Operator,
    /// The configuration of a process that starts: it applies unless an operator has set a limit.
    Configuration,
}

/// The result of setting a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSet {
    /// Whether the setting applies now. A configured one does not if an operator has set another.
    pub is_in_force: bool,
    /// The limit that applies now. A rate is given as one start per interval between two starts.
    pub now: LimitSetting,
    /// How many jobs run in excess of the limit. They go on, and no job starts until enough have ended.
    pub beyond: u64,
    /// How many blocked jobs have room now and became ready.
    pub unblocked: u64,
}

/// Why a limit was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The name or a number is not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidLimit),
    /// The database returned an error, or could not be reached.
    #[error("could not change the limit")]
    Database(#[from] sqlx::Error),
}

/// Sets the limit of a name, and replaces the one that was set before. Running jobs keep their slots when
/// it is lowered.
///
/// # Errors
/// Refuses an invalid name, and a setting that is empty or out of range;
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

/// Changes the limit of a name as an operator: as [`set`] does, but parts that the setting leaves out
/// stay as they were set before.
///
/// # Errors
/// The same as those of [`set`].
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
    let small = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let row = schema
        .query_as(SET)
        .bind(name)
        .bind(setting.to.map(small))
        .bind(setting.rate.map(|rate| interval(rate.space())))
        .bind(setting.rate.map(|rate| small(rate.burst)))
        .bind(by == SetBy::Configuration)
        .bind(keeps_rest)
        .fetch_optional(&mut *conn)
        .await?;
    // There is no row if an operator sets another limit at the same moment.
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

/// Removes the limit that was set for a name, so that the limits of the jobs apply again. Returns whether
/// there was one.
pub async fn reset(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<bool, sqlx::Error> {
    let removed = schema.query(RESET).bind(name).execute(&mut *conn).await?;
    unblock_name(conn, schema, name).await?;
    Ok(removed.rows_affected() == 1)
}

/// Unblocks jobs that have room now.
async fn unblock_name(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<Unblocked, sqlx::Error> {
    let keys: Vec<String> = schema
        .query_scalar(WAITING_KEYS)
        .bind(name)
        .fetch_all(&mut *conn)
        .await?;
    unblock(conn, schema, &keys).await
}

/// Refuses an invalid name, and a setting that is empty or out of range.
pub fn check(name: &str, setting: LimitSetting) -> Result<(), InvalidLimit> {
    check_name(name)?;
    let refuse = |reason: &str| Err(InvalidLimit::of(name, reason));
    if setting == LimitSetting::default() {
        return refuse("give the number of jobs at once, or a rate");
    }
    if setting.to.is_some_and(|to| i32::try_from(to).is_err()) {
        return refuse(&format!("allow at most {} jobs at once", i32::MAX));
    }
    setting.rate.map_or(Ok(()), Rate::check).or_else(refuse)
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
    if let Some(tenant) = name.strip_prefix("@tenant/") {
        return check_tenant(tenant).map_err(|invalid| InvalidLimit::of(name, invalid.to_string()));
    }
    if name.starts_with('@') {
        let reason =
            "a name with `@` is `@queue/NAME`, `@kind/NAME`, `@tenant/NAME` or `@recurring/NAME`";
        return Err(InvalidLimit::of(name, reason));
    }
    if name.len() > KEY_BYTES_MAX || name.contains('\0') {
        let reason = format!("a name has at most {KEY_BYTES_MAX} bytes, and no NUL character");
        return Err(InvalidLimit::of(name, reason));
    }
    let group = name.split('/').next().unwrap_or_default();
    Ok(check_group(group)?)
}

/// Parses a rate such as `100/1m` or `5/s`.
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

/// Parses a number and a unit; without a number it is 1.
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
            "@tenant/Acme & Co",
            "@recurring/nightly",
        ] {
            check(name, setting).unwrap();
        }
        for name in [
            "",
            "@mail",
            "@queue/",
            "@tenant/",
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
    fn a_rate_is_a_number_of_starts_and_a_period() {
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
