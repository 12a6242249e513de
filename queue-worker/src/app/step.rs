//! What a step is besides its work: its name, its tries, and whether it has a run of its own.

use super::backoff::Backoff;

/// A step, for [`Cx::step`](crate::Cx::step) and [`Cx::step_tx`](crate::Cx::step_tx). A name alone is a step
/// too.
///
/// ```
/// use queue_worker::{Backoff, BoxError, Cx, Step, testing};
/// use std::time::Duration;
///
/// async fn charge(cx: &Cx<()>) -> Result<(), BoxError> {
///     let waits = Backoff::fixed(Duration::from_secs(60));
///     cx.step(Step::new("charge").tries(5, waits), async || Ok(())).await
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # charge(&testing::cx(())).await.unwrap();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Step<'a> {
    pub(crate) name: &'a str,
    pub(crate) is_isolated: bool,
    pub(crate) tries: Option<Tries>,
}

/// How often a step is tried, and the waits between.
#[derive(Clone, Debug)]
pub(crate) struct Tries {
    pub(crate) max: u32,
    pub(crate) backoff: Backoff,
}

impl<'a> Step<'a> {
    /// Makes a step of a name.
    pub fn new(name: &'a str) -> Self {
        Self {
            name,
            is_isolated: false,
            tries: None,
        }
    }

    /// Gives the step tries of its own. When it fails, the job gives up its slot and goes on at this step
    /// after the wait, which costs no attempt of the job. The error of the last try is an error of the job,
    /// and the next attempt of the job has all tries again.
    #[must_use]
    pub fn tries(mut self, max: u32, waits: Backoff) -> Self {
        self.tries = Some(Tries {
            max,
            backoff: waits,
        });
        self
    }

    /// Gives the step a run of its own: the job is interrupted before it if another step was done
    /// in the same run, and after it before the next one. Then the step has the whole timeout of the job, and
    /// all of the memory that the job had taken before is free.
    #[must_use]
    pub fn isolated(mut self) -> Self {
        self.is_isolated = true;
        self
    }
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(name: &'a str) -> Self {
        Self::new(name)
    }
}

impl<'a> From<&'a String> for Step<'a> {
    fn from(name: &'a String) -> Self {
        Self::new(name)
    }
}
