//! The filters of the list of jobs, as they stand in its address.

use queue_core::inspect::JobFilter;
use queue_core::{BatchId, JobId, JobState, Outcome, Redaction};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::html::Html;
use crate::pages::parts::Below;

/// The filters that take a text, and what they are called.
pub(super) const TEXTS: [(&str, &str); 7] = [
    ("queue", "Queue"),
    ("kind", "Kind"),
    ("tenant", "Tenant"),
    ("batch", "Batch"),
    ("tag", "Tag"),
    ("error", "Error contains"),
    ("arg", "Arguments contain"),
];

/// A tab: jobs in one state, or finished ones with one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tab {
    pub(super) word: &'static str,
    pub(super) name: &'static str,
    pub(super) state: JobState,
    pub(super) outcome: Option<Outcome>,
}

/// The tabs in their order.
pub(super) const TABS: [Tab; 8] = [
    tab("ready", "Ready", JobState::Ready, None),
    tab("scheduled", "Scheduled", JobState::Scheduled, None),
    tab("running", "Running", JobState::Claimed, None),
    tab("blocked", "Blocked", JobState::Blocked, None),
    tab("failed", "Failed", JobState::Failed, None),
    tab("finished", "Finished", JobState::Finished, None),
    tab(
        "discarded",
        "Discarded",
        JobState::Finished,
        Some(Outcome::Discarded),
    ),
    tab(
        "cancelled",
        "Cancelled",
        JobState::Finished,
        Some(Outcome::Cancelled),
    ),
];

const fn tab(
    word: &'static str,
    name: &'static str,
    state: JobState,
    outcome: Option<Outcome>,
) -> Tab {
    Tab {
        word,
        name,
        state,
        outcome,
    }
}

