//! What is true of every submission after every command. Each invariant is a function named by its sentence.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use quorate_engine::{
    command::{Command, Decide, FlowEffect, Report, ReportOutcome, SubmitScreen},
    decide::{Decided, QUESTIONS_MAX, may_decide},
    decision_rule::Votes,
    definition::{
        ApprovalStep, EvaluationFlow, ExpiryOutcome, OnChange, OnNoApprovers, Outcome, Process, Stage, StageExit, Step,
        StepExit, StepKind, StepStart, Target, Whom,
    },
    directory::Directory,
    event::{Event, EventKind},
    evolve,
    explain::{About, explain},
    expression::Expression,
    id::{JobId, UserName},
    projection::{Projection, project},
    refusal::Refusal,
    state::{Assignee, Condition, Decision, FailureReason, Job, StageRun, StepRun, Submission, Verdict, WorkItem},
    status::{JobStatus, StageRunStatus, StepRunStatus, SubmissionStatus, WorkItemStatus},
};

use super::world::Answer;

/// A command, the answer to it, and the submission before and after.
pub(crate) struct Moment<'a> {
    pub(crate) process: &'a Process,
    pub(crate) directory: &'a Directory,
    pub(crate) command: &'a Command,
    pub(crate) now: Timestamp,
    pub(crate) answer: &'a Result<Answer, Refusal>,
    pub(crate) before: Option<&'a Submission>,
    pub(crate) after: Option<&'a Submission>,
}

pub(crate) const ALL: &[fn(&Moment<'_>)] = &[
    a_refused_command_changes_nothing,
    a_command_without_events_changes_nothing,
    a_terminal_submission_never_changes,
    a_terminal_submission_has_nothing_open,
    a_submission_in_error_has_nothing_open,
    one_stage_at_most_is_in_progress,
    what_is_open_belongs_to_the_stage_in_progress,
    a_settled_step_stays_settled,
    what_has_completed_is_not_undone,
    a_decision_is_never_changed,
    no_person_is_counted_twice_in_a_step,
    a_veto_settles_its_step_against,
    abstentions_approve_nothing,
    a_decision_leaves_the_roster_as_it_is,
    only_whom_the_submitter_chose_is_asked_where_the_choice_is_theirs,
    nobody_decides_on_their_own_submission_where_that_is_not_allowed,
    reviewers_of_steps_that_must_differ_differ,
    only_active_people_decide,
    whoever_decides_is_asked_or_acts_for_somebody_who_is,
    what_was_lent_is_not_lent_on,
    a_claimed_item_is_decided_by_its_claimer_only,
    only_an_open_item_that_is_shared_is_claimed,
    a_person_is_asked_once_in_a_counting_step,
    only_active_people_who_may_decide_are_asked,
    a_reassignment_keeps_the_weight_and_never_loses_a_veto,
    an_override_settles_its_step_as_it_says,
    sending_back_settles_nothing,
    a_question_is_open_on_an_open_item_only,
    a_result_counts_only_with_the_live_attempts_token,
    a_job_has_no_more_attempts_that_count_than_it_may,
    an_in_progress_submission_waits_for_something,
    a_record_is_locked_by_the_steps_in_progress_that_say_so,
    a_move_to_another_version_leaves_what_has_happened_as_it_is,
    a_submission_is_suspended_with_its_stage,
    nothing_starts_while_a_submission_is_suspended,
    a_held_attempt_is_not_to_be_published,
    there_is_one_outstanding_evaluation_for_each_condition,
    an_answer_that_was_given_before_a_change_does_not_count,
    a_flow_that_has_answered_no_is_asked_again_only_after_a_change,
    no_flow_is_asked_about_what_is_over,
    an_ending_once_known_is_kept,
    a_fault_path_never_approves_by_silence,
    a_rejected_step_is_approved_only_where_the_process_says_so,
    nobody_being_found_never_approves,
    a_decision_carries_the_digest_of_the_record_that_was_seen,
    what_was_filled_in_fits_the_screens_of_its_step,
    a_step_fails_by_its_screen_only_where_it_has_one,
    a_record_changes_only_by_an_update_and_only_where_the_process_takes_one,
    effects_are_applied_in_order_with_the_result_or_not_at_all,
    no_decision_on_another_record_stands_where_a_change_dismisses_all,
    what_is_reused_was_decided_by_people,
    what_is_due_fires_when_the_clock_is_looked_at,
    only_a_step_that_asks_somebody_is_overdue,
    silence_approves_only_where_the_process_says_so,
    nobody_is_asked_twice_at_a_time,
];

pub(crate) fn the_same_command_decides_the_same(first: &Result<Decided, Refusal>, second: &Result<Decided, Refusal>) {
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first.events, second.events);
            assert_eq!(first.state, second.state);
            assert_eq!(first.heartbeat, second.heartbeat);
        }
        (Err(first), Err(second)) => assert_eq!(first, second),
        (first, second) => panic!("decided {first:?}, then {second:?}"),
    }
}

pub(crate) fn an_event_is_read_back_as_it_was_written(event: &Event) -> Event {
    let (kind, body) = event.kind.to_parts();
    let stored = serde_json::from_str(&body.to_string()).expect("what was written is JSON");
    let read = EventKind::from_parts(&kind, &stored).expect("what was written can be read");
    assert_eq!(read, event.kind, "stored as {kind} {stored}");
    Event { at: event.at, kind: read }
}

pub(crate) fn evolving_the_stored_events_gives_the_state(replayed: Option<&Submission>, state: &Submission) {
    assert_eq!(replayed, Some(state));
}

pub(crate) fn replaying_the_events_gives_the_state(events: &[Event], state: Option<&Submission>) {
    assert_eq!(evolve::replay(events).as_ref(), state);
}

