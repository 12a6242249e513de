//! The median of a sample, and its 95 % confidence interval.

/// Returns the median and its interval from the ranks of the figures, without assuming a distribution.
pub(crate) fn median_interval(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    let rank = outer_rank(figures.len());
    let median = crate::rounds::median(figures.iter().copied());
    (median, figures[rank], figures[figures.len() - 1 - rank])
}

/// Returns how many figures to leave out at either end. The true median lies beyond them with a
/// probability of at most 2.5 %.
fn outer_rank(len: usize) -> usize {
    let mut term = 0.5_f64.powi(i32::try_from(len).unwrap_or(i32::MAX));
    let mut below = term;
    let mut rank = 0;
    while below + term * (len - rank) as f64 / (rank + 1) as f64 <= 0.025 {
        term *= (len - rank) as f64 / (rank + 1) as f64;
        below += term;
        rank += 1;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranks_are_those_of_the_sign_test() {
        // From tables of the sign test: the 4th and 12th of 15, the 6th and 15th of 20.
        assert_eq!(outer_rank(15), 3);
        assert_eq!(outer_rank(20), 5);
        assert_eq!(outer_rank(5), 0);
    }

    #[test]
    fn the_interval_is_around_the_median() {
        let figures = (1..=15).rev().map(f64::from).collect();
        assert_eq!(median_interval(figures), (8.0, 4.0, 12.0));
    }
}
