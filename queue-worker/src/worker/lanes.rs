//! Where a worker looks for jobs, in which order, and from which place in line.
//!
//! A lane is one priority and track of one queue. Each lane has a *floor*: the place up to which
//! the worker has claimed. A claim looks above the floors, so that it never walks over rows that
//! were claimed before. Places are not committed in order, and a job that is given back keeps its
//! place: jobs that appear below a floor are found by sweeps, which look only there.
//!
//! In a fair lane each tenant has a floor of its own, and the tenants take turns (`rounds.rs`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use queue_core::transitions::claim::{ClaimedJob, FairLane, FoundLane, Lane, Track, Turn};
use queue_core::transitions::claim_fair::TenantInTurn;

use super::rounds::Rounds;
use crate::config::{QueueList, QueuePattern};

/// When more lanes are known, the empty ones are dropped.
const LANES_KEPT: usize = 64;

/// When more lanes of other queues are known, they are forgotten.
const OTHERS_KEPT: usize = 1_000;

/// The queue, priority and track of a lane.
type LaneKey = (String, i16, Track);

#[derive(Debug)]
pub(crate) struct Lanes {
    queues: QueueList,
    known: BTreeMap<LaneKey, LaneState>,
    /// The tenants of the known lanes that are fair.
    rounds: BTreeMap<LaneKey, Rounds>,
    /// Lanes of queues that this worker does not serve.
    others: BTreeSet<LaneKey>,
    turn: usize,
}

fn key(lane: &FoundLane) -> LaneKey {
    (lane.queue.clone(), lane.priority, lane.track)
}

fn lane((queue, priority, track): &LaneKey, above: i64, up_to: i64) -> Lane {
    Lane {
        queue: queue.clone(),
        priority: *priority,
        track: *track,
        above,
        up_to,
    }
}

/// Returns whether a lane has its own statement because its jobs may have limits. In a fair lane that differs
/// by tenant.
fn is_gated(found: &FoundLane) -> bool {
    found.is_gated && found.track != Track::Fair
}

/// The state of a lane.
#[derive(Clone, Copy, Debug, Default)]
struct LaneState {
    floor: i64,
    is_gated: bool,
}

/// Lanes from which one statement claims, in their order.
#[derive(Debug)]
pub(crate) struct LaneGroup {
    /// Whether the jobs may have limits.
    pub(crate) is_gated: bool,
    /// A fair lane stands alone.
    pub(crate) lanes: Vec<Lane>,
    /// In a fair lane, what to claim below the floors of tenants.
    pub(crate) turns: Vec<Turn>,
}

impl LaneGroup {
    /// Returns its lane, if tenants take turns on it.
    pub(crate) fn fair_lane(&self) -> Option<FairLane> {
        let lane = self.lanes.first().filter(|lane| lane.track.is_fair())?;
        Some(FairLane {
            queue: lane.queue.clone(),
            priority: lane.priority,
            track: lane.track,
        })
    }
}

/// The order of a lane: smaller ones come first.
type Urgency = (usize, usize, i16, bool, bool, usize, Reverse<Track>);

impl Lanes {
    /// Starts with the queues that are named in full, at the ordinary priority.
    pub(crate) fn new(queues: QueueList) -> Self {
        let known = queues
            .exact_names()
            .map(|name| ((name.to_owned(), 0, Track::Open), LaneState::default()))
            .collect();
        Self {
            queues,
            known,
            rounds: BTreeMap::new(),
            others: BTreeSet::new(),
            turn: 0,
        }
    }

    /// Returns whether this worker serves a queue.
    pub(crate) fn serves(&self, queue: &str) -> bool {
        self.queues.matches(queue).is_some()
    }

    /// Notes that a queue has new jobs, at the ordinary priority.
    pub(crate) fn learn(&mut self, queue: &str, is_limited: bool) {
        let track = match is_limited {
            true => Track::Limited,
            false => Track::Open,
        };
        self.learn_lane(&FoundLane {
            queue: queue.to_owned(),
            priority: 0,
            track,
            has_jobs: true,
            is_gated: is_limited,
        });
    }

    /// Returns the lanes that need not be looked for, above their floors. Those of queues that this
    /// worker does not serve are not read at all.
    pub(crate) fn known(&self) -> Vec<Lane> {
        let others = self.others.iter().map(|key| lane(key, i64::MAX, i64::MAX));
        let mut lanes = self.served();
        lanes.extend(others);
        lanes
    }

