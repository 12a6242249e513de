//! What a process runs: settings from code, `queue.toml`, the environment and flags.
//!
//! [`Settings`] is plain data. An application fills it in, or loads it with [`Settings::load`]. The
//! command line loads a whole [`Config`] from three places; each one overrides those below it:
//!
//! 1. flags,
//! 2. environment variables,
//! 3. the file `queue.toml`.
//!
//! All problems are reported at once, each one with its place: the line and column of the file, the
//! variable, or the flag.
//!
//! Modules stand in order: each uses only those below it.

mod settings;

mod alerts;
mod recurring;
mod shards;

mod handlers;
mod limits;
pub(crate) mod overrides;
mod parts;
mod redact;

mod backoff;
pub(crate) mod document;
mod queues;

mod check;
pub(crate) mod options;
mod problem;
mod values;

#[cfg(test)]
mod tests;

pub use alerts::AlertSettings;
pub use backoff::BackoffSettings;
pub use check::InvalidSetting;
pub use handlers::{CommandHandler, HandlerRun, HandlerSettings, HttpHandler};
pub use overrides::Override;
pub use parts::{
    DatabaseSettings, DispatcherSettings, KeepFor, LogSettings, MaintenanceSettings,
    ProcessSettings, QueueSettings, Retention, SchedulerSettings, ServerUrl, WorkerSettings,
};
pub use problem::{ConfigProblem, InvalidConfig, SettingPlace};
pub use queue_core::Rate;
pub use queue_core::alerts::AlertKind;
pub use queue_core::operations::limits::LimitSetting;
pub use queues::{InvalidQueueList, QueueList, QueuePattern};
pub use recurring::RecurringSettings;
pub use redact::RedactSettings;
pub use settings::{Config, Settings};
pub use shards::ShardSettings;