/// An explanation leaves out nothing that has happened, and says of each work item why it asks whom it asks.
pub(crate) fn every_event_and_every_request_is_explained(events: &[Event], state: &Submission) {
    let all = explain(events, About::Submission).expect("there is a submission");
    let told: Vec<_> = all.iter().map(|reason| reason.seq).collect();
    assert_eq!(told, (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(all.iter().all(|reason| !reason.text.trim().is_empty()));
    // Of one item only: there may be hundreds, and each is a reading of the whole history.
    if let Some(item) = items(state).last() {
        let reasons = explain(events, About::WorkItem(item.id)).expect("there is the work item");
        let assigned = reasons.iter().find(|reason| reason.kind == "WORK_ITEM_ASSIGNED");
        assert!(assigned.is_some_and(|reason| reason.text.contains("because")), "{reasons:#?}");
    }
}

pub(crate) fn projecting_twice_gives_the_same(state: &Submission, rows: &Projection) {
    assert_eq!(&project(state), rows);
}

pub(crate) fn the_changes_lead_from_the_old_rows_to_the_new(before: Option<&Projection>, after: &Projection) {
    let changes = after.changes_since(before);
    let mut rows = match (before, &changes.submission) {
        (Some(before), _) => before.clone(),
        (None, Some(submission)) => Projection {
            submission: submission.clone(),
            stage_runs: BTreeMap::new(),
            step_runs: BTreeMap::new(),
            work_items: BTreeMap::new(),
            decisions: BTreeMap::new(),
            jobs: BTreeMap::new(),
            timers: BTreeMap::new(),
            record_locks: BTreeMap::new(),
        },
        (None, None) => panic!("the first changes hold no row of the submission"),
    };
    rows.submission = changes.submission.unwrap_or(rows.submission);
    rows.stage_runs.extend(changes.stage_runs.into_iter().map(|row| (row.id, row)));
    rows.step_runs.extend(changes.step_runs.into_iter().map(|row| (row.id, row)));
    rows.work_items.extend(changes.work_items.into_iter().map(|row| (row.id, row)));
    rows.decisions.extend(changes.decisions.into_iter().map(|row| (row.work_item, row)));
    rows.jobs.extend(changes.jobs.into_iter().map(|row| (row.id, row)));
    rows.jobs.retain(|id, _| !changes.jobs_gone.contains(id));
    rows.timers.extend(changes.timers.into_iter().map(|row| (row.kind, row)));
    rows.timers.retain(|kind, _| !changes.timers_gone.contains(kind));
    rows.record_locks.extend(changes.record_locks.into_iter().map(|row| (row.step_run, row)));
    rows.record_locks.retain(|id, _| !changes.record_locks_gone.contains(id));
    assert_eq!(&rows, after);
}

fn a_refused_command_changes_nothing(moment: &Moment<'_>) {
    if moment.answer.is_err() {
        assert_eq!(moment.before, moment.after);
    }
}

fn a_command_without_events_changes_nothing(moment: &Moment<'_>) {
    if let Ok(answer) = moment.answer
        && answer.events.is_empty()
    {
        assert_eq!(moment.before, moment.after);
    }
}

fn a_terminal_submission_never_changes(moment: &Moment<'_>) {
    if let Some(before) = moment.before
        && before.status.is_terminal()
    {
        assert_eq!(moment.after, Some(before));
    }
}

fn a_terminal_submission_has_nothing_open(moment: &Moment<'_>) {
    if let Some(after) = moment.after
        && after.status.is_terminal()
    {
        assert_nothing_is_open(after);
    }
}

fn a_submission_in_error_has_nothing_open(moment: &Moment<'_>) {
    if let Some(after) = moment.after
        && after.status == SubmissionStatus::Error
    {
        assert_nothing_is_open(after);
        assert!(after.failure.is_some(), "a submission in error says why");
    }
}

fn assert_nothing_is_open(state: &Submission) {
    assert!(state.stage_runs.iter().all(|stage| !is_open(stage)), "a stage is open");
    assert!(steps(state).all(|step| step.status != StepRunStatus::InProgress), "a step is open");
    assert!(items(state).all(|item| item.status != WorkItemStatus::Assigned), "a work item is open");
    assert!(state.jobs().all(|placed| !placed.job.is_live()), "a job is live");
}

fn one_stage_at_most_is_in_progress(moment: &Moment<'_>) {
    if let Some(after) = moment.after {
        let open = after.stage_runs.iter().filter(|stage| is_open(stage)).count();
        assert!(open <= 1, "{open} stages are in progress");
    }
}

fn what_is_open_belongs_to_the_stage_in_progress(moment: &Moment<'_>) {
    let Some(after) = moment.after else { return };
    for stage in &after.stage_runs {
        let current = after.current_stage().is_some_and(|current| current.id == stage.id);
        let open = is_open(stage);
        assert!(!open || current, "stage `{}` is in progress and not the current one", stage.name);
        assert!(open || stage.jobs().all(|placed| !placed.job.is_live()), "stage `{}` has a live job", stage.name);
        for step in &stage.steps {
            let step_open = step.status == StepRunStatus::InProgress;
            assert!(!step_open || open, "step `{}` is in progress in a stage that is not", step.name);
            assert!(step_open || !is_anything_open(step), "step `{}` has something open", step.name);
        }
    }
}

fn a_settled_step_stays_settled(moment: &Moment<'_>) {
    for (before, after) in pairs(moment) {
        assert!(before.settled.is_none() || before.settled == after.settled, "step `{}`", before.name);
    }
}

fn what_has_completed_is_not_undone(moment: &Moment<'_>) {
    for (before, after) in pairs(moment) {
        if before.status == StepRunStatus::Completed {
            // Another version of the process may have another name for it.
            assert_eq!(&StepRun { name: after.name.clone(), ..before.clone() }, after);
        }
    }
}

fn a_decision_is_never_changed(moment: &Moment<'_>) {
    for (before, after) in pairs(moment) {
        for (before, after) in before.work_items.iter().zip(&after.work_items) {
            if before.decision.is_some() {
                assert_eq!(before, after);
            }
        }
    }
}

fn no_person_is_counted_twice_in_a_step(moment: &Moment<'_>) {
    for step in moment.after.into_iter().flat_map(steps) {
        let counts = approval(moment.process, &step.name).is_some_and(|approval| approval.decision.counts_people());
        let mut deciders = BTreeSet::new();
        for decision in step.work_items.iter().filter_map(|item| item.decision.as_ref()) {
            // Where nobody is counted, an abstention is none of the decisions.
            let counted = counts || decision.verdict != Verdict::Abstain;
            // A vote cast for somebody is theirs, and whoever cast it has no other.
            for person in decision.deciders() {
                assert!(!counted || deciders.insert(person), "`{person}` is counted twice in `{}`", step.name);
            }
        }
    }
}

fn a_veto_settles_its_step_against(moment: &Moment<'_>) {
    for step in moment.after.into_iter().flat_map(steps) {
        let vetoed = step.work_items.iter().any(|item| item.veto && item.status == WorkItemStatus::Rejected);
        let approved = step.settled == Some(Verdict::Approve) && step.overridden.is_none();
        assert!(!vetoed || !approved, "`{}` is approved over a veto", step.name);
        assert!(!vetoed || !is_anything_open(step), "`{}` still asks after a veto", step.name);
    }
}

fn abstentions_approve_nothing(moment: &Moment<'_>) {
    for step in moment.after.into_iter().flat_map(steps) {
        let abstained = step.work_items.iter().filter(|item| item.status == WorkItemStatus::Abstained).count();
        let all = abstained > 0 && abstained == step.work_items.len();
        let approved = step.settled == Some(Verdict::Approve) && step.overridden.is_none();
        assert!(!all || !approved, "`{}` is approved by nobody", step.name);
        let allowed = approval(moment.process, &step.name).is_none_or(|approval| approval.abstain);
        assert!(allowed || abstained == 0, "somebody abstained in `{}`, which does not allow it", step.name);
    }
}

/// A work item for each, with what it weighs and whether it is a veto: no decision changes any of it.
fn a_decision_leaves_the_roster_as_it_is(moment: &Moment<'_>) {
    if decide_of(moment.command).is_none() {
        return;
    }
    for (before, after) in pairs(moment) {
        if before.work_items.is_empty() {
            continue;
        }
        let roster = |step: &StepRun| -> Vec<_> {
            step.work_items.iter().map(|item| (item.id, item.assignee.clone(), item.weight, item.veto)).collect()
        };
        assert_eq!(roster(before), roster(after), "of `{}`", before.name);
    }
}

/// Whom the submitter was left to choose is asked only if they chose them.
fn only_whom_the_submitter_chose_is_asked_where_the_choice_is_theirs(moment: &Moment<'_>) {
    let Some(after) = moment.after else { return };
    for step in steps(after) {
        let Some(approval) = approval(moment.process, &step.name) else { continue };
        let chosen = |whom: &Whom| matches!(whom, Whom::ChosenBySubmitter { .. });
        let falls_back = matches!(approval.on_no_approvers, OnNoApprovers::Fallback(_));
        let others_later = falls_back || !approval.escalate.is_empty();
        if !others_later && approval.assign.iter().all(|rule| chosen(&rule.whom)) {
            let choices = after.choices.get(&step.name).cloned().unwrap_or_default();
            for item in step.work_items.iter().filter(|item| item.reassigned.is_none()) {
                assert!(choices.iter().any(|name| name == item.assignee.name()), "{} was not chosen", item.assignee);
            }
        }
    }
}

fn approval<'a>(process: &'a Process, name: &str) -> Option<&'a ApprovalStep> {
    let mut steps = process.stages.iter().flat_map(|stage| &stage.steps);
    match &steps.find(|step| step.name == name)?.kind {
        StepKind::Approval(approval) => Some(approval),
        StepKind::Background(_) => None,
    }
}

