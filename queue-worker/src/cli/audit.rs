//! The record of what commands change.

use queue_core::Schema;
use queue_core::operations::audit::{Act, Actor, record};
use sqlx::PgConnection;

use crate::process::host_name;

/// The role of everybody who acts on the command line.
const ROLE: &str = "command line";

/// Returns who runs this command: the user of the operating system, and the host.
pub(super) fn actor() -> Actor {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| "unknown".to_owned());
    Actor {
        who: format!("{user}@{}", host_name()),
        role: ROLE.to_owned(),
    }
}

/// Records an act, such as `pause` on `queues/mail`, in the transaction that makes the change.
pub(super) async fn audit(
    conn: &mut PgConnection,
    schema: &Schema,
    what: &str,
    target: String,
    why: Option<&str>,
) -> Result<(), sqlx::Error> {
    let act = Act {
        what: what.to_owned(),
        target,
        why: why.map(str::to_owned),
        ..Act::default()
    };
    record(conn, schema, &actor(), &act).await
}
