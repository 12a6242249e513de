//! The tables of `queue.toml`, read key by key, each with its place.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::given::Given;
use super::problem::{Place, Problem};

/// Likeness from which an unknown key is taken for a slip of the known one.
const ALIKE: f64 = 0.75;

/// The text of the file, to find lines and columns in.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Document<'_> {
    pub(super) fn place(&self, span: Range<usize>, key: &str) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::Line {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            key: key.to_owned(),
        }
    }
}

/// One table of the file. Remembers which keys were asked for, so that the others can be refused.
pub(super) struct Section<'a> {
    document: Document<'a>,
    table: &'a DeTable<'a>,
    path: String,
    known: Vec<&'static str>,
}

/// One value of the file, with its place.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    document: Document<'a>,
    value: &'a Spanned<DeValue<'a>>,
    pub(super) key: String,
}

impl<'a> Section<'a> {
    pub(super) fn root(document: Document<'a>, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            document,
            table: table.get_ref(),
            path: String::new(),
            known: Vec::new(),
        }
    }

    /// The value of a key that the table may have.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.known.push(key);
        let value = self.table.get(key)?;
        Some(Entry {
            document: self.document,
            value,
            key: self.key(key),
        })
    }

    /// All values of a table whose keys are free, with their names.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Entry<'a>)> {
        self.table.iter().map(|(name, value)| {
            let name = name.get_ref().as_ref();
            (
                name,
                Entry {
                    document: self.document,
                    value,
                    key: self.key(name),
                },
            )
        })
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn refuse_unknown(self, problems: &mut Vec<Problem>) {
        for name in self.table.keys() {
            let key = name.get_ref().as_ref();
            if !self.known.contains(&key) {
                problems.push(Problem {
                    place: self.document.place(name.span(), &self.key(key)),
                    message: unknown_key(key, &self.known),
                });
            }
        }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

impl<'a> Entry<'a> {
    pub(super) fn given(&self) -> Given<'a> {
        Given::Value(self.value.get_ref())
    }

    pub(super) fn place(&self) -> Place {
        self.document.place(self.value.span(), &self.key)
    }

    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            place: self.place(),
            message: message.into(),
        }
    }

    pub(super) fn table(&self) -> Result<Section<'a>, Problem> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Section {
                document: self.document,
                table,
                path: self.key.clone(),
                known: Vec::new(),
            }),
            _ => Err(self.problem(format!("expected a table, found {}", self.given()))),
        }
    }

    /// The elements of an array; `what` says of what.
    pub(super) fn array(&self, what: &str) -> Result<Vec<Entry<'a>>, Problem> {
        let DeValue::Array(array) = self.value.get_ref() else {
            return Err(self.problem(format!("expected {what}, found {}", self.given())));
        };
        let elements = array.iter().enumerate();
        Ok(elements
            .map(|(position, value)| Entry {
                document: self.document,
                value,
                key: format!("{}[{position}]", self.key),
            })
            .collect())
    }

    /// An array of texts, with every element that is none as a problem.
    pub(super) fn texts(&self, what: &str) -> Result<Vec<(&'a str, Entry<'a>)>, Vec<Problem>> {
        let elements = self.array(what).map_err(|problem| vec![problem])?;
        let mut texts = Vec::new();
        let mut problems = Vec::new();
        for element in elements {
            match element.given().text() {
                Ok(text) => texts.push((text, element)),
                Err(message) => problems.push(element.problem(message)),
            }
        }
        if problems.is_empty() {
            Ok(texts)
        } else {
            Err(problems)
        }
    }
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    match nearest {
        Some((likeness, candidate)) if likeness >= ALIKE => {
            format!("unknown key; did you mean `{candidate}`?")
        }
        _ => format!("unknown key; known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "a = 1\né = { b = 2 }\n";
        let document = Document {
            path: Path::new("queue.toml"),
            text,
        };
        for (needle, place) in [
            ("a", "queue.toml:1:1"),
            ("b", "queue.toml:2:7"),
            ("2", "queue.toml:2:11"),
        ] {
            let start = text.find(needle).unwrap();
            assert_eq!(document.place(start..start + 1, "").to_string(), place);
        }
    }

    #[test]
    fn an_unknown_key_suggests_the_nearest() {
        let known = ["queues", "concurrency", "poll_interval"];
        for (key, message) in [
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
            assert_eq!(unknown_key(key, &known), message, "{key}");
        }
    }
}
