//! Code shared by the tests of the queue.

pub mod collector;
pub mod deeds;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod recurring;
pub mod reference;
pub mod sentry;
mod slot;
pub mod soundness;
pub mod stage;
pub mod statements;
pub mod victim;
pub mod world;
