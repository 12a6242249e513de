//! The rule for names of queues, kinds, groups, recurring jobs, steps, events, tags and shards.

/// The most bytes a queue, a kind or a tag may have.
pub const NAME_BYTES_MAX: usize = 100;

/// Why a name is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {what} {name:?} is refused: {reason}")]
pub struct InvalidName {
    what: &'static str,
    name: String,
    reason: String,
}

impl InvalidName {
    /// Returns the reason, without the name.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn schema(name: &str, reason: &str) -> Self {
        Self::new("schema", name, reason.to_owned())
    }

    /// Cuts a very long name, to keep the message readable.
    fn new(what: &'static str, name: &str, reason: String) -> Self {
        Self {
            what,
            name: name.chars().take(NAME_BYTES_MAX).collect(),
            reason,
        }
    }
}

/// Checks the name of a queue.
///
/// # Errors
/// Refuses a name that is empty, longer than [`NAME_BYTES_MAX`], or has characters other than
/// ASCII letters, digits and `_ . : / -`.
pub fn check_queue(name: &str) -> Result<(), InvalidName> {
    check("queue", name)
}

/// Checks the name of a kind, by the rule of [`check_queue`].
///
/// # Errors
/// Refuses what [`check_queue`] refuses.
pub fn check_kind(name: &str) -> Result<(), InvalidName> {
    check("kind", name)
}

/// Checks the name of a group of limits, by the rule of [`check_queue`].
///
/// # Errors
/// Refuses what [`check_queue`] refuses.
pub(crate) fn check_group(name: &str) -> Result<(), InvalidName> {
    check("group", name)
}

/// Checks the name of a recurring job, by the rule of [`check_queue`].
///
/// # Errors
/// Refuses what [`check_queue`] refuses.
pub fn check_recurring_job(name: &str) -> Result<(), InvalidName> {
    check("recurring job", name)
}

/// Checks a tag, by the rule of [`check_queue`].
///
/// # Errors
/// Refuses what [`check_queue`] refuses.
pub fn check_tag(name: &str) -> Result<(), InvalidName> {
    check("tag", name)
}

/// Checks the name of a step, by the rule of [`check_queue`].
///
/// # Errors
/// Refuses what [`check_queue`] refuses.
pub fn check_step(name: &str) -> Result<(), InvalidName> {
    check("step", name)
}

/// Checks the name of an event, by the rule of [`check_queue`].
///
/// # Errors
/// Refuses what [`check_queue`] refuses.
pub(crate) fn check_event(name: &str) -> Result<(), InvalidName> {
    check("event", name)
}

/// Checks the name of a shard, by the rule of [`check_queue`], and without a colon: an id is `NAME:4711`.
///
/// # Errors
/// Refuses what [`check_queue`] refuses, a colon, and `.` and `..`, which mean other things in the address of a page.
pub fn check_shard(name: &str) -> Result<(), InvalidName> {
    if matches!(name, "." | "..") {
        let reason = "it means another page in an address";
        return Err(InvalidName::new("shard", name, reason.to_owned()));
    }
    if name.contains(':') {
        let reason = "a colon ends the name of a shard in the id of a job";
        return Err(InvalidName::new("shard", name, reason.to_owned()));
    }
    check("shard", name)
}

fn check(what: &'static str, name: &str) -> Result<(), InvalidName> {
    match problem(name) {
        Some(reason) => Err(InvalidName::new(what, name, reason)),
        None => Ok(()),
    }
}

fn problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a name cannot be empty".to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        let bytes = name.len();
        return Some(format!(
            "a name has at most {NAME_BYTES_MAX} bytes, this one has {bytes}"
        ));
    }
    let stranger = name.chars().find(|character| !is_allowed(*character))?;
    Some(format!(
        "{stranger:?} is not allowed in a name; use letters, digits and `_.:/-`"
    ))
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_.:/-".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_accepted() {
        for name in [
            "default",
            "mail",
            "reports:daily",
            "eu/west-1",
            "a.b_c",
            "7",
        ] {
            assert_eq!(check_queue(name), Ok(()));
        }
    }

    #[test]
    fn names_that_would_confuse_a_list_or_a_shell_are_refused() {
        for name in [
            "",
            "two words",
            "mail*",
            "a,b",
            "żółw",
            "line\nbreak",
            "nul\0",
        ] {
            assert!(check_queue(name).is_err(), "{name:?} was accepted");
        }
        assert!(check_kind(&"x".repeat(101)).is_err());
    }
}
