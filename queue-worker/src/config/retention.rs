//! `[retention]`: the defaults, and the queues and kinds that are kept for another time.

use std::collections::BTreeMap;

use super::check::KEEP;
use super::document::{Entry, Section};
use super::draft::Draft;
use super::{KeepFor, scalars};

/// Reads the section. Names are checked with all other settings, when the draft is finished.
pub(super) fn read(section: &mut Section<'_>, draft: &mut Draft) {
    scalars::read_section("retention", section, draft);
    if let Some(entry) = section.get("queues") {
        draft.config.settings.retention.queues = read_overrides(&entry, draft);
    }
    if let Some(entry) = section.get("kinds") {
        draft.config.settings.retention.kinds = read_overrides(&entry, draft);
    }
}

fn read_overrides(entry: &Entry<'_>, draft: &mut Draft) -> BTreeMap<String, KeepFor> {
    let mut overrides = BTreeMap::new();
    match entry.table() {
        Ok(section) => {
            for (name, value) in section.entries() {
                let keep = value.given().keep(&KEEP);
                draft.record(&value.key, value.place(), keep.clone().map(drop));
                overrides.insert(name.to_owned(), keep.unwrap_or(KeepFor::Forever));
            }
        }
        Err(problem) => draft.problems.push(problem),
    }
    overrides
}
