//! The statements of `queue-core`, read from its source.
//!
//! A statement is a constant: a `.sql` file, or several pieces joined by `concat!`, or a file with
//! placeholders for the columns of new jobs. A statement
//! that is one file, or begins with one of its name, is named for it (`recurring/lock_due`), any
//! other for its constant (`inspect/jobs/list`); in both cases without `transitions/`, where most of
//! them are.

use std::fs;
use std::path::{Path, PathBuf};

use queue_core::transitions::with_job_columns;

/// A statement as `queue-core` sends it, for the schema `queue`.
pub struct Statement {
    /// Its name.
    pub name: String,
    /// Its text.
    pub sql: String,
    files: Vec<PathBuf>,
}

impl Statement {
    /// Returns whether only operators run it. Such a statement may read many rows.
    #[must_use]
    pub fn is_look(&self) -> bool {
        self.name.starts_with("inspect/") || self.name == "operations/queues/front"
    }
}

/// Reads every statement of `queue-core`.
///
/// # Panics
/// Panics when a `.sql` file is part of no statement: a test would overlook it.
#[must_use]
pub fn statements() -> Vec<Statement> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../queue-core/src");
    let statements: Vec<Statement> = files(&source, "rs")
        .iter()
        .flat_map(|file| statements_of(&source, file))
        .collect();
    for file in files(&source, "sql") {
        let used = statements.iter().any(|known| known.files.contains(&file));
        assert!(used, "{} is part of no statement", file.display());
    }
    statements
}

/// Lists the files below a folder whose names have this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the source") {
        let path = entry.expect("an entry of the folder").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|of_file| of_file == ending) {
            found.push(path);
        }
    }
    found
}

fn statements_of(source: &Path, file: &Path) -> Vec<Statement> {
    let text = fs::read_to_string(file).expect("a source file");
    let constants = text.split("const ").skip(1);
    let constants = constants.filter_map(|constant| constant.split_once(": &str ="));
    let filled_in = text.split("static ").skip(1);
    let filled_in = filled_in.filter_map(|each| each.split_once(": LazyLock<String> ="));
    constants
        .chain(filled_in)
        .filter_map(|(name, value)| {
            let (value, _) = value.split_once(";\n")?;
            statement(source, file, name, value)
        })
        .collect()
}

/// Evaluates a constant; returns nothing if it is no statement.
fn statement(source: &Path, file: &Path, constant: &str, value: &str) -> Option<Statement> {
    let (mut sql, mut files) = (String::new(), Vec::new());
    // Every second part stands between quotes.
    let parts: Vec<&str> = value.split('"').collect();
    for pair in parts.chunks_exact(2) {
        if pair[0].trim_end().ends_with("include_str!(") {
            let included = file.with_file_name(pair[1]);
            sql += &fs::read_to_string(&included).expect("an included file");
            files.push(included);
        } else {
            sql += &pair[1].replace("\\n", "\n");
        }
    }
    let is_statement = !files.is_empty() || sql.starts_with("select ");
    if !is_statement || constant.contains(|c: char| c.is_whitespace()) {
        return None;
    }
    let constant = constant.to_lowercase();
    let path = match files.as_slice() {
        [only] if parts.len() == 3 => only.with_extension(""),
        [first, ..] if first.file_stem().is_some_and(|stem| *stem == *constant) => {
            first.with_extension("")
        }
        _ => file.with_extension("").join(constant),
    };
    let name = path.strip_prefix(source).ok()?.to_str()?;
    let name = name.strip_prefix("transitions/").unwrap_or(name).to_owned();
    let sql = with_job_columns(&sql);
    Some(Statement { name, sql, files })
}
