//! Progress bars, drawn only if the standard error is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Makes a bar towards a known number.
pub(super) fn bar(len: u64) -> ProgressBar {
    ProgressBar::new(len).with_style(style("{bar:30} {human_pos} of {human_len}, {eta} left"))
}

/// Makes a bar over the bytes of a file.
pub(super) fn bytes(len: u64) -> ProgressBar {
    ProgressBar::new(len).with_style(style(
        "{bar:30} {bytes} of {total_bytes}, {eta} left, {msg}",
    ))
}

/// Makes a spinner, for input of unknown length.
pub(super) fn spinner() -> ProgressBar {
    ProgressBar::new_spinner().with_style(style("{spinner} {msg}"))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
