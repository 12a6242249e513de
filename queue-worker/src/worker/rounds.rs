//! Tenants of a fair lane: who has jobs, whose turn is next, and from which place in line.
//!
//! The list of tenants is read again when it has been used up, and every 50 ms, or less often if that
//! takes long. It begins with the tenant whose turn is next, so no tenant is passed over even if there are
//! more than it holds.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::{Duration, Instant};

use queue_core::transitions::claim::{ClaimedJob, Turn};
use queue_core::transitions::claim_fair::TenantInTurn;

use crate::rest::rest_after;

/// The most tenants that are listed.
pub(super) const LISTED_MAX: i32 = 1_000;

/// How often tenants are listed, at most.
const LIST_INTERVAL: Duration = Duration::from_millis(50);

/// The most tenants that one claim takes jobs of: the search costs about as much as five jobs.
const TENANTS_MAX: usize = 25;

/// When the floors of more tenants are known, they are forgotten.
const FLOORS_KEPT: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The tenants with jobs.
    listed: BTreeMap<String, TenantInTurn>,
    /// The tenant that had the last turn.
    last: String,
    /// How many jobs are missing of that turn.
    missing: i64,
    /// The place of each tenant up to which the worker has claimed.
    floors: HashMap<String, i64>,
    /// The highest of all floors.
    top: i64,
    /// When to list the tenants again.
    list_at: Option<Instant>,
}

impl Rounds {
    /// Returns whether to list the tenants before the next claim.
    pub(super) fn must_list(&self, now: Instant) -> bool {
        self.is_empty() || self.list_at.is_none_or(|at| at <= now)
    }

    /// Returns whether no tenant with jobs is known.
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Returns the name after which the list begins.
    pub(super) fn after(&self) -> &str {
        &self.last
    }

    /// Replaces the list by one that took a while to read.
    pub(super) fn list(&mut self, tenants: Vec<TenantInTurn>, took: Duration, now: Instant) {
        self.list_at = Some(now + LIST_INTERVAL.max(rest_after(took)));
        if tenants.iter().all(|tenant| tenant.weight == 0)
            && let Some(paused) = tenants.last()
        {
            // Others may come after so many paused ones.
            self.last.clone_from(&paused.tenant);
        }
        let tenants = tenants.into_iter().filter(|tenant| tenant.weight > 0);
        self.listed = tenants
            .map(|listed| (listed.tenant.clone(), listed))
            .collect();
    }

    /// Distributes room for jobs among the tenants whose turn is next, in proportion to their weights.
    pub(super) fn next_turns(&mut self, room: usize) -> Vec<Turn> {
        let count = room.min(TENANTS_MAX);
        let mut left = i64::try_from(room).unwrap_or(i64::MAX);
        let mut turns = Vec::new();
        if let Some(last) = self.listed.get(&self.last).filter(|_| self.missing > 0) {
            let jobs = self.missing.min(left);
            turns.push(self.turn(last, jobs));
            self.missing -= jobs;
            left -= jobs;
        }
        let after = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
        let until = (Bound::Unbounded, Bound::Included(self.last.as_str()));
        let next = self.listed.range::<str, _>(after);
        let next = next.chain(self.listed.range::<str, _>(until));
        let next = next.map(|(_, listed)| listed);
        let next = next.filter(|listed| turns.iter().all(|turn| turn.tenant != listed.tenant));
        let next: Vec<&TenantInTurn> = next.take(count.saturating_sub(turns.len())).collect();
        let weights: i64 = next.iter().map(|listed| i64::from(listed.weight)).sum();
        let (rounds, part) = (left / weights.max(1), left % weights.max(1));
        let mut rest = part;
        let mut last = None;
        for listed in next {
            let weight = i64::from(listed.weight);
            let more = weight.min(rest);
            let jobs = weight * rounds + more;
            if jobs == 0 {
                break;
            }
            turns.push(self.turn(listed, jobs));
            if more > 0 {
                last = Some((listed.tenant.clone(), weight - more));
            } else if part == 0 {
                last = Some((listed.tenant.clone(), 0));
            }
            rest -= more;
        }
        if let Some(last) = last {
            (self.last, self.missing) = last;
        }
        turns
    }

    fn turn(&self, listed: &TenantInTurn, jobs: i64) -> Turn {
        Turn {
            tenant: listed.tenant.clone(),
            above: self.floors.get(&listed.tenant).copied().unwrap_or(0),
            up_to: i64::MAX,
            jobs,
            weight: listed.weight,
            is_gated: listed.is_gated,
        }
    }

    /// Returns turns for the jobs between a place and the floors.
    pub(super) fn turns_below(&self, above: i64) -> Vec<Turn> {
        let floors = self.floors.iter().filter(|(_, floor)| **floor > above);
        floors
            .map(|(tenant, floor)| {
                let listed = self.listed.get(tenant);
                Turn {
                    tenant: tenant.clone(),
                    above,
                    up_to: *floor,
                    jobs: i64::from(i32::MAX),
                    weight: listed.map_or(1, |listed| listed.weight),
                    is_gated: listed.is_none_or(|listed| listed.is_gated),
                }
            })
            .collect()
    }

