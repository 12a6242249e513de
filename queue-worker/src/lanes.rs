//! Where a worker looks for jobs, in which order, and from which place in line.
//!
//! Lanes are one priority of one queue each. For each lane the worker remembers its *floor*: the
//! place up to which it has claimed. A claim looks above the floors, and so never walks over what
//! was claimed before. Places are not committed in order, and jobs that are given back keep
//! theirs: what appears below a floor is found by a sweep, which looks there alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use queue_core::transitions::claim::{ClaimedJob, Lane};

use crate::config::{QueueList, QueuePattern};

/// The lanes that are remembered although they are empty.
const LANES_KEPT: usize = 64;

#[derive(Debug)]
pub(crate) struct Lanes {
    queues: QueueList,
    floors: BTreeMap<(String, i16), i64>,
    turn: usize,
}

impl Lanes {
    /// Starts with the queues that are named in full, at the ordinary priority.
    pub(crate) fn new(queues: QueueList) -> Self {
        let floors = queues
            .exact_names()
            .map(|name| ((name.to_owned(), 0), 0))
            .collect();
        Self {
            queues,
            floors,
            turn: 0,
        }
    }

    /// Tells whether a queue is one that this worker serves.
    pub(crate) fn serves(&self, queue: &str) -> bool {
        self.queues.matches(queue).is_some()
    }

    /// Takes note of a lane, and tells whether it was new and is ours.
    pub(crate) fn learn(&mut self, queue: &str, priority: i16) -> bool {
        if !self.serves(queue) {
            return false;
        }
        let lane = (queue.to_owned(), priority);
        let is_new = !self.floors.contains_key(&lane);
        self.floors.entry(lane).or_insert(0);
        is_new
    }

    /// Takes note of all lanes that have jobs now, and tells whether one of ours was new. When
    /// there are very many, those without jobs are forgotten.
    pub(crate) fn learn_all(&mut self, found: &[(String, i16)]) -> bool {
        let mut is_new = false;
        for (queue, priority) in found {
            is_new |= self.learn(queue, *priority);
        }
        if self.floors.len() > LANES_KEPT {
            let found: HashSet<&(String, i16)> = found.iter().collect();
            let named: HashSet<&str> = self.queues.exact_names().collect();
            self.floors
                .retain(|lane, _| found.contains(lane) || named.contains(lane.0.as_str()));
        }
        is_new
    }

    /// Raises the floors above what was claimed.
    pub(crate) fn advance(&mut self, claimed: &[ClaimedJob]) {
        for job in claimed {
            if let Some(floor) = self.floors.get_mut(&(job.queue.clone(), job.priority)) {
                *floor = (*floor).max(job.seq);
            }
        }
    }

    /// Raises all floors to a place, below which there is nothing for this worker.
    pub(crate) fn raise(&mut self, place: i64) {
        for floor in self.floors.values_mut() {
            *floor = (*floor).max(place);
        }
    }

    /// Returns the lanes above their floors, the most urgent first.
    pub(crate) fn above(&mut self) -> Vec<Lane> {
        self.turn = self.turn.wrapping_add(1);
        self.ordered()
            .into_iter()
            .map(|((queue, priority), floor)| Lane {
                queue,
                priority,
                above: floor,
                up_to: i64::MAX,
            })
            .collect()
    }

    /// Returns the lanes below their floors, the most urgent first.
    pub(crate) fn below(&self) -> Vec<Lane> {
        self.ordered()
            .into_iter()
            .filter(|(_, floor)| *floor > 0)
            .map(|((queue, priority), floor)| Lane {
                queue,
                priority,
                above: 0,
                up_to: floor,
            })
            .collect()
    }

    fn ordered(&self) -> Vec<((String, i16), i64)> {
        let mut lanes: Vec<_> = self
            .floors
            .iter()
            .map(|(lane, floor)| (lane.clone(), *floor))
            .collect();
        let places = self.places();
        lanes.sort_by_cached_key(|((queue, priority), _)| self.urgency(queue, *priority, &places));
        lanes
    }

    /// Named queues come in the order of the list, each by priority. The rest come by priority
    /// across queues; those of equal priority take turns, so that none starves the others.
    fn urgency(
        &self,
        queue: &str,
        priority: i16,
        places: &HashMap<&str, usize>,
    ) -> (usize, i16, usize, i16) {
        let position = self.queues.matches(queue).unwrap_or(usize::MAX);
        let place = places.get(queue).copied().unwrap_or(0);
        match self.queues.patterns().get(position) {
            Some(QueuePattern::Any) => {
                let turn = (place + self.turn) % places.len().max(1);
                (position, priority, turn, 0)
            }
            _ => (position, 0, place, priority),
        }
    }

    /// Returns the place of each queue in the order of their names.
    fn places(&self) -> HashMap<&str, usize> {
        let mut names: Vec<&str> = self.floors.keys().map(|(name, _)| name.as_str()).collect();
        names.dedup();
        names.into_iter().zip(0..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(list: &str, known: &[(&str, i16)]) -> Lanes {
        let mut lanes = Lanes::new(list.parse().unwrap());
        for (queue, priority) in known {
            lanes.learn(queue, *priority);
        }
        lanes
    }

    fn order(lanes: &mut Lanes) -> Vec<String> {
        let above = lanes.above();
        above
            .iter()
            .map(|lane| format!("{}:{}", lane.queue, lane.priority))
            .collect()
    }

    #[test]
    fn named_queues_come_in_list_order_whatever_the_priorities() {
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
    fn a_star_is_the_rest_by_priority_across_queues() {
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
    fn queues_of_others_are_not_learned() {
        let mut lanes = lanes("a", &[("b", 0)]);
        assert_eq!(order(&mut lanes), ["a:0"]);
        assert!(!lanes.learn("b", 0));
        assert!(lanes.learn("a", 1));
        assert!(!lanes.learn("a", 1));
    }

    #[test]
    fn a_sweep_looks_below_the_floors_and_a_claim_above_them() {
        let mut lanes = lanes("a,b", &[]);
        *lanes.floors.get_mut(&("a".to_owned(), 0)).unwrap() = 40;
        let above = lanes.above();
        assert_eq!((above[0].above, above[0].up_to), (40, i64::MAX));
        let below = lanes.below();
        assert_eq!(below.len(), 1);
        assert_eq!((below[0].above, below[0].up_to), (0, 40));
    }
}
