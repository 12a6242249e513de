//! `POST /tenants/{name}/…`: pauses or resumes a tenant, or changes its limit or its share.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use queue_core::operations::limits::LimitSetting;
use queue_core::operations::tenants::{TenantError, pause, resume, set_weight};
use sqlx::PgConnection;

use super::jobs::unread;
use super::{Posted, Wanted, allow, begin, conclude, done, limits, pausing};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::{Note, Visit};

/// A change to a tenant.
#[derive(Clone, Copy)]
enum Change {
    Pause,
    Resume,
    Limit(u32),
    Weight(i16),
}

pub(crate) async fn act(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((name, verb)): Path<(String, String)>,
    headers: HeaderMap,
    Form(posted): Form<Posted>,
) -> Result<Response, Refusal> {
    let doing = match verb.as_str() {
        "pause" => "Pausing",
        "resume" => "Resuming",
        "limit" => "Setting a limit",
        "weight" => "Changing a share",
        _ => return Err(Refusal::NoMethod),
    };
    let wanted = Wanted {
        doing,
        what: &verb,
        target: format!("tenants/{name}"),
    };
    allow(&site, &visit, &headers, &posted, &wanted).await?;
    let href = visit.links.one("tenants", &name);
    let Some(change) = Change::read(&verb, posted.to.trim()) else {
        let asks = format!("{href}/{verb}");
        return Ok(done(&visit, &Posted::default(), asks, &unread(&posted.to)));
    };
    let what = match change {
        Change::Pause | Change::Resume => verb.clone(),
        Change::Limit(_) | Change::Weight(_) => format!("{verb} {}", posted.to.trim()),
    };
    let wanted = Wanted {
        what: &what,
        ..wanted
    };
    let mut tx = begin(&site).await?;
    let note = change.make(&mut tx, &site, &visit, &name, &posted).await?;
    conclude(tx, &site, &visit, &wanted, &posted, href, &note).await
}

impl Change {
    /// Reads a verb and its number; none if that cannot be read.
    fn read(verb: &str, number: &str) -> Option<Self> {
        match verb {
            "pause" => Some(Self::Pause),
            "resume" => Some(Self::Resume),
            "limit" => number.parse().ok().map(Self::Limit),
            _ => number.parse().ok().map(Self::Weight),
        }
    }

    async fn make(
        self,
        conn: &mut PgConnection,
        site: &Site,
        visit: &Visit,
        name: &str,
        posted: &Posted,
    ) -> Result<Note, Refusal> {
        let schema = site.queue.schema();
        let (who, why) = (Some(visit.viewer.name.as_str()), posted.why());
        let changed = match self {
            Self::Pause => pause(conn, schema, name, who, why.as_deref())
                .await
                .map(|changed| pausing(name, true, changed)),
            Self::Resume => resume(conn, schema, name)
                .await
                .map(|changed| pausing(name, false, changed)),
            Self::Weight(weight) => {
                set_weight(conn, schema, name, weight)
                    .await
                    .map(|changed| match changed {
                        true => Note::well(format!("{name} has {weight} in a turn.")),
                        false => Note::warning(format!("{name} had {weight} in a turn before.")),
                    })
            }
            Self::Limit(to) => {
                let setting = LimitSetting {
                    to: Some(to),
                    rate: None,
                };
                return limits::set(conn, site, &format!("@tenant/{name}"), setting).await;
            }
        };
        changed.map_err(|error| match error {
            TenantError::Database(error) => error.into(),
            TenantError::Name(_) => Refusal::no_tenant(name),
            refused => Refusal::Invalid(format!("{refused}.")),
        })
    }
}
