//! The lines of a backtrace, those of the application apart.

use crate::html::pictured;

/// The crates whose frames say little about the application.
const LIBRARIES: [&str; 12] = [
    "alloc",
    "anyhow",
    "core",
    "eyre",
    "futures_core",
    "futures_util",
    "queue_core",
    "queue_worker",
    "std",
    "test",
    "tokio",
    "tracing",
];
/// The most lines that are shown.
const LINES_MAX: usize = 400;

/// A line of a backtrace.
pub(super) struct Line {
    pub(super) is_ours: bool,
    pub(super) text: String,
}

/// Splits a backtrace into lines. The line of a place belongs to the function above it.
pub(super) fn lines(backtrace: &str) -> Vec<Line> {
    let mut is_ours = false;
    let lines = backtrace.lines().take(LINES_MAX).map(|line| {
        if let Some(function) = function(line) {
            is_ours = !is_of_library(function);
        }
        Line {
            is_ours,
            text: pictured(line),
        }
    });
    lines.collect()
}

/// Returns the function of a numbered line: `   3: shop::charge`.
fn function(line: &str) -> Option<&str> {
    let (number, function) = line.trim_start().split_once(": ")?;
    number.parse::<u32>().ok().map(|_| function)
}

fn is_of_library(function: &str) -> bool {
    let path = function.trim_start_matches(['<', '&']);
    let name = path.split("::").next().unwrap_or(path);
    LIBRARIES.contains(&name) || !function.contains("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_the_application_stand_out() {
        let text = "   0: std::panicking::begin\n             at /rustc/x\n   1: shop::charge\n             at src/shop.rs:1\n   2: main";
        let ours: Vec<bool> = lines(text).iter().map(|line| line.is_ours).collect();
        assert_eq!(ours, [false, false, true, true, false]);
    }
}
