//! The problems of a configuration, and their places.

use std::fmt;
use std::path::PathBuf;

/// All problems of a configuration: the file from top to bottom, then the environment, then the
/// flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConfig {
    /// The problems; at least one.
    pub problems: Vec<ConfigProblem>,
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigProblem {
    /// The place of the setting.
    pub place: SettingPlace,
    /// What was expected, and what was found.
    pub message: String,
}

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SettingPlace {
    /// The file as a whole.
    File(PathBuf),
    /// A line of the file.
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The full key, such as `workers[0].concurrency`; empty for a syntax error.
        key: String,
    },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(String),
    /// A setting that was not given, by its key.
    Default(String),
}

impl fmt::Display for SettingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Line {
                path,
                line,
                column,
                key,
            } => {
                let separator = if key.is_empty() { "" } else { ": " };
                write!(f, "{}:{line}:{column}{separator}{key}", path.display())
            }
            Self::Variable(name) | Self::Flag(name) | Self::Default(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidConfig {}
