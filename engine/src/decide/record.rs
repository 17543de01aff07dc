//! A change of the record of a submission in progress: whether it is taken, and which decisions it leaves standing (DESIGN 2.5,
//! and `docs/definitions.md`, "When the record changes").
//!
//! A decision that was dismissed is not undone: its step run stays as it was. The first stage that holds one starts again, as
//! another round, in which those whose decisions were dismissed are asked anew, and steps that had completed on decisions that
//! the change does not touch complete by those again.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Json,
    command::{Reported, UpdateRecord},
    definition::{ApprovalStep, OnChange, StepKind},
    event::{Dismissed, EventKind},
    id::{StepRunId, UserName},
    refusal::Refusal,
    state::{Kept, Record, Reused, StepRun, Submission, Verdict},
    status::{StepRunStatus, SubmissionStatus},
};

use super::{
    ROUNDS_MAX, authorize::may_decide, check_comment, check_history, check_not_ended, check_not_ending, conditions,
    draft::Draft, is_own, record_digest,
};

/// What a change comes to.
#[derive(Default)]
struct Effect {
    dismissed: Vec<Dismissed>,
    /// The stage that starts again, by its index.
    back_to: Option<usize>,
    /// What stands from here on, where that changes.
    kept: Option<BTreeMap<String, StepRunId>>,
}

/// How large a record may be, in bytes as JSON: what a job or a message that holds it can still carry.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;

/// A change that a flow of the process makes, as it was found to be right.
pub(super) struct FlowChange {
    record: Record,
    effect: Effect,
}

/// What other data comes to that a flow of the process gives the record, or why it is not taken: by the rules of everybody's
/// changes, but that the process itself is asked for no right. `None`: it is as it was.
pub(super) fn change_by_flow(draft: &Draft<'_, '_>, data: Json) -> Result<Option<FlowChange>, Refusal> {
    let record = &draft.state.record;
    let digest = record_digest(&data);
    if digest == record.digest {
        return Ok(None);
    }
    if data.to_string().len() > RECORD_BYTES_MAX {
        return Err(Refusal::TooLong { field: "record", max: RECORD_BYTES_MAX });
    }
    let effect = match draft.state.ending {
        // On a path to an ending nothing is decided any more, so that there is nothing to dismiss: the path may note in the record
        // what it has come to.
        Some(_) => check_data(draft, &data).map(|()| Effect::default())?,
        None => effect(draft, &data)?,
    };
    let record = Record { version: record.version + 1, digest, data: Arc::new(data), ..record.clone() };
    Ok(Some(FlowChange { record, effect }))
}

/// Changes the record. Answers with the stage that has to start again by it, by its index.
pub(super) fn apply_change_of_flow(draft: &mut Draft<'_, '_>, by: UserName, change: FlowChange) -> Option<usize> {
    let FlowChange { record, effect } = change;
    emit_update(draft, (by, String::new()), record, effect)
}

pub(super) fn update_record(draft: &mut Draft<'_, '_>, update: &UpdateRecord) -> Result<(), Refusal> {
    check_comment("comment", &update.comment)?;
    check_not_ended(&draft.state)?;
    check_may_change(draft, update)?;
    check_history(&draft.state)?;
    let record = &draft.state.record;
    let digest = record_digest(&update.data);
    let source_version = update.reported.and_then(|reported| reported.source_version);
    let is_old = source_version.zip(record.source_version).is_some_and(|(told, known)| told <= known);
    if is_old || digest == record.digest {
        return Ok(());
    }
    match effect(draft, &update.data) {
        Ok(effect) => {
            let record = Record {
                version: record.version + 1,
                digest,
                data: Arc::clone(&update.data),
                source_version: source_version.or(record.source_version),
                ..record.clone()
            };
            take(draft, update, record, effect);
            Ok(())
        }
        // It has happened where the record lives, whatever is made of it here: the history says that it was not taken.
        Err(refusal) if update.reported.is_some() => {
            if draft.state.ignored_change.as_ref().is_none_or(|ignored| ignored.digest != digest) {
                draft.emit(EventKind::RecordChangeIgnored {
                    by: update.by.name.clone(),
                    digest,
                    source_version,
                    reason: refusal.reason().to_owned(),
                    message: refusal.to_string(),
                });
            }
            Ok(())
        }
        Err(refusal) => Err(refusal),
    }
}

