//! `queue.toml` as a tree of values with their places, deserialized by serde.
//!
//! serde stops at the first invalid value. That value is removed from the tree, its problem is
//! recorded with its place, and the tree is read again, until the rest is valid. Values from the
//! environment and from flags are inserted into the same tree, with places of their own.

use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use super::check::InvalidSetting;
use super::problem::{ConfigProblem, InvalidConfig, SettingPlace};

/// How similar an unknown name must be to a known one to be taken for a typing error.
const ALIKE: f64 = 0.75;

/// A range of bytes of the text; beyond its end for values from elsewhere.
type Span = Range<usize>;

/// The values, their places and their problems.
pub(super) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    root: Spanned<DeValue<'a>>,
    entries: Vec<Entry>,
    /// The places of the spans beyond the end of the text.
    outside: Vec<SettingPlace>,
    problems: Vec<ConfigProblem>,
    /// The keys with a problem.
    refused: Vec<String>,
}

/// The key and the position of a value.
struct Entry {
    /// The full key: `workers[0].concurrency`.
    key: String,
    name_span: Span,
    span: Span,
}

impl<'a> Document<'a> {
    /// Parses the file. Records all syntax errors; a file with any is treated as empty.
    pub(super) fn parse(path: &'a Path, text: &'a str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let root = match errors.is_empty() {
            true => root.into_inner(),
            false => DeTable::new(),
        };
        let mut document = Self {
            path,
            text,
            root: Spanned::new(0..0, DeValue::Table(root)),
            entries: Vec::new(),
            outside: Vec::new(),
            problems: Vec::new(),
            refused: Vec::new(),
        };
        for error in errors {
            let place = document.place(&error.span().unwrap_or_default(), "");
            document.refuse(place, error.message());
        }
        document
    }

    /// Returns the root table, to insert values into.
    pub(super) fn root(&mut self) -> &mut DeValue<'a> {
        self.root.get_mut()
    }

    /// Returns a span that stands for a place outside of the file.
    pub(super) fn span_of(&mut self, place: SettingPlace) -> Span {
        self.outside.push(place);
        let start = self.text.len() + self.outside.len();
        start..start
    }

    /// Reads all valid values, and records a problem for each invalid one.
    pub(super) fn read<T: DeserializeOwned + Default>(&mut self) -> T {
        self.entries.clear();
        list(self.root.get_ref(), "", &mut self.entries);
        loop {
            match T::deserialize(ValueDeserializer::from(self.root.clone())) {
                Ok(value) => return value,
                Err(error) if self.take_out(&error) => {}
                Err(error) => {
                    self.refuse(SettingPlace::File(self.path.to_owned()), error.message());
                    return T::default();
                }
            }
        }
    }

    /// Removes the value that an error is about, and records the error. Returns whether the value
    /// was found.
    fn take_out(&mut self, error: &Error) -> bool {
        let span = error.span().unwrap_or_default();
        let is_meant = |entry: &&Entry| entry.name_span == span || entry.span == span;
        // The last one is the innermost.
        let Some(entry) = self.entries.iter().rfind(is_meant) else {
            return false;
        };
        let (key, message) = (entry.key.clone(), plain(error.message()));
        let place = self.place(&span, &key);
        self.refuse_key(key, place, message);
        remove(self.root.get_mut(), &span)
    }

    /// Records the problem of a setting with the place where the setting was given.
    pub(super) fn refuse_setting(&mut self, problem: InvalidSetting) {
        let keys = [Some(&problem.key), problem.other_key.as_ref()];
        let given = keys.into_iter().flatten().find_map(|key| {
            let entry = self.entries.iter().find(|entry| entry.key == *key)?;
            Some(self.place(&entry.span, key))
        });
        let place = given.unwrap_or_else(|| SettingPlace::Default(problem.key.clone()));
        self.refuse_key(problem.key, place, problem.message);
    }

    /// Records a problem, unless it is about a table of the file from which an invalid value was
    /// removed: the problem might only come from the removal.
    fn refuse_key(&mut self, key: String, place: SettingPlace, message: String) {
        let is_of_file = matches!(place, SettingPlace::Line { .. });
        let is_inside = |inner: &String| {
            let rest = inner.strip_prefix(&key);
            rest.is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        if !is_of_file || !self.refused.iter().any(is_inside) {
            self.refuse(place, message);
            self.refused.push(key);
        }
    }

    pub(super) fn refuse(&mut self, place: SettingPlace, message: impl Into<String>) {
        let message = message.into();
        self.problems.push(ConfigProblem { place, message });
    }

    /// Returns all problems, ordered by place, as the error.
    pub(super) fn finish(mut self) -> Result<(), InvalidConfig> {
        if self.problems.is_empty() {
            return Ok(());
        }
        // The sort is stable: problems of one place keep the order in which they were found.
        self.problems
            .sort_by(|one, other| one.place.cmp(&other.place));
        self.problems.dedup();
        Err(InvalidConfig {
            problems: self.problems,
        })
    }

    fn place(&self, span: &Span, key: &str) -> SettingPlace {
        if let Some(position) = span.start.checked_sub(self.text.len() + 1) {
            return self.outside[position].clone();
        }
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        SettingPlace::Line {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            key: key.to_owned(),
        }
    }
}

