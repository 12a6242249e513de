//! A row of the list of jobs.

use chrono::{DateTime, Utc};
use queue_core::JobState;
use queue_core::inspect::JobSummary;

use crate::html::{Html, ago, pictured, user};
use crate::links::Links;
use crate::words::counted;

/// How many characters of arguments are shown.
const ARGS_MAX: usize = 200;

/// A job in the list, and what may be done with it.
pub(super) struct JobRow {
    /// Its id, and the same as people write it.
    pub(super) id: String,
    pub(super) label: String,
    pub(super) href: String,
    pub(super) kind: String,
    pub(super) args: String,
    pub(super) error: String,
    pub(super) queue: Html,
    pub(super) queue_href: String,
    pub(super) tenant: Option<(Html, String)>,
    pub(super) priority: i16,
    pub(super) tags: Vec<String>,
    pub(super) at: Html,
    pub(super) under: String,
    pub(super) can_retry: bool,
    pub(super) retry_href: String,
    pub(super) discard_href: Option<String>,
    pub(super) cancel_href: Option<String>,
}

impl JobRow {
    pub(super) fn new(
        job: &JobSummary,
        links: &Links,
        now: DateTime<Utc>,
        is_operator: bool,
    ) -> Self {
        let href = links.job(job.id);
        let is_retried =
            job.state == JobState::Failed || (job.state == JobState::Scheduled && job.attempt > 0);
        let act =
            |verb: &str, applies: bool| (applies && is_operator).then(|| format!("{href}/{verb}"));
        let args = job.args.as_ref().map_or("", |args| args.get());
        let mut shown: String = args.chars().take(ARGS_MAX).collect();
        if shown.len() < args.len() {
            shown.push('…');
        }
        Self {
            id: links.key(job.id),
            label: links.id(job.id),
            kind: pictured(&job.kind),
            args: pictured(if shown == "null" { "" } else { &shown }),
            error: pictured(job.error.as_deref().unwrap_or_default()),
            queue: user(&job.queue),
            queue_href: links.one("queues", &job.queue),
            tenant: job
                .tenant
                .as_deref()
                .map(|tenant| (user(tenant), links.one("tenants", tenant))),
            priority: job.priority,
            tags: job.tags.iter().map(|tag| pictured(tag)).collect(),
            at: ago(job.at, now),
            under: match job.failures {
                Some(failures) if failures > 0 => {
                    format!("{failures} of {} spent", job.attempts_max)
                }
                _ if job.attempt > 0 => {
                    counted(u64::from(job.attempt.unsigned_abs()), "attempt", "attempts")
                }
                _ => String::new(),
            },
            can_retry: is_operator && is_retried,
            retry_href: format!("{href}/retry"),
            discard_href: act("discard", job.state == JobState::Failed),
            cancel_href: act(
                "cancel",
                !matches!(job.state, JobState::Failed | JobState::Finished),
            ),
            href,
        }
    }

    pub(super) fn has_acts(&self) -> bool {
        self.can_retry || self.discard_href.is_some() || self.cancel_href.is_some()
    }
}
