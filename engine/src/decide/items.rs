//! What can be done with a work item besides deciding it: claim, release, reassign, override, ask and answer, send back
//! (DESIGN 2.5).
//!
//! All of it is checked in the same order as a decision: first whether they may, so that nobody else learns how the item
//! stands; then whether it is still open, so that who comes too late is told who was faster; then what they ask for.

use crate::{
    command::{Actor, Override, OverrideTarget},
    context::Context,
    definition::{ApprovalStep, Process},
    event::EventKind,
    id::{UserName, WorkItemId},
    projection::later,
    refusal::Refusal,
    state::{Assignee, Decision, StageRun, StepRun, Submission, Verdict, WorkItem},
    status::StepRunStatus,
};

use super::{
    Deciding, ROUNDS_MAX, Right, VISITS_MAX,
    assignees::{Asking, Vetoes},
    authorize::{approval_step, authorize_decision, separation},
    check_administrator, check_comment, check_history, check_in_progress, check_open,
    draft::Draft,
    is_own,
};

/// How many questions may be asked on one work item: a conversation that is longer is better held elsewhere.
pub const QUESTIONS_MAX: usize = 20;

/// The channel of a decision that an administrator takes over the heads of those who were asked.
const OVERRIDE: &str = "OVERRIDE";

/// One of those who share a work item keeps it for themselves. Again by the same person it changes nothing, so that a claim is
/// not made longer by it.
pub(super) fn claim(draft: &mut Draft<'_, '_>, work_item: WorkItemId, by: &Actor) -> Result<(), Refusal> {
    let (step, item) = open_to(draft, work_item, &by.name)?;
    match item.assignee {
        Assignee::Group(_) | Assignee::Queue(_) => {}
        Assignee::User(_) => return Err(Refusal::NotShared { assignee: item.assignee.to_string() }),
    }
    let now = draft.context.now;
    let (lapsed, held) = (item.claim.is_some(), item.claim.as_ref().is_some_and(|claim| claim.holds(now)));
    if held {
        return Ok(());
    }
    check_history(&draft.state)?;
    let limit = approval_step(draft.context.process, &step.name).and_then(|step| step.claim_limit);
    if lapsed {
        draft.emit(EventKind::WorkItemReleased { work_item, by: None });
    }
    let until = limit.map(|limit| later(now, limit));
    draft.emit(EventKind::WorkItemClaimed { work_item, by: by.name.clone(), until });
    Ok(())
}

/// Whoever claimed it, or an administrator, gives it back.
pub(super) fn release(draft: &mut Draft<'_, '_>, work_item: WorkItemId, by: &Actor) -> Result<(), Refusal> {
    let (_, step, item) = draft.state.work_item(work_item).ok_or(Refusal::WorkItemNotFound)?;
    let claimer = item.claim.as_ref().is_some_and(|claim| claim.by == by.name);
    // Whoever claimed it gives it back also when they may no longer decide.
    if !by.administrator && !claimer {
        right_on(draft, step, item, &by.name)?;
    }
    check_open(item)?;
    check_in_progress(&draft.state)?;
    if item.claim.is_none() {
        return Err(Refusal::NotClaimed);
    }
    // Whoever comes when its time has passed has not released it.
    let lapsed = item.claim.as_ref().is_some_and(|claim| !claim.holds(draft.context.now));
    let by = if lapsed { None } else { Some(by.name.clone()) };
    draft.emit(EventKind::WorkItemReleased { work_item, by });
    Ok(())
}

/// Somebody else is asked in place of those who were. They take the place as it is: its weight stays, and a veto stays with
/// it or comes with them, so that a step is never weaker by it. What was asked of the submitter stays on the item.
pub(super) fn reassign(
    draft: &mut Draft<'_, '_>,
    work_item: WorkItemId,
    by: &Actor,
    to: &Assignee,
    comment: &str,
) -> Result<(), Refusal> {
    check_comment("comment", comment)?;
    let process = draft.context.process;
    let (_, run, item) = draft.state.work_item(work_item).ok_or(Refusal::WorkItemNotFound)?;
    let step = approval_step(process, &run.name).ok_or(Refusal::WorkItemNotFound)?;
    let right = if by.administrator { Right::Override } else { right_on(draft, run, item, &by.name)? };
    match right {
        Right::Override => {}
        Right::Own | Right::Membership if step.allow_reassign => {}
        // A delegation lends the right to decide, and not to give it to somebody else.
        Right::Own | Right::Membership | Right::Delegation { .. } => return Err(not_permitted(by)),
    }
    check_open(item)?;
    check_in_progress(&draft.state)?;
    check_history(&draft.state)?;
    let separation = separation(process, &run.name);
    let asking = Asking { name: &run.name, step, separation: &separation };
    if let Some(why) = draft.unfit_in_place(asking, run, to) {
        return Err(Refusal::AssigneeUnfit { assignee: to.to_string(), why });
    }
    let veto = item.veto || Vetoes::of(&step.veto_by, draft.context.directory).holds(to);
    draft.emit(EventKind::WorkItemReassigned {
        work_item,
        from: item.assignee.clone(),
        to: to.clone(),
        by: by.name.clone(),
        comment: comment.to_owned(),
        veto,
    });
    Ok(())
}

