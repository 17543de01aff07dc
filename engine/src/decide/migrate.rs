//! Moving a submission to another version of its process: what has to fit, and what changes by it (DESIGN 2.6 keeps a submission on
//! its version otherwise; `docs/operations.md`, "Another version").
//!
//! Names are mapped, those that are not named stay as they are, and the whole history takes the new names: conditions of the new
//! version read it by them. What is under way must be there in the new version and be of the same kind, since it goes on as it
//! was started: with the people who were asked, and the flow version that its job is bound to.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    command::Migrate,
    context::Context,
    decision_rule::Votes,
    definition::{ApprovalStep, DecisionRule, Process, Quorum, Step, StepKind},
    event::{EventKind, NewStepRun},
    id::StepRunId,
    refusal::{Problem, Refusal},
    state::{Assignee, StageRun, StepRun, Submission, Verdict},
    status::StepRunStatus,
};

use super::{
    check_administrator, check_comment, check_history, check_not_ended,
    conditions::{all_steps, reads_now},
    draft::Draft,
    progress::settled,
};

/// Of how many problems a refusal tells: whoever reads it mends one after the other.
const PROBLEMS_MAX: usize = 50;

/// Moves a submission, and lets it go on by the rules of the new version.
pub(super) fn migrate(draft: &mut Draft<'_, '_>, migrate: &Migrate) -> Result<(), Refusal> {
    check_comment("comment", &migrate.comment)?;
    check_not_ended(&draft.state)?;
    check_administrator(&migrate.by)?;
    check_history(&draft.state)?;
    let mut asked = Move { state: &draft.state, from: draft.context.process, migrate, problems: Vec::new() };
    asked.check();
    let mut problems = asked.problems;
    if !problems.is_empty() {
        problems.truncate(PROBLEMS_MAX);
        return Err(Refusal::MigrationUnfit { version: migrate.to.version, problems });
    }
    let (added, awaits_time) = arrival(&draft.state, migrate);
    let added =
        added.into_iter().map(|step| NewStepRun { step_run: StepRunId(draft.context.ids.uuid()), step }).collect();
    draft.emit(EventKind::SubmissionMigrated {
        from: draft.state.process.clone(),
        to: migrate.to.clone(),
        stages: migrate.stages.clone(),
        steps: migrate.steps.clone(),
        added,
        awaits_time,
        by: migrate.by.name.clone(),
        comment: migrate.comment.clone(),
    });
    // What the version before asks its flows is no question of this one, which asks its own.
    if let Some(stage_run) = draft.state.current_stage().map(|stage| stage.id) {
        draft.stop_evaluations(stage_run);
    }
    progress_on(draft, &migrate.process);
    Ok(())
}

/// Goes on by the rules of another version than the draft began with.
fn progress_on(draft: &mut Draft<'_, '_>, process: &Process) {
    let Context { now, flows, calendars, directory, .. } = *draft.context;
    let mut context = Context { now, process, flows, calendars, directory, ids: &mut *draft.context.ids };
    let mut next = Draft::new(draft.state.clone(), &mut context);
    next.progress();
    let decided = next.finish();
    draft.state = decided.state;
    draft.events.extend(decided.events);
}

/// The steps that the current stage gains, and whether a condition of it reads the time.
fn arrival(state: &Submission, migrate: &Migrate) -> (Vec<String>, bool) {
    let Some(run) = state.current_stage() else { return (Vec::new(), false) };
    let stage = stage_name(migrate, run);
    let known: BTreeSet<&str> = run.steps.iter().map(|step| step_name(migrate, &step.name)).collect();
    let steps = steps_of(&migrate.process, stage, run);
    let added = steps.iter().filter(|step| !known.contains(step.name.as_str())).map(|step| step.name.clone());
    (added.collect(), reads_now(&migrate.process, stage, run.ending))
}

/// What a stage run is called in the new version; the path to an ending keeps its name.
fn stage_name<'m>(migrate: &'m Migrate, run: &'m StageRun) -> &'m str {
    match run.ending {
        Some(_) => &run.name,
        None => migrate.stages.get(&run.name).unwrap_or(&run.name),
    }
}