    /// Returns the lanes that this worker serves, above their floors. Fair lanes in which tenants are known to
    /// have jobs are not read.
    pub(crate) fn served(&self) -> Vec<Lane> {
        let known = self.known.iter();
        known
            .map(|(key, known)| match self.has_tenants(key) {
                true => lane(key, i64::MAX, i64::MAX),
                false => lane(key, known.floor, i64::MAX),
            })
            .collect()
    }

    fn has_tenants(&self, key: &LaneKey) -> bool {
        self.rounds
            .get(key)
            .is_some_and(|rounds| !rounds.is_empty())
    }

    /// Notes a lane if this worker serves it, and returns whether it was new. A gated lane stays
    /// gated until all lanes are read again.
    fn learn_lane(&mut self, found: &FoundLane) -> bool {
        if !self.serves(&found.queue) {
            if self.others.len() >= OTHERS_KEPT {
                self.others.clear();
            }
            self.others.insert(key(found));
            return false;
        }
        let key = key(found);
        let is_new = !self.known.contains_key(&key);
        self.known.entry(key.clone()).or_default().is_gated |= is_gated(found);
        if found.track.is_fair() {
            self.rounds.entry(key.clone()).or_default();
        }
        if found.track == Track::Limited {
            // Jobs that were blocked before come first, so their lane is needed too.
            let before = (key.0, key.1, Track::Unblocked);
            self.known.entry(before).or_default().is_gated = true;
        }
        is_new
    }

    /// Notes all lanes that were found and that this worker serves. Returns whether one was new, or has
    /// become gated or open. When there are very many, those without jobs are dropped.
    pub(crate) fn learn_all(&mut self, found: &[FoundLane]) -> bool {
        let mut is_news = false;
        for lane in found {
            let before = self.known.get(&key(lane));
            let has_changed = before.is_some_and(|before| before.is_gated != is_gated(lane));
            is_news |= self.learn_lane(lane) || has_changed;
            if let Some(known) = self.known.get_mut(&key(lane))
                && known.is_gated != is_gated(lane)
            {
                // The statement that was used so far may have skipped jobs that the other claims.
                *known = LaneState {
                    floor: 0,
                    is_gated: is_gated(lane),
                };
            }
        }
        if self.known.len() > LANES_KEPT {
            let found = found.iter().filter(|lane| lane.has_jobs);
            let found: HashSet<LaneKey> = found.map(key).collect();
            let named: HashSet<&str> = self.queues.exact_names().collect();
            let rounds = &self.rounds;
            self.known.retain(|key, _| {
                found.contains(key)
                    || named.contains(key.0.as_str())
                    || rounds.get(key).is_some_and(|rounds| !rounds.is_empty())
            });
            self.rounds.retain(|key, _| self.known.contains_key(key));
        }
        is_news
    }

    /// Notes lanes that were found a moment ago. Returns whether this worker serves one that has jobs.
    pub(crate) fn learn_some(&mut self, found: &[FoundLane]) -> bool {
        for lane in found {
            self.learn_lane(lane);
        }
        let mut with_jobs = found.iter().filter(|lane| lane.has_jobs);
        with_jobs.any(|lane| self.serves(&lane.queue))
    }

    /// Raises the floor of a lane above a job that was claimed or parked.
    pub(crate) fn advance(&mut self, queue: &str, priority: i16, track: Track, seq: i64) {
        if let Some(known) = self.known.get_mut(&(queue.to_owned(), priority, track)) {
            known.floor = known.floor.max(seq);
        }
    }

    /// Raises the floors above jobs that were claimed.
    pub(crate) fn advance_above(&mut self, claimed: &[ClaimedJob]) {
        for job in claimed {
            let key = (job.queue.clone(), job.priority, job.track);
            match self.rounds.get_mut(&key) {
                Some(rounds) => rounds.advance(job.tenant(), job.seq),
                None => self.advance(&job.queue, job.priority, job.track, job.seq),
            }
        }
    }

    /// Returns the tenants of a fair lane.
    pub(crate) fn rounds(&mut self, lane: &FairLane) -> &mut Rounds {
        let key = (lane.queue.clone(), lane.priority, lane.track);
        self.rounds.entry(key).or_default()
    }

    /// Notes the tenants of a fair lane. If there are none, its floor rises above all jobs that were claimed.
    pub(crate) fn list(&mut self, lane: &FairLane, tenants: Vec<TenantInTurn>, took: Duration) {
        let is_empty = tenants.is_empty();
        let rounds = self.rounds(lane);
        rounds.list(tenants, took, Instant::now());
        let top = rounds.top();
        if is_empty {
            self.advance(&lane.queue, lane.priority, lane.track, top);
        }
    }

