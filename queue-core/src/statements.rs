//! Every statement of this crate by name, for tests that prepare and explain them.

use crate::inspect::{
    doctor, jobs, limits as inspect_limits, processes, queues as inspect_queues, stats,
};
use crate::process::{DEREGISTER, HEARTBEAT, REGISTER, SLEEP, WAKE};
use crate::transitions::{
    cancel, claim, claim_limited, clear, discard, enqueue, fail, finish, promote, recover, release,
    retry, revive, snooze, unblock,
};
use crate::{limits, queues};

/// What producers and processes run: these must find their rows by an index.
const TRANSITIONS: &[(&str, &str)] = &[
    ("await_movers", cancel::AWAIT_MOVERS),
    ("blocked_keys", unblock::BLOCKED_KEYS),
    ("cancel", cancel::CANCEL),
    ("cancel_requests", cancel::CANCEL_REQUESTS),
    ("claim", claim::CLAIM),
    ("claim_limited", claim_limited::CLAIM_LIMITED),
    ("clear_failed", clear::CLEAR_FAILED),
    ("clear_finished", clear::CLEAR_FINISHED),
    ("deregister", DEREGISTER),
    ("discard", discard::DISCARD),
    ("enqueue", enqueue::ENQUEUE),
    ("enqueue_limited", enqueue::ENQUEUE_LIMITED),
    ("enqueue_one", enqueue::ENQUEUE_ONE),
    ("enqueue_ready", enqueue::ENQUEUE_READY),
    ("fail", fail::FAIL),
    ("finish", finish::FINISH),
    ("heartbeat", HEARTBEAT),
    ("key_holders", enqueue::KEY_HOLDERS),
    ("lanes", claim::LANES),
    ("last_place", claim::LAST_PLACE),
    ("next_due", promote::NEXT_DUE),
    ("pause", queues::PAUSE),
    ("promote", promote::PROMOTE),
    ("recover", recover::RECOVER),
    ("register", REGISTER),
    ("release", release::RELEASE),
    ("release_unknown", release::RELEASE_UNKNOWN),
    ("request_cancel", cancel::REQUEST_CANCEL),
    ("reserve_ids", enqueue::RESERVE_IDS),
    ("reset_limit", limits::RESET),
    ("resume", queues::RESUME),
    ("retry", retry::RETRY),
    ("revive", revive::REVIVE),
    ("run_anyway", unblock::RUN_ANYWAY),
    ("set_limit", limits::SET),
    ("sleep", SLEEP),
    ("snooze", snooze::SNOOZE),
    ("still_claimed", finish::STILL_CLAIMED),
    ("unblock", unblock::UNBLOCK),
    ("waiting_keys", limits::WAITING_KEYS),
    ("wake", WAKE),
    ("wake_queues", enqueue::WAKE_QUEUES),
    ("was_written", finish::WAS_WRITTEN),
];

/// What operators ask: these may read much, within their limits.
const READS: &[(&str, &str)] = &[
    ("backlog", doctor::BACKLOG),
    ("closed_limits", doctor::CLOSED_LIMITS),
    ("count_jobs", jobs::COUNT),
    ("endings", stats::ENDINGS),
    ("error_kinds", stats::ERROR_KINDS),
    ("failed_kinds", stats::FAILED_KINDS),
    ("front", queues::FRONT),
    ("horizon", doctor::HORIZON),
    ("job_attempts", jobs::ATTEMPTS),
    ("job_ids", jobs::IDS),
    ("limits", inspect_limits::LIMITS),
    ("list_jobs", jobs::LIST),
    ("orphans", doctor::ORPHANS),
    ("overdue", doctor::OVERDUE),
    ("processes", processes::PROCESSES),
    ("queues", inspect_queues::QUEUES),
    ("server", doctor::SERVER),
    ("show_job", jobs::SHOW),
    ("stats", stats::STATS),
    ("tables", doctor::TABLES),
];

/// Returns the statements of producers and processes, by name.
#[doc(hidden)]
pub fn transition_statements() -> &'static [(&'static str, &'static str)] {
    TRANSITIONS
}

/// Returns the statements that operators' questions become, by name.
#[doc(hidden)]
pub fn read_statements() -> &'static [(&'static str, &'static str)] {
    READS
}
