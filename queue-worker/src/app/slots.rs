//! The places in which jobs run: as many as a worker's concurrency.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One place, taken until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// A worker's places.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
}

impl Slots {
    pub(crate) fn new(concurrency: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(concurrency)),
        }
    }

    /// Waits for a free place and takes it.
    pub(crate) async fn take(&self) -> Slot {
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => Slot { _permit: permit },
            Err(_closed) => std::future::pending().await,
        }
    }

    /// Returns how many places are free.
    pub(crate) fn free(&self) -> usize {
        self.free.available_permits()
    }
}
