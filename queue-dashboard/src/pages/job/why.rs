//! Why a job is not running: the first cause that applies, and all conditions.

use chrono::{DateTime, Utc};
use queue_core::events::awaited_batch;
use queue_core::inspect::processes::ProcessSummary;
use queue_core::inspect::queues::Pause;
use queue_core::inspect::versions::KindVersion;
use queue_core::inspect::{JobDetails, spell_duration};
use queue_core::{JobState, Outcome};

use crate::html::{Html, exact_minute, icon_of_class, pictured, user};
use crate::links::Links;
use crate::pages::processes::{is_alive, knows, serves};
use crate::pages::queues::by_and_why;
use crate::site::Site;
use crate::words::{counted, seconds_between};

/// What is known about a job and those who could run it.
pub(super) struct Case<'a> {
    pub(super) job: &'a JobDetails,
    pub(super) processes: &'a [ProcessSummary],
    pub(super) pause: Option<Pause>,
    /// The pause of its tenant, if that concerns it.
    pub(super) tenant_pause: Option<Pause>,
    /// The versions that know its kind, the oldest first.
    pub(super) versions: &'a [KindVersion],
    pub(super) site: &'a Site,
    pub(super) links: &'a Links,
    pub(super) now: DateTime<Utc>,
}

/// The sentence at the top of the page.
pub(super) struct Because {
    pub(super) class: &'static str,
    pub(super) icon: Html,
    pub(super) why: Html,
    pub(super) next: Html,
}

/// A condition for a job to start.
pub(super) struct Condition {
    pub(super) icon: Html,
    pub(super) name: Html,
    pub(super) state: Html,
}

