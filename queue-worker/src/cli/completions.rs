//! `queue completions SHELL`

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::{print, program_name};
use super::{Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  queue completions bash > ~/.local/share/bash-completion/completions/queue
  queue completions zsh > ~/.zfunc/_queue
  queue completions fish > ~/.config/fish/completions/queue.fish";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell to complete for
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut command: Command) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, program_name(), &mut script);
        print(String::from_utf8_lossy(&script))?;
        Ok(Exit::Fine)
    }
}
