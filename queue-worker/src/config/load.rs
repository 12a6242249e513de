//! File, environment and flags, put together.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use toml::de::DeTable;

use super::document::{Document, Section};
use super::draft::Draft;
use super::problem::{InvalidConfig, Place, Problem};
use super::scalars::{FILE_VARIABLE, Overrides, VARIABLES};
use super::{
    HandlerSettings, RecurringSettings, Settings, handlers, limits, recurring, retention, scalars,
    workers,
};

/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "queue.toml";

/// Everything that a process is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it runs.
    pub settings: Settings,
    /// The database it works on.
    pub database: DatabaseSettings,
    /// The kinds that run without Rust code.
    pub handlers: BTreeMap<String, HandlerSettings>,
    /// The schedules, by name.
    pub recurring: BTreeMap<String, RecurringSettings>,
    /// Where the rest came from.
    pub source: Source,
}

/// The database a process works on.
#[derive(Clone)]
pub struct DatabaseSettings {
    /// Its URL. `DATABASE_URL` is the place for it: a file with a password in it gets copied.
    pub url: Option<String>,
    /// The schema of the tables; `queue` by default.
    pub schema: String,
}

/// Where a configuration came from, before environment and flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// No file was named, and there is no `queue.toml` here: the defaults.
    Defaults,
    /// This file.
    File(PathBuf),
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: None,
            schema: "queue".to_owned(),
        }
    }
}

/// Keeps the URL to itself: it may hold a password.
impl fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseSettings")
            .field("url", &self.url.as_ref().map(|_| "…"))
            .field("schema", &self.schema)
            .finish()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => write!(f, "the defaults (there is no {DEFAULT_FILE} here)"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Reads the configuration: flags beat the environment, the environment beats the file, and what
/// nobody says has its default.
///
/// The file is the one that `--config` or `QUEUE_CONFIG` names, which must then exist, or
/// `queue.toml` in the current directory if there is one. `variable` looks up the environment
/// ([`std::env::var_os`] outside of tests). No database is needed.
///
/// # Errors
///
/// Every problem of all three places, at once.
pub fn load(
    flags: &Overrides,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Config, InvalidConfig> {
    let mut draft = Draft::new(Config {
        settings: Settings::default(),
        database: DatabaseSettings::default(),
        handlers: BTreeMap::new(),
        recurring: BTreeMap::new(),
        source: Source::Defaults,
    });
    let variables = read_environment(variable, &mut draft);
    let variable = |name: &'static str| variables.get(name).map(String::as_str);

    if let Some((path, text)) = read_file(flags, variable(FILE_VARIABLE), &mut draft) {
        read_document(
            Document {
                path: &path,
                text: &text,
            },
            &mut draft,
        );
        draft.config.source = Source::File(path);
    }
    scalars::read_variables(variable, &mut draft);
    scalars::read_flags(flags, &mut draft);
    workers::lay_over(variable, flags, &mut draft);
    draft.finish()
}

/// The variables that are set to something.
fn read_environment(
    variable: impl Fn(&str) -> Option<OsString>,
    draft: &mut Draft,
) -> BTreeMap<&'static str, String> {
    let mut variables = BTreeMap::new();
    for (name, _) in VARIABLES {
        match variable(name).map(OsString::into_string) {
            Some(Ok(text)) if !text.is_empty() => drop(variables.insert(*name, text)),
            Some(Err(_)) => draft.problems.push(Problem {
                place: Place::Variable(name),
                message: "it is not valid UTF-8".to_owned(),
            }),
            Some(Ok(_)) | None => {}
        }
    }
    variables
}

/// The file and its text, if there is one to read.
fn read_file(
    flags: &Overrides,
    variable: Option<&str>,
    draft: &mut Draft,
) -> Option<(PathBuf, String)> {
    let (path, place) = match (&flags.config, variable) {
        (Some(path), _) => (path.clone(), Some(Place::Flag("--config"))),
        (None, Some(path)) => (PathBuf::from(path), Some(Place::Variable(FILE_VARIABLE))),
        (None, None) => (PathBuf::from(DEFAULT_FILE), None),
    };
    match (fs::read_to_string(&path), place) {
        (Ok(text), _) => Some((path, text)),
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => None,
        (Err(error), place) => {
            draft.problems.push(unreadable(&path, place, &error));
            None
        }
    }
}

fn unreadable(path: &Path, place: Option<Place>, error: &io::Error) -> Problem {
    match place {
        Some(place) => Problem {
            place,
            message: format!("could not read `{}`: {error}", path.display()),
        },
        None => Problem {
            place: Place::File(path.to_owned()),
            message: format!("could not read it: {error}"),
        },
    }
}

/// Reads the file, or tells all its syntax errors; what a broken file means is not guessed at.
fn read_document(document: Document<'_>, draft: &mut Draft) {
    let (table, errors) = DeTable::parse_recoverable(document.text);
    if errors.is_empty() {
        return read_sections(Section::root(document, &table), draft);
    }
    draft.problems.extend(errors.iter().map(|error| Problem {
        place: document.place(error.span().unwrap_or_default(), ""),
        message: error.message().to_owned(),
    }));
}

fn read_sections(mut root: Section<'_>, draft: &mut Draft) {
    if let Some(entry) = root.get("workers") {
        workers::read(&entry, draft);
    }
    for name in [
        "database",
        "dispatcher",
        "scheduler",
        "process",
        "maintenance",
    ] {
        read_section(&mut root, name, draft, |section, draft| {
            scalars::read_section(name, section, draft);
        });
    }
    read_section(&mut root, "retention", draft, retention::read);
    if let Some(entry) = root.get("limits") {
        match entry.table() {
            Ok(section) => limits::read(&section, draft),
            Err(problem) => draft.problems.push(problem),
        }
    }
    if let Some(entry) = root.get("handlers") {
        match entry.table() {
            Ok(section) => handlers::read(&section, draft),
            Err(problem) => draft.problems.push(problem),
        }
    }
    if let Some(entry) = root.get("recurring") {
        match entry.table() {
            Ok(section) => recurring::read(&section, draft),
            Err(problem) => draft.problems.push(problem),
        }
    }
    root.refuse_unknown(&mut draft.problems);
}

fn read_section(
    root: &mut Section<'_>,
    name: &'static str,
    draft: &mut Draft,
    read: impl FnOnce(&mut Section<'_>, &mut Draft),
) {
    let Some(entry) = root.get(name) else { return };
    match entry.table() {
        Ok(mut section) => {
            read(&mut section, draft);
            section.refuse_unknown(&mut draft.problems);
        }
        Err(problem) => draft.problems.push(problem),
    }
}
