//! Whether the tables were made in this database, or are a restored copy of another one's.
//!
//! A restored dump holds the jobs of another database, perhaps of one that goes on running them. So processes
//! run nothing there until an operator accepts the copy. The row of the table `origin` names the transaction
//! that wrote it, which Postgres also keeps in `xmin`. A standby, a copy of files and `pg_upgrade` keep both, so
//! processes run there. A tool that copies rows, such as a dump or logical replication, inserts the row in a new
//! transaction, which has another number.

use sqlx::PgConnection;

use crate::sql::Schema;

const ACCEPT: &str = "\
insert into queue.origin (written_by) values (pg_current_xact_id()::xid)
on conflict (is_only) do update set written_by = excluded.written_by
where origin.written_by <> origin.xmin";

/// Returns whether processes may run jobs: the tables were made in this database, or the copy was accepted.
pub async fn is_original(conn: &mut PgConnection, schema: &Schema) -> Result<bool, sqlx::Error> {
    schema
        .query_scalar("select exists (select from queue.origin where written_by = xmin)")
        .fetch_one(conn)
        .await
}

/// Accepts a restored copy: processes that wait begin to run jobs within seconds. Returns whether it was not
/// accepted before. Must not be called within a savepoint, whose rows have numbers of their own.
pub async fn accept(conn: &mut PgConnection, schema: &Schema) -> Result<bool, sqlx::Error> {
    let accepted = schema.query(ACCEPT).execute(conn).await?;
    Ok(accepted.rows_affected() == 1)
}

/// Makes processes that start from now on wait until the database is accepted. Returns whether they did not
/// before. Those that run go on.
pub async fn hold(conn: &mut PgConnection, schema: &Schema) -> Result<bool, sqlx::Error> {
    let held = schema.query("delete from queue.origin where written_by = xmin");
    Ok(held.execute(conn).await?.rows_affected() == 1)
}
