//! Lets no program outlive the process that started it, where the system can do that.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::account::Account;

/// The means to end a program when the process that started it ends, even by `kill -9`:
/// util-linux's `setpriv --pdeathsig`. Elsewhere there is none, and a server may be left
/// running, which the next start adopts.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    setpriv: Option<PathBuf>,
}

impl Guard {
    pub(super) fn find() -> Guard {
        let setpriv = cfg!(target_os = "linux").then(find_setpriv).flatten();
        Guard { setpriv }
    }

    /// Prepares to run `program` as `account`, and to have it sent `signal` when the *thread*
    /// that starts it ends: that thread must wait for it.
    pub(super) fn command(&self, account: &Account, program: &Path, signal: &str) -> Command {
        match &self.setpriv {
            Some(setpriv) => {
                let mut command = account.command(setpriv);
                command.args(["--pdeathsig", signal, "--"]).arg(program);
                command
            }
            None => account.command(program),
        }
    }
}

fn find_setpriv() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/bin")])
        .map(|directory| directory.join("setpriv"))
        .find(|setpriv| setpriv.is_file())
        .filter(|setpriv| knows_pdeathsig(setpriv))
}

/// BusyBox has a `setpriv` without this option.
fn knows_pdeathsig(setpriv: &Path) -> bool {
    Command::new(setpriv)
        .args(["--pdeathsig", "INT", "--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
