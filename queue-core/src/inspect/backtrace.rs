//! The lines of a backtrace: those of the application, and those of libraries.

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

/// A line of a backtrace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacktraceLine<'a> {
    /// What it says.
    pub text: &'a str,
    /// Whether it begins a frame: it names the function, and the next line names the place.
    pub begins_frame: bool,
    /// Whether its frame belongs to the application; none before the first frame.
    pub is_own: Option<bool>,
}

/// Splits a backtrace into lines. The line of a place belongs to the function above it.
pub fn backtrace_lines(backtrace: &str) -> impl Iterator<Item = BacktraceLine<'_>> {
    let mut is_own = None;
    backtrace.lines().map(move |text| {
        let function = function(text);
        if let Some(function) = function {
            is_own = Some(!is_of_library(function));
        }
        BacktraceLine {
            text,
            begins_frame: function.is_some(),
            is_own,
        }
    })
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
    fn frames_belong_to_the_application_or_to_libraries() {
        let text = "panicked\n   0: std::panicking::begin\n             at /rustc/x\n   1: <shop::Ship as X>::run\n             \
                    at src/shop.rs:1\n   2: main";
        let own: Vec<Option<bool>> = backtrace_lines(text).map(|line| line.is_own).collect();
        let library = Some(false);
        assert_eq!(
            own,
            [None, library, library, Some(true), Some(true), library]
        );
        let frames = backtrace_lines(text).filter(|line| line.begins_frame);
        assert_eq!(frames.count(), 3);
    }
}
