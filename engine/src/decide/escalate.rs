//! Escalation: as time passes, others are asked as well, or instead (DESIGN 2.5). Whom is resolved as when the step started, with
//! the same separation of duties. That nobody can be found is told in the history, and fails nothing: those who were asked still
//! are.

use crate::{
    decision_rule::{ASKED_MAX, Votes},
    definition::{ApprovalStep, Escalation},
    event::EventKind,
    id::{StepRunId, WorkItemId},
    state::{Assignee, Decision, StepRun, WorkItem},
    status::WorkItemStatus,
};

use super::{
    assignees::{Asking, Found, Vetoes},
    authorize::{approval_step, separation},
    draft::Draft,
};

/// What an escalation comes to.
struct Escalated {
    found: Vec<Found>,
    /// Open work items that go.
    replaced: Vec<WorkItemId>,
    /// Why others are not asked.
    reasons: Vec<String>,
}

impl Draft<'_, '_> {
    /// Carries out the next escalation of a step run.
    pub(super) fn escalate(&mut self, step_run: StepRunId) {
        let Some((_, run)) = self.state.step_run(step_run) else { return };
        let done = usize::try_from(run.escalated).unwrap_or(usize::MAX);
        let number = run.deadlines.escalations.get(done).map_or(0, |escalation| escalation.number);
        let name = run.name.clone();
        let step = approval_step(self.context.process, &name);
        let rule =
            step.and_then(|step| Some((step, step.escalate.get(usize::try_from(number).ok()?.checked_sub(1)?)?)));
        let escalated = match rule {
            Some((step, rule)) => self.look_for_others(step_run, &name, step, rule),
            None => Err(vec!["the process has no such escalation any more".to_owned()]),
        };
        let Escalated { found, replaced, reasons } =
            escalated.unwrap_or_else(|reasons| Escalated { found: Vec::new(), replaced: Vec::new(), reasons });
        self.emit(EventKind::StepEscalated { step_run, escalation: number, replaced: replaced.clone(), reasons });
        for work_item in replaced {
            self.emit(EventKind::WorkItemClosed { work_item, status: WorkItemStatus::Withdrawn });
        }
        let veto_by = step.map_or(&[][..], |step| &step.veto_by);
        let vetoes = Vetoes::of(veto_by, self.context.directory);
        for Found { assignee, reason, weight } in found {
            let work_item = WorkItemId(self.context.ids.uuid());
            let reason = format!("escalation {number}: {reason}");
            let veto = vetoes.holds(&assignee);
            self.emit(EventKind::WorkItemAssigned { work_item, step_run, assignee, reason, weight, veto });
        }
    }

    /// Whom an escalation asks besides and whose work items go; `Err` says why nothing changes.
    fn look_for_others(
        &mut self,
        step_run: StepRunId,
        name: &str,
        step: &ApprovalStep,
        rule: &Escalation,
    ) -> Result<Escalated, Vec<String>> {
        let separation = separation(self.context.process, name);
        let mut resolution = self
            .resolve(Asking { name, step, separation: &separation }, &rule.to)
            .map_err(|failure| vec![failure.message])?;
        let Some((_, run)) = self.state.step_run(step_run) else { return Err(Vec::new()) };
        let named: Vec<Assignee> = resolution.found.iter().map(|found| found.assignee.clone()).collect();
        let (already, found): (Vec<_>, Vec<_>) =
            std::mem::take(&mut resolution.found).into_iter().partition(|found| is_asked(run, &found.assignee));
        for found in already {
            resolution.leave_out(format!("{} is asked already", found.assignee));
        }
        let replaced: Vec<WorkItemId> = if rule.replace {
            run.work_items
                .iter()
                .filter(|item| item.is_open() && !named.contains(&item.assignee))
                .map(|item| item.id)
                .collect()
        } else {
            Vec::new()
        };
        let is_kept = |item: &&WorkItem| item.is_open() && !replaced.contains(&item.id);
        let nobody_new = found.is_empty() && (replaced.is_empty() || !run.work_items.iter().any(|item| is_kept(&item)));
        let against = if nobody_new {
            Some("nobody else can be asked".to_owned())
        } else {
            roster_unfit(run, step, &found, &replaced)
        };
        let mut reasons = resolution.reasons_left_out();
        match against {
            Some(why) => {
                reasons.push(why);
                Err(reasons)
            }
            None => Ok(Escalated { found, replaced, reasons }),
        }
    }
}

/// What stands against asking these besides, without those.
fn roster_unfit(run: &StepRun, step: &ApprovalStep, found: &[Found], replaced: &[WorkItemId]) -> Option<String> {
    let stays = run.work_items.iter().filter(|item| !item.replaced && !replaced.contains(&item.id)).count();
    if stays + found.len() > ASKED_MAX as usize {
        return Some(format!("{} would be asked: at most {ASKED_MAX} can be", stays + found.len()));
    }
    let gone = run.work_items.iter().filter(|item| replaced.contains(&item.id)).map(|item| item.weight);
    let votes = Votes::of(run);
    let asked = votes.asked.saturating_sub(gone.sum()) + found.iter().map(|found| found.weight).sum::<u32>();
    // Time alone settles nothing but by `expire`: not by leaving too few to decide, and not by leaving none but those who have.
    step.decision
        .outcome(Votes { asked, ..votes })
        .map(|_| "with these the step would be settled by nobody's decision".to_owned())
}

/// Whether somebody is asked in a step run, or has decided.
fn is_asked(run: &StepRun, assignee: &Assignee) -> bool {
    run.work_items.iter().any(|item| {
        let decided = |decision: &Decision| match assignee {
            Assignee::User(name) => decision.is_of(name),
            Assignee::Group(_) | Assignee::Queue(_) => item.assignee == *assignee,
        };
        (item.is_open() && item.assignee == *assignee) || item.decision.as_ref().is_some_and(decided)
    })
}
