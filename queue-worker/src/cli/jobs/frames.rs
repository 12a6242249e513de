//! The frames of a backtrace that belong to the application.

use queue_core::inspect::backtrace_lines;

/// Leaves out the frames of libraries, unless there are no others, and says how many they are.
pub(super) fn own_frames(backtrace: &str) -> String {
    let (mut own, mut left_out) = (0, 0);
    let mut text = String::new();
    for line in backtrace_lines(backtrace) {
        let is_shown = line.is_own.unwrap_or(true);
        if line.begins_frame {
            *if is_shown { &mut own } else { &mut left_out } += 1;
        }
        if is_shown {
            text.push_str(line.text);
            text.push('\n');
        }
    }
    match (own, left_out) {
        (0, _) | (_, 0) => backtrace.to_owned(),
        _ => text + &format!("{left_out} frames of libraries; --backtrace shows them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_libraries_are_left_out() {
        let backtrace = "at src/ship.rs:7:9\n   0: std::panicking::begin_panic\n             at /rustc/x\n   \
                         1: <shop::Ship as queue_worker::Perform<S>>::perform\n             at \
                         ./src/ship.rs:7:9\n   2: <core::pin::Pin<P> as Future>::poll\n   3: __rust_try\n";
        assert_eq!(
            own_frames(backtrace),
            "at src/ship.rs:7:9\n   1: <shop::Ship as queue_worker::Perform<S>>::perform\n             \
             at ./src/ship.rs:7:9\n3 frames of libraries; --backtrace shows them"
        );
    }

    #[test]
    fn a_backtrace_without_names_is_whole() {
        let backtrace = "   0: <unknown>\n   1: main\n";
        assert_eq!(own_frames(backtrace), backtrace);
    }
}
