//! The user that runs the server: the caller, or an unprivileged user if the caller is root.

use std::env;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{At, EmbeddedError};

/// A user of the operating system.
#[derive(Debug, Clone)]
pub(super) struct Account {
    name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether it is not the caller, who then is root.
    pub(super) borrowed: bool,
}

impl Account {
    /// Chooses the caller; if that is root, `postgres` or otherwise `nobody`.
    pub(super) fn choose() -> Result<Account, EmbeddedError> {
        if rustix::process::geteuid().is_root() {
            let path = Path::new("/etc/passwd");
            let passwd = fs::read_to_string(path).at(path)?;
            ["postgres", "nobody"]
                .iter()
                .find_map(|name| entry(&passwd, name))
                .ok_or(EmbeddedError::NoAccount)
        } else {
            Ok(Account {
                name: env::var("USER").unwrap_or_else(|_| "this user".to_owned()),
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
                borrowed: false,
            })
        }
    }

    /// Prepares to run `program` as this user, without the variables that Postgres reads: `PGPORT`,
    /// `PGDATA` or a locale that is not installed would change what it does.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // initdb fails if this user cannot enter the working directory of the caller.
        command.current_dir("/").env("LC_ALL", "C");
        command.stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            if name.as_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        if self.borrowed {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Checks that this user can enter every directory above `path`. Only needed if it is not the
    /// caller: otherwise the first access fails with a clear error.
    pub(super) fn check_reach(&self, path: &Path) -> Result<(), EmbeddedError> {
        if !self.borrowed {
            return Ok(());
        }
        let blocked = path
            .ancestors()
            .skip(1)
            .find(|directory| fs::metadata(directory).is_ok_and(|found| !self.may_enter(&found)));
        match blocked {
            None => Ok(()),
            Some(directory) => Err(EmbeddedError::Unreachable {
                account: self.name.clone(),
                path: path.to_owned(),
                blocked: PathBuf::from(directory),
            }),
        }
    }

    fn may_enter(&self, directory: &fs::Metadata) -> bool {
        let bit = if directory.uid() == self.uid {
            0o100
        } else if directory.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        directory.mode() & bit != 0
    }
}

fn entry(passwd: &str, name: &str) -> Option<Account> {
    let line = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(Account {
        name: name.to_owned(),
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
        borrowed: true,
    })
}

#[cfg(test)]
mod tests {
    use super::entry;

    #[test]
    fn an_entry_is_found_by_its_full_name() {
        let passwd = "nobodyelse:x:7:7::/:/bin/sh\nnobody:x:65534:65533:nobody:/:/bin/false\n";

        let account = entry(passwd, "nobody").expect("the second line");

        assert_eq!((account.uid, account.gid), (65534, 65533));
        assert!(entry(passwd, "postgres").is_none());
    }
}
