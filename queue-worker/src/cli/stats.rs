//! `queue stats`

use std::fmt::Write as _;

use queue_core::JobState;
use queue_core::inspect::stats::{self, Endings, KindCount};
use queue_core::inspect::{COUNT_MAX, Stats as Figures, spell_duration};

use super::across::read_each;
use super::output::{count, grouped};
use super::{Exit, Failure, Global};

pub(super) const HELP: &str = "\
Jobs are counted up to a million in each state, which is cheap even if there are many more.
Finished jobs are counted until they are cleared, by default after a day.";

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let gather = async |conn: &mut _, schema: &_| stats::gather(conn, schema, COUNT_MAX).await;
    let (of_shards, exit) = read_each(global, gather).await?;
    let mut figures = Figures::default();
    of_shards.iter().for_each(|(_, part)| figures += part);
    global.print(&figures, report)?;
    Ok(exit)
}

fn report(figures: &Figures) -> String {
    let mut text = String::from("Jobs\n");
    for state in JobState::ALL {
        line(&mut text, state.as_str(), &count(figures.jobs.of(state)));
    }
    if let Some(seconds) = figures.oldest_ready_seconds {
        line(&mut text, "oldest ready", &spell_duration(seconds));
    }
    text.push_str("\nEnded               last minute      last hour\n");
    for (name, of) in ENDINGS {
        let minute = grouped(of(&figures.last_minute).unsigned_abs());
        let hour = grouped(of(&figures.last_hour).unsigned_abs());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<15} {minute:>13} {hour:>14}");
    }
    kinds(&mut text, "Failed jobs by kind", &figures.failed_by_kind);
    kinds(
        &mut text,
        "Errors of the last hour by kind",
        &figures.errors_by_kind,
    );
    text
}

type Ending = fn(&Endings) -> i64;

const ENDINGS: [(&str, Ending); 5] = [
    ("done", |endings| endings.done),
    ("discarded", |endings| endings.discarded),
    ("cancelled", |endings| endings.cancelled),
    ("failed", |endings| endings.failed),
    ("attempt errors", |endings| endings.errors),
];

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<15} {value:>13}");
}

fn kinds(text: &mut String, title: &str, kinds: &[KindCount]) {
    if kinds.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    for each in kinds {
        let count = grouped(each.count.unsigned_abs());
        let _ = writeln!(text, "  {:<28} {count:>13}", each.kind);
    }
}

#[cfg(test)]
mod tests {
    use queue_core::inspect::Count;

    use super::*;

    #[test]
    fn figures_are_aligned_in_columns() {
        let mut figures = Figures::default();
        figures.jobs.ready = Count {
            count: 1_000_000,
            at_least: true,
        };
        figures.last_minute.done = 12_000;
        figures.failed_by_kind.push(KindCount {
            kind: "send".to_owned(),
            count: 2,
        });
        let text = report(&figures);
        assert!(text.contains("  ready              >1,000,000\n"), "{text}");
        assert!(
            text.contains("  done                   12,000              0\n"),
            "{text}"
        );
        assert!(text.contains("Failed jobs by kind\n  send "), "{text}");
        assert!(!text.contains("Errors of the last hour"), "{text}");
    }
}