    /// Raises all floors to a place below which there is no job for this worker.
    pub(crate) fn raise(&mut self, place: i64) {
        for known in self.known.values_mut() {
            known.floor = known.floor.max(place);
        }
    }

    /// Returns the lanes above their floors, the most urgent first.
    pub(crate) fn above(&mut self) -> Vec<LaneGroup> {
        self.turn = self.turn.wrapping_add(1);
        self.groups(|key, known| Some((lane(key, known.floor, i64::MAX), Vec::new())))
    }

    /// Returns the lanes between a place and their floors, the most urgent first.
    pub(crate) fn below(&self, above: i64) -> Vec<LaneGroup> {
        self.groups(|key, known| match self.rounds.get(key) {
            Some(rounds) => {
                let turns = rounds.turns_below(above);
                (!turns.is_empty()).then(|| (lane(key, above, i64::MAX), turns))
            }
            None => (known.floor > above).then(|| (lane(key, above, known.floor), Vec::new())),
        })
    }

    /// Returns the highest of all floors.
    pub(crate) fn highest_floor(&self) -> i64 {
        let floors = self.known.values().map(|known| known.floor);
        let tops = self.rounds.values().map(Rounds::top);
        floors.chain(tops).max().unwrap_or(0)
    }

    /// Orders the lanes, and groups those from which one statement can claim.
    fn groups(
        &self,
        part: impl Fn(&LaneKey, &LaneState) -> Option<(Lane, Vec<Turn>)>,
    ) -> Vec<LaneGroup> {
        let places = self.places();
        let mut lanes: Vec<(&LaneKey, &LaneState)> = self.known.iter().collect();
        lanes.sort_by_cached_key(|(key, known)| self.urgency(key, known.is_gated, &places));
        let mut groups: Vec<LaneGroup> = Vec::new();
        for (key, known) in lanes {
            let Some((lane, turns)) = part(key, known) else {
                continue;
            };
            let joins = |last: &LaneGroup| {
                last.is_gated == known.is_gated
                    && !lane.track.is_fair()
                    && !last.lanes[0].track.is_fair()
            };
            match groups.last_mut() {
                Some(last) if joins(last) => last.lanes.push(lane),
                _ => groups.push(LaneGroup {
                    is_gated: known.is_gated,
                    lanes: vec![lane],
                    turns,
                }),
            }
        }
        groups
    }

    /// Named queues come in the order of the list, each by priority. The rest come by priority
    /// across queues; those of equal priority take turns, so that none starves the others.
    ///
    /// Of otherwise equal lanes, those with and without limits take turns too, and so do fair lanes and
    /// others. Of a queue's jobs with limits, those that were blocked before come first.
    fn urgency(
        &self,
        (queue, priority, track): &LaneKey,
        is_gated: bool,
        places: &HashMap<&str, usize>,
    ) -> Urgency {
        let position = self.queues.matches(queue).unwrap_or(usize::MAX);
        let place = places.get(queue.as_str()).copied().unwrap_or(0);
        let waits = is_gated == self.turn.is_multiple_of(2);
        let waits_for_others = track.is_fair() == (self.turn / 2).is_multiple_of(2);
        let track = Reverse(*track);
        match self.queues.patterns().get(position) {
            Some(QueuePattern::Any) => {
                let turn = (place + self.turn) % places.len().max(1);
                (position, 0, *priority, waits, waits_for_others, turn, track)
            }
            _ => (
                position,
                place,
                *priority,
                waits,
                waits_for_others,
                0,
                track,
            ),
        }
    }

