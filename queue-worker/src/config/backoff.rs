//! `backoff`: how long a handler's job waits before it is tried again.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

use super::check::Check;
use super::values::duration;

const WAIT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 86_400);

/// How long a job waits between its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackoffSettings {
    /// Each wait is twice as long as the one before.
    Exponential,
    /// The wait grows with the fourth power of the attempt's number.
    Polynomial,
    /// Every wait is this long.
    Fixed(Duration),
    /// One wait per attempt; the last one is repeated.
    List(Vec<Duration>),
}

/// The table form of a backoff; exactly one of the keys is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Waits {
    fixed: Option<Wait>,
    list: Option<Vec<Wait>>,
}

#[derive(Deserialize)]
struct Wait(#[serde(deserialize_with = "duration")] Duration);

impl BackoffSettings {
    pub(super) fn check(&self, check: &mut Check) {
        match self {
            Self::Exponential | Self::Polynomial => {}
            Self::Fixed(wait) => check.duration("fixed", *wait, WAIT),
            Self::List(waits) if waits.is_empty() => {
                check.refuse("list", "expected at least one duration, found none");
            }
            Self::List(waits) => {
                for (position, wait) in waits.iter().enumerate() {
                    check.duration(&format!("list[{position}]"), *wait, WAIT);
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for BackoffSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BackoffVisitor)
    }
}

struct BackoffVisitor;

impl<'de> Visitor<'de> for BackoffVisitor {
    type Value = BackoffSettings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "\"exponential\", \"polynomial\", { fixed = \"10s\" } or { list = [\"1s\", \"1m\"] }",
        )
    }

    fn visit_str<E: Error>(self, shape: &str) -> Result<BackoffSettings, E> {
        match shape {
            "exponential" => Ok(BackoffSettings::Exponential),
            "polynomial" => Ok(BackoffSettings::Polynomial),
            _ => Err(E::invalid_value(Unexpected::Str(shape), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<BackoffSettings, A::Error> {
        let waits = Waits::deserialize(MapAccessDeserializer::new(table))?;
        match (waits.fixed, waits.list) {
            (Some(Wait(fixed)), None) => Ok(BackoffSettings::Fixed(fixed)),
            (None, Some(list)) => {
                let list = list.into_iter().map(|Wait(wait)| wait).collect();
                Ok(BackoffSettings::List(list))
            }
            _ => Err(A::Error::invalid_value(Unexpected::Map, &self)),
        }
    }
}
