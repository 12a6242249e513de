//! The rights that a role lacks on the tables.

use sqlx::{FromRow, PgConnection};

use crate::sql::Schema;

const RIGHTS: &str = include_str!("rights.sql");

/// Rights that one grant would give.
#[derive(FromRow)]
pub(super) struct Lacking {
    /// The role, quoted if need be.
    pub(super) role: String,
    /// `schema`, `table` or `sequence`.
    pub(super) class: String,
    pub(super) privileges: String,
    /// What the rights are on, separated by commas.
    pub(super) names: String,
}

impl Lacking {
    /// Returns whether facts about jobs cannot be read without them.
    pub(super) fn prevents_reading(&self) -> bool {
        match self.class.as_str() {
            "sequence" => false,
            "schema" => true,
            _ => self.privileges.contains("select"),
        }
    }
}

/// Reads what the role of this session lacks.
pub(super) async fn own(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<Lacking>, sqlx::Error> {
    read(conn, schema, None).await
}

/// Reads what the roles of processes lack. A process is found by the application's name of its sessions.
pub(super) async fn of_processes(
    conn: &mut PgConnection,
    schema: &Schema,
    names: impl Iterator<Item = &str>,
) -> Result<Vec<Lacking>, sqlx::Error> {
    // The server cuts longer ones.
    let application = |name: &str| format!("queue {}", name.chars().take(50).collect::<String>());
    read(conn, schema, Some(names.map(application).collect())).await
}

async fn read(
    conn: &mut PgConnection,
    schema: &Schema,
    applications: Option<Vec<String>>,
) -> Result<Vec<Lacking>, sqlx::Error> {
    schema
        .query_as(RIGHTS)
        .bind(schema.name())
        .bind(applications)
        .fetch_all(conn)
        .await
}
