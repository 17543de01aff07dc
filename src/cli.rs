//! The command line: what may be typed, and which function carries it out.
//!
//! Every command writes to a [`Screen`], never to the process's own streams, so that tests read what a user would.
#![allow(clippy::doc_markdown, reason = "comments of arguments are help texts, which show backticks as they are")]

mod apply;
mod bench;
mod data;
mod dead;
mod delegation;
mod documents;
mod explain;
mod failure;
mod inbox;
mod items;
mod operate;
mod output;
mod preview;
mod process_tests;
mod record;
mod screens;
mod server;
mod show;
mod submit;
mod table;
mod watch;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::{io::Write, time::Duration};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client::{Client, Connection, Token};
pub(crate) use failure::Failure;
use output::{Format, Session};

/// What scripts may rely on; `docs/cli.md` has the same table.
const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   refused by the server, or failed
  2   wrong usage, or input that cannot be read
  3   the server cannot be reached
  4   not found
  5   not permitted, or not authenticated
  10  rejected   \\
  11  recalled    | how the submission ended: of `submit --wait`
  12  canceled    | and `watch --exit-status`
  13  in error   /";

/// How long one call may take where `--timeout` does not say: more than the 10 s that synchronous steps may hold it.
const CALL_TIMEOUT: &str = "30s";

/// Where help shows what every command understands, apart from what the command itself does.
const GLOBAL: &str = "Global options";

/// Approvals for any backend: the Quorate server and its command line.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, about, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// How answers are written; json is the proto3 JSON form of the API's messages, with their own field names
    #[arg(short, long, global = true, help_heading = GLOBAL, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// The server's address, http:// or https://
    #[arg(long, global = true, help_heading = GLOBAL, env = "QUORATE_SERVER", default_value = "http://127.0.0.1:7400", value_name = "URL")]
    pub(crate) server: String,
    /// Who calls: in development only, where the server takes any name
    #[arg(long = "as", global = true, help_heading = GLOBAL, env = "QUORATE_AS", value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The API token to call with; better given by the variable, since other users see command lines
    #[arg(long, global = true, help_heading = GLOBAL, env = "QUORATE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<Token>,
    /// How long one call may take, such as 500ms, 30s or 2m (streams are not limited)
    #[arg(long, global = true, help_heading = GLOBAL, value_parser = parse_duration, default_value = CALL_TIMEOUT, value_name = "DURATION")]
    pub(crate) timeout: Duration,
}

