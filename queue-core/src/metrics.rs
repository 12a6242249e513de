//! Metrics of jobs through the API of OpenTelemetry: what labels them, and how many were enqueued. They do
//! nothing without a meter provider, which an application must set before it enqueues.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use opentelemetry::metrics::Counter;
use opentelemetry::{KeyValue, StringValue, global};

/// The name of the meter that all instruments belong to.
pub const METER: &str = "queue";

/// The most pairs of a queue and a kind that are counted separately.
const PAIRS_MAX: usize = 1_000;

/// The name that stands for all further queues and kinds.
const OTHER: &str = "other";

/// The attributes `queue` and `kind` of a job.
pub type Labels = [KeyValue; 2];

static ENQUEUED: LazyLock<Counter<u64>> = LazyLock::new(|| {
    global::meter(METER)
        .u64_counter("queue.jobs.enqueued")
        .with_description("Jobs enqueued, also by transactions that were rolled back")
        .build()
});

/// Counts jobs that were enqueued.
pub(crate) fn note_enqueued<'a>(jobs: impl Iterator<Item = (&'a str, &'a str)>) {
    by_kind(jobs, |count, labels| ENQUEUED.add(count, labels));
}

/// Calls a function with the number and the labels of jobs, given their queues and kinds; once for jobs of
/// one kind that follow each other.
pub fn by_kind<'a>(
    jobs: impl Iterator<Item = (&'a str, &'a str)>,
    mut note: impl FnMut(u64, &Labels),
) {
    let mut jobs = jobs.peekable();
    while let Some((queue, kind)) = jobs.next() {
        let mut count = 1;
        while jobs.next_if_eq(&(queue, kind)).is_some() {
            count += 1;
        }
        with_labels(queue, kind, |labels| note(count, labels));
    }
}

/// Calls a function with the labels of a job. Beyond a thousand pairs of a queue and a kind they are `other`.
pub fn with_labels(queue: &str, kind: &str, note: impl FnOnce(&Labels)) {
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    thread_local! {
        /// What this thread has used, because a job is noted several times and threads need not wait for
        /// each other.
        static USED: RefCell<ByKind> = RefCell::default();
    }
    USED.with_borrow_mut(|used| {
        if let Some(labels) = used.get(queue).and_then(|kinds| kinds.get(kind)) {
            return note(labels);
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(labels) = known.labels(queue, kind) else {
            return note(&new_labels(OTHER, OTHER));
        };
        note(&labels);
        let kinds = used.entry(queue.to_owned()).or_default();
        kinds.insert(kind.to_owned(), labels);
    });
}

/// Labels by queue and kind.
type ByKind = HashMap<String, HashMap<String, Labels>>;

#[derive(Default)]
struct Known {
    queues: ByKind,
    pairs: usize,
}

impl Known {
    /// Returns the labels of a job, unless there are too many.
    fn labels(&mut self, queue: &str, kind: &str) -> Option<Labels> {
        if let Some(labels) = self.queues.get(queue).and_then(|kinds| kinds.get(kind)) {
            return Some(labels.clone());
        }
        if self.pairs == PAIRS_MAX {
            return None;
        }
        self.pairs += 1;
        let labels = new_labels(queue, kind);
        let kinds = self.queues.entry(queue.to_owned()).or_default();
        kinds.insert(kind.to_owned(), labels.clone());
        Some(labels)
    }
}

fn new_labels(queue: &str, kind: &str) -> Labels {
    // Shared, so that copies are cheap.
    let text = |text: &str| StringValue::from(Arc::<str>::from(text));
    [
        KeyValue::new("queue", text(queue)),
        KeyValue::new("kind", text(kind)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_beyond_a_thousand_are_counted_together() {
        let mut known = Known::default();
        for number in 0..PAIRS_MAX {
            known.labels("mail", &number.to_string());
        }

        let last = new_labels("mail", "999");
        assert_eq!(known.labels("mail", "999"), Some(last));
        assert_eq!(known.labels("mail", "1000"), None);
        assert_eq!(known.pairs, PAIRS_MAX);
    }

    #[test]
    fn jobs_of_one_kind_in_a_row_are_noted_together() {
        let jobs = [("a", "x"), ("a", "x"), ("b", "x"), ("a", "x")];
        let mut noted = Vec::new();

        by_kind(jobs.into_iter(), |count, labels| {
            noted.push((count, labels[0].value.to_string()));
        });

        let noted: Vec<(u64, &str)> = noted.iter().map(|(n, queue)| (*n, &**queue)).collect();
        assert_eq!(noted, [(2, "a"), (1, "b"), (1, "a")]);
    }
}
