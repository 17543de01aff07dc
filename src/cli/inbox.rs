//! `inbox`, `approve`, `reject` and `abstain`: what a reviewer does.

use std::{collections::HashMap, io};

use clap::Args;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    cli::{
        Failure,
        failure::{answered, reason},
        items::state,
        output::{Format, Session, enum_name, status_name, to_json},
        show::{PageArgs, note_more, pages},
        table::{Table, time},
        watch::assignee,
    },
    client::{Client, request_id},
    proto::v1::{
        Decision, Verdict, WorkItem, WorkItemServiceBatchDecideRequest, WorkItemServiceDecideRequest,
        WorkItemServiceGetRequest, WorkItemServiceListRequest,
    },
};

/// The server's bound on one `BatchDecide` (DESIGN 2.5).
const BATCH_ITEMS_MAX: usize = 500;
/// How many items are fetched at a time before a batch: enough to hide the way, few enough for anybody's server.
const FETCHES_MAX: usize = 16;

/// Arguments of `quorate inbox`.
#[derive(Debug, Args)]
pub(crate) struct InboxArgs {
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Arguments of `quorate approve` and `quorate abstain`.
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The work items, as `quorate inbox` shows them
    #[arg(required = true, value_name = "ITEM")]
    pub(crate) items: Vec<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) comment: String,
    /// The digest of the record that you saw; without it, that of the record as it is now
    #[arg(long, value_name = "SHA256")]
    pub(crate) record_digest: Option<String>,
}

/// Arguments of `quorate reject`.
#[derive(Debug, Args)]
pub(crate) struct RejectArgs {
    /// The work items, as `quorate inbox` shows them
    #[arg(required = true, value_name = "ITEM")]
    pub(crate) items: Vec<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: String,
    /// The digest of the record that you saw; without it, that of the record as it is now
    #[arg(long, value_name = "SHA256")]
    pub(crate) record_digest: Option<String>,
}

/// Lists the open items that the caller may decide, oldest first.
pub(crate) async fn inbox(args: &InboxArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = session.client.clone();
    let (items, more) = pages(&args.page, async |page_size, page_token| {
        let request = WorkItemServiceListRequest { page_size, page_token, filter: String::new() };
        let answer = client.call(async || client.work_items().list(request.clone()).await).await?;
        Ok((answer.work_items, answer.next_page_token))
    })
    .await?;
    session.print_all(&items, |items, out| {
        let mut table = Table::new(&["ITEM", "PROCESS", "SUMMARY", "SUBMITTER", "ASSIGNED TO", "SINCE", "DUE"]);
        for item in items {
            let since = time(item.assigned_at.as_ref());
            let asked = format!("{}{}", asked(item), state(item));
            let due = time(item.due_at.as_ref());
            table.row([&item.id, &item.process, &summary(item), &item.submitter, &asked, &since, &due]);
        }
        table.print(out)
    })?;
    note_more(more, session)
}

/// The summary, or else the record, which is always there.
fn summary(item: &WorkItem) -> String {
    if item.summary.is_empty() { format!("{}/{}", item.record_type, item.record_id) } else { item.summary.clone() }
}

/// Approves.
pub(crate) async fn approve(args: &ApproveArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    decide(Verdict::Approve, &args.items, &args.comment, args.record_digest.as_deref(), session).await
}

/// Rejects.
pub(crate) async fn reject(args: &RejectArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    decide(Verdict::Reject, &args.items, &args.comment, args.record_digest.as_deref(), session).await
}

/// Abstains.
pub(crate) async fn abstain(args: &ApproveArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    decide(Verdict::Abstain, &args.items, &args.comment, args.record_digest.as_deref(), session).await
}

async fn decide(
    verdict: Verdict,
    items: &[String],
    comment: &str,
    digest: Option<&str>,
    session: &mut Session<'_, '_>,
) -> Result<(), Failure> {
    let decision = |id: &str, record_digest: String| WorkItemServiceDecideRequest {
        id: id.to_owned(),
        verdict: verdict.into(),
        comment: comment.to_owned(),
        record_digest,
        channel: "CLI".to_owned(),
        request_id: request_id(),
    };
    match (items, digest) {
        ([item], Some(digest)) => decide_one(decision(item, digest.to_owned()), session).await,
        ([item], None) => {
            let record_digest = get_item(&session.client, item).await?.record_digest;
            decide_one(decision(item, record_digest), session).await
        }
        (_, Some(_)) => Err(Failure::Usage("--record-digest: a digest is that of one item".to_owned())),
        (items, None) => decide_batch(items, decision, session).await,
    }
}

