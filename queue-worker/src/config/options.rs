//! Options of a job that may or may not be given.

use queue_core::Options;

/// Sets one of the options, if a value is given.
pub(crate) fn with<T>(
    options: Options,
    value: Option<T>,
    set: impl FnOnce(Options, T) -> Options,
) -> Options {
    match value {
        Some(value) => set(options, value),
        None => options,
    }
}

/// Returns how many failures or crashes a job may have.
pub(crate) fn count(count: u16) -> i16 {
    i16::try_from(count).unwrap_or(i16::MAX)
}

/// Sets a context with this tenant.
#[cfg(feature = "cli")]
pub(crate) fn for_tenant(options: Options, tenant: String) -> Options {
    options.context(queue_core::Context::new().tenant(tenant))
}
