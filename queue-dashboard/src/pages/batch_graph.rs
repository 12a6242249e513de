//! The graph of a batch: a box for each kind, and an arrow from each kind to those whose jobs wait for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use queue_core::inspect::BatchJob;

use crate::html::{Html, icon_of_class, pictured};
use crate::words::grouped;

/// A batch of more kinds has no graph.
const BOXES_MAX: usize = 60;

const WIDTH: usize = 200;
const HEIGHT: usize = 62;
const COLUMN: usize = 254;
const ROW: usize = 80;
/// How wide the bar in a box is, and how many letters of a kind fit.
const BAR: usize = WIDTH - 24;
const LETTERS: usize = 20;

pub(super) struct Graph {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) boxes: Vec<KindBox>,
    pub(super) edges: Vec<Edge>,
    /// What is drawn, in words.
    pub(super) label: String,
}

pub(super) struct KindBox {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) state: &'static str,
    pub(super) icon: Html,
    pub(super) kind: String,
    pub(super) whole_kind: String,
    pub(super) words: String,
    pub(super) done: usize,
    pub(super) wrong: usize,
}

pub(super) struct Edge {
    pub(super) path: String,
    pub(super) tip: String,
    /// Whether the job at its end may not start yet.
    pub(super) waits: bool,
}

#[derive(Default)]
struct Tally {
    jobs: usize,
    done: usize,
    running: usize,
    waiting: usize,
    failed: usize,
}

impl Graph {
    /// Draws the jobs of a batch. Returns nothing if none waits for another, if the kinds are too many, or if
    /// they wait for each other in a circle, as a chain of one kind does.
    pub(super) fn of(jobs: &[BatchJob]) -> Option<Self> {
        let kinds: HashMap<i64, &str> = jobs.iter().map(|job| (job.id.0, &*job.kind)).collect();
        let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
        let mut waits: BTreeSet<(&str, &str)> = BTreeSet::new();
        for job in jobs {
            tallies.entry(&job.kind).or_default().add(&job.state);
            let before = job.after.iter().filter_map(|id| kinds.get(id));
            waits.extend(before.map(|before| (*before, &*job.kind)));
        }
        if waits.is_empty() || tallies.len() > BOXES_MAX {
            return None;
        }
        let columns = columns(&tallies.keys().copied().collect(), &waits)?;
        Some(draw(&tallies, &waits, &columns))
    }
}

impl Tally {
    fn add(&mut self, state: &str) {
        self.jobs += 1;
        match state {
            "done" | "discarded" => self.done += 1,
            "running" => self.running += 1,
            "waiting" => self.waiting += 1,
            "failed" | "cancelled" => self.failed += 1,
            _ => {}
        }
    }

    fn state(&self) -> &'static str {
        match self {
            _ if self.failed > 0 => "failed",
            _ if self.done == self.jobs => "finished",
            _ if self.running > 0 || self.done > 0 => "running",
            _ => "ready",
        }
    }

    fn words(&self) -> String {
        let jobs = grouped(self.jobs as u64);
        match self.state() {
            "failed" => format!("{} of {jobs} failed", grouped(self.failed as u64)),
            "ready" if self.waiting == self.jobs => format!("{jobs} waiting"),
            _ => format!("{} of {jobs} done", grouped(self.done as u64)),
        }
    }
}

/// Returns the kinds of each column: behind all that they wait for. Returns nothing if there is a circle.
fn columns<'a>(
    kinds: &BTreeSet<&'a str>,
    waits: &BTreeSet<(&'a str, &'a str)>,
) -> Option<Vec<Vec<&'a str>>> {
    let (mut columns, mut placed) = (Vec::new(), BTreeSet::new());
    while placed.len() < kinds.len() {
        let is_free = |kind: &&str| {
            let mut before = waits.iter().filter(|(_, after)| after == kind);
            !placed.contains(kind) && before.all(|(before, _)| placed.contains(before))
        };
        let column: Vec<&str> = kinds.iter().copied().filter(is_free).collect();
        if column.is_empty() {
            return None;
        }
        placed.extend(column.iter().copied());
        columns.push(column);
    }
    Some(columns)
}

