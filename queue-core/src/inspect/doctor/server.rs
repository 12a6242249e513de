//! The facts about the server.

use sqlx::{FromRow, PgConnection};

use crate::sql::Schema;

const HORIZON: &str = include_str!("horizon.sql");
const TABLES: &str = include_str!("tables.sql");
const SERVER: &str = include_str!("server.sql");

const HOLDER_AFTER_MS: i64 = 60_000;
/// The number of transactions that stands for the time where that is not visible: minutes of a busy queue.
const HOLDER_AFTER_TRANSACTIONS: i32 = 100_000;
const DEAD_ROWS: i64 = 100_000;

#[derive(FromRow)]
pub(super) struct Server {
    pub(super) fsync: bool,
    pub(super) full_page_writes: bool,
    pub(super) synchronous_commit: String,
    pub(super) autovacuum: bool,
    pub(super) track_counts: bool,
    pub(super) is_standby: bool,
    /// Whether transactions are read-only by default.
    pub(super) is_read_only: bool,
    /// Where that default comes from, as in `pg_settings`.
    pub(super) read_only_by: Option<String>,
    pub(super) encoding: String,
    pub(super) connections: i64,
    pub(super) connections_max: i64,
    pub(super) ids_used: Option<f64>,
    #[sqlx(skip)]
    pub(super) holders: Vec<Holder>,
    #[sqlx(skip)]
    pub(super) tables: Vec<Table>,
}

/// A session, replication slot or prepared transaction that keeps dead rows from being removed.
#[derive(FromRow)]
pub(super) struct Holder {
    /// `session`, `slot` or `prepared`.
    pub(super) holder: String,
    pub(super) name: String,
    pub(super) application_name: Option<String>,
    pub(super) state: Option<String>,
    pub(super) seconds: Option<f64>,
    pub(super) transactions: i32,
}

/// A table with more dead rows than live ones.
#[derive(FromRow)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) live: i64,
    pub(super) dead: i64,
    pub(super) vacuumed_seconds: Option<f64>,
}

pub(super) async fn read(conn: &mut PgConnection, schema: &Schema) -> Result<Server, sqlx::Error> {
    let server: Server = schema
        .query_as(SERVER)
        .bind(schema.name())
        .fetch_one(&mut *conn)
        .await?;
    let holders = schema
        .query_as(HORIZON)
        .bind(HOLDER_AFTER_MS)
        .bind(HOLDER_AFTER_TRANSACTIONS)
        .fetch_all(&mut *conn)
        .await?;
    let tables = schema
        .query_as(TABLES)
        .bind(schema.name())
        .bind(DEAD_ROWS)
        .fetch_all(conn)
        .await?;
    Ok(Server {
        holders,
        tables,
        ..server
    })
}
