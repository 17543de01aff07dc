//! A worker in Rust: the flows of the purchase example, over AMQP or over gRPC.

use std::{env, error::Error, io::stderr, path::PathBuf};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

mod flows;

use flows::Erp;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::new(env::var("QUORATE_LOG").unwrap_or_else(|_| "info,lapin=error".to_owned()));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(false).init();

    // The URL alone says which way it goes.
    let url = env::var("QUORATE_AMQP_URL").or_else(|_| env::var("QUORATE_SERVER"));
    let erp = Erp::new(PathBuf::from(env::var("ERP_FOLDER").unwrap_or_else(|_| "erp".to_owned())));
    let mut worker = flows::flows(erp)
        .url(url.unwrap_or_else(|_| "amqp://localhost".to_owned()))
        .prefix(env::var("QUORATE_AMQP_PREFIX").unwrap_or_else(|_| "quorate".to_owned()))
        .token(env::var("QUORATE_TOKEN").ok())
        .task_queues(env::var("QUORATE_TASK_QUEUE").as_deref().unwrap_or("default,erp").split(','))
        .concurrency(env::var("QUORATE_CONCURRENCY").as_deref().unwrap_or("4").parse()?);
    if let Ok(name) = env::var("QUORATE_AS") {
        // For `quorate dev`, which takes no tokens.
        worker = worker.metadata("quorate-user", name);
    }
    worker.build()?.run(stopped()?).await?;
    Ok(())
}

/// Cancelled by SIGTERM and by Ctrl-C: running jobs may end.
fn stopped() -> Result<CancellationToken, Box<dyn Error>> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, stop) = (signal(kind)?, stop.clone());
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}
