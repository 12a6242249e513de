//! Wrong passwords per address. After ten in a minute, no password of that address is looked at until a
//! minute has passed without one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) const WRONG_MAX: u32 = 10;
pub(crate) const PERIOD: Duration = Duration::from_secs(60);
/// The most addresses that are remembered.
const ADDRESSES_MAX: usize = 10_000;

/// The wrong passwords of one address since a time.
#[derive(Clone, Copy)]
struct Wrong {
    since: Instant,
    count: u32,
}

#[derive(Default)]
pub(crate) struct Attempts {
    wrong: Mutex<HashMap<Option<IpAddr>, Wrong>>,
}

impl Attempts {
    /// Counts a password that is about to be looked at as wrong, so that many at once are not looked at.
    /// Returns how many more may be wrong; nothing if this one must not be looked at.
    pub(crate) fn begin(&self, address: Option<IpAddr>, now: Instant) -> Option<u32> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= ADDRESSES_MAX {
            wrong.retain(|_, wrong| !wrong.is_over(now));
        }
        if wrong.len() >= ADDRESSES_MAX {
            // So many addresses guess at once that all begin anew.
            wrong.clear();
        }
        let first = Wrong {
            since: now,
            count: 0,
        };
        let entry = wrong.entry(network(address)).or_insert(first);
        if entry.is_over(now) {
            *entry = first;
        }
        if entry.count == WRONG_MAX {
            return None;
        }
        entry.count += 1;
        if entry.count == WRONG_MAX {
            entry.since = now;
        }
        Some(WRONG_MAX - entry.count)
    }

    /// Takes back the count of a password that was right.
    pub(crate) fn was_right(&self, address: Option<IpAddr>) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wrong) = wrong.get_mut(&network(address)) {
            wrong.count = wrong.count.saturating_sub(1);
        }
    }
}

impl Wrong {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= PERIOD
    }
}

/// One person has all IPv6 addresses of a network of 64 bits.
fn network(address: Option<IpAddr>) -> Option<IpAddr> {
    address.map(|address| match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(network.into())
        }
        address => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_ten_wrong_passwords_an_address_waits_a_minute() {
        let attempts = Attempts::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let here: Option<IpAddr> = "2001:db8::1".parse().ok();
        let beside: Option<IpAddr> = "2001:db8::2".parse().ok();
        let elsewhere: Option<IpAddr> = "192.0.2.1".parse().ok();

        for second in 0..10 {
            let left = 9 - u32::try_from(second).unwrap();
            assert_eq!(attempts.begin(here, at(second)), Some(left));
        }

        assert_eq!(attempts.begin(beside, at(68)), None);
        assert_eq!(attempts.begin(elsewhere, at(10)), Some(9));
        assert_eq!(attempts.begin(here, at(69)), Some(9));
        attempts.was_right(here);
        assert_eq!(attempts.begin(here, at(70)), Some(9));
    }
}
