//! `queue jobs show`

use std::fmt::Write as _;

use clap::Args;
use queue_core::events::awaited_batch;
use queue_core::inspect::queues::Pause;
use queue_core::inspect::{
    AttemptDetails, Holder, JobDetails, JobLimit, JobProgress, RunLog, jobs, queues, spell_duration,
};
use queue_core::{JobId, JobState};
use serde_json::Value;

use super::frames::own_frames;
use crate::cli::ids::{WrittenId, job_id};
use crate::cli::limits::limit_words;
use crate::cli::output::{
    ARGS_HIDDEN, Fact, absolute, facts_text, lines, one_line, paused, pretty, relative,
};
use crate::cli::{Database, Exit, Failure, Global};

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Show {
    /// The job
    #[arg(value_parser = job_id)]
    id: WrittenId<JobId>,
    /// Shows its arguments, which may be personal data
    #[arg(long)]
    args: bool,
    /// Shows the frames of libraries in backtraces, too
    #[arg(long)]
    backtrace: bool,
}

impl Show {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let id = self.id.here()?;
        let config = global.load()?;
        let (mut conn, schema) = Database::open(&config).await?;
        let job = jobs::show(&mut conn, &schema, id).await?;
        let mut job = job.ok_or_else(|| unknown(id))?;
        job.redact(&config.settings.redact.redaction());
        let pause = match job.state {
            JobState::Ready => queues::pause(&mut conn, &schema, &job.queue).await?,
            _ => None,
        };
        global.print_details(&job, self.args, |job, with_args| {
            text(job, pause, with_args, self.backtrace)
        })
    }
}

fn text(job: &JobDetails, pause: Option<Pause>, with_args: bool, whole_backtraces: bool) -> String {
    let mut text = facts_text(&facts(job, pause));
    if with_args {
        text.extend(["\narguments\n", &indented(&pretty(&job.args)), "\n"]);
        if let Some(context) = &job.context {
            text.extend(["\ncontext\n", &indented(&pretty(context)), "\n"]);
        }
    } else {
        text.push_str(ARGS_HIDDEN);
    }
    text.push_str(&progress_text(&job.progress, with_args));
    for attempt in &job.attempts {
        text.push('\n');
        text.push_str(&attempt_text(attempt, whole_backtraces));
    }
    for log in &job.progress.logs {
        text.push_str(&log_text(log));
    }
    text
}

/// Lists the finished steps, and with the arguments the output and the places of the cursors.
fn progress_text(progress: &JobProgress, with_args: bool) -> String {
    let mut text = String::new();
    if !progress.steps.is_empty() {
        text.push_str("\nfinished steps");
        if progress.earlier_steps > 0 {
            let earlier = progress.earlier_steps;
            let _ = write!(text, ", without the first {earlier}");
        }
        text.push('\n');
    }
    for step in &progress.steps {
        let (name, bytes) = (&step.name, step.result_bytes);
        let finished = absolute(step.finished_at);
        let _ = match step.occurrence {
            1 => writeln!(text, "  {name}  {bytes} B, {finished}"),
            number => writeln!(text, "  {name} ({number})  {bytes} B, {finished}"),
        };
    }
    if !with_args {
        return text;
    }
    for cursor in &progress.cursors {
        let (name, place) = (&cursor.name, one_line(cursor.place.get()));
        let _ = writeln!(text, "\ncursor {name}\n  {place}");
    }
    if let Some(output) = &progress.output {
        let _ = writeln!(text, "\noutput\n{}", indented(&pretty(output)));
    }
    text
}

fn log_text(log: &RunLog) -> String {
    let mut text = format!("\nlog of attempt {}", log.attempt);
    if log.dropped > 0 {
        let _ = write!(text, ", without the first {} lines", log.dropped);
    }
    let _ = writeln!(text, "\n{}", indented(&log.lines.join("\n")));
    text
}

fn unknown(id: JobId) -> Failure {
    let reason = "it never existed, or it was cleared after it finished";
    let error = anyhow::anyhow!("there is no job {id}: {reason}");
    Failure::new(Exit::NotFound, error)
}

fn awaited(event: &str) -> String {
    match awaited_batch(event) {
        Some(batch) => format!("the end of batch {batch}"),
        None => format!("the event {event}"),
    }
}

fn facts(job: &JobDetails, pause: Option<Pause>) -> Vec<Fact> {
    let mut facts = vec![
        ("job", format!("{} {}", job.id, job.kind)),
        ("state", state(job)),
        ("queue", format!("{}, priority {}", job.queue, job.priority)),
        ("attempts", attempts(job)),
        ("enqueued", absolute(job.enqueued_at)),
    ];
    if pause.is_some() {
        facts.push(("waits", format!("its queue was paused {}", paused(pause))));
    }
    let done = job.progress.done;
    facts.extend(done.map(|done| ("progress", format!("{} of {}", done.done, done.of))));
    let event = job.waits_for_event.as_deref();
    facts.extend(event.map(|event| ("waits for", awaited(event))));
    let times = [
        ("due", job.due_at),
        ("ready", job.ready_at),
        ("claimed", job.claimed_at),
        ("asked to stop", job.cancel_requested_at),
        ("failed", job.failed_at),
        ("started", job.started_at),
        ("finished", job.finished_at),
    ];
    let times = times.into_iter();
    facts.extend(times.filter_map(|(name, time)| Some((name, absolute(time?)))));
    facts.extend(limit_facts(job));
    facts.push(("waited", spell_duration(job.wait_seconds)));
    facts.extend(job.run_seconds.map(|ran| ("ran", spell_duration(ran))));
    facts.extend(origin_facts(job));
    facts.extend(job.batch_id.map(|batch| ("batch", batch.to_string())));
    facts.extend(
        job.callback_of
            .map(|batch| ("callback", format!("of batch {batch}"))),
    );
    if !job.tags.is_empty() {
        facts.push(("tags", job.tags.join(", ")));
    }
    if job.is_unique {
        let holds = if job.holds_key { "holds" } else { "has freed" };
        facts.push(("unique", format!("{holds} its key")));
    }
    facts
}

