//! `queue completions SHELL`

use std::path::Path;

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::print;
use super::{Exit, Failure};

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
        // An application's own program is completed under its name.
        let path = std::env::args_os().next().unwrap_or_default();
        let name = Path::new(&path).file_name().unwrap_or("queue".as_ref());
        let name = name.to_string_lossy();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        print(String::from_utf8_lossy(&script))?;
        Ok(Exit::Fine)
    }
}
