//! Screens: what a reviewer is shown and asked, and a decision with what they filled in.

use clap::Args;
use prost_types::{Struct, Value, value::Kind};

use crate::{
    cli::{
        Failure,
        data::{read_object, to_object},
        failure::answered,
        inbox::status,
        output::{Format, Session, status_name, to_json},
        table::print_fields,
    },
    client::request_id,
    proto::v1::{Screen, ScreenPage, Verdict, WorkItemServiceGetScreenRequest, WorkItemServiceSubmitScreenRequest},
};

/// Arguments of `quorate get screen`.
#[derive(Debug, Args)]
pub(crate) struct GetScreenArgs {
    /// The work item, as `quorate inbox` shows it
    #[arg(value_name = "ITEM")]
    pub(crate) item: String,
}

/// Opens the screen of a work item.
pub(crate) async fn get(args: &GetScreenArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let screen = open(&args.item, session).await?;
    session.print(&screen, |screen, out| {
        writeln!(out, "screen flow {}, version {}", screen.flow, screen.flow_version)?;
        for page in &screen.pages {
            writeln!(out, "\n{}: {}", page.name, page.title)?;
            if !page.description.is_empty() {
                writeln!(out, "{}", page.description)?;
            }
            let shown = page.shown.iter().map(|shown| (shown.label.as_str(), text(shown.value.as_ref())));
            print_fields(&shown.collect::<Vec<_>>(), out)?;
            for (name, asked) in asked(page) {
                writeln!(out, "  --values {name}: {asked}")?;
            }
        }
        Ok(())
    })
}

async fn open(item: &str, session: &Session<'_, '_>) -> Result<Screen, Failure> {
    let client = &session.client;
    let request = WorkItemServiceGetScreenRequest { id: item.to_owned() };
    answered(client.call(async || client.work_items().get_screen(request.clone()).await).await?.screen)
}

/// The fields of a page, each with its title, its type, and what it holds at first.
fn asked(page: &ScreenPage) -> Vec<(String, String)> {
    let schema = page.schema.as_ref().map(to_object).unwrap_or_default();
    let held = page.values.as_ref().map(to_object).unwrap_or_default();
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let line = |(name, field): (String, serde_json::Value)| {
        let word = |key: &str| field[key].as_str().unwrap_or_default().to_owned();
        let needed = if required.contains(&name.clone().into()) { ", needed" } else { "" };
        let held = held.get(&name).map_or_else(String::new, |value| format!(", {value} at first"));
        let title = if word("title").is_empty() { name.clone() } else { word("title") };
        (name, format!("{title} ({}{needed}{held})", word("type")))
    };
    properties.into_iter().map(line).collect()
}

/// A value as people read it.
fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value { kind: Some(Kind::StringValue(text)) }) => text.clone(),
        Some(value) => {
            let object = Struct { fields: [("value".to_owned(), value.clone())].into() };
            to_object(&object)["value"].to_string()
        }
        None => String::new(),
    }
}

/// Arguments of `quorate submit-screen`.
#[derive(Debug, Args)]
#[group(id = "way", required = true, multiple = false, args = ["approve", "reject", "abstain"])]
pub(crate) struct SubmitScreenArgs {
    /// The work item, as `quorate inbox` shows it
    #[arg(value_name = "ITEM")]
    pub(crate) item: String,
    /// Approve
    #[arg(long)]
    pub(crate) approve: bool,
    /// Reject; say why
    #[arg(long, requires = "comment")]
    pub(crate) reject: bool,
    /// Abstain, where the step allows it
    #[arg(long)]
    pub(crate) abstain: bool,
    /// What is filled in, a JSON object: the object itself, the name of a file, or `-` for standard input
    #[arg(long, value_name = "FILE|JSON|-", default_value = "{}")]
    pub(crate) values: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// The digest of the record that you saw; without it, that of the record as it is now
    #[arg(long, value_name = "SHA256")]
    pub(crate) record_digest: Option<String>,
}

/// Decides with what is filled in.
pub(crate) async fn submit(args: SubmitScreenArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let verdict = match (args.approve, args.reject) {
        (true, _) => Verdict::Approve,
        (_, true) => Verdict::Reject,
        (false, false) => Verdict::Abstain,
    };
    let record_digest = match args.record_digest {
        Some(digest) => digest,
        None => open(&args.item, session).await?.record_digest,
    };
    let request = WorkItemServiceSubmitScreenRequest {
        id: args.item,
        verdict: verdict.into(),
        comment: args.comment.unwrap_or_default(),
        record_digest,
        channel: "CLI".to_owned(),
        values: Some(read_object("--values", &args.values)?),
        request_id: request_id(),
    };
    let client = &session.client;
    let answer = client.call(async || client.work_items().submit_screen(request.clone()).await).await?;
    if session.format != Format::Table {
        return session.print_value(&to_json(&answer)?);
    }
    let submission = status_name(answer.submission_status());
    let item = answered(answer.work_item)?;
    session.line(&format!("{}: {}; submission {}: {submission}", item.id, status(&item), item.submission))
}
