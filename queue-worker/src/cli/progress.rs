//! How far a long command is, on the standard error of a person.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar towards a known number, drawn only on a terminal.
pub(super) fn bar(len: u64) -> ProgressBar {
    ProgressBar::new(len).with_style(style("{bar:30} {human_pos} of {human_len}, {eta} left"))
}

/// A bar over the bytes of a file, drawn only on a terminal.
pub(super) fn bytes(len: u64) -> ProgressBar {
    ProgressBar::new(len).with_style(style(
        "{bar:30} {bytes} of {total_bytes}, {eta} left, {msg}",
    ))
}

/// A count without a known end, drawn only on a terminal.
pub(super) fn spinner() -> ProgressBar {
    ProgressBar::new_spinner().with_style(style("{spinner} {msg}"))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
