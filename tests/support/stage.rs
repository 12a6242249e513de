//! Jobs of tests: they note what they do, and wait at gates that the test opens.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use queue_core::{JobId, Limits};
use queue_worker::{App, Cx, Job, Perform};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::world::{World, eventually};

/// The notes and gates that a test shares with its jobs. Cheap to clone.
#[derive(Clone, Default)]
pub struct Stage {
    notes: Arc<Mutex<Vec<String>>>,
    gates: Arc<Mutex<HashMap<String, CancellationToken>>>,
}

impl Stage {
    /// Returns an application with the jobs of this file. Tests may register more.
    #[must_use]
    pub fn app(&self) -> App<Stage> {
        App::new(self.clone())
            .register::<Note>()
            .register::<Gated>()
    }

    /// Adds a note.
    pub fn note(&self, what: impl Into<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(what.into());
    }

    /// Returns all notes, in order.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.clone()
    }

    /// Counts the notes with this text.
    #[must_use]
    pub fn times(&self, what: &str) -> usize {
        self.notes().iter().filter(|note| *note == what).count()
    }

    /// Waits for a note.
    pub async fn noted(&self, what: &str) {
        self.noted_times(what, 1).await;
    }

    /// Waits until there are this many notes with this text.
    pub async fn noted_times(&self, what: &str, times: usize) {
        let waited_for = format!("{what:?} is noted {times} times");
        eventually(&waited_for, async || self.times(what) >= times).await;
    }

    /// Opens a gate, now and for all later passes.
    pub fn open(&self, gate: &str) {
        self.gate(gate).cancel();
    }

    /// Waits until a gate is open.
    pub async fn pass(&self, gate: &str) {
        self.gate(gate).cancelled().await;
    }

    /// Returns whether a gate is open.
    #[must_use]
    pub fn is_open(&self, gate: &str) -> bool {
        self.gate(gate).is_cancelled()
    }

    fn gate(&self, gate: &str) -> CancellationToken {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(gate.to_owned()).or_default().clone()
    }
}

/// A job that notes its text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note(pub String);

impl Note {
    /// Makes one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl Job for Note {
    const KIND: &'static str = "note";
}

impl Perform<Stage> for Note {
    type Error = Infallible;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), Infallible> {
        cx.state().note(self.0);
        Ok(())
    }
}

/// A job that notes `NAME begins`, waits at the gate `NAME`, and notes `NAME ends`. It ignores
/// requests to stop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gated(pub String);

impl Gated {
    /// Makes one.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl Job for Gated {
    const KIND: &'static str = "gated";
}

impl Perform<Stage> for Gated {
    type Error = Infallible;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), Infallible> {
        let stage = cx.state();
        stage.note(format!("{} begins", self.0));
        stage.pass(&self.0).await;
        stage.note(format!("{} ends", self.0));
        Ok(())
    }
}

/// Enqueues a [`Note`] with limits.
pub async fn note(world: &World, text: &str, limits: Limits) -> JobId {
    let request = world.queue.enqueue(Note::new(text)).limits(limits);
    request.await.expect("a database").id()
}

/// Enqueues a [`Gated`] job with limits.
pub async fn gated(world: &World, name: &str, limits: Limits) -> JobId {
    let request = world.queue.enqueue(Gated::new(name)).limits(limits);
    request.await.expect("a database").id()
}
