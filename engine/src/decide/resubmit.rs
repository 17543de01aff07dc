//! Resubmission: a new submission in place of one that has ended, in which approvals may count again (DESIGN 2.5, "Resubmit").
//!
//! What may count is worked out once, when the record is submitted, since the submission before never changes again. An approval
//! counts again only where people gave it, on the record as that submission ended with, under the same version of the process, and
//! as long as the fields that the step names are what they were; in the first round only: whoever sends back wants to be asked.

use std::collections::BTreeMap;

use crate::{
    command::Submit,
    definition::{Process, StepKind},
    id::StepRunId,
    refusal::Refusal,
    state::{Approved, Resubmission, Reused, StepRun, Submission, Verdict},
    status::{StepRunStatus, SubmissionStatus},
};

use super::{
    authorize::{barred, separation},
    draft::Draft,
    is_own,
};

/// What a new submission takes over from the one before.
pub(super) fn resubmission(submit: &Submit, before: &Submission, process: &Process) -> Result<Resubmission, Refusal> {
    match before.status {
        SubmissionStatus::Approved
        | SubmissionStatus::Rejected
        | SubmissionStatus::Recalled
        | SubmissionStatus::Canceled => {}
        status @ (SubmissionStatus::InProgress | SubmissionStatus::Error | SubmissionStatus::Suspended) => {
            return Err(Refusal::SubmissionStatusUnfit { status, needed: "ended before it is resubmitted" });
        }
    }
    if !is_own(before, &submit.submitter) && !submit.administrator {
        let needed = "whoever submitted it before, or an administrator";
        return Err(Refusal::NotPermitted { actor: submit.submitter.clone(), needed });
    }
    let mut resubmission = Resubmission { of: before.id, approvals: BTreeMap::new() };
    // Another version may ask other people, or more of them.
    if submit.process != before.process {
        return Ok(resubmission);
    }
    let latest = before.latest_steps();
    for step in process.stages.iter().flat_map(|stage| &stage.steps) {
        let StepKind::Approval(approval) = &step.kind else { continue };
        let Some(paths) = &approval.reuse_when_unchanged else { continue };
        let Some(run) = latest.get(step.name.as_str()) else { continue };
        if paths.iter().any(|path| path.differs(&before.record.data, &submit.data)) {
            continue;
        }
        if let Some(reused) = approval_by_people(before, run) {
            let outputs = run.outputs.clone().unwrap_or_default();
            let approved = Approved { reused, outputs, when_unchanged: paths.clone() };
            resubmission.approvals.insert(step.name.clone(), approved);
        }
    }
    Ok(resubmission)
}

/// Who approved in a step run, if people did, and on the record as the submission ended with. An override and an expiry are no
/// approval by those who were to look.
fn approval_by_people(before: &Submission, run: &StepRun) -> Option<Reused> {
    if run.status != StepRunStatus::Completed || run.settled != Some(Verdict::Approve) || run.overridden.is_some() {
        return None;
    }
    if let Some(reused) = &run.reused {
        // What it had been given on can be told only while the record never changed.
        return (before.record.version == 1).then(|| reused.clone());
    }
    let mut decisions = run.work_items.iter().filter_map(|item| item.decision.as_ref()).peekable();
    decisions.peek()?;
    let on_this_record = decisions.all(|decision| decision.record_digest == before.record.digest);
    on_this_record.then(|| Reused {
        submission: before.id,
        step_run: run.id,
        reviewers: run.deciders().cloned().collect(),
    })
}

impl Draft<'_, '_> {
    /// Completes a step by its approval in the submission before. Answers whether there is one that counts.
    pub(super) fn reuse_approval(&mut self, step_run: StepRunId, name: &str) -> bool {
        let first = self.state.step_run(step_run).is_some_and(|(_, run)| run.round == 1);
        let approved = self.state.resubmission.as_ref().and_then(|resubmission| resubmission.approvals.get(name));
        let Some(Approved { reused, outputs, .. }) = approved.filter(|_| first).cloned() else { return false };
        // The one who submits now may be one who approved then.
        let separation = separation(self.context.process, name);
        if reused.reviewers.iter().any(|reviewer| barred(&self.state, &separation, reviewer.as_str()).is_some()) {
            return false;
        }
        self.complete_by(step_run, reused, &outputs, Some(Verdict::Approve));
        true
    }
}
