//! The `quorate` program: the server and its command line.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should panic"))]

mod cli;
mod client;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::Parser;
use quorate::proto;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    init_tracing(&cli);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut screen = cli::Screen {
        out: &mut io::BufWriter::new(io::stdout()),
        err: &mut io::stderr(),
        progress: io::stderr().is_terminal(),
    };
    let code = runtime.block_on(cli::run(cli, &mut screen));
    // A read of standard input that nobody waits for any more must not keep the program.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Logs go to standard error, so that standard output is the command's answer alone.
fn init_tracing(cli: &cli::Cli) {
    // lapin logs a returned message with its body.
    let level = if cli.command.is_server() { "info,lapin=error" } else { "error" };
    let filter = EnvFilter::try_from_env("QUORATE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if std::env::var("QUORATE_LOG_FORMAT").is_ok_and(|format| format == "json") {
        log.json().init();
    } else {
        log.with_ansi(io::stderr().is_terminal()).init();
    }
}
