//! Migrations: applied once each, also concurrently, and always with the same result.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Command;

use queue_core::Schema;
use queue_core::migrate::{MIGRATIONS, MigrateError, migrate, script, status};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, worker};
use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::task::{JoinSet, spawn_blocking};

use crate::shell::{Shell, said, stopped_by};

async fn bare() -> World {
    let world = World::new().await;
    world.sql("drop schema queue cascade").await;
    world
}

#[tokio::test]
async fn concurrent_migrations_apply_each_migration_once() {
    for isolation in ["read committed", "serializable"] {
        let world = bare().await;
        let name: String = world.value("select current_database()::text").await;
        let default = format!("set default_transaction_isolation = '{isolation}'");
        world.sql(&format!("alter database {name} {default}")).await;

        let mut migrating = JoinSet::new();
        for _ in 0..8 {
            let mut conn = world.connect().await;
            migrating.spawn(async move { migrate(&mut conn, &Schema::default()).await.unwrap() });
        }
        let applied = migrating.join_all().await;

        let mut versions: Vec<i32> = applied.iter().flatten().map(|m| m.version).collect();
        versions.sort_unstable();
        let known = MIGRATIONS.iter().map(|migration| migration.version);
        assert_eq!(versions, known.collect::<Vec<_>>());
        assert_eq!(world.count("migrations").await, versions.len() as i64);
    }
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let world = World::new().await;
    let mut conn = world.connect().await;

    let applied = migrate(&mut conn, &Schema::default()).await.unwrap();

    assert!(applied.is_empty());
}

#[tokio::test]
async fn each_command_of_a_migration_is_sent_alone() {
    let world = bare().await;
    for prepare in [
        "create table public.sent (message text)",
        "create function public.record() returns event_trigger language plpgsql as
         'begin insert into public.sent values (current_query()); end'",
        "create event trigger record on ddl_command_end execute function public.record()",
    ] {
        world.sql(prepare).await;
    }
    let mut conn = world.connect().await;

    migrate(&mut conn, &Schema::default()).await.unwrap();

    let sent: Vec<(String,)> = world.rows("select message from public.sent").await;
    assert!(sent.len() > MIGRATIONS.len(), "{}", sent.len());
    for (message,) in sent {
        assert!(!message.trim_end().contains(";\n"), "{message}");
    }
}

#[tokio::test]
async fn a_program_older_than_the_tables_works_on_them() {
    let world = World::new().await;
    world
        .sql("insert into queue.migrations (version, name) values (9999, 'future')")
        .await;
    let shell = Shell::on(&world);

    let migrated = said(&shell.run(&["migrate"]).await);
    let status = shell.print(&["migrate", "status"]).await;
    let doctor = shell.run(&["doctor"]).await.stdout;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    world.queue.enqueue(Note::new("done")).await.unwrap();
    stage.noted("done").await;
    process.stop().await;

    let newer = "at version 9999, newer than this program: nothing to apply";
    assert!(migrated.contains(newer), "{migrated}");
    assert!(!status.contains("missing"), "{status}");
    let doctor = String::from_utf8(doctor).unwrap();
    assert!(doctor.contains("and this program knows 2"), "{doctor}");
}

#[tokio::test]
async fn a_process_newer_than_the_tables_waits_for_the_migration() {
    let world = World::new().await;
    let newest = MIGRATIONS.last().unwrap();
    world
        .sql("update queue.migrations set version = 0 where version = (select max(version) from queue.migrations)")
        .await;
    let shell = Shell::on(&world);
    let mut child = shell.command(&["start"]).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let waits = |line: &String| line.contains("older than this program, so no job is run");

    let found = spawn_blocking(move || lines.map(Result::unwrap).find(waits));
    assert!(found.await.unwrap().unwrap().contains("`queue migrate`"));
    assert_eq!(world.count("processes").await, 0);
    let again = format!("update queue.migrations set version = {}", newest.version);
    world.sql(&format!("{again} where version = 0")).await;
    world.until("processes", 1).await;
    stopped_by(child, Signal::TERM).await;
}

