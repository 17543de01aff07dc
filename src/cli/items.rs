//! `claim`, `release`, `reassign`, `override`, `ask`, `answer` and `send-back`: what can be done with a work item besides
//! deciding it.

use clap::{Args, ValueEnum};

use crate::{
    cli::{
        Failure,
        failure::answered,
        inbox::get_item,
        output::{Format, Session, status_name, to_json},
        watch::assignee,
    },
    client::request_id,
    proto::v1::{self, Assignee, AssigneeKind, WorkItem},
};

/// A work item.
#[derive(Debug, Args)]
pub(crate) struct ItemArgs {
    /// The work item, as `quorate inbox` shows it
    #[arg(value_name = "ITEM")]
    pub(crate) id: String,
}

/// Arguments of `quorate reassign`.
#[derive(Debug, Args)]
pub(crate) struct ReassignArgs {
    /// The work item, as `quorate inbox` shows it
    #[arg(value_name = "ITEM")]
    pub(crate) id: String,
    /// Whom it is to ask: a user's name, or group:NAME or queue:NAME where nobody is counted
    #[arg(long, value_name = "WHOM", value_parser = parse_assignee)]
    pub(crate) to: Assignee,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) comment: String,
}

/// Arguments of `quorate override`.
#[derive(Debug, Args)]
pub(crate) struct OverrideArgs {
    /// Which way
    pub(crate) verdict: OverrideVerdict,
    /// A work item of the step
    #[arg(value_name = "ITEM", required_unless_present = "step", conflicts_with = "step")]
    pub(crate) id: Option<String>,
    /// The submission's id, in place of a work item
    #[arg(long, value_name = "SUBMISSION", requires = "step", conflicts_with = "id")]
    pub(crate) submission: Option<String>,
    /// The step's name
    #[arg(long, requires = "submission")]
    pub(crate) step: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: String,
    /// The digest of the record that you saw; without it, that of the record as it is now
    #[arg(long, value_name = "SHA256")]
    pub(crate) record_digest: Option<String>,
}

/// How a step is overridden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OverrideVerdict {
    /// The step is approved
    Approve,
    /// The step is rejected
    Reject,
}

/// Arguments of `quorate ask`.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// The work item, as `quorate inbox` shows it
    #[arg(value_name = "ITEM")]
    pub(crate) id: String,
    /// What you want to know
    #[arg(value_name = "TEXT")]
    pub(crate) question: String,
}

/// Arguments of `quorate answer`.
#[derive(Debug, Args)]
pub(crate) struct AnswerArgs {
    /// The work item that has the question
    #[arg(value_name = "ITEM")]
    pub(crate) id: String,
    /// The answer
    #[arg(value_name = "TEXT")]
    pub(crate) answer: String,
}

/// Arguments of `quorate send-back`.
#[derive(Debug, Args)]
pub(crate) struct SendBackArgs {
    /// The work item, as `quorate inbox` shows it
    #[arg(value_name = "ITEM")]
    pub(crate) id: String,
    /// The stage's name
    #[arg(long, value_name = "STAGE")]
    pub(crate) to: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: String,
}

/// `bob`, `user:bob`, `group:finance`, `queue:intake`.
fn parse_assignee(text: &str) -> Result<Assignee, String> {
    let (kind, name) = match text.split_once(':') {
        None => (AssigneeKind::User, text),
        Some(("user", name)) => (AssigneeKind::User, name),
        Some(("group", name)) => (AssigneeKind::Group, name),
        Some(("queue", name)) => (AssigneeKind::Queue, name),
        Some(_) => return Err("write a user's name, group:NAME or queue:NAME".to_owned()),
    };
    if name.is_empty() {
        return Err("the name is missing".to_owned());
    }
    Ok(Assignee { kind: kind.into(), name: name.to_owned() })
}

/// Keeps an item for the caller.
pub(crate) async fn claim(args: ItemArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::WorkItemServiceClaimRequest { id: args.id, request_id: request_id() };
    let answer = client.call(async || client.work_items().claim(request.clone()).await).await?;
    print_item(answer.work_item, session)
}

