//! The output of commands: tables for people, JSON for programs.

use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::Context as _;
use chrono::{DateTime, Local, TimeDelta, Utc};
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table};
pub(super) use queue_core::inspect::grouped;
use queue_core::inspect::queues::Pause;
use queue_core::inspect::{Count, spell_duration};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::exit::Failure;
use super::here::{self, List, ListRow, Printed};

/// Prints lines to the standard output, unless they are to be put together with those of other shards. A closed pipe
/// ends the command without an error.
pub(super) fn print(text: impl Into<String>) -> Result<(), Failure> {
    let Some(Printed::Text(text)) = here::keep(Printed::Text(text.into())) else {
        return Ok(());
    };
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written = write!(out, "{text}{end}").and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::quiet(),
        _ => anyhow::Error::new(error)
            .context("could not write the result")
            .into(),
    })
}

/// Prints a message for people to the standard error, in the words of this program.
pub(super) fn say(text: impl AsRef<str>) {
    // There is no other place to report that the standard error is closed.
    let text = own_words(text.as_ref());
    let _ = match here::shard() {
        Some(shard) => writeln!(io::stderr().lock(), "shard {shard}: {text}"),
        None => writeln!(io::stderr().lock(), "{text}"),
    };
}

/// Returns the name by which this program was called.
pub(super) fn program_name() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&path).file_name().unwrap_or("queue".as_ref());
    name.to_string_lossy().into_owned()
}

/// Writes the commands in a text as they are called: `queue jobs` is `shop jobs` in a program `shop`.
pub(super) fn own_words(text: &str) -> String {
    in_words_of(&program_name(), text)
}

fn in_words_of(program: &str, text: &str) -> String {
    let before = ["`", "  ", "| "].into_iter();
    let text = before.fold(text.to_owned(), |text, before| {
        let command = format!("{before}queue ");
        text.replace(&command, &format!("{before}{program} "))
    });
    if program != "jobs" {
        return text;
    }
    // Such a program has the commands of `queue jobs` as its own. Columns keep their places.
    let verbs = ["list", "show", "retry", "discard", "cancel", "run"].into_iter();
    let text = verbs.fold(text, |text, verb| {
        text.replace(&format!("jobs jobs {verb}"), &format!("jobs {verb}"))
    });
    let text = text.replace("jobs jobs     ", "jobs list");
    text.replace("jobs jobs", "jobs list")
}

/// Prints one JSON value: indented on a terminal, otherwise on one line.
pub(super) fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    if here::shard().is_some() {
        let json = to_raw_value(value).context("could not write JSON")?;
        here::keep(Printed::Json(json));
        return Ok(());
    }
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    print(text.context("could not write JSON")?)
}

/// A column of a table: its title, and its cell in the row of an item.
pub(super) type Column<'a, T> = (&'a str, &'a dyn Fn(&T) -> String);

/// The space between two columns.
const GAP: u16 = 2;
/// The last column is cut, but not below this width.
const LAST_MIN: u16 = 20;

/// A table without lines. A `#` before its title aligns a column to the right, for numbers.
struct Rows {
    table: Table,
}

impl Rows {
    fn new(titles: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(titles.iter().map(|title| title.trim_start_matches('#')));
        let last = titles.len().saturating_sub(1);
        for (position, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if position == last { 0 } else { GAP }));
            if titles[position].starts_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if position != last {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        if let Some(width) = given_width().or_else(|| table.width()) {
            table.set_width(width);
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        Self { table }
    }

    /// Hides whole columns until the others fit the terminal, if there is one.
    fn fit(&mut self) {
        if let ContentArrangement::Dynamic = self.table.content_arrangement()
            && let Some(width) = self.table.width()
        {
            for hidden in beyond(&self.table.column_max_content_widths(), width) {
                if let Some(column) = self.table.column_mut(hidden) {
                    column.set_constraint(ColumnConstraint::Hidden);
                }
            }
        }
    }

    /// Adds a row. On a terminal the last column is cut, so that the row fits one line.
    fn add(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|text| Cell::new(one_line(&text)));
        let mut row = Row::from(cells.collect::<Vec<_>>());
        if let ContentArrangement::Dynamic = self.table.content_arrangement() {
            row.max_height(1);
        }
        self.table.add_row(row);
    }
}

