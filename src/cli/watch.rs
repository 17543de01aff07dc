//! `watch`: following a submission, and saying what changed.

use std::cmp::Ordering;

use clap::Args;
use prost_types::Timestamp;

use crate::{
    cli::{
        Failure,
        inbox::decided_by,
        output::{Format, Session, enum_name, status_name},
        table::{printable, time},
    },
    client::{Client, STREAM_ATTEMPTS_MAX, is_unavailable, pause_before_retry},
    proto::v1::{
        self, AssigneeKind, StageRun, StageRunStatus, StepRun, StepRunStatus, Submission, SubmissionStatus, WorkItem,
        WorkItemStatus,
    },
};

/// Arguments of `quorate watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The submission's id
    #[arg(value_name = "SUBMISSION")]
    pub(crate) id: String,
    /// Say by the exit code how it ended (10 rejected, 11 recalled, 12 canceled, 13 in error), and stop at an error too,
    /// although an administrator may still mend it
    #[arg(long)]
    pub(crate) exit_status: bool,
}

/// Follows a submission: a line for each change, or the whole submission after each change where programs read.
pub(crate) async fn watch(args: &WatchArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let until = if args.exit_status { Until::Halted } else { Until::Ended };
    let client = session.client.clone();
    let mut before = None;
    let last = follow(&client, &args.id, until, |submission| {
        if session.format == Format::Table {
            print_changes(before.as_ref(), submission, session)?;
            before = Some(submission.clone());
            Ok(())
        } else {
            session.print_streamed(submission)
        }
    })
    .await?;
    if args.exit_status { ended(&last) } else { Ok(()) }
}

/// Approved is success; every other end is an exit code of its own.
pub(crate) fn ended(submission: &Submission) -> Result<(), Failure> {
    match submission.status() {
        SubmissionStatus::Approved => Ok(()),
        status => Err(Failure::Ended(status)),
    }
}

/// How long to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until nothing can change any more.
    Ended,
    /// Until nothing will change unless an administrator steps in.
    Halted,
}

impl Until {
    /// Whether there is nothing more to wait for.
    pub(crate) fn is_reached(self, status: SubmissionStatus) -> bool {
        match status {
            SubmissionStatus::Approved
            | SubmissionStatus::Rejected
            | SubmissionStatus::Recalled
            | SubmissionStatus::Canceled => true,
            SubmissionStatus::Error => self == Self::Halted,
            SubmissionStatus::InProgress | SubmissionStatus::Suspended | SubmissionStatus::Unspecified => false,
        }
    }
}

/// Follows a submission until it has ended, over broken streams and restarts of the server, and gives it as it ended.
/// `on_change` sees it as it stands first, and after each change.
pub(crate) async fn follow(
    client: &Client,
    id: &str,
    until: Until,
    mut on_change: impl FnMut(&Submission) -> Result<(), Failure>,
) -> Result<Submission, Failure> {
    let client = client.unhurried();
    let mut last: Option<Submission> = None;
    let mut broken = 0;
    loop {
        let request = v1::SubmissionServiceWatchRequest { id: id.to_owned() };
        let status = match client.submissions().watch(request).await {
            Err(status) => Some(status),
            Ok(response) => {
                let mut stream = response.into_inner();
                loop {
                    let submission = match stream.message().await {
                        Ok(Some(answer)) => answer.submission,
                        Ok(None) => break None,
                        Err(status) => break Some(status),
                    };
                    broken = 0;
                    // After a break the stream begins with what may have been seen already.
                    let Some(submission) = submission.filter(|submission| last.as_ref() != Some(submission)) else {
                        continue;
                    };
                    on_change(&submission)?;
                    if until.is_reached(submission.status()) {
                        return Ok(submission);
                    }
                    last = Some(submission);
                }
            }
        };
        broken += 1;
        match (status, last.take()) {
            // A server that ends the stream at an error holds it for an end.
            (None, Some(submission)) if submission.status() == SubmissionStatus::Error => return Ok(submission),
            (Some(status), _) if !is_unavailable(&status) || broken >= STREAM_ATTEMPTS_MAX => {
                return Err(client.failure(status));
            }
            (None, _) if broken >= STREAM_ATTEMPTS_MAX => {
                return Err(Failure::Failed("the server ends the stream before the submission has ended".to_owned()));
            }
            (_, submission) => last = submission,
        }
        pause_before_retry(broken).await;
    }
}

