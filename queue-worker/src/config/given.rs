//! One value as it was given, by the file or as text, and what it is read as.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use queue_core::schedule::{Tz, parse_zone};
use toml::de::DeValue;

use super::KeepFor;
use super::check::{expected_duration, expected_number};

/// A value that was given: in `queue.toml` with its type, elsewhere as text.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    Text(&'a str),
    Value(&'a DeValue<'a>),
}

impl<'a> Given<'a> {
    pub(super) fn text(self) -> Result<&'a str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Value(DeValue::String(text)) => Ok(text),
            Self::Value(_) => Err(format!("expected a text in quotes, found {self}")),
        }
    }

    pub(super) fn boolean(self) -> Result<bool, String> {
        match self {
            Self::Value(DeValue::Boolean(boolean)) => Ok(*boolean),
            Self::Text("true" | "1" | "yes" | "on") => Ok(true),
            Self::Text("false" | "0" | "no" | "off") => Ok(false),
            _ => Err(format!("expected true or false, found {self}")),
        }
    }

    pub(super) fn whole_number(self, range: &RangeInclusive<u64>) -> Result<u64, String> {
        let number = match self {
            Self::Text(text) => text.parse().ok(),
            Self::Value(DeValue::Integer(integer)) => {
                u64::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            Self::Value(_) => None,
        };
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| expected_number(range, self))
    }

    pub(super) fn priority(self) -> Result<i16, String> {
        let number = match self {
            Self::Text(text) => text.parse().ok(),
            Self::Value(DeValue::Integer(integer)) => {
                i16::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            Self::Value(_) => None,
        };
        number.ok_or_else(|| {
            let (least, most) = (i16::MIN, i16::MAX);
            format!("expected a whole number from {least} to {most}, found {self}")
        })
    }

    /// Reads any value as the JSON that says the same.
    pub(super) fn json(self) -> Result<serde_json::Value, String> {
        match self {
            Self::Text(text) => serde_json::from_str(text).map_err(|error| error.to_string()),
            Self::Value(value) => json(value),
        }
    }

    pub(super) fn duration(self, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
        let Ok(text) = self.text() else {
            return Err(format!(
                "expected a duration like \"10s\" or \"5m\", found {self}"
            ));
        };
        match humantime::parse_duration(text) {
            Ok(duration) if range.contains(&duration) => Ok(duration),
            Ok(_) => Err(expected_duration(range, self)),
            Err(_) => Err(format!(
                "expected a duration like \"10s\" or \"5m\", found {self}"
            )),
        }
    }

    pub(super) fn zone(self) -> Result<Tz, String> {
        parse_zone(self.text()?).map_err(|unknown| unknown.to_string())
    }

    pub(super) fn keep(self, range: &RangeInclusive<Duration>) -> Result<KeepFor, String> {
        match self.text() {
            Ok("forever") => Ok(KeepFor::Forever),
            _ => self
                .duration(range)
                .map(KeepFor::For)
                .map_err(|message| message.replacen("expected ", "expected \"forever\" or ", 1)),
        }
    }
}

fn json(value: &DeValue<'_>) -> Result<serde_json::Value, String> {
    use serde_json::Value;

    let no_json = || format!("{} is no JSON", Given::Value(value));
    Ok(match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Boolean(boolean) => Value::Bool(*boolean),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(Value::from)
            .map_err(|_| no_json())?,
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok();
            let number = number.and_then(serde_json::Number::from_f64);
            Value::Number(number.ok_or_else(no_json)?)
        }
        DeValue::Array(array) => {
            let elements = array.iter().map(|element| json(element.get_ref()));
            Value::Array(elements.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let fields = table.iter().map(|(key, value)| {
                let key = key.get_ref().clone().into_owned();
                Ok::<_, String>((key, json(value.get_ref())?))
            });
            Value::Object(fields.collect::<Result<_, _>>()?)
        }
    })
}

/// Shows a value in a message: what was written for a plain one, its type for what holds others.
impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Value(DeValue::String(text)) => write!(f, "{text:?}"),
            Self::Value(DeValue::Integer(integer)) => write!(f, "{integer}"),
            Self::Value(DeValue::Float(float)) => write!(f, "{float}"),
            Self::Value(DeValue::Boolean(boolean)) => write!(f, "{boolean}"),
            Self::Value(DeValue::Datetime(datetime)) => write!(f, "{datetime}"),
            Self::Value(DeValue::Array(_)) => f.write_str("an array"),
            Self::Value(DeValue::Table(_)) => f.write_str("a table"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::{CONCURRENCY, KEEP, POLL};

    #[test]
    fn text_is_read_as_what_the_setting_is() {
        for (text, number) in [
            ("1", Some(1)),
            ("10000", Some(10_000)),
            ("0", None),
            ("-3", None),
            ("ten", None),
        ] {
            assert_eq!(
                Given::Text(text).whole_number(&CONCURRENCY).ok(),
                number,
                "{text}"
            );
        }
        for (text, boolean) in [
            ("true", Some(true)),
            ("0", Some(false)),
            ("off", Some(false)),
            ("maybe", None),
        ] {
            assert_eq!(Given::Text(text).boolean().ok(), boolean, "{text}");
        }
        for (text, seconds) in [
            ("1s", Some(1)),
            ("1m 5s", Some(65)),
            ("2h", None),
            ("5", None),
            ("", None),
        ] {
            let duration = Given::Text(text).duration(&POLL).ok();
            assert_eq!(duration, seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn any_value_is_read_as_the_json_that_says_the_same() {
        let read = |text: &str| {
            let table = toml::de::DeTable::parse(text).unwrap();
            Given::Value(&DeValue::Table(table.into_inner())).json()
        };
        let text = "a = 0x10\nb = [1.5, true, 'x']\nc.d = 2030-01-31\n";
        let expected =
            serde_json::json!({"a": 16, "b": [1.5, true, "x"], "c": {"d": "2030-01-31"}});
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("a = nan"), Err("nan is no JSON".to_owned()));
    }

    #[test]
    fn a_message_shows_what_was_found() {
        for (message, expected) in [
            (
                Given::Text("-3").whole_number(&CONCURRENCY).unwrap_err(),
                "expected a whole number from 1 to 10000, found \"-3\"",
            ),
            (
                Given::Text("1 fortnight").duration(&POLL).unwrap_err(),
                "expected a duration like \"10s\" or \"5m\", found \"1 fortnight\"",
            ),
            (
                Given::Text("2h").duration(&POLL).unwrap_err(),
                "expected a duration from 10ms to 1h, found \"2h\"",
            ),
            (
                Given::Text("ever").keep(&KEEP).unwrap_err(),
                "expected \"forever\" or a duration like \"10s\" or \"5m\", found \"ever\"",
            ),
        ] {
            assert_eq!(message, expected);
        }
    }
}
