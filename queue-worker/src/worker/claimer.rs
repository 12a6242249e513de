//! One claim: takes jobs from some lanes, and prefetches them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::transitions::claim::{FairLane, LineEnd, Turn, claim, lanes, line_end};
use queue_core::transitions::claim_fair::{claim_fair, tenants_in_turn};
use queue_core::transitions::claim_limited::{LimitedClaim, after_claim, claim_limited};

use super::lanes::LaneGroup;
use super::rounds::LISTED_MAX;
use super::state::Worker;
use crate::completer::{EndedJob, announce};
use crate::connection::{Connection, logged};
use crate::metrics::{note_blocked, note_claim};

/// A claim that finds nothing but takes longer raises the floors.
const LONG_WALK: Duration = Duration::from_millis(50);

/// Claims for a worker on one connection.
pub(super) struct Claimer<S> {
    pub(super) worker: Arc<Worker<S>>,
    pub(super) connection: Connection,
}

/// What one claim found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// How many jobs were claimed or parked.
    pub(super) count: usize,
    /// The queues that jobs were claimed from.
    pub(super) queues: Vec<String>,
    /// Whether some of them have limits.
    pub(super) is_gated: bool,
}

impl<S: Send + Sync + 'static> Claimer<S> {
    /// Notes all lanes that have jobs now. Returns whether one was new.
    pub(super) async fn learn_lanes(&mut self) -> Result<bool, sqlx::Error> {
        let schema = &self.worker.shared.schema;
        let known = self.worker.lanes().known();
        let found = self
            .connection
            .run(async |conn| lanes(conn, schema, &known).await)
            .await?;
        Ok(self.worker.lanes().learn_all(&found))
    }

    /// Returns the end of the line, and the transactions that are open.
    pub(super) async fn line_end(&mut self) -> Result<LineEnd, sqlx::Error> {
        let schema = &self.worker.shared.schema;
        self.connection
            .run(async |conn| line_end(conn, schema).await)
            .await
    }

    /// Claims up to `limit` jobs from above the floors.
    ///
    /// A claim that finds nothing but takes long has walked over many jobs of kinds that are not
    /// registered here. The floors are raised above them, and only sweeps see them again.
    pub(super) async fn claim_above(&mut self, limit: usize) -> Result<Found, sqlx::Error> {
        let worker = Arc::clone(&self.worker);
        let _raising = worker.floors.raising.lock().await;
        let groups = worker.lanes().above();
        let began = Instant::now();
        let found = self.claim(&groups, limit, false).await?;
        if found.count == 0 && began.elapsed() > LONG_WALK {
            let line = self.line_end().await?;
            if self.claim(&groups, limit, false).await?.count == 0 {
                worker.lanes().raise(line.place);
            }
        }
        if worker.has_unsettled() {
            worker.signals.late.notify_one();
        }
        Ok(found)
    }

    /// Claims up to `limit` jobs between a place and the floors. Returns how many were claimed or
    /// parked.
    pub(super) async fn claim_below(
        &mut self,
        above: i64,
        limit: usize,
    ) -> Result<usize, sqlx::Error> {
        let groups = self.worker.lanes().below(above);
        if groups.is_empty() {
            return Ok(0);
        }
        let count = self.claim(&groups, limit, true).await?.count;
        if count >= limit {
            // There may be more.
            self.worker.floors.owe(above);
        }
        Ok(count)
    }

    /// Claims up to `limit` jobs from lanes in their order. Late jobs are started before others.
    async fn claim(
        &mut self,
        groups: &[LaneGroup],
        limit: usize,
        are_late: bool,
    ) -> Result<Found, sqlx::Error> {
        let worker = Arc::clone(&self.worker);
        let _no_reconciliation_meanwhile = worker.shared.in_flight.claiming.read().await;
        let checks = worker.shared.freed_keys.checks();
        let rests = !are_late && worker.gated.rests(checks);
        let began = Instant::now();
        let (mut found, mut room) = (Found::default(), limit.min(worker.affordable()));
        // Lanes that rest are claimed from only if the others had no jobs.
        for rest in [false, true] {
            let groups = groups.iter();
            for group in groups.filter(|group| (rests && group.is_gated) == rest) {
                self.claim_group(group, &mut room, are_late, &mut found)
                    .await?;
                if room == 0 {
                    break;
                }
            }
            if found.count > 0 {
                break;
            }
        }
        note_claim(found.count, began);
        Ok(found)
    }

    /// Claims up to `room` jobs from a group of lanes.
    async fn claim_group(
        &mut self,
        group: &LaneGroup,
        room: &mut usize,
        are_late: bool,
        found: &mut Found,
    ) -> Result<(), sqlx::Error> {
        let checks = self.worker.shared.freed_keys.checks();
        let before = found.count;
        match group.fair_lane() {
            Some(lane) if are_late => {
                let asked = self.ask_in_turns(&lane, &group.turns, *room).await;
                self.take(asked, are_late, room, found).await?;
            }
            Some(lane) => self.claim_in_turns(&lane, room, found).await?,
            None => {
                let asked = self.ask(group, *room).await;
                self.take(asked, are_late, room, found).await?;
            }
        }
        let count = found.count - before;
        found.is_gated |= group.is_gated && count > 0;
        if group.is_gated && !are_late {
            self.worker.gated.note_found(count, checks);
        }
        Ok(())
    }

    /// Claims from a fair lane until its tenants have no more jobs. The list of tenants is read at most once:
    /// it may name some whose jobs this worker cannot claim.
    async fn claim_in_turns(
        &mut self,
        lane: &FairLane,
        room: &mut usize,
        found: &mut Found,
    ) -> Result<(), sqlx::Error> {
        let mut is_fresh = false;
        while *room > 0 {
            if !is_fresh && self.worker.lanes().rounds(lane).must_list(Instant::now()) {
                self.list(lane).await?;
                is_fresh = true;
            }
            let turns = self.worker.lanes().rounds(lane).next_turns(*room);
            if turns.is_empty() {
                break;
            }
            let asked = self.ask_in_turns(lane, &turns, *room).await;
            if let Ok(claimed) = &asked {
                let mut lanes = self.worker.lanes();
                lanes.rounds(lane).note_claimed(&turns, &claimed.jobs);
            }
            self.take(asked, false, room, found).await?;
        }
        Ok(())
    }

    /// Lists the tenants of a fair lane.
    async fn list(&mut self, lane: &FairLane) -> Result<(), sqlx::Error> {
        let worker = &*self.worker;
        let schema = &worker.shared.schema;
        let after = worker.lanes().rounds(lane).after().to_owned();
        let began = Instant::now();
        let tenants = self
            .connection
            .run(async |conn| tenants_in_turn(conn, schema, lane, &after, LISTED_MAX).await)
            .await?;
        worker.lanes().list(lane, tenants, began.elapsed());
        Ok(())
    }

    async fn ask_in_turns(
        &mut self,
        lane: &FairLane,
        turns: &[Turn],
        room: usize,
    ) -> Result<LimitedClaim, sqlx::Error> {
        let shared = &*self.worker.shared;
        let (schema, process, kinds) = (&shared.schema, shared.process, &shared.kinds);
        let claimed = self
            .connection
            .run(async |conn| claim_fair(conn, schema, process, lane, turns, kinds, room).await)
            .await?;
        self.follow(&claimed).await;
        Ok(claimed)
    }

    /// Takes in what a claim found.
    async fn take(
        &mut self,
        asked: Result<LimitedClaim, sqlx::Error>,
        are_late: bool,
        room: &mut usize,
        found: &mut Found,
    ) -> Result<(), sqlx::Error> {
        let worker = &*self.worker;
        let claimed = asked.inspect_err(|_| {
            worker
                .shared
                .in_flight
                .reconcile_timer
                .note_failed_claim(Instant::now())
        })?;
        let dropped = EndedJob::dropped(&claimed, &worker.shared.counts);
        let ended = dropped.iter().map(|job| job.job_id);
        worker.shared.ended_in_batches.add_others(ended);
        let LimitedClaim { jobs, parked, .. } = claimed;
        note_blocked(&parked);
        let count = jobs.len() + parked.len();
        found.count += count;
        for job in &jobs {
            if found.queues.last() != Some(&job.queue) {
                found.queues.push(job.queue.clone());
            }
        }
        *room -= jobs.len();
        // When the room is used up, there may be jobs with room in their limits below parked ones.
        if *room > 0 {
            worker.raise_above(&parked);
        }
        if !jobs.is_empty() {
            worker.take_in(jobs, are_late);
        }
        let (shared, connection) = (&worker.shared, &mut self.connection);
        announce(&shared.runner.hooks, connection, &shared.schema, &dropped).await;
        Ok(())
    }

    async fn ask(&mut self, group: &LaneGroup, room: usize) -> Result<LimitedClaim, sqlx::Error> {
        let worker = &*self.worker;
        let (shared, lanes) = (&*worker.shared, &group.lanes);
        let (schema, process, kinds) = (&shared.schema, shared.process, &shared.kinds);
        if !group.is_gated {
            let jobs = self
                .connection
                .run(async |conn| claim(conn, schema, process, lanes, kinds, room).await)
                .await?;
            return Ok(LimitedClaim {
                jobs,
                ..LimitedClaim::default()
            });
        }
        let window = worker.gated.window();
        let claimed = self
            .connection
            .run(async |conn| {
                claim_limited(conn, schema, process, lanes, kinds, room, window).await
            })
            .await?;
        self.follow(&claimed).await;
        self.worker.gated.note_claim(room, &claimed);
        Ok(claimed)
    }

    /// Unblocks jobs and releases those that were claimed in part, after a claim of jobs with limits.
    async fn follow(&mut self, claimed: &LimitedClaim) {
        if claimed.parked.is_empty() && claimed.partial.is_empty() {
            return;
        }
        let shared = &*self.worker.shared;
        let (schema, process) = (&shared.schema, shared.process);
        let following = self
            .connection
            .run(async |conn| after_claim(conn, schema, process, claimed).await);
        if let Err(error) = following.await {
            // The jobs that were claimed run all the same. The others are found by later passes.
            tracing::debug!(error = %logged(&error), "could not unblock jobs after a claim");
            let timer = &shared.in_flight.reconcile_timer;
            timer.note_failed_claim(Instant::now());
        }
    }
}
