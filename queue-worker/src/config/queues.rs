//! The ordered list of queues that a worker serves.

use std::fmt;
use std::str::FromStr;

use queue_core::check_queue;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// The queues a worker serves, the most urgent first.
///
/// An entry is a name (`mail`), a prefix (`reports*`), or `*`: every queue that no earlier entry
/// matches, which is why `*` stands last. Queues are served in the order of the list, whatever
/// the order of their names.
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
    /// The queue of exactly this name.
    Exact(String),
    /// Every queue whose name starts so.
    Prefix(String),
    /// Every queue.
    Any,
}

/// Why a list of queues is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidQueueList {
    /// The list names no queue.
    #[error("no queue is named; use `*` for every queue")]
    Empty,
    /// The entry cannot be the name or the prefix of a queue.
    #[error("`{entry}` cannot name a queue: {reason}")]
    Name {
        /// The entry as it was written.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A `*` stands in the middle of the entry.
    #[error("`{entry}` cannot be matched: a `*` may only end an entry, as in `reports*`")]
    Star {
        /// The entry as it was written.
        entry: String,
    },
    /// An entry stands after `*`, and would never be served before the rest.
    #[error(
        "`{entry}` stands after `*`, which already takes every other queue; move `*` to the end"
    )]
    AfterStar {
        /// The entry as it was written.
        entry: String,
    },
    /// The entry is in the list twice.
    #[error("`{entry}` is in the list twice; keep the place where it should be served")]
    Duplicate {
        /// The entry as it was written.
        entry: String,
    },
}

impl QueueList {
    /// Makes the list of the entries, in their order; the first thing wrong with them is the error.
    pub fn new<E: AsRef<str>>(
        entries: impl IntoIterator<Item = E>,
    ) -> Result<Self, InvalidQueueList> {
        let mut patterns = Vec::new();
        for entry in entries {
            patterns.push(next_pattern(entry.as_ref(), &patterns)?);
        }
        Self::of(patterns)
    }

    fn of(patterns: Vec<QueuePattern>) -> Result<Self, InvalidQueueList> {
        if patterns.is_empty() {
            return Err(InvalidQueueList::Empty);
        }
        Ok(Self { patterns })
    }

    /// Every queue there is: the list `*`.
    pub fn any() -> Self {
        Self {
            patterns: vec![QueuePattern::Any],
        }
    }

    /// The entries in their order; there is at least one.
    pub fn patterns(&self) -> &[QueuePattern] {
        &self.patterns
    }

    /// Finds the position of the first entry that matches the queue: its urgency for this worker.
    pub fn matches(&self, queue: &str) -> Option<usize> {
        self.patterns
            .iter()
            .position(|pattern| pattern.matches(queue))
    }

    /// The queues named in full, in their order.
    pub fn exact_names(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().filter_map(|pattern| match pattern {
            QueuePattern::Exact(name) => Some(name.as_str()),
            QueuePattern::Prefix(_) | QueuePattern::Any => None,
        })
    }

    /// Whether queues that do not exist yet may match: there is a prefix or a `*`.
    pub fn has_wildcards(&self) -> bool {
        self.patterns
            .iter()
            .any(|pattern| !matches!(pattern, QueuePattern::Exact(_)))
    }
}

impl Default for QueueList {
    fn default() -> Self {
        Self::any()
    }
}

impl QueuePattern {
    fn parse(entry: &str) -> Result<Self, InvalidQueueList> {
        if entry == "*" {
            return Ok(Self::Any);
        }
        let (name, is_prefix) = match entry.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (entry, false),
        };
        if name.contains('*') {
            return Err(InvalidQueueList::Star {
                entry: entry.to_owned(),
            });
        }
        check_queue(name).map_err(|refused| InvalidQueueList::Name {
            entry: entry.to_owned(),
            reason: refused.reason().to_owned(),
        })?;
        Ok(if is_prefix {
            Self::Prefix(name.to_owned())
        } else {
            Self::Exact(name.to_owned())
        })
    }

    /// Whether the queue is one that this entry stands for.
    pub fn matches(&self, queue: &str) -> bool {
        match self {
            Self::Exact(name) => name == queue,
            Self::Prefix(prefix) => queue.starts_with(prefix.as_str()),
            Self::Any => true,
        }
    }
}

fn next_pattern(entry: &str, before: &[QueuePattern]) -> Result<QueuePattern, InvalidQueueList> {
    let pattern = QueuePattern::parse(entry)?;
    if before.contains(&pattern) {
        return Err(InvalidQueueList::Duplicate {
            entry: entry.to_owned(),
        });
    }
    if before.contains(&QueuePattern::Any) {
        return Err(InvalidQueueList::AfterStar {
            entry: entry.to_owned(),
        });
    }
    Ok(pattern)
}

/// Reads a list whose entries are separated by commas: `mail,reports*,*`.
impl FromStr for QueueList {
    type Err = InvalidQueueList;

    fn from_str(text: &str) -> Result<Self, InvalidQueueList> {
        if text.trim().is_empty() {
            return Err(InvalidQueueList::Empty);
        }
        Self::new(text.split(',').map(str::trim))
    }
}

/// Reads a text with commas, or an array with one text for each entry.
impl<'de> Deserialize<'de> for QueueList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QueueListVisitor)
    }
}

struct QueueListVisitor;

impl<'de> Visitor<'de> for QueueListVisitor {
    type Value = QueueList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or an array of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<QueueList, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<QueueList, A::Error> {
        let mut patterns = Vec::new();
        while let Some(pattern) = entries.next_element_seed(NextPattern { before: &patterns })? {
            patterns.push(pattern);
        }
        QueueList::of(patterns).map_err(A::Error::custom)
    }
}

/// Reads one entry of an array; its errors are those of this entry, so that they have its place.
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
        f.write_str("a text in quotes")
    }

    fn visit_str<E: Error>(self, entry: &str) -> Result<QueuePattern, E> {
        next_pattern(entry, self.before).map_err(E::custom)
    }
}

impl fmt::Display for QueueList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, pattern) in self.patterns.iter().enumerate() {
            let separator = if position == 0 { "" } else { "," };
            write!(f, "{separator}{pattern}")?;
        }
        Ok(())
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
    fn the_first_entry_that_matches_decides() {
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
    fn a_list_knows_its_names_and_wildcards() {
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
    fn a_list_is_written_as_it_is_read() {
        let queues: QueueList = " mail , reports*,* ".parse().unwrap();
        assert_eq!(queues.to_string(), "mail,reports*,*");
        assert_eq!(queues.to_string().parse::<QueueList>(), Ok(queues));
    }

    #[test]
    fn a_list_that_cannot_mean_what_it_says_is_refused() {
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
                "`a` stands after `*`, which already takes every other queue; move `*` to the end",
            ),
            (
                "a,b,a",
                "`a` is in the list twice; keep the place where it should be served",
            ),
            (
                "*,*",
                "`*` is in the list twice; keep the place where it should be served",
            ),
        ] {
            assert_eq!(
                text.parse::<QueueList>().unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
    }
}
