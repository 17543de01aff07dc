//! What changes a submission other than a decision, which versions are active, and whether the server serves.

use clap::{Args, Subcommand};
use serde_json::json;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    cli::{
        Failure, Screen,
        data::read_object,
        failure::answered,
        output::{Format, Session, print_value, status_name},
        show::print_events,
    },
    client::{Connection, request_id},
    proto::v1,
};

/// Arguments of `quorate recall`, `cancel`, `suspend` and `resume`.
#[derive(Debug, Args)]
pub(crate) struct EndArgs {
    /// The submission's id
    #[arg(value_name = "SUBMISSION")]
    pub(crate) id: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) comment: String,
}

/// Arguments of `quorate comment`.
#[derive(Debug, Args)]
pub(crate) struct CommentArgs {
    /// The submission's id
    #[arg(value_name = "SUBMISSION")]
    pub(crate) id: String,
    /// The comment
    #[arg(value_name = "TEXT")]
    pub(crate) comment: String,
}

/// Arguments of `quorate retry`.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The submission's id
    #[arg(value_name = "SUBMISSION")]
    pub(crate) id: String,
    /// The step's name
    pub(crate) step: String,
    /// The name is that of a stage, which met an error of its own: by its exit condition, its routing, or a stall
    #[arg(long)]
    pub(crate) stage: bool,
}

/// Arguments of `quorate skip`.
#[derive(Debug, Args)]
pub(crate) struct SkipArgs {
    /// The submission's id
    #[arg(value_name = "SUBMISSION")]
    pub(crate) id: String,
    /// The step's name
    pub(crate) step: String,
    /// The step's outputs, a JSON object: the object itself, the name of a file, or `-` for standard input
    #[arg(long, value_name = "FILE|JSON|-", default_value = "{}")]
    pub(crate) outputs: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) comment: String,
}

/// Arguments of `quorate go-to`.
#[derive(Debug, Args)]
pub(crate) struct GoToArgs {
    /// The submission's id
    #[arg(value_name = "SUBMISSION")]
    pub(crate) id: String,
    /// The stage's name; a fault path may be named too
    pub(crate) stage: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) comment: String,
}

/// Arguments of `quorate migrate-submission`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// The submission's id
    #[arg(value_name = "SUBMISSION")]
    pub(crate) id: String,
    /// The version of its process; without it, the active one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) to_version: Option<u32>,
    /// What a stage is called in that version; may be given again. The others keep their names
    #[arg(long = "map-stage", value_name = "OLD=NEW", value_parser = parse_renamed)]
    pub(crate) stages: Vec<(String, String)>,
    /// What a step is called in that version; may be given again. The others keep their names
    #[arg(long = "map-step", value_name = "OLD=NEW", value_parser = parse_renamed)]
    pub(crate) steps: Vec<(String, String)>,
    /// Only say what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) comment: String,
}

fn parse_renamed(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("write OLD=NEW".to_owned()),
    }
}

/// The commands of `quorate activate`.
#[derive(Debug, Subcommand)]
pub(crate) enum ActivateCommand {
    /// Make a version of a process the one that new submissions go through
    Process(VersionArgs),
    /// Make a version of a flow the one that steps run from now on
    Flow(VersionArgs),
    /// Make a version of a calendar the active one
    Calendar(VersionArgs),
}

/// A version of something.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Its name
    pub(crate) name: String,
    /// Its version; without it, the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) version: Option<u32>,
}

/// The commands of `quorate deactivate`.
#[derive(Debug, Subcommand)]
pub(crate) enum DeactivateCommand {
    /// Stop a process from taking new submissions; those under way go on
    Process {
        /// Its name
        name: String,
    },
}

/// Arguments of `quorate health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// The service to ask for, such as quorate.v1.SubmissionService; without it, the server as a whole
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) service: String,
}

/// Takes a submission back.
pub(crate) async fn recall(args: EndArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::SubmissionServiceRecallRequest { id: args.id, comment: args.comment, request_id: request_id() };
    let answer = client.call(async || client.submissions().recall(request.clone()).await).await?;
    print_submission(answer.submission, session)
}

/// Ends a submission.
pub(crate) async fn cancel(args: EndArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::SubmissionServiceCancelRequest { id: args.id, comment: args.comment, request_id: request_id() };
    let answer = client.call(async || client.submissions().cancel(request.clone()).await).await?;
    print_submission(answer.submission, session)
}

/// Adds a comment.
pub(crate) async fn comment(args: CommentArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::SubmissionServiceCommentRequest { id: args.id, comment: args.comment, request_id: request_id() };
    let answer = client.call(async || client.submissions().comment(request.clone()).await).await?;
    print_submission(answer.submission, session)
}

/// Starts a new attempt of a step, or looks at a stage again.
pub(crate) async fn retry(args: RetryArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let (step, stage) = if args.stage { (String::new(), args.step) } else { (args.step, String::new()) };
    let request = v1::SubmissionServiceRetryStepRequest { id: args.id, step, stage, request_id: request_id() };
    let answer = client.call(async || client.submissions().retry_step(request.clone()).await).await?;
    print_submission(answer.submission, session)
}

/// Completes a step with stated outputs.
pub(crate) async fn skip(args: SkipArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::SubmissionServiceSkipStepRequest {
        id: args.id,
        step: args.step,
        outputs: Some(read_object("--outputs", &args.outputs)?),
        comment: args.comment,
        request_id: request_id(),
    };
    let answer = client.call(async || client.submissions().skip_step(request.clone()).await).await?;
    print_submission(answer.submission, session)
}

