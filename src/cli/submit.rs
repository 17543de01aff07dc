//! `submit`: sending a record for approval.

use std::collections::BTreeMap;

use clap::Args;

use crate::{
    cli::{
        Failure,
        data::read_object,
        failure::answered,
        output::{Format, Session, status_name},
        watch::{Until, ended, follow, print_changes},
    },
    client::request_id,
    proto::v1::{Choice, Record, SubmissionServiceSubmitRequest},
};

/// Arguments of `quorate submit`.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The process that it goes through
    pub(crate) process: String,
    /// The record's id in your system
    #[arg(long, value_name = "ID")]
    pub(crate) record_id: String,
    /// The record's type, where it is not that of the process
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    pub(crate) record_type: String,
    /// The record's data, a JSON object: the object itself, the name of a file, or `-` for standard input
    #[arg(long, value_name = "FILE|JSON|-")]
    pub(crate) data: String,
    /// What the reviewers should know
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) comment: String,
    /// The user that this is submitted for
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    pub(crate) on_behalf_of: String,
    /// Whom to ask in a step that leaves it to you; once for each such step
    #[arg(long = "choose", value_name = "STEP=USER,…", value_parser = parse_choice)]
    pub(crate) choices: Vec<(String, Vec<String>)>,
    /// Wait until the submission has ended, and say by the exit code how: 10 rejected, 11 recalled, 12 canceled, 13 in
    /// error
    #[arg(long)]
    pub(crate) wait: bool,
    /// What makes a repetition known as one: with the same id and the same record, nothing is submitted twice
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
}

/// Submits, and waits for the end where that is wanted.
pub(crate) async fn submit(args: &SubmitArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let record = Record {
        r#type: args.record_type.clone(),
        id: args.record_id.clone(),
        data: Some(read_object("--data", &args.data)?),
        ..Record::default()
    };
    let request = SubmissionServiceSubmitRequest {
        process: args.process.clone(),
        record: Some(record),
        comment: args.comment.clone(),
        on_behalf_of: args.on_behalf_of.clone(),
        request_id: args.request_id.clone().unwrap_or_else(request_id),
        choices: choices(&args.choices)?,
    };
    let client = session.client.clone();
    let answer = client.call(async || client.submissions().submit(request.clone()).await).await?;
    let mut submission = answered(answer.submission)?;
    if args.wait {
        let mut before = None;
        session.line(&format!("submission {}", submission.id))?;
        submission = follow(&client, &submission.id, Until::Halted, |submission| {
            if session.format == Format::Table {
                print_changes(before.as_ref(), submission, session)?;
                before = Some(submission.clone());
            }
            Ok(())
        })
        .await?;
    }
    session.print(&submission, |submission, out| {
        writeln!(out, "submission {}: {}", submission.id, status_name(submission.status()))
    })?;
    if args.wait { ended(&submission) } else { Ok(()) }
}

/// Reads whom to ask in a step: `manager=bob,carol`.
pub(super) fn parse_choice(text: &str) -> Result<(String, Vec<String>), String> {
    let (step, users) = text.split_once('=').ok_or("write the step, `=`, and users with commas between them")?;
    let users: Vec<String> = users.split(',').map(|user| user.trim().to_owned()).collect();
    if step.is_empty() || users.iter().any(String::is_empty) {
        return Err("write the step, `=`, and users with commas between them".to_owned());
    }
    Ok((step.to_owned(), users))
}

pub(super) fn choices(given: &[(String, Vec<String>)]) -> Result<BTreeMap<String, Choice>, Failure> {
    let mut choices = BTreeMap::new();
    for (step, users) in given {
        if choices.insert(step.clone(), Choice { users: users.clone() }).is_some() {
            return Err(Failure::Usage(format!("--choose: step {step} is named twice")));
        }
    }
    Ok(choices)
}
