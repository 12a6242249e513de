//! The arguments of a job in a command line.

use queue_core::check_args;
use serde_json::value::RawValue;

/// Parses arguments, and keeps their digits.
pub(super) fn parse_args(text: &str) -> Result<Box<RawValue>, String> {
    let args: Box<RawValue> =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    check_args(&args).map_err(|reason| format!("the arguments {reason}"))?;
    Ok(args)
}
