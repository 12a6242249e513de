//! What is around every page: the navigation, who one is, and a message.

use std::sync::Arc;

use askama::Template;
use axum::response::{Html as HtmlResponse, IntoResponse, Response};
use queue_core::inspect::signs::{self, Signs};
use queue_core::inspect::spell_duration;
use sqlx::PgConnection;

use crate::assets;
use crate::auth::Role;
use crate::html::{Html, pictured};
use crate::links::{Links, encoded};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::sites::Found;
use crate::visit::{Note, Visit};

/// The pages of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Overview,
    Jobs,
    Failures,
    Queues,
    Limits,
    Recurring,
    Batches,
    Tenants,
    Processes,
    Audit,
    Help,
}

/// One link of the navigation.
pub(crate) struct Entry {
    pub(crate) page: Page,
    pub(crate) name: &'static str,
    pub(crate) icon: Html,
    pub(crate) href: String,
    /// What needs attention there, and whether it is bad.
    pub(crate) sign: Option<(String, bool)>,
    path: &'static str,
}

pub(crate) struct Frame {
    pub(crate) title: String,
    pub(crate) page: Page,
    pub(crate) links: Links,
    /// Whether all shards are shown.
    pub(crate) is_merged: bool,
    /// Whether the viewer may act, but not where all shards are shown.
    pub(crate) acts_in_shards: bool,
    pub(crate) groups: Vec<Vec<Entry>>,
    pub(crate) style: String,
    pub(crate) script: String,
    pub(crate) icon: String,
    pub(crate) theme: Option<&'static str>,
    pub(crate) themes: Vec<(&'static str, bool, String)>,
    /// Where it is: the name of the database, behind that of its shard.
    pub(crate) database: String,
    /// All shards, then each: its name, the address of this page there, and whether it is shown.
    pub(crate) shards: Vec<(String, String, bool)>,
    /// The shards that are away, and why.
    pub(crate) away: Vec<(Arc<str>, String)>,
    pub(crate) place: Option<String>,
    pub(crate) who: String,
    pub(crate) role: &'static str,
    pub(crate) is_read_only: bool,
    /// How far the replica that it reads is behind at most, if it reads one.
    pub(crate) behind: Option<String>,
    pub(crate) is_operator: bool,
    pub(crate) note: Option<Note>,
    pub(crate) token: String,
    /// The address of this page, and of the events that renew it.
    pub(crate) here: String,
    pub(crate) live: String,
    pub(crate) as_of: Html,
}

impl Frame {
    /// Makes the frame of a page about one queue.
    pub(crate) async fn new(
        site: &Arc<Site>,
        visit: &Visit,
        conn: &mut PgConnection,
        page: Page,
        title: impl Into<String>,
    ) -> Result<(Self, Signs), sqlx::Error> {
        let silent_after = site.settings.silent_after();
        let signs = signs::read(conn, site.queue.schema(), silent_after).await?;
        let frame = Self::of(visit, where_is(site), &signs, page, title.into());
        Ok((frame, signs))
    }

    /// Makes the frame of a page about one queue or all shards.
    pub(crate) fn around<T>(found: &Found<T>, visit: &Visit, page: Page, title: &str) -> Self {
        let place = match &*found.parts {
            [part] if !found.is_merged => where_is(&part.reading.site),
            _ => "all shards".to_owned(),
        };
        Self {
            away: found.away.clone(),
            ..Self::of(visit, place, &found.signs, page, title.to_owned())
        }
    }

