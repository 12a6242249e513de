//! Facts made up, and what is found in them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::inspect::Count;
use crate::inspect::doctor::work::OverdueRecurringJob;
use crate::inspect::stats::KindCount;
use crate::process::ProcessRequest;

fn healthy() -> Work {
    Work {
        dead_after: Duration::from_secs(30),
        processes: vec![process(
            json!({"queues": ["mail", "night, report*"], "kinds": ["send"]}),
        )],
        backlog: vec![backlog("mail", "send")],
        closed_limits: Vec::new(),
        overdue: Count::default(),
        overdue_seconds: 0.0,
        overdue_recurring_jobs: Vec::new(),
        paused_recurring_jobs: Vec::new(),
        sources: Vec::new(),
        undecodable: Vec::new(),
        orphans: 0,
        failed: Vec::new(),
    }
}

fn process(details: serde_json::Value) -> ProcessSummary {
    ProcessSummary {
        id: Uuid::nil(),
        name: "worker-1".to_owned(),
        host: "alpha".to_owned(),
        pid: 7,
        version: "1".to_owned(),
        started_at: DateTime::<Utc>::UNIX_EPOCH,
        heartbeat_at: DateTime::<Utc>::UNIX_EPOCH,
        silent_seconds: 1.0,
        stopping_at: None,
        asked: None,
        asked_by: None,
        asked_at: None,
        running: 2,
        idle: false,
        details,
    }
}

fn backlog(queue: &str, kind: &str) -> Backlog {
    Backlog {
        queue: queue.to_owned(),
        kind: kind.to_owned(),
        ready: 3,
        at_least: false,
        oldest_seconds: 5.0,
        paused: None,
    }
}

fn checks(work: &Work) -> Vec<&'static str> {
    judge(work).iter().map(|finding| finding.check).collect()
}

#[test]
fn a_healthy_queue_has_no_findings() {
    assert_eq!(checks(&healthy()), [""; 0]);
}

#[test]
fn without_a_live_process_the_backlog_has_no_findings_of_its_own() {
    let mut work = healthy();
    work.processes.clear();
    assert_eq!(checks(&work), ["no_live_process"]);
}

#[test]
fn a_dead_process_is_an_error_only_if_no_other_can_recover_its_jobs() {
    let mut work = healthy();
    work.processes[0].silent_seconds = 31.0;
    assert_eq!(checks(&work), ["no_live_process", "dead_process"]);
    assert_eq!(judge(&work)[1].severity, Severity::Error);

    work.processes.push(process(json!({})));
    assert_eq!(checks(&work), ["dead_process"]);
    assert_eq!(judge(&work)[0].severity, Severity::Warning);
}

#[test]
fn a_stopping_process_serves_no_queue() {
    let mut work = healthy();
    work.processes[0].stopping_at = Some(DateTime::<Utc>::UNIX_EPOCH);
    assert_eq!(checks(&work), ["all_stopping"]);
}

#[test]
fn a_process_serves_no_queue_from_the_heartbeat_on_at_which_it_is_quiet() {
    let mut work = healthy();
    let process = &mut work.processes[0];
    process.asked = Some(ProcessRequest::Quiet);
    process.asked_at = Some(process.heartbeat_at);
    assert_eq!(checks(&work), [""; 0]);

    work.processes[0].heartbeat_at += chrono::Duration::seconds(1);
    assert_eq!(checks(&work), ["all_stopping"]);
}

#[test]
fn queues_match_patterns_as_in_workers() {
    let mut work = healthy();
    work.backlog = vec![backlog("reports", "send"), backlog("mail2", "send")];
    let findings = judge(&work);
    assert_eq!(checks(&work), ["queue_not_served"]);
    assert!(findings[0].what.contains("mail2"), "{}", findings[0].what);
}

#[test]
fn an_unknown_kind_differs_from_one_known_to_processes_of_other_queues() {
    let mut work = healthy();
    work.processes
        .push(process(json!({"queues": ["slow"], "kinds": ["resize"]})));
    work.backlog = vec![backlog("mail", "resize"), backlog("mail", "typo")];
    assert_eq!(checks(&work), ["kind_not_served", "unknown_kind"]);
}

#[test]
fn a_paused_queue_is_not_reported_as_late() {
    let mut work = healthy();
    work.backlog[0].paused = Some(", by ada@host: the relay is down".to_owned());
    work.backlog[0].oldest_seconds = 600.0;
    assert_eq!(checks(&work), ["paused_queue"]);
    let what = "queue mail is paused with 3 jobs ready, by ada@host: the relay is down";
    assert_eq!(judge(&work)[0].what, what);
}

#[test]
fn late_overdue_orphaned_and_failed_jobs_are_reported() {
    let mut work = healthy();
    work.backlog[0].oldest_seconds = 61.0;
    work.orphans = 1;
    work.overdue = Count {
        count: 4,
        at_least: false,
    };
    work.overdue_recurring_jobs = vec![OverdueRecurringJob {
        name: "nightly".to_owned(),
        overdue_seconds: 60.0,
    }];
    work.failed = vec![KindCount {
        kind: "send".to_owned(),
        count: 10_005,
    }];
    let last = judge(&work).pop().unwrap();
    assert_eq!(last.what, "10,005 jobs have failed: 10,005 send");
    assert_eq!(
        checks(&work),
        [
            "orphaned_jobs",
            "late_jobs",
            "overdue_jobs",
            "overdue_recurring_jobs",
            "failed_jobs"
        ]
    );
}

#[test]
fn a_limit_of_zero_with_waiting_jobs_is_reported() {
    let mut work = healthy();
    work.closed_limits.push(ClosedLimit {
        name: "import".to_owned(),
        waiting: Count {
            count: 2,
            at_least: false,
        },
    });

    let findings = judge(&work);

    assert_eq!(findings[0].check, "closed_limit");
    assert_eq!(
        findings[0].what,
        "the limit of import is 0, with 2 jobs waiting"
    );
    assert!(findings[0].next.contains("queue limits reset import"));
}

#[test]
fn recurring_jobs_that_are_paused_or_whose_source_has_no_process_are_reported() {
    let mut work = healthy();
    work.processes[0].details = json!({"source": "shop"});
    work.paused_recurring_jobs = vec!["nightly".to_owned()];
    work.sources = ["shop", "old"]
        .map(|name| Source {
            name: name.to_owned(),
            count: 2,
        })
        .into();

    let findings = judge(&work);

    assert_eq!(checks(&work), ["paused_recurring_jobs", "abandoned_source"]);
    assert!(
        findings[1].what.contains("source old"),
        "{}",
        findings[1].what
    );
}
