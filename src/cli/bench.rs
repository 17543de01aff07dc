//! `bench`: how many submissions a server completes, and how long each takes (DESIGN 10).

mod load;
mod report;
mod workload;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Args;
use quorate_worker::{JobContext, Worker};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    cli::{
        Failure,
        apply::apply_documents,
        bench::{
            load::{Load, Pace},
            report::{Recorder, Window},
            workload::Workload,
        },
        output::{Format, Session},
        parse_duration,
    },
    client::{Client, Connection, Token},
};

/// Who stores the definitions where nobody is named: in development, where any name will do.
const DESIGNER: &str = "admin";
/// Who submits where nobody is named.
const SUBMITTER: &str = "quorate-bench-submitter";

/// How many jobs the worker of `--with-worker` holds at once: more than it needs, so that it is not what is measured.
const WORKER_CONCURRENCY: u16 = 256;

/// Arguments of `quorate bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What each submission goes through
    #[arg(long, value_enum)]
    pub(crate) workload: Workload,
    /// How long to measure, after the warm-up
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub(crate) duration: Duration,
    /// How long to submit before measuring
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "3s")]
    pub(crate) warmup: Duration,
    /// How long to wait, after measuring, for what is still under way
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub(crate) drain: Duration,
    /// How many submissions are begun each second, whatever becomes of those before: latencies count from the scheduled
    /// time, so that a server that falls behind cannot hide it
    #[arg(long, value_name = "N", value_parser = parse_rate, conflicts_with = "concurrency")]
    pub(crate) rate: Option<f64>,
    /// How many submissions are under way at a time: when one ends, the next begins
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) concurrency: u32,
    /// How many connections carry the streams that follow submissions [default: one for 100 of them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) connections: Option<u32>,
    /// Run a worker in this process, on this broker (amqp://…) or server (http://…); without it one must be running
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub(crate) with_worker: Option<String>,
    /// Who approves, in w2
    #[arg(long, value_name = "NAME", default_value = "quorate-bench-reviewer")]
    pub(crate) reviewer: String,
    /// The reviewer's API token, where callers are authenticated: who submits may not approve
    #[arg(long, env = "QUORATE_REVIEWER_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) reviewer_token: Option<Token>,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.01..=1_000_000.0).contains(rate));
    rate.ok_or_else(|| "a rate is a number of submissions a second, 0.01 to 1000000".to_owned())
}

/// Measures.
pub(crate) async fn bench(args: &BenchArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let connection = session.client.connection().clone();
    if args.workload == Workload::W2 && connection.token.is_some() && args.reviewer_token.is_none() {
        return Err(Failure::Usage(
            "w2 with --token needs --reviewer-token too: who submits may not approve".to_owned(),
        ));
    }
    if args.duration.is_zero() {
        return Err(Failure::Usage("--duration: there must be a time to measure in".to_owned()));
    }
    prepare(args, &connection, session).await?;
    let _worker = match &args.with_worker {
        Some(url) => Some(run_worker(url, connection.token.as_ref().map(|token| token.reveal().to_owned()))?),
        None => None,
    };
    let load = Arc::new(connect(args, &connection).await?);
    let pace = args.rate.map_or(Pace::Closed { concurrency: args.concurrency }, |rate| Pace::Open { rate });
    let start = Instant::now();
    let window = Window { start: start + args.warmup, end: start + args.warmup + args.duration };
    let recorder = Arc::new(Mutex::new(Recorder::new(window)));
    let mut work = std::pin::pin!(load::drive(load, pace, args.drain, Arc::clone(&recorder)));
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = &mut work => break,
            _ = ticks.tick(), if session.screen.progress => {
                let line = lock(&recorder).progress(start, Instant::now());
                write!(session.screen.err, "\r\x1b[K{line}")?;
                session.screen.err.flush()?;
            }
        }
    }
    if session.screen.progress {
        write!(session.screen.err, "\r\x1b[K")?;
    }
    let report = lock(&recorder).report(args.workload, pace);
    if session.format == Format::Table {
        report.print(session.screen.out)?;
    } else {
        session.print_value(&report.to_value())?;
    }
    if report.completed == 0 {
        let advice = "nothing was completed; is a worker running? start one with: quorate-worker --serve \
                      quorate-bench-noop=ok --task-queue quorate-bench";
        return Err(Failure::Failed(advice.to_owned()));
    }
    Ok(())
}

/// A recorder is plain numbers: after a panic elsewhere they are still the numbers.
fn lock(recorder: &Mutex<Recorder>) -> std::sync::MutexGuard<'_, Recorder> {
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves `quorate-bench-noop` in this process until the guard is dropped.
fn run_worker(url: &str, token: Option<String>) -> Result<DropGuard, Failure> {
    let stop = CancellationToken::new();
    let mut worker = Worker::builder()
        .url(url)
        .name("quorate-bench")
        .task_queue("quorate-bench")
        .concurrency(WORKER_CONCURRENCY)
        .flow("quorate-bench-noop", |_job: JobContext, _input: serde_json::Value| async { Ok(json!({})) });
    worker = match token {
        Some(token) => worker.token(Some(token)),
        None => worker.metadata("quorate-user", "quorate-bench-worker"),
    };
    let worker = worker.build().map_err(|error| Failure::Usage(format!("--with-worker: {error}")))?;
    tokio::spawn(worker.run(stop.clone()));
    Ok(stop.drop_guard())
}

/// Stores what the workload needs, quietly.
async fn prepare(args: &BenchArgs, connection: &Connection, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = Client::connect(named(connection, DESIGNER)).await?;
    let mut quiet = Session { client, format: Format::Json, screen: &mut *session.screen };
    let people = [SUBMITTER, args.reviewer.as_str()];
    apply_documents(&args.workload.documents(people), &mut Vec::new(), &mut quiet).await
}

/// The same connection, by this name where it has neither a name nor a token.
fn named(connection: &Connection, user: &str) -> Connection {
    let mut connection = connection.clone();
    if connection.user.is_none() && connection.token.is_none() {
        connection.user = Some(user.to_owned());
    }
    connection
}

/// Opens the connections. Streams and calls have their own: a server allows some hundred streams on a connection (200
/// where hyper serves), and calls that queued behind open streams would wait for what only they can bring about.
async fn connect(args: &BenchArgs, connection: &Connection) -> Result<Load, Failure> {
    /// Far below what any server allows on one connection.
    const STREAMS_PER_CONNECTION: u32 = 100;
    /// Where the rate is fixed, how many are under way depends on the server; room for a few thousand.
    const OPEN_LOOP_CONNECTIONS: u32 = 16;
    /// Calls are short: one connection carries thousands a second, two use both cores of a small machine.
    const CALL_CONNECTIONS: u32 = 2;
    let submitter = named(connection, SUBMITTER);
    let mut reviewer = connection.clone();
    reviewer.user = Some(args.reviewer.clone());
    reviewer.token.clone_from(&args.reviewer_token);
    let default = match args.rate {
        Some(_) => OPEN_LOOP_CONNECTIONS,
        None => args.concurrency.div_ceil(STREAMS_PER_CONNECTION),
    };
    let mut load = Load { workload: args.workload, callers: Vec::new(), watchers: Vec::new(), reviewers: Vec::new() };
    for _ in 0..CALL_CONNECTIONS {
        load.callers.push(Client::connect(submitter.clone()).await?);
        load.reviewers.push(Client::connect(reviewer.clone()).await?);
    }
    for _ in 0..args.connections.unwrap_or(default) {
        load.watchers.push(Client::connect(submitter.clone()).await?.unhurried());
    }
    Ok(load)
}
