//! The arguments of a job in a command line.

use serde_json::value::RawValue;

/// Parses arguments, and keeps their digits.
pub(super) fn parse_args(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}