/// Writes a line for each change: when, how the submission stands, what changed.
pub(crate) fn print_changes(
    before: Option<&Submission>,
    after: &Submission,
    session: &mut Session<'_, '_>,
) -> Result<(), Failure> {
    let now = Timestamp { seconds: jiff::Timestamp::now().as_second(), nanos: 0 };
    for line in change_lines(before, after, &now) {
        writeln!(session.screen.out, "{line}")?;
    }
    Ok(session.screen.out.flush()?)
}

/// The lines of a change, in the order of time. `now` is the time of what carries none.
fn change_lines(before: Option<&Submission>, after: &Submission, now: &Timestamp) -> Vec<String> {
    let mut changes = changes(before, after);
    for (at, _) in &mut changes {
        at.get_or_insert(*now);
    }
    // Stable: what happened at one time stays in the order of the process.
    changes.sort_by(|(left, _), (right, _)| match (left, right) {
        (Some(left), Some(right)) => (left.seconds, left.nanos).cmp(&(right.seconds, right.nanos)),
        _ => Ordering::Equal,
    });
    let status = status_name(after.status());
    changes.iter().map(|(at, text)| format!("{}  {status}  {}", time(at.as_ref()), printable(text))).collect()
}

type Change = (Option<Timestamp>, String);

fn changes(before: Option<&Submission>, after: &Submission) -> Vec<Change> {
    let mut changes = Vec::new();
    match before {
        None => {
            let text = format!("{} version {}: submitted by {}", after.process, after.process_version, after.submitter);
            changes.push((after.submitted_at, text));
        }
        Some(before) => {
            let version = |submission: &Submission| submission.record.as_ref().map_or(0, |record| record.version);
            if version(before) != version(after) {
                changes.push((None, format!("record: version {}", version(after))));
            }
        }
    }
    for stage in &after.stages {
        let old = before.and_then(|before| before.stages.iter().find(|old| old.id == stage.id));
        stage_changes(old, stage, &mut changes);
    }
    if after.ending != before.map_or(0, |before| before.ending) && after.ended_at.is_none() {
        changes.push((None, format!("submission: going to end {}", status_name(after.ending()))));
    }
    if before.is_some_and(|before| before.status != after.status) || (before.is_none() && after.ended_at.is_some()) {
        let failure = after.failure.as_ref().map(said).unwrap_or_default();
        changes.push((after.ended_at, format!("submission: {}{failure}", status_name(after.status()))));
    }
    changes
}

fn stage_changes(before: Option<&StageRun>, after: &StageRun, changes: &mut Vec<Change>) {
    let name = in_round(&after.name, after.round);
    let change = |at: Option<Timestamp>, status: &str| {
        let failure = after.failure.as_ref().map(said).unwrap_or_default();
        (at, format!("stage {name}: {status}{failure}"))
    };
    // A stage begins before its steps do, and ends after them.
    if before.is_none() {
        changes.push((after.started_at, format!("stage {name}: IN_PROGRESS")));
    }
    for step in &after.steps {
        let old = before.and_then(|before| before.steps.iter().find(|old| old.id == step.id));
        step_changes(&name, old, step, changes);
    }
    if let (Some(sent), None) = (&after.sent_back, before.and_then(|before| before.sent_back.as_ref())) {
        changes
            .push((after.ended_at, format!("stage {name}: sent back to {} by {}: {}", sent.to, sent.by, sent.comment)));
    }
    let known = before.map_or(StageRunStatus::InProgress, StageRun::status);
    if known != after.status() {
        changes.push(change(after.ended_at, enum_name(after.status().as_str_name(), "STAGE_RUN_STATUS_")));
    }
}

