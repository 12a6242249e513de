//! A configuration while it is put together.

use std::collections::BTreeMap;

use super::check::InvalidSetting;
use super::load::Config;
use super::problem::{InvalidConfig, Place, Problem};

/// The configuration so far, where each setting came from, and what is wrong.
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    places: BTreeMap<String, Place>,
}

impl Draft {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            problems: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    /// Remembers where a setting was given, and what was wrong with it there. Whoever gives it
    /// later has the last word on its place, as on its value.
    pub(super) fn record(&mut self, key: &str, place: Place, outcome: Result<(), String>) {
        if let Err(message) = outcome {
            self.problems.push(Problem {
                place: place.clone(),
                message,
            });
        }
        self.places.insert(key.to_owned(), place);
    }

    /// Checks what the settings say together, and hands the configuration over if nothing is wrong.
    pub(super) fn finish(mut self) -> Result<Config, InvalidConfig> {
        for problem in self.config.settings.problems() {
            let place = self.place_of(&problem);
            self.problems.push(Problem {
                place,
                message: problem.message,
            });
        }
        if self.problems.is_empty() {
            return Ok(self.config);
        }
        // Stable, so that several problems of one place stay in the order they were found.
        self.problems
            .sort_by(|one, other| one.place.cmp(&other.place));
        Err(InvalidConfig {
            problems: self.problems,
        })
    }

    fn place_of(&self, problem: &InvalidSetting) -> Place {
        let keys = [Some(&problem.key), problem.other_key.as_ref()];
        let given = keys
            .into_iter()
            .flatten()
            .find_map(|key| self.places.get(key));
        given
            .cloned()
            .unwrap_or_else(|| Place::Default(problem.key.clone()))
    }
}
