//! Arguments that Postgres can store as `jsonb` and workers can read.
//!
//! The text is valid JSON, but `jsonb` cannot hold every JSON text. The server would refuse the others
//! with an error that aborts the transaction of the application, so they are found before they are sent.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// How deep arguments may be nested. Readers stop at 128 levels, some of which they need themselves.
const DEPTH_MAX: usize = 100;

/// The digits that a number may have before the point, and after it, in Postgres.
const WHOLE_DIGITS_MAX: i64 = 131_072;
const FRACTION_DIGITS_MAX: i64 = 16_383;

/// Reads the arguments of a job. `{}` stands for no arguments in the command line and in `queue.toml`, and
/// a type without fields may be written as `null`.
///
/// # Errors
/// Returns the error of serde_json if they do not fit the type.
pub fn decode_args<J: DeserializeOwned>(json: &str) -> Result<J, serde_json::Error> {
    serde_json::from_str(json).or_else(|error| match json {
        "{}" => serde_json::from_str("null").map_err(|_not_empty_either| error),
        _ => Err(error),
    })
}

/// Checks that arguments, or a part of them, can be stored, without a database.
///
/// # Errors
/// Returns the reason, to be read after "the arguments".
pub fn check_args(args: &RawValue) -> Result<(), String> {
    check(args.get())
}

/// Returns why arguments cannot be stored, to be read after "the arguments".
pub(crate) fn check(json: &str) -> Result<(), String> {
    let bytes = json.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = check_string(json, at)?,
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(format!("are nested more than {DEPTH_MAX} levels deep"));
                }
            }
            b']' | b'}' => depth -= 1,
            b'-' | b'0'..=b'9' => at = check_number(json, at - 1)?,
            _ => {}
        }
    }
    Ok(())
}

/// Checks the string that begins after the quote before `at`, and returns where it ends.
fn check_string(json: &str, mut at: usize) -> Result<usize, String> {
    let bytes = json.as_bytes();
    let is_end_or_escape = |byte: &u8| matches!(byte, b'"' | b'\\');
    let rest = |at: usize| bytes.get(at..).unwrap_or_default().iter();
    while let Some(plain) = rest(at).position(is_end_or_escape) {
        at += plain;
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', _) => return Ok(at + 1),
            (_, Some(b'u')) => at = check_escape(json, at)?,
            _ => at += 2,
        }
    }
    Ok(bytes.len())
}

/// Checks the escape at `at`, and returns where it ends, with the second half of a surrogate pair.
fn check_escape(json: &str, at: usize) -> Result<usize, String> {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    match unit(at) {
        Some(0) => Err("hold a NUL character (\\u0000), which Postgres cannot store".to_owned()),
        Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => Ok(at + 12),
        Some(0xd800..=0xdfff) => Err(format!(
            "hold half of a surrogate pair ({}), which is not a character",
            &json[at..at + 6]
        )),
        _ => Ok(at + 6),
    }
}

/// Checks the number at `from`, and returns where it ends.
fn check_number(json: &str, from: usize) -> Result<usize, String> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let length = json.as_bytes()[from..]
        .iter()
        .take_while(|byte| is_part(byte))
        .count();
    let number = &json[from..from + length];
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent: i64 = exponent.parse().unwrap_or(i64::MAX);
    let whole = whole.trim_start_matches('-');
    let is_too_long = exponent.saturating_add(whole.len() as i64) > WHOLE_DIGITS_MAX
        || (fraction.len() as i64).saturating_sub(exponent) > FRACTION_DIGITS_MAX;
    if is_too_long {
        let shown: String = number.chars().take(40).collect();
        return Err(format!(
            "hold the number {shown}, which is beyond what Postgres can store"
        ));
    }
    Ok(from + length)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(json: &str) -> String {
        check(json).unwrap_err()
    }

    #[test]
    fn ordinary_arguments_are_accepted() {
        for text in [
            "null",
            "-1.5e-7",
            r#"{"a": [1, "x\"y", "\ud83d\ude00", "\\u0000", "\\\\ud800"], "b": 1e300}"#,
        ] {
            check(text).unwrap();
        }
        check(&json!({"smile": "😀", "max": f64::MAX, "min": f64::MIN_POSITIVE}).to_string())
            .unwrap();
    }

    #[test]
    fn a_nul_character_is_refused_but_not_the_text_that_spells_it() {
        assert!(refused(&json!("a\0").to_string()).contains("NUL"));
        assert!(refused(&json!({"\\\0": 1}).to_string()).contains("NUL"));
        check(&json!("\\u0000").to_string()).unwrap();
    }

    #[test]
    fn half_a_surrogate_pair_is_refused() {
        assert!(refused(r#""\ud800""#).contains(r"(\ud800)"));
        assert!(refused(r#""\ud800\n""#).contains("surrogate"));
        assert!(refused(r#""\udc00\ud800""#).contains("surrogate"));
        assert!(refused(r#""\ud800\ud800""#).contains("surrogate"));
    }

    #[test]
    fn numbers_that_postgres_cannot_store_are_refused() {
        assert!(refused("[1e131072]").contains("1e131072"));
        assert!(refused("1e99999999999999999999").contains("1e9999"));
        assert!(refused("1e-16384").contains("1e-16384"));
        assert!(refused(&format!("1e{}", i64::MAX)).contains("1e9223"));
        assert!(refused(&format!("1e{}", i64::MIN)).contains("1e-9223"));
        check("1e131071").unwrap();
        check("-1e131071").unwrap();
        check("1e-16383").unwrap();
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(DEPTH_MAX)).unwrap();
        assert!(refused(&nested(DEPTH_MAX + 1)).contains("100 levels"));
    }
}
