//! The shard on which a command runs, and what it has printed there.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

tokio::task_local! {
    static HERE: Here;
}

/// The shards whose tables were used so far, by the place of the tables.
pub(super) type Places = Arc<Mutex<BTreeMap<String, Arc<str>>>>;

struct Here {
    shard: Arc<str>,
    places: Places,
    /// All shards on which the command runs.
    used: Arc<[String]>,
    printed: RefCell<Vec<Printed>>,
    absent: RefCell<Vec<String>>,
    is_passed_over: Cell<bool>,
}

/// What a command printed.
pub(super) enum Printed {
    Text(String),
    Json(Box<RawValue>),
    List(List),
}

/// A list for people and for programs.
#[derive(Default)]
pub(super) struct List {
    /// What is said if the list is empty.
    pub(super) empty: String,
    pub(super) titles: Vec<String>,
    pub(super) rows: Vec<ListRow>,
    /// The most rows, if the newest are listed first.
    pub(super) newest: Option<usize>,
}

/// A row of a list.
pub(super) struct ListRow {
    /// When it began, if the newest are listed first.
    pub(super) at: Option<DateTime<Utc>>,
    pub(super) cells: Vec<String>,
    pub(super) json: Box<RawValue>,
}

/// What a command has done on one shard.
pub(super) struct Done<T> {
    pub(super) answer: T,
    pub(super) printed: Vec<Printed>,
    /// What was not found on this shard, as messages that say so.
    pub(super) absent: Vec<String>,
    /// Whether the command has nothing to do there.
    pub(super) is_passed_over: bool,
}

/// Runs a command on a shard, and collects what it prints.
pub(super) async fn on<T>(
    shard: Arc<str>,
    used: Arc<[String]>,
    places: &Places,
    command: impl Future<Output = T>,
) -> Done<T> {
    let here = Here {
        shard,
        used,
        places: Arc::clone(places),
        printed: RefCell::default(),
        absent: RefCell::default(),
        is_passed_over: Cell::default(),
    };
    let collecting = async {
        let answer = command.await;
        HERE.with(|here| Done {
            answer,
            printed: here.printed.take(),
            absent: here.absent.take(),
            is_passed_over: here.is_passed_over.get(),
        })
    };
    HERE.scope(here, collecting).await
}

/// Returns the name of the shard, if the queue has shards.
pub(super) fn shard() -> Option<Arc<str>> {
    HERE.try_with(|here| Arc::clone(&here.shard)).ok()
}

/// Returns the names of all shards on which the command runs; none if the queue has no shards.
pub(super) fn used_shards() -> Arc<[String]> {
    HERE.try_with(|here| Arc::clone(&here.used))
        .unwrap_or_default()
}

/// Notes where the tables of this shard are. Returns the shard that has the same, if there is one.
pub(super) fn note_place(place: String) -> Option<Arc<str>> {
    let noted = HERE.try_with(|here| {
        let mut places = here.places.lock().unwrap_or_else(PoisonError::into_inner);
        let shard = places
            .entry(place)
            .or_insert_with(|| Arc::clone(&here.shard));
        (**shard != *here.shard).then(|| Arc::clone(shard))
    });
    noted.ok().flatten()
}

/// Returns whether the command runs on several shards.
pub(super) fn are_several() -> bool {
    used_shards().len() > 1
}

/// Keeps what is printed, to be put together with that of other shards. Returns it if there are no shards.
pub(super) fn keep(printed: Printed) -> Option<Printed> {
    let mut printed = Some(printed);
    let _there_are_no_shards = HERE.try_with(|here| {
        here.printed.borrow_mut().extend(mem::take(&mut printed));
    });
    printed
}

/// Notes that something is not on this shard; it may be on another. The message is shown if it is on none.
pub(super) fn note_absent(message: String) {
    let _there_are_no_shards = HERE.try_with(|here| here.absent.borrow_mut().push(message));
}

/// Notes that the command has nothing to do on this shard.
pub(super) fn pass_over() {
    let _there_are_no_shards = HERE.try_with(|here| here.is_passed_over.set(true));
}
