//! The key with which dashboards sign forms. All dashboards of one queue share it.

use sqlx::PgConnection;

use crate::sql::Schema;

/// Returns the key, which is `made` if there is none yet.
pub async fn signing_key(
    conn: &mut PgConnection,
    schema: &Schema,
    made: &[u8],
) -> Result<Vec<u8>, sqlx::Error> {
    let mut known = read(conn, schema).await?;
    if known.is_none() {
        schema
            .query("insert into queue.signing_key (key) values ($1) on conflict do nothing")
            .bind(made)
            .execute(&mut *conn)
            .await?;
        known = read(conn, schema).await?;
    }
    known.ok_or(sqlx::Error::RowNotFound)
}

async fn read(conn: &mut PgConnection, schema: &Schema) -> Result<Option<Vec<u8>>, sqlx::Error> {
    schema
        .query_scalar("select key from queue.signing_key")
        .fetch_optional(conn)
        .await
}