    /// Returns the place of each queue in the order of their names.
    fn places(&self) -> HashMap<&str, usize> {
        let mut names: Vec<&str> = self.known.keys().map(|(name, ..)| name.as_str()).collect();
        names.dedup();
        names.into_iter().zip(0..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(list: &str, known: &[(&str, i16)]) -> Lanes {
        let mut lanes = Lanes::new(list.parse().unwrap());
        lanes.learn_all(&known.iter().map(|lane| found(*lane)).collect::<Vec<_>>());
        lanes
    }

    fn found((queue, priority): (&str, i16)) -> FoundLane {
        on_track(queue, priority, Track::Open)
    }

    fn on_track(queue: &str, priority: i16, track: Track) -> FoundLane {
        FoundLane {
            queue: queue.to_owned(),
            priority,
            track,
            has_jobs: true,
            is_gated: track != Track::Open,
        }
    }

    fn order(lanes: &mut Lanes) -> Vec<String> {
        let above = lanes.above();
        above
            .iter()
            .flat_map(|group| &group.lanes)
            .map(|lane| format!("{}:{}", lane.queue, lane.priority))
            .collect()
    }

    #[test]
    fn named_queues_come_in_list_order_before_priorities() {
        let mut lanes = lanes("b,a", &[("a", -5), ("b", 7)]);
        assert_eq!(order(&mut lanes), ["b:0", "b:7", "a:-5", "a:0"]);
    }

    #[test]
    fn prefixes_keep_list_order_then_name_order() {
        let known = [("mail_b", 0), ("mail_a", 1), ("mail_a", 0), ("x", 0)];
        let mut lanes = lanes("x,mail_*", &known);
        assert_eq!(
            order(&mut lanes),
            ["x:0", "mail_a:0", "mail_a:1", "mail_b:0"]
        );
    }

    #[test]
    fn a_star_takes_the_rest_by_priority_across_queues() {
        let known = [("b", 5), ("c", -1), ("d", 5), ("a", 9)];
        let mut lanes = lanes("a,*", &known);
        let order = order(&mut lanes);
        assert_eq!(order[..3], ["a:0", "a:9", "c:-1"]);
        assert_eq!(order.len(), 5);
    }

    #[test]
    fn queues_of_equal_priority_under_a_star_take_turns() {
        let mut lanes = lanes("*", &[("a", 0), ("b", 0), ("c", 0)]);
        let firsts: std::collections::BTreeSet<String> =
            (0..3).map(|_| order(&mut lanes).remove(0)).collect();
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn queues_that_are_not_served_are_ignored() {
        let mut lanes = lanes("a", &[("b", 0)]);
        assert_eq!(order(&mut lanes), ["a:0"]);
        assert!(!lanes.learn_all(&[found(("b", 0))]));
        assert!(lanes.learn_all(&[found(("a", 1))]));
        assert!(!lanes.learn_all(&[found(("a", 1))]));
    }

    #[test]
    fn a_sweep_looks_below_the_floors_and_a_claim_above_them() {
        let mut lanes = lanes("a,b", &[]);
        lanes.advance("a", 0, Track::Open, 40);
        let above = &lanes.above()[0].lanes;
        assert_eq!((above[0].above, above[0].up_to), (40, i64::MAX));
        let below = &lanes.below(0)[0].lanes;
        assert_eq!(below.len(), 1);
        assert_eq!((below[0].above, below[0].up_to), (0, 40));
        let young = &lanes.below(30)[0].lanes;
        assert_eq!((young[0].above, young[0].up_to), (30, 40));
        assert!(lanes.below(40).is_empty());
    }

    #[test]
    fn known_lanes_are_read_above_their_floors_and_those_of_other_queues_not_at_all() {
        let mut lanes = lanes("a", &[("b", 0)]);
        lanes.advance("a", 0, Track::Open, 40);
        let known = lanes.known();
        let places: Vec<_> = known
            .iter()
            .map(|lane| (&*lane.queue, lane.above))
            .collect();
        assert_eq!(places, [("a", 40), ("b", i64::MAX)]);
    }

    fn groups(lanes: &mut Lanes) -> Vec<String> {
        let described = |group: &LaneGroup| {
            let lanes: Vec<String> = group
                .lanes
                .iter()
                .map(|lane| format!("{}:{} {:?}", lane.queue, lane.priority, lane.track))
                .collect();
            format!("{} {}", group.is_gated, lanes.join(", "))
        };
        lanes.above().iter().map(described).collect()
    }

    #[test]
    fn jobs_with_limits_take_turns_with_those_without_at_each_priority() {
        let mut lanes = lanes("a", &[("a", 0), ("a", 5)]);
        lanes.learn_all(&[
            on_track("a", 0, Track::Limited),
            on_track("a", 0, Track::Unblocked),
        ]);
        let gated = "true a:0 Unblocked, a:0 Limited";
        assert_eq!(groups(&mut lanes), [gated, "false a:0 Open, a:5 Open"]);
        assert_eq!(
            groups(&mut lanes),
            ["false a:0 Open", gated, "false a:5 Open"]
        );
    }

    #[test]
    fn a_queue_whose_limit_was_lifted_is_claimed_from_like_any_other() {
        let mut lanes = lanes("a", &[]);
        let gated = FoundLane {
            is_gated: true,
            ..found(("a", 0))
        };
        assert!(lanes.learn_all(std::slice::from_ref(&gated)));
        assert!(!lanes.learn_all(&[gated]));
        lanes.learn("a", false);
        assert_eq!(groups(&mut lanes), ["true a:0 Open"]);
        assert!(lanes.learn_all(&[found(("a", 0))]));
        assert_eq!(groups(&mut lanes), ["false a:0 Open"]);
    }
}
