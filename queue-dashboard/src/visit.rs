//! One request: its viewer, its page, and the viewer's colours.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;

use crate::auth::{Role, Viewer};
use crate::links::Links;
use crate::sign::Signer;
use crate::site::Settings;

/// The cookie with a message that the next page shows.
pub(crate) const NOTE_COOKIE: &str = "queue_note";
/// The cookie with the colours, `light` or `dark`.
pub(crate) const THEME_COOKIE: &str = "queue_theme";

/// A message about what was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) is_well: bool,
    pub(crate) text: String,
}

#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) settings: Arc<Settings>,
    /// Whether all shards are shown, where nothing can be changed: one acts on the pages of each.
    pub(crate) is_merged: bool,
    pub(crate) links: Links,
    /// The path inside the dashboard, with the query.
    pub(crate) view: String,
    pub(crate) viewer: Viewer,
    pub(crate) theme: Option<&'static str>,
    pub(crate) note: Option<Note>,
    pub(crate) signer: Signer,
    /// How far the server is behind its primary server at most, if it is a replica.
    pub(crate) behind: Option<Duration>,
}

impl Visit {
    pub(crate) fn may_see_args(&self) -> bool {
        self.viewer.role >= self.settings.args_for
    }

    /// Returns whether the viewer is shown acts of a role.
    pub(crate) fn may(&self, role: Role) -> bool {
        self.viewer.role >= role && !self.is_read_only() && !self.is_merged
    }

    /// Returns whether nothing can be changed here.
    pub(crate) fn is_read_only(&self) -> bool {
        self.settings.is_read_only || self.behind.is_some()
    }

    pub(crate) fn token(&self) -> String {
        self.signer.form_token(&self.viewer.name, Utc::now())
    }

    /// Returns whether the token of a form is one of this viewer's.
    pub(crate) fn is_token(&self, token: &str) -> bool {
        self.signer
            .is_form_token(&self.viewer.name, token, Utc::now())
    }
}

/// Returns the value of a cookie.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let headers = headers.get_all(COOKIE).iter();
    let mut pairs = headers
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

pub(crate) fn theme(headers: &HeaderMap) -> Option<&'static str> {
    match cookie(headers, THEME_COOKIE)? {
        "light" => Some("light"),
        "dark" => Some("dark"),
        _ => None,
    }
}

impl Note {
    pub(crate) fn well(text: impl Into<String>) -> Self {
        Self {
            is_well: true,
            text: text.into(),
        }
    }

    pub(crate) fn warning(text: impl Into<String>) -> Self {
        Self {
            is_well: false,
            text: text.into(),
        }
    }

    /// Returns the value of the cookie, signed for a viewer.
    pub(crate) fn signed(&self, visit: &Visit) -> String {
        let kind = if self.is_well { '+' } else { '-' };
        let message = URL_SAFE_NO_PAD.encode(format!("{kind}{}", self.text));
        let signature = visit.signer.message(&visit.viewer.name, &message);
        format!("{message}.{signature}")
    }

    /// Reads the cookie, if this dashboard signed it.
    pub(crate) fn read(headers: &HeaderMap, signer: &Signer, viewer: &Viewer) -> Option<Self> {
        let (message, signature) = cookie(headers, NOTE_COOKIE)?.split_once('.')?;
        if !signer.is_message(&viewer.name, message, signature) {
            return None;
        }
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(message).ok()?).ok()?;
        let is_well = text.starts_with('+');
        Some(Self {
            is_well,
            text: text.get(1..)?.to_owned(),
        })
    }
}
