//! The lines of a backtrace, those of the application apart.

use queue_core::inspect::backtrace_lines;

use crate::html::pictured;

/// The most lines that are shown.
const LINES_MAX: usize = 400;

/// A line of a backtrace.
pub(crate) struct Line {
    pub(crate) is_own: bool,
    pub(crate) text: String,
}

/// Returns the first lines of a backtrace.
pub(crate) fn lines(backtrace: &str) -> Vec<Line> {
    let lines = backtrace_lines(backtrace).take(LINES_MAX);
    lines
        .map(|line| Line {
            is_own: line.is_own.unwrap_or(false),
            text: pictured(line.text),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_the_application_stand_out() {
        let text = "   0: std::panicking::begin\n             at /rustc/x\n   1: shop::charge\n             at src/shop.rs:1\n   2: main";
        let own: Vec<bool> = lines(text).iter().map(|line| line.is_own).collect();
        assert_eq!(own, [false, false, true, true, false]);
    }
}