/// Who may change the record: the submitter and whoever they act for, an administrator, and those whom a step in progress asks
/// that allows it. A service, which is a caller that the directory does not know, may tell of what has happened to any record.
fn check_may_change(draft: &Draft<'_, '_>, update: &UpdateRecord) -> Result<(), Refusal> {
    let (state, name) = (&draft.state, &update.by.name);
    let own = is_own(state, name);
    let is_service = || !draft.context.directory.users.contains_key(name.as_str());
    let tells = matches!(update.reported, Some(Reported { .. })) && is_service();
    if own || update.by.administrator || tells || edits_as_reviewer(draft, update) {
        return Ok(());
    }
    let needed = "the submitter, an administrator, or somebody who is asked by a step with `allow_reviewer_edit`";
    Err(Refusal::NotPermitted { actor: name.clone(), needed })
}

fn edits_as_reviewer(draft: &Draft<'_, '_>, update: &UpdateRecord) -> bool {
    let Some((run, steps)) = draft.current() else { return false };
    let directory = draft.context.directory;
    let name = &update.by.name;
    let asks = |run: &StepRun| {
        let mut open = run.work_items.iter().filter(|item| item.is_open());
        open.any(|item| may_decide(&item.assignee, name, directory))
    };
    directory.is_active(name.as_str())
        && steps.iter().any(|step| match &step.kind {
            StepKind::Approval(approval) => approval.allow_reviewer_edit && run.step(&step.name).is_some_and(asks),
            StepKind::Background(_) => false,
        })
}

/// What follows from other data, or why it is not taken.
fn effect(draft: &Draft<'_, '_>, data: &Json) -> Result<Effect, Refusal> {
    let (state, process) = (&draft.state, draft.context.process);
    check_not_ending(state)?;
    check_data(draft, data)?;
    let effect = match process.record.on_change {
        OnChange::Deny | OnChange::Keep => Effect::default(),
        OnChange::DismissAll => dismiss(draft, |_| true),
        OnChange::DismissAffected => dismiss(draft, |step| is_affected(step, &state.record.data, data)),
    };
    if effect.back_to.is_some() {
        // Whoever mends an error, or a submission that is held, must not find that it has gone elsewhere meanwhile.
        match state.status {
            SubmissionStatus::InProgress => {}
            status => {
                let needed = "IN_PROGRESS, since decisions are dismissed by this change";
                return Err(Refusal::SubmissionStatusUnfit { status, needed });
            }
        }
        if state.round >= ROUNDS_MAX {
            return Err(Refusal::RoundsExceeded { max: ROUNDS_MAX });
        }
    }
    Ok(effect)
}

/// Whether the process takes a change at all, and this data.
fn check_data(draft: &Draft<'_, '_>, data: &Json) -> Result<(), Refusal> {
    let record = &draft.context.process.record;
    if record.on_change == OnChange::Deny {
        return Err(Refusal::RecordChangeDenied);
    }
    let violations = record.schema.as_ref().map(|schema| schema.violations(data)).unwrap_or_default();
    if violations.is_empty() { Ok(()) } else { Err(Refusal::RecordInvalid { violations }) }
}

/// Whether what a step depends on differs.
fn is_affected(step: &ApprovalStep, before: &Json, after: &Json) -> bool {
    step.depends_on.as_ref().is_none_or(|paths| paths.iter().any(|path| path.differs(before, after)))
}

