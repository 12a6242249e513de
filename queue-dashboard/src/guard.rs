//! What every request passes: authentication, headers about what browsers may do, and pages for refusals.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::{OriginalUri, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html as HtmlResponse, IntoResponse, Response};
use chrono::Utc;
use serde_json::json;

use crate::assets;
use crate::auth::{Closed, Viewer, WRONG_MAX};
use crate::html::{Html, icon, pictured};
use crate::links::{API, Links};
use crate::operations;
use crate::refusal::Refusal;
use crate::sign::Signer;
use crate::site::Settings;
use crate::sites::Sites;
use crate::visit::{NOTE_COOKIE, Note, Visit, cookie, theme};

const CONTENT_SECURITY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                                connect-src 'self'; form-action 'self'; base-uri 'none'; \
                                frame-ancestors 'none'";

/// Passes on a request that is authenticated, and makes pages of refusals.
pub(crate) async fn guard(State(sites): State<Sites>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let links = parts.extensions.get::<Links>().cloned();
    let links = links.unwrap_or_else(|| found_at(&sites, &parts));
    let view = view(&parts);
    let known = parts.extensions.get::<Viewer>().cloned();
    let admitted = match known {
        // The dashboard itself makes this request, for a live page.
        Some(viewer) => Ok(viewer),
        None => sites.settings.gate.admit(&parts).await,
    };
    let visit = match admitted {
        // Postgres refuses texts with this character, so nothing has such a name.
        Ok(_) if view.contains("%00") => Err(match view.starts_with(API) {
            true => Refusal::Invalid("The address has the character NUL.".to_owned()),
            false => Refusal::NoPage,
        }),
        Ok(viewer) => visit(&sites, &parts, viewer, &links, &view).await,
        Err(closed) => Err(Refusal::Closed(Arc::new(closed))),
    };
    let had_note = cookie(&parts.headers, NOTE_COOKIE).is_some();
    let theme = theme(&parts.headers);
    let mut response = match visit {
        Ok(visit) => {
            if let Some(site) = sites.only()
                && !visit.is_read_only()
            {
                operations::start(site);
            }
            parts.extensions.insert(visit);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => refusal.into_response(),
    };
    let unread =
        || Refusal::Invalid("The address or the form is not as a page makes it.".to_owned());
    let is_unread = response.status().is_client_error() && !is_html(response.headers());
    let refusal = response.extensions_mut().remove::<Refusal>();
    let refusal = refusal.or_else(|| is_unread.then(unread));
    if let Some(refusal) = &refusal
        && view.starts_with(API)
    {
        return with_error(response, refusal, &view);
    }
    if let Some(refusal) = refusal {
        let page = Alone::new(&refusal, &links, &view, theme);
        response = with_page(response, &page);
    }
    let is_page = response.status() == StatusCode::OK && is_html(response.headers());
    if had_note && is_page {
        forget(NOTE_COOKIE, &links, response.headers_mut());
    }
    response
}

async fn visit(
    sites: &Sites,
    parts: &Parts,
    viewer: Viewer,
    links: &Links,
    view: &str,
) -> Result<Visit, Refusal> {
    let (behind, signer) = match sites.only() {
        Some(site) => {
            let behind = site.behind().await?;
            (behind, site.signer(behind.is_some()).await?)
        }
        // It has no forms, and shows pages while shards are away.
        None => (None, Signer::new(Signer::random_key())),
    };
    Ok(Visit {
        settings: Arc::clone(&sites.settings),
        is_merged: sites.is_merged,
        behind,
        note: Note::read(&parts.headers, &signer, &viewer),
        theme: theme(&parts.headers),
        viewer,
        links: links.clone(),
        view: view.to_owned(),
        signer,
    })
}

/// Adds to every answer what browsers must know.
pub(crate) async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let closed = HeaderValue::from_static("same-origin");
    headers.insert("cross-origin-opener-policy", closed.clone());
    headers.insert("cross-origin-resource-policy", closed);
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn found_at(sites: &Sites, parts: &Parts) -> Links {
    let mount = mount(&sites.settings, parts);
    match sites.only().and_then(|site| site.shard.as_ref()) {
        Some(shard) => Links::within_shard(mount, shard),
        None => Links::at(mount),
    }
}

/// Returns the path at which the dashboard is mounted, as browsers see it.
fn mount(settings: &Settings, parts: &Parts) -> String {
    let inner = parts.uri.path();
    let outer = match parts.extensions.get::<OriginalUri>() {
        Some(OriginalUri(uri)) => uri.path(),
        None => inner,
    };
    let base = outer
        .strip_suffix(inner)
        .unwrap_or(outer)
        .trim_end_matches('/');
    format!("{}{base}", settings.proxy_prefix)
}

fn view(parts: &Parts) -> String {
    let query = parts.uri.query().map(|query| format!("?{query}"));
    format!("{}{}", parts.uri.path(), query.unwrap_or_default())
}

fn is_html(headers: &HeaderMap) -> bool {
    let content = headers.get(header::CONTENT_TYPE);
    content.is_some_and(|value| value.as_bytes().starts_with(b"text/html"))
}

fn forget(cookie: &str, links: &Links, headers: &mut HeaderMap) {
    let value = format!("{cookie}=; Path={}; Max-Age=0", links.root());
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.append(header::SET_COOKIE, value);
    }
}

