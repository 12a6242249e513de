//! Pages that say what exactly will happen, before it does.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use queue_core::inspect::{jobs, queues, recurring, tenants};
use queue_core::operations::jobs::JobAction;
use queue_core::{JobId, JobState, check_queue};

use super::batches::find;
use super::needs::{Needs, PRIORITIZED, RESCHEDULED, asking, needs};
use super::processes;
use super::queues::as_of;
use super::recurring::missing;
use crate::auth::Role;
use crate::frame::{Frame, Page, page};
use crate::html::{Html, pictured};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::Visit;
use crate::words::{count, counted};

/// What removing a recurring job does.
const REMOVED: &str = "Nothing more is enqueued for it. Jobs that it enqueued stay, and so do the records of its due times, \
    until they are cleared.";

#[derive(Template)]
#[template(path = "confirm.html")]
struct Confirm {
    frame: Frame,
    lead: Html,
    points: Vec<&'static str>,
    action: String,
    button: String,
    /// The field of what the act needs.
    needs: Option<Needs>,
    is_danger: bool,
    /// Whether it asks why.
    asks_why: bool,
    back: String,
}

/// `GET /jobs/{id}/{verb}`
pub(crate) async fn job(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((id, verb)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (action, name, points) = act(&verb).ok_or(Refusal::NoPage)?;
    let id: i64 = id
        .parse()
        .map_err(|_| Refusal::NoThing(format!("job {}", pictured(&id))))?;
    let id = JobId(id);
    let doing = format!("This act on job {id}");
    allow(&visit, &doing)?;
    let mut tx = site.read().await?;
    let found = jobs::show(&mut tx, site.queue.schema(), id).await?;
    let job = found.ok_or(Refusal::NoJob(id))?;
    let anyway = if action == JobAction::RunAnyway {
        " anyway"
    } else {
        ""
    };
    let title = format!("{name} job {id}{anyway}?");
    let (frame, _) = Frame::new(&site, &visit, &mut tx, Page::Jobs, title).await?;
    let is = match job.state {
        JobState::Finished => "is finished",
        state if action.states().contains(&state) => "",
        _ => "is in another state now",
    };
    let lead = Html::new()
        .strong(pictured(&job.kind))
        .text(format!(" #{id}, which is {}", job.state));
    let lead = match is {
        "" => lead.text("."),
        is => lead.text(format!(". It {is}, so nothing will change.")),
    };
    let value = match action {
        JobAction::Prioritize(_) => job.priority.to_string(),
        _ => String::new(),
    };
    page(&Confirm {
        frame,
        lead,
        points: points.to_vec(),
        action: format!("{}/{verb}", visit.links.job(id)),
        button: format!("{name} job {id}{anyway}"),
        needs: needs(action, value),
        is_danger: matches!(action, JobAction::Discard | JobAction::Cancel),
        asks_why: true,
        back: visit.links.job(id),
    })
}

/// Returns the action of a verb, its name, and what it will do.
fn act(verb: &str) -> Option<(JobAction, &'static str, &'static [&'static str])> {
    Some(match verb {
        "discard" => (
            JobAction::Discard,
            "Discard",
            &["It never runs again. Its errors stay until it is cleared."],
        ),
        "cancel" => (
            JobAction::Cancel,
            "Cancel",
            &[
                "If it waits, it ends at once and never runs.",
                "If it runs, it is asked to stop; it is cancelled when it does.",
            ],
        ),
        "run" => (
            JobAction::RunAnyway,
            "Run",
            &[
                "It becomes ready and takes no slot, so more jobs of its key may run than its limit says.",
                "Jobs that hold the key go on.",
            ],
        ),
        "reschedule" => (asking(verb)?, "Reschedule", &[RESCHEDULED]),
        "priority" => (asking(verb)?, "Change the priority of", &[PRIORITIZED]),
        _ => return None,
    })
}

/// What pausing a queue or a tenant does.
const PAUSED: [&str; 2] = [
    "No more of its jobs start, in any process, until it is resumed.",
    "Jobs that run go on, and jobs can still be enqueued.",
];

/// An act on a tenant that asks first.
struct TenantAct {
    verb: &'static str,
    doing: &'static str,
    title: &'static str,
    points: &'static [&'static str],
    /// The name of the number that it needs, and what that means.
    needs: Option<(&'static str, &'static str)>,
}

const TENANT_ACTS: [TenantAct; 3] = [
    TenantAct {
        verb: "pause",
        doing: "Pausing",
        title: "Pause tenant",
        points: &[
            PAUSED[0],
            PAUSED[1],
            "It holds in fair queues. Jobs of other queues start as before.",
        ],
        needs: None,
    },
    TenantAct {
        verb: "limit",
        doing: "Setting a limit",
        title: "Limit tenant",
        points: &[
            "So many of its jobs run at once, in all fair queues together. Those without room are blocked.",
            "It holds from the next claim on; what runs goes on. Other tenants are not delayed.",
        ],
        needs: Some(("Jobs at once", "A whole number; with 0 none starts.")),
    },
    TenantAct {
        verb: "weight",
        doing: "Changing a share",
        title: "Change the share of tenant",
        points: &[
            "So many of its jobs start in each turn, in all fair queues. Tenants with jobs take turns.",
            "All processes know it within a second.",
        ],
        needs: Some((
            "Jobs in a turn",
            "From 1, as for tenants by default, to 1000.",
        )),
    },
];

/// `GET /queues/{name}/pause`
pub(crate) async fn pause(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((name, verb)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    if verb != "pause" {
        return Err(Refusal::NoPage);
    }
    if check_queue(&name).is_err() {
        return Err(Refusal::NoThing(format!("queue {}", pictured(&name))));
    }
    allow(&visit, "Pausing")?;
    let mut tx = site.read().await?;
    let title = format!("Pause queue {name}?");
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Queues, title).await?;
    let queue = queues::show(&mut tx, site.queue.schema(), &name).await?;
    let ready = queue.as_ref().map_or(0, |queue| queue.ready);
    let ready = counted(ready.unsigned_abs(), "job is ready", "jobs are ready");
    let when = queue.and_then(|queue| as_of(&queue, signs.now));
    let href = visit.links.one("queues", &name);
    page(&Confirm {
        frame,
        lead: Html::new()
            .strong(ready)
            .text(" in ")
            .user(&name)
            .text(" ")
            .html(&when.unwrap_or(Html::new().text("now")))
            .text("."),
        points: PAUSED.to_vec(),
        action: format!("{href}/pause"),
        button: format!("Pause {name}"),
        needs: None,
        is_danger: false,
        asks_why: true,
        back: href,
    })
}

/// `GET /tenants/{name}/{verb}`
pub(crate) async fn tenant(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((name, verb)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let act = TENANT_ACTS.iter().find(|act| act.verb == verb);
    let act = act.ok_or(Refusal::NoPage)?;
    allow(&visit, act.doing)?;
    let mut tx = site.read().await?;
    let found = tenants::show(&mut tx, site.queue.schema(), &name).await?;
    let tenant = found.ok_or_else(|| Refusal::no_tenant(&name))?.summary;
    let name = pictured(&name);
    let title = format!("{} {name}?", act.title);
    let (frame, _) = Frame::new(&site, &visit, &mut tx, Page::Tenants, title).await?;
    let of = |jobs: u64| if jobs == 1 { "job of" } else { "jobs of" };
    let (ready, running) = (tenant.ready.count, tenant.running.unsigned_abs());
    let value = match act.verb {
        "limit" => tenant.to.map(|to| to.to_string()).unwrap_or_default(),
        _ => tenant.weight.to_string(),
    };
    let href = visit.links.one("tenants", &tenant.name);
    page(&Confirm {
        frame,
        lead: Html::new()
            .strong(format!("{} {}", count(tenant.ready), of(ready)))
            .text(" ")
            .user(&tenant.name)
            .text(format!(
                " in fair queues {} ready now, and {} in all queues.",
                if ready == 1 { "is" } else { "are" },
                counted(running, "runs", "run")
            )),
        points: act.points.to_vec(),
        action: format!("{href}/{verb}"),
        button: format!("{} {name}", act.title),
        needs: act.needs.map(|(label, example)| Needs {
            label,
            example,
            value,
        }),
        is_danger: false,
        asks_why: true,
        back: href,
    })
}

/// `GET /batches/{id}/{verb}`
pub(crate) async fn batch(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((id, verb)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    if verb != "cancel" {
        return Err(Refusal::NoPage);
    }
    allow(&visit, "Cancelling")?;
    let mut tx = site.read().await?;
    let batch = find(&mut tx, &site, &id).await?;
    let title = format!("Cancel batch {}?", batch.id);
    let (frame, _) = Frame::new(&site, &visit, &mut tx, Page::Batches, title).await?;
    let pending = batch.pending.unsigned_abs();
    let lead = counted(pending, "job has not ended.", "jobs have not ended.");
    let href = visit.links.one("batches", &batch.id.to_string());
    page(&Confirm {
        frame,
        lead: Html::new().strong(lead),
        points: vec![
            "It takes no more jobs, nor do the batches within it.",
            "Jobs that wait end at once and never run; running ones are asked to stop.",
        ],
        action: format!("{href}/cancel"),
        button: format!("Cancel batch {}", batch.id),
        needs: None,
        is_danger: true,
        asks_why: true,
        back: href,
    })
}

/// `GET /recurring/{name}/remove`
pub(crate) async fn remove_recurring(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    allow_role(Role::Admin, &visit, "Removing a recurring job")?;
    let mut tx = site.read().await?;
    let job = recurring::show(&mut tx, site.queue.schema(), &name, 0).await?;
    let job = job.ok_or_else(|| missing(&name))?;
    let shown = pictured(&name);
    let title = format!("Remove recurring job {shown}?");
    let (frame, _) = Frame::new(&site, &visit, &mut tx, Page::Recurring, title).await?;
    let href = visit.links.one("recurring", &name);
    let lead = Html::new().text("It enqueues ").user(&job.kind).text(" ");
    page(&Confirm {
        frame,
        lead: lead
            .strong(pictured(&job.words.unwrap_or(job.schedule)))
            .text("."),
        points: match job.source {
            None => vec![REMOVED],
            Some(_) => vec![
                REMOVED,
                "A program declares it: it comes back when a process that still declares it starts. To stop it, \
                    remove it there, or pause it here.",
            ],
        },
        action: format!("{href}/remove"),
        button: format!("Remove {shown}"),
        needs: None,
        is_danger: true,
        asks_why: true,
        back: href,
    })
}

/// `GET /processes/{id}/stop`
pub(crate) async fn stop_process(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    allow_role(Role::Admin, &visit, "Stopping a process")?;
    let mut tx = site.read().await?;
    let process = processes::find(&mut tx, &site, &id).await?;
    let name = pictured(&process.name);
    let title = format!("Stop process {name}?");
    let (frame, _) = Frame::new(&site, &visit, &mut tx, Page::Processes, title).await?;
    let running = process.running.unsigned_abs();
    let href = visit.links.one("processes", &id);
    page(&Confirm {
        frame,
        lead: Html::new()
            .text("It has claimed ")
            .strong(counted(running, "job", "jobs"))
            .text("."),
        points: vec![
            "It stops as on TERM: it claims nothing more, and its jobs may end within its shutdown timeout.",
            "Jobs that have not ended by then are interrupted, and run again in other processes.",
            "It starts again only if a service manager does that.",
        ],
        action: format!("{href}/stop"),
        button: format!("Stop {name}"),
        needs: None,
        is_danger: true,
        asks_why: true,
        back: href,
    })
}

pub(super) fn allow(visit: &Visit, doing: &str) -> Result<(), Refusal> {
    allow_role(Role::Operator, visit, doing)
}

pub(super) fn allow_role(role: Role, visit: &Visit, doing: &str) -> Result<(), Refusal> {
    match visit.may(role) {
        true => Ok(()),
        false if visit.is_read_only() => Err(Refusal::read_only(visit)),
        false => Err(Refusal::needs(role, doing, &visit.viewer)),
    }
}
