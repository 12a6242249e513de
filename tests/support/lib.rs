//! What the tests of the queue share.

pub mod deeds;
pub mod lossy;
pub mod postgres;
pub mod recurring;
mod slot;
pub mod soundness;
pub mod stage;
pub mod statements;
pub mod victim;
pub mod world;