fn with_page(response: Response, page: &Alone) -> Response {
    let Ok(text) = page.render() else {
        return response;
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(seconds) = page.reload {
        parts.headers.insert(header::REFRESH, seconds.into());
    }
    let (page, body) = HtmlResponse(text).into_response().into_parts();
    parts.headers.extend(page.headers);
    Response::from_parts(parts, body)
}

/// Answers a refusal as JSON: `{"error": "There is no job 7"}`.
fn with_error(response: Response, refusal: &Refusal, view: &str) -> Response {
    let (title, texts) = words(refusal, view);
    let error = match (refusal, texts.into_iter().next()) {
        (Refusal::Invalid(_) | Refusal::Forbidden(_), Some(why)) => why,
        _ => title,
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let (answer, body) = Json(json!({"error": error})).into_response().into_parts();
    parts.headers.extend(answer.headers);
    Response::from_parts(parts, body)
}

/// A page with one card: what happened, and what now.
#[derive(Template)]
#[template(path = "alone.html")]
struct Alone {
    links: Links,
    style: String,
    icon: String,
    theme: Option<&'static str>,
    title: String,
    glyph: Html,
    texts: Vec<String>,
    is_closed_to_all: bool,
    looked_for: Option<String>,
    offers: Vec<(&'static str, String)>,
    /// After how many seconds browsers ask again.
    reload: Option<u64>,
    status: u16,
    path: String,
    at: String,
}

impl Alone {
    fn new(refusal: &Refusal, links: &Links, view: &str, theme: Option<&'static str>) -> Self {
        let names = assets::names();
        let (title, texts) = words(refusal, view);
        let again = match refusal {
            Refusal::Closed(_) => Some("Sign in again"),
            Refusal::Away(_) | Refusal::NotMigrated | Refusal::Slow => Some("Try now"),
            _ => None,
        };
        let here = links.to(view);
        let again = again.map(|name| (name, here.clone()));
        let home = match refusal {
            Refusal::Closed(_) => None,
            Refusal::Away(_) if links.is_in_shard() => Some(("All shards", links.mount())),
            _ => Some(("Overview", links.to("/"))),
        };
        let is_away = matches!(refusal, Refusal::Away(_) | Refusal::NotMigrated);
        let is_closed_to_all =
            matches!(refusal, Refusal::Closed(closed) if **closed == Closed::ToAll);
        Self {
            style: links.to(&format!("/assets/{}", names.style)),
            icon: links.to(&format!("/assets/{}", names.icon)),
            theme,
            glyph: icon(glyph(refusal)),
            title: pictured(&title),
            texts: texts.iter().map(|text| pictured(text)).collect(),
            is_closed_to_all,
            looked_for: match refusal {
                Refusal::NoJob(id) => Some(id.to_string()),
                _ => None,
            },
            offers: match is_closed_to_all {
                true => Vec::new(),
                false => again.into_iter().chain(home).collect(),
            },
            reload: refusal.retry_after().filter(|_| is_away),
            status: refusal.status().as_u16(),
            path: pictured(links.to(view).split('?').next().unwrap_or_default()),
            at: Utc::now().format("%H:%M:%S").to_string(),
            links: links.clone(),
        }
    }
}

fn glyph(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Closed(_) | Refusal::Forbidden(_) | Refusal::Form => "lock",
        Refusal::NoJob(_) | Refusal::NoThing(_) | Refusal::NoPage => "search",
        Refusal::Away(_) | Refusal::NotMigrated | Refusal::Slow => "database",
        _ => "warning",
    }
}

/// Returns the title and the sentences of a refusal.
fn words(refusal: &Refusal, view: &str) -> (String, Vec<String>) {
    let (title, texts): (String, Vec<String>) = match refusal {
        Refusal::Closed(closed) => return closed_words(closed),
        Refusal::Forbidden(why) => ("You may not do this".into(), vec![why.clone()]),
        Refusal::Form => (
            "This form is too old".into(),
            vec!["It was open for too long, or it did not come from here. Nothing was changed. Open the page again and repeat what you did.".into()],
        ),
        Refusal::NoJob(id) => (
            format!("There is no job {id}"),
            vec!["It never was, or it was cleared some time after it finished.".into()],
        ),
        Refusal::NoThing(what) => (format!("There is no {what}"), vec!["It may have been removed, or the address is not quite right.".into()]),
        Refusal::NoPage => ("There is no such page".into(), vec!["The address is not quite right.".into()]),
        Refusal::NoMethod => ("This is no page".into(), vec!["This address is for a button of a page. Nothing was changed.".into()]),
        Refusal::Invalid(why) => ("This cannot be read".into(), vec![why.clone()]),
        Refusal::Away(said) => (
            "The database does not answer".into(),
            vec![
                format!("This page tries again every 5 seconds and goes back to {} by itself.", pictured(view)),
                format!("It said: {said}"),
                "What is enqueued is safe in the database. Processes start no jobs without it, and go on by themselves when it answers.".into(),
            ],
        ),
        Refusal::NotMigrated => (
            "The tables are missing or too old".into(),
            vec!["This database has no queue, or one that is older than this program, or the queue is in another schema. The command queue migrate creates or updates it.".into()],
        ),
        Refusal::Slow => (
            "This took too long".into(),
            vec!["The database worked on one question of this page for 2s, so it was stopped. Fewer jobs match with another filter, and one state is read faster than all.".into()],
        ),
        Refusal::Broken => (
            "This page is broken".into(),
            vec!["That is a mistake of this program; its log says more. Jobs run all the same.".into()],
        ),
    };
    (title, texts)
}

fn closed_words(closed: &Closed) -> (String, Vec<String>) {
    let waits = format!(
        "After {WRONG_MAX} wrong answers in a minute from one address, it waits a minute before it looks \
         at another."
    );
    match closed {
        Closed::ToAll => (
            "This dashboard is closed".into(),
            vec!["It shows and changes the jobs of this service, so it stays closed until a way to log in is configured. None is configured yet.".into()],
        ),
        Closed::ToThem => (
            "You are not signed in".into(),
            vec!["The application that this dashboard belongs to decides who may use it, and does not know you. Sign in there first.".into()],
        ),
        Closed::Unasked => (
            "You are not signed in".into(),
            vec!["This dashboard asks for a user and a password.".into()],
        ),
        Closed::Wrong { left } => (
            "You are not signed in".into(),
            vec![
                "The user or the password was wrong.".into(),
                format!("{waits} You have {left} left."),
            ],
        ),
        Closed::TooMany => (
            "You are not signed in".into(),
            vec!["The user or the password was wrong too often.".into(), waits],
        ),
    }
}