impl Case<'_> {
    pub(super) fn because(&self) -> Because {
        let job = self.job;
        let (class, glyph) = match job.state {
            JobState::Failed => ("failed", "failed"),
            JobState::Blocked => ("blocked", "blocked"),
            JobState::Ready if self.obstacle().is_some() => ("blocked", "warning"),
            JobState::Finished => (
                "",
                crate::html::state_word(job.state, job.outcome.as_deref()),
            ),
            state => ("", state.as_str()),
        };
        let (why, next) = match job.state {
            JobState::Failed => self.failed(),
            JobState::Blocked => self.blocked(),
            JobState::Scheduled => self.scheduled(),
            JobState::Ready => self.ready(),
            JobState::Claimed => self.running(),
            JobState::Finished => (self.finished(), Html::new()),
        };
        Because {
            class,
            icon: icon_of_class(glyph, &format!("ink-{}", job.state)),
            why,
            next,
        }
    }

    fn since(&self, at: DateTime<Utc>) -> String {
        spell_duration(seconds_between(at, self.now))
    }

    fn failed(&self) -> (Html, Html) {
        let job = self.job;
        let stays = " It stays so until somebody retries it.";
        let last = job.attempts.last();
        let ago = job
            .failed_at
            .map(|at| format!(" {} ago", self.since(at)))
            .unwrap_or_default();
        let why = Html::new().text("It is not running because ");
        let why = match last.map(|last| last.ending.as_str()) {
            Some("crash") => why
                .strong(format!(
                    "its process died under it {} of {} times",
                    job.crashes.unwrap_or_default(),
                    job.crashes_max
                ))
                .text(". It may be what kills them."),
            Some("undecodable") => {
                let why = why.strong("its arguments cannot be read");
                match last.and_then(|last| last.version.as_ref()) {
                    Some(version) => why.text(" by version ").user(version).text(ago),
                    None => why.text(ago),
                }
            }
            _ => why
                .strong(format!(
                    "{} of {} failed",
                    counted(
                        u64::from(job.failures.unwrap_or_default().unsigned_abs()),
                        "attempt",
                        "attempts"
                    ),
                    job.attempts_max
                ))
                .text(format!(", the last{ago}")),
        };
        let line = last
            .and_then(|last| last.error.lines().next())
            .unwrap_or_default();
        let line: String = line.chars().take(200).collect();
        let why = if line.is_empty() {
            why.text(".")
        } else {
            why.text(": ").user(&line)
        };
        (why, Html::new().text(stays.trim_start()))
    }

    /// Names what a job waits for: a batch, or jobs of its own batch.
    fn waiting(&self) -> (Html, Html) {
        let why = Html::new().text("It is not running because it waits for ");
        let why = match (self.job.callback_of, self.job.waits_for_jobs.first()) {
            (Some(batch), _) => {
                let href = self.links.one("batches", &batch.to_string());
                let why = why
                    .text("the end of ")
                    .link(&href, &format!("batch {batch}"));
                why.text(".")
            }
            (None, Some(first)) => {
                let why = why.link(&self.links.job(*first), &format!("#{first}"));
                match self.job.waits_for_jobs.len() - 1 {
                    0 => why.text("."),
                    more => why.text(format!(" and {}.", counted(more as u64, "other", "others"))),
                }
            }
            (None, None) => why.text("other jobs, and will start soon."),
        };
        (why, Html::new())
    }

    fn blocked(&self) -> (Html, Html) {
        let job = self.job;
        if job.blocked_on.as_deref() == Some("@after") {
            return self.waiting();
        }
        let key = job.blocked_on.as_deref().unwrap_or_default();
        let why = Html::new().text("It is not running because its key ");
        let why = why.link(&self.links.to("/limits"), key);
        let why = match (job.blocked_by.first(), job.next_start_at) {
            (Some(holder), _) => {
                let href = self.links.job(holder.job_id);
                let others = job.blocked_by.len() - 1;
                let why = why
                    .text(" has no room, and ")
                    .link(&href, &format!("#{}", holder.job_id));
                let why = match others {
                    0 => why.text(" has held it"),
                    _ => why.text(format!(
                        " and {} have held it",
                        counted(others as u64, "other", "others")
                    )),
                };
                match holder.since {
                    Some(since) => why.text(format!(" for {}.", self.since(since))),
                    None => why.text("."),
                }
            }
            (None, Some(next)) => {
                let wait = spell_duration(seconds_between(self.now, next));
                why.text(format!(" has used up its starts; the next is in {wait}."))
            }
            (None, None) => why.text(" had no room, or is closed."),
        };
        (why, Html::new().text("No attempt is spent while it waits."))
    }

    fn scheduled(&self) -> (Html, Html) {
        let job = self.job;
        if let Some(event) = &job.waits_for_event {
            return (self.awaiting(event), Html::new());
        }
        let Some(due_at) = job.due_at else {
            return (Html::new().text("It is scheduled."), Html::new());
        };
        if due_at <= self.now {
            let late = self.since(due_at);
            let why = Html::new()
                .text("It is not running because it was due ")
                .strong(late);
            return (
                why.text(" ago and no dispatcher has made it ready."),
                Html::new(),
            );
        }
        let wait = spell_duration(seconds_between(self.now, due_at));
        let why = match job.attempts.len() {
            0 => Html::new()
                .text("It is not running because it is ")
                .strong(format!("due in {wait}")),
            _ => Html::new()
                .text(format!(
                    "It is not running because attempt {} failed; ",
                    job.attempt
                ))
                .strong(format!("the next is due in {wait}")),
        };
        (why.text("."), Html::new())
    }

    /// Names the event that a job waits for.
    fn awaiting(&self, event: &str) -> Html {
        let why = Html::new().text("It is not running because it waits for ");
        let why = match awaited_batch(event) {
            Some(batch) => {
                let href = self.links.one("batches", &batch.to_string());
                why.text("the end of ")
                    .link(&href, &format!("batch {batch}"))
            }
            None => why.text("the event ").strong(pictured(event)),
        };
        let left = self.job.due_at.map(|due_at| {
            let left = spell_duration(seconds_between(self.now, due_at));
            format!(", for {left} more at most")
        });
        why.text(left.unwrap_or_default()).text(".")
    }

    fn ready(&self) -> (Html, Html) {
        match self.obstacle() {
            Some(obstacle) => {
                let why = Html::new()
                    .text("It is not running because ")
                    .html(&obstacle)
                    .text(".");
                (why, Html::new())
            }
            None => {
                let waits = self
                    .job
                    .ready_at
                    .map(|at| self.since(at))
                    .unwrap_or_default();
                let why = Html::new()
                    .text("It is ")
                    .strong("in line")
                    .text(format!(" for {waits}."));
                let next = "Nothing keeps it from running: it starts when its turn comes and a slot is free.";
                (why, Html::new().text(next))
            }
        }
    }

    /// Returns what keeps a ready job from running.
    fn obstacle(&self) -> Option<Html> {
        let job = self.job;
        let bold = |text: &str| Html::new().strong(text);
        if !self
            .processes
            .iter()
            .any(|process| is_alive(process, &self.site.settings))
        {
            return Some(bold(match self.processes.is_empty() {
                true => "no process is alive",
                false => "every living process is stopping or quiet",
            }));
        }
        let tenant = job.tenant.as_deref().unwrap_or_default();
        for (pause, thing, page, name) in [
            (&self.pause, "queue ", "queues", job.queue.as_str()),
            (&self.tenant_pause, "tenant ", "tenants", tenant),
        ] {
            let Some(pause) = pause else { continue };
            let paused = Html::new().text(thing);
            let paused = paused.link(&self.links.one(page, name), name);
            return Some(
                paused
                    .strong(" is paused")
                    .text(" since ")
                    .html(&exact_minute(pause.at, self.now))
                    .html(&by_and_why(pause)),
            );
        }
        match (
            self.serving().is_empty(),
            self.knowing().is_empty(),
            self.able(),
        ) {
            (_, _, 1..) => None,
            (_, true, _) => {
                let obstacle = bold("no living process knows the kind ").user(&job.kind);
                Some(match self.versions.last() {
                    None => obstacle,
                    Some(last) => obstacle
                        .text(". Version ")
                        .user(&last.seen.version)
                        .text(" knew it"),
                })
            }
            (true, ..) => Some(bold("no living process serves queue ").user(&job.queue)),
            _ => Some(bold("the processes that know it").text(" do not serve its queue")),
        }
    }

    fn alive(&self) -> impl Iterator<Item = &ProcessSummary> {
        self.processes
            .iter()
            .filter(|process| is_alive(process, &self.site.settings))
    }

    fn serving(&self) -> Vec<&ProcessSummary> {
        self.alive()
            .filter(|process| serves(process, &self.job.queue))
            .collect()
    }

    fn knowing(&self) -> Vec<&ProcessSummary> {
        self.alive()
            .filter(|process| knows(process, &self.job.kind))
            .collect()
    }

    fn able(&self) -> usize {
        let serving = self.serving().into_iter();
        serving
            .filter(|process| knows(process, &self.job.kind))
            .count()
    }

    fn running(&self) -> (Html, Html) {
        let job = self.job;
        let runs = job.run_seconds.map(spell_duration).unwrap_or_default();
        let why = Html::new()
            .text("It has been ")
            .strong(format!("running for {runs}"));
        let why = match (&job.process, job.process_id) {
            (Some(name), Some(id)) => why
                .text(" in ")
                .link(&self.links.one("processes", &id.to_string()), name),
            _ => why.text(" in a process that is gone"),
        };
        let next = job
            .cancel_requested_at
            .map(|at| format!("It was asked to stop {} ago.", self.since(at)));
        (why.text("."), Html::new().text(next.unwrap_or_default()))
    }

    fn finished(&self) -> Html {
        let job = self.job;
        let ago = job
            .finished_at
            .map(|at| format!(" {} ago", self.since(at)))
            .unwrap_or_default();
        let verb = match job.outcome.as_deref() {
            Some(outcome) if outcome == Outcome::Discarded.as_str() => "was discarded",
            Some(outcome) if outcome == Outcome::Cancelled.as_str() => "was cancelled",
            _ => "finished",
        };
        let ran = job.run_seconds.filter(|_| job.started_at.is_some());
        let ran = ran.map(|ran| format!(" after {}", spell_duration(ran)));
        Html::new()
            .text("It ")
            .strong(verb)
            .text(format!("{ago}{}.", ran.unwrap_or_default()))
    }

    /// Returns everything that must be so for a waiting job to start.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        let job = self.job;
        if matches!(
            job.state,
            JobState::Claimed | JobState::Failed | JobState::Finished
        ) {
            return Vec::new();
        }
        let due = match job.due_at {
            Some(due_at) if due_at > self.now => {
                let wait = spell_duration(seconds_between(self.now, due_at));
                (false, Html::new().text(format!("in {wait}")))
            }
            _ => (true, Html::new().text("now")),
        };
        let is_due = match &job.waits_for_event {
            Some(_) => "What it waits for has happened, or its time is over",
            None => "It is due",
        };
        let paused = |pause: &Option<Pause>| match pause {
            Some(pause) => (
                false,
                Html::new()
                    .text(format!("paused for {}", self.since(pause.at)))
                    .html(&by_and_why(pause)),
            ),
            None => (true, Html::new().text("it runs")),
        };
        let of = |found: usize| {
            let text = match found {
                0 => "none".to_owned(),
                found => counted(found as u64, "process", "processes"),
            };
            (found > 0, Html::new().text(text))
        };
        let queue = Html::new()
            .text("Queue ")
            .user(&job.queue)
            .text(" is not paused");
        let serves = Html::new()
            .text("A living process serves queue ")
            .user(&job.queue);
        let mut conditions = vec![
            condition(Html::new().text(is_due), due, "scheduled"),
            condition(queue, paused(&self.pause), "warning"),
            condition(serves, of(self.serving().len()), "warning"),
            condition(
                Html::new().text("It knows the kind ").user(&job.kind),
                of(self.able()),
                "warning",
            ),
        ];
        if self.tenant_pause.is_some() {
            let tenant = user(job.tenant.as_deref().unwrap_or_default());
            let tenant = Html::new().text("Tenant ").html(&tenant);
            let state = paused(&self.tenant_pause);
            conditions.push(condition(tenant.text(" is not paused"), state, "warning"));
        }
        conditions.extend(self.keys());
        conditions
    }

    /// Returns the conditions of its limits.
    fn keys(&self) -> Vec<Condition> {
        let job = self.job;
        let mut conditions = Vec::new();
        for limit in &job.limits {
            let is_short = job.blocked_on.as_deref() == Some(limit.key.as_str());
            let name = Html::new().text("Key ").user(&limit.key).text(" has room");
            let state = if is_short {
                "no"
            } else {
                "decided when it is claimed"
            };
            conditions.push(condition(
                name,
                (!is_short, Html::new().text(state)),
                "blocked",
            ));
        }
        let is_own = job
            .limits
            .iter()
            .any(|limit| Some(&limit.key) == job.blocked_on.as_ref());
        if let Some(key) = job.blocked_on.as_ref().filter(|_| !is_own) {
            let name = Html::new().text("Key ").html(&user(key)).text(" has room");
            conditions.push(condition(name, (false, Html::new().text("no")), "blocked"));
        }
        conditions
    }
}

fn condition(name: Html, (is_met, state): (bool, Html), glyph: &'static str) -> Condition {
    let icon = match (is_met, glyph) {
        (true, _) => icon_of_class("finished", "ink-finished"),
        (false, "scheduled") => icon_of_class(glyph, "ink-scheduled"),
        (false, glyph) => icon_of_class(glyph, "ink-blocked"),
    };
    Condition { icon, name, state }
}
