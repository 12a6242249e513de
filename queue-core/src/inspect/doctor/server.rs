//! The facts about the server.

use sqlx::{PgConnection, Row};

use crate::sql::Schema;

pub(crate) const HORIZON: &str = include_str!("horizon.sql");
pub(crate) const TABLES: &str = include_str!("tables.sql");
pub(crate) const SERVER: &str = include_str!("server.sql");

const HOLDER_AFTER_MS: i64 = 60_000;
/// Stands for a while where the time itself is not shown: minutes of a busy queue.
const HOLDER_AFTER_TRANSACTIONS: i32 = 100_000;
const DEAD_ROWS: i64 = 100_000;

pub(super) struct Server {
    pub(super) fsync: bool,
    pub(super) full_page_writes: bool,
    pub(super) synchronous_commit: String,
    pub(super) autovacuum: bool,
    pub(super) track_counts: bool,
    pub(super) connections: i64,
    pub(super) connections_max: i64,
    pub(super) ids_used: Option<f64>,
    pub(super) holders: Vec<Holder>,
    pub(super) tables: Vec<Table>,
}

/// Something that keeps dead rows from being removed.
pub(super) struct Holder {
    /// `session`, `slot` or `prepared`.
    pub(super) holder: String,
    pub(super) name: String,
    pub(super) application_name: Option<String>,
    pub(super) state: Option<String>,
    pub(super) seconds: Option<f64>,
    pub(super) transactions: i32,
}

/// A table with more dead rows than living ones.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) live: i64,
    pub(super) dead: i64,
    pub(super) vacuumed_seconds: Option<f64>,
}

pub(super) async fn read(conn: &mut PgConnection, schema: &Schema) -> Result<Server, sqlx::Error> {
    let holders = holders(conn, schema).await?;
    let tables = tables(conn, schema).await?;
    let row = sqlx::query(schema.sql(SERVER))
        .bind(schema.name())
        .fetch_one(conn)
        .await?;
    Ok(Server {
        fsync: row.try_get("fsync")?,
        full_page_writes: row.try_get("full_page_writes")?,
        synchronous_commit: row.try_get("synchronous_commit")?,
        autovacuum: row.try_get("autovacuum")?,
        track_counts: row.try_get("track_counts")?,
        connections: row.try_get("connections")?,
        connections_max: row.try_get("connections_max")?,
        ids_used: row.try_get("ids_used")?,
        holders,
        tables,
    })
}

async fn holders(conn: &mut PgConnection, schema: &Schema) -> Result<Vec<Holder>, sqlx::Error> {
    let rows = sqlx::query(schema.sql(HORIZON))
        .bind(HOLDER_AFTER_MS)
        .bind(HOLDER_AFTER_TRANSACTIONS)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Holder {
                holder: row.try_get("holder")?,
                name: row.try_get("name")?,
                application_name: row.try_get("application_name")?,
                state: row.try_get("state")?,
                seconds: row.try_get("seconds")?,
                transactions: row.try_get("transactions")?,
            })
        })
        .collect()
}

async fn tables(conn: &mut PgConnection, schema: &Schema) -> Result<Vec<Table>, sqlx::Error> {
    let rows = sqlx::query(schema.sql(TABLES))
        .bind(schema.name())
        .bind(DEAD_ROWS)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Table {
                name: row.try_get("name")?,
                live: row.try_get("live")?,
                dead: row.try_get("dead")?,
                vacuumed_seconds: row.try_get("vacuumed_seconds")?,
            })
        })
        .collect()
}
