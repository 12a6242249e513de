//! The kinds that the program of a scheduler knows.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::new_job::{EnqueueError, NewJob};

/// Makes a job of one type from its arguments as JSON: [`NewJob::of_json`].
pub type NewJobOf = fn(&RawValue) -> Result<NewJob, EnqueueError>;

/// The kinds that a program knows. Its scheduler applies the limits and the unique key of their types,
/// and leaves other kinds to other schedulers for some seconds.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    /// All kinds; none if no kind is left to others.
    pub known: Option<Vec<String>>,
    /// Those with a type.
    pub types: BTreeMap<&'static str, NewJobOf>,
}
