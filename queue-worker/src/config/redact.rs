//! Which fields of jobs are redacted.

use std::collections::BTreeMap;

use queue_core::{REDACTED_BY_DEFAULT, Redaction, check_kind};
use serde::Deserialize;

use super::check::Check;

/// The fields of arguments and errors that people do not see: in logs, on the command line and on pages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct RedactSettings {
    /// The names or paths of fields of all kinds, as [`Redaction`] describes them.
    pub fields: Vec<String>,
    /// Further ones of single kinds.
    pub kinds: BTreeMap<String, Vec<String>>,
}

impl RedactSettings {
    /// Returns what redacts these fields.
    pub fn redaction(&self) -> Redaction {
        let of_kinds = self.kinds.iter();
        Redaction::new(
            self.fields.iter().map(String::as_str),
            of_kinds.map(|(kind, fields)| (kind.as_str(), fields.as_slice())),
        )
    }

    pub(super) fn check(&self, check: &mut Check) {
        check_fields("fields", &self.fields, check);
        check.within("kinds", |check| {
            for (kind, fields) in &self.kinds {
                check.name(kind, Some(kind), check_kind);
                check_fields(kind, fields, check);
            }
        });
    }
}

fn check_fields(key: &str, fields: &[String], check: &mut Check) {
    let is_empty = |field: &String| !field.chars().any(char::is_alphanumeric);
    if let Some(field) = fields.iter().find(|field| is_empty(field)) {
        let expected = "expected names of fields, or paths such as \"user.email\"";
        check.refuse(key, format!("{expected}, found {field:?}"));
    }
}

impl Default for RedactSettings {
    fn default() -> Self {
        Self {
            fields: REDACTED_BY_DEFAULT.map(str::to_owned).to_vec(),
            kinds: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_needs_a_name() {
        let settings = RedactSettings {
            fields: vec!["pin".to_owned(), ".".to_owned()],
            kinds: BTreeMap::from([("a b".to_owned(), vec![String::new()])]),
        };
        let mut check = Check::default();
        settings.check(&mut check);
        let problems: Vec<String> = check.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "fields: expected names of fields, or paths such as \"user.email\", found \".\"",
                "kinds.a b: ' ' is not allowed in a name; use letters, digits and `_.:/-`",
                "kinds.a b: expected names of fields, or paths such as \"user.email\", found \"\"",
            ]
        );
    }
}