    fn of(visit: &Visit, database: String, signs: &Signs, page: Page, title: String) -> Self {
        let names = assets::names();
        let links = &visit.links;
        let asset = |name: &str| links.to(&format!("/assets/{name}"));
        let groups = groups(links, signs);
        Self {
            title,
            page,
            is_merged: visit.is_merged,
            acts_in_shards: visit.is_merged
                && !visit.is_read_only()
                && visit.viewer.role >= Role::Operator,
            shards: shards(visit, page, &groups),
            away: Vec::new(),
            groups,
            style: asset(names.style),
            script: asset(names.script),
            icon: asset(names.icon),
            theme: visit.theme,
            themes: themes(visit),
            database,
            place: visit.settings.place.clone(),
            who: pictured(&visit.viewer.name),
            role: visit.viewer.role.as_str(),
            is_read_only: visit.is_read_only(),
            behind: visit
                .behind
                .map(|behind| spell_duration(behind.as_secs_f64().ceil())),
            is_operator: visit.may(Role::Operator),
            note: visit.note.clone(),
            token: visit.token(),
            here: links.to(&visit.view),
            live: links.to(&format!("/live?view={}", encoded(&visit.view))),
            as_of: Html::new().text(signs.now.format("%H:%M:%S")),
            links: links.clone(),
        }
    }

    pub(crate) fn is_on(&self, page: &Page) -> bool {
        self.page == *page
    }
}

fn where_is(site: &Site) -> String {
    match &site.shard {
        Some(shard) => format!("{shard} · {}", site.database()),
        None => site.database(),
    }
}

/// Returns the shards, with the addresses of a page there.
fn shards(visit: &Visit, page: Page, groups: &[Vec<Entry>]) -> Vec<(String, String, bool)> {
    let links = &visit.links;
    let names = &visit.settings.shards;
    let entry = groups.iter().flatten().find(|entry| entry.page == page);
    let path = entry.map_or("/help", |entry| entry.path);
    let shard = |name: &Arc<str>| {
        let of_shard = links.of_shard(name);
        let is_here = of_shard.root() == links.root();
        (name.to_string(), of_shard.to(path), is_here)
    };
    let all = (
        "All shards".to_owned(),
        links.of_all().to(path),
        visit.is_merged,
    );
    let all = (!names.is_empty()).then_some(all);
    all.into_iter().chain(names.iter().map(shard)).collect()
}

fn groups(links: &Links, signs: &Signs) -> Vec<Vec<Entry>> {
    let entry = |page, name, icon, path| Entry {
        page,
        name,
        icon: crate::html::icon(icon),
        href: links.to(path),
        sign: None,
        path,
    };
    let sign =
        |count: i64, word: &str, is_bad| (count > 0).then(|| (format!("{count} {word}"), is_bad));
    vec![
        vec![
            entry(Page::Overview, "Overview", "overview", "/"),
            entry(Page::Jobs, "Jobs", "jobs", "/jobs"),
            entry(Page::Failures, "Failures", "failures", "/failures"),
        ],
        vec![
            Entry {
                sign: sign(signs.paused_queues, "paused", false),
                ..entry(Page::Queues, "Queues", "queues", "/queues")
            },
            entry(Page::Limits, "Limits", "limits", "/limits"),
            entry(Page::Recurring, "Recurring", "recurring", "/recurring"),
            entry(Page::Batches, "Batches", "batches", "/batches"),
            Entry {
                sign: sign(signs.paused_tenants, "paused", false),
                ..entry(Page::Tenants, "Tenants", "tenants", "/tenants")
            },
        ],
        vec![
            Entry {
                sign: sign(signs.silent_processes, "silent", true),
                ..entry(Page::Processes, "Processes", "processes", "/processes")
            },
            entry(Page::Audit, "Audit", "audit", "/audit"),
        ],
    ]
}

/// Returns the choices of colours: the name, whether it is chosen, and the address that chooses it.
fn themes(visit: &Visit) -> Vec<(&'static str, bool, String)> {
    [
        ("System", None),
        ("Light", Some("light")),
        ("Dark", Some("dark")),
    ]
    .map(|(name, theme)| {
        let chosen = theme.unwrap_or("system");
        let back = encoded(&visit.view);
        let href = visit
            .links
            .to(&format!("/display?theme={chosen}&back={back}"));
        (name, visit.theme == theme, href)
    })
    .to_vec()
}

/// Writes a page.
pub(crate) fn page(template: &impl Template) -> Result<Response, Refusal> {
    Ok(HtmlResponse(template.render()?).into_response())
}
