//! What a page shows: one queue, or all shards.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRef;
use futures_util::future::{join, join_all};
use queue_core::inspect::signs::{self, Signs};
use sqlx::{Postgres, Transaction};
use tokio::time::timeout;

use crate::links::Links;
use crate::refusal::Refusal;
use crate::site::{CONNECTS_WITHIN, Settings, Site};

/// How long a page of all shards waits for each, and then does without the one that did not answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
const AWAY_FOR: Duration = Duration::from_secs(5);

/// One queue, or all shards.
#[derive(Clone)]
pub(crate) struct Sites {
    pub(crate) settings: Arc<Settings>,
    pub(crate) all: Arc<[Arc<Site>]>,
    /// Whether they are shards: then one that does not answer is left out.
    pub(crate) is_merged: bool,
    /// The shards that did not answer just now: when, and why.
    pub(crate) away: Arc<Away>,
}

pub(crate) type Away = Mutex<HashMap<Arc<str>, (Instant, Refusal)>>;

/// A queue that is being read.
pub(crate) struct Reading {
    pub(crate) site: Arc<Site>,
    pub(crate) tx: Transaction<'static, Postgres>,
    /// Makes the addresses of its pages.
    pub(crate) links: Links,
    pub(crate) signs: Signs,
}

/// What was read of one queue.
pub(crate) struct Part<T> {
    pub(crate) reading: Reading,
    pub(crate) found: T,
}

/// What was read of the queues that answered.
pub(crate) struct Found<T> {
    pub(crate) parts: Vec<Part<T>>,
    /// Those of all together.
    pub(crate) signs: Signs,
    pub(crate) is_merged: bool,
    /// The shards that did not answer, and why.
    pub(crate) away: Vec<(Arc<str>, String)>,
}

impl FromRef<Arc<Site>> for Sites {
    fn from_ref(site: &Arc<Site>) -> Self {
        Self {
            settings: Arc::clone(&site.settings),
            all: Arc::new([Arc::clone(site)]),
            is_merged: false,
            away: Arc::default(),
        }
    }
}

impl Sites {
    /// Returns the queue of a dashboard, or of a shard's part of it.
    pub(crate) fn only(&self) -> Option<&Arc<Site>> {
        self.all.first().filter(|_| !self.is_merged)
    }

    /// Reads all at once, each in a transaction of its own.
    pub(crate) async fn read<T, F>(
        &self,
        links: &Links,
        read: impl Fn(Reading) -> F,
    ) -> Result<Found<T>, Refusal>
    where
        F: Future<Output = Result<(Reading, T), Refusal>>,
    {
        let mut answers = Vec::new();
        for site in &*self.all {
            answers.push(self.answer(site, links, &read));
        }
        let (mut parts, mut away, mut refusal) = (Vec::new(), Vec::new(), Refusal::Broken);
        for (site, answer) in self.all.iter().zip(join_all(answers).await) {
            match answer {
                Ok((reading, found)) => parts.push(Part { reading, found }),
                Err(found) => {
                    let shard = site.shard.as_ref().filter(|_| self.is_merged);
                    let (Some(shard), Some(why)) = (shard, found.why_away()) else {
                        return Err(found);
                    };
                    away.push((Arc::clone(shard), why));
                    refusal = found;
                }
            }
        }
        let signs = parts.iter().map(|part| part.reading.signs);
        Ok(Found {
            signs: signs.reduce(together).ok_or(refusal)?,
            is_merged: self.is_merged,
            parts,
            away,
        })
    }

    async fn answer<T, F>(
        &self,
        site: &Arc<Site>,
        links: &Links,
        read: impl Fn(Reading) -> F,
    ) -> Result<(Reading, T), Refusal>
    where
        F: Future<Output = Result<(Reading, T), Refusal>>,
    {
        let shard = site.shard.as_ref().filter(|_| self.is_merged);
        let answer = async {
            let mut tx = site.read().await?;
            let silent_after = self.settings.silent_after();
            let signs = signs::read(&mut tx, site.queue.schema(), silent_after).await?;
            let reading = Reading {
                site: Arc::clone(site),
                tx,
                links: shard.map_or_else(|| links.clone(), |shard| links.of_shard(shard)),
                signs,
            };
            read(reading).await
        };
        match shard {
            Some(shard) => self.awaited(shard, site, answer).await,
            None => answer.await,
        }
    }

    /// Waits for the answer of a shard, unless it was away just now. Within the same time it looks why there is none.
    async fn awaited<T>(
        &self,
        shard: &Arc<str>,
        site: &Site,
        answer: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let away = || self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, refusal)) = away().get(shard)
            && at.elapsed() < AWAY_FOR
        {
            return Err(refusal.clone());
        }
        let late = |_| Err(Refusal::Away("no answer within 3s".to_owned()));
        let mut answer = pin!(answer);
        let in_time = timeout(ANSWERS_WITHIN - CONNECTS_WITHIN, &mut answer).await;
        let (answer, why) = match in_time {
            Ok(answer @ Err(Refusal::Away(_))) => (answer, site.connection_error().await),
            Ok(answer) => (answer, None),
            Err(_) => {
                let answer = timeout(CONNECTS_WITHIN, answer);
                let (answer, why) = join(answer, site.connection_error()).await;
                (answer.unwrap_or_else(late), why)
            }
        };
        let answer = match (answer, why) {
            (Err(Refusal::Away(_)), Some(why)) => Err(Refusal::Away(why)),
            (answer, _) => answer,
        };
        if let Err(refusal @ Refusal::Away(_)) = &answer {
            away().insert(Arc::clone(shard), (Instant::now(), refusal.clone()));
        }
        answer
    }
}

fn together(one: Signs, other: Signs) -> Signs {
    Signs {
        paused_queues: one.paused_queues + other.paused_queues,
        paused_tenants: one.paused_tenants + other.paused_tenants,
        silent_processes: one.silent_processes + other.silent_processes,
        now: one.now.max(other.now),
    }
}

impl<T> Found<T> {
    /// Separates what was read from the rest.
    pub(crate) fn taken(self) -> (Found<()>, Vec<(Links, T)>) {
        let (mut parts, mut taken) = (Vec::new(), Vec::new());
        for Part { reading, found } in self.parts {
            taken.push((reading.links.clone(), found));
            parts.push(Part { reading, found: () });
        }
        let rest = Found {
            parts,
            signs: self.signs,
            is_merged: self.is_merged,
            away: self.away,
        };
        (rest, taken)
    }

    /// Returns what was read of each, with the addresses of its pages.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Links, &T)> {
        let parts = self.parts.iter();
        parts.map(|part| (&part.reading.links, &part.found))
    }
}
