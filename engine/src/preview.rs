//! Previews: who would be asked for a record, in which order, and why, with nothing submitted.
//!
//! A submission is decided by [`decide`] as any other, and what people and workers would do is assumed: whoever is asked approves,
//! flows complete with stated outputs, or with none, and what flows are asked about conditions holds. So a preview says what the
//! rules say, not what a second reading of them would; and it says what it assumed.

use std::collections::BTreeMap;

use crate::{
    Json,
    command::{Command, Decide, Report, ReportOutcome, Submit},
    context::Context,
    decide::{CONDITION_MET, Decided, decide, may_decide, unmet_conditions},
    event::{Because, Event, EventKind},
    explain::{About, Reason, explain},
    id::UserName,
    refusal::Refusal,
    state::{Assignee, Condition, Job, Submission, Verdict, WorkItem},
    status::{StepRunStatus, SubmissionStatus},
};

/// How many decisions and results are assumed: more than a submission that people can follow has.
const ASSUMED_MAX: usize = 1_000;

/// How long the history may grow: what one answer can tell.
const EVENTS_MAX: usize = 2_000;

/// What would happen.
#[derive(Clone, Debug)]
pub struct Preview {
    /// How it would end, or where it would stand when nothing more can be assumed.
    pub status: SubmissionStatus,
    /// What would happen, in order.
    pub lines: Vec<Line>,
    /// The steps that would not start, in the stages that would be reached.
    pub not_started: Vec<NotStarted>,
    /// Why it is not told further, where there is more.
    pub stopped: Option<String>,
}

/// Something that would happen.
#[derive(Clone, Debug)]
pub struct Line {
    /// What, and why.
    pub reason: Reason,
    /// Whether it is assumed: what people decide, and what flows do.
    pub assumed: bool,
}

/// A step that would not start.
#[derive(Clone, Debug)]
pub struct NotStarted {
    /// The stage.
    pub stage: String,
    /// The step.
    pub step: String,
    /// The entry condition that would not hold, with what it reads in the end.
    pub because: Option<Because>,
}

/// What would follow from a submission. `outputs` are what flows would return, by the step's name; those of the others are empty.
/// A submission that would be refused is.
pub fn preview(
    submit: &Submit,
    outputs: &BTreeMap<String, Json>,
    context: &mut Context<'_>,
) -> Result<Preview, Refusal> {
    let Decided { mut state, mut events, .. } = decide(None, &Command::Submit(Box::new(submit.clone())), context)?;
    let mut stopped = None;
    for _ in 0..ASSUMED_MAX {
        if state.status != SubmissionStatus::InProgress {
            break;
        }
        match next(&state, outputs, context) {
            Ok(decided) if decided.events.is_empty() || events.len() + decided.events.len() > EVENTS_MAX => {
                stopped = Some("there is more than a preview tells".to_owned());
                break;
            }
            Ok(decided) => {
                state = decided.state;
                events.extend(decided.events);
            }
            Err(why) => {
                stopped = Some(why);
                break;
            }
        }
    }
    if state.status == SubmissionStatus::InProgress && stopped.is_none() {
        stopped = Some(format!("more than {ASSUMED_MAX} decisions and results would follow"));
    }
    let not_started = unmet_conditions(&state, context)
        .into_iter()
        .map(|(stage, step, because)| NotStarted { stage, step, because })
        .collect();
    Ok(Preview { status: state.status, lines: lines(&events), not_started, stopped })
}

fn lines(events: &[Event]) -> Vec<Line> {
    let reasons = explain(events, About::Submission).unwrap_or_default();
    let line = |(reason, event): (Reason, &Event)| {
        let assumed = matches!(
            event.kind,
            EventKind::WorkItemDecided { .. } | EventKind::JobCompleted { .. } | EventKind::EvaluationCompleted { .. }
        );
        Line { reason, assumed }
    };
    reasons.into_iter().zip(events).map(line).collect()
}

/// What follows from the next that is assumed: the result of a flow first, as flows do not wait for people. `Err` says why
/// nothing can be assumed.
fn next(state: &Submission, outputs: &BTreeMap<String, Json>, context: &mut Context<'_>) -> Result<Decided, String> {
    let steps = state.current_stage().map_or(&[][..], |stage| &stage.steps);
    let in_progress = || steps.iter().filter(|step| step.status == StepRunStatus::InProgress);
    if let Some(job) = asked(state, true) {
        return met(state, job, context);
    }
    for step in in_progress() {
        let Some(job) = step.job.as_ref().filter(|job| job.is_live()) else { continue };
        let output = outputs.get(&step.name).cloned().unwrap_or_else(|| Json::Object(serde_json::Map::new()));
        let outcome = ReportOutcome::Completed { output, effects: Vec::new() };
        let report = Report { job: job.id, attempt: job.attempt, token: job.token.clone(), outcome };
        let decided = decide(Some(state), &Command::Report(report), context).map_err(|refusal| refusal.to_string())?;
        let failed = decided.events.iter().find_map(|event| match &event.kind {
            EventKind::JobAttemptFailed { message, .. } => Some(message.clone()),
            _ => None,
        });
        return match failed {
            Some(message) => Err(format!(
                "the output of step `{}` does not meet the schema of its flow, so state it: {message}",
                step.name
            )),
            None => Ok(decided),
        };
    }
    for step in in_progress() {
        for item in step.work_items.iter().filter(|item| item.is_open()) {
            if let Some(decided) = approve(state, item, context) {
                return Ok(decided);
            }
        }
    }
    if let Some(job) = asked(state, false) {
        return met(state, job, context);
    }
    Err("it waits for time to pass, for the record to change, or for somebody who cannot decide now".to_owned())
}

/// What a flow is asked about a condition: of an entry, or of an exit, which is assumed to hold once all else is done.
fn asked(state: &Submission, entry: bool) -> Option<&Job> {
    let mut jobs = state.current_stage()?.jobs().filter(|placed| placed.job.is_live());
    let asked = jobs.find(|placed| match placed.condition {
        Some(Condition::StepEntry(_)) => entry,
        Some(Condition::StepExit(_) | Condition::StageExit(_)) => !entry,
        None => false,
    });
    asked.map(|placed| placed.job)
}

/// What follows when a flow answers that a condition holds.
fn met(state: &Submission, job: &Job, context: &mut Context<'_>) -> Result<Decided, String> {
    let output = serde_json::json!({ CONDITION_MET: true });
    let outcome = ReportOutcome::Completed { output, effects: Vec::new() };
    let report = Report { job: job.id, attempt: job.attempt, token: job.token.clone(), outcome };
    decide(Some(state), &Command::Report(report), context).map_err(|refusal| refusal.to_string())
}

/// What follows when the first who may approve a work item does.
fn approve(state: &Submission, item: &WorkItem, context: &mut Context<'_>) -> Option<Decided> {
    let directory = context.directory;
    let people: Vec<UserName> = match &item.assignee {
        Assignee::User(name) => vec![UserName::from(name.as_str())],
        Assignee::Group(_) | Assignee::Queue(_) => {
            let everybody = directory.users.keys().map(|name| UserName::from(name.as_str()));
            everybody.filter(|name| may_decide(&item.assignee, name, directory)).collect()
        }
    };
    people.into_iter().find_map(|actor| {
        let command = Command::Decide(Decide {
            work_item: item.id,
            actor,
            verdict: Verdict::Approve,
            comment: String::new(),
            channel: "PREVIEW".to_owned(),
            record_digest: state.record.digest.clone(),
        });
        decide(Some(state), &command, context).ok()
    })
}
