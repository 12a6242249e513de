//! The addresses of pages, below the path at which the dashboard is mounted.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::html::Html;

/// The path of the JSON API.
pub(crate) const API: &str = "/api/v1";

/// What stays as it is in a part of a path and in a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Returns a text as a part of a path or of a query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Returns the path of the pages of a shard, below the mount.
pub(crate) fn shard_path(shard: &str) -> String {
    format!("/shards/{}", encoded(shard))
}

/// Returns filters as they stand in an address.
pub(crate) fn query(filters: &[(&str, &str)]) -> String {
    let filters = filters
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    filters.collect::<Vec<String>>().join("&")
}

/// Makes addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// The path of the mount, or of a shard below it, without a slash at its end.
    base: String,
    /// The path of the mount.
    mount: String,
    /// The shard that rows name beside what is on it, on pages of all shards.
    named: Option<Arc<str>>,
}

impl Links {
    pub(crate) fn at(mount: String) -> Self {
        Self {
            base: mount.clone(),
            mount,
            named: None,
        }
    }

    /// Returns those of the pages of a shard, which are at `base`.
    pub(crate) fn within_shard(base: String, shard: &str) -> Self {
        let mount = base.strip_suffix(&shard_path(shard)).unwrap_or(&base);
        Self {
            mount: mount.to_owned(),
            base,
            named: None,
        }
    }

    /// Returns those of the pages of a shard, for rows beside rows of other shards.
    pub(crate) fn of_shard(&self, shard: &Arc<str>) -> Self {
        Self {
            base: format!("{}{}", self.mount, shard_path(shard)),
            mount: self.mount.clone(),
            named: Some(Arc::clone(shard)),
        }
    }

    /// Returns those of the pages of all shards.
    pub(crate) fn of_all(&self) -> Self {
        Self::at(self.mount.clone())
    }

    pub(crate) fn is_in_shard(&self) -> bool {
        self.base != self.mount
    }

    /// Returns the address of the whole dashboard, which is the path for its cookies.
    pub(crate) fn mount(&self) -> String {
        self.of_all().root()
    }

    /// Names the shard beside what is on it, on pages of all shards, with the address of that.
    pub(crate) fn mark(&self, href: &str) -> Html {
        match &self.named {
            Some(shard) => Html::new()
                .raw("<span class=\"shard\">")
                .link(href, shard)
                .raw("</span> "),
            None => Html::new(),
        }
    }

    /// Returns the shard that rows name.
    pub(crate) fn shard(&self) -> Option<&Arc<str>> {
        self.named.as_ref()
    }

    /// Returns the id of a job or a batch, which names its shard on pages of all shards: `4711`, or `eu:4711`.
    pub(crate) fn key(&self, id: impl std::fmt::Display) -> String {
        match &self.named {
            Some(shard) => format!("{shard}:{id}"),
            None => id.to_string(),
        }
    }

    /// Returns the same as people write it: `#4711`, or `eu:4711`.
    pub(crate) fn id(&self, id: impl std::fmt::Display) -> String {
        let hash = if self.named.is_some() { "" } else { "#" };
        format!("{hash}{}", self.key(id))
    }

    /// Returns the path for cookies.
    pub(crate) fn root(&self) -> String {
        match self.base.as_str() {
            "" => "/".to_owned(),
            base => base.to_owned(),
        }
    }

    /// Returns the address of a path inside the dashboard.
    pub(crate) fn to(&self, path: &str) -> String {
        match path {
            "/" => self.root(),
            path => format!("{}{path}", self.base),
        }
    }

    /// Returns the address of one thing: `/queues/mail`.
    pub(crate) fn one(&self, page: &str, name: &str) -> String {
        format!("{}/{page}/{}", self.base, encoded(name))
    }

    /// Returns an address that a form gave, if it is one of the dashboard.
    pub(crate) fn inside(&self, address: &str) -> Option<String> {
        let rest = address.strip_prefix(&self.base)?;
        let is_path = rest.is_empty() || rest.starts_with(['/', '?']);
        let is_plain = address.starts_with('/')
            && !address.starts_with("//")
            && !address.contains(|c: char| c == '\\' || c.is_control());
        (is_path && is_plain).then(|| address.to_owned())
    }

    pub(crate) fn job(&self, id: impl std::fmt::Display) -> String {
        format!("{}/jobs/{id}", self.base)
    }

    /// Returns the address of the jobs that match.
    pub(crate) fn jobs(&self, filters: &[(&str, &str)]) -> String {
        format!("{}/jobs?{}", self.base, query(filters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_below_the_mount() {
        let links = Links::at("/ops/jobs".to_owned());
        assert_eq!(links.to("/"), "/ops/jobs");
        assert_eq!(
            links.one("queues", "a/b ?#"),
            "/ops/jobs/queues/a%2Fb%20%3F%23"
        );
        assert_eq!(links.jobs(&[("kind", "a&b")]), "/ops/jobs/jobs?kind=a%26b");
        assert_eq!(Links::default().to("/"), "/");
        for address in [
            "//evil.example",
            "/\\evil",
            "https://evil",
            "/ops/jobsother",
            "",
            "/other",
        ] {
            assert_eq!(links.inside(address), None, "{address}");
        }
        assert_eq!(Links::default().inside("//evil.example"), None);
        assert!(links.inside("/ops/jobs/jobs?state=failed").is_some());
    }
}
