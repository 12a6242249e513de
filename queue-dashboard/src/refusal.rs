//! Requests that get no page of theirs: each becomes a page that says what now.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use queue_core::{JobId, is_not_migrated, is_transient};

use crate::auth::{Closed, PERIOD, Role, Viewer};
use crate::html::pictured;
use crate::visit::Visit;

/// Why a request is refused. The guard makes a page of it, because it knows where the dashboard is.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    Closed(std::sync::Arc<Closed>),
    /// The viewer's role is too low, or the dashboard only reads.
    Forbidden(String),
    /// The form is not from a page of this dashboard, or was open for too long.
    Form,
    NoJob(JobId),
    /// There is no such thing: what it would be.
    NoThing(String),
    NoPage,
    NoMethod,
    /// What was asked for cannot be read.
    Invalid(String),
    /// The database does not answer.
    Away(String),
    /// The tables are missing, or older than this program.
    NotMigrated,
    /// A statement took too long.
    Slow,
    /// A mistake of this program.
    Broken,
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Closed(closed) if **closed == Closed::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Closed(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::Form => StatusCode::FORBIDDEN,
            Self::NoJob(_) | Self::NoThing(_) | Self::NoPage => StatusCode::NOT_FOUND,
            Self::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Away(_) | Self::NotMigrated | Self::Slow => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Refuses an act to a viewer of a lower role.
    pub(crate) fn needs(role: Role, doing: &str, viewer: &Viewer) -> Self {
        Self::Forbidden(format!(
            "{doing} needs the {} role; you are {}.",
            role.as_str(),
            viewer.role.with_article()
        ))
    }

    pub(crate) fn no_tenant(name: &str) -> Self {
        Self::NoThing(format!("tenant {}", pictured(name)))
    }

    pub(crate) fn read_only(visit: &Visit) -> Self {
        let why = match visit.behind {
            Some(_) => {
                "This dashboard reads a replica, which takes no writes: use one that is connected to the \
                 primary server."
            }
            None => "This dashboard is read-only: it changes nothing.",
        };
        Self::Forbidden(why.to_owned())
    }

    /// Returns why a shard is shown as away, if it is the shard that cannot answer. An error that is not known may be
    /// its own too: a database or a role that does not exist, a wrong password, or a missing right.
    pub(crate) fn why_away(&self) -> Option<String> {
        match self {
            Self::Away(said) => Some(said.clone()),
            Self::NotMigrated => Some("its tables are missing or too old".to_owned()),
            Self::Slow => Some("it took too long".to_owned()),
            Self::Broken => Some("it answered with an error, which is in the log".to_owned()),
            _ => None,
        }
    }

    /// Returns the header that asks a browser for a password, if one would help.
    pub(crate) fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Closed(closed) => match **closed {
                Closed::Unasked | Closed::Wrong { .. } => {
                    Some("Basic realm=\"queue\", charset=\"UTF-8\"")
                }
                // A 401 has one; browsers show the page instead of asking.
                Closed::ToAll | Closed::ToThem => Some("Bearer realm=\"queue\""),
                Closed::TooMany => None,
            },
            _ => None,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Away(_) | Self::NotMigrated => Some(5),
            Self::Closed(closed) if **closed == Closed::TooMany => Some(PERIOD.as_secs()),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            Some("57014") => return Self::Slow,
            Some("22021") => return Self::Invalid("A field has the character NUL.".to_owned()),
            _ => {}
        }
        match error {
            error if is_transient(&error) => Self::Away(error.to_string()),
            error if is_not_migrated(&error) => Self::NotMigrated,
            error => {
                tracing::error!(%error, "could not make a page");
                Self::Broken
            }
        }
    }
}

impl From<askama::Error> for Refusal {
    fn from(error: askama::Error) -> Self {
        tracing::error!(%error, "could not write a page");
        Self::Broken
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Some(challenge) = self.challenge() {
            let value = header::HeaderValue::from_static(challenge);
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, value);
        }
        if let Some(seconds) = self.retry_after() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}