/// Holds a submission.
pub(crate) async fn suspend(args: EndArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::SubmissionServiceSuspendRequest { id: args.id, comment: args.comment, request_id: request_id() };
    let answer = client.call(async || client.submissions().suspend(request.clone()).await).await?;
    print_submission(answer.submission, session)
}

/// Lets a suspended submission go on.
pub(crate) async fn resume(args: EndArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::SubmissionServiceResumeRequest { id: args.id, comment: args.comment, request_id: request_id() };
    let answer = client.call(async || client.submissions().resume(request.clone()).await).await?;
    print_submission(answer.submission, session)
}

/// Sends a submission to another stage.
pub(crate) async fn go_to(args: GoToArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::SubmissionServiceGoToStageRequest {
        id: args.id,
        stage: args.stage,
        comment: args.comment,
        request_id: request_id(),
    };
    let answer = client.call(async || client.submissions().go_to_stage(request.clone()).await).await?;
    print_submission(answer.submission, session)
}

/// Moves a submission to another version of its process.
pub(crate) async fn migrate(args: MigrateArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::SubmissionServiceMigrateSubmissionRequest {
        id: args.id,
        to_version: args.to_version.unwrap_or(0),
        stages: args.stages.into_iter().collect(),
        steps: args.steps.into_iter().collect(),
        comment: args.comment,
        validate_only: args.dry_run,
        request_id: request_id(),
    };
    let answer = client.call(async || client.submissions().migrate_submission(request.clone()).await).await?;
    session.print(&answer, |answer, out| {
        let Some(submission) = &answer.submission else { return Ok(()) };
        let (verb, status) = (if args.dry_run { "would be" } else { "is" }, status_name(submission.status()));
        writeln!(out, "submission {} {verb} on version {}: {status}", submission.id, submission.process_version)?;
        if answer.events.is_empty() { Ok(()) } else { print_events(&answer.events, out) }
    })
}

pub(crate) fn print_submission(
    submission: Option<v1::Submission>,
    session: &mut Session<'_, '_>,
) -> Result<(), Failure> {
    session.print(&answered(submission)?, |submission, out| {
        writeln!(out, "submission {}: {}", submission.id, status_name(submission.status()))
    })
}

/// Makes a version the active one.
pub(crate) async fn activate(command: ActivateCommand, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    match command {
        ActivateCommand::Process(args) => {
            let version = match args.version {
                Some(version) => version,
                None => newest_version(&args.name, session).await?,
            };
            let request = v1::ProcessServiceActivateRequest { name: args.name, version, request_id: request_id() };
            let answer = client.call(async || client.processes().activate(request.clone()).await).await?;
            session.print(&answered(answer.process)?, |process, out| {
                writeln!(out, "process {}: version {} active", process.name, process.version)
            })
        }
        ActivateCommand::Flow(args) => {
            // The API lists no versions of flows; to the server, version 0 is the newest.
            let version = args.version.unwrap_or(0);
            let request = v1::FlowServiceActivateRequest { name: args.name, version, request_id: request_id() };
            let answer = client.call(async || client.flows().activate(request.clone()).await).await?;
            session.print(&answered(answer.flow)?, |flow, out| {
                writeln!(out, "flow {}: version {} active", flow.name, flow.version)
            })
        }
        ActivateCommand::Calendar(args) => {
            let version = args.version.unwrap_or(0);
            let request = v1::CalendarServiceActivateRequest { name: args.name, version, request_id: request_id() };
            let answer = client.call(async || client.calendars().activate(request.clone()).await).await?;
            session.print(&answered(answer.calendar)?, |calendar, out| {
                writeln!(out, "calendar {}: version {} active", calendar.name, calendar.version)
            })
        }
    }
}

async fn newest_version(name: &str, session: &Session<'_, '_>) -> Result<u32, Failure> {
    let client = &session.client;
    let request =
        v1::ProcessServiceListVersionsRequest { name: name.to_owned(), page_size: 1, page_token: String::new() };
    let answer = client.call(async || client.processes().list_versions(request.clone()).await).await?;
    Ok(answered(answer.processes.first())?.version)
}

/// Takes new submissions from a process.
pub(crate) async fn deactivate(command: DeactivateCommand, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let DeactivateCommand::Process { name } = command;
    let client = &session.client;
    let request = v1::ProcessServiceDeactivateRequest { name, request_id: request_id() };
    let answer = client.call(async || client.processes().deactivate(request.clone()).await).await?;
    session.print(&answered(answer.process)?, |process, out| {
        writeln!(out, "process {}: version {} inactive", process.name, process.version)
    })
}

/// Asks whether the server serves. Whatever else is the matter, the exit code is 1: that is what health checks know.
pub(crate) async fn health(
    connection: &Connection,
    args: &HealthArgs,
    format: Format,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let status = match check(connection, args).await {
        Ok(status) => status,
        Err(failure) => {
            failure.print(screen.err)?;
            return Err(Failure::Reported);
        }
    };
    if format == Format::Table {
        writeln!(screen.out, "{status}")?;
    } else {
        print_value(format, &json!({ "status": status }), screen.out)?;
    }
    if status == ServingStatus::Serving.as_str_name() { Ok(()) } else { Err(Failure::Reported) }
}

async fn check(connection: &Connection, args: &HealthArgs) -> Result<&'static str, Failure> {
    let mut client = HealthClient::new(connection.open().await?);
    let mut request = tonic::Request::new(HealthCheckRequest { service: args.service.clone() });
    request.set_timeout(connection.timeout);
    Ok(client.check(request).await?.into_inner().status().as_str_name())
}
