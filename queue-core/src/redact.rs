//! Errors in log lines.

/// The most bytes of an error that a log line shows.
const LOGGED_BYTES_MAX: usize = 1024;

/// Returns the part of an error that is logged, its first kilobyte. Every error of a job that is logged
/// passes through here.
pub fn redact(error: &str) -> &str {
    &error[..error.floor_char_boundary(LOGGED_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_between_two_characters() {
        assert_eq!(redact("no"), "no");
        let long = format!("a{}", "é".repeat(LOGGED_BYTES_MAX));
        assert_eq!(redact(&long).len(), LOGGED_BYTES_MAX - 1);
    }
}
