//! The cause behind errors: what is left of an error without ids, hosts, addresses, long numbers and quoted
//! text.

use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};

/// How many digits a number has that is replaced.
const LONG_NUMBER: usize = 4;
/// How many characters an id of letters and digits has.
const LONG_ID: usize = 8;

/// Returns the first line of an error with `<id>`, `<host>` and others in place of what differs from job to
/// job.
pub fn cause_of(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    let line = without_quotes(line);
    let words: Vec<String> = line.split_whitespace().map(word).collect();
    words.join(" ")
}

/// Returns a short name of the cause of an error, the same in every version of the program.
pub fn fingerprint(error: &str) -> String {
    let hash = Sha256::digest(cause_of(error));
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Replaces text in double quotes.
fn without_quotes(line: &str) -> String {
    let mut parts = line.split('"');
    let mut text = parts.next().unwrap_or_default().to_owned();
    while let Some(quoted) = parts.next() {
        match parts.next() {
            Some(after) => {
                text.push_str("<text>");
                text.push_str(after);
            }
            // A quote that is not closed.
            None => {
                text.push('"');
                text.push_str(quoted);
            }
        }
    }
    text
}

/// Replaces a word, but keeps punctuation around it and a name before `=`.
fn word(word: &str) -> String {
    let is_around = |c: char| "()[]{},;:'.!?#".contains(c);
    let core = word.trim_matches(is_around);
    let (before, after) = word.split_once(core).unwrap_or((word, ""));
    let (name, core) = match core.rsplit_once('=') {
        Some((name, value)) if placeholder(core).is_none() => (format!("{name}="), value),
        _ => (String::new(), core),
    };
    let core = placeholder(core).unwrap_or(core);
    let before = if core == "<id>" {
        before.trim_end_matches('#')
    } else {
        before
    };
    format!("{before}{name}{core}{after}")
}

fn placeholder(word: &str) -> Option<&'static str> {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_number = !word.is_empty() && digits == word.len();
    let is_id = word.len() >= LONG_ID && digits >= 2 && word.chars().all(is_plain);
    match word {
        _ if word.contains("://") => Some("<url>"),
        _ if word.contains('@') => Some("<address>"),
        _ if is_host(word) => Some("<host>"),
        _ if (is_number && digits >= LONG_NUMBER) || is_id => Some("<id>"),
        _ => None,
    }
}

/// Returns whether a word is an address of the internet or the name of a host, with or without a port.
fn is_host(word: &str) -> bool {
    let (host, port) = match word.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (word, None),
    };
    let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok());
    if port.is_some() && !has_port {
        return false;
    }
    let labels: Vec<&str> = host.split('.').collect();
    let is_label = |label: &&str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let is_name = labels.len() > 1
        && labels.iter().all(is_label)
        && labels
            .last()
            .is_some_and(|last| last.chars().all(|c| c.is_ascii_alphabetic()));
    host.parse::<Ipv4Addr>().is_ok() || is_name || (has_port && is_label(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_job_to_job_is_replaced() {
        for (error, cause) in [
            (
                "no answer from 10.0.7.12:443 within 30s",
                "no answer from <host> within 30s",
            ),
            (
                "503 Service Unavailable from api.cards.example (request 7f3a9c01-77)\nmore",
                "503 Service Unavailable from <host> (request <id>)",
            ),
            (
                "smtp: 550 5.1.1 <jo@obrien.example>: rejected",
                "smtp: 550 5.1.1 <address>: rejected",
            ),
            ("job #48211907 not found", "job <id> not found"),
            (
                "user_id=812345 has no \"main\" card",
                "user_id=<id> has no <text> card",
            ),
            ("localhost:5432 refused", "<host> refused"),
            (
                "missing field `account_id` at line 1 column 48",
                "missing field `account_id` at line 1 column 48",
            ),
            ("version 2.14.2 is too old", "version 2.14.2 is too old"),
            ("GET https://a.example/x?y=1: 404", "GET <url>: 404"),
            ("an \"open quote", "an \"open quote"),
            ("", ""),
        ] {
            assert_eq!(cause_of(error), cause);
        }
    }

    #[test]
    fn errors_of_one_cause_have_one_fingerprint() {
        let of = |number: u32| fingerprint(&format!("delivery {number} failed"));
        assert_eq!(of(12345), of(67890));
        assert_ne!(of(12345), fingerprint("delivery is late"));
        assert_eq!(fingerprint("").len(), 16);
    }
}
