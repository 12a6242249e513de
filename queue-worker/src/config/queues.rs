//! The ordered list of queues that a worker serves.

use std::fmt;
use std::str::FromStr;

use queue_core::check_queue;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// The queues that a worker serves, the most urgent first.
///
/// An entry is a name (`mail`), a prefix (`reports*`), or `*` for every queue that no earlier entry
/// matches; `*` must be the last one. Queues are served in the order of the list.
///
/// ```
/// use queue_worker::config::QueueList;
///
/// let queues: QueueList = "mail, reports*, *".parse()?;
/// assert_eq!(queues.matches("mail"), Some(0));
/// assert_eq!(queues.matches("reports_eu"), Some(1));
/// assert_eq!(queues.matches("anything"), Some(2));
/// # Ok::<(), queue_worker::config::InvalidQueueList>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueList {
    patterns: Vec<QueuePattern>,
}

/// One entry of a [`QueueList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueuePattern {
    /// The queue with this name.
    Exact(String),
    /// Every queue with a name that starts with this prefix.
    Prefix(String),
    /// Every queue.
    Any,
}

/// The reason why a list of queues is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidQueueList(String);

impl QueueList {
    /// Returns the entries in their order; there is at least one.
    pub fn patterns(&self) -> &[QueuePattern] {
        &self.patterns
    }

    /// Returns the position of the first entry that matches the queue: its urgency for the worker.
    pub fn matches(&self, queue: &str) -> Option<usize> {
        self.patterns
            .iter()
            .position(|pattern| pattern.matches(queue))
    }

    /// Returns the names of the entries without a `*`, in their order.
    pub fn exact_names(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().filter_map(|pattern| match pattern {
            QueuePattern::Exact(name) => Some(name.as_str()),
            QueuePattern::Prefix(_) | QueuePattern::Any => None,
        })
    }

    /// Returns whether new queues may match, because an entry is a prefix or `*`.
    pub fn has_wildcards(&self) -> bool {
        self.patterns
            .iter()
            .any(|pattern| !matches!(pattern, QueuePattern::Exact(_)))
    }
}

/// The list `*`: every queue.
impl Default for QueueList {
    fn default() -> Self {
        Self {
            patterns: vec![QueuePattern::Any],
        }
    }
}

impl QueuePattern {
    fn parse(entry: &str) -> Result<Self, InvalidQueueList> {
        if entry == "*" {
            return Ok(Self::Any);
        }
        let prefix = entry.strip_suffix('*');
        let name = prefix.unwrap_or(entry);
        if name.contains('*') {
            return Err(InvalidQueueList(format!(
                "`{entry}` cannot be matched: a `*` may only end an entry, as in `reports*`"
            )));
        }
        check_queue(name).map_err(|refused| {
            let reason = refused.reason();
            InvalidQueueList(format!("`{entry}` cannot name a queue: {reason}"))
        })?;
        Ok(match prefix {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(name.to_owned()),
        })
    }

    /// Returns whether the entry matches the queue.
    pub fn matches(&self, queue: &str) -> bool {
        match self {
            Self::Exact(name) => name == queue,
            Self::Prefix(prefix) => queue.starts_with(prefix.as_str()),
            Self::Any => true,
        }
    }
}

fn not_empty(patterns: Vec<QueuePattern>) -> Result<QueueList, InvalidQueueList> {
    match patterns.is_empty() {
        true => Err(InvalidQueueList(
            "no queue is named; use `*` for every queue".to_owned(),
        )),
        false => Ok(QueueList { patterns }),
    }
}

fn next_pattern(entry: &str, before: &[QueuePattern]) -> Result<QueuePattern, InvalidQueueList> {
    let pattern = QueuePattern::parse(entry)?;
    let problem = if before.contains(&pattern) {
        "is in the list twice; remove one of them"
    } else if before.contains(&QueuePattern::Any) {
        "comes after `*`, which already matches every other queue; move `*` to the end"
    } else {
        return Ok(pattern);
    };
    Err(InvalidQueueList(format!("`{entry}` {problem}")))
}

