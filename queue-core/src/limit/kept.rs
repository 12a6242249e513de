//! Limits as they are stored with a job: JSON that the statements read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Conflict, Limit, Limits, Rate};

impl Limits {
    /// Returns the limits of a job of a kind as JSON; none if it has no limits.
    pub(crate) fn to_json(&self, kind: &str) -> Option<String> {
        let kept: Vec<Kept> = self.entries.iter().map(|limit| limit.kept(kind)).collect();
        // Texts and numbers can always be written.
        (!kept.is_empty()).then(|| serde_json::to_string(&kept).unwrap_or_default())
    }

    /// Reads stored limits.
    pub(crate) fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        let kept: Vec<Kept> = serde_json::from_str(json)?;
        Ok(Self {
            entries: kept.into_iter().map(Limit::from).collect(),
        })
    }
}

impl Limit {
    fn kept(&self, kind: &str) -> Kept {
        Kept {
            key: self.full_key(kind),
            name: self.name(kind).to_owned(),
            slots: self.slots_or_default(),
            space: self.rate.map(|rate| Interval(rate.space())),
            burst: self.rate.map(|rate| rate.burst),
            hold: self.hold_for.map(Interval),
            conflict: self.conflict,
        }
    }
}

/// A limit as it is stored with a job.
#[derive(Serialize, Deserialize)]
struct Kept {
    key: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    space: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<Interval>,
    #[serde(default, with = "KeptConflict", skip_serializing_if = "is_block")]
    conflict: Conflict,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Conflict", rename_all = "lowercase")]
enum KeptConflict {
    Block,
    Discard,
    Replace,
}

fn is_block(conflict: &Conflict) -> bool {
    *conflict == Conflict::Block
}

impl From<Kept> for Limit {
    fn from(kept: Kept) -> Self {
        let key = kept.key.strip_prefix(&format!("{}/", kept.name));
        Self {
            key: key.unwrap_or(&kept.key).to_owned(),
            group: Some(kept.name),
            slots: kept.slots,
            rate: kept.space.zip(kept.burst).map(|(space, burst)| Rate {
                starts: 1,
                period: space.0,
                burst,
            }),
            hold_for: kept.hold.map(|hold| hold.0),
            conflict: kept.conflict,
        }
    }
}

/// A duration as an interval of Postgres.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Interval(Duration);

impl From<Interval> for String {
    fn from(interval: Interval) -> Self {
        self::interval(interval.0)
    }
}

impl TryFrom<String> for Interval {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let micros = text.strip_suffix(" microseconds");
        let micros = micros.and_then(|micros| micros.parse().ok());
        let micros = micros.ok_or_else(|| format!("{text:?} is not a number of microseconds"))?;
        Ok(Self(Duration::from_micros(micros)))
    }
}

/// Returns a duration as an interval of Postgres.
pub(crate) fn interval(duration: Duration) -> String {
    format!("{} microseconds", duration.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_its_kind_or_its_group() {
        let limits = Limits::key("a").and(
            Limits::key("b")
                .group("api")
                .rate(6, Duration::from_secs(60)),
        );
        limits.check("import").unwrap();
        assert_eq!(
            limits.to_json("import").unwrap(),
            r#"[{"key":"import/a","name":"import","slots":1},{"key":"api/b","name":"api","space":"10000000 microseconds","burst":6}]"#
        );
    }

    #[test]
    fn limits_are_read_as_they_were_stored() {
        let kept = Limits::key("/a/")
            .to(3)
            .duration(Duration::from_secs(9))
            .on_conflict(Conflict::Discard)
            .and(
                Limits::key("b")
                    .group("api")
                    .rate(3, Duration::from_secs(1))
                    .burst(7),
            )
            .to_json("import")
            .unwrap();
        let read = Limits::from_json(&kept).unwrap();
        assert_eq!(read.to_json("another").unwrap(), kept);
    }
}
