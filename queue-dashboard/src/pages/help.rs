//! `/help` and `/display`: shortcuts, colours, who one is, and the version.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::auth::Role;
use crate::frame::{Frame, Page, page};
use crate::refusal::Refusal;
use crate::sites::Sites;
use crate::visit::{THEME_COOKIE, Visit};

/// How long the colours are remembered, in seconds.
const YEAR: u32 = 31_536_000;

#[derive(Template)]
#[template(path = "help.html")]
struct Help {
    frame: Frame,
    keys: &'static [(&'static str, &'static str)],
    sees_args: bool,
    is_operator: bool,
    version: &'static str,
}

const KEYS: [(&str, &str); 24] = [
    ("?", "this page"),
    ("g o", "Overview"),
    ("g j", "Jobs"),
    ("g f", "Failures"),
    ("g q", "Queues"),
    ("g l", "Limits"),
    ("g r", "Recurring"),
    ("g b", "Batches"),
    ("g t", "Tenants"),
    ("g p", "Processes"),
    ("g a", "Audit"),
    ("/", "search"),
    ("j k", "next and previous row"),
    ("Enter", "open the row"),
    ("x", "choose the row"),
    ("Shift x", "choose all rows up to it"),
    ("*", "choose all rows of the page"),
    ("Esc", "choose nothing"),
    ("r", "retry what is chosen"),
    ("d", "discard what is chosen"),
    ("[ ]", "newer and older"),
    ("h", "hold the page, or go on"),
    (".", "reload"),
    ("t", "exact times, or how long ago"),
];

pub(crate) async fn show(
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Refusal> {
    let found = sites
        .read(&visit.links, async |reading| Ok((reading, ())))
        .await?;
    page(&Help {
        keys: &KEYS,
        sees_args: visit.may_see_args(),
        is_operator: visit.may(Role::Operator),
        version: env!("CARGO_PKG_VERSION"),
        frame: Frame::around(&found, &visit, Page::Help, "Help"),
    })
}

#[derive(Deserialize)]
pub(crate) struct Choice {
    theme: String,
    #[serde(default)]
    back: String,
}

/// `GET /display`: remembers the colours in a cookie, and goes back.
pub(crate) async fn display(
    Extension(visit): Extension<Visit>,
    Query(choice): Query<Choice>,
) -> Response {
    let path = visit.links.mount();
    let cookie = match choice.theme.as_str() {
        theme @ ("light" | "dark") => {
            format!("{THEME_COOKIE}={theme}; Path={path}; Max-Age={YEAR}; SameSite=Lax; HttpOnly")
        }
        _ => format!("{THEME_COOKIE}=; Path={path}; Max-Age=0"),
    };
    let back = visit
        .links
        .inside(&visit.links.to(&choice.back))
        .unwrap_or_else(|| path.clone());
    (AppendHeaders([(SET_COOKIE, cookie)]), Redirect::to(&back)).into_response()
}
