//! Where a server under test keeps its data and its queue: private to the test.

use std::{env, fs, path::PathBuf, process::Command};

use tempfile::TempDir;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::queue_support::{Corner, amqp_url};

/// Tests that stop the broker run alone; all others that use it run beside each other.
static BROKER: RwLock<()> = RwLock::const_new(());

/// A database, and a corner of the broker where there is one.
pub(crate) struct Backend {
    pub(crate) database_url: String,
    pub(crate) broker: Option<Broker>,
    database: Database,
}

/// Names of the test's own on the broker.
pub(crate) struct Broker {
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) corner: Option<Corner>,
    _turn: Turn,
}

enum Database {
    File { _folder: TempDir },
    Postgres { name: String },
}

enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Backend {
    pub(crate) fn sqlite_and_memory() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database_url = format!("sqlite:{}", folder.path().join("quorate.db").display());
        Self { database_url, broker: None, database: Database::File { _folder: folder } }
    }

    pub(crate) async fn postgres_and_rabbitmq() -> Self {
        Self::on_postgres(Broker::shared().await)
    }

    /// For tests that stop the broker: no other test uses it meanwhile.
    pub(crate) async fn with_the_broker_alone() -> Self {
        let turn = Turn::Alone { _guard: BROKER.write().await };
        let broker = Broker::new(turn).await;
        // The connection of a corner would be broken with the broker.
        Self::on_postgres(Broker { corner: None, ..broker })
    }

    fn on_postgres(broker: Broker) -> Self {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        sql(&format!("CREATE DATABASE {name}"));
        let url = variable("QUORATE_TEST_DATABASE_URL");
        let (server, _) = url.rsplit_once('/').unwrap();
        Self { database_url: format!("{server}/{name}"), broker: Some(broker), database: Database::Postgres { name } }
    }

    pub(crate) fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("the test asked for a backend with a broker")
    }

    /// Carries out a statement in the test's own database, behind the server's back.
    pub(crate) fn run_sql(&self, statement: &str) {
        let Database::Postgres { name } = &self.database else {
            panic!("the test asked for a backend with PostgreSQL")
        };
        services(&["psql", "-d", name, "-qAtc", statement]);
    }

    /// Leaves nothing on the broker. The database goes by itself.
    pub(crate) async fn clean_up(mut self) {
        if let Some(corner) = self.broker.as_mut().and_then(|broker| broker.corner.take()) {
            corner.clean_up(&[]).await;
            for task_queue in crate::definitions::TASK_QUEUES {
                corner.delete(&corner.names.jobs_queue(task_queue)).await;
            }
        }
    }
}

impl Broker {
    /// For tests that run beside others.
    pub(crate) async fn shared() -> Self {
        Self::new(Turn::Shared { _guard: BROKER.read().await }).await
    }

    async fn new(turn: Turn) -> Self {
        let corner = Corner::new().await;
        Self { url: amqp_url(), prefix: corner.prefix.clone(), corner: Some(corner), _turn: turn }
    }

    pub(crate) fn corner(&self) -> &Corner {
        self.corner.as_ref().expect("the broker is not stopped in this test")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Postgres { name } = self {
            sql(&format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: these tests need servers, run scripts/test.sh"))
}

/// Carries out a command of `scripts/services.sh` on the servers of this run, and gives what it prints.
pub(crate) fn services(arguments: &[&str]) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/services.sh");
    let (action, rest) = arguments.split_first().unwrap();
    let dir = variable("QUORATE_TEST_SERVICES");
    let output = Command::new("bash").arg(script).args([*action, "--dir", &dir]).args(rest).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "services.sh {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn sql(statement: &str) {
    services(&["psql", "-qAtc", statement]);
}

/// Whether a folder holds nothing.
pub(crate) fn is_empty(folder: &std::path::Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}
