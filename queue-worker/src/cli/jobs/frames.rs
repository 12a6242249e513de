//! The frames of a backtrace that belong to the application.

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

/// Leaves out the frames of libraries, unless there are no others, and says how many they are.
pub(super) fn own_frames(backtrace: &str) -> String {
    let (mut own, mut left_out) = (0, 0);
    let mut is_shown = true;
    let mut text = String::new();
    for line in backtrace.lines() {
        if let Some(function) = function(line) {
            is_shown = !is_of_library(function);
            *if is_shown { &mut own } else { &mut left_out } += 1;
        }
        if is_shown {
            text.push_str(line);
            text.push('\n');
        }
    }
    match (own, left_out) {
        (0, _) | (_, 0) => backtrace.to_owned(),
        _ => text + &format!("{left_out} frames of libraries; --backtrace shows them"),
    }
}

/// Returns the function of a line that begins a frame: `  12: shop::ship`.
fn function(line: &str) -> Option<&str> {
    let (number, function) = line.trim_start().split_once(": ")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(function)
}

/// Returns whether a function belongs to a library, or to none: `main`, `__rust_try`, `<unknown>`.
fn is_of_library(function: &str) -> bool {
    let path = function.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '_');
    match path.split_once("::") {
        Some((name, _)) => LIBRARIES.contains(&name),
        None => true,
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
