//! `get screen` and `submit-screen`: what the screen flow of a step shows a reviewer and asks them.

use std::io;

use clap::{ArgGroup, Args};
use serde_json::Value;

use crate::{
    cli::{
        Failure, data,
        failure::answered,
        output::{Format, Session, enum_name, status_name, to_json},
    },
    client::{Client, request_id},
    proto::v1::{
        Screen, Verdict, WorkItemServiceGetScreenRequest, WorkItemServiceSubmitScreenRequest,
        WorkItemServiceSubmitScreenResponse,
    },
};

/// Arguments of `quorate submit-screen`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("way").required(true).args(["approve", "reject", "abstain"]))]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own, and one of three is given")]
pub(crate) struct SubmitScreenArgs {
    /// The work item, as `quorate inbox` shows it
    #[arg(value_name = "ITEM")]
    pub(crate) id: String,
    /// What you fill in, by the names of the fields: JSON, a file with it, or - for standard input
    #[arg(long, value_name = "FILE|JSON|-", default_value = "{}")]
    pub(crate) values: String,
    /// Approve
    #[arg(long)]
    pub(crate) approve: bool,
    /// Reject; --comment says why
    #[arg(long, requires = "comment")]
    pub(crate) reject: bool,
    /// Abstain, where the step allows it
    #[arg(long)]
    pub(crate) abstain: bool,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// The digest of the record that you saw; without it, that of the record as it is now
    #[arg(long, value_name = "SHA256")]
    pub(crate) record_digest: Option<String>,
}

/// The screen of a work item.
pub(crate) async fn get_screen(client: &Client, id: &str) -> Result<Screen, Failure> {
    let request = WorkItemServiceGetScreenRequest { id: id.to_owned() };
    answered(client.call(async || client.work_items().get_screen(request.clone()).await).await?.screen)
}

/// Decides a work item with what its screen asks.
pub(crate) async fn submit_screen(args: SubmitScreenArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let values = Some(data::read_object("--values", &args.values)?);
    let verdict = match (args.approve, args.reject) {
        (true, _) => Verdict::Approve,
        (false, true) => Verdict::Reject,
        (false, false) => Verdict::Abstain,
    };
    let record_digest = match args.record_digest {
        Some(digest) => digest,
        None => get_screen(client, &args.id).await?.record_digest,
    };
    let request = WorkItemServiceSubmitScreenRequest {
        id: args.id,
        verdict: verdict.into(),
        comment: args.comment.unwrap_or_default(),
        record_digest,
        channel: "CLI".to_owned(),
        values,
        request_id: request_id(),
    };
    let answer = client.call(async || client.work_items().submit_screen(request.clone()).await).await?;
    if session.format != Format::Table {
        return session.print_value(&to_json(&answer)?);
    }
    let submission = status_name(answer.submission_status());
    let WorkItemServiceSubmitScreenResponse { work_item, .. } = answer;
    let item = answered(work_item)?;
    let status = enum_name(item.status().as_str_name(), "WORK_ITEM_STATUS_");
    session.line(&format!("{}: {status}; submission {}: {submission}", item.id, item.submission))
}

/// Each page under its title: what is shown, then the fields with what they hold at first.
pub(crate) fn print_screen(screen: &Screen, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "{} version {}", screen.flow, screen.flow_version)?;
    // What is shown is data of any kind: it is written as JSON.
    let told = to_json(screen).map_err(|failure| io::Error::other(format!("{failure:?}")))?;
    let nothing = Vec::new();
    for page in told["pages"].as_array().unwrap_or(&nothing) {
        writeln!(out, "\n{}", page["title"].as_str().unwrap_or_default())?;
        if let Some(description) = page["description"].as_str() {
            writeln!(out, "  {description}")?;
        }
        for shown in page["shown"].as_array().unwrap_or(&nothing) {
            writeln!(out, "  {}: {}", shown["label"].as_str().unwrap_or_default(), shown["value"])?;
        }
        for (name, field) in page["schema"]["properties"].as_object().into_iter().flatten() {
            let title = field["title"].as_str().map(|title| format!(" ({title})")).unwrap_or_default();
            let value = match &page["values"][name] {
                Value::Null => String::new(),
                value => format!(" {value}"),
            };
            writeln!(out, "  {name}{title} ={value}")?;
        }
    }
    Ok(())
}
