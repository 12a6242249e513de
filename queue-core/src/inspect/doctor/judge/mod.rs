//! Judges the facts. Pure functions.

mod rights;
mod server;
mod work;

pub(super) use rights::{judge_of_processes as rights_of_processes, judge_own as own_rights};
pub(super) use server::encoding;
pub(super) use server::judge as server;
pub(super) use work::judge as work;

use super::{Finding, Severity};
use crate::inspect::grouped;

fn error(check: &'static str, what: String, why: &str, next: impl Into<String>) -> Finding {
    finding(Severity::Error, check, what, why, next)
}

fn warning(check: &'static str, what: String, why: &str, next: impl Into<String>) -> Finding {
    finding(Severity::Warning, check, what, why, next)
}

fn finding(
    severity: Severity,
    check: &'static str,
    what: String,
    why: &str,
    next: impl Into<String>,
) -> Finding {
    Finding {
        severity,
        check,
        what,
        why: why.to_owned(),
        next: next.into(),
    }
}

/// Returns `1 job` or `2 jobs`.
fn jobs(count: i64) -> String {
    match count {
        1 => "1 job".to_owned(),
        count => format!("{} jobs", grouped(count.unsigned_abs())),
    }
}

/// Judges the version of the schema against the one this program knows.
pub(super) fn schema(name: &str, version: i32, known: i32) -> Vec<Finding> {
    let found = match version {
        0 => error(
            "not_migrated",
            format!("the schema `{name}` has no tables of the queue"),
            "nothing can be enqueued or run",
            "run `queue migrate`; if the tables are in another schema, name it with `--schema`",
        ),
        version if version < known => error(
            "schema_old",
            format!("the schema `{name}` is at version {version}, and this program needs {known}"),
            "processes of this version do not start on it",
            "run `queue migrate`",
        ),
        version if version > known => warning(
            "schema_new",
            format!("the schema `{name}` is at version {version}, and this program knows {known}"),
            "this version works only on tables of the version that follows it",
            "upgrade this program",
        ),
        _ => return Vec::new(),
    };
    vec![found]
}

/// Judges whether processes run jobs in this database.
pub(super) fn origin(is_original: bool) -> Option<Finding> {
    (!is_original).then(|| {
        error(
            "restored_copy",
            "this database is a restored copy that nobody has accepted".to_owned(),
            "processes that start here run no job, as the original may run them too",
            "if this database replaces the original, or its jobs may run again here: `queue restored accept`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_of_another_version_is_reported() {
        let checks = [(0, "not_migrated"), (3, "schema_old"), (5, "schema_new")];
        for (version, check) in checks {
            assert_eq!(schema("queue", version, 4)[0].check, check);
        }
        assert_eq!(schema("queue", 4, 4), []);
    }
}
