//! A fresh store for each test, and what the store itself has no words for: statements of its own kind.

use std::{future::Future, path::PathBuf, sync::Arc};

use quorate_store::{PostgresStore, SqliteStore, Store};
use rusqlite::Connection;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Two stores on one database, as two replicas have them.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) other: Arc<dyn Store>,
    pub(crate) database: Database,
}

/// Where the rows are.
#[derive(Clone)]
pub(crate) enum Database {
    Postgres(String),
    Sqlite(PathBuf),
}

/// Runs a claim on a database of its own, which is gone afterwards.
pub(crate) async fn on_postgres<F: Future<Output = ()> + Send + 'static>(
    migrated: bool,
    claim: impl FnOnce(Fixture) -> F,
) {
    let server = std::env::var("QUORATE_TEST_DATABASE_URL").expect(
        "these tests need a PostgreSQL server: run them by scripts/test.sh, which starts one and sets \
         QUORATE_TEST_DATABASE_URL",
    );
    let name = format!("quorate_test_{}", uuid::Uuid::now_v7().simple());
    let admin = client(&server).await;
    admin.batch_execute(&format!("create database {name}")).await.unwrap();

    let url = url_of_database(&server, &name);
    let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(&url, 4).await.unwrap());
    let other: Arc<dyn Store> = Arc::new(PostgresStore::connect(&url, 4).await.unwrap());
    let outcome = run(Fixture { store, other, database: Database::Postgres(url) }, migrated, claim).await;
    admin.batch_execute(&format!("drop database {name} with (force)")).await.unwrap();
    outcome.unwrap();
}

/// Runs a claim on a file of its own, which is gone afterwards.
pub(crate) async fn on_sqlite<F: Future<Output = ()> + Send + 'static>(
    migrated: bool,
    claim: impl FnOnce(Fixture) -> F,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quorate.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path).unwrap());
    let other: Arc<dyn Store> = Arc::new(SqliteStore::open(&path).unwrap());
    run(Fixture { store, other, database: Database::Sqlite(path) }, migrated, claim).await.unwrap();
}

async fn run<F: Future<Output = ()> + Send + 'static>(
    fixture: Fixture,
    migrated: bool,
    claim: impl FnOnce(Fixture) -> F,
) -> Result<(), tokio::task::JoinError> {
    if migrated {
        fixture.store.migrate().await.unwrap();
    }
    // A task of its own, so that the database is dropped when the claim fails.
    tokio::spawn(claim(fixture)).await
}

impl Database {
    /// Runs statements without parameters.
    pub(crate) async fn run(&self, sql: &str) {
        match self {
            Self::Postgres(url) => client(url).await.batch_execute(sql).await.unwrap(),
            Self::Sqlite(path) => Connection::open(path).unwrap().execute_batch(sql).unwrap(),
        }
    }

    /// The first column of each row.
    pub(crate) async fn column(&self, sql: &str) -> Vec<String> {
        match self {
            Self::Postgres(url) => texts(&client(url).await.simple_query(sql).await.unwrap()),
            Self::Sqlite(path) => {
                let connection = Connection::open(path).unwrap();
                let mut statement = connection.prepare(sql).unwrap();
                let rows = statement.query_map([], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
                rows.map(|value| match value.unwrap() {
                    rusqlite::types::Value::Text(text) => text,
                    other => format!("{other:?}"),
                })
                .collect()
            }
        }
    }
}

pub(crate) fn texts(messages: &[SimpleQueryMessage]) -> Vec<String> {
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect()
}

pub(crate) async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The URL of another database of the same server: the path of the URL is replaced.
fn url_of_database(server: &str, name: &str) -> String {
    let (address, options) =
        server.split_once('?').map_or((server, None), |(address, options)| (address, Some(options)));
    let (scheme, rest) = address.split_once("://").expect("QUORATE_TEST_DATABASE_URL is a postgres:// URL");
    let host = rest.split('/').next().unwrap_or(rest);
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    format!("{scheme}://{host}/{name}{options}")
}