fn draw(
    tallies: &BTreeMap<&str, Tally>,
    waits: &BTreeSet<(&str, &str)>,
    columns: &[Vec<&str>],
) -> Graph {
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let height = rows * ROW;
    let mut places = HashMap::new();
    for (column, kinds) in columns.iter().enumerate() {
        let top = (height - kinds.len() * ROW) / 2 + (ROW - HEIGHT) / 2;
        for (row, kind) in kinds.iter().enumerate() {
            places.insert(*kind, (column * COLUMN, top + row * ROW));
        }
    }
    let boxes = tallies.iter().map(|(kind, tally)| {
        let (x, y) = places[kind];
        KindBox {
            x,
            y,
            state: tally.state(),
            icon: icon_of_class(tally.state(), ""),
            kind: shortened(kind),
            whole_kind: pictured(kind),
            words: tally.words(),
            done: tally.done * BAR / tally.jobs,
            wrong: tally.failed * BAR / tally.jobs,
        }
    });
    let edges = waits.iter().map(|(before, after)| {
        let tally = &tallies[after];
        edge(places[before], places[after], tally.waiting == tally.jobs)
    });
    let sentences: Vec<String> = waits
        .iter()
        .map(|(before, after)| format!("{} waits for {}", pictured(after), pictured(before)))
        .collect();
    Graph {
        width: (columns.len() - 1) * COLUMN + WIDTH,
        height,
        boxes: boxes.collect(),
        edges: edges.collect(),
        label: sentences.join(", "),
    }
}

fn edge(from: (usize, usize), to: (usize, usize), waits: bool) -> Edge {
    let (x1, y1) = (from.0 + WIDTH, from.1 + HEIGHT / 2);
    let (x2, y2) = (to.0 - 6, to.1 + HEIGHT / 2);
    let middle = usize::midpoint(x1, x2);
    Edge {
        path: format!("M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"),
        tip: format!("M{x2} {}l7 3.5-7 3.5z", y2 as f64 - 3.5),
        waits,
    }
}

fn shortened(kind: &str) -> String {
    let kind = pictured(kind);
    match kind.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &kind[..end]),
        None => kind,
    }
}

#[cfg(test)]
mod tests {
    use queue_core::JobId;

    use super::*;

    fn job(id: i64, kind: &str, state: &str, after: &[i64]) -> BatchJob {
        BatchJob {
            id: JobId(id),
            kind: kind.to_owned(),
            state: state.to_owned(),
            after: after.to_vec(),
            rule: None,
        }
    }

    #[test]
    fn kinds_stand_behind_what_they_wait_for() {
        let graph = Graph::of(&[
            job(1, "list", "done", &[]),
            job(2, "charge", "done", &[1]),
            job(3, "charge", "failed", &[1]),
            job(4, "report", "waiting", &[1, 2, 3]),
        ])
        .unwrap();

        let boxes: Vec<_> = graph
            .boxes
            .iter()
            .map(|one| {
                (
                    &*one.kind,
                    one.x,
                    one.state,
                    &*one.words,
                    one.done,
                    one.wrong,
                )
            })
            .collect();
        assert_eq!(
            boxes,
            [
                ("charge", 254, "failed", "1 of 2 failed", 88, 88),
                ("list", 0, "finished", "1 of 1 done", 176, 0),
                ("report", 508, "ready", "1 waiting", 0, 0),
            ]
        );
        let waits: Vec<bool> = graph.edges.iter().map(|edge| edge.waits).collect();
        assert_eq!(waits, [true, false, true]);
        assert_eq!(
            graph.label,
            "report waits for charge, charge waits for list, report waits for list"
        );
        assert_eq!((graph.width, graph.height), (708, 80));
    }

    #[test]
    fn what_is_no_graph_is_not_drawn() {
        assert!(Graph::of(&[]).is_none());
        assert!(Graph::of(&[job(1, "a", "done", &[]), job(2, "b", "done", &[])]).is_none());
        // A chain of one kind, and two kinds that wait for each other's jobs.
        assert!(Graph::of(&[job(1, "a", "done", &[]), job(2, "a", "ready", &[1])]).is_none());
        let circle = [
            job(1, "a", "done", &[]),
            job(2, "b", "done", &[1]),
            job(3, "a", "ready", &[2]),
        ];
        assert!(Graph::of(&circle).is_none());
        let many: Vec<BatchJob> = (1..=61)
            .map(|id| job(id, &format!("k{id}"), "ready", &[id - 1]))
            .collect();
        assert!(Graph::of(&many).is_none());
    }
}