/// The decisions that no longer count, given which steps are affected. Looked at are the stages up to the current one, in written
/// order: what comes after it is reached again, and asks again, by itself; but for what was to stand there.
fn dismiss(draft: &Draft<'_, '_>, is_affected: impl Fn(&ApprovalStep) -> bool) -> Effect {
    let (state, process) = (&draft.state, draft.context.process);
    let current = draft.current_index();
    let latest = state.latest_steps();
    let mut effect = Effect::default();
    let mut standing: Vec<(usize, &StepRun)> = Vec::new();
    let mut still_kept: BTreeMap<String, StepRunId> = BTreeMap::new();
    for (index, stage) in process.stages.iter().enumerate() {
        for step in &stage.steps {
            let StepKind::Approval(approval) = &step.kind else { continue };
            let kept = kept_run(state, &step.name);
            let visited = latest.get(step.name.as_str()).copied().filter(|_| Some(index) <= current);
            let decided = visited.filter(|run| run.deciders().next().is_some());
            let Some(run) = decided.or(kept) else { continue };
            if !is_affected(approval) {
                if kept.is_some_and(|kept| kept.id == run.id) {
                    still_kept.insert(step.name.clone(), run.id);
                }
                standing.push((index, run));
                continue;
            }
            effect.dismissed.push(dismissed(run));
            // What stands for a stage that is still to come is asked there; nothing has to be gone back to.
            if decided.is_some() {
                effect.back_to = Some(effect.back_to.map_or(index, |other| other.min(index)));
            }
        }
    }
    let Some(back_to) = effect.back_to else {
        let before = state.kept.as_ref().filter(|kept| kept.round == state.round).map(|kept| &kept.steps);
        if before.is_some_and(|before| *before != still_kept) && !effect.dismissed.is_empty() {
            effect.kept = Some(still_kept);
        }
        return effect;
    };
    let mut kept = BTreeMap::new();
    for (index, run) in standing {
        match run.status {
            _ if index < back_to => {}
            StepRunStatus::Completed => {
                kept.insert(run.name.clone(), run.id);
            }
            // Its stage starts again, and it had not come to an end on what was decided.
            StepRunStatus::InProgress
            | StepRunStatus::Discontinued
            | StepRunStatus::Canceled
            | StepRunStatus::Error
            | StepRunStatus::NotStarted => effect.dismissed.push(dismissed(run)),
        }
    }
    effect.kept = Some(kept);
    effect
}

fn dismissed(run: &StepRun) -> Dismissed {
    Dismissed { step_run: run.id, step: run.name.clone(), deciders: run.deciders().cloned().collect() }
}

/// The step run whose decisions stand for this step in the round under way.
fn kept_run<'s>(state: &'s Submission, step: &str) -> Option<&'s StepRun> {
    let kept = state.kept.as_ref().filter(|kept| kept.round == state.round)?;
    state.step_run(*kept.steps.get(step)?).map(|(_, run)| run)
}

fn take(draft: &mut Draft<'_, '_>, update: &UpdateRecord, record: Record, effect: Effect) {
    if let Some(index) = emit_update(draft, (update.by.name.clone(), update.comment.clone()), record, effect) {
        draft.go_back_to(index);
    }
    draft.progress();
}

/// Gives the record other data. Answers with the stage that has to start again by it.
fn emit_update(
    draft: &mut Draft<'_, '_>,
    (by, comment): (UserName, String),
    record: Record,
    effect: Effect,
) -> Option<usize> {
    let Effect { dismissed, back_to, kept } = effect;
    let round = draft.state.round + u32::from(back_to.is_some());
    let summary = conditions::summary_with(draft.context.process, &draft.state, &record, draft.context.now);
    draft.emit(EventKind::RecordUpdated {
        record,
        by,
        comment,
        summary,
        dismissed,
        kept: kept.map(|steps| Kept { round, steps }),
    });
    back_to
}

impl Draft<'_, '_> {
    /// Completes a step by earlier decisions that a change of the record has left standing. Answers whether there were any.
    pub(super) fn keep_decisions(&mut self, step_run: StepRunId, name: &str) -> bool {
        let Some(run) = kept_run(&self.state, name) else { return false };
        let submission = self.state.id;
        let reused = run.reused.clone().unwrap_or_else(|| Reused {
            submission,
            step_run: run.id,
            reviewers: run.deciders().cloned().collect(),
        });
        let (settled, outputs) = (run.settled, run.outputs.clone().unwrap_or_default());
        self.complete_by(step_run, reused, &outputs, settled);
        true
    }

    /// Completes a step by decisions that were made before.
    pub(super) fn complete_by(
        &mut self,
        step_run: StepRunId,
        reused: Reused,
        outputs: &Json,
        settled: Option<Verdict>,
    ) {
        let mut outputs = outputs.clone();
        if let Some(fields) = outputs.as_object_mut() {
            fields.insert("reused_from".to_owned(), reused.submission.to_string().into());
        }
        let because = self.entry_because(step_run);
        self.emit(EventKind::StepStarted { step_run, because, screen: None });
        self.emit(EventKind::StepCompleted {
            step_run,
            outputs: Arc::new(outputs),
            settled,
            reused: Some(reused),
            because: None,
        });
        if settled == Some(Verdict::Reject) {
            self.reject(step_run);
        }
    }
}