fn step_name<'m>(migrate: &'m Migrate, name: &'m str) -> &'m str {
    migrate.steps.get(name).map_or(name, String::as_str)
}

/// The steps that a stage run has in a version.
fn steps_of<'p>(process: &'p Process, stage: &str, run: &StageRun) -> &'p [Step] {
    match run.ending {
        Some(ending) => process.path(ending),
        None => process.stages.iter().find(|candidate| candidate.name == stage).map_or(&[][..], |stage| &stage.steps),
    }
}

/// A move that is asked for, and what stands against it.
struct Move<'a> {
    state: &'a Submission,
    from: &'a Process,
    migrate: &'a Migrate,
    problems: Vec<Problem>,
}

impl Move<'_> {
    fn check(&mut self) {
        let Migrate { to, process, .. } = self.migrate;
        if to.name != self.state.process.name {
            return self.complain("to_version", format!("it is a version of another process, `{}`", to.name));
        }
        if to.version == self.state.process.version {
            return self.complain("to_version", format!("the submission is on version {} already", to.version));
        }
        self.check_mapping();
        let (takes, has) = (&process.record.name, &self.state.record.record_type);
        if takes != has {
            self.complain(
                "record.type",
                format!("version {} takes records of type `{takes}`, not `{has}`", to.version),
            );
        }
        let schema = process.record.schema.as_ref();
        for violation in schema.map(|schema| schema.violations(&self.state.record.data)).unwrap_or_default() {
            let dot = if violation.path.is_empty() { "" } else { "." };
            self.complain(&format!("record.data{dot}{}", violation.path), violation.message);
        }
        self.check_history();
        self.check_current();
    }

    fn complain(&mut self, path: &str, why: String) {
        self.problems.push(Problem { path: path.to_owned(), why });
    }

    /// Names that are mapped exist, and no two that have a history come to the same.
    fn check_mapping(&mut self) {
        let (state, migrate) = (self.state, self.migrate);
        let stages = |process: &Process| process.stages.iter().map(|stage| stage.name.clone()).collect();
        let steps = |process: &Process| all_steps(process).map(|step| step.name.clone()).collect();
        let runs = state.stage_runs.iter();
        let visited_stages = runs.clone().filter(|run| run.ending.is_none()).map(|run| run.name.as_str()).collect();
        let visited_steps = runs.flat_map(|run| &run.steps).map(|step| step.name.as_str()).collect();
        self.check_names("stage", &migrate.stages, &visited_stages, &[stages(self.from), stages(&migrate.process)]);
        self.check_names("step", &migrate.steps, &visited_steps, &[steps(self.from), steps(&migrate.process)]);
    }

    fn check_names(
        &mut self,
        kind: &str,
        mapping: &BTreeMap<String, String>,
        visited: &BTreeSet<&str>,
        [before, after]: &[BTreeSet<String>; 2],
    ) {
        let (from, to) = (self.state.process.version, self.migrate.to.version);
        for (old, new) in mapping {
            let path = format!("{kind}s.{old}");
            if !before.contains(old) && !visited.contains(old.as_str()) {
                self.complain(&path, format!("version {from} has no {kind} `{old}`"));
            }
            if !after.contains(new) {
                self.complain(&path, format!("version {to} has no {kind} `{new}`"));
            }
        }
        let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
        for &old in visited {
            let new = mapping.get(old).map_or(old, String::as_str);
            if let Some(other) = taken.insert(new, old) {
                let why = format!("`{other}` and `{old}` would both be {kind} `{new}`");
                self.complain(&format!("{kind}s.{old}"), why);
            }
        }
    }

    /// What has happened in a step can be read as that of its namesake.
    fn check_history(&mut self) {
        let (state, migrate) = (self.state, self.migrate);
        let version = migrate.to.version;
        for (name, run) in state.latest_steps() {
            if run.status == StepRunStatus::NotStarted {
                continue;
            }
            let path = format!("steps.{name}");
            let new = step_name(migrate, name);
            let (before, after) = (find(self.from, name), find(&migrate.process, new));
            match after {
                None if is_rejected(before, run) => {
                    let why =
                        format!("it was rejected, which must not be forgotten: map it to a step of version {version}");
                    self.complain(&path, why);
                }
                Some(after) if kind(after) != kind_of_run(before, run) => {
                    let (is, was) = (kind(after), kind_of_run(before, run));
                    self.complain(&path, format!("it is {was}, and `{new}` of version {version} is {is}"));
                }
                Some(_) | None => {}
            }
        }
    }

    /// What is under way is there in the new version, in the same stage.
    fn check_current(&mut self) {
        let (state, migrate) = (self.state, self.migrate);
        let version = migrate.to.version;
        let Some(run) = state.current_stage() else { return };
        let stage = stage_name(migrate, run);
        if run.ending.is_none() {
            let find = |process: &Process, name: &str| {
                process.stages.iter().find(|stage| stage.name == name).map(|stage| stage.fault_path)
            };
            let path = format!("stages.{}", run.name);
            match (find(self.from, &run.name), find(&migrate.process, stage)) {
                (_, None) => {
                    let why = format!("the submission is in this stage: map it to a stage of version {version}");
                    return self.complain(&path, why);
                }
                (Some(before), Some(after)) if before != after => {
                    let is = if after { "a fault path" } else { "no fault path" };
                    self.complain(&path, format!("`{stage}` of version {version} is {is}, which is another kind"));
                }
                (_, Some(_)) => {}
            }
        }
        let steps = steps_of(&migrate.process, stage, run);
        for step in &run.steps {
            // A step in error, and what the error stopped, is under way too: it may be retried.
            let under_way = match step.status {
                StepRunStatus::InProgress | StepRunStatus::Error | StepRunStatus::Discontinued => true,
                StepRunStatus::NotStarted | StepRunStatus::Completed | StepRunStatus::Canceled => false,
            };
            if !under_way {
                continue;
            }
            let path = format!("steps.{}", step.name);
            let new = step_name(migrate, &step.name);
            match steps.iter().find(|candidate| candidate.name == new) {
                None => self.complain(
                    &path,
                    format!(
                        "it is {}, and stage `{stage}` of version {version} has no step `{new}`: map it",
                        step.status
                    ),
                ),
                Some(Step { kind: StepKind::Approval(approval), .. }) => self.check_roster(&path, step, approval),
                Some(Step { kind: StepKind::Background(_), .. }) => {}
            }
        }
    }

    /// Those who were asked, who stay as they are, can settle the step by the new rule.
    fn check_roster(&mut self, path: &str, run: &StepRun, approval: &ApprovalStep) {
        let DecisionRule { approve, .. } = approval.decision;
        let asked = Votes::of(run).asked;
        if let Quorum::AtLeast(needed) | Quorum::Weight(needed) = approve
            && needed > asked
            && !run.work_items.is_empty()
        {
            self.complain(path, format!("its decision rule takes {needed}, and those who were asked come to {asked}"));
        }
        let mut open = run.work_items.iter().filter(|item| item.is_open());
        let shared = open.find(|item| !matches!(item.assignee, Assignee::User(_)));
        if let (true, Some(item)) = (approval.decision.counts_people(), shared) {
            let why = format!("its decision rule counts people, and {} was asked as a whole", item.assignee);
            self.complain(path, why);
        }
    }
}

fn find<'p>(process: &'p Process, name: &str) -> Option<&'p Step> {
    all_steps(process).find(|step| step.name == name)
}

fn kind(step: &Step) -> &'static str {
    match step.kind {
        StepKind::Approval(_) => "an approval step",
        StepKind::Background(_) => "a background step",
    }
}

/// The kind of a step that has run; where no definition has it any more, what it has done says it.
fn kind_of_run(definition: Option<&Step>, run: &StepRun) -> &'static str {
    match definition {
        Some(step) => kind(step),
        None if run.job.is_some() => "a background step",
        None => "an approval step",
    }
}

/// Whether a step was rejected, also where its stage ended before the step did.
fn is_rejected(definition: Option<&Step>, run: &StepRun) -> bool {
    let outcome = match definition.map(|step| &step.kind) {
        Some(StepKind::Approval(approval)) if !run.work_items.is_empty() => settled(run, approval),
        _ => None,
    };
    run.settled == Some(Verdict::Reject) || outcome == Some(Verdict::Reject)
}