fn nobody_decides_on_their_own_submission_where_that_is_not_allowed(moment: &Moment<'_>) {
    let Some(after) = moment.after else { return };
    // A step that the version of now does not have was decided by the rules of another.
    let allowed = |name: &str| approval(moment.process, name).is_none_or(|approval| approval.allow_submitter);
    let barring = steps(after).filter(|step| !allowed(&step.name));
    for person in barring.flat_map(decisions).flat_map(Decision::deciders) {
        assert_ne!(person, &after.submitter);
        assert_ne!(Some(person), after.on_behalf_of.as_ref());
    }
}

fn reviewers_of_steps_that_must_differ_differ(moment: &Moment<'_>) {
    let Some(after) = moment.after else { return };
    let deciders = |name: &str| -> BTreeSet<&str> {
        let runs = steps(after).filter(|step| step.name == name);
        runs.flat_map(decisions).flat_map(Decision::deciders).map(UserName::as_str).collect()
    };
    for step in moment.process.stages.iter().flat_map(|stage| &stage.steps) {
        let StepKind::Approval(approval) = &step.kind else { continue };
        for other in &approval.distinct_from {
            let both: Vec<_> = deciders(&step.name).intersection(&deciders(other)).copied().collect();
            assert!(both.is_empty(), "{both:?} decided in `{}` and in `{other}`", step.name);
        }
    }
}

fn only_active_people_decide(moment: &Moment<'_>) {
    let actor = match (moment.command, moment.answer) {
        (Command::Decide(decide) | Command::SubmitScreen(SubmitScreen { decide, .. }), Ok(_)) => &decide.actor,
        (Command::Override(command), Ok(_)) => &command.by.name,
        _ => return,
    };
    assert!(moment.directory.is_active(actor.as_str()), "`{actor}` is not active");
}