/// Everything that can be asked of the program.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run server, worker and queue in one process, for development
    Dev(server::DevArgs),
    /// Run the server
    Serve(server::ServeArgs),
    /// Bring the database's schema up to date
    Migrate(server::MigrateArgs),
    /// Create, list and revoke API tokens, in the database
    #[command(subcommand)]
    Token(server::TokenCommand),
    /// Check definitions, storing nothing
    Validate(apply::ValidateArgs),
    /// Run the tests that processes carry, without a server
    Test(process_tests::TestArgs),
    /// Store definitions, and make them the active ones
    Apply(apply::ApplyArgs),
    /// Submit a record for approval
    Submit(submit::SubmitArgs),
    /// Tell who would be asked for a record, in which order and why, submitting nothing
    Preview(preview::PreviewArgs),
    /// Show things by their ids or names
    #[command(subcommand)]
    Get(show::GetCommand),
    /// List things
    #[command(subcommand)]
    List(show::ListCommand),
    /// Follow a submission until it has ended
    Watch(watch::WatchArgs),
    /// Show a submission's history
    Events(show::EventsArgs),
    /// Tell what happened to a submission, and why: which rules held, what they read, why each person was asked
    Explain(explain::ExplainArgs),
    /// List the open work items that the caller may decide
    Inbox(inbox::InboxArgs),
    /// Approve work items
    Approve(inbox::ApproveArgs),
    /// Reject work items
    Reject(inbox::RejectArgs),
    /// Abstain from deciding work items, where their step allows it
    Abstain(inbox::ApproveArgs),
    /// Let somebody decide in your place, for a time
    Delegate(delegation::DelegateArgs),
    /// Delete things
    #[command(subcommand)]
    Delete(delegation::DeleteCommand),
    /// Keep a work item that a group or a queue shares for yourself
    Claim(items::ItemArgs),
    /// Give a claimed work item back to those who share it
    Release(items::ItemArgs),
    /// Have somebody else asked by a work item: by an administrator, or where its step allows it
    Reassign(items::ReassignArgs),
    /// Settle a step in progress over the heads of those who were asked: by an administrator
    Override(items::OverrideArgs),
    /// Ask the submitter something about a work item; it can be decided meanwhile
    Ask(items::AskArgs),
    /// Answer what the submitter was asked about a work item
    Answer(items::AnswerArgs),
    /// Send a submission back to an earlier stage, in a new round: where the step allows it, or by an administrator
    SendBack(items::SendBackArgs),
    /// Decide a work item with what its screen asks
    SubmitScreen(screens::SubmitScreenArgs),
    /// Take a submission back: by its submitter, or an administrator
    Recall(operate::EndArgs),
    /// End a submission: by an administrator
    Cancel(operate::EndArgs),
    /// Add a comment to a submission
    Comment(operate::CommentArgs),
    /// Give the record of a submission in progress other data, where its process takes that
    UpdateRecord(record::UpdateRecordArgs),
    /// Tell of a change of a record in the system that it lives in: triggers submit it, and submissions in progress learn of it
    ReportChange(record::ReportChangeArgs),
    /// Lock a record by hand, so that services let nobody edit it
    Lock(record::LockArgs),
    /// Take off a lock that was set by hand
    Unlock(record::UnlockArgs),
    /// Submit a record again, in place of a submission that has ended
    Resubmit(record::ResubmitArgs),
    /// Start a new attempt of a step that met an error
    Retry(operate::RetryArgs),
    /// Complete a step that met an error, with outputs that you state
    Skip(operate::SkipArgs),
    /// Hold a submission, so that nobody decides and nothing starts until it is resumed: by an administrator
    Suspend(operate::EndArgs),
    /// Let a suspended submission go on: by an administrator
    Resume(operate::EndArgs),
    /// Leave the stage that a submission is in, or that an error has stopped, and start another: by an administrator
    GoTo(operate::GoToArgs),
    /// Move a submission to another version of its process: by an administrator
    MigrateSubmission(operate::MigrateArgs),
    /// Make a version of a process, flow or calendar the active one
    #[command(subcommand)]
    Activate(operate::ActivateCommand),
    /// Stop a process from taking new submissions
    #[command(subcommand)]
    Deactivate(operate::DeactivateCommand),
    /// Ask whether the server serves: exit code 0 if it does, else 1
    Health(operate::HealthArgs),
    /// Look at the messages that could not be processed, and give them back, on the broker
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Measure the server: how many submissions it completes, and how long each takes
    Bench(bench::BenchArgs),
}

/// Arguments of `quorate completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

impl Command {
    /// Whether this runs or administers the server itself, rather than calling one.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Dev(_) | Self::Serve(_) | Self::Migrate(_) | Self::Token(_))
    }
}

/// Where a command writes.
pub(crate) struct Screen<'a> {
    /// The answer.
    pub(crate) out: &'a mut dyn Write,
    /// Errors and notes.
    pub(crate) err: &'a mut dyn Write,
    /// Whether somebody watches `err`, and would like to see progress there.
    pub(crate) progress: bool,
}

/// Carries out the command, prints what is wrong if something is, and gives the exit code.
pub(crate) async fn run(cli: Cli, screen: &mut Screen<'_>) -> u8 {
    let result = dispatch(cli, screen).await;
    // What is still buffered must be seen before the error, and a reader that has gone is no error.
    let flushed = screen.out.flush().map_err(Failure::from);
    match result.and(flushed) {
        Ok(()) => 0,
        Err(failure) => {
            // Where not even standard error takes it, the exit code is all that can be said.
            let _ = failure.print(screen.err);
            failure.exit_code()
        }
    }
}

