//! Migrations, and that every statement fits the schema.

use std::path::Path;

use quorate_store::StoreError;
use rusqlite::Connection;

use crate::fixture::{Database, Fixture, client};

pub(crate) async fn a_second_migration_does_nothing(on: Fixture) {
    assert_eq!(on.store.migrate().await.unwrap(), ["0001_initial"]);
    assert!(on.store.migrate().await.unwrap().is_empty());
    on.store.check_schema().await.unwrap();
}

pub(crate) async fn two_servers_migrate_at_once_and_each_migration_runs_once(on: Fixture) {
    let (one, two) = tokio::join!(on.store.migrate(), on.other.migrate());
    assert_eq!([one.unwrap(), two.unwrap()].concat(), ["0001_initial"]);
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
    on.database.run("insert into migration (name, checksum) select '9999_later', checksum from migration").await;
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
