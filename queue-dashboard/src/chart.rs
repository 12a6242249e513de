//! Charts: what ended in each span of time, and how many jobs were ready.

use std::cmp::Reverse;

use askama::Template;
use chrono::{DateTime, Utc};
use queue_core::counts::{Bar, Counts, Range, bars};
use queue_core::depths::{Depth, depths};
use queue_core::inspect::merged::merge;
use queue_core::inspect::spell_duration;
use queue_core::inspect::versions::{self, SeenVersion};
use serde::Deserialize;
use sqlx::PgConnection;

use crate::html::{Html, pictured};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::words::{grouped, number};

/// The heights of the charts.
const HIGH: f64 = 112.0;
const LOW: f64 = 56.0;

/// The least height of a bar that stands for anything.
const HEIGHT_MIN: f64 = 2.0;

/// How many versions are marked at most, and the least space between their names in percent.
const MARKS_MAX: u32 = 20;
const MARKS_APART: f64 = 12.0;
/// How many characters of a version stand beside its mark.
const VERSION_MAX: usize = 16;

/// How many times stand below the chart.
const TIMES: usize = 6;

/// The query of a page with a chart.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Within {
    within: Option<String>,
}

impl Within {
    pub(crate) fn range(&self) -> Range {
        self.named().map_or(Range::Hour, |(_, range, ..)| range)
    }

    /// Returns the range that it names, if it names one.
    pub(crate) fn named(&self) -> Option<NamedRange> {
        let is_named = |(name, ..): &NamedRange| self.within.as_deref() == Some(*name);
        RANGES.into_iter().find(is_named)
    }

    /// Returns the range, for a program: a page shows the first one if it does not know the name.
    pub(crate) fn checked(&self) -> Result<Range, Refusal> {
        match (self.named(), &self.within) {
            (None, Some(unknown)) => Err(Refusal::Invalid(format!(
                "`{unknown}` is not a period: use `1h`, `24h` or `7d`"
            ))),
            _ => Ok(self.range()),
        }
    }
}

