//! What a worker process runs, and how it is told: settings, `queue.toml`, environment and flags.
//!
//! [`Settings`] is plain data that an application may fill in itself. With the feature `cli`, `load`
//! reads it, together with the database and the handlers, from three places; each beats the ones
//! after it:
//!
//! 1. flags (`Overrides`),
//! 2. environment variables (`VARIABLES`),
//! 3. the file `queue.toml`.
//!
//! Whatever is wrong is reported at once, each problem with its place: the line and column of the
//! file, the variable, or the flag.

mod check;
mod queues;
mod settings;

#[cfg(feature = "cli")]
mod backoff;
#[cfg(feature = "cli")]
mod document;
#[cfg(feature = "cli")]
mod draft;
#[cfg(feature = "cli")]
mod given;
#[cfg(feature = "cli")]
mod handlers;
#[cfg(feature = "cli")]
mod limits;
#[cfg(feature = "cli")]
mod load;
#[cfg(feature = "cli")]
mod problem;
#[cfg(feature = "cli")]
mod recurring;
#[cfg(feature = "cli")]
mod retention;
#[cfg(feature = "cli")]
mod scalars;
#[cfg(feature = "cli")]
mod workers;

#[cfg(all(test, feature = "cli"))]
mod tests;

pub use check::InvalidSetting;
pub use queue_core::Rate;
pub use queue_core::operations::limits::LimitSetting;
pub use queues::{InvalidQueueList, QueueList, QueuePattern};
pub use settings::{
    DispatcherSettings, KeepFor, MaintenanceSettings, ProcessSettings, Retention,
    SchedulerSettings, Settings, WorkerSettings,
};

#[cfg(feature = "cli")]
pub use {
    backoff::BackoffSettings,
    handlers::{CommandHandler, HandlerRun, HandlerSettings, HttpHandler},
    load::{Config, DatabaseSettings, Source, load},
    problem::{InvalidConfig, Place, Problem},
    recurring::RecurringSettings,
    scalars::{Overrides, VARIABLES},
};
