//! The rest after a search that reads everything.
//!
//! Such a search also reads the dead index entries of the rows that were moved since the last vacuum, and
//! under an old snapshot these become ever more. So the longer one took, the later the next one follows.

use std::time::Duration;

/// How many times as long as the search the rest is.
const TIMES: u32 = 20;
const MAX: Duration = Duration::from_secs(30);

/// Returns how long to rest after a search that took this long.
pub(crate) fn rest_after(searched: Duration) -> Duration {
    (searched * TIMES).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_takes_at_most_a_twentieth_of_the_time_until_its_rest_is_the_longest() {
        assert_eq!(
            rest_after(Duration::from_millis(50)),
            Duration::from_secs(1)
        );
        assert_eq!(rest_after(Duration::from_secs(9)), MAX);
    }
}
