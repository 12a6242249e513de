//! Findings about rights.

use super::super::Finding;
use super::super::rights::Lacking;
use super::error;

/// Judges the role of this session.
pub(in super::super) fn judge_own(lacking: &[Lacking]) -> Vec<Finding> {
    let why =
        "what needs these rights fails, as does all of the queue if its tables cannot be read";
    lacking.iter().map(|each| missing(each, "", why)).collect()
}

/// Judges the roles of processes.
pub(in super::super) fn judge_of_processes(lacking: &[Lacking]) -> Vec<Finding> {
    let why = "its jobs cannot be claimed, or stay claimed because their ends cannot be recorded";
    let missing = |each| missing(each, " of a process", why);
    lacking.iter().map(missing).collect()
}

fn missing(lacking: &Lacking, whose: &str, why: &str) -> Finding {
    let Lacking {
        role,
        class,
        privileges,
        names,
    } = lacking;
    error(
        "missing_rights",
        format!("the role {role}{whose} lacks rights on the {class} {names}: {privileges}"),
        why,
        format!("run `grant {privileges} on {class} {names} to {role}`"),
    )
}