fn step_changes(stage: &str, before: Option<&StepRun>, after: &StepRun, changes: &mut Vec<Change>) {
    let name = format!("{stage}/{}", in_round(&after.name, after.round));
    let known = before.map_or(StepRunStatus::NotStarted, StepRun::status);
    let open = matches!(after.status(), StepRunStatus::NotStarted | StepRunStatus::InProgress);
    // What started and ended between two looks is told as both.
    if known == StepRunStatus::NotStarted && after.started_at.is_some() {
        changes.push((after.started_at, format!("step {name}: IN_PROGRESS{}", asked(after))));
    } else if before.is_some_and(|before| before.attempt != after.attempt) && open {
        changes.push((None, format!("step {name}: attempt {}", after.attempt)));
    }
    for item in &after.work_items {
        let old = before.and_then(|before| before.work_items.iter().find(|old| old.id == item.id));
        item_changes(&name, old, item, changes);
    }
    if let (Some(decision), None) = (&after.overridden, before.and_then(|before| before.overridden.as_ref())) {
        changes.push((
            decision.decided_at,
            format!("step {name}: overridden by {}: {}", decision.actor, decision.comment),
        ));
    }
    let told = if after.started_at.is_some() && known == StepRunStatus::NotStarted {
        StepRunStatus::InProgress
    } else {
        known
    };
    if told != after.status() {
        let status = enum_name(after.status().as_str_name(), "STEP_RUN_STATUS_");
        let failure = after.failure.as_ref().map(said).unwrap_or_default();
        changes.push((after.ended_at.or(after.started_at), format!("step {name}: {status}{failure}")));
    }
}

fn item_changes(step: &str, before: Option<&WorkItem>, after: &WorkItem, changes: &mut Vec<Change>) {
    let id = &after.id;
    if before.is_none() {
        changes.push((after.assigned_at, format!("item {id}: ASSIGNED to {} ({step})", assignee(after))));
    }
    let fresh = WorkItem { assignee: after.assignee.clone(), ..WorkItem::default() };
    handling_changes(step, before.unwrap_or(&fresh), after, changes);
    if before.map_or(WorkItemStatus::Assigned, WorkItem::status) != after.status() {
        let status = enum_name(after.status().as_str_name(), "WORK_ITEM_STATUS_");
        let decision = after.decision.as_ref().map(|decision| match decision.comment.as_str() {
            "" => format!(" by {}", decided_by(decision)),
            comment => format!(" by {}: {comment}", decided_by(decision)),
        });
        changes.push((after.closed_at, format!("item {id}: {status}{} ({step})", decision.unwrap_or_default())));
    }
}

/// Who is asked now, who keeps it for themselves, and what the submitter is asked.
fn handling_changes(step: &str, before: &WorkItem, after: &WorkItem, changes: &mut Vec<Change>) {
    let id = &after.id;
    if before.assignee != after.assignee {
        changes.push((None, format!("item {id}: REASSIGNED to {} ({step}): {}", assignee(after), after.reason)));
    }
    if before.claimed_by != after.claimed_by && after.status() == WorkItemStatus::Assigned {
        let what = if after.claimed_by.is_empty() {
            "released".to_owned()
        } else {
            format!("claimed by {}", after.claimed_by)
        };
        changes.push((None, format!("item {id}: {what} ({step})")));
    }
    for (place, question) in after.questions.iter().enumerate() {
        let known = before.questions.get(place);
        if known.is_none() {
            changes
                .push((question.asked_at, format!("item {id}: {} asks: {} ({step})", question.by, question.question)));
        }
        if question.answered_at.is_some() && known.is_none_or(|known| known.answered_at.is_none()) {
            let text = format!("item {id}: {} answers: {} ({step})", question.answered_by, question.answer);
            changes.push((question.answered_at, text));
        }
    }
}

