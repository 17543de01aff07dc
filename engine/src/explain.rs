//! Explanations: what brought a stage, a step or a work item about, in words. Read off the events alone, which keep the rule, the
//! values that it read, and why each person was asked; so it is told as it was, whatever definitions and people are now.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{
    event::{Because, Event, EventKind},
    evolve,
    id::{StageRunId, StepRunId, WorkItemId},
    state::{Assignee, Decision, Submission, Verdict},
};

/// What is to be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About<'a> {
    /// The whole submission.
    Submission,
    /// All runs of a stage.
    Stage(&'a str),
    /// All runs of a step.
    Step(&'a str),
    /// A work item, and the step run that it is of.
    WorkItem(WorkItemId),
}

/// Something that happened, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The event's number, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The event's kind, as it is stored.
    pub kind: String,
    /// The stage that it is of, as it was called then.
    pub stage: Option<String>,
    /// The step that it is of, as it was called then.
    pub step: Option<String>,
    /// The work item that it is of.
    pub work_item: Option<WorkItemId>,
    /// For people.
    pub text: String,
    /// The rule that brought it about, with what it read, where there is one to tell.
    pub because: Option<Because>,
}

/// What an event is of.
#[derive(Clone, Copy, Default)]
struct Subject {
    stage_run: Option<StageRunId>,
    step_run: Option<StepRunId>,
    work_item: Option<WorkItemId>,
}

/// What happened and why, in order; `None` where there is no such stage run, step run or work item, or no submission.
pub fn explain(events: &[Event], about: About<'_>) -> Option<Vec<Reason>> {
    let last = evolve::replay(events)?;
    let wanted = Wanted::of(&last, about)?;
    let (first, rest) = events.split_first()?;
    let mut state = evolve::begin(first)?;
    let mut reasons = Vec::new();
    let submitted = Subject::default();
    if wanted.has(submitted) {
        let text = match &state.on_behalf_of {
            Some(other) => format!("{} submitted it for {other}", state.submitter),
            None => format!("{} submitted it", state.submitter),
        };
        reasons.push(reason(1, first, &state, submitted, text));
    }
    for (seq, event) in (2..).zip(rest) {
        evolve::evolve(&mut state, event);
        let subject = subject(event, &state);
        if wanted.has(subject) {
            reasons.push(reason(seq, event, &state, subject, text(event, &state, subject)));
        }
    }
    Some(reasons)
}

/// Which events are told.
enum Wanted {
    All,
    Stages(BTreeSet<StageRunId>),
    /// Step runs, and the starts of their stages.
    Steps(BTreeSet<StepRunId>, BTreeSet<StageRunId>),
    Item(WorkItemId, StepRunId),
}

impl Wanted {
    fn of(state: &Submission, about: About<'_>) -> Option<Self> {
        let runs = || state.stage_runs.iter();
        let wanted = match about {
            About::Submission => Self::All,
            About::Stage(name) => Self::Stages(runs().filter(|run| run.name == name).map(|run| run.id).collect()),
            About::Step(name) => {
                let with = runs().filter(|run| run.step(name).is_some());
                let steps = with.clone().flat_map(|run| &run.steps).filter(|step| step.name == name);
                Self::Steps(steps.map(|step| step.id).collect(), with.map(|run| run.id).collect())
            }
            About::WorkItem(id) => Self::Item(id, state.work_item(id)?.1.id),
        };
        let found = match &wanted {
            Self::All | Self::Item(..) => true,
            Self::Stages(stages) => !stages.is_empty(),
            Self::Steps(steps, _) => !steps.is_empty(),
        };
        found.then_some(wanted)
    }

    fn has(&self, subject: Subject) -> bool {
        let Subject { stage_run, step_run, work_item } = subject;
        match self {
            Self::All => true,
            Self::Stages(stages) => stage_run.is_some_and(|stage| stages.contains(&stage)),
            Self::Steps(steps, stages) => match step_run {
                Some(step) => steps.contains(&step),
                None => stage_run.is_some_and(|stage| stages.contains(&stage)),
            },
            Self::Item(item, step) => step_run == Some(*step) && work_item.is_none_or(|other| other == *item),
        }
    }
}

