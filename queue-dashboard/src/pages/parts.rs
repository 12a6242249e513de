//! Pages of a list that is read whole, because its order is not that of an index.

use serde::Deserialize;

use crate::links::Links;
use crate::words::grouped;

/// The most rows on one page.
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
