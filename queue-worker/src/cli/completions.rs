//! `queue completions SHELL`

use clap::{Args, Command};
use clap_complete::Shell;

use super::exit::{Exit, Failure};
use super::output::print;

const EXAMPLES: &str = "\
Examples:
  queue completions bash > ~/.local/share/bash-completion/completions/queue
  queue completions zsh > ~/.zfunc/_queue
  queue completions fish > ~/.config/fish/completions/queue.fish";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell to complete for
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut command: Command) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, program(), &mut script);
        print(String::from_utf8_lossy(&script))?;
        Ok(Exit::Fine)
    }
}

/// Returns the name of the running program, which may be an application's own.
fn program() -> String {
    let started_as = std::env::args_os().next();
    started_as
        .as_deref()
        .map(std::path::Path::new)
        .and_then(|path| path.file_name())
        .map_or_else(
            || "queue".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
}