/// Those of the work items, and that of an override.
fn decisions(step: &StepRun) -> impl Iterator<Item = &Decision> {
    let overridden = step.overridden.as_ref().map(|overridden| &overridden.decision);
    step.work_items.iter().filter_map(|item| item.decision.as_ref()).chain(overridden)
}

fn a_claimed_item_is_decided_by_its_claimer_only(moment: &Moment<'_>) {
    let (Some(decide), Ok(answer), Some(before)) = (decide_of(moment.command), moment.answer, moment.before) else {
        return;
    };
    let claim = before.work_item(decide.work_item).and_then(|(_, _, item)| item.claim.as_ref());
    let Some((claim, event)) = claim.zip(answer.events.first()) else { return };
    // Whoever acts for the claimer decides as they would.
    let decision = moment.after.and_then(|after| after.work_item(decide.work_item)?.2.decision.as_ref());
    let claimers = decision.is_some_and(|decision| decision.is_of(claim.by.as_str()));
    assert!(claimers || !claim.holds(event.at), "`{}` had claimed it", claim.by);
}

fn only_an_open_item_that_is_shared_is_claimed(moment: &Moment<'_>) {
    for item in moment.after.into_iter().flat_map(items).filter(|item| item.claim.is_some()) {
        assert_eq!(item.status, WorkItemStatus::Assigned, "a claim is on an item that is closed");
        assert!(!matches!(item.assignee, Assignee::User(_)), "{} alone is asked", item.assignee);
    }
}

fn a_person_is_asked_once_in_a_counting_step(moment: &Moment<'_>) {
    for step in moment.after.into_iter().flat_map(steps) {
        if !approval(moment.process, &step.name).is_some_and(|approval| approval.decision.counts_people()) {
            continue;
        }
        let mut asked = BTreeSet::new();
        // Whom an escalation replaced may be asked again by a later one: their first item is as if it had not been.
        for item in step.work_items.iter().filter(|item| !item.replaced) {
            assert!(matches!(item.assignee, Assignee::User(_)), "{} is counted in `{}`", item.assignee, step.name);
            assert!(asked.insert(&item.assignee), "{} is asked twice in `{}`", item.assignee, step.name);
        }
    }
}

fn only_active_people_who_may_decide_are_asked(moment: &Moment<'_>) {
    let (Ok(answer), Some(after)) = (moment.answer, moment.after) else { return };
    for event in &answer.events {
        let asked = match &event.kind {
            EventKind::WorkItemAssigned { assignee, .. } => assignee,
            EventKind::WorkItemReassigned { to, .. } => to,
            _ => continue,
        };
        let Assignee::User(name) = asked else { continue };
        assert!(moment.directory.is_active(name), "`{name}` is not active");
        let (EventKind::WorkItemAssigned { work_item, .. } | EventKind::WorkItemReassigned { work_item, .. }) =
            &event.kind
        else {
            continue;
        };
        let step = after.work_item(*work_item).map(|(_, step, _)| step.name.as_str()).unwrap_or_default();
        let own = *name == after.submitter.0 || after.on_behalf_of.as_ref().is_some_and(|other| other.0 == *name);
        let allowed = approval(moment.process, step).is_some_and(|approval| approval.allow_submitter);
        assert!(!own || allowed, "`{name}` is asked of what is their own");
    }
}

fn a_reassignment_keeps_the_weight_and_never_loses_a_veto(moment: &Moment<'_>) {
    if !matches!(moment.command, Command::Reassign { .. }) {
        return;
    }
    for (before, after) in pairs(moment) {
        for (before, after) in before.work_items.iter().zip(&after.work_items) {
            assert_eq!((before.id, before.weight, before.status), (after.id, after.weight, after.status));
            assert!(after.veto || !before.veto, "a veto is lost");
        }
    }
}

fn an_override_settles_its_step_as_it_says(moment: &Moment<'_>) {
    for step in moment.after.into_iter().flat_map(steps) {
        let Some(overridden) = &step.overridden else { continue };
        assert_ne!(overridden.decision.verdict, Verdict::Abstain);
        assert!(!overridden.decision.comment.trim().is_empty(), "an override of `{}` does not say why", step.name);
        if step.status == StepRunStatus::Completed && step.settled.is_some() {
            assert_eq!(step.settled, Some(overridden.decision.verdict));
        }
        assert!(!is_anything_open(step), "`{}` still asks after an override", step.name);
    }
}

fn sending_back_settles_nothing(moment: &Moment<'_>) {
    let (Command::SendBack { to, .. }, Ok(_)) = (moment.command, moment.answer) else { return };
    for (before, after) in pairs(moment) {
        assert_eq!(before.settled, after.settled, "`{}` is settled by sending back", before.name);
    }
    let (before, after) = (moment.before.expect("it was there"), moment.after.expect("it is there"));
    assert!(after.round > before.round, "sending back begins a new round");
    let next = after.stage_runs.get(before.stage_runs.len()).map(|stage| stage.name.as_str());
    assert_eq!(next, Some(to.as_str()));
    let place = |name: &str| moment.process.stages.iter().position(|stage| stage.name == name);
    let from = before.current_stage().and_then(|stage| place(&stage.name));
    assert!(place(to) < from, "`{to}` is not back");
    assert!(moment.process.stages.iter().all(|stage| stage.name != *to || !stage.fault_path), "`{to}` is a fault path");
}

fn a_question_is_open_on_an_open_item_only(moment: &Moment<'_>) {
    for item in moment.after.into_iter().flat_map(items) {
        let unanswered = item.questions.iter().filter(|question| question.answer.is_none()).count();
        assert!(unanswered <= 1 && item.questions.len() <= QUESTIONS_MAX);
        assert!(item.open_question().is_none() || item.status == WorkItemStatus::Assigned);
    }
}

/// What is decided by this command, on a screen or without one.
fn decide_of(command: &Command) -> Option<&Decide> {
    match command {
        Command::Decide(decide) | Command::SubmitScreen(SubmitScreen { decide, .. }) => Some(decide),
        _ => None,
    }
}

