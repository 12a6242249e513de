//! `queue recurring list`

use queue_core::inspect::{RecurringJobSummary, recurring};

use crate::cli::database::Database;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::output::{Rows, coming, print_json, relative, say};

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let database = Database::of(global)?;
    let mut conn = database.connect().await?;
    let schedules = recurring::list(&mut conn, &database.schema).await?;
    if global.json {
        print_json(&schedules)?;
    } else if schedules.is_empty() {
        say(
            "there are no schedules: declare some in queue.toml, or add one with \
             `queue recurring add`",
        );
    } else {
        table(&schedules)?;
    }
    Ok(Exit::Fine)
}

fn table(schedules: &[RecurringJobSummary]) -> Result<(), Failure> {
    let mut rows = Rows::new(&["NAME", "KIND", "NEXT", "LAST", "PAUSED", "SCHEDULE"]);
    for schedule in schedules {
        rows.add([
            schedule.name.clone(),
            schedule.kind.clone(),
            next(schedule),
            last(schedule),
            schedule.paused_at.map_or(String::new(), relative),
            words(schedule),
        ]);
    }
    rows.print()
}

fn next(schedule: &RecurringJobSummary) -> String {
    match (schedule.paused_at, schedule.next_at) {
        (None, Some(next_at)) => coming(next_at),
        _ => "-".to_owned(),
    }
}

fn last(schedule: &RecurringJobSummary) -> String {
    match (schedule.last_due_at, &schedule.last_outcome) {
        (Some(due_at), Some(outcome)) => format!("{outcome} {}", relative(due_at)),
        _ => "-".to_owned(),
    }
}

fn words(schedule: &RecurringJobSummary) -> String {
    match &schedule.words {
        Some(words) => words.clone(),
        None => format!(
            "{}, which this program does not understand",
            schedule.schedule
        ),
    }
}
