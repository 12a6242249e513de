//! Whether the server is a replica (a hot standby), and how far it is behind.

use std::time::Duration;

use sqlx::PgConnection;

const BEHIND: &str = "\
select pg_is_in_recovery(), greatest(
    extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8, 0
)";

/// Returns how far the server is behind its primary server at most, if it is a replica: the time since the last
/// commit that it has replayed was made there. If nothing is committed there, that grows although nothing is
/// missing.
pub async fn behind(conn: &mut PgConnection) -> Result<Option<Duration>, sqlx::Error> {
    let reading = sqlx::query_as(BEHIND).persistent(false).fetch_one(conn);
    let (is_replica, seconds): (bool, f64) = reading.await?;
    Ok(is_replica.then(|| Duration::from_secs_f64(seconds)))
}