/// An administrator settles a step in progress, whatever those who were asked have said, and whatever its exit condition.
pub(super) fn override_step(draft: &mut Draft<'_, '_>, command: &Override) -> Result<(), Refusal> {
    let Override { target, by, verdict, comment, record_digest } = command;
    check_comment("comment", comment)?;
    check_administrator(by)?;
    let run = overridden_run(&draft.state, draft.context.process, target)?;
    let step_run = run.id;
    authorize_decision(&deciding(draft, run, None), &by.name)?;
    if let OverrideTarget::WorkItem(id) = target
        && let Some((_, _, item)) = draft.state.work_item(*id)
        && run.status != StepRunStatus::InProgress
    {
        check_open(item)?;
    }
    check_in_progress(&draft.state)?;
    if run.status != StepRunStatus::InProgress {
        return Err(Refusal::StepNotInProgress { step: run.name.clone() });
    }
    if *verdict == Verdict::Abstain {
        return Err(Refusal::AbstentionNotAllowed { step: run.name.clone() });
    }
    if *record_digest != draft.state.record.digest {
        return Err(Refusal::RecordChanged { digest: draft.state.record.digest.clone() });
    }
    if comment.trim().is_empty() {
        return Err(Refusal::CommentMissing);
    }
    let decision = Decision {
        verdict: *verdict,
        actor: by.name.clone(),
        on_behalf_of: None,
        delegation: None,
        comment: comment.clone(),
        channel: OVERRIDE.to_owned(),
        record_digest: record_digest.clone(),
        values: None,
    };
    draft.emit(EventKind::StepOverridden { step_run, decision });
    draft.progress_from_decision();
    Ok(())
}

/// The approval step run that an override is of.
fn overridden_run<'s>(
    state: &'s Submission,
    process: &Process,
    target: &OverrideTarget,
) -> Result<&'s StepRun, Refusal> {
    match target {
        OverrideTarget::WorkItem(id) => state.work_item(*id).map(|(_, run, _)| run).ok_or(Refusal::WorkItemNotFound),
        OverrideTarget::Step(name) => {
            let latest = state.latest_steps().get(name.as_str()).copied();
            let latest = latest.filter(|_| approval_step(process, name).is_some());
            latest.ok_or_else(|| Refusal::StepNotInProgress { step: name.clone() })
        }
    }
}

/// Somebody who is asked wants to know something from the submitter. The item stays open, and can be decided meanwhile: whoever
/// has learned it elsewhere need not wait.
pub(super) fn request_information(
    draft: &mut Draft<'_, '_>,
    work_item: WorkItemId,
    by: &Actor,
    question: &str,
) -> Result<(), Refusal> {
    check_text("question", question)?;
    let (_, item) = open_to(draft, work_item, &by.name)?;
    if let Some(open) = item.open_question() {
        return Err(Refusal::QuestionOpen { by: open.by.clone(), at: open.at });
    }
    if item.questions.len() >= QUESTIONS_MAX {
        return Err(Refusal::QuestionsExhausted { max: QUESTIONS_MAX });
    }
    check_history(&draft.state)?;
    draft.emit(EventKind::InformationRequested { work_item, by: by.name.clone(), question: question.to_owned() });
    Ok(())
}

/// The submitter, whoever they acted for, or an administrator answers.
pub(super) fn answer_information(
    draft: &mut Draft<'_, '_>,
    work_item: WorkItemId,
    by: &Actor,
    answer: &str,
) -> Result<(), Refusal> {
    check_text("answer", answer)?;
    let (_, _, item) = draft.state.work_item(work_item).ok_or(Refusal::WorkItemNotFound)?;
    if !by.administrator && !is_own(&draft.state, &by.name) {
        return Err(Refusal::NotPermitted { actor: by.name.clone(), needed: "the submitter or an administrator" });
    }
    check_open(item)?;
    check_in_progress(&draft.state)?;
    if item.open_question().is_none() {
        return Err(Refusal::NoOpenQuestion);
    }
    draft.emit(EventKind::InformationAnswered { work_item, by: by.name.clone(), answer: answer.to_owned() });
    Ok(())
}

