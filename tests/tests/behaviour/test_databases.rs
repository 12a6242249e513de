//! Each test gets its own database, which is dropped after it.

use queue_tests::postgres::{DedicatedServer, database};
use sqlx::{ConnectOptions, Connection, PgConnection};

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let (one, other) = tokio::join!(database(), database());

    let pool = one.pool();
    sqlx::raw_sql("create table mine ()")
        .execute(&pool)
        .await
        .unwrap();

    let mut elsewhere = PgConnection::connect(&other.url()).await.unwrap();
    let seen: bool = sqlx::query_scalar("select to_regclass('mine') is not null")
        .fetch_one(&mut elsewhere)
        .await
        .unwrap();
    assert!(!seen);
}

#[tokio::test]
async fn a_test_database_is_dropped_even_if_connections_are_open() {
    let kept = database().await;
    let ended = database().await;
    let connection = ended.connect_options().connect().await.unwrap();
    let name = ended.connect_options().get_database().unwrap().to_owned();

    drop(ended);

    let mut observer = kept.connect_options().connect().await.unwrap();
    let there: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut observer)
            .await
            .unwrap();
    assert!(!there);
    drop(connection);
}

#[tokio::test]
async fn a_dedicated_server_can_be_stopped_and_started() {
    let mut server = DedicatedServer::start().await;

    server.stop_server().await;
    assert!(server.connect_options().connect().await.is_err());
    server.start_server().await;

    let mut connection = server.connect_options().connect().await.unwrap();
    connection.ping().await.unwrap();
}
