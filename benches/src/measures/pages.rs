//! How long the pages of the dashboard take, and how large they are, with a million and a half jobs.

use std::time::Instant;

use anyhow::{Result, ensure};
use queue_core::Schema;
use queue_core::depths::sample;
use queue_core::inspect::fingerprint;
use queue_worker::dashboard::routes;

use crate::database::BenchDatabase;
use crate::report::{Line, Report};
use crate::rounds::percentile;
use crate::site::Site;

const FILL: &str = include_str!("../../sql/pages.sql");

/// How often each page is requested.
const ROUNDS: usize = 20;
const P50_MS_MAX: f64 = 50.0;
/// The same for a list whose filter no index serves: reading jobs one after another may take so long.
const WALK_P50_MS_MAX: f64 = 100.0;
const P95_MS_MAX: f64 = 200.0;
const HTML_BYTES_MAX: usize = 200_000;

/// Pages with filters and periods.
const ASKED: [&str; 14] = [
    "?within=24h",
    "?within=7d",
    "/jobs?state=scheduled",
    "/jobs?state=running",
    "/jobs?state=blocked",
    "/jobs?state=failed",
    "/jobs?state=finished",
    "/jobs?state=finished&kind=kind-7",
    "/jobs?state=ready&queue=queue-7",
    "/jobs?state=ready&tenant=tenant-42",
    "/jobs?state=failed&error=nothing",
    "/jobs?state=finished&kind=none",
    "/queues/queue-7?within=7d",
    "/limits?after=account/5",
];

struct Page {
    path: String,
    times_ms: Vec<f64>,
    bytes: usize,
    is_html: bool,
}

pub(crate) async fn run(database: &BenchDatabase, report: &mut Report) -> Result<()> {
    fill(database).await?;
    let site = Site::serve(database.queue()).await?;
    let mut pages: Vec<Page> = paths().map(Page::new).collect();
    // A round requests each page once, as people do, who seldom reload one.
    for _ in 0..ROUNDS {
        sample(&mut *database.pool().acquire().await?, &Schema::default()).await?;
        for page in &mut pages {
            page.request(&site).await?;
        }
    }
    for page in &pages {
        report.add(page.line());
    }
    let missed: Vec<&str> = pages
        .iter()
        .filter(|page| page.misses())
        .map(|page| page.path.as_str())
        .collect();
    ensure!(
        missed.is_empty(),
        "beyond {P50_MS_MAX} ms at p50 ({WALK_P50_MS_MAX} ms without an index), {P95_MS_MAX} ms at p95 or {HTML_BYTES_MAX} bytes of HTML: {}",
        missed.join(" ")
    );
    Ok(())
}

async fn fill(database: &BenchDatabase) -> Result<()> {
    database.reset().await?;
    sqlx::raw_sql(FILL).execute(database.pool()).await?;
    sqlx::query("vacuum analyze")
        .execute(database.pool())
        .await?;
    sqlx::query("checkpoint").execute(database.pool()).await?;
    Ok(())
}

/// Returns the addresses of all pages.
fn paths() -> impl Iterator<Item = String> {
    let pages = routes()
        .into_iter()
        .filter(|(method, ..)| *method == "GET")
        .map(|(_, path, _)| filled(&path));
    pages.chain(ASKED.map(str::to_owned))
}

/// Puts names into the address of a route.
fn filled(route: &str) -> String {
    let verb = match route.split('/').nth(1) {
        Some("jobs" | "batches") => "cancel",
        Some("tenants") => "limit",
        _ => "pause",
    };
    let (id, name) = match route.trim_start_matches("/api/v1").split('/').nth(1) {
        Some("jobs") => ("1610007", ""),
        Some("batches") => ("2000010", ""),
        Some("processes") => ("00000000-0000-4000-8000-000000000001", ""),
        Some("queues") => ("", "queue-7"),
        Some("tenants") => ("", "tenant-42"),
        Some("recurring") => ("", "schedule-7"),
        _ => ("1", ""),
    };
    let query = match route {
        "/jobs/retry" | "/jobs/discard" => "?state=failed",
        "/jobs/run" => "?state=blocked",
        "/jobs/reschedule" => "?state=scheduled",
        "/jobs/cancel" | "/jobs/priority" => "?state=ready",
        "/display" => "?theme=dark&back=/",
        _ => "",
    };
    let path = format!("{}{query}", route.trim_end_matches('/'));
    path.replace("{verb}", verb)
        .replace("{id}", id)
        .replace("{name}", name)
        .replace("{kind}", "kind-1")
        .replace("{fingerprint}", &fingerprint("charge 1000001 was late"))
}

impl Page {
    fn new(path: String) -> Self {
        Self {
            path,
            times_ms: Vec::new(),
            bytes: 0,
            is_html: false,
        }
    }

    async fn request(&mut self, site: &Site) -> Result<()> {
        let began = Instant::now();
        let answer = site.get(&self.path).await?;
        self.times_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
        self.bytes = answer.body.len();
        self.is_html = answer.head.contains("text/html");
        Ok(())
    }

    fn misses(&self) -> bool {
        let is_walk = self.path.contains("&error=") || self.path.contains("&kind=");
        let p50_max = if is_walk { WALK_P50_MS_MAX } else { P50_MS_MAX };
        percentile(&self.times_ms, 0.5) > p50_max
            || percentile(&self.times_ms, 0.95) > P95_MS_MAX
            || (self.is_html && self.bytes > HTML_BYTES_MAX)
    }

    fn line(&self) -> Line {
        Line {
            measure: format!(
                "page {}",
                if self.path.is_empty() {
                    "/"
                } else {
                    &self.path
                }
            ),
            p50_ms: Some(percentile(&self.times_ms, 0.5)),
            p95_ms: Some(percentile(&self.times_ms, 0.95)),
            max_ms: self.times_ms.iter().copied().reduce(f64::max),
            bytes: Some(self.bytes),
            ..Line::default()
        }
    }
}
