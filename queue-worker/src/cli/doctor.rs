//! `queue doctor`: finds what keeps jobs from running.

use std::io::{IsTerminal, stdout};

use queue_core::inspect::doctor::{self, Finding, Severity};
use serde_json::json;

use super::output::one_line;
use super::{Database, Exit, Failure, Global};

pub(super) const HELP: &str = "\
Looks for tables that are missing, of another version or restored from a dump; rights that this role
or that of a process lacks; missing, dead or stopping processes; jobs in queues that no process
serves, in paused queues, behind limits of 0, of kinds that no process knows, or with arguments that
do not fit their type; jobs that are late, overdue or failed; recurring jobs that are overdue,
paused, or of a source without a process; a server that takes no writes, has no UTF8, or is behind a
pooler; sessions, replication slots and prepared transactions that keep dead rows from being
removed; tables full of dead rows; settings of the server that lose jobs or slow them down;
connections and ids that run out.

An ordinary database role is enough. Exits with 1 if there is a finding. With --json, each finding
has a stable `check`, such as `no_live_process`.";

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let config = global.load()?;
    let database = Database::configured(&config)?;
    let mut conn = database.connect().await?;
    let dead_after = config.settings.process.dead_after;
    let mut findings = doctor::examine(&mut conn, &database.schema, dead_after).await?;
    if database.is_pooled().await {
        findings.push(pooler());
    }
    let healthy = findings.is_empty();
    let result = json!({"healthy": healthy, "findings": findings});
    global.print(&result, |_| report(&findings, stdout().is_terminal()))?;
    Ok(if healthy { Exit::Fine } else { Exit::Failed })
}

fn pooler() -> Finding {
    Finding {
        severity: Severity::Warning,
        check: "pooler",
        what: "a pooler is in front of the server".to_owned(),
        why: "in session mode each connection of a process (at most 8, and 2 for each worker) holds one \
              of the pooler's connections as long as it is open; in transaction mode processes poll, unless \
              `process.listen_url` is set"
            .to_owned(),
        next: "if the pooler runs out of connections, give processes the URL of the server itself"
            .to_owned(),
    }
}

fn report(findings: &[Finding], coloured: bool) -> String {
    if findings.is_empty() {
        return "no problems found".to_owned();
    }
    let parts: Vec<String> = findings
        .iter()
        .map(|finding| {
            format!(
                "{}: {}\n  so:   {}\n  next: {}\n",
                label(finding.severity, coloured),
                one_line(&finding.what),
                one_line(&finding.why),
                one_line(&finding.next)
            )
        })
        .collect();
    parts.join("\n")
}

fn label(severity: Severity, coloured: bool) -> &'static str {
    match (severity, coloured) {
        (Severity::Error, false) => "error",
        (Severity::Warning, false) => "warning",
        (Severity::Error, true) => "\u{1b}[1;31merror\u{1b}[0m",
        (Severity::Warning, true) => "\u{1b}[1;33mwarning\u{1b}[0m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_shown_with_its_effect_and_the_next_step() {
        let finding = Finding {
            severity: Severity::Error,
            check: "no_live_process",
            what: "no process is alive".to_owned(),
            why: "no job is run".to_owned(),
            next: "start one".to_owned(),
        };
        assert_eq!(
            report(&[finding], false),
            "error: no process is alive\n  so:   no job is run\n  next: start one\n"
        );
    }
}
