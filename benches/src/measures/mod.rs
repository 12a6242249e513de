//! One file per measure.

pub(crate) mod backlog;
pub(crate) mod batches;
pub(crate) mod drain;
pub(crate) mod enqueue;
pub(crate) mod horizon;
pub(crate) mod idle;
pub(crate) mod keys;
pub(crate) mod late;
pub(crate) mod latency;
pub(crate) mod limit;
pub(crate) mod live;
pub(crate) mod memory;
pub(crate) mod pages;
pub(crate) mod scaling;
pub(crate) mod shards;
pub(crate) mod steps;
pub(crate) mod tenants;
pub(crate) mod trips;
pub(crate) mod viewers;
