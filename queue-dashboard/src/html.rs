//! Pieces of HTML: text that is escaped, icons, states, times, JSON.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::LazyLock;

use askama::filters::HtmlSafe;
use chrono::{DateTime, SecondsFormat, Utc};
use queue_core::{JobState, REDACTED};
use serde_json::value::RawValue;

use crate::words::relative;

/// The most bytes of JSON that a page shows.
pub(crate) const JSON_BYTES_MAX: usize = 64 * 1024;

/// HTML, which templates insert as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Html(String);

impl HtmlSafe for Html {}

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Html {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds text.
    pub(crate) fn text(mut self, text: impl fmt::Display) -> Self {
        escape(&text.to_string(), &mut self.0);
        self
    }

    /// Adds text in bold: the fact of a sentence.
    pub(crate) fn strong(self, text: impl fmt::Display) -> Self {
        self.raw("<strong>").text(text).raw("</strong>")
    }

    /// Adds a text that a user wrote.
    pub(crate) fn user(self, text: &str) -> Self {
        self.raw("<bdi>").text(pictured(text)).raw("</bdi>")
    }

    /// Adds a link to a text that a user wrote.
    pub(crate) fn link(self, href: &str, text: &str) -> Self {
        self.raw("<a href=\"")
            .text(href)
            .raw("\">")
            .user(text)
            .raw("</a>")
    }

    /// Adds other HTML.
    pub(crate) fn html(mut self, html: &Html) -> Self {
        self.0.push_str(&html.0);
        self
    }

    /// Adds HTML of the program.
    pub(crate) fn raw(mut self, html: &'static str) -> Self {
        self.0.push_str(html);
        self
    }
}

fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
}

/// Writes control characters as pictures, and characters that change the direction of text by number.
/// Line breaks and tabs stay.
pub(crate) fn pictured(text: &str) -> String {
    let mut pictured = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => pictured.push(c),
            '\u{0}'..='\u{1f}' => pictured.extend(char::from_u32(0x2400 + u32::from(c))),
            '\u{7f}' => pictured.push('\u{2421}'),
            '\u{80}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{61c}' => {
                let _ = write!(pictured, "<U+{:04X}>", u32::from(c));
            }
            c => pictured.push(c),
        }
    }
    pictured
}

/// Returns a text that a user wrote, isolated from the direction of the text around it.
pub(crate) fn user(text: &str) -> Html {
    Html::new().user(text)
}

macro_rules! icons {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../assets/icons/", $name, ".svg")))),*]
    };
}

static ICONS: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    HashMap::from(icons![
        "audit",
        "batches",
        "blocked",
        "cancelled",
        "close",
        "database",
        "discard",
        "discarded",
        "down",
        "failed",
        "failures",
        "filter",
        "finished",
        "info",
        "jobs",
        "limits",
        "lock",
        "mark",
        "menu",
        "overview",
        "pause",
        "processes",
        "queues",
        "ready",
        "recurring",
        "resume",
        "retry",
        "running",
        "scheduled",
        "search",
        "tenants",
        "warning",
    ])
});

/// Returns an icon.
pub(crate) fn icon(name: &str) -> Html {
    icon_of_class(name, "")
}

/// Returns an icon with a further class, such as `ink-failed`.
pub(crate) fn icon_of_class(name: &str, class: &str) -> Html {
    let svg = ICONS.get(name).copied().unwrap_or_default();
    let inner = svg.strip_prefix("<svg xmlns=\"http://www.w3.org/2000/svg\"");
    let inner = inner.unwrap_or(">").trim_end();
    Html(format!(
        "<svg class=\"icon {class}\" aria-hidden=\"true\"{inner}"
    ))
}

/// A state as it is shown: a finished job has the name of its outcome.
pub(crate) fn state_word(state: JobState, outcome: Option<&str>) -> &'static str {
    match (state, outcome) {
        (JobState::Finished, Some("discarded")) => "discarded",
        (JobState::Finished, Some("cancelled")) => "cancelled",
        (state, _) => state.as_str(),
    }
}

