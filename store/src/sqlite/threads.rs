//! Connections on threads of their own: SQLite blocks, and the service must not.

use std::{sync::Arc, sync::Mutex, thread};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// How many commands may wait for a connection before callers wait to hand theirs over: more than there are lanes and handlers
/// at work, so that the bound is met only when the disk hangs.
const COMMANDS_MAX: usize = 256;

type Command = Box<dyn FnOnce(&mut Connection) + Send>;

/// Threads that each own a connection and take commands from one queue. They end when the last handle is dropped and the queue
/// is empty.
#[derive(Clone, Debug)]
pub(super) struct Threads {
    commands: mpsc::Sender<Command>,
}

impl Threads {
    /// Starts a thread for each connection.
    pub(super) fn start(name: &str, connections: Vec<Connection>) -> Result<Self, StoreError> {
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for mut connection in connections {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    while let Some(command) = next(&queue) {
                        command(&mut connection);
                    }
                })
                .map_err(|error| {
                    StoreError::Unavailable(format!("a thread for the store could not be started: {error}"))
                })?;
        }
        Ok(Self { commands })
    }

    /// Runs work on the next connection that is free.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let command: Command = Box::new(move |connection| {
            // The caller may have gone away; the work is done all the same.
            let _ = answer.send(work(connection));
        });
        self.commands.send(command).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// Waits for the next command. One thread at a time waits in the queue, the others for their turn to wait.
fn next(queue: &Mutex<mpsc::Receiver<Command>>) -> Option<Command> {
    queue.lock().ok()?.blocking_recv()
}

fn stopped() -> StoreError {
    StoreError::Internal("a thread of the store has stopped".to_owned())
}
