//! From what a line of a script says to the command that asks for it.

use std::sync::Arc;

use super::{ADMINISTRATOR, Action, ItemRef, RunRef};
use crate::{
    command::{Actor, Command, Decide, Override, OverrideTarget, Reported, Submit, SubmitScreen, UpdateRecord},
    decide::{Deciding, Opening, authorize_decision, may_decide, open_screen},
    id::{SubmissionId, UserName, WorkItemId},
    state::{StepRun, Submission, Verdict, WorkItem},
};

use super::run::Surroundings;

/// How decisions are made in tests.
const CHANNEL: &str = "TEST";

/// What an action is tried on.
pub(super) struct Stage<'a> {
    pub(super) world: &'a Surroundings<'a>,
    pub(super) state: &'a Submission,
    pub(super) now: jiff::Timestamp,
}

impl Stage<'_> {
    /// The command of an action. `Err` says what it names that is not there.
    pub(super) fn command(&self, action: &Action, next_id: SubmissionId) -> Result<Command, String> {
        let state = self.state;
        let submitter = |by: &Option<UserName>| actor(by.as_ref().unwrap_or(&state.submitter));
        let administrator = |by: &Option<UserName>| by.as_ref().map_or_else(|| actor(&ADMINISTRATOR.into()), actor);
        Ok(match action {
            Action::Decide { item, by, verdict, comment } => Command::Decide(self.decide(item, by, *verdict, comment)?),
            Action::SubmitScreen { item, by, verdict, comment, values } => Command::SubmitScreen(SubmitScreen {
                decide: self.decide(item, by, *verdict, comment)?,
                values: Arc::new(values.clone()),
            }),
            Action::ScreenError { item, by } => self.screen_error(item, by)?,
            Action::Comment { by, comment } => Command::Comment { by: actor(by), comment: comment.clone() },
            Action::UpdateRecord { by, record, comment } => Command::UpdateRecord(Box::new(UpdateRecord {
                by: submitter(by),
                data: Arc::new(record.clone()),
                comment: comment.clone(),
                reported: None,
            })),
            Action::ReportChange { by, record } => Command::UpdateRecord(Box::new(UpdateRecord {
                by: actor(by),
                data: Arc::new(record.clone()),
                comment: String::new(),
                reported: Some(Reported::default()),
            })),
            Action::Recall { by, comment } => Command::Recall { by: submitter(by), comment: comment.clone() },
            Action::Cancel { by, comment } => Command::Cancel { by: administrator(by), comment: comment.clone() },
            Action::Resubmit { by, record, comment } => {
                let by = submitter(by);
                let data =
                    record.as_ref().map_or_else(|| Arc::clone(&state.record.data), |data| Arc::new(data.clone()));
                Command::Submit(Box::new(Submit {
                    tenant: state.tenant.clone(),
                    id: next_id,
                    process: state.process.clone(),
                    record_type: String::new(),
                    record_id: state.record.id.clone(),
                    data,
                    submitter: by.name,
                    on_behalf_of: state.on_behalf_of.clone(),
                    comment: comment.clone(),
                    choices: state.choices.clone(),
                    source_version: None,
                    administrator: by.administrator,
                    before: Some(Arc::new(state.clone())),
                    traceparent: None,
                }))
            }
            Action::Reassign { item, by, to, comment } => Command::Reassign {
                work_item: self.item(item, by)?,
                by: actor(by),
                to: to.clone(),
                comment: comment.clone(),
            },
            Action::Claim { item, by } => Command::Claim { work_item: self.item(item, by)?, by: actor(by) },
            Action::Release { item, by } => Command::Release { work_item: self.item(item, by)?, by: actor(by) },
            Action::Override { step, by, verdict, comment } => Command::Override(Override {
                target: OverrideTarget::Step(step.clone()),
                by: administrator(by),
                verdict: *verdict,
                comment: comment.clone(),
                record_digest: state.record.digest.clone(),
            }),
            Action::SendBack { item, by, to, comment } => Command::SendBack {
                work_item: self.item(item, by)?,
                by: actor(by),
                to: to.clone(),
                comment: comment.clone(),
            },
            Action::RequestInformation { item, by, question } => Command::RequestInformation {
                work_item: self.item(item, by)?,
                by: actor(by),
                question: question.clone(),
            },
            Action::AnswerInformation { item, by, answer } => {
                let by = submitter(by);
                let work_item = self.questioned(item, &by.name)?;
                Command::AnswerInformation { work_item, by, answer: answer.clone() }
            }
            Action::RetryStep { step, by } => Command::RetryStep { by: administrator(by), step: step.clone() },
            Action::RetryStage { stage, by } => Command::RetryStage { by: administrator(by), stage: stage.clone() },
            Action::Skip { step, by, outputs, comment } => Command::SkipStep {
                by: administrator(by),
                step: step.clone(),
                outputs: outputs.clone(),
                comment: comment.clone(),
            },
            Action::GoTo { stage, by, comment } => {
                Command::GoToStage { by: administrator(by), stage: stage.clone(), comment: comment.clone() }
            }
            Action::Suspend { by, comment } => Command::Suspend { by: administrator(by), comment: comment.clone() },
            Action::Resume { by, comment } => Command::Resume { by: administrator(by), comment: comment.clone() },
        })
    }

    fn decide(&self, item: &ItemRef, by: &UserName, verdict: Verdict, comment: &str) -> Result<Decide, String> {
        Ok(Decide {
            work_item: self.item(item, by)?,
            actor: by.clone(),
            verdict,
            comment: comment.to_owned(),
            channel: CHANNEL.to_owned(),
            record_digest: self.state.record.digest.clone(),
        })
    }

    /// Opens a screen as a server does, which tells the rules where it cannot be shown. One that opens is not what the test says.
    fn screen_error(&self, item: &ItemRef, by: &UserName) -> Result<Command, String> {
        let work_item = self.item(item, by)?;
        let by = actor(by);
        let Surroundings { process, flows, directory, .. } = *self.world;
        let opening = Opening { state: self.state, process, flows, directory, now: self.now };
        match open_screen(&opening, work_item, &by) {
            Ok(_) => Err(format!("the screen of step `{}` can be shown", item.step)),
            Err(_) => Ok(Command::ReportScreenFailure { work_item, by }),
        }
    }

    /// The item of a step that asks whom the line names, or else the one that the actor may decide: by their own name, as a
    /// member, or for somebody else. Open ones first. Where there is none of these it is the step's first: what is tried with it
    /// is for the rules to refuse.
    fn item(&self, of: &ItemRef, by: &UserName) -> Result<WorkItemId, String> {
        let step = run_of(self.state, &of.step).ok_or_else(|| format!("step `{}` was never reached", of.step))?;
        let items = || step.work_items.iter();
        let open = || items().filter(|item| item.is_open());
        if let Some(assignee) = &of.assignee {
            let asks = |item: &&WorkItem| item.assignee == *assignee;
            let found = open().find(asks).or_else(|| items().rfind(asks));
            return found.map(|item| item.id).ok_or_else(|| format!("step `{}` does not ask {assignee}", of.step));
        }
        let own = |item: &&WorkItem| may_decide(&item.assignee, by, self.world.directory);
        let found = open()
            .find(own)
            .or_else(|| open().find(|item| self.may(step, item, by)))
            .or_else(|| items().rfind(own))
            .or_else(|| items().next());
        found.map(|item| item.id).ok_or_else(|| format!("step `{}` asks nobody", of.step))
    }

    fn may(&self, step: &StepRun, item: &WorkItem, by: &UserName) -> bool {
        let Surroundings { process, directory, .. } = *self.world;
        let deciding = Deciding { state: self.state, process, step, item: Some(item), directory, now: self.now };
        authorize_decision(&deciding, by).is_ok()
    }

    /// The item with an open question, where the line names none.
    fn questioned(&self, of: &ItemRef, by: &UserName) -> Result<WorkItemId, String> {
        let step = run_of(self.state, &of.step).filter(|_| of.assignee.is_none());
        let asked = step.and_then(|step| step.work_items.iter().find(|item| item.open_question().is_some()));
        asked.map_or_else(|| self.item(of, by), |item| Ok(item.id))
    }
}

/// Somebody in a test.
pub(super) fn actor(name: &UserName) -> Actor {
    Actor { name: name.clone(), administrator: name.as_str() == ADMINISTRATOR }
}

/// The latest run of a step, or that of a round.
pub(super) fn run_of<'s>(state: &'s Submission, of: &RunRef) -> Option<&'s StepRun> {
    let steps = state.stage_runs.iter().rev().flat_map(|stage| &stage.steps);
    steps.filter(|step| step.name == of.name).find(|step| of.round.is_none_or(|round| step.round == round))
}