/// A range: its name in addresses, when that is in words, and what a bar of it is.
type NamedRange = (&'static str, Range, &'static str, &'static str);

/// The ranges, the shortest first.
pub(crate) const RANGES: [NamedRange; 3] = [
    ("1h", Range::Hour, "in the last hour", "minute"),
    ("24h", Range::Day, "in the last 24 hours", "half hour"),
    ("7d", Range::Week, "in the last 7 days", "3 hours"),
];

#[derive(Template)]
#[template(path = "chart.html")]
pub(crate) struct Chart {
    unit: &'static str,
    /// The periods, each with its address and whether it is the one shown.
    choices: Vec<(&'static str, String, bool)>,
    finished: Bars,
    failed: Bars,
    /// How many jobs were ready; only of one queue.
    ready: Option<Bars>,
    /// Where versions were first seen, the oldest first.
    marks: Vec<Mark>,
    times: Vec<String>,
    /// The newest first.
    rows: Vec<Row>,
}

/// One series of bars, on a scale of its own.
struct Bars {
    title: String,
    label: String,
    top: String,
    bars: Vec<Rect>,
}

/// A line where a version was first seen, and its name if there is room.
struct Mark {
    x: String,
    name: Option<String>,
    /// Whether the name stands before the line, because there is no room behind it.
    is_before: bool,
}

/// A bar, in percent and pixels.
struct Rect {
    x: String,
    width: String,
    y: String,
    height: String,
}

struct Row {
    from: String,
    finished: String,
    failed: String,
    waited: String,
    ran: String,
    ready: String,
    oldest: String,
}

/// What ended in one queue or in all, and the versions that were first seen meanwhile, the newest first.
pub(crate) struct Ended {
    bars: Vec<Bar>,
    seen: Vec<SeenVersion>,
}

impl Ended {
    pub(crate) async fn read(
        site: &Site,
        conn: &mut PgConnection,
        range: Range,
        queue: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Self, sqlx::Error> {
        let schema = site.queue.schema();
        let bars = bars(conn, schema, queue, range, now).await?;
        let seen = match bars.first() {
            Some(first) => versions::since(conn, schema, first.at, MARKS_MAX).await?,
            None => Vec::new(),
        };
        Ok(Self { bars, seen })
    }

    /// Adds up what ended on shards. Their clocks may differ, so that some have begun a span that others have not.
    pub(crate) fn together(parts: &[&Self], range: Range) -> Self {
        let bars = parts.iter().map(|part| ((), part.bars.clone()));
        let bars = merge(bars, |bar| bar.at).into_iter();
        let mut bars: Vec<Bar> = bars.map(|bar| bar.whole).collect();
        bars.drain(..bars.len().saturating_sub(range.bars()));
        let mut seen: Vec<SeenVersion> = Vec::new();
        for one in parts.iter().flat_map(|part| &part.seen) {
            match seen.iter_mut().find(|own| own.version == one.version) {
                Some(own) => own.first_seen_at = own.first_seen_at.min(one.first_seen_at),
                None => seen.push(one.clone()),
            }
        }
        seen.sort_by_key(|seen| Reverse(seen.first_seen_at));
        Self { bars, seen }
    }
}

impl Chart {
    /// Reads what ended in a queue, and how many jobs were ready.
    pub(crate) async fn read(
        site: &Site,
        conn: &mut PgConnection,
        within: &Within,
        queue: &str,
        page: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, Refusal> {
        let (range, queue) = (within.range(), Some(queue));
        let ended = Ended::read(site, conn, range, queue, now).await?;
        let depths = depths(conn, site.queue.schema(), queue, range, now).await?;
        let mut chart = Self::new(range, &ended, page);
        chart.add_depths(range, &depths, &ended.bars);
        Ok(chart)
    }

    /// Draws what ended.
    pub(crate) fn new(range: Range, ended: &Ended, page: &str) -> Self {
        let mut chart = Self::of(range, &ended.bars, page);
        if let Some(first) = ended.bars.first() {
            chart.mark(range, first.at, &ended.seen);
        }
        chart
    }

    fn of(range: Range, bars: &[Bar], page: &str) -> Self {
        let found = RANGES.iter().find(|(_, other, ..)| *other == range);
        let (.., period, unit) = *found.unwrap_or(&RANGES[0]);
        let mut sum = Counts::default();
        for bar in bars {
            sum.add(&bar.counts);
        }
        let choices = RANGES.iter().map(|(name, other, ..)| {
            let href = format!("{page}?within={name}");
            (*name, href, *other == range)
        });
        let finished = number(sum.finished());
        let failed = format!(
            "{} {period}, {} of them for good; on a scale of its own",
            number(sum.errors()),
            number(sum.failed)
        );
        let series = |counted: fn(&Counts) -> i64| -> Vec<u64> {
            let counts = bars.iter().map(|bar| counted(&bar.counts));
            counts.map(i64::unsigned_abs).collect()
        };
        let what = format!("per {unit} {period}");
        Self {
            unit,
            choices: choices.collect(),
            finished: Bars::new(
                format!("{finished} {period}"),
                &format!("Finished jobs {what}"),
                &series(Counts::finished),
                HIGH,
            ),
            failed: Bars::new(
                failed,
                &format!("Failed runs {what}"),
                &series(Counts::errors),
                LOW,
            ),
            ready: None,
            marks: Vec::new(),
            times: times(range, bars),
            rows: bars.iter().rev().map(|bar| Row::of(range, bar)).collect(),
        }
    }

    /// Marks where versions were first seen, of which the newest comes first.
    fn mark(&mut self, range: Range, from: DateTime<Utc>, seen: &[SeenVersion]) {
        let whole = range.width().as_secs_f64() * range.bars() as f64;
        let mut named_at = -MARKS_APART;
        for SeenVersion {
            version,
            first_seen_at,
        } in seen.iter().rev()
        {
            let x = 100.0 * (*first_seen_at - from).as_seconds_f64() / whole;
            let (version, at) = (pictured(version), clock(range, *first_seen_at));
            let has_room = x - named_at >= MARKS_APART;
            if has_room {
                named_at = x;
            }
            let label = format!(". Version {version} was first seen at {at}");
            self.finished.label.push_str(&label);
            let mut name: String = version.chars().take(VERSION_MAX).collect();
            if name.len() < version.len() {
                name.push('…');
            }
            self.marks.push(Mark {
                x: format!("{x:.2}"),
                name: has_room.then_some(name),
                is_before: x > 100.0 - MARKS_APART,
            });
        }
    }

    /// Adds how many jobs were ready; times without a sample have no bar, and nothing in the table.
    fn add_depths(&mut self, range: Range, depths: &[Depth], bars: &[Bar]) {
        let sampled = |bar: &Bar| depths.iter().find(|depth| depth.at == bar.at);
        let ready = bars
            .iter()
            .map(|bar| sampled(bar).map_or(0, |depth| depth.ready));
        let ready: Vec<u64> = ready.map(i64::unsigned_abs).collect();
        let found = RANGES.iter().find(|(_, other, ..)| *other == range);
        let (.., period, unit) = *found.unwrap_or(&RANGES[0]);
        let more = if depths.iter().any(|depth| depth.at_least) {
            " or more"
        } else {
            ""
        };
        let most = grouped(ready.iter().copied().max().unwrap_or(0));
        let title = format!("at most {most}{more} {period}");
        self.ready = Some(Bars {
            label: format!("The most ready jobs of each {unit}: {title}"),
            ..Bars::new(title, "", &ready, LOW)
        });
        for (row, bar) in self.rows.iter_mut().zip(bars.iter().rev()) {
            if let Some(depth) = sampled(bar) {
                row.ready = number(depth.ready);
                row.oldest = depth
                    .oldest_ready_seconds
                    .map(spell_duration)
                    .unwrap_or_default();
            }
        }
    }
}

impl Bars {
    fn new(title: String, what: &str, values: &[u64], height: f64) -> Self {
        let most = values.iter().copied().max().unwrap_or(0);
        let least = values.iter().copied().min().unwrap_or(0);
        let sum: u64 = values.iter().sum();
        let label = match most {
            0 => format!("{what}: none"),
            _ => format!(
                "{what}: between {} and {}; {} in all",
                grouped(least),
                grouped(most),
                grouped(sum)
            ),
        };
        let top = scale_top(most);
        let step = 100.0 / values.len().max(1) as f64;
        let shown = values.iter().enumerate().filter(|(_, value)| **value > 0);
        let bars = shown.map(|(position, value)| {
            let tall = (*value as f64 / top as f64 * height).max(HEIGHT_MIN);
            Rect {
                x: format!("{:.2}", position as f64 * step + step / 6.0),
                width: format!("{:.2}", step * 2.0 / 3.0),
                y: format!("{:.1}", height - tall),
                height: format!("{tall:.1}"),
            }
        });
        Self {
            title,
            label,
            top: grouped(top),
            bars: bars.collect(),
        }
    }
}

impl Row {
    fn of(range: Range, bar: &Bar) -> Self {
        let counts = &bar.counts;
        let runs = counts.finished() + counts.errors();
        let mean = |ms: i64| match runs {
            0 => String::new(),
            runs => spell_duration(ms as f64 / 1_000.0 / runs as f64),
        };
        Self {
            from: clock(range, bar.at),
            finished: number(counts.finished()),
            failed: number(counts.errors()),
            waited: mean(counts.waited_ms),
            ran: mean(counts.ran_ms),
            ready: String::new(),
            oldest: String::new(),
        }
    }
}

/// Draws how many jobs of a queue were ready in each hour of a day.
pub(crate) fn spark_of_ready(hours: Option<&Vec<i64>>) -> Html {
    let Some(hours) = hours else {
        return Html::new();
    };
    let most = grouped(most(hours));
    let said = format!("Ready in the last 24 hours: at most {most}");
    spark("spark", said, hours)
}

/// Draws how many jobs failed in each hour of a day.
pub(crate) fn spark_of_failures(hours: &[i64]) -> Html {
    let (all, most) = (hours.iter().sum(), grouped(most(hours)));
    let said = format!(
        "Failed in the last 24 hours: {}, at most {most} in an hour",
        number(all)
    );
    spark("spark bad", said, hours)
}

fn most(hours: &[i64]) -> u64 {
    hours.iter().copied().max().unwrap_or(0).unsigned_abs()
}

/// Draws a number for each hour of a day as one line of steps.
fn spark(class: &'static str, said: String, hours: &[i64]) -> Html {
    let most = most(hours);
    let steps = hours.iter().enumerate().map(|(hour, ready)| {
        let tall = (ready.unsigned_abs() as f64 / most.max(1) as f64 * 22.0).round();
        format!("V{}H{}", 22.0 - tall, (hour + 1) * 4)
    });
    let steps: String = steps.collect();
    Html::new()
        .raw("<svg class=\"")
        .raw(class)
        .raw("\" viewBox=\"0 0 96 22\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"")
        .text(said)
        .raw("\"><path d=\"M0 22")
        .text(steps)
        .raw("V22z\"/></svg>")
}

/// Returns the least of 1, 2, 4, 5 and 8 times a power of ten that is not below a number.
fn scale_top(most: u64) -> u64 {
    let powers = (0..19).map(|exponent| 10_u64.pow(exponent));
    let mut tops = powers.flat_map(|power| [1, 2, 4, 5, 8].map(|n: u64| n.saturating_mul(power)));
    tops.find(|top| *top >= most).unwrap_or(u64::MAX)
}

fn clock(range: Range, at: DateTime<Utc>) -> String {
    let format = match range {
        Range::Hour | Range::Day => "%H:%M",
        Range::Week => "%-d %b %H:%M",
    };
    at.format(format).to_string()
}

/// Returns the beginnings of some bars, evenly spaced, and of the last one.
fn times(range: Range, bars: &[Bar]) -> Vec<String> {
    let step = bars.len().div_ceil(TIMES).max(1);
    let some = bars.iter().step_by(step).chain(bars.last());
    some.map(|bar| clock(range, bar.at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_on_shards_adds_up_though_their_clocks_differ() {
        let bars = |first: i64| Ended {
            bars: (first..first + 60)
                .map(|minute| Bar {
                    at: DateTime::from_timestamp(minute * 60, 0).unwrap(),
                    counts: Counts {
                        done: 1,
                        ..Counts::default()
                    },
                })
                .collect(),
            seen: Vec::new(),
        };
        let both = Ended::together(&[&bars(1), &bars(0)], Range::Hour).bars;
        let done: Vec<i64> = both.iter().map(|bar| bar.counts.done).collect();
        assert_eq!(done, [[2; 59].as_slice(), &[1]].concat());
    }

    #[test]
    fn a_scale_ends_with_a_round_number() {
        let tops = [
            (0, 1),
            (1, 1),
            (3, 4),
            (6, 8),
            (9, 10),
            (11, 20),
            (412, 500),
            (18_448, 20_000),
        ];
        for (most, top) in tops {
            assert_eq!(scale_top(most), top, "{most}");
        }
    }

    #[test]
    fn bars_stand_on_the_base_and_nothing_has_none() {
        let bars = Bars::new(String::new(), "Finished jobs", &[0, 50, 1, 100], 100.0);
        assert_eq!(bars.label, "Finished jobs: between 0 and 100; 151 in all");
        assert_eq!(bars.top, "100");
        let heights: Vec<&str> = bars.bars.iter().map(|bar| bar.height.as_str()).collect();
        assert_eq!(heights, ["50.0", "2.0", "100.0"]);
        let ys: Vec<&str> = bars.bars.iter().map(|bar| bar.y.as_str()).collect();
        assert_eq!(ys, ["50.0", "98.0", "0.0"]);
        let none = Bars::new(String::new(), "Failed runs", &[0, 0], 100.0);
        assert_eq!(
            (none.label.as_str(), none.bars.len()),
            ("Failed runs: none", 0)
        );
    }
}