/// Gives an item back.
pub(crate) async fn release(args: ItemArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::WorkItemServiceReleaseRequest { id: args.id, request_id: request_id() };
    let answer = client.call(async || client.work_items().release(request.clone()).await).await?;
    print_item(answer.work_item, session)
}

/// Has somebody else asked.
pub(crate) async fn reassign(args: ReassignArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::WorkItemServiceReassignRequest {
        id: args.id,
        to: Some(args.to),
        comment: args.comment,
        request_id: request_id(),
    };
    let answer = client.call(async || client.work_items().reassign(request.clone()).await).await?;
    print_item(answer.work_item, session)
}

/// Settles a step over the heads of those who were asked.
pub(crate) async fn override_step(args: OverrideArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let (id, submission) = (args.id.unwrap_or_default(), args.submission.unwrap_or_default());
    let record_digest = match args.record_digest {
        Some(digest) => digest,
        None if submission.is_empty() => get_item(client, &id).await?.record_digest,
        None => {
            let request = v1::SubmissionServiceGetRequest { id: submission.clone() };
            let answer = client.call(async || client.submissions().get(request.clone()).await).await?;
            answered(answered(answer.submission)?.record)?.digest
        }
    };
    let verdict = match args.verdict {
        OverrideVerdict::Approve => v1::Verdict::Approve,
        OverrideVerdict::Reject => v1::Verdict::Reject,
    };
    let request = v1::WorkItemServiceOverrideRequest {
        id,
        submission: submission.clone(),
        step: args.step.clone().unwrap_or_default(),
        verdict: verdict.into(),
        comment: args.comment,
        record_digest,
        request_id: request_id(),
    };
    let answer = client.call(async || client.work_items().r#override(request.clone()).await).await?;
    if session.format != Format::Table {
        return session.print_value(&to_json(&answer)?);
    }
    let status = status_name(answer.submission_status());
    let (submission, step) = match answer.work_item {
        Some(item) => (item.submission, item.step),
        None => (submission, args.step.unwrap_or_default()),
    };
    session.line(&format!("step {step}: overridden; submission {submission}: {status}"))
}

/// Asks the submitter something.
pub(crate) async fn ask(args: AskArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request =
        v1::WorkItemServiceRequestInformationRequest { id: args.id, question: args.question, request_id: request_id() };
    let answer = client.call(async || client.work_items().request_information(request.clone()).await).await?;
    print_item(answer.work_item, session)
}

/// Answers what the submitter was asked.
pub(crate) async fn answer(args: AnswerArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request =
        v1::WorkItemServiceAnswerInformationRequest { id: args.id, answer: args.answer, request_id: request_id() };
    let answer = client.call(async || client.work_items().answer_information(request.clone()).await).await?;
    print_item(answer.work_item, session)
}

/// Sends the submission back to an earlier stage.
pub(crate) async fn send_back(args: SendBackArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::WorkItemServiceSendBackRequest {
        id: args.id,
        to: args.to.clone(),
        comment: args.comment,
        request_id: request_id(),
    };
    let answer = client.call(async || client.work_items().send_back(request.clone()).await).await?;
    if session.format != Format::Table {
        return session.print_value(&to_json(&answer)?);
    }
    let status = status_name(answer.submission_status());
    let item = answered(answer.work_item)?;
    session.line(&format!("submission {}: sent back to {}; {status}", item.submission, args.to))
}

fn print_item(item: Option<WorkItem>, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    session.print(&answered(item)?, |item, out| writeln!(out, "{}: {}{}", item.id, assignee(item), state(item)))
}

/// Who keeps an item for themselves, and what waits for an answer: `, claimed by bob until …, question of bob: …`.
pub(crate) fn state(item: &WorkItem) -> String {
    let until = item.claimed_until.as_ref().map(|until| format!(" until {}", crate::cli::table::time(Some(until))));
    let claim = match item.claimed_by.as_str() {
        "" => String::new(),
        by => format!(", claimed by {by}{}", until.unwrap_or_default()),
    };
    let question = item.open_question.as_ref();
    let question = question.map(|asked| format!(", question of {}: {}", asked.by, asked.question));
    format!("{claim}{}", question.unwrap_or_default())
}
