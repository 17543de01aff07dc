//! What an administrator does with a submission as a whole: hold it, let it go on, send it to another stage.

use crate::{
    command::Actor,
    event::EventKind,
    refusal::Refusal,
    status::{StepRunStatus, SubmissionStatus},
};

use super::{
    ROUNDS_MAX, VISITS_MAX, check_administrator, check_comment, check_history, check_in_progress, check_not_ended,
    check_not_ending, draft::Draft,
};

/// Holds a submission. What is out stays out: results and errors of attempts that run are applied to their steps, and nothing
/// follows from them yet.
pub(super) fn suspend(draft: &mut Draft<'_, '_>, by: &Actor, comment: &str) -> Result<(), Refusal> {
    check_comment("comment", comment)?;
    check_not_ended(&draft.state)?;
    check_administrator(by)?;
    check_in_progress(&draft.state)?;
    // What a flow would answer now may not hold when the submission goes on: it is asked again then.
    if let Some(stage_run) = draft.state.current_stage().map(|stage| stage.id) {
        draft.stop_evaluations(stage_run);
    }
    draft.emit(EventKind::SubmissionSuspended { by: by.name.clone(), comment: comment.to_owned() });
    Ok(())
}

/// Lets a suspended submission go on with all that has come meanwhile.
pub(super) fn resume(draft: &mut Draft<'_, '_>, by: &Actor, comment: &str) -> Result<(), Refusal> {
    check_comment("comment", comment)?;
    check_not_ended(&draft.state)?;
    check_administrator(by)?;
    if draft.state.status != SubmissionStatus::Suspended {
        return Err(Refusal::SubmissionStatusUnfit { status: draft.state.status, needed: "SUSPENDED" });
    }
    draft.emit(EventKind::SubmissionResumed { by: by.name.clone(), comment: comment.to_owned() });
    draft.reset_deadlines();
    let steps = draft.state.current_stage().map(|stage| &stage.steps);
    let failed = steps.and_then(|steps| steps.iter().find(|step| step.status == StepRunStatus::Error));
    if let Some(step_run) = failed.map(|step| step.id) {
        draft.fail_stage_of_step(step_run);
    }
    draft.progress();
    Ok(())
}

/// Leaves the stage that a submission is in and starts the named one, also where an error has stopped it. A fault path may be
/// named too: an administrator may know that it is what has to run. Not while a path to an ending runs: how the submission ends
/// is settled then.
pub(super) fn go_to_stage(draft: &mut Draft<'_, '_>, by: &Actor, stage: &str, comment: &str) -> Result<(), Refusal> {
    check_comment("comment", comment)?;
    check_not_ended(&draft.state)?;
    check_administrator(by)?;
    check_not_ending(&draft.state)?;
    let process = draft.context.process;
    let Some(index) = process.stage_index(stage) else {
        let known: Vec<_> = process.stages.iter().map(|stage| format!("`{}`", stage.name)).collect();
        return Err(Refusal::StageUnknown { stage: stage.to_owned(), known: known.join(", ") });
    };
    // Where a submission in error is in no stage any more, it comes from the last one it was in.
    let last = draft.state.current_stage().or(draft.state.stage_runs.last());
    let from = last.and_then(|run| process.stage_index(&run.name));
    let round = draft.state.round + u32::from(from.is_some_and(|from| index <= from));
    if round > ROUNDS_MAX || draft.visits(stage) >= VISITS_MAX {
        return Err(Refusal::RoundsExceeded { max: ROUNDS_MAX });
    }
    check_history(&draft.state)?;
    draft.leave_stage();
    draft.emit(EventKind::MovedToStage { stage: stage.to_owned(), by: by.name.clone(), comment: comment.to_owned() });
    draft.start_stage_in_round(index, round);
    draft.progress();
    Ok(())
}