fn reason(seq: u64, event: &Event, state: &Submission, subject: Subject, text: String) -> Reason {
    let (kind, _) = event.kind.to_parts();
    Reason {
        seq,
        at: event.at,
        kind,
        stage: subject.stage_run.and_then(|id| stage_name(state, id)),
        step: subject.step_run.and_then(|id| step_name(state, id)),
        work_item: subject.work_item,
        text,
        because: because(&event.kind).cloned(),
    }
}

fn because(kind: &EventKind) -> Option<&Because> {
    match kind {
        EventKind::StageStarted { because, .. }
        | EventKind::StageCompleted { because, .. }
        | EventKind::StepStarted { because, .. }
        | EventKind::StepCompleted { because, .. } => because.as_ref(),
        _ => None,
    }
}

/// Events name what they are of in one of these fields, whatever their kind.
fn subject(event: &Event, state: &Submission) -> Subject {
    let (_, body) = event.kind.to_parts();
    let id = |name: &str| body.get(name).and_then(|value| value.as_str()?.parse().ok());
    let work_item = id("work_item").map(WorkItemId);
    let step_run = id("step_run").map(StepRunId);
    let of_item = || work_item.and_then(|id| state.work_item(id)).map(|(_, step, _)| step.id);
    let job = id("job").and_then(|id| state.job(crate::id::JobId(id)));
    let of_job = || job.and_then(|placed| Some(placed.step?.id));
    let step_run = step_run.or_else(of_item).or_else(of_job);
    let of_step = || step_run.and_then(|id| state.step_run(id)).map(|(stage, _)| stage.id);
    // What evaluates the exit condition of a stage is of no step.
    let of_stage_exit = || job.map(|placed| placed.stage.id);
    let stage_run = id("stage_run").map(StageRunId).or_else(of_step).or_else(of_stage_exit);
    Subject { stage_run, step_run, work_item }
}

fn stage_name(state: &Submission, id: StageRunId) -> Option<String> {
    state.stage_runs.iter().find(|run| run.id == id).map(|run| run.name.clone())
}

fn step_name(state: &Submission, id: StepRunId) -> Option<String> {
    state.step_run(id).map(|(_, run)| run.name.clone())
}

