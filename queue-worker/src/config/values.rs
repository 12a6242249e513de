//! Single values of the configuration, as serde reads them.
//!
//! serde rejects a value of the wrong type and names the expected one; `document.rs` rewrites the
//! message.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use queue_core::schedule::{Tz, parse_zone};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde_json::Value as Json;

/// Reads `10s`, `5m` or `1h 30m`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(Text {
        expected: "a duration like \"10s\" or \"5m\"",
        parse: |text| humantime::parse_duration(text).ok(),
    })
}

/// Reads a duration, or `forever` as `None`.
pub(super) fn keep<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    deserializer.deserialize_str(Text {
        expected: "\"forever\" or a duration like \"10s\" or \"5m\"",
        parse: |text| match text {
            "forever" => Some(None),
            _ => humantime::parse_duration(text).ok().map(Some),
        },
    })
}

/// Reads a string that may be a password, which no error repeats.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map_err(|_| D::Error::custom("expected a string"))
}

/// Reads the name of a time zone.
pub(super) fn zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    parse_zone(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Reads names with commas between them.
pub(super) fn names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let names: BTreeSet<&str> = text.split(',').map(str::trim).collect();
    Ok(Some(names.into_iter().map(str::to_owned).collect()))
}

/// A value that is written as a string.
struct Text<T> {
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Reads any value as the equivalent JSON.
pub(super) fn json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    to_json(value).map(Some).map_err(D::Error::custom)
}

fn to_json(value: toml::Value) -> Result<Json, String> {
    Ok(match value {
        toml::Value::String(text) => Json::String(text),
        toml::Value::Boolean(boolean) => Json::Bool(boolean),
        toml::Value::Datetime(time) => Json::String(time.to_string()),
        toml::Value::Integer(integer) => Json::from(integer),
        toml::Value::Float(float) => {
            let number = serde_json::Number::from_f64(float);
            Json::Number(number.ok_or_else(|| format!("{value} cannot be written as JSON"))?)
        }
        toml::Value::Array(elements) => {
            let elements = elements.into_iter().map(to_json);
            Json::Array(elements.collect::<Result<_, _>>()?)
        }
        toml::Value::Table(fields) => {
            let fields = fields.into_iter();
            let fields = fields.map(|(key, value)| Ok::<_, String>((key, to_json(value)?)));
            Json::Object(fields.collect::<Result<_, _>>()?)
        }
    })
}