    /// Notes what a claim took of each tenant. One that had fewer jobs than its turn is listed again only
    /// when it has more. If it had none, they may be below its floor, which it loses; those with limits may
    /// have been parked.
    pub(super) fn note_claimed(&mut self, turns: &[Turn], jobs: &[ClaimedJob]) {
        let mut taken: HashMap<&str, i64> = HashMap::new();
        for tenant in jobs.iter().filter_map(ClaimedJob::tenant) {
            *taken.entry(tenant).or_default() += 1;
        }
        for turn in turns {
            let taken = taken.get(&*turn.tenant).copied().unwrap_or(0);
            if taken < turn.jobs {
                self.listed.remove(&turn.tenant);
            }
            if taken == 0 && !turn.is_gated {
                self.floors.remove(&turn.tenant);
            }
        }
    }

    /// Raises the floor of a tenant above a job that was claimed.
    pub(super) fn advance(&mut self, tenant: Option<&str>, seq: i64) {
        self.top = self.top.max(seq);
        let Some(tenant) = tenant else { return };
        if let Some(floor) = self.floors.get_mut(tenant) {
            *floor = seq.max(*floor);
            return;
        }
        if self.floors.len() >= FLOORS_KEPT {
            self.floors.clear();
        }
        self.floors.insert(tenant.to_owned(), seq);
    }

    /// Returns the highest of all floors.
    pub(super) fn top(&self) -> i64 {
        self.top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(tenants: &[(&str, i16)]) -> Rounds {
        let mut rounds = Rounds::default();
        let tenants = tenants.iter().map(|(tenant, weight)| TenantInTurn {
            tenant: (*tenant).to_owned(),
            weight: *weight,
            is_gated: false,
        });
        rounds.list(tenants.collect(), Duration::ZERO, Instant::now());
        rounds
    }

    fn turns(rounds: &mut Rounds, room: usize) -> Vec<String> {
        let turns = rounds.next_turns(room);
        turns
            .iter()
            .map(|turn| format!("{} {}", turn.tenant, turn.jobs))
            .collect()
    }

    #[test]
    fn room_is_distributed_by_weight() {
        let mut rounds = rounds(&[("a", 1), ("b", 3)]);
        assert_eq!(turns(&mut rounds, 100), ["a 25", "b 75"]);
        assert_eq!(turns(&mut rounds, 8), ["a 2", "b 6"]);
    }

    #[test]
    fn the_part_of_a_round_that_fits_is_given_to_the_first_tenants() {
        let mut rounds = rounds(&[("a", 1), ("b", 1), ("c", 2)]);
        assert_eq!(turns(&mut rounds, 6), ["a 2", "b 2", "c 2"]);
        assert_eq!(turns(&mut rounds, 7), ["c 4", "a 2", "b 1"]);
    }

    #[test]
    fn tenants_take_turns_of_their_weight_even_if_there_is_room_for_one_job_at_a_time() {
        let mut rounds = rounds(&[("a", 1), ("b", 2), ("c", 1)]);
        let one: Vec<String> = (0..8).flat_map(|_| turns(&mut rounds, 1)).collect();
        assert_eq!(
            one,
            ["a 1", "b 1", "b 1", "c 1", "a 1", "b 1", "b 1", "c 1"]
        );
    }

    #[test]
    fn a_claim_takes_jobs_of_some_tenants_and_the_next_one_of_those_after_them() {
        let names: Vec<String> = (0..60).map(|n| format!("t{n:02}")).collect();
        let tenants: Vec<(&str, i16)> = names.iter().map(|name| (&**name, 1)).collect();
        let mut rounds = rounds(&tenants);
        let first = turns(&mut rounds, 100);
        assert_eq!((first.len(), &*first[24]), (25, "t24 4"));
        assert_eq!(turns(&mut rounds, 100)[0], "t25 4");
        let third = turns(&mut rounds, 100);
        assert_eq!((&*third[0], &*third[10]), ("t50 4", "t00 4"));
    }

    #[test]
    fn a_tenant_without_jobs_loses_its_place_in_the_list_and_its_floor() {
        let mut rounds = rounds(&[("a", 1), ("b", 1)]);
        rounds.advance(Some("a"), 40);
        let taken = rounds.next_turns(8);
        assert_eq!(taken[0].above, 40);
        rounds.note_claimed(&taken, &[]);
        assert!(rounds.must_list(Instant::now()));
        assert!(rounds.turns_below(0).is_empty());
        assert_eq!(rounds.top(), 40);
    }

    #[test]
    fn the_list_goes_on_behind_tenants_that_are_paused() {
        let mut rounds = rounds(&[("a", 0), ("b", 0)]);
        assert!(turns(&mut rounds, 8).is_empty());
        assert_eq!(rounds.after(), "b");
    }
}