/// Lists all values, each one before its inner values.
fn list(value: &DeValue<'_>, key: &str, entries: &mut Vec<Entry>) {
    let mut add = |key: String, name_span, value: &Spanned<DeValue<'_>>| {
        let span = value.span();
        entries.push(Entry {
            key: key.clone(),
            name_span,
            span,
        });
        list(value.get_ref(), &key, entries);
    };
    match value {
        DeValue::Table(table) => {
            let dot = if key.is_empty() { "" } else { "." };
            for (name, value) in table {
                add(format!("{key}{dot}{}", name.get_ref()), name.span(), value);
            }
        }
        DeValue::Array(array) => {
            for (position, value) in array.iter().enumerate() {
                add(format!("{key}[{position}]"), value.span(), value);
            }
        }
        _ => {}
    }
}

/// Removes the innermost values with this span. Returns whether there were any.
fn remove(value: &mut DeValue<'_>, span: &Span) -> bool {
    let mut is_removed = false;
    match value {
        DeValue::Table(table) => {
            for (_, value) in table.iter_mut() {
                is_removed |= remove(value.get_mut(), span);
            }
            let is_meant = |(name, value): &(&Spanned<_>, &Spanned<_>)| {
                name.span() == *span || value.span() == *span
            };
            if !is_removed && let Some((name, _)) = table.iter().find(is_meant) {
                let name = name.get_ref().to_string();
                is_removed = table.remove(name.as_str()).is_some();
            }
        }
        DeValue::Array(array) => {
            for value in array.iter_mut() {
                is_removed |= remove(value.get_mut(), span);
            }
            if !is_removed {
                let count = array.len();
                let kept = array.iter().filter(|value| value.span() != *span);
                *array = kept.cloned().collect();
                is_removed = array.len() < count;
            }
        }
        _ => {}
    }
    is_removed
}

/// Rewrites a message of serde in terms of TOML. Other messages stay as they are.
fn plain(message: &str) -> String {
    let unknown = message.strip_prefix("unknown field `");
    if let Some((name, known)) = unknown.and_then(|rest| rest.split_once("`, expected ")) {
        // The names are in backticks.
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        return match nearest(name, known.iter().copied()) {
            Some(near) => format!("unknown key; did you mean `{near}`?"),
            None => format!("unknown key; known here: {}", known.join(", ")),
        };
    }
    let of_serde = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|message| message.rsplit_once(", expected "));
    let Some((found, expected)) = of_serde else {
        return message.replace("unknown variant", "unknown value");
    };
    let expected = match expected {
        "a string" | "path string" => "a string",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "a table",
        "i16" => "a whole number from -32768 to 32767",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "usize" => "a whole number of at least 0",
        other => other,
    };
    let found = match found {
        "map" => "a table",
        "sequence" => "an array",
        // It may be a secret, such as the URL of a database or the value of a header.
        _ if found.starts_with("string ") && matches!(expected, "a table" | "an array") => {
            "a string"
        }
        _ => ["string ", "boolean ", "integer ", "floating point "]
            .iter()
            .find_map(|kind| found.strip_prefix(kind))
            .map_or(found, |value| value.trim_matches('`')),
    };
    format!("expected {expected}, found {found}")
}

/// Returns the most similar known name, if one is similar enough to suggest.
pub(crate) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "a = 1\né = { b = 2 }\n";
        let document = Document::parse(Path::new("queue.toml"), text);
        for (needle, place) in [
            ("a", "queue.toml:1:1"),
            ("b", "queue.toml:2:7"),
            ("2", "queue.toml:2:11"),
        ] {
            let start = text.find(needle).unwrap();
            assert_eq!(document.place(&(start..start + 1), "").to_string(), place);
        }
    }

    #[test]
    fn an_unknown_key_suggests_the_nearest() {
        let message = "expected one of `queues`, `concurrency`, `poll_interval`";
        for (key, expected) in [
            ("concurency", "unknown key; did you mean `concurrency`?"),
            ("queue", "unknown key; did you mean `queues`?"),
            (
                "polling_interval",
                "unknown key; did you mean `poll_interval`?",
            ),
            (
                "x",
                "unknown key; known here: queues, concurrency, poll_interval",
            ),
        ] {
            let message = format!("unknown field `{key}`, {message}");
            assert_eq!(plain(&message), expected, "{key}");
        }
    }
}
