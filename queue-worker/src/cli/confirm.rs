//! Confirmation before many rows are changed.

use std::io::{self, IsTerminal, Write};

use super::exit::{Exit, Failure};
use super::here::shard;
use super::output::say;

/// Asks at the terminal whether to go on, unless `--yes` was given. Without either it is an error.
pub(super) fn confirm(question: &str, yes: bool) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    let question = match shard() {
        Some(shard) => format!("on shard {shard}: {question}"),
        None => question.to_owned(),
    };
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{question}: cannot ask without a terminal, so nothing was done; add --yes to do it"
        )));
    }
    // If the prompt cannot be shown, reading the answer still decides.
    let _ = write!(io::stderr().lock(), "{question}? [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.map_err(|error| Failure::new(Exit::Failed, error))?;
    let agreed = is_yes(&answer);
    if !agreed {
        say("nothing was changed");
    }
    Ok(agreed)
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y\n") && is_yes("Yes\n"));
        for answer in ["", "\n", "n\n", "yep\n"] {
            assert!(!is_yes(answer), "{answer:?}");
        }
    }
}