/// The submission goes back to an earlier stage, in a new round. It is not a rejection: no step is settled by it. The stage ends
/// as one does that a change of the record leads back from: with what is in progress it is discontinued, and who was asked is
/// asked no more.
pub(super) fn send_back(
    draft: &mut Draft<'_, '_>,
    work_item: WorkItemId,
    by: &Actor,
    to: &str,
    comment: &str,
) -> Result<(), Refusal> {
    check_comment("comment", comment)?;
    let process = draft.context.process;
    let (stage, run, item) = draft.state.work_item(work_item).ok_or(Refusal::WorkItemNotFound)?;
    let stage_run = stage.id;
    let right = if by.administrator { Right::Override } else { right_on(draft, run, item, &by.name)? };
    if right != Right::Override && !may_send_back(approval_step(process, &run.name), to) {
        return Err(not_permitted(by));
    }
    check_open(item)?;
    check_in_progress(&draft.state)?;
    if comment.trim().is_empty() {
        return Err(Refusal::CommentMissing);
    }
    let index = earlier_stage(&draft.state, process, stage, to)
        .map_err(|why| Refusal::SendBackUnfit { stage: to.to_owned(), why: why.to_owned() })?;
    // What goes back once more than it may would be in error, which is no service to anybody who could still decide.
    if draft.state.round >= ROUNDS_MAX || draft.visits(to) >= VISITS_MAX {
        return Err(Refusal::RoundsExceeded { max: ROUNDS_MAX });
    }
    check_history(&draft.state)?;
    let (by, comment) = (by.name.clone(), comment.to_owned());
    draft.emit(EventKind::SentBack { stage_run, work_item, to: to.to_owned(), by, comment });
    draft.go_back_to(index);
    draft.progress();
    Ok(())
}

fn may_send_back(step: Option<&ApprovalStep>, to: &str) -> bool {
    step.is_some_and(|step| step.send_back_to.iter().any(|stage| stage == to))
}

/// The index of a stage that is written before this one and was visited: back is where the submission has been. What a fault
/// path was led to from has ended, and it does not lead back there.
fn earlier_stage(state: &Submission, process: &Process, from: &StageRun, to: &str) -> Result<usize, &'static str> {
    let index = process.stage_index(to).ok_or("there is no such stage")?;
    let own = process.stage_index(&from.name).ok_or("this is no stage of the process")?;
    let is_fault_path = |index: usize| process.stages.get(index).is_some_and(|stage| stage.fault_path);
    if is_fault_path(index) || is_fault_path(own) {
        return Err("a fault path is no part of the way there and back");
    }
    if index >= own {
        return Err("it is not written before the stage that the submission is in");
    }
    if !state.stage_runs.iter().any(|run| run.ending.is_none() && run.name == to) {
        return Err("the submission has not been there");
    }
    Ok(index)
}

/// A work item that this person may decide now, and nobody keeps from them.
fn open_to<'d>(
    draft: &'d Draft<'_, '_>,
    work_item: WorkItemId,
    by: &UserName,
) -> Result<(&'d StepRun, &'d WorkItem), Refusal> {
    let (_, step, item) = draft.state.work_item(work_item).ok_or(Refusal::WorkItemNotFound)?;
    right_on(draft, step, item, by)?;
    check_open(item)?;
    check_in_progress(&draft.state)?;
    Ok((step, item))
}

/// By which right this person may decide the item; the refusal says what stands against it.
fn right_on(draft: &Draft<'_, '_>, step: &StepRun, item: &WorkItem, by: &UserName) -> Result<Right, Refusal> {
    authorize_decision(&deciding(draft, step, Some(item)), by)
}

fn deciding<'a>(draft: &'a Draft<'_, '_>, step: &'a StepRun, item: Option<&'a WorkItem>) -> Deciding<'a> {
    let Context { process, directory, now, .. } = *draft.context;
    Deciding { state: &draft.state, process, step, item, directory, now }
}

/// A text that has to say something.
fn check_text(field: &'static str, text: &str) -> Result<(), Refusal> {
    check_comment(field, text)?;
    if text.trim().is_empty() { Err(Refusal::TextMissing { field }) } else { Ok(()) }
}

fn not_permitted(by: &Actor) -> Refusal {
    Refusal::NotPermitted { actor: by.name.clone(), needed: "an administrator, or a step that allows it" }
}
