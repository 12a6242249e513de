//! Asking before many rows change.

use std::io::{self, BufRead, IsTerminal, Write};

use super::exit::{Exit, Failure};
use super::output::say;

/// Asks whether to go on: `--yes` answers for a script, a person answers at the terminal, and
/// without either nothing is done.
pub(super) fn confirm(question: &str, yes: bool) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{question}: there is no terminal to ask at, so nothing was done; add --yes to do it"
        )));
    }
    // A prompt that cannot be shown is answered by nobody.
    let _ = write!(io::stderr().lock(), "{question}? [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    let agreed = is_yes(&answer);
    if !agreed {
        say("nothing was done");
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