/// Returns the badge of a state: glyph, word and colour.
pub(crate) fn badge(word: &str) -> Html {
    let glyph = match word {
        "paused" | "quiet" | "draining" => "pause",
        "silent" | "late" | "missed" => "warning",
        "alive" | "enqueued" | "done" | "succeeded" => "finished",
        "open" | "waiting" => "ready",
        "stopping" => "cancelled",
        "adding" => "scheduled",
        word => word,
    };
    let class = match word {
        "alive" | "enqueued" => "well",
        "done" | "succeeded" => "finished",
        "open" | "waiting" => "ready",
        "missed" | "overlap" => "late",
        "adding" => "scheduled",
        word => word,
    };
    Html::new()
        .raw("<span class=\"state ")
        .text(class)
        .raw("\">")
        .html(&icon(glyph))
        .text(word)
        .raw("</span>")
}

/// Returns a time relative to now, with the exact one in its title.
pub(crate) fn ago(time: DateTime<Utc>, now: DateTime<Utc>) -> Html {
    timed(time, &relative(time, now), "ago")
}

/// Returns the exact time, without the day if it is today.
pub(crate) fn exact(time: DateTime<Utc>, now: DateTime<Utc>) -> Html {
    let format = match time.date_naive() == now.date_naive() {
        true => "%H:%M:%S%.3f",
        false => "%-d %b %H:%M:%S",
    };
    timed(time, &time.format(format).to_string(), "exact")
}

/// Returns the exact time for a sentence: `02:11`, or with the day if it is not today.
pub(crate) fn exact_minute(time: DateTime<Utc>, now: DateTime<Utc>) -> Html {
    let format = match time.date_naive() == now.date_naive() {
        true => "%H:%M",
        false => "%-d %b %H:%M",
    };
    timed(time, &time.format(format).to_string(), "exact")
}

/// The class lets the script count relative times on.
fn timed(time: DateTime<Utc>, text: &str, class: &'static str) -> Html {
    Html::new()
        .raw("<time class=\"")
        .raw(class)
        .raw("\" datetime=\"")
        .text(time.to_rfc3339_opts(SecondsFormat::Millis, true))
        .raw("\" title=\"")
        .text(time.format("%Y-%m-%d %H:%M:%S UTC"))
        .raw("\">")
        .text(text)
        .raw("</time>")
}

/// Draws the parts of a whole side by side, each with its class.
pub(crate) fn progress(parts: &[(&str, i64)], whole: i64, label: &str) -> Html {
    let label = Html::new().text(label);
    let mut svg = format!("<svg class=\"meter\" role=\"img\" aria-label=\"{label}\">");
    let mut x = 0.0;
    for (class, part) in parts {
        let width = 100.0 * *part as f64 / whole.max(1) as f64;
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.1}%\" width=\"{width:.1}%\" height=\"100%\"/>"
        );
        x += width;
    }
    Html(svg + "</svg>")
}

/// Returns a bar that shows a part of a whole; the number stands beside it.
pub(crate) fn meter(part: u64, whole: u64, is_full: bool) -> Html {
    let percent = (part * 100).checked_div(whole).unwrap_or(0).min(100);
    let class = if is_full { "full" } else { "" };
    Html(format!(
        "<svg class=\"meter\" role=\"img\" aria-label=\"{part} of {whole} slots in use\">\
         <rect class=\"{class}\" width=\"{percent}%\" height=\"100%\"/></svg>"
    ))
}

/// Returns JSON, indented and coloured. Numbers stay as they are stored.
pub(crate) fn json(value: &RawValue) -> Html {
    let text = value.get();
    let end = text.floor_char_boundary(JSON_BYTES_MAX);
    let mut html = String::with_capacity(text.len() * 2);
    write_json(&text[..end], &mut html);
    if end < text.len() {
        html.push('…');
    }
    Html(html)
}