/// Writes a table with a row for each item.
pub(super) fn table_text<T>(items: &[T], columns: &[Column<'_, T>]) -> String {
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let rows = items.iter();
    let rows = rows.map(|item| columns.iter().map(|(_, cell)| cell(item)).collect());
    table_of(&titles, rows)
}

/// Writes a table of cells.
fn table_of(titles: &[&str], cells: impl Iterator<Item = Vec<String>>) -> String {
    let mut rows = Rows::new(titles);
    cells.for_each(|cells| rows.add(cells));
    rows.fit();
    rows.table.trim_fmt()
}

impl List {
    /// Makes a list of items.
    pub(super) fn of<T: Serialize>(
        items: &[T],
        empty: &str,
        columns: &[Column<'_, T>],
    ) -> Result<Self, Failure> {
        let row = |item: &T| {
            Ok::<_, Failure>(ListRow {
                at: None,
                cells: columns.iter().map(|(_, cell)| cell(item)).collect(),
                json: to_raw_value(item).context("could not write JSON")?,
            })
        };
        Ok(Self {
            empty: empty.to_owned(),
            titles: columns
                .iter()
                .map(|(title, _)| (*title).to_owned())
                .collect(),
            rows: items.iter().map(row).collect::<Result<_, _>>()?,
            newest: None,
        })
    }

    /// Prints it as a table, or says that it is empty.
    pub(super) fn print(self) -> Result<(), Failure> {
        if self.rows.is_empty() {
            say(self.empty);
            return Ok(());
        }
        let titles: Vec<&str> = self.titles.iter().map(String::as_str).collect();
        print(table_of(
            &titles,
            self.rows.into_iter().map(|row| row.cells),
        ))
    }
}

/// Returns the width that `COLUMNS` asks for, also where there is no terminal.
fn given_width() -> Option<u16> {
    std::env::var("COLUMNS").ok()?.parse().ok()
}

/// Returns the columns that do not fit: the last ones, except the very last one, which is cut, and the
/// first one.
fn beyond(widths: &[u16], room: u16) -> Range<usize> {
    let Some((last, others)) = widths.split_last() else {
        return 0..0;
    };
    let mut needed = (*last).min(LAST_MIN);
    let fitting = others.iter().take_while(|width| {
        needed += *width + GAP;
        needed <= room
    });
    fitting.count().max(1)..others.len()
}

/// What is known about a job: a name and a value.
pub(super) type Fact = (&'static str, String);

/// The fact that stands for arguments that were not asked for.
pub(super) const ARGS_HIDDEN: &str = "arguments  not shown; add --args\n";

/// Writes facts, one a line.
pub(super) fn facts_text(facts: &[Fact]) -> String {
    let facts = facts.iter();
    facts
        .map(|(name, value)| format!("{name:<10} {}\n", one_line(value)))
        .collect()
}

/// Replaces control characters, which could change the terminal, including line breaks.
pub(super) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Replaces control characters, which could change the terminal, except line breaks and tabs.
pub(super) fn lines(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', " ")
}

/// Writes JSON with a line for each field and element, and all numbers as they are.
pub(super) fn pretty(json: &RawValue) -> String {
    let (mut text, mut depth) = (String::new(), 0);
    let (mut is_in_string, mut is_escaped) = (false, false);
    for c in json.get().chars() {
        if is_in_string {
            is_in_string = c != '"' || is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            text.push(c);
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let is_end = matches!(c, ']' | '}');
        depth -= usize::from(is_end);
        if text.ends_with(',') || text.ends_with(['[', '{']) != is_end {
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
        }
        depth += usize::from(matches!(c, '[' | '{'));
        is_in_string = c == '"';
        text.push(c);
        if c == ':' {
            text.push(' ');
        }
    }
    text
}

/// How far the clock of the database is ahead of this machine's, once a command has read it.
static CLOCK_AHEAD: OnceLock<TimeDelta> = OnceLock::new();

/// Lets ages count by the clock of the database, which has written the times.
pub(super) fn set_clock(of_database: DateTime<Utc>) {
    let _first_stays = CLOCK_AHEAD.set(of_database - Utc::now());
}

fn now() -> DateTime<Utc> {
    Utc::now() + CLOCK_AHEAD.get().copied().unwrap_or_default()
}

/// Writes a time relative to now: `3m ago`, `in 2h 5m`.
pub(super) fn relative(time: DateTime<Utc>) -> String {
    let seconds = (now() - time).as_seconds_f64();
    match seconds {
        ahead if ahead <= -1.0 => format!("in {}", spell_duration(-ahead)),
        ago => format!("{} ago", spell_duration(ago.max(0.0))),
    }
}

/// Writes a future time relative to now: `in 0s` just before, `0s ago` just after.
pub(super) fn coming(time: DateTime<Utc>) -> String {
    let seconds = (time - now()).as_seconds_f64();
    if seconds > 0.0 {
        format!("in {}", spell_duration(seconds))
    } else {
        relative(time)
    }
}

/// Writes when something began, relative to now; nothing if it has not begun.
pub(super) fn since(time: Option<DateTime<Utc>>) -> String {
    time.map(relative).unwrap_or_default()
}

/// Writes since when a queue or a tenant is paused, by whom and why; nothing if it is not.
pub(super) fn paused(pause: Option<Pause>) -> String {
    let Some(Pause { at, by, why }) = pause else {
        return String::new();
    };
    let by = by.map(|by| format!(", by {by}")).unwrap_or_default();
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    format!("{}{by}{why}", relative(at))
}

/// Writes a time in the local zone, and relative to now.
pub(super) fn absolute(time: DateTime<Utc>) -> String {
    format!("{} ({})", local(time), relative(time))
}

/// Writes a future time in the local zone, and relative to now.
pub(super) fn absolute_coming(time: DateTime<Utc>) -> String {
    format!("{} ({})", local(time), coming(time))
}

fn local(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.with_timezone(&Local)
        .format("%Y-%m-%d %H:%M:%S%.3f %:z")
}

/// Writes a number with what it counts: `1 job`, `2 jobs`, `12,000 jobs`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// Writes a count, which may be a lower bound: `7`, `>10,000`.
pub(super) fn count(count: Count) -> String {
    let more = if count.at_least { ">" } else { "" };
    format!("{more}{}", grouped(count.count))
}

/// Writes a count of jobs, which may be a lower bound: `1 job`, `more than 1,000,000 jobs`.
pub(super) fn count_of_jobs(count: Count) -> String {
    let more = if count.at_least { "more than " } else { "" };
    format!("{more}{}", counted(count.count, "job", "jobs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_what_they_count() {
        assert_eq!(counted(1, "job", "jobs"), "1 job");
        assert_eq!(counted(1_234_567, "job", "jobs"), "1,234,567 jobs");
        assert_eq!(counted(100, "job", "jobs"), "100 jobs");
    }

    #[test]
    fn commands_are_written_as_the_program_is_called() {
        let text = "run `queue jobs show 7` or `queue jobs`, see queue.toml";
        assert_eq!(in_words_of("queue", text), text);
        assert_eq!(
            in_words_of("shop", text),
            "run `shop jobs show 7` or `shop jobs`, see queue.toml"
        );
        assert_eq!(
            in_words_of("jobs", text),
            "run `jobs show 7` or `jobs list`, see queue.toml"
        );
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(lines("a\u{1b}[2Jb\nc"), "a [2Jb\nc");
    }

    #[test]
    fn columns_are_aligned_without_lines() {
        let mut rows = Rows::new(&["NAME", "#COUNT", "ERROR"]);
        rows.add(["mail".to_owned(), "7".to_owned(), String::new()]);
        rows.add(["a".to_owned(), "1200".to_owned(), "no such host".to_owned()]);
        assert_eq!(
            rows.table.trim_fmt(),
            "NAME  COUNT  ERROR\nmail      7\na      1200  no such host"
        );
    }

    #[test]
    fn columns_that_do_not_fit_are_hidden_before_the_last_one() {
        let widths = [5, 10, 10, 50];
        assert_eq!(beyond(&widths, 80), 3..3);
        assert_eq!(beyond(&widths, 50), 2..3);
        assert_eq!(beyond(&widths, 10), 1..3);
        assert_eq!(beyond(&[5, 10, 10, 3], 34), 3..3);
        assert!(beyond(&[], 80).is_empty() && beyond(&[100], 80).is_empty());
    }

    #[test]
    fn json_is_indented_and_keeps_its_numbers_and_texts() {
        let json = r#"{"a": [], "b": [1.10, {"c": "{[\\\", :"}], "d": 99999999999999999999}"#;
        let json = RawValue::from_string(json.to_owned()).unwrap();
        let expected = r#"{
  "a": [],
  "b": [
    1.10,
    {
      "c": "{[\\\", :"
    }
  ],
  "d": 99999999999999999999
}"#;
        assert_eq!(pretty(&json), expected);
    }

    #[test]
    fn times_are_written_relative_to_now() {
        let hour = chrono::TimeDelta::minutes(60);
        assert_eq!(relative(Utc::now() - hour), "1h ago");
        assert!(relative(Utc::now() + hour).starts_with("in "));
        let soon = chrono::TimeDelta::milliseconds(900);
        assert!(coming(Utc::now() + soon).starts_with("in "));
        assert_eq!(coming(Utc::now() - hour), "1h ago");
    }
}
