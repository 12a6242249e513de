//! Pages of lists, of one queue or of all shards.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use crate::html::pictured;
use crate::links::Links;
use crate::refusal::Refusal;
use crate::visit::Visit;
use crate::words::grouped;

/// The most rows on one page of a list that is read whole, because its order is not that of an index.
const ROWS: usize = 50;

/// Where a page of the list begins.
#[derive(Deserialize)]
pub(crate) struct From {
    #[serde(default)]
    from: usize,
}

/// What stands below a part of a list: `51 to 100 of 1,000`, and the addresses of other parts.
pub(super) struct Pager {
    pub(super) place: String,
    pub(super) first: Option<String>,
    pub(super) next: Option<String>,
}

impl From {
    /// Returns the rows of the page, and what stands below them if there are more.
    pub(super) fn part<'a, T>(
        &self,
        all: &'a [T],
        path: &str,
        links: &Links,
    ) -> (&'a [T], Option<Pager>) {
        let begin = self.from.min(all.len());
        let end = all.len().min(begin + ROWS);
        let number = |place: usize| grouped(place as u64);
        let pager = Pager {
            place: format!(
                "{} to {} of {}",
                number(begin + 1),
                number(end),
                number(all.len())
            ),
            first: (begin > 0).then(|| links.to(path)),
            next: (end < all.len()).then(|| links.to(&format!("{path}?from={end}"))),
        };
        let is_part = pager.first.is_some() || pager.next.is_some();
        (&all[begin..end], is_part.then_some(pager))
    }
}

/// Where a page of a list begins that has the newest rows first: below the id of the last row before it, or below
/// one of each shard: `eu:4711,us:300`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Below(Vec<(Option<Arc<str>>, i64)>);

impl Below {
    pub(crate) fn is_start(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses it unless each id names its shard on pages of all shards, and none does on others.
    pub(crate) fn check(&self, visit: &Visit) -> Result<(), Refusal> {
        let shards = || visit.settings.shards.iter();
        let is_here = |shard: &Option<Arc<str>>| match shard {
            Some(shard) => visit.is_merged && shards().any(|name| name == shard),
            None => !visit.is_merged,
        };
        if self.0.iter().all(|(shard, _)| is_here(shard)) {
            return Ok(());
        }
        let example: Vec<String> = match visit.is_merged {
            true => shards().map(|shard| format!("{shard}:4711")).collect(),
            false => vec!["4711".to_owned()],
        };
        Err(Refusal::Invalid(format!(
            "`{}` is not a place in this list: write the last id of the page before it, such as `{}`",
            pictured(&self.to_string()),
            example.join(",")
        )))
    }

    /// Returns the id for the rows with such links.
    pub(crate) fn of(&self, links: &Links) -> Option<i64> {
        let mut ids = self.0.iter();
        let of_shard = ids.find(|(shard, _)| shard.as_ref() == links.shard());
        of_shard.map(|(_, id)| *id)
    }

    /// Returns where the page after some rows begins.
    pub(crate) fn after<'r>(&self, rows: impl IntoIterator<Item = (&'r Links, i64)>) -> Self {
        let mut next = self.clone();
        for (links, id) in rows {
            next.0.retain(|(shard, _)| shard.as_ref() != links.shard());
            next.0.push((links.shard().cloned(), id));
        }
        next
    }
}

impl FromStr for Below {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |part: &str| match part.rsplit_once(':') {
            Some((shard, id)) => Ok((Some(Arc::from(shard)), id.parse()?)),
            None => Ok((None, part.parse()?)),
        };
        text.split(',')
            .map(part)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (shard, id)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            match shard {
                Some(shard) => write!(f, "{comma}{shard}:{id}")?,
                None => write!(f, "{comma}{id}")?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Below {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Returns the first rows of lists of shards in the order of their names; rows of one name are never apart. The list
/// of one queue stays as it is.
pub(crate) fn first_by_name<'p, T>(
    lists: impl Iterator<Item = (&'p Links, &'p Vec<T>)>,
    name: impl Fn(&T) -> &str,
    limit: usize,
) -> Vec<(&'p Links, &'p T)> {
    let mut rows: Vec<(&Links, &T)> = lists
        .flat_map(|(links, list)| list.iter().map(move |row| (links, row)))
        .collect();
    rows.sort_by(|(_, one), (_, other)| name(one).cmp(name(other)));
    if let Some(&(_, last)) = rows.get(limit.saturating_sub(1)) {
        rows.retain(|(_, row)| name(row) <= name(last));
    }
    rows
}