/// Lists where the job comes from, without its user and the further values: they may be personal data.
fn origin_facts(job: &JobDetails) -> Vec<Fact> {
    let context = job.context.as_ref();
    let context: Value = context
        .and_then(|json| serde_json::from_str(json.get()).ok())
        .unwrap_or_default();
    let text = |name| context[name].as_str().map(str::to_owned);
    let facts = [
        ("tenant", job.tenant.clone()),
        ("request", text("request_id")),
        ("trace", text("traceparent")),
    ];
    let facts = facts.into_iter();
    facts
        .filter_map(|(name, text)| Some((name, one_line(&text?).to_string())))
        .collect()
}

/// Lists the limits of the job, the key that it waits for, and the slots that it holds.
fn limit_facts(job: &JobDetails) -> Vec<Fact> {
    let limits = job.limits.iter();
    let mut facts: Vec<_> = limits.map(|limit| ("limit", limit_text(limit))).collect();
    if let (Some("@after"), Some(since)) = (job.blocked_on.as_deref(), job.blocked_at) {
        facts.push(("waits", format!("since {}", absolute(since))));
        let jobs = job.waits_for_jobs.iter();
        facts.extend(jobs.map(|other| ("waits for", format!("job {other}"))));
    } else if let (Some(key), Some(since)) = (&job.blocked_on, job.blocked_at) {
        facts.push(("blocked", format!("on {key} since {}", absolute(since))));
        let holders = job.blocked_by.iter();
        facts.extend(holders.map(|holder| ("held by", holder_text(holder))));
    }
    if let Some(next) = job.next_start_at {
        facts.push(("next start", format!("of this key {}", relative(next))));
    }
    if !job.holds_slots_of.is_empty() {
        let keys = job.holds_slots_of.join(", ");
        facts.push(("holds", format!("a slot of {keys}")));
    }
    let let_run = job.let_run_at.map(absolute);
    facts.extend(let_run.map(|at| ("run anyway", format!("despite its limits, {at}"))));
    facts
}

fn limit_text(limit: &JobLimit) -> String {
    let words = limit_words(limit.to, limit.space_seconds, limit.burst);
    let mut text = format!("{}: {words}", limit.key);
    if let Some(seconds) = limit.duration_seconds {
        let _ = write!(text, "; its slot for up to {}", spell_duration(seconds));
    }
    if limit.on_conflict != "block" {
        let _ = write!(text, "; on conflict {}", limit.on_conflict);
    }
    text
}

fn holder_text(holder: &Holder) -> String {
    match holder.since {
        Some(since) => format!("job {} since {}", holder.job_id, absolute(since)),
        None => format!("job {}", holder.job_id),
    }
}

fn state(job: &JobDetails) -> String {
    match (job.state, &job.outcome, job.process_id) {
        (JobState::Finished, Some(outcome), _) => format!("finished, {outcome}"),
        (JobState::Claimed, _, Some(id)) => match &job.process {
            Some(process) => format!("running in process {process}"),
            None => format!("running in process {id}, which is gone"),
        },
        (state, ..) => state.to_string(),
    }
}

fn attempts(job: &JobDetails) -> String {
    let (begun, max, crashes_max) = (job.attempt, job.attempts_max, job.crashes_max);
    let text = match job.failures {
        Some(failures) => format!("{begun} begun, {failures} of {max} failed"),
        None => format!("{begun} begun, {max} allowed"),
    };
    match job.crashes {
        Some(crashes @ 1..) => format!("{text}; its process died {crashes} of {crashes_max} times"),
        _ => text,
    }
}

fn attempt_text(attempt: &AttemptDetails, whole_backtrace: bool) -> String {
    let took = (attempt.ended_at - attempt.started_at).as_seconds_f64();
    let version = attempt.version.as_ref();
    let version = version.map(|version| format!(" of version {}", one_line(version)));
    let mut text = format!(
        "attempt {}: {} after {}, in process {}{}, {}\n{}\n",
        attempt.attempt,
        attempt.ending,
        spell_duration(took),
        one_line(&attempt.process),
        version.unwrap_or_default(),
        absolute(attempt.ended_at),
        indented(&attempt.error),
    );
    if let Some(backtrace) = &attempt.backtrace {
        text.push_str(&indented(&match whole_backtrace {
            true => backtrace.clone(),
            false => own_frames(backtrace),
        }));
        text.push('\n');
    }
    text
}

fn indented(text: &str) -> String {
    format!("  {}", lines(text.trim_end()).replace('\n', "\n  "))
}
