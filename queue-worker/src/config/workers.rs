//! The workers: `[[workers]]` of the file, or the one that environment and flags describe.

use super::check::{CONCURRENCY, POLL};
use super::document::{Entry, Section};
use super::draft::Draft;
use super::given::Given;
use super::problem::{Place, Problem};
use super::scalars::Overrides;
use super::{InvalidQueueList, QueueList, WorkerSettings, queues};

const QUEUES: &str = "QUEUE_QUEUES";
const CONCURRENT: &str = "QUEUE_CONCURRENCY";
const POLLING: &str = "QUEUE_POLL_INTERVAL";

#[cfg(test)]
pub(super) const VARIABLES_OF_WORKERS: [&str; 3] = [QUEUES, CONCURRENT, POLLING];

/// Reads `[[workers]]`, which replaces the default worker.
pub(super) fn read(entry: &Entry<'_>, draft: &mut Draft) {
    draft.record(&entry.key, entry.place(), Ok(()));
    let tables = match entry.array("[[workers]] tables") {
        Ok(tables) => tables,
        Err(problem) => return draft.problems.push(problem),
    };
    let mut workers = Vec::with_capacity(tables.len());
    for table in tables {
        match table.table() {
            Ok(section) => workers.push(read_worker(section, draft)),
            Err(problem) => draft.problems.push(problem),
        }
    }
    draft.config.settings.workers = workers;
}

/// Reads one worker. What is wrong keeps its default, so that the rest is still looked at.
fn read_worker(mut section: Section<'_>, draft: &mut Draft) -> WorkerSettings {
    let mut worker = WorkerSettings::default();
    if let Some(entry) = section.get("queues") {
        match read_queues(&entry) {
            Ok(queues) => worker.queues = queues,
            Err(problems) => draft.problems.extend(problems),
        }
    }
    if let Some(entry) = section.get("concurrency") {
        let outcome = read_concurrency(entry.given()).map(|given| worker.concurrency = given);
        draft.record(&entry.key, entry.place(), outcome);
    }
    if let Some(entry) = section.get("poll_interval") {
        let outcome = set_poll_interval(&mut worker, entry.given());
        draft.record(&entry.key, entry.place(), outcome);
    }
    section.refuse_unknown(&mut draft.problems);
    worker
}

fn read_queues(entry: &Entry<'_>) -> Result<QueueList, Vec<Problem>> {
    if let Ok(text) = entry.given().text() {
        let wrong = |(_, error): (usize, InvalidQueueList)| entry.problem(error.to_string());
        return QueueList::check(&queues::split(text))
            .map_err(|errors| errors.into_iter().map(wrong).collect());
    }
    let elements = entry.texts("a text or an array of texts")?;
    let texts: Vec<&str> = elements.iter().map(|(text, _)| *text).collect();
    QueueList::check(&texts).map_err(|errors| {
        let place = |position: usize| elements.get(position).map_or(entry, |(_, element)| element);
        errors
            .iter()
            .map(|(position, error)| place(*position).problem(error.to_string()))
            .collect()
    })
}

/// Lays environment and flags over the file, the flags last.
///
/// All values of one setting go before the next setting: the concurrency of the environment is
/// that of the worker which the flag `--queues` makes.
pub(super) fn lay_over<'v>(
    variable: impl Fn(&'static str) -> Option<&'v str>,
    flags: &Overrides,
    draft: &mut Draft,
) {
    let given = |name: &'static str, flag: &'static str, value: &Option<String>| {
        let from_variable = variable(name).map(|text| (text.to_owned(), Place::Variable(name)));
        let from_flag = value.clone().map(|text| (text, Place::Flag(flag)));
        [from_variable, from_flag].into_iter().flatten()
    };
    for (text, place) in given(QUEUES, "--queues", &flags.queues) {
        replace_workers(&text, place, draft);
    }
    for (text, place) in given(CONCURRENT, "--concurrency", &flags.concurrency) {
        let outcome = set_only_concurrency(&mut draft.config.settings.workers, &text);
        draft.record("workers[0].concurrency", place, outcome);
    }
    for (text, place) in given(POLLING, "--poll-interval", &flags.poll_interval) {
        let mut workers = draft.config.settings.workers.iter_mut();
        let outcome = workers.try_for_each(|worker| set_poll_interval(worker, Given::Text(&text)));
        draft.record("workers[0].poll_interval", place, outcome);
    }
}

/// Makes the one worker even of queues that are refused: what else is given is meant for it.
fn replace_workers(text: &str, place: Place, draft: &mut Draft) {
    let mut worker = WorkerSettings::default();
    match QueueList::check(&queues::split(text)) {
        Ok(queues) => worker.queues = queues,
        Err(errors) => draft
            .problems
            .extend(errors.into_iter().map(|(_, error)| Problem {
                place: place.clone(),
                message: error.to_string(),
            })),
    }
    draft.config.settings.workers = vec![worker];
    draft.record("workers", place, Ok(()));
}

fn set_only_concurrency(workers: &mut [WorkerSettings], text: &str) -> Result<(), String> {
    let concurrency = read_concurrency(Given::Text(text))?;
    let count = workers.len();
    let [worker] = workers else {
        return Err(format!(
            "it is not clear which of the {count} workers of the file is meant; \
             give the queues too, and one worker on them replaces those"
        ));
    };
    worker.concurrency = concurrency;
    Ok(())
}

fn read_concurrency(given: Given<'_>) -> Result<usize, String> {
    given
        .whole_number(&CONCURRENCY)
        .map(|concurrency| concurrency as usize)
}

fn set_poll_interval(worker: &mut WorkerSettings, given: Given<'_>) -> Result<(), String> {
    worker.poll_interval = given.duration(&POLL)?;
    Ok(())
}
