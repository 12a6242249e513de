//! The shards of a queue: several queues, each in a schema, a database or on a server of its own.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use queue_core::{ShardState, check_shard};
use serde::Deserialize;

use super::check::Check;
use super::parts::{DatabaseSettings, ServerUrl, check_schema, check_server_url};

/// A shard: where its tables are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct ShardSettings {
    /// The URL of its database; by default that of `[database]`. Leave out the password, which is read from the
    /// password file: a file with a password in it gets copied.
    pub url: Option<ServerUrl>,
    /// The schema of its tables; by default that of `[database]`.
    pub schema: Option<String>,
    /// The URL of its server itself, as `process.listen_url` is for one database.
    pub listen_url: Option<ServerUrl>,
    /// Which jobs it takes: `"open"` (its share, the default), `"adding"` (its share, but those of keys that come from
    /// another shard only when that one has none of their unfinished jobs) or `"draining"` (none).
    pub state: ShardState,
}

impl ShardSettings {
    /// Returns where the tables are.
    pub(crate) fn database(&self, default: &DatabaseSettings) -> DatabaseSettings {
        let url = self.url.as_ref().map(|url| url.0.clone());
        DatabaseSettings {
            url: url.or_else(|| default.url.clone()),
            schema: self.schema.as_ref().unwrap_or(&default.schema).clone(),
            shards: None,
        }
    }

    fn check(&self, check: &mut Check) {
        let url = |url: &Option<ServerUrl>| url.as_ref().map(|url| url.0.clone());
        check_server_url(url(&self.url).as_deref(), "url", check);
        check_server_url(url(&self.listen_url).as_deref(), "listen_url", check);
        if let Some(schema) = &self.schema {
            check_schema(schema, check);
        }
    }
}

/// Checks the shards, and the names of those that are used.
pub(super) fn check_shards(
    shards: &BTreeMap<String, ShardSettings>,
    database: &DatabaseSettings,
    check: &mut Check,
) {
    let mut places = BTreeMap::new();
    for (name, shard) in shards {
        check.within(&format!("shards.{name}"), |check| {
            check.name("", Some(name), check_shard);
            shard.check(check);
            let DatabaseSettings { url, schema, .. } = shard.database(database);
            match places.entry((url, schema)) {
                Entry::Vacant(free) => _ = free.insert(name),
                Entry::Occupied(taken) => check.refuse(
                    "",
                    format!(
                        "it has the same database and schema as [shards.{}]",
                        taken.get()
                    ),
                ),
            }
        });
    }
    let mut states = shards.values().map(|shard| shard.state);
    if !shards.is_empty() && states.all(|state| state != ShardState::Open) {
        check.refuse("shards", "at least one shard must be \"open\"");
    }
    let adding = shards
        .values()
        .filter(|shard| shard.state == ShardState::Adding);
    if adding.count() > 1 {
        check.refuse("shards", "only one shard at a time can be \"adding\"");
    }
    for name in database.shards.iter().flatten() {
        if !shards.contains_key(name) {
            let known = Vec::from_iter(shards.keys().map(String::as_str));
            let message = match known.is_empty() {
                true => format!("there is no shard `{name}`: the file has no [shards]"),
                false => format!("there is no shard `{name}`: there are {}", known.join(", ")),
            };
            check.refuse("database.shards", message);
        }
    }
}
