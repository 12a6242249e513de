//! Every statement of this crate by name, for tests that prepare and explain them.

use crate::inspect::{
    doctor, jobs, limits as inspect_limits, processes, queues as inspect_queues,
    recurring as inspect_recurring, stats,
};
use crate::operations::{limits, queues};
use crate::process::{DEREGISTER, HEARTBEAT, REGISTER, SLEEP, WAKE};
use crate::recurring;
use crate::transitions::{
    cancel, claim, claim_limited, clear, copy, discard, enqueue, fail, finish, promote, recover,
    release, retry, retry_now, snooze, unblock,
};

/// What producers and processes run: these must find their rows by an index.
const TRANSITIONS: &[(&str, &str)] = &[
    ("add_schedule", recurring::ADD),
    ("await_movers", cancel::AWAIT_MOVERS),
    ("blocked_keys", unblock::BLOCKED_KEYS),
    ("cancel", cancel::CANCEL),
    ("cancel_requests", cancel::CANCEL_REQUESTS),
    ("claim", claim::CLAIM),
    ("claim_limited", claim_limited::CLAIM_LIMITED),
    ("claim_seats", claim_limited::CLAIM_SEATS),
    ("clear_failed", clear::CLEAR_FAILED),
    ("clear_firings", recurring::CLEAR_FIRINGS),
    ("clear_finished", clear::CLEAR_FINISHED),
    ("clear_rates", clear::CLEAR_RATES),
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
    ("lock_due", recurring::LOCK_DUE),
    ("lock_far", recurring::LOCK_FAR),
    ("lock_schedule", recurring::LOCK_NAMED),
    ("lock_to_store", recurring::LOCK_TO_STORE),
    ("move_schedule", recurring::MOVE),
    ("next_due", promote::NEXT_DUE),
    ("next_due_schedule", recurring::NEXT_DUE),
    ("owner", recurring::OWNER),
    ("pause", queues::PAUSE),
    ("pause_schedule", recurring::PAUSE),
    ("promote", promote::PROMOTE),
    ("record_firings", recurring::RECORD),
    ("record_run", recurring::RECORD_RUN),
    ("recover", recover::RECOVER),
    ("register", REGISTER),
    ("release", release::RELEASE),
    ("release_unknown", release::RELEASE_UNKNOWN),
    ("remove_schedule", recurring::REMOVE),
    ("request_cancel", cancel::REQUEST_CANCEL),
    ("reserve_ids", copy::RESERVE_IDS),
    ("reset_limit", limits::RESET),
    ("resume", queues::RESUME),
    ("resume_schedule", recurring::RESUME),
    ("retry", retry::RETRY),
    ("retry_now", retry_now::RETRY_NOW),
    ("run_anyway", unblock::RUN_ANYWAY),
    ("set_limit", limits::SET),
    ("settle_firing", recurring::SETTLE),
    ("sleep", SLEEP),
    ("snooze", snooze::SNOOZE),
    ("still_claimed", finish::STILL_CLAIMED),
    ("store_schedule", recurring::STORE),
    ("unblock", unblock::UNBLOCK),
    ("undeclare", recurring::UNDECLARE),
    ("waiting_keys", limits::WAITING_KEYS),
    ("wake", WAKE),
    ("wake_queues", copy::WAKE_QUEUES),
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
    ("firings", inspect_recurring::FIRINGS),
    ("front", queues::FRONT),
    ("horizon", doctor::HORIZON),
    ("job_attempts", jobs::ATTEMPTS),
    ("job_ids", jobs::IDS),
    ("limits", inspect_limits::LIMITS),
    ("list_jobs", jobs::LIST),
    ("list_schedules", inspect_recurring::LIST),
    ("orphans", doctor::ORPHANS),
    ("overdue", doctor::OVERDUE),
    ("overdue_schedules", doctor::OVERDUE_SCHEDULES),
    ("processes", processes::PROCESSES),
    ("queues", inspect_queues::QUEUES),
    ("server", doctor::SERVER),
    ("show_job", jobs::SHOW),
    ("show_schedule", inspect_recurring::SHOW),
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
