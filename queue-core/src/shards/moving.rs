//! Keys that move to a shard that is being added. They stay where they are until that shard has none of their
//! unfinished jobs.
//!
//! Two programs must not decide differently about a key: so who enqueues a job with such a key locks the key on the
//! shard that it comes from, until the job is enqueued, there or on the new shard.

use std::collections::{BTreeSet, HashSet};

use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

use super::choice::Part;
use crate::db::{begin_read_committed, is_conflict};
use crate::new_job::{EnqueueError, NewJob};
use crate::queue::Queue;
use crate::request::{CONFLICTS_MAX, enqueue_chunks};
use crate::sql::Schema;
use crate::transitions::enqueue::Enqueued;

const LOCK: &str = include_str!("lock.sql");
const TENANTS: &str = include_str!("tenants.sql");
const UNIQUE_KEYS: &str = include_str!("unique_keys.sql");
const LIMIT_KEYS: &str = include_str!("limit_keys.sql");

/// The most locks of one transaction: keys share them. The server has room for some thousands.
const LOCKS: u64 = 512;

/// A transaction that locks keys on the shard that they come from.
pub(super) struct Locked {
    tx: Transaction<'static, Postgres>,
    /// The keys that have unfinished jobs there.
    pub(super) staying: HashSet<Part>,
}

impl Locked {
    /// Locks keys, and finds those that have unfinished jobs.
    pub(super) async fn new(queue: &Queue, keys: &[Part]) -> Result<Self, sqlx::Error> {
        let mut tx = begin_read_committed(&queue.pool).await?;
        let locks: BTreeSet<i64> = keys.iter().map(lock_of).collect();
        let locks: Vec<i64> = locks.into_iter().collect();
        queue
            .schema
            .query(LOCK)
            .bind(locks)
            .execute(&mut *tx)
            .await?;
        let staying = staying(&mut tx, &queue.schema, keys).await?;
        Ok(Self { tx, staying })
    }

    /// Enqueues jobs in the transaction. A conflict with another ends only a part of it, so that the keys stay locked.
    pub(super) async fn enqueue(
        &mut self,
        queue: &Queue,
        jobs: &[NewJob],
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        for _ in 1..CONFLICTS_MAX {
            match self.enqueue_once(queue, jobs).await {
                Err(EnqueueError::Database(error)) if is_conflict(&error) => {}
                answer => return answer,
            }
        }
        self.enqueue_once(queue, jobs).await
    }

    async fn enqueue_once(
        &mut self,
        queue: &Queue,
        jobs: &[NewJob],
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        let mut part = self.tx.begin().await?;
        let enqueued = enqueue_chunks(&mut part, queue, jobs).await?;
        part.commit().await?;
        Ok(enqueued)
    }

    /// Commits what was enqueued in the transaction, unless that failed, and unlocks the keys. If nothing was enqueued in
    /// it, its end does not matter: an error would make jobs look missing that other shards have.
    pub(super) async fn unlock(
        self,
        answer: Result<Vec<Enqueued>, EnqueueError>,
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        match &answer {
            Ok(enqueued) if !enqueued.is_empty() => self.tx.commit().await?,
            _ => _ = self.tx.rollback().await,
        }
        answer
    }
}

/// Returns the number of the lock of a key.
fn lock_of(key: &Part) -> i64 {
    (key.hash() % LOCKS).cast_signed()
}

/// Returns the keys that have unfinished jobs on a shard.
pub(super) async fn staying(
    conn: &mut PgConnection,
    schema: &Schema,
    keys: &[Part],
) -> Result<HashSet<Part>, sqlx::Error> {
    let (mut tenants, mut unique_keys, mut limit_keys) = (Vec::new(), Vec::new(), Vec::new());
    for key in keys {
        match key {
            Part::Tenant(tenant) => tenants.push(&**tenant),
            Part::UniqueKey(key) => unique_keys.push(&**key),
            Part::LimitKey(key) => limit_keys.push(&**key),
        }
    }
    let mut staying = HashSet::new();
    if !tenants.is_empty() {
        let found: Vec<String> = schema
            .query_scalar(TENANTS)
            .bind(tenants)
            .fetch_all(&mut *conn)
            .await?;
        staying.extend(found.into_iter().map(Part::Tenant));
    }
    if !unique_keys.is_empty() {
        let found: Vec<Vec<u8>> = schema
            .query_scalar(UNIQUE_KEYS)
            .bind(unique_keys)
            .fetch_all(&mut *conn)
            .await?;
        staying.extend(found.into_iter().map(Part::UniqueKey));
    }
    if !limit_keys.is_empty() {
        let found: Vec<String> = schema
            .query_scalar(LIMIT_KEYS)
            .bind(limit_keys)
            .fetch_all(&mut *conn)
            .await?;
        staying.extend(found.into_iter().map(Part::LimitKey));
    }
    Ok(staying)
}
