//! The lookout: finds out what there is to do, once for all parts of a process.
//!
//! A part that has nothing to do needs a look when its poll interval is over: one that was made in the last
//! half of the interval, or else a new one. So parts with the same interval soon share all their looks.
//!
//! A look that reads everything also reads the dead index entries of jobs that were claimed and promoted
//! before. The longer it took, the longer the next looks read only what the parts have not found before.

use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use queue_core::Schema;
use queue_core::look::{Look, LookFrom, look};
use queue_core::recurring::Kinds;
use queue_core::transitions::claim::{FoundLane, Lane};
use queue_core::transitions::promote::DuePlace;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use crate::rest::rest_after;
use crate::shared_connection::SharedConnection;

/// What a look found.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When the look began: it shows everything that was committed before.
    pub(crate) began: Instant,
    /// The lanes that have ready jobs, and others.
    pub(crate) lanes: Vec<FoundLane>,
    /// When the next scheduled job is due.
    pub(crate) scheduled_at: Option<Instant>,
    /// When the next recurring job is due.
    pub(crate) recurring_at: Option<Instant>,
    /// Whether a job is blocked.
    pub(crate) has_blocked: bool,
    /// Whether jobs may have to be woken because of an event.
    pub(crate) has_open_events: bool,
}

impl Seen {
    fn new(look: Look, began: Instant, ended: Instant) -> Self {
        let at = |wait: Duration| ended.checked_add(wait);
        Self {
            began,
            lanes: look.lanes,
            scheduled_at: look.next_scheduled.and_then(at),
            recurring_at: look.next_recurring.and_then(at),
            has_blocked: look.has_blocked,
            has_open_events: look.has_open_events,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Lookout {
    /// The time after which a part wants a look to begin, the latest of all.
    wanted: watch::Sender<Option<Instant>>,
    /// The last look.
    seen: watch::Sender<Seen>,
    /// What the parts have found before, for partial looks.
    from: Mutex<LookFrom>,
}

impl Lookout {
    pub(crate) fn new(now: Instant) -> Self {
        let nothing = Seen::new(Look::default(), now, now);
        Self {
            wanted: watch::Sender::new(None),
            seen: watch::Sender::new(nothing),
            from: Mutex::default(),
        }
    }

    /// Notes the lanes that a worker serves, with their floors. With several workers, partial looks know
    /// the lanes of the last one, and read all others.
    pub(crate) fn note_lanes(&self, lanes: Vec<Lane>) {
        self.lock().lanes = lanes;
    }

    /// Notes the place up to which scheduled jobs were promoted.
    pub(crate) fn note_promoted(&self, place: DuePlace) {
        self.lock().scheduled = place;
    }

    fn lock(&self) -> MutexGuard<'_, LookFrom> {
        self.from.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whenever a part wants that. Ends only with an error.
    pub(crate) async fn run(
        &self,
        connection: &SharedConnection,
        schema: &Schema,
        kinds: &Kinds,
    ) -> Result<(), sqlx::Error> {
        let mut next_full = Instant::now();
        loop {
            self.is_wanted().await;
            let began = Instant::now();
            let is_full = began >= next_full;
            let from = match is_full {
                true => LookFrom::default(),
                false => self.lock().clone(),
            };
            // Others may use the connection meanwhile.
            let (look, asked) = connection
                .run(async |conn| {
                    let asked = Instant::now();
                    Ok((look(conn, schema, &from, kinds).await?, asked))
                })
                .await?;
            if is_full {
                next_full = Instant::now() + rest_after(asked.elapsed());
            }
            self.show(look, began);
        }
    }

    /// Waits until a part wants a look after the last one.
    async fn is_wanted(&self) {
        let last = self.seen.borrow().began;
        let mut wanted = self.wanted.subscribe();
        // The sender is a field of `self`.
        let _wanted = wanted
            .wait_for(|since| since.is_some_and(|since| since >= last))
            .await;
    }

    /// Shows all parts what a look found.
    fn show(&self, look: Look, began: Instant) {
        let seen = Seen::new(look, began, Instant::now());
        self.seen.send_replace(seen);
    }

    /// Waits until an interval since a look is over, and returns what a look of its last half found.
    pub(crate) async fn next(&self, last: Instant, interval: Duration) -> Seen {
        sleep_until((last + interval).into()).await;
        let since = Instant::now() - interval / 2;
        self.wanted.send_if_modified(|wanted| {
            let is_later = Some(since) > *wanted;
            *wanted = (*wanted).max(Some(since));
            is_later
        });
        let mut seen = self.seen.subscribe();
        // The sender is a field of `self`.
        let newer = seen.wait_for(|seen| seen.began > since).await;
        match newer.map(|seen| seen.clone()) {
            Ok(seen) => seen,
            Err(_closed) => pending().await,
        }
    }

    /// Waits for an interval, or until a look in its last quarter: so an idle process wakes up once for both.
    pub(crate) async fn pause(&self, interval: Duration) {
        let early = Instant::now() + interval.mul_f64(0.75);
        let mut seen = self.seen.subscribe();
        let look = seen.wait_for(|seen| seen.began > early);
        // The sender is a field of `self`.
        let _over = timeout(interval, look).await;
    }

    /// Waits until a time, or until something is due that was added meanwhile: until the time that a look
    /// has found. Looks at intervals.
    pub(crate) async fn until_due(
        &self,
        mut due_at: Option<Instant>,
        mut last: Instant,
        interval: Duration,
        found: impl Fn(&Seen) -> Option<Instant>,
    ) {
        loop {
            let due = async {
                match due_at {
                    Some(at) => sleep_until(at.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = due => return,
                seen = self.next(last, interval) => {
                    last = seen.began;
                    due_at = found(&seen);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(20);

    /// Takes a look ten times, as a part does that is idle.
    async fn idle_part(lookout: &Lookout, begins_after: Duration) {
        tokio::time::sleep(begins_after).await;
        let mut last = Instant::now();
        for _ in 0..10 {
            let began = lookout.next(last, INTERVAL).await.began;
            assert!(began > last);
            last = began;
        }
    }

    #[tokio::test]
    async fn parts_with_the_same_interval_share_their_looks() {
        let lookout = Lookout::new(Instant::now());
        let mut looks = 0;
        let looking = async {
            loop {
                lookout.is_wanted().await;
                looks += 1;
                lookout.show(Look::default(), Instant::now());
            }
        };
        let parts = async {
            tokio::join!(
                idle_part(&lookout, Duration::ZERO),
                idle_part(&lookout, INTERVAL / 4),
                idle_part(&lookout, INTERVAL / 2),
                idle_part(&lookout, 3 * INTERVAL / 4),
            )
        };
        tokio::select! {
            () = looking => {}
            _done = parts => {}
        }
        assert!((10..=20).contains(&looks), "{looks} looks for 40");
    }
}
