//! Migrations, and that every statement fits the schema.

use std::path::Path;

use quorate_store::StoreError;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::fixture::{Database, Fixture, client};

pub(crate) async fn a_second_migration_does_nothing(on: Fixture) {
    assert_eq!(on.store.migrate().await.unwrap(), migrations(&on));
    assert!(on.store.migrate().await.unwrap().is_empty());
    on.store.check_schema().await.unwrap();
}

pub(crate) async fn two_servers_migrate_at_once_and_each_migration_runs_once(on: Fixture) {
    let (one, two) = tokio::join!(on.store.migrate(), on.other.migrate());
    assert_eq!([one.unwrap(), two.unwrap()].concat(), migrations(&on));
}

pub(crate) async fn a_migration_with_another_text_is_refused_by_name(on: Fixture) {
    on.store.migrate().await.unwrap();
    let changed = match on.database {
        Database::Postgres(_) => "update migration set checksum = '\\x00'",
        Database::Sqlite(_) => "update migration set checksum = x'00'",
    };
    on.database.run(changed).await;
    for refused in [on.store.check_schema().await, on.store.migrate().await.map(drop)] {
        assert!(matches!(refused, Err(StoreError::Schema(text)) if text.contains("0001_initial")));
    }
}

pub(crate) async fn a_store_that_is_newer_than_the_program_is_refused(on: Fixture) {
    on.store.migrate().await.unwrap();
    on.database.run("insert into migration (name, checksum) select '9999_later', checksum from migration where name = '0001_initial'").await;
    for refused in [on.store.check_schema().await, on.store.migrate().await.map(drop)] {
        assert!(
            matches!(refused, Err(StoreError::Schema(text)) if text.contains("newer") && text.contains("9999_later"))
        );
    }
}

pub(crate) async fn a_store_that_was_never_migrated_is_refused(on: Fixture) {
    assert!(matches!(on.store.check_schema().await, Err(StoreError::Schema(text)) if text.contains("quorate migrate")));
    let unread = on.store.list_api_tokens().await;
    assert!(matches!(unread, Err(StoreError::Schema(_))), "{unread:?}");
}

pub(crate) async fn every_statement_can_be_prepared(on: Fixture) {
    on.store.migrate().await.unwrap();
    let statements = match &on.database {
        Database::Postgres(_) => statements("postgres"),
        Database::Sqlite(_) => statements("sqlite"),
    };
    assert!(statements.len() > 50, "the folder of statements was not found");
    match &on.database {
        Database::Postgres(url) => {
            let client = client(url).await;
            for (name, sql) in statements {
                let prepared = client.prepare(&sql).await;
                assert!(prepared.is_ok(), "{name}: {}", prepared.unwrap_err());
            }
        }
        Database::Sqlite(path) => {
            let connection = Connection::open(path).unwrap();
            for (name, sql) in statements {
                let prepared = connection.prepare(&sql).map(drop);
                assert!(prepared.is_ok(), "{name}: {}", prepared.unwrap_err());
            }
        }
    }
}

pub(crate) async fn a_store_of_the_first_version_keeps_what_it_holds(on: Fixture) {
    let files = migration_files(&on);
    let (first, sql) = files.iter().find(|(name, _)| name == "0001_initial").unwrap();
    let checksum = format!("{:x}", Sha256::digest(sql));
    let (create, checksum) = match on.database {
        Database::Postgres(_) => {
            (include_str!("../../sql/postgres/migration/create.sql"), format!("decode('{checksum}', 'hex')"))
        }
        Database::Sqlite(_) => (include_str!("../../sql/sqlite/migration/create.sql"), format!("x'{checksum}'")),
    };
    on.database.run(create).await;
    on.database.run(sql).await;
    on.database.run(&format!("insert into migration (name, checksum) values ('{first}', {checksum})")).await;
    let key = "'default', '019abcde-0000-7000-8000-000000000001', '019abcde-0000-7000-8000-000000000002', \
               '019abcde-0000-7000-8000-000000000003'";
    on.database
        .run(&format!(
            "insert into work_item (
                tenant, submission, id, step_run, process, stage, step, assignee_kind, assignee, reason, status, assigned_at
            ) values ({key}, 'p', 'st', 's', 'user', 'bob', 'user bob', 'ASSIGNED', '2026-11-22T10:00:00.000000Z');
            insert into decision (
                tenant, submission, work_item, step_run, verdict, actor, comment, channel, record_digest, decided_at
            ) values ({key}, 'APPROVE', 'bob', 'kept', 'API', 'd1', '2026-11-22T10:00:00.000000Z');
            insert into job (
                tenant, submission, id, step_run, process, stage, step, spec, attempt, token, status, available_at,
                task_queue, flow, deliver_at
            ) values (
                {key}, 'p', 'st', 's', '{{}}', 1, 't', 'PENDING', '2026-11-22T10:00:00.000000Z', 'erp', 'f',
                '2026-11-22T10:00:05.000000Z'
            )",
        ))
        .await;

    assert_eq!(on.store.migrate().await.unwrap(), migrations(&on)[1..]);
    assert_eq!(on.database.column("select comment from decision").await, ["kept"]);
    assert_eq!(on.database.column("select assignee from work_item where weight = 1").await, ["bob"]);
    assert_eq!(on.database.column("select task_queue from job where deliver_at is not null").await, ["erp"]);
}

/// The names of all migrations, in order.
fn migrations(on: &Fixture) -> Vec<String> {
    let mut names: Vec<_> = migration_files(on).into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

/// The migrations of a store: their names and their texts.
fn migration_files(on: &Fixture) -> Vec<(String, String)> {
    let of = match on.database {
        Database::Postgres(_) => "postgres",
        Database::Sqlite(_) => "sqlite",
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(of);
    let files = std::fs::read_dir(root).unwrap().map(|file| file.unwrap().path());
    files
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// All files of `store/sql/<of>`.
pub(crate) fn statements(of: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql").join(of);
    let mut found = Vec::new();
    for table in std::fs::read_dir(root).unwrap() {
        for file in std::fs::read_dir(table.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    found
}
