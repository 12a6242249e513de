//! Whether connections lead to a pooler that changes the server behind them.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};
use tokio::time::timeout;

/// How often the servers behind two connections are compared.
const COMPARISONS: usize = 5;

/// How long a pooler may take to find a server for the second connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What a connection keeps between two transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// Its server, with its settings and prepared statements: there is no pooler, or one in session mode.
    Session,
    /// Nothing: a pooler in transaction mode gives the server to another client next.
    Transaction,
}

/// Finds out what connections keep. In transaction mode two connections share a server, or one
/// changes it.
pub(crate) async fn detect(
    conn: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<Pooling, sqlx::Error> {
    let mut other = options.connect().await?;
    let found = compare(conn, &mut other).await;
    let _closed_or_broken = other.close().await;
    found
}

async fn compare(one: &mut PgConnection, other: &mut PgConnection) -> Result<Pooling, sqlx::Error> {
    let first = server_of(one).await?;
    for _ in 0..COMPARISONS {
        // In session mode there may be no other server for the second connection.
        let Ok(second) = timeout(ANSWER_TIMEOUT, server_of(other)).await else {
            break;
        };
        if second? == first || server_of(one).await? != first {
            return Ok(Pooling::Transaction);
        }
    }
    Ok(Pooling::Session)
}

/// Returns the id of the server's process, by a single message: in transaction mode, a statement that is
/// prepared by one message and executed by the next could meet two servers.
async fn server_of(conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = sqlx::raw_sql("select pg_backend_pid()").fetch_one(conn);
    row.await?.try_get(0)
}