/// What an address asks for.
#[derive(Clone, Debug)]
pub(crate) struct Filters {
    pub(crate) tab: Tab,
    /// Texts by the name of their filter.
    pub(crate) texts: Vec<(&'static str, String)>,
    pub(crate) before: Below,
    /// What of it could not be understood.
    pub(crate) problems: Vec<String>,
}

/// What a search leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search {
    Job(JobId),
    Filters(Vec<(&'static str, String)>),
    Unknown(String),
}

impl Filters {
    pub(crate) fn read(pairs: &[(String, String)]) -> Self {
        let mut filters = Self {
            tab: TABS[0],
            texts: Vec::new(),
            before: Below::default(),
            problems: Vec::new(),
        };
        for (name, value) in pairs.iter().filter(|(_, value)| !value.trim().is_empty()) {
            let value = value.trim();
            match name.as_str() {
                "state" => match TABS.iter().find(|tab| tab.word == value) {
                    Some(tab) => filters.tab = *tab,
                    None => filters.problems.push(format!("`{value}` is not a state")),
                },
                "before" => match value.parse() {
                    Ok(before) => filters.before = before,
                    Err(_) => filters.problems.push(format!("`{value}` is not a job")),
                },
                "q" => {}
                name => match TEXTS.iter().find(|(text, _)| *text == name) {
                    Some((text, _)) => filters.texts.push((text, value.to_owned())),
                    None => filters.problems.push(unknown(name)),
                },
            }
        }
        filters
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.texts.iter().rfind(|(text, _)| *text == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the filters as they stand in the address of a tab.
    pub(super) fn pairs<'a>(&'a self, tab: &'a str) -> Vec<(&'a str, &'a str)> {
        let texts = self
            .texts
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        std::iter::once(("state", tab)).chain(texts).collect()
    }

    /// Returns the filter for the database, or what is wrong. A viewer who may not see arguments cannot filter
    /// by them, and no viewer can filter by redacted fields: the answers would reveal their values.
    pub(crate) fn filter(
        &self,
        sees_args: bool,
        redaction: &Redaction,
    ) -> Result<JobFilter, String> {
        let of = |name| self.text(name).map(str::to_owned);
        let args = match self.text("arg") {
            Some(_) if !sees_args => return Err("your role does not see arguments".to_owned()),
            Some(text) => Some(args(text, self.text("kind"), redaction)?),
            None => None,
        };
        let batch = self.text("batch").map(|id| {
            let id = id.parse().map(BatchId);
            id.map_err(|_| "the id of a batch is a number".to_owned())
        });
        Ok(JobFilter {
            batch: batch.transpose()?,
            states: vec![self.tab.state],
            outcomes: match (self.tab.word, self.tab.outcome) {
                ("finished", _) => vec![Outcome::Done],
                (_, outcome) => outcome.into_iter().collect(),
            },
            queue: of("queue"),
            kind: of("kind"),
            tenant: of("tenant"),
            tag: of("tag"),
            error: of("error"),
            args,
            ..JobFilter::default()
        })
    }
}

/// Returns the filters in words, as they follow what they select: ` with kind send and queue mail`.
pub(crate) fn words(filters: &Filters) -> Html {
    let mut said = Html::new();
    for (position, (name, value)) in filters.texts.iter().enumerate() {
        let label = TEXTS.iter().find(|(text, _)| text == name);
        let label = label.map_or(*name, |(_, label)| *label).to_lowercase();
        said = said.text(if position == 0 { " with " } else { " and " });
        said = said.text(label).text(" ").user(value);
    }
    said
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = TEXTS.iter().map(|(name, _)| *name).collect();
    format!("`{name}` is no filter; there are {}", known.join(", "))
}

/// Reads `invoice:INV-7` or `user.id:7` as the JSON that arguments contain. A value that is JSON counts as
/// that, any other as a string.
fn args(text: &str, kind: Option<&str>, redaction: &Redaction) -> Result<Box<RawValue>, String> {
    let (path, value) = text
        .split_once(':')
        .ok_or("write a path and a value, as in invoice:INV-7")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    let nested = path
        .rsplit('.')
        .fold(value, |value, name| json!({ name: value }));
    let json = to_raw_value(&nested).map_err(|error| error.to_string())?;
    let shown = redaction.args(kind.unwrap_or_default(), &json);
    match shown.get().contains(queue_core::REDACTED) {
        true => Err(format!("`{path}` is redacted and cannot be searched")),
        false => Ok(json),
    }
}

/// Reads what was typed into the search: an id, or words such as `kind:send tag:"two words"`.
pub(super) fn search(text: &str) -> Search {
    let text = text.trim();
    if let Ok(id) = text.trim_start_matches('#').parse() {
        return Search::Job(JobId(id));
    }
    let mut texts = Vec::new();
    for word in typed(text) {
        let Some((name, value)) = word.split_once(':') else {
            return Search::Unknown(format!(
                "`{word}` is neither an id nor a filter such as kind:{word}"
            ));
        };
        let (name, value) = match name.strip_prefix("arg.") {
            Some(path) => ("arg", format!("{path}:{value}")),
            None => (name, value.to_owned()),
        };
        match TEXTS.iter().find(|(text, _)| *text == name) {
            Some((text, _)) => texts.push((*text, value)),
            None => return Search::Unknown(unknown(name)),
        }
    }
    Search::Filters(texts)
}

/// Splits a text at spaces outside of quotes, and removes the quotes.
fn typed(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in text.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            c if c.is_whitespace() && !is_quoted => words.push(String::new()),
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_an_id_or_filters() {
        assert_eq!(search(" #4711 "), Search::Job(JobId(4711)));
        assert_eq!(
            search("kind:send error:\"timed out\" arg.user.id:7"),
            Search::Filters(vec![
                ("kind", "send".to_owned()),
                ("error", "timed out".to_owned()),
                ("arg", "user.id:7".to_owned()),
            ])
        );
        assert!(matches!(search("send"), Search::Unknown(_)));
        assert!(matches!(search("colour:red"), Search::Unknown(_)));
    }

    #[test]
    fn arguments_are_found_by_path_unless_they_are_redacted_or_not_seen() {
        let pairs = |arg: &str| [("arg".to_owned(), arg.to_owned())];
        let redaction = Redaction::default();
        let filter = |arg, sees| Filters::read(&pairs(arg)).filter(sees, &redaction);
        let json = |arg| filter(arg, true).unwrap().args.unwrap().get().to_owned();

        assert_eq!(json("invoice:INV-7"), r#"{"invoice":"INV-7"}"#);
        assert_eq!(json("user.id:7"), r#"{"user":{"id":7}}"#);
        assert!(filter("password:hunter2", true).is_err());
        assert!(filter("user:{\"token\": 1}", true).is_err());
        assert!(filter("invoice:INV-7", false).is_err());
        assert!(filter("invoice", true).is_err());
    }
}
