//! A program that runs jobs needs only queue-worker.

const CORE: &str = include_str!("../../../queue-core/src/lib.rs");
const WORKER: &str = include_str!("../../../queue-worker/src/lib.rs");

/// What only the parts of the queue use: the rows of processes, whether the database is a copy, the transitions,
/// the results of steps, how batches are settled, events wake jobs and people are told what is wrong, what labels
/// metrics, what idle processes look for, how arguments are read, and how values are encrypted.
const INTERNAL: [&str; 13] = [
    "alerts",
    "process",
    "origin",
    "transitions",
    "steps",
    "batches",
    "counts",
    "depths",
    "encryption",
    "events",
    "metrics",
    "look",
    "decode_args",
];

/// Returns the names that a file lists after each `start`, without the paths before them.
fn names<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    let lists = text.split(start).skip(1);
    lists.flat_map(|rest| {
        let list = rest.split(';').next().unwrap_or(rest);
        let list = list.rsplit("::").next().unwrap_or(list);
        let ends = |c: char| !c.is_alphanumeric() && c != '_';
        list.split(ends).filter(|name| !name.is_empty())
    })
}

#[test]
fn queue_worker_exports_what_queue_core_exports() {
    let exported: Vec<&str> = names(WORKER, "pub use queue_core::").collect();

    for name in names(CORE, "\npub use ").chain(names(CORE, "\npub mod ")) {
        let is_known = exported.contains(&name) || INTERNAL.contains(&name);
        assert!(is_known, "queue-worker does not export {name}");
    }
}