/// The decision that this command made, with its item.
fn decision_made<'a>(moment: &Moment<'a>) -> Option<(&'a WorkItem, &'a Decision)> {
    let (Some(decide), Ok(_), Some(after)) = (decide_of(moment.command), moment.answer, moment.after) else {
        return None;
    };
    let (_, _, item) = after.work_item(decide.work_item)?;
    Some((item, item.decision.as_ref()?))
}

fn whoever_decides_is_asked_or_acts_for_somebody_who_is(moment: &Moment<'_>) {
    let Some((item, decision)) = decision_made(moment) else { return };
    let asked = decision.on_behalf_of.as_ref().unwrap_or(&decision.actor);
    assert!(may_decide(&item.assignee, asked, moment.directory), "`{asked}` is not asked: {}", item.assignee);
    assert_eq!(decision.on_behalf_of.is_some(), decision.delegation.is_some(), "half of a delegation is told");
    if let Some(name) = &decision.delegation {
        let delegation = &moment.directory.delegations[name];
        let at = item.closed_at.expect("what is decided is closed");
        assert!(delegation.start <= at && at < delegation.end, "`{name}` is not in force");
        assert_eq!(delegation.from, asked.as_str());
        assert!(delegation.delegates().any(|delegate| delegate == decision.actor.as_str()));
        assert!(!may_decide(&item.assignee, &decision.actor, moment.directory), "who is asked needs no delegation");
    }
}

/// Whoever acts for somebody has not given away, for all submissions, what they may decide at that moment.
fn what_was_lent_is_not_lent_on(moment: &Moment<'_>) {
    let Some((item, Decision { actor, delegation: Some(_), .. })) = decision_made(moment) else { return };
    let at = item.closed_at.expect("what is decided is closed");
    let mut given = moment.directory.delegations_from(actor.as_str(), at);
    let away = given.any(|given| given.processes.is_empty() && given.when.is_none());
    assert!(!away, "`{actor}` is away, and acts for others");
}

fn a_result_counts_only_with_the_live_attempts_token(moment: &Moment<'_>) {
    if let (Command::Report(report), Ok(_)) = (moment.command, moment.answer) {
        let job = moment.before.and_then(|before| before.job(report.job)).map(|placed| placed.job);
        let job = job.expect("a report that counts is of a job that there is");
        assert!(job.is_live() && job.attempt == report.attempt && job.token == report.token);
    }
}

fn a_job_has_no_more_attempts_that_count_than_it_may(moment: &Moment<'_>) {
    for placed in moment.after.into_iter().flat_map(Submission::jobs) {
        let (made, most) = (placed.job.attempts_made(), placed.job.spec.retry.max_attempts);
        assert!((1..=most).contains(&made), "{made} of at most {most} attempts");
    }
}

fn an_in_progress_submission_waits_for_something(moment: &Moment<'_>) {
    let Some(after) = moment.after else { return };
    if after.status == SubmissionStatus::InProgress {
        let stage = after.current_stage().expect("a submission in progress is in a stage");
        assert_eq!(stage.status, StageRunStatus::InProgress);
        let open = stage.steps.iter().any(is_anything_open)
            || stage.jobs().any(|placed| placed.job.is_live())
            || !after.timers().is_empty();
        assert!(open || awaits_the_world(moment.process, stage), "stage `{}` waits for nothing", stage.name);
    }
}

/// The move itself, before anything follows from it, gives other names and further steps, and nothing else.
fn a_move_to_another_version_leaves_what_has_happened_as_it_is(moment: &Moment<'_>) {
    let (Command::Migrate(_), Ok(answer), Some(before)) = (moment.command, moment.answer, moment.before) else {
        return;
    };
    let mut moved = before.clone();
    evolve::evolve(&mut moved, answer.events.first().expect("a move is an event"));
    assert_eq!((moved.status, moved.round, moved.current), (before.status, before.round, before.current));
    assert_eq!(moved.stage_runs.len(), before.stage_runs.len());
    for (stage, was) in moved.stage_runs.iter().zip(&before.stage_runs) {
        assert_eq!((stage.id, stage.status, stage.round), (was.id, was.status, was.round));
        for (step, was) in stage.steps.iter().zip(&was.steps) {
            assert_eq!(&StepRun { name: step.name.clone(), ..was.clone() }, step);
        }
        let mut added = stage.steps.iter().skip(was.steps.len());
        assert!(added.all(|step| step.status == StepRunStatus::NotStarted), "a step was added that has begun");
        let names: BTreeSet<_> = stage.steps.iter().map(|step| &step.name).collect();
        assert_eq!(names.len(), stage.steps.len(), "two steps of a stage have the same name");
    }
}

fn a_submission_is_suspended_with_its_stage(moment: &Moment<'_>) {
    let Some(after) = moment.after else { return };
    let suspended = after.status == SubmissionStatus::Suspended;
    assert_eq!(suspended, after.suspended_at.is_some());
    for stage in &after.stage_runs {
        let current = after.current_stage().is_some_and(|current| current.id == stage.id);
        assert_eq!(stage.status == StageRunStatus::Suspended, suspended && current, "stage `{}`", stage.name);
    }
    assert!(!suspended || after.current_stage().is_some(), "a suspended submission is in a stage");
}

fn nothing_starts_while_a_submission_is_suspended(moment: &Moment<'_>) {
    let suspended = |state: Option<&Submission>| state.is_some_and(|state| state.status == SubmissionStatus::Suspended);
    let Ok(answer) = moment.answer else { return };
    if !suspended(moment.after) {
        return;
    }
    for event in &answer.events {
        let starts = matches!(
            event.kind,
            EventKind::StageStarted { .. }
                | EventKind::StepStarted { .. }
                | EventKind::WorkItemAssigned { .. }
                | EventKind::WorkItemDecided { .. }
                | EventKind::JobScheduled { .. }
                | EventKind::StageCompleted { .. }
                | EventKind::StageFailed { .. }
        );
        assert!(!starts, "{:?} while the submission is suspended", event.kind);
    }
}

