//! `/live`: the parts of a page again and again, as server-sent events.
//!
//! A view is rendered once a second for all viewers of the same name and role, by the same router that makes
//! the page. A view without viewers is not rendered.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use chrono::Utc;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::auth::Viewer;
use crate::refusal::Refusal;
use crate::site::Settings;
use crate::visit::Visit;

/// How often a view is rendered.
const EVERY: Duration = Duration::from_secs(1);
/// How long one stream lasts; browsers come back, and are asked again who they are.
const LASTS: Duration = Duration::from_secs(60);
/// The most views at once.
const VIEWS_MAX: usize = 100;
/// The most bytes of a page.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

type View = (Viewer, String);

/// What a view is now.
#[derive(Clone, Debug, Default)]
struct Shown {
    at: String,
    /// The page between `<main>` and `</main>`; nothing if there is no page.
    main: Option<Arc<str>>,
    /// Changes when the page does.
    version: u64,
}

/// The views that have viewers.
pub(crate) struct Hub {
    pages: Router,
    settings: Arc<Settings>,
    views: Mutex<HashMap<View, watch::Sender<Shown>>>,
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    view: String,
}

/// `GET /live?view=/jobs`
pub(crate) async fn events(
    Extension(hub): Extension<Arc<Hub>>,
    Extension(visit): Extension<Visit>,
    Query(asked): Query<Asked>,
) -> Result<Response, Refusal> {
    let is_view = asked.view.starts_with('/') && !asked.view.starts_with("/live");
    if !is_view {
        return Err(Refusal::NoPage);
    }
    let receiver = hub.look(visit, asked.view).ok_or(Refusal::Slow)?;
    let closing = hub.settings.closing.subscribe();
    let state = (receiver, closing, 0, Instant::now());
    let events = stream::unfold(
        state,
        |(mut receiver, mut closing, seen, began)| async move {
            let left = LASTS.checked_sub(began.elapsed())?;
            tokio::select! {
                changed = receiver.changed() => changed.ok()?,
                _ = closing.wait_for(|is_closing| *is_closing) => return None,
                () = tokio::time::sleep(left) => return None,
            }
            let shown = receiver.borrow_and_update().clone();
            let is_new = shown.version != seen;
            let main = shown.main.as_deref().filter(|_| is_new);
            let data = json!({"at": shown.at, "is_away": shown.main.is_none(), "main": main});
            let event = Event::default().data(data.to_string());
            let next = (receiver, closing, shown.version, began);
            Some((Ok::<_, Infallible>(event), next))
        },
    );
    // Proxies such as nginx would otherwise hold events back until there are many.
    let unbuffered = [("x-accel-buffering", "no")];
    let events = Sse::new(events).keep_alive(KeepAlive::default());
    Ok((unbuffered, events).into_response())
}

impl Hub {
    pub(crate) fn new(pages: Router, settings: &Arc<Settings>) -> Self {
        Self {
            pages,
            settings: Arc::clone(settings),
            views: Mutex::default(),
        }
    }

    /// Begins to look at a view; nothing if there are too many.
    fn look(self: &Arc<Self>, visit: Visit, path: String) -> Option<watch::Receiver<Shown>> {
        let view = (visit.viewer.clone(), path);
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shown) = views.get(&view) {
            return Some(shown.subscribe());
        }
        if views.len() >= VIEWS_MAX {
            return None;
        }
        let (sender, receiver) = watch::channel(Shown::default());
        views.insert(view.clone(), sender);
        tokio::spawn(Arc::clone(self).keep(view, visit));
        Some(receiver)
    }

    /// Renders a view as long as it has viewers.
    async fn keep(self: Arc<Self>, view: View, visit: Visit) {
        let mut ticks = tokio::time::interval(EVERY);
        let (mut seen, mut version) = (String::new(), 0);
        loop {
            ticks.tick().await;
            if self.is_unseen(&view) {
                return;
            }
            let main = self.render(&view, &visit).await;
            let lasting = main.as_deref().map(without_times).unwrap_or_default();
            if lasting != seen || version == 0 {
                (seen, version) = (lasting, version + 1);
            }
            let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sender) = views.get(&view) {
                sender.send_replace(Shown {
                    at: Utc::now().format("%H:%M:%S").to_string(),
                    main: main.map(Arc::from),
                    version,
                });
            }
        }
    }

    /// Ends a view without viewers.
    fn is_unseen(&self, view: &View) -> bool {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unseen = views
            .get(view)
            .is_none_or(|sender| sender.receiver_count() == 0);
        if is_unseen {
            views.remove(view);
        }
        is_unseen
    }

    async fn render(&self, (viewer, path): &View, visit: &Visit) -> Option<String> {
        let mut request = Request::builder().uri(path).body(Body::empty()).ok()?;
        request.extensions_mut().insert(viewer.clone());
        request.extensions_mut().insert(visit.links.clone());
        let Ok(response) = self.pages.clone().oneshot(request).await;
        if !response.status().is_success() {
            return None;
        }
        let page = to_bytes(response.into_body(), PAGE_BYTES_MAX).await.ok()?;
        let page = std::str::from_utf8(&page).ok()?;
        let main = page.split_once("<main")?.1.split_once('>')?.1;
        Some(main.rsplit_once("</main>")?.0.to_owned())
    }
}

/// Leaves out what changes by itself: relative times, and when the page was made.
fn without_times(main: &str) -> String {
    let mut lasting = String::with_capacity(main.len());
    for (position, part) in main.split("<time").enumerate() {
        let rest = match position {
            0 => part,
            _ => part.split_once("</time>").map_or("", |(_, rest)| rest),
        };
        lasting.push_str(rest);
    }
    let Some((before, after)) = lasting.split_once("<span class=\"live") else {
        return lasting;
    };
    let after = after.split_once("</span>").map_or("", |(_, after)| after);
    format!("{before}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_do_not_count_as_changes() {
        let at = |time: &str| {
            format!(
                "<span class=\"live off\"><b>As of</b> {time}</span><p>x <time title=\"{time}\">{time}</time> y</p>"
            )
        };
        assert_eq!(without_times(&at("1s ago")), "<p>x  y</p>");
        assert_eq!(without_times(&at("1s ago")), without_times(&at("2s ago")));
        assert_eq!(without_times("<p>z</p>"), "<p>z</p>");
    }
}