#[tokio::test]
async fn a_command_newer_than_the_tables_names_the_command_that_migrates() {
    let world = World::new().await;
    world.sql("alter table queue.jobs drop column tags").await;

    let refused = Shell::on(&world).refused(1, &["jobs", "show", "1"]).await;

    assert!(refused.contains("older than this program"), "{refused}");
    assert!(refused.contains("queue migrate`"), "{refused}");
}

#[tokio::test]
async fn migrating_an_existing_schema_needs_no_right_to_create_schemas() {
    let world = bare().await;
    let mut conn = world.connect().await;
    let role: String = world
        .value("select current_database()::text || '_migrator'")
        .await;
    world.sql(&format!("create role {role}")).await;
    world
        .sql(&format!("create schema queue authorization {role}"))
        .await;
    conn.execute(AssertSqlSafe(format!("set role {role}")))
        .await
        .unwrap();

    let applied = migrate(&mut conn, &Schema::default()).await.unwrap();

    assert_eq!(applied.len(), MIGRATIONS.len());
    world.sql(&format!("drop owned by {role}")).await;
    world.sql(&format!("drop role {role}")).await;
}

#[tokio::test]
async fn a_failed_migration_leaves_no_trace_and_is_named() {
    let world = bare().await;
    let mut conn = world.connect().await;
    world.sql("create schema queue").await;
    world.sql("create table queue.finished ()").await;

    let answer = migrate(&mut conn, &Schema::default()).await;

    let Err(MigrateError::Failed { version, name, .. }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((version, name), (2, "states"));
    let left = "select to_regclass('queue.ready') is null";
    assert!(world.value::<bool>(left).await);
    world.sql("drop table queue.finished").await;
    let rest = migrate(&mut conn, &Schema::default()).await.unwrap();
    assert_eq!(rest[0].version, 2);
}

#[tokio::test]
async fn a_migration_gives_up_when_another_transaction_keeps_a_table_locked() {
    let world = World::new().await;
    let mut conn = world.connect().await;
    world
        .sql("delete from queue.migrations where version = 27")
        .await;
    world
        .sql("alter table queue.attempts drop column version")
        .await;
    let mut dump = world.pool().begin().await.unwrap();
    let locked = "lock table queue.attempts in access share mode";
    dump.execute(locked).await.unwrap();

    let answer = migrate(&mut conn, &Schema::default()).await;
    dump.rollback().await.unwrap();
    let rest = migrate(&mut conn, &Schema::default()).await.unwrap();

    let Err(MigrateError::Locked { version: 27, .. }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(rest.len(), 1);
}

#[tokio::test]
async fn the_status_shows_when_each_migration_was_applied() {
    let world = bare().await;
    let mut conn = world.connect().await;

    let before = status(&mut conn, &Schema::default()).await.unwrap();
    migrate(&mut conn, &Schema::default()).await.unwrap();
    let after = status(&mut conn, &Schema::default()).await.unwrap();

    assert_eq!(before.version, 0);
    assert!(before.known.iter().all(|known| known.applied_at.is_none()));
    assert_eq!(after.version, MIGRATIONS.last().unwrap().version);
    assert!(after.known.iter().all(|known| known.applied_at.is_some()));
}

#[tokio::test]
async fn the_applications_own_migrations_are_not_touched() {
    let world = bare().await;
    let mut conn = world.connect().await;
    world
        .sql("create table public._sqlx_migrations (version bigint primary key)")
        .await;
    world
        .sql("insert into public._sqlx_migrations values (1), (2)")
        .await;

    migrate(&mut conn, &Schema::default()).await.unwrap();

    let theirs: i64 = world
        .value("select count(*) from public._sqlx_migrations")
        .await;
    assert_eq!(theirs, 2);
    let others: i64 = world
        .value(
            "select count(*) from pg_class where relnamespace = 'public'::regnamespace
                and relkind = 'r'",
        )
        .await;
    assert_eq!(others, 1);
}

#[tokio::test]
async fn the_printed_script_makes_the_same_schema() {
    let by_hand = bare().await;
    let migrated = World::new().await;

    let script = script(&Schema::default());
    let mut conn = by_hand.connect().await;
    conn.execute(AssertSqlSafe(script)).await.unwrap();

    assert_eq!(
        shape(&by_hand, "queue").await,
        shape(&migrated, "queue").await
    );
    assert!(
        migrate(&mut conn, &Schema::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_renamed_schema_differs_only_in_its_name() {
    let usual = World::new().await;
    let renamed = World::in_schema("ours").await;

    let shape_of_ours = shape(&renamed, "ours").await;

    assert_eq!(shape_of_ours, shape(&usual, "queue").await);
    let schema = Schema::named("ours").unwrap();
    assert!(!script(&schema).contains("queue."));
}

/// Describes everything in a schema except its name.
async fn shape(world: &World, schema: &str) -> Vec<String> {
    let query = "
        select format('%s %s %s %s %s', relname, attname, format_type(atttypid, atttypmod),
            attnotnull, pg_get_expr(adbin, adrelid))
        from pg_class
        join pg_attribute on attrelid = pg_class.oid
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where relnamespace = 'SCHEMA'::regnamespace and attnum > 0
        union all
        select format('%s %s', conname, pg_get_constraintdef(oid))
        from pg_constraint
        where connamespace = 'SCHEMA'::regnamespace
        union all
        select pg_get_indexdef(oid)
        from pg_class
        where relnamespace = 'SCHEMA'::regnamespace and relkind = 'i'
        order by 1";
    let rows: Vec<(String,)> = world.rows(&query.replace("SCHEMA", schema)).await;
    let plain = |(row,): (String,)| row.replace(&format!("{schema}."), "");
    rows.into_iter().map(plain).collect()
}

/// The golden schema, `migrations/schema.sql`, is the result of all migrations, as `pg_dump` 15
/// prints it. `UPDATE_SCHEMA=1` in the environment rewrites it. Without a `pg_dump` of that version
/// nothing is compared.
#[tokio::test]
async fn the_golden_schema_is_what_the_migrations_make() {
    let Some(pg_dump) = pg_dump_15() else {
        eprintln!("there is no pg_dump 15 here; the golden schema is not compared");
        return;
    };
    let world = World::new().await;
    let server: String = world.value("show server_version_num").await;
    if !server.starts_with("15") {
        eprintln!("the server is not Postgres 15; the golden schema is not compared");
        return;
    }

    let options = world.connect_options();
    let host = options
        .get_socket()
        .map(|socket| socket.display().to_string());
    let dumped = Command::new(pg_dump)
        .args([
            "--schema-only",
            "--no-owner",
            "--no-privileges",
            "--schema=queue",
        ])
        .env("PGHOST", host.as_deref().unwrap_or(options.get_host()))
        .env("PGPORT", options.get_port().to_string())
        .env("PGUSER", options.get_username())
        .env("PGDATABASE", options.get_database().unwrap())
        .output()
        .unwrap();
    assert!(
        dumped.status.success(),
        "{}",
        String::from_utf8_lossy(&dumped.stderr)
    );
    let made = normalised(&String::from_utf8(dumped.stdout).unwrap());

    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../migrations/schema.sql");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(
        golden == made,
        "migrations/schema.sql is not what the migrations make; \
         write it anew with: UPDATE_SCHEMA=1 bin/test golden_schema"
    );
}

fn pg_dump_15() -> Option<PathBuf> {
    let named = std::env::var_os("QUEUE_PG_BIN").map(PathBuf::from);
    let debian = PathBuf::from("/usr/lib/postgresql/15/bin");
    [named, Some(debian)]
        .into_iter()
        .flatten()
        .map(|directory| directory.join("pg_dump"))
        .find(|pg_dump| {
            Command::new(pg_dump)
                .arg("--version")
                .output()
                .is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(" 15."))
        })
}

/// Removes the lines that do not describe the schema: versions, settings, comments, blank lines.
fn normalised(dump: &str) -> String {
    let mut lines =
        vec!["-- What the migrations make, as pg_dump 15 prints it. Compared by the tests."];
    let mut was_blank = false;
    for line in dump.lines() {
        let is_noise = line.starts_with("--")
            || line.starts_with("SET ")
            || line.starts_with("SELECT pg_catalog.set_config")
            || line.starts_with('\\');
        let is_blank = line.is_empty();
        if is_noise || (is_blank && was_blank) {
            continue;
        }
        was_blank = is_blank;
        lines.push(line);
    }
    lines.join("\n").trim_end().to_owned() + "\n"
}
