//! The record of what commands change.

use queue_core::Schema;
use queue_core::operations::audit::{Act, Actor, record};
use rustix::process::getuid;
use sqlx::PgConnection;

use crate::process::host_name;

/// The role of everybody who acts on the command line.
const ROLE: &str = "command line";

/// Returns who runs this command: the user of the operating system, and the host.
pub(super) fn actor() -> Actor {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| format!("uid {}", getuid().as_raw()));
    Actor {
        who: format!("{user}@{}", host_name()),
        role: ROLE.to_owned(),
    }
}

/// Returns an act, such as `pause` on `queues/mail`.
pub(super) fn act(what: impl Into<String>, target: impl Into<String>) -> Act {
    Act {
        what: what.into(),
        target: target.into(),
        ..Act::default()
    }
}

/// Records an act. One on many jobs is recorded when it begins, and again with their number at its end.
pub(super) async fn audit(
    conn: &mut PgConnection,
    schema: &Schema,
    act: Act,
) -> Result<(), sqlx::Error> {
    record(conn, schema, &actor(), &act).await
}

/// Returns the act with the number of jobs that it changed.
pub(super) fn with_jobs(act: Act, jobs: usize) -> Act {
    Act {
        jobs: i64::try_from(jobs).ok(),
        ..act
    }
}
