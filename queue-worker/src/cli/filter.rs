//! The flags that select jobs.

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use queue_core::inspect::JobFilter;
use queue_core::{InvalidName, JobState, Outcome};

use super::args::parse_args;
use super::exit::Failure;

/// No job is older.
const AGE_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Which jobs")]
pub(super) struct FilterArgs {
    /// Jobs in this state, or that finished in this way; several separated by commas
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = state_parser())]
    pub(super) state: Vec<String>,
    /// Jobs of this queue
    #[arg(long, value_name = "NAME")]
    pub(super) queue: Option<String>,
    /// Jobs of this kind
    #[arg(long, value_name = "KIND")]
    pub(super) kind: Option<String>,
    /// Jobs of this tenant
    #[arg(long, value_name = "TENANT")]
    pub(super) tenant: Option<String>,
    /// Jobs with this tag
    #[arg(long, value_name = "TAG")]
    pub(super) tag: Option<String>,
    /// Jobs whose last error contains this text
    #[arg(long, value_name = "TEXT")]
    pub(super) error: Option<String>,
    /// Jobs whose arguments contain this JSON, such as `{"user_id": 7}`, unless they are encrypted
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub(super) args_contain: Option<String>,
    /// Jobs enqueued longer ago than this, such as `10m` or `2days`
    #[arg(long, value_name = "DURATION", value_parser = age)]
    pub(super) older_than: Option<Duration>,
}

impl FilterArgs {
    pub(super) const NONE: Self = Self {
        state: Vec::new(),
        queue: None,
        kind: None,
        tenant: None,
        tag: None,
        error: None,
        args_contain: None,
        older_than: None,
    };

    /// Returns whether no flag is set.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// Makes the filter.
    pub(super) fn filter(&self) -> Result<JobFilter, Failure> {
        check_names(self)?;
        let args = self.args_contain.as_deref().map(parse_args).transpose();
        Ok(JobFilter {
            batch: None,
            states: self.state.iter().map(|word| state(word)).collect(),
            outcomes: self.outcomes(),
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            tenant: self.tenant.clone(),
            tag: self.tag.clone(),
            error: self.error.clone(),
            args: args.map_err(Failure::usage)?,
            older_than: self.older_than,
            ids: None,
        })
    }

    /// Returns the outcomes that are named, unless all finished jobs are.
    fn outcomes(&self) -> Vec<Outcome> {
        let names = |word: &str| self.state.iter().any(|named| named == word);
        match names(JobState::Finished.as_str()) {
            true => Vec::new(),
            false => Outcome::ALL
                .into_iter()
                .filter(|outcome| names(outcome.as_str()))
                .collect(),
        }
    }

    /// Describes the jobs like [`describe`](Self::describe) for the audit, without what arguments hold.
    pub(super) fn recorded(&self, states: &[JobState]) -> String {
        match self.args_contain {
            Some(_) => " with certain arguments".to_owned(),
            None => self.describe(states),
        }
    }

    /// Describes the filter, to be read after "jobs".
    pub(super) fn describe(&self, states: &[JobState]) -> String {
        let mut text = format!(" in state {}", either(states));
        let named = [
            ("in queue", &self.queue),
            ("of kind", &self.kind),
            ("of tenant", &self.tenant),
            ("with tag", &self.tag),
            ("whose last error contains", &self.error),
            ("whose arguments contain", &self.args_contain),
        ];
        for (what, value) in named {
            text.extend(value.as_ref().map(|value| format!(", {what} {value}")));
        }
        let age = self.older_than.map(humantime::format_duration);
        text.extend(age.map(|age| format!(", enqueued more than {age} ago")));
        text
    }
}

/// Writes `a`, `a or b`, `a, b or c`.
fn either(states: &[JobState]) -> String {
    let words: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    match words.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => words.concat(),
    }
}

/// Rejects invalid names: no job can have them, so they are mistakes.
fn check_names(args: &FilterArgs) -> Result<(), InvalidName> {
    let checks = [
        args.queue.as_deref().map(queue_core::check_queue),
        args.kind.as_deref().map(queue_core::check_kind),
        args.tag.as_deref().map(queue_core::check_tag),
    ];
    checks.into_iter().flatten().collect()
}

/// Reads an age, which the database can subtract from its time.
fn age(text: &str) -> Result<Duration, String> {
    let age = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match age <= AGE_MAX {
        true => Ok(age),
        false => Err("it is longer than 100 years".to_owned()),
    }
}

fn state_parser() -> PossibleValuesParser {
    let states = JobState::ALL.map(JobState::as_str).into_iter();
    PossibleValuesParser::new(states.chain(Outcome::ALL.map(Outcome::as_str)))
}

/// Returns the state of a word that was parsed: all other words are outcomes.
fn state(word: &str) -> JobState {
    word.parse().unwrap_or(JobState::Finished)
}

fn json(text: &str) -> Result<String, String> {
    parse_args(text).map(|args| args.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_described_as_a_sentence() {
        let args = FilterArgs {
            queue: Some("mail".to_owned()),
            older_than: Some(Duration::from_secs(600)),
            ..FilterArgs::default()
        };
        assert_eq!(
            args.describe(&[JobState::Scheduled, JobState::Ready, JobState::Failed]),
            " in state scheduled, ready or failed, in queue mail, enqueued more than 10m ago"
        );
    }

    #[test]
    fn outcomes_are_asked_for_unless_all_finished_jobs_are() {
        let filter = |words: &[&str]| {
            let args = FilterArgs {
                state: words.iter().map(ToString::to_string).collect(),
                ..FilterArgs::default()
            };
            let filter = args.filter().unwrap_or_else(|_| panic!());
            (filter.states, filter.outcomes)
        };
        let (states, outcomes) = filter(&["failed", "cancelled"]);
        assert_eq!(states, [JobState::Failed, JobState::Finished]);
        assert_eq!(outcomes, [Outcome::Cancelled]);
        assert_eq!(filter(&["done", "finished"]).1, []);
    }

    #[test]
    fn an_invalid_name_is_rejected() {
        let args = FilterArgs {
            kind: Some("two words".to_owned()),
            ..FilterArgs::default()
        };
        assert!(args.filter().is_err());
    }
}