/// An attempt that was not due when the submission was suspended waits until that ends.
fn a_held_attempt_is_not_to_be_published(moment: &Moment<'_>) {
    let Some(after) = moment.after else { return };
    let Some(since) = after.suspended_at else { return };
    let waits =
        |job: &&quorate_engine::projection::JobRow| job.status == JobStatus::Pending && job.available_at > since;
    assert_eq!(project(after).jobs.values().filter(waits).count(), 0, "a retry is to be published");
}

fn is_open(stage: &StageRun) -> bool {
    matches!(stage.status, StageRunStatus::InProgress | StageRunStatus::Suspended)
}

/// An evaluation is replaced only by another one that is asked once its own job has ended.
fn there_is_one_outstanding_evaluation_for_each_condition(moment: &Moment<'_>) {
    let (Some(before), Ok(answer)) = (moment.before, moment.answer) else { return };
    let mut out: BTreeSet<JobId> =
        before.jobs().filter(|placed| placed.job.is_live()).map(|placed| placed.job.id).collect();
    let mut conditions: BTreeMap<Condition, JobId> =
        before.jobs().filter_map(|placed| Some((placed.condition?, placed.job.id))).collect();
    for event in &answer.events {
        match &event.kind {
            EventKind::EvaluationScheduled { job, condition, .. } => {
                let earlier = conditions.insert(*condition, *job);
                assert!(earlier.is_none_or(|earlier| !out.contains(&earlier)), "{condition:?} is asked about twice");
                out.insert(*job);
            }
            EventKind::EvaluationCompleted { job, .. }
            | EventKind::JobFailed { job, .. }
            | EventKind::JobCanceled { job } => {
                out.remove(job);
            }
            _ => {}
        }
    }
}

fn an_answer_that_was_given_before_a_change_does_not_count(moment: &Moment<'_>) {
    let (Some(before), Ok(answer)) = (moment.before, moment.answer) else { return };
    for event in &answer.events {
        let EventKind::EvaluationCompleted { job, stale, .. } = &event.kind else { continue };
        let placed = before.job(*job).and_then(|placed| before.evaluation(placed.condition?));
        let asked_on = placed.expect("what was answered was asked").asked_on;
        assert_eq!(*stale, asked_on != before.changes, "of {} changes, {asked_on} were there", before.changes);
    }
}

fn a_flow_that_has_answered_no_is_asked_again_only_after_a_change(moment: &Moment<'_>) {
    let (Some(before), Some(after)) = (moment.before, moment.after) else { return };
    for (condition, evaluation) in
        before.jobs().filter_map(|placed| Some((placed.condition?, before.evaluation(placed.condition?)?)))
    {
        let asked_again = after.evaluation(condition).is_some_and(|now| now.job.id != evaluation.job.id);
        assert!(
            !asked_again || evaluation.met != Some(false) || after.changes > evaluation.asked_on,
            "{condition:?} is asked about again for nothing"
        );
    }
}

fn no_flow_is_asked_about_what_is_over(moment: &Moment<'_>) {
    let Some(after) = moment.after else { return };
    for placed in after.jobs().filter(|placed| placed.job.is_live()) {
        let status = placed.step.map(|step| step.status);
        match placed.condition {
            None | Some(Condition::StageExit(_)) => {}
            Some(Condition::StepEntry(_)) => assert_eq!(status, Some(StepRunStatus::NotStarted)),
            Some(Condition::StepExit(_)) => assert_eq!(status, Some(StepRunStatus::InProgress)),
        }
    }
}

/// Whether a condition of the stage that is still to be met reads `record` or `now`.
fn awaits_the_world(process: &Process, stage: &StageRun) -> bool {
    let reads = |condition: &Expression| condition.reads("record") || condition.reads("now");
    let reads_record = |flow: &EvaluationFlow| flow.input.values().any(|input| input.reads("record"));
    let definition = process.stages.iter().find(|candidate| stage.ending.is_none() && candidate.name == stage.name);
    let exit = definition.is_some_and(|stage| match &stage.exit {
        StageExit::When(condition) => reads(condition),
        StageExit::Evaluation(flow) => reads_record(flow),
        StageExit::AllCompleted => false,
    });
    let awaits = |step: &Step| {
        let status = stage.step(&step.name).map(|run| run.status);
        match (&step.start, &step.kind, status) {
            (StepStart::When(condition), _, Some(StepRunStatus::NotStarted)) => reads(condition),
            (StepStart::Evaluation(flow), _, Some(StepRunStatus::NotStarted)) => reads_record(flow),
            (_, StepKind::Approval(approval), Some(StepRunStatus::InProgress)) => match &approval.exit {
                StepExit::When(condition) => reads(condition),
                StepExit::Evaluation(flow) => reads_record(flow),
                StepExit::Settled => false,
            },
            _ => false,
        }
    };
    exit || definition.is_some_and(|definition| definition.steps.iter().any(awaits))
}

fn an_ending_once_known_is_kept(moment: &Moment<'_>) {
    if let (Some(before), Some(after)) = (moment.before, moment.after)
        && let Some(ending) = before.ending
    {
        assert_eq!(after.ending, Some(ending));
        assert!(!after.status.is_terminal() || after.status == ending.status());
    }
}

fn a_fault_path_never_approves_by_silence(moment: &Moment<'_>) {
    let Some(stage) = last_stage_of_an_approval(moment) else { return };
    if stage.fault_path {
        assert!(says_approved(moment.process, stage.name.as_str()), "stage `{}` says no outcome", stage.name);
    }
}