async fn dispatch(cli: Cli, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Dev(args) => return server::serve::dev(args).await.map_err(Failure::Failed),
        Command::Serve(args) => return server::serve::serve(args).await.map_err(Failure::Failed),
        Command::Migrate(args) => return server::serve::migrate(args).await.map_err(Failure::Failed),
        Command::Token(command) => return server::serve::token(command).await.map_err(Failure::Failed),
        Command::Completions(args) => return completions(&args, screen),
        Command::Test(args) => return process_tests::test(&args, global.output, screen),
        Command::Dead(command) => return dead::dead(command, global.output, screen).await,
        _ => {}
    }
    let connection =
        Connection { server: global.server, user: global.user, token: global.token, timeout: global.timeout };
    if let Command::Health(args) = &command {
        return operate::health(&connection, args, global.output, screen).await;
    }
    let client = Client::connect(connection).await?;
    let mut session = Session { client, format: global.output, screen };
    call(command, &mut session).await
}

/// The commands that call a server.
async fn call(command: Command, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    match command {
        Command::Validate(args) => apply::validate(&args, session).await,
        Command::Apply(args) => apply::apply(&args, session).await,
        Command::Submit(args) => submit::submit(&args, session).await,
        Command::Preview(args) => preview::preview(args, session).await,
        Command::Get(command) => show::get(&command, session).await,
        Command::List(command) => show::list(&command, session).await,
        Command::Watch(args) => watch::watch(&args, session).await,
        Command::Events(args) => show::events(&args, session).await,
        Command::Explain(args) => explain::explain(args, session).await,
        Command::Inbox(args) => inbox::inbox(&args, session).await,
        Command::Approve(args) => inbox::approve(&args, session).await,
        Command::Reject(args) => inbox::reject(&args, session).await,
        Command::Abstain(args) => inbox::abstain(&args, session).await,
        Command::Delegate(args) => delegation::delegate(args, session).await,
        Command::Delete(command) => delegation::delete(command, session).await,
        Command::Claim(args) => items::claim(args, session).await,
        Command::Release(args) => items::release(args, session).await,
        Command::Reassign(args) => items::reassign(args, session).await,
        Command::Override(args) => items::override_step(args, session).await,
        Command::Ask(args) => items::ask(args, session).await,
        Command::Answer(args) => items::answer(args, session).await,
        Command::SendBack(args) => items::send_back(args, session).await,
        Command::SubmitScreen(args) => screens::submit_screen(args, session).await,
        Command::Recall(args) => operate::recall(args, session).await,
        Command::Cancel(args) => operate::cancel(args, session).await,
        Command::Comment(args) => operate::comment(args, session).await,
        Command::UpdateRecord(args) => record::update_record(args, session).await,
        Command::ReportChange(args) => record::report_change(args, session).await,
        Command::Lock(args) => record::lock(args, session).await,
        Command::Unlock(args) => record::unlock(args, session).await,
        Command::Resubmit(args) => record::resubmit(args, session).await,
        Command::Retry(args) => operate::retry(args, session).await,
        Command::Skip(args) => operate::skip(args, session).await,
        Command::Suspend(args) => operate::suspend(args, session).await,
        Command::Resume(args) => operate::resume(args, session).await,
        Command::GoTo(args) => operate::go_to(args, session).await,
        Command::MigrateSubmission(args) => operate::migrate(args, session).await,
        Command::Activate(command) => operate::activate(command, session).await,
        Command::Deactivate(command) => operate::deactivate(command, session).await,
        Command::Bench(args) => bench::bench(&args, session).await,
        Command::Dev(_)
        | Command::Serve(_)
        | Command::Migrate(_)
        | Command::Token(_)
        | Command::Completions(_)
        | Command::Test(_)
        | Command::Dead(_)
        | Command::Health(_) => Ok(()),
    }
}

fn completions(args: &CompletionsArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    // The generator panics where it cannot write, so it writes to memory, which always can.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "quorate", &mut script);
    Ok(screen.out.write_all(&script)?)
}

/// Reads a duration as people write it: `500ms`, `30s`, `2m`, `1h 30m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = text
        .parse::<jiff::SignedDuration>()
        .map_err(|_| "not a duration; write it with a unit, such as 500ms, 30s or 2m".to_owned())?;
    Duration::try_from(duration).map_err(|_| "a duration cannot be negative".to_owned())
}

/// Reads a moment: `2026-12-24T12:00:00Z`.
fn parse_instant(text: &str) -> Result<prost_types::Timestamp, String> {
    let at: jiff::Timestamp =
        text.parse().map_err(|_| "not a moment; write one such as 2026-12-24T12:00:00Z".to_owned())?;
    Ok(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}