/// Reads a list whose entries are separated by commas: `mail,reports*,*`.
impl FromStr for QueueList {
    type Err = InvalidQueueList;

    fn from_str(text: &str) -> Result<Self, InvalidQueueList> {
        let mut patterns = Vec::new();
        if !text.trim().is_empty() {
            for entry in text.split(',') {
                patterns.push(next_pattern(entry.trim(), &patterns)?);
            }
        }
        not_empty(patterns)
    }
}

/// Reads a string with commas, or an array with one string for each entry.
impl<'de> Deserialize<'de> for QueueList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QueueListVisitor)
    }
}

struct QueueListVisitor;

impl<'de> Visitor<'de> for QueueListVisitor {
    type Value = QueueList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<QueueList, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<QueueList, A::Error> {
        let mut patterns = Vec::new();
        while let Some(pattern) = entries.next_element_seed(NextPattern { before: &patterns })? {
            patterns.push(pattern);
        }
        not_empty(patterns).map_err(A::Error::custom)
    }
}

/// Reads one entry of an array, so that an error has the place of the entry.
struct NextPattern<'a> {
    before: &'a [QueuePattern],
}

impl<'de> DeserializeSeed<'de> for NextPattern<'_> {
    type Value = QueuePattern;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<QueuePattern, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NextPattern<'_> {
    type Value = QueuePattern;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, entry: &str) -> Result<QueuePattern, E> {
        next_pattern(entry, self.before).map_err(E::custom)
    }
}

impl fmt::Display for QueueList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns: Vec<String> = self.patterns.iter().map(ToString::to_string).collect();
        f.write_str(&patterns.join(","))
    }
}

impl fmt::Display for QueuePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_entry_gives_the_position() {
        let queues: QueueList = "mail*,mail_urgent,reports,*".parse().unwrap();
        for (queue, position) in [
            ("mail", 0),
            ("mail_urgent", 0),
            ("reports", 2),
            ("reports_eu", 3),
            ("default", 3),
        ] {
            assert_eq!(queues.matches(queue), Some(position), "{queue}");
        }
        let queues: QueueList = "mail,reports*".parse().unwrap();
        assert_eq!(queues.matches("default"), None);
        assert_eq!(queues.matches("mails"), None);
    }

    #[test]
    fn names_and_wildcards_of_a_list_are_found() {
        for (text, names, wildcards) in [
            ("*", vec![], true),
            ("mail", vec!["mail"], false),
            ("b, a", vec!["b", "a"], false),
            ("b,reports*,a", vec!["b", "a"], true),
        ] {
            let queues: QueueList = text.parse().unwrap();
            assert_eq!(queues.exact_names().collect::<Vec<_>>(), names, "{text}");
            assert_eq!(queues.has_wildcards(), wildcards, "{text}");
        }
    }

    #[test]
    fn a_list_can_be_read_from_its_text() {
        let queues: QueueList = " mail , reports*,* ".parse().unwrap();
        assert_eq!(queues.to_string(), "mail,reports*,*");
        assert_eq!(queues.to_string().parse::<QueueList>(), Ok(queues));
    }

    #[test]
    fn an_invalid_list_is_rejected_with_the_reason() {
        for (text, message) in [
            ("", "no queue is named; use `*` for every queue"),
            ("a,,b", "`` cannot name a queue: a name cannot be empty"),
            (
                "a b",
                "`a b` cannot name a queue: ' ' is not allowed in a name; use letters, digits and `_.:/-`",
            ),
            (
                "a*b",
                "`a*b` cannot be matched: a `*` may only end an entry, as in `reports*`",
            ),
            (
                "a**",
                "`a**` cannot be matched: a `*` may only end an entry, as in `reports*`",
            ),
            (
                "*,a",
                "`a` comes after `*`, which already matches every other queue; move `*` to the end",
            ),
            ("a,b,a", "`a` is in the list twice; remove one of them"),
            ("*,*", "`*` is in the list twice; remove one of them"),
        ] {
            assert_eq!(
                text.parse::<QueueList>().unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
    }
}