fn a_rejected_step_is_approved_only_where_the_process_says_so(moment: &Moment<'_>) {
    let (Some(stage), Some(after)) = (last_stage_of_an_approval(moment), moment.after) else { return };
    let rejected = after.latest_steps().values().any(|step| step.settled == Some(Verdict::Reject));
    assert!(!rejected || says_approved(moment.process, stage.name.as_str()), "approved in spite of a rejection");
}

/// The stage whose completion has approved the submission, when this command did.
fn last_stage_of_an_approval<'a>(moment: &Moment<'a>) -> Option<&'a Stage> {
    let after = moment.after.filter(|after| after.status == SubmissionStatus::Approved)?;
    let mut events = moment.answer.as_ref().ok()?.events.iter().rev();
    let completed = events.find_map(|event| match &event.kind {
        EventKind::StageCompleted { stage_run, .. } => Some(*stage_run),
        _ => None,
    })?;
    let run = after.stage_runs.iter().find(|stage| stage.id == completed)?;
    moment.process.stages.iter().find(|stage| stage.name == run.name)
}

fn says_approved(process: &Process, stage: &str) -> bool {
    let stage = process.stages.iter().find(|candidate| candidate.name == stage);
    stage.is_some_and(|stage| stage.next.iter().any(|route| route.to == Target::End(Some(Outcome::Approved))))
}

fn nobody_being_found_never_approves(moment: &Moment<'_>) {
    for step in moment.after.into_iter().flat_map(steps) {
        let asked_nobody = step.work_items.is_empty() && step.settled.is_some() && step.reused.is_none();
        if asked_nobody {
            assert_eq!(step.settled, Some(Verdict::Reject));
            let definition = moment.process.stages.iter().flat_map(|stage| &stage.steps).find(|d| d.name == step.name);
            // Of a step that the version of now does not have, another said it.
            assert!(definition.is_none_or(|step| matches!(
                &step.kind,
                StepKind::Approval(approval) if matches!(approval.on_no_approvers, OnNoApprovers::Reject)
            )));
        }
    }
}

fn what_was_filled_in_fits_the_screens_of_its_step(moment: &Moment<'_>) {
    let steps = moment.after.into_iter().flat_map(|after| &after.stage_runs).flat_map(|stage| &stage.steps);
    for step in steps {
        for values in decisions(step).filter_map(|decision| decision.values.as_ref()) {
            let Some(flow) = &step.screen else { panic!("`{}` has no screen", step.name) };
            // That of the random sequences asks for one thing, which is true or false.
            let fits = values["seen"].is_boolean() && values.as_object().is_some_and(|fields| fields.len() == 1);
            assert!(flow.name != "screen" || fits, "{values}");
        }
    }
}

fn a_step_fails_by_its_screen_only_where_it_has_one(moment: &Moment<'_>) {
    for (before, after) in pairs(moment) {
        let failed = |step: &StepRun| step.failure.as_ref().map(|failure| failure.reason);
        if failed(after) == Some(FailureReason::ScreenFailed) && failed(before) != failed(after) {
            assert!(matches!(moment.command, Command::ReportScreenFailure { .. }) && after.screen.is_some());
        }
    }
}

fn a_decision_carries_the_digest_of_the_record_that_was_seen(moment: &Moment<'_>) {
    let (Some(before), Ok(answer)) = (moment.before, moment.answer) else { return };
    for event in &answer.events {
        if let EventKind::WorkItemDecided { decision, .. } = &event.kind {
            assert_eq!(decision.record_digest, before.record.digest);
        }
    }
}

/// Whether a command is one that may change the record: an update, or a flow's result that patches it.
fn is_change_of_record(command: &Command) -> bool {
    match command {
        Command::UpdateRecord(_) => true,
        Command::Report(Report { outcome: ReportOutcome::Completed { effects, .. }, .. }) => {
            effects.iter().any(|effect| matches!(effect, FlowEffect::RecordPatch(_)))
        }
        _ => false,
    }
}