/// Whom a work item asks, as filters write it: `user:bob`.
pub(crate) fn assignee(item: &WorkItem) -> String {
    let Some(assignee) = &item.assignee else { return String::new() };
    let kind = match assignee.kind() {
        AssigneeKind::User => "user:",
        AssigneeKind::Group => "group:",
        AssigneeKind::Queue => "queue:",
        AssigneeKind::Unspecified => "",
    };
    format!("{kind}{}", assignee.name)
}

/// The name of a stage or step, with the round where it is not the first.
pub(crate) fn in_round(name: &str, round: u32) -> String {
    if round > 1 { format!("{name}#{round}") } else { name.to_owned() }
}

fn asked(step: &StepRun) -> String {
    if step.flow.is_empty() { String::new() } else { format!(" (flow {} version {})", step.flow, step.flow_version) }
}

fn said(failure: &v1::Failure) -> String {
    format!(": {}: {}", failure.reason, failure.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{Assignee, Decision, Verdict};

    fn at(second: i64) -> Timestamp {
        Timestamp { seconds: 1_795_341_600 + second, nanos: 0 }
    }

    fn lines(before: Option<&Submission>, after: &Submission) -> Vec<String> {
        change_lines(before, after, &at(59))
    }

    fn waiting() -> Submission {
        let item = WorkItem {
            id: "i1".into(),
            assignee: Some(Assignee { kind: AssigneeKind::Group.into(), name: "finance".into() }),
            status: WorkItemStatus::Assigned.into(),
            assigned_at: Some(at(2)),
            ..WorkItem::default()
        };
        let check = StepRun {
            id: "s1".into(),
            name: "check_budget".into(),
            status: StepRunStatus::Completed.into(),
            flow: "check-budget".into(),
            flow_version: 3,
            attempt: 1,
            started_at: Some(at(0)),
            ended_at: Some(at(1)),
            ..StepRun::default()
        };
        let approve = StepRun {
            id: "s2".into(),
            name: "finance".into(),
            status: StepRunStatus::InProgress.into(),
            work_items: vec![item],
            started_at: Some(at(2)),
            ..StepRun::default()
        };
        let later = StepRun { id: "s3".into(), status: StepRunStatus::NotStarted.into(), ..StepRun::default() };
        let stage = StageRun {
            id: "g1".into(),
            name: "review".into(),
            round: 1,
            status: StageRunStatus::InProgress.into(),
            steps: vec![check, approve, later],
            started_at: Some(at(0)),
            ..StageRun::default()
        };
        Submission {
            id: "1".into(),
            process: "purchase-request".into(),
            process_version: 2,
            status: SubmissionStatus::InProgress.into(),
            submitter: "ann".into(),
            stages: vec![stage],
            submitted_at: Some(at(0)),
            ..Submission::default()
        }
    }

    #[test]
    fn the_first_look_tells_what_has_happened_so_far() {
        assert_eq!(
            lines(None, &waiting()),
            [
                "2026-11-22T10:00:00Z  IN_PROGRESS  purchase-request version 2: submitted by ann",
                "2026-11-22T10:00:00Z  IN_PROGRESS  stage review: IN_PROGRESS",
                "2026-11-22T10:00:00Z  IN_PROGRESS  step review/check_budget: IN_PROGRESS (flow check-budget version 3)",
                "2026-11-22T10:00:01Z  IN_PROGRESS  step review/check_budget: COMPLETED",
                "2026-11-22T10:00:02Z  IN_PROGRESS  step review/finance: IN_PROGRESS",
                "2026-11-22T10:00:02Z  IN_PROGRESS  item i1: ASSIGNED to group:finance (review/finance)",
            ]
        );
    }

    #[test]
    fn what_is_done_with_an_item_is_told() {
        let (before, mut after) = (waiting(), waiting());
        after.stages[0].sent_back =
            Some(v1::SentBack { to: "draft".into(), by: "bob".into(), comment: "not yet".into() });
        let item = &mut after.stages[0].steps[1].work_items[0];
        item.assignee = Some(Assignee { kind: AssigneeKind::Queue.into(), name: "intake".into() });
        item.reason = "why".into();
        item.claimed_by = "bob".into();
        item.questions = vec![v1::Question {
            by: "bob".into(),
            asked_at: Some(at(3)),
            question: "Which?".into(),
            answered_by: "ann".into(),
            answered_at: Some(at(4)),
            answer: "This.".into(),
        }];
        assert_eq!(
            lines(Some(&before), &after),
            [
                "2026-11-22T10:00:03Z  IN_PROGRESS  item i1: bob asks: Which? (review/finance)",
                "2026-11-22T10:00:04Z  IN_PROGRESS  item i1: ann answers: This. (review/finance)",
                "2026-11-22T10:00:59Z  IN_PROGRESS  item i1: REASSIGNED to queue:intake (review/finance): why",
                "2026-11-22T10:00:59Z  IN_PROGRESS  item i1: claimed by bob (review/finance)",
                "2026-11-22T10:00:59Z  IN_PROGRESS  stage review: sent back to draft by bob: not yet",
            ]
        );
    }

    #[test]
    fn a_look_without_a_change_tells_nothing() {
        assert!(lines(Some(&waiting()), &waiting()).is_empty());
    }

    #[test]
    fn a_rejection_is_told_from_the_item_to_the_submission() {
        let (before, mut after) = (waiting(), waiting());
        after.status = SubmissionStatus::Rejected.into();
        after.ended_at = Some(at(9));
        let stage = &mut after.stages[0];
        stage.status = StageRunStatus::Completed.into();
        stage.ended_at = Some(at(9));
        let step = &mut stage.steps[1];
        step.status = StepRunStatus::Completed.into();
        step.ended_at = Some(at(9));
        let item = &mut step.work_items[0];
        item.status = WorkItemStatus::Rejected.into();
        item.closed_at = Some(at(9));
        let decision = Decision {
            verdict: Verdict::Reject.into(),
            actor: "bob".into(),
            comment: "too\ndear".into(),
            ..Decision::default()
        };
        item.decision = Some(decision);
        assert_eq!(
            lines(Some(&before), &after),
            [
                "2026-11-22T10:00:09Z  REJECTED  item i1: REJECTED by bob: too dear (review/finance)",
                "2026-11-22T10:00:09Z  REJECTED  step review/finance: COMPLETED",
                "2026-11-22T10:00:09Z  REJECTED  stage review: COMPLETED",
                "2026-11-22T10:00:09Z  REJECTED  submission: REJECTED",
            ]
        );
    }

    #[test]
    fn attempts_failures_endings_and_rounds_are_told() {
        let (mut before, mut after) = (waiting(), waiting());
        before.stages[0].steps[0].status = StepRunStatus::InProgress.into();
        after.stages[0].round = 2;
        after.ending = SubmissionStatus::Recalled.into();
        let step = &mut after.stages[0].steps[0];
        step.status = StepRunStatus::Error.into();
        step.attempt = 2;
        step.failure = Some(v1::Failure { reason: "FLOW_FAILED".into(), message: "ERP_DOWN".into() });
        assert_eq!(
            lines(Some(&before), &after),
            [
                "2026-11-22T10:00:01Z  IN_PROGRESS  step review#2/check_budget: ERROR: FLOW_FAILED: ERP_DOWN",
                "2026-11-22T10:00:59Z  IN_PROGRESS  submission: going to end RECALLED",
            ]
        );
        let step = &mut after.stages[0].steps[0];
        step.status = StepRunStatus::InProgress.into();
        after.ending = 0;
        assert_eq!(
            lines(Some(&before), &after),
            ["2026-11-22T10:00:59Z  IN_PROGRESS  step review#2/check_budget: attempt 2"]
        );
    }

    #[test]
    fn only_a_caller_who_asks_for_it_stops_at_an_error() {
        assert!(!Until::Ended.is_reached(SubmissionStatus::Error));
        assert!(Until::Halted.is_reached(SubmissionStatus::Error));
        assert!(Until::Ended.is_reached(SubmissionStatus::Recalled));
    }
}