pub(super) async fn get_item(client: &Client, id: &str) -> Result<WorkItem, Failure> {
    let request = WorkItemServiceGetRequest { id: id.to_owned() };
    answered(client.call(async || client.work_items().get(request.clone()).await).await?.work_item)
}

async fn decide_one(request: WorkItemServiceDecideRequest, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let answer = client.call(async || client.work_items().decide(request.clone()).await).await?;
    if session.format != Format::Table {
        return session.print_value(&to_json(&answer)?);
    }
    let submission = status_name(answer.submission_status());
    let item = answered(answer.work_item)?;
    session.line(&format!("{}: {}; submission {}: {submission}", item.id, status(&item), item.submission))
}

/// What became of one item of a batch: the item, or the reason and the message of its refusal.
type Outcome = Result<WorkItem, (String, String)>;

/// Decides several items, each for itself, and tells of each in the order given.
async fn decide_batch(
    items: &[String],
    decision: impl Fn(&str, String) -> WorkItemServiceDecideRequest,
    session: &mut Session<'_, '_>,
) -> Result<(), Failure> {
    let client = session.client.clone();
    let fetched: Vec<_> = stream::iter(items)
        .map(|id| {
            let client = &client;
            async move { (id.clone(), get_item(client, id).await) }
        })
        .buffered(FETCHES_MAX)
        .collect()
        .await;
    let mut outcomes: HashMap<String, Outcome> = HashMap::new();
    let mut decisions = Vec::new();
    for (id, item) in fetched {
        match item {
            Ok(item) => decisions.push(decision(&id, item.record_digest)),
            Err(Failure::Refused(status)) => {
                outcomes.insert(id, Err((reason(&status), status.message().to_owned())));
            }
            Err(failure) => return Err(failure),
        }
    }
    for decisions in decisions.chunks(BATCH_ITEMS_MAX) {
        let request = WorkItemServiceBatchDecideRequest { decisions: decisions.to_vec(), request_id: request_id() };
        let answer = client.call(async || client.work_items().batch_decide(request.clone()).await).await?;
        for result in answer.results {
            let outcome = match result.error {
                Some(error) => Err((error.reason, error.message)),
                None => Ok(answered(result.work_item)?),
            };
            outcomes.insert(result.id, outcome);
        }
    }
    report_batch(items, &outcomes, session)
}

fn report_batch(
    items: &[String],
    outcomes: &HashMap<String, Outcome>,
    session: &mut Session<'_, '_>,
) -> Result<(), Failure> {
    let mut values = Vec::new();
    let mut failed = false;
    for id in items {
        match outcomes.get(id) {
            Some(Ok(item)) => {
                session.line(&format!("{id}: {}", status(item)))?;
                values.push(json!({ "id": id, "work_item": to_json(item)? }));
            }
            Some(Err((reason, message))) => {
                failed = true;
                session.line(&format!("{id}: refused: {reason}: {message}"))?;
                values.push(json!({ "id": id, "error": { "reason": reason, "message": message } }));
            }
            None => return Err(Failure::Failed(format!("the server says nothing of {id}"))),
        }
    }
    if session.format != Format::Table {
        session.print_value(&Value::Array(values))?;
    }
    if failed { Err(Failure::Reported) } else { Ok(()) }
}

fn status(item: &WorkItem) -> &'static str {
    enum_name(item.status().as_str_name(), "WORK_ITEM_STATUS_")
}

/// Whom it asks, and, where that is not the caller, for whom they may decide it: `for bob`, `group:finance, for bob`.
fn asked(item: &WorkItem) -> String {
    let (assignee, person) = (assignee(item), &item.on_behalf_of);
    match person.as_str() {
        "" => assignee,
        person if assignee == format!("user:{person}") => format!("for {person}"),
        person => format!("{assignee}, for {person}"),
    }
}

/// Who decided, and for whom: `carol for bob`.
pub(crate) fn decided_by(decision: &Decision) -> String {
    let Decision { actor, on_behalf_of, .. } = decision;
    if on_behalf_of.is_empty() { actor.clone() } else { format!("{actor} for {on_behalf_of}") }
}

/// Writes work items as a table that shows those that are closed as well.
pub(crate) fn print_items(items: &[WorkItem], out: &mut dyn io::Write) -> io::Result<()> {
    let mut table = Table::new(&["ITEM", "SUBMISSION", "STEP", "ASSIGNED TO", "STATUS", "BY", "SINCE"]);
    for item in items {
        let by = item.decision.as_ref().map(decided_by).unwrap_or_default();
        let since = time(item.closed_at.as_ref().or(item.assigned_at.as_ref()));
        let step = format!("{}/{}", item.stage, item.step);
        table.row([&item.id, &item.submission, &step, &assignee(item), status(item), &by, &since]);
    }
    table.print(out)
}