/// What a flow does besides returning is told right after its result, in its order, or nothing of it is.
fn effects_are_applied_in_order_with_the_result_or_not_at_all(moment: &Moment<'_>) {
    let (Command::Report(Report { outcome: ReportOutcome::Completed { effects, .. }, .. }), Ok(answer)) =
        (moment.command, moment.answer)
    else {
        return;
    };
    let completed = answer.events.iter().any(|event| matches!(event.kind, EventKind::JobCompleted { .. }));
    let told = answer.events.iter().filter_map(|event| match &event.kind {
        EventKind::Commented { by, comment } if by.as_str().starts_with("flow ") => {
            Some(FlowEffect::Comment(comment.clone()))
        }
        EventKind::FlowEventEmitted { event, .. } => Some(FlowEffect::Emit(event.clone())),
        _ => None,
    });
    let wanted = effects.iter().filter(|effect| !matches!(effect, FlowEffect::RecordPatch(_)) && completed).cloned();
    assert_eq!(told.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    let updates = answer.events.iter().filter(|event| matches!(event.kind, EventKind::RecordUpdated { .. })).count();
    assert!(updates <= usize::from(completed), "{updates} changes of the record by one result");
}

fn a_record_changes_only_by_an_update_and_only_where_the_process_takes_one(moment: &Moment<'_>) {
    let (Some(before), Some(after)) = (moment.before, moment.after) else { return };
    assert_eq!(after.record.digest, quorate_engine::decide::record_digest(&after.record.data));
    if before.record == after.record {
        return;
    }
    assert!(is_change_of_record(moment.command), "{:?}", moment.command);
    assert_ne!(moment.process.record.on_change, OnChange::Deny);
    assert_eq!(after.record.version, before.record.version + 1);
    assert_ne!(after.record.digest, before.record.digest);
}

/// Of the stages up to the current one, that is: those after it are reached again, and ask again.
fn no_decision_on_another_record_stands_where_a_change_dismisses_all(moment: &Moment<'_>) {
    let Some(after) = moment.after.filter(|_| is_change_of_record(moment.command)) else { return };
    let updated = moment.before.is_some_and(|before| before.record != after.record);
    if !updated || moment.process.record.on_change != OnChange::DismissAll {
        return;
    }
    // Where the change made the stage go on or end, others are current by now.
    let started = moment.answer.as_ref().ok().into_iter().flat_map(|answer| &answer.events);
    let first = started.filter_map(|event| match &event.kind {
        EventKind::StageStarted { stage, .. } => moment.process.stage_index(stage),
        _ => None,
    });
    let back_to = first.clone().next();
    let latest = after.latest_steps();
    let stages = moment.process.stages.iter().enumerate();
    for (_, stage) in stages.filter(|(index, _)| back_to.is_some_and(|back_to| *index <= back_to)) {
        for run in stage.steps.iter().filter_map(|step| latest.get(step.name.as_str())) {
            let mut decisions = run.work_items.iter().filter_map(|item| item.decision.as_ref());
            assert!(
                decisions.all(|decision| decision.record_digest == after.record.digest),
                "a decision in `{}` stands on another record",
                run.name
            );
        }
    }
}

fn what_is_reused_was_decided_by_people(moment: &Moment<'_>) {
    let Some(after) = moment.after else { return };
    for run in steps(after) {
        let Some(reused) = &run.reused else { continue };
        assert!(run.work_items.is_empty(), "`{}` reuses decisions and asks", run.name);
        assert!(!reused.reviewers.is_empty(), "`{}` reuses what nobody decided", run.name);
        if reused.submission == after.id {
            let (_, decided) = after.step_run(reused.step_run).expect("what is reused is there");
            assert_eq!((&decided.name, decided.settled), (&run.name, run.settled));
        } else {
            assert!(after.resubmission.is_some(), "`{}` reuses what was decided elsewhere", run.name);
            assert_eq!(run.settled, Some(Verdict::Approve), "`{}` reuses a rejection", run.name);
        }
    }
}

fn steps(state: &Submission) -> impl Iterator<Item = &StepRun> {
    state.stage_runs.iter().flat_map(|stage| &stage.steps)
}

fn items(state: &Submission) -> impl Iterator<Item = &WorkItem> {
    steps(state).flat_map(|step| &step.work_items)
}

/// Each step run before the command, and the same one after it.
fn pairs<'a>(moment: &Moment<'a>) -> impl Iterator<Item = (&'a StepRun, &'a StepRun)> {
    let (before, after) = (moment.before, moment.after);
    before.into_iter().flat_map(steps).map(move |before| {
        let after = after.and_then(|after| after.step_run(before.id));
        (before, after.expect("a step run stays").1)
    })
}

fn is_anything_open(step: &StepRun) -> bool {
    step.job.as_ref().is_some_and(Job::is_live)
        || step.work_items.iter().any(|item| item.status == WorkItemStatus::Assigned)
}

fn what_is_due_fires_when_the_clock_is_looked_at(moment: &Moment<'_>) {
    if let (Command::Wake, Some(before), Some(after)) = (moment.command, moment.before, moment.after) {
        for timer in before.timers().iter().filter(|timer| timer.at <= moment.now) {
            assert!(!after.timers().contains(timer), "{timer:?} was due and has not fired");
        }
    }
}

fn only_a_step_that_asks_somebody_is_overdue(moment: &Moment<'_>) {
    let Ok(answer) = moment.answer else { return };
    for event in &answer.events {
        if let EventKind::StepOverdue { step_run } = &event.kind {
            let (_, step) = moment.before.and_then(|before| before.step_run(*step_run)).expect("it was there before");
            assert!(is_anything_open(step), "`{}` is overdue and asks nobody", step.name);
            assert!(step.deadlines.due_at.is_some_and(|due_at| due_at <= moment.now), "`{}` is not due", step.name);
        }
    }
}

fn silence_approves_only_where_the_process_says_so(moment: &Moment<'_>) {
    let Ok(answer) = moment.answer else { return };
    for event in &answer.events {
        if let EventKind::StepExpired { step_run, .. } = &event.kind {
            let (_, step) = moment.after.and_then(|after| after.step_run(*step_run)).expect("it is there");
            let rule = approval(moment.process, &step.name).expect("an approval step expires");
            let says = rule.expire.is_some_and(|expiry| expiry.outcome == ExpiryOutcome::Approve);
            let settled = rule.decision.outcome(Votes::of(step)) == Some(Verdict::Approve);
            assert!(
                step.settled != Some(Verdict::Approve) || says || settled,
                "`{}` is approved by silence",
                step.name
            );
        }
    }
}

fn nobody_is_asked_twice_at_a_time(moment: &Moment<'_>) {
    for step in moment.after.into_iter().flat_map(steps) {
        let mut asked = BTreeSet::new();
        for item in step.work_items.iter().filter(|item| item.status == WorkItemStatus::Assigned) {
            assert!(asked.insert(&item.assignee), "{} is asked twice in `{}`", item.assignee, step.name);
        }
    }
}

fn a_record_is_locked_by_the_steps_in_progress_that_say_so(moment: &Moment<'_>) {
    // In a version that it was moved to, a step that is under way holds what it held.
    let Some(after) = moment.after.filter(|after| after.process.version == 1) else { return };
    let locks = |name: &str| {
        let mut steps = moment.process.stages.iter().flat_map(|stage| &stage.steps);
        steps.any(|step| step.name == name && matches!(&step.kind, StepKind::Approval(approval) if approval.lock))
    };
    let steps = after.stage_runs.iter().flat_map(|stage| &stage.steps);
    let in_progress = steps.filter(|run| run.status == StepRunStatus::InProgress && locks(&run.name));
    let expected: Vec<_> = in_progress.map(|run| run.id).collect();
    let held: Vec<_> = after.locks().map(|(_, run, _)| run.id).collect();
    assert_eq!(held, expected, "the record is locked by the steps in progress that say so");
}
