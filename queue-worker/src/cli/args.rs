//! The arguments and times of jobs in a command line.

use chrono::{DateTime, Utc};
use queue_core::check_args;
use serde_json::value::RawValue;

/// Parses arguments, and keeps their digits.
pub(super) fn parse_args(text: &str) -> Result<Box<RawValue>, String> {
    let args: Box<RawValue> =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    check_args(&args).map_err(|reason| format!("the arguments {reason}"))?;
    Ok(args)
}

/// Parses a time with its zone.
pub(super) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|error| {
            format!("{error}; write the date, the time and the zone, as in 2030-01-31T09:00:00Z")
        })
}