/// What happened, in words. Kinds that have none of their own here are told by their names: an explanation leaves nothing out,
/// also of what a later version of the engine adds.
fn text(event: &Event, state: &Submission, subject: Subject) -> String {
    let stage = subject.stage_run.and_then(|id| stage_name(state, id)).unwrap_or_default();
    let step = subject.step_run.and_then(|id| step_name(state, id)).unwrap_or_default();
    let who = subject.work_item.and_then(|id| state.work_item(id)).map(|(_, _, item)| name(&item.assignee));
    let who = who.unwrap_or_default();
    match &event.kind {
        EventKind::StageStarted { round, because, .. } => {
            let again = if *round > 1 { format!(" again (run {round})") } else { String::new() };
            format!("stage {stage} started{again}{}", told(because.as_ref(), ""))
        }
        EventKind::StageCompleted { because, .. } => {
            format!("stage {stage} completed{}", told(because.as_ref(), ": all its steps are"))
        }
        EventKind::StageFailed { failure, .. } => format!("stage {stage} met an error: {}", failure.message),
        EventKind::StageRevived { by, .. } => format!("{by} brought stage {stage} back"),
        EventKind::StepStarted { because, .. } => {
            format!("step {step} started{}", told(because.as_ref(), " with its stage"))
        }
        EventKind::StepCompleted { settled, because, reused, .. } => {
            let how = settled.map(|settled| format!(" ({})", settled.as_str())).unwrap_or_default();
            let default = if reused.is_some() { " by earlier decisions" } else { "" };
            format!("step {step} completed{how}{}", told(because.as_ref(), default))
        }
        EventKind::StepFailed { failure, .. } => format!("step {step} met an error: {}", failure.message),
        EventKind::StepSkipped { by, comment, .. } => format!("{by} skipped step {step}{}", said(comment)),
        EventKind::RecordLocked { allow_reviewer_edit: false, .. } => format!("the record is locked by step {step}"),
        EventKind::RecordLocked { allow_reviewer_edit: true, .. } => {
            format!("the record is locked by step {step}, but for those whom it asks")
        }
        EventKind::AssigneesLeftOut { reasons, .. } => format!("not asked in step {step}: {}", reasons.join("; ")),
        EventKind::WorkItemAssigned { assignee, reason, weight, veto, .. } => {
            let weight = if *weight == 1 { String::new() } else { format!(", with weight {weight}") };
            let veto = if *veto { ", with a veto" } else { "" };
            format!("{} is asked in step {step}{weight}{veto}, because: {reason}", name(assignee))
        }
        EventKind::WorkItemDecided { decision, .. } => format!("{} in step {step}", decided(decision)),
        EventKind::WorkItemClosed { status, .. } => format!("{who} is no longer asked in step {step}: {status}"),
        EventKind::WorkItemReassigned { from, to, by, comment, .. } => {
            format!("{by} had {} asked instead of {}{}", name(to), name(from), said(comment))
        }
        EventKind::StepOverridden { decision, .. } => format!("step {step} was overridden: {}", decided(decision)),
        EventKind::SentBack { to, by, comment, .. } => format!("{by} sent it back to stage {to}{}", said(comment)),
        EventKind::JobScheduled { spec, .. } => {
            format!("flow {} is run, version {}, which was active", spec.flow.name, spec.flow.version)
        }
        EventKind::JobAttemptFailed { attempt, code, message, .. }
        | EventKind::JobFailed { attempt, code, message, .. } => {
            format!("attempt {attempt} of step {step} failed: {code}: {message}")
        }
        EventKind::Commented { by, comment } => format!("{by} said: {comment}"),
        EventKind::RecordUpdated { record, by, comment, .. } => {
            format!("{by} changed the record, which is version {} now{}", record.version, said(comment))
        }
        EventKind::FlowEventEmitted { flow, event, .. } => {
            format!("flow {} told other systems of {}", flow.name, event.event_type)
        }
        EventKind::MovedToStage { stage, by, comment } => format!("{by} sent it to stage {stage}{}", said(comment)),
        EventKind::SubmissionSuspended { by, comment } => format!("{by} suspended it{}", said(comment)),
        EventKind::SubmissionResumed { by, comment } => format!("{by} resumed it{}", said(comment)),
        EventKind::SubmissionMigrated { from, to, by, comment, .. } => {
            format!("{by} moved it from version {} to version {}{}", from.version, to.version, said(comment))
        }
        EventKind::RejectionDecided { .. } => "it will end REJECTED".to_owned(),
        EventKind::Recalled { by, comment } => format!("{by} recalled it{}", said(comment)),
        EventKind::Canceled { by, comment } => format!("{by} canceled it{}", said(comment)),
        EventKind::SubmissionFailed { failure } => format!("it is in error: {}", failure.message),
        EventKind::SubmissionEnded { status } => format!("it ended {status}"),
        other => {
            let of = if step.is_empty() { String::new() } else { format!(" of step {step}") };
            format!("{}{of}", other.to_parts().0.to_lowercase().replace('_', " "))
        }
    }
}

/// ` because record.amount > 1.0: record.amount = 5.0`, or what is the case where no rule is told.
fn told(because: Option<&Because>, default: &str) -> String {
    let Some(Because { rule, values }) = because else { return default.to_owned() };
    let values: Vec<_> = values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    if values.is_empty() { format!(", because {rule}") } else { format!(", because {rule}: {}", values.join(", ")) }
}

fn said(comment: &str) -> String {
    if comment.is_empty() { String::new() } else { format!(": {comment}") }
}

fn name(assignee: &Assignee) -> String {
    match assignee {
        Assignee::User(name) => name.clone(),
        Assignee::Group(name) => format!("group {name}"),
        Assignee::Queue(name) => format!("queue {name}"),
    }
}

fn decided(decision: &Decision) -> String {
    let verb = match decision.verdict {
        Verdict::Approve => "approved",
        Verdict::Reject => "rejected",
        Verdict::Abstain => "abstained",
    };
    let whom = decision.on_behalf_of.as_ref().map(|person| format!(" for {person}")).unwrap_or_default();
    format!("{} {verb}{whom}{}", decision.actor, said(&decision.comment))
}