/// Writes the tokens of JSON, which may be cut anywhere.
fn write_json(text: &str, html: &mut String) {
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = token_length(rest);
        let (token, after) = rest.split_at(length);
        match c {
            '{' | '[' => {
                let close = after.trim_start().chars().next();
                html.push(c);
                depth += 1;
                if !matches!(close, Some('}' | ']')) {
                    new_line(depth, html);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !html.ends_with(['{', '[']) {
                    new_line(depth, html);
                }
                html.push(c);
            }
            ',' => {
                html.push(c);
                new_line(depth, html);
            }
            ':' => html.push_str(": "),
            c if c.is_whitespace() => {}
            '"' => write_string(token, after.trim_start().starts_with(':'), html),
            't' | 'f' | 'n' => span("l", token, html),
            _ => span("n", token, html),
        }
        rest = after;
    }
}

fn write_string(token: &str, is_key: bool, html: &mut String) {
    if token.trim_matches('"') == REDACTED {
        html.push_str("<em class=\"hidden\">redacted</em>");
    } else {
        span(if is_key { "k" } else { "s" }, token, html);
    }
}

fn span(class: &str, token: &str, html: &mut String) {
    let _ = write!(html, "<span class=\"{class}\">");
    escape(&pictured(token), html);
    html.push_str("</span>");
}

fn new_line(depth: usize, html: &mut String) {
    html.push('\n');
    html.extend(std::iter::repeat_n("  ", depth));
}

/// Returns the length of the first token.
fn token_length(text: &str) -> usize {
    let mut chars = text.char_indices();
    let Some((_, first)) = chars.next() else {
        return 0;
    };
    match first {
        '"' => {
            let mut is_escaped = false;
            let ends = |&(_, c): &(usize, char)| {
                let ends = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                ends
            };
            chars.find(ends).map_or(text.len(), |(at, _)| at + 1)
        }
        '{' | '}' | '[' | ']' | ',' | ':' => 1,
        c if c.is_whitespace() => c.len_utf8(),
        _ => {
            let ends = |(_, c): &(usize, char)| "{}[],:\" \n\t\r".contains(*c);
            chars.find(ends).map_or(text.len(), |(at, _)| at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_text(text: &str) -> String {
        json(&RawValue::from_string(text.to_owned()).unwrap()).to_string()
    }

    #[test]
    fn text_is_escaped_and_control_characters_are_pictures() {
        let html = Html::new().user("<b>\u{0}\u{202e}'\"&").to_string();
        assert_eq!(html, "<bdi>&lt;b&gt;␀&lt;U+202E&gt;&#39;&quot;&amp;</bdi>");
    }

    #[test]
    fn json_is_indented_and_numbers_stay_as_they_are() {
        assert_eq!(
            json_text(
                r#"{"a": [12345678901234567890.10, null], "b": {}, "</script>": "[redacted]"}"#
            ),
            "{\n  <span class=\"k\">&quot;a&quot;</span>: [\n    \
             <span class=\"n\">12345678901234567890.10</span>,\n    <span class=\"l\">null</span>\n  ],\n  \
             <span class=\"k\">&quot;b&quot;</span>: {},\n  \
             <span class=\"k\">&quot;&lt;/script&gt;&quot;</span>: <em class=\"hidden\">redacted</em>\n}"
        );
        assert_eq!(
            json_text("\"a\\\"{\""),
            "<span class=\"s\">&quot;a\\&quot;{&quot;</span>"
        );
    }

    #[test]
    fn long_json_is_cut() {
        let long = format!("\"{}\"", "é".repeat(JSON_BYTES_MAX));
        assert!(json_text(&long).ends_with('…'));
    }

    #[test]
    fn every_badge_has_a_glyph() {
        for word in [
            "ready",
            "scheduled",
            "running",
            "blocked",
            "failed",
            "finished",
            "discarded",
            "cancelled",
            "paused",
            "silent",
            "alive",
            "stopping",
            "missed",
            "enqueued",
            "open",
            "succeeded",
            "adding",
            "draining",
        ] {
            assert!(
                badge(word).to_string().contains("<path")
                    || badge(word).to_string().contains("<circle"),
                "{word}"
            );
        }
    }
}
