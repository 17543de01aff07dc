//! What a handler logs. A process of its own: while one subscriber is all there is, `tracing` asks the default of
//! whichever thread comes to a span first whether anybody listens to it, so that another test, which has none, could
//! turn it off for this one.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    io,
    sync::{Arc, Mutex},
};

use quorate_worker::{JobContext, Worker, testing::TestJob};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

/// Where a test's log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn what_a_handler_logs_says_which_job_it_is_of() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let worker = Worker::builder().flow("talk", |_: JobContext, _: Value| async {
        tracing::info!("hello");
        Ok(json!({}))
    });
    TestJob::new("talk").job("j1").attempt(2).run(&worker).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = text.lines().find(|line| line.contains("hello")).unwrap();
    for part in ["job.id=\"j1\"", "job.attempt=2", "job.flow=\"talk\"", "submission.id="] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
