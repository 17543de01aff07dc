//! Who may decide. Every way of deciding asks here (DESIGN 9), and so does the assignment of work items (DESIGN 2.5,
//! separation of duties: checked when assigning and again when deciding).

use jiff::Timestamp;

use crate::{
    definition::{ApprovalStep, Process, StepKind},
    directory::Directory,
    id::UserName,
    refusal::Refusal,
    state::{Assignee, StepRun, Submission, Verdict, WorkItem},
};

use super::delegates;

/// A work item, and all that says who may decide it.
#[derive(Clone, Copy)]
pub struct Deciding<'a> {
    /// The submission.
    pub state: &'a Submission,
    /// The process version that it is on.
    pub process: &'a Process,
    /// The step run that the item is of.
    pub step: &'a StepRun,
    /// The item; none where an administrator overrides the whole step. That they are one is for the caller to see to.
    pub item: Option<&'a WorkItem>,
    /// The people.
    pub directory: &'a Directory,
    /// The time: delegations are for a time.
    pub now: Timestamp,
}

/// By which right somebody decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// The item asks them.
    Own,
    /// The item asks a group or a queue that they are a member of.
    Membership,
    /// They act for somebody whom the item asks.
    Delegation {
        /// The delegation's name.
        name: String,
        /// Whom they act for: the assignee, or a member of the group or queue that is.
        person: UserName,
    },
    /// They are an administrator, who decides over the heads of those who are asked.
    Override,
}

/// Whether this person may decide this work item, and by which right; the refusal says what stands against it.
pub fn authorize_decision(deciding: &Deciding<'_>, actor: &UserName) -> Result<Right, Refusal> {
    let Deciding { item, directory, .. } = deciding;
    if !directory.is_active(actor.as_str()) {
        return Err(Refusal::NotActive { actor: actor.clone() });
    }
    if let Some(item) = item
        && !may_decide(&item.assignee, actor, directory)
    {
        return delegates::authorize_delegate(deciding, item, actor);
    }
    if let Some(why) = deciding.barred(actor.as_str()) {
        return Err(Refusal::SeparationOfDuties { actor: actor.clone(), why });
    }
    // An override is no vote: it stands above all of them, their own among them.
    let Some(item) = item else { return Ok(Right::Override) };
    deciding.check_one_vote(actor.as_str())?;
    deciding.check_claim(item, actor)?;
    Ok(match item.assignee {
        Assignee::User(_) => Right::Own,
        Assignee::Group(_) | Assignee::Queue(_) => Right::Membership,
    })
}

impl Deciding<'_> {
    /// What stands against a person deciding in this step, whoever asks them.
    pub(super) fn barred(&self, person: &str) -> Option<String> {
        barred(self.state, &separation(self.process, &self.step.name), person)
    }

    /// Whether somebody else keeps the item for themselves. A claim ends by its time, also before anybody has noticed.
    pub(super) fn check_claim(&self, item: &WorkItem, person: &UserName) -> Result<(), Refusal> {
        match &item.claim {
            Some(claim) if claim.by != *person && claim.holds(self.now) => {
                Err(Refusal::ClaimedByAnother { by: claim.by.clone(), until: claim.until })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the step counts people.
    pub(super) fn counts_people(&self) -> bool {
        approval_step(self.process, &self.step.name).is_none_or(|step| step.decision.counts_people())
    }

    /// A person has one vote in a step, however many of its work items ask them, and whether they cast it themselves, somebody
    /// cast it for them or they cast it for somebody. Where nobody is counted, an abstention on one of the items leaves the
    /// others open (DESIGN 2.5).
    pub(super) fn check_one_vote(&self, person: &str) -> Result<(), Refusal> {
        let counts = self.counts_people();
        let cast = self.step.work_items.iter().filter_map(|item| Some((item.decision.as_ref()?, item.closed_at?)));
        let mut theirs = cast.filter(|(decision, _)| decision.is_of(person));
        match theirs.find(|(decision, _)| counts || decision.verdict != Verdict::Abstain) {
            Some((decision, at)) => {
                Err(Refusal::AlreadyDecided { by: decision.actor.clone(), at, verdict: decision.verdict })
            }
            None => Ok(()),
        }
    }
}

/// Whether an assignee is this person, or has them among its members.
pub fn may_decide(assignee: &Assignee, actor: &UserName, directory: &Directory) -> bool {
    let member = |members: Option<std::collections::BTreeSet<&str>>| {
        members.is_some_and(|members| members.contains(actor.as_str()))
    };
    match assignee {
        Assignee::User(name) => name == actor.as_str(),
        Assignee::Group(name) => member(directory.members_of_group(name)),
        Assignee::Queue(name) => member(directory.members_of_queue(name)),
    }
}

/// Whom a step keeps apart from whom.
pub(super) struct Separation<'p> {
    /// Whether the submitter, and whoever they acted for, may decide.
    allow_submitter: bool,
    /// The steps whose deciders may not decide in this one.
    distinct_from: Vec<&'p str>,
}

/// What a step says of separation. It does not matter which of two steps names the other as one to differ from: they may run
/// side by side, and then either may be decided first.
pub(super) fn separation<'p>(process: &'p Process, step: &str) -> Separation<'p> {
    let own = approval_step(process, step);
    let named = own.into_iter().flat_map(|step| &step.distinct_from).map(String::as_str);
    let naming = approval_steps(process).filter(|(_, other)| other.distinct_from.iter().any(|name| name == step));
    Separation {
        allow_submitter: own.is_some_and(|step| step.allow_submitter),
        distinct_from: named.chain(naming.map(|(name, _)| name)).collect(),
    }
}

/// What stands against a person deciding, whoever asks them; `None` when nothing does.
pub(super) fn barred(state: &Submission, separation: &Separation<'_>, person: &str) -> Option<String> {
    if !separation.allow_submitter {
        if person == state.submitter.as_str() {
            return Some("the submitter may not decide on their own submission".to_owned());
        }
        if state.on_behalf_of.as_ref().is_some_and(|name| name.as_str() == person) {
            return Some("the submission was made on their behalf".to_owned());
        }
    }
    let steps = state.stage_runs.iter().flat_map(|stage| &stage.steps);
    steps
        .filter(|step| separation.distinct_from.contains(&step.name.as_str()))
        .find(|step| decided_in(step, person))
        .map(|step| format!("they decided in step `{}`, and this step asks for somebody else", step.name))
}

fn decided_in(step: &StepRun, person: &str) -> bool {
    step.deciders().any(|decider| decider.as_str() == person)
}

/// The approval step of this name.
pub(super) fn approval_step<'p>(process: &'p Process, name: &str) -> Option<&'p ApprovalStep> {
    approval_steps(process).find(|(other, _)| *other == name).map(|(_, step)| step)
}

fn approval_steps(process: &Process) -> impl Iterator<Item = (&str, &ApprovalStep)> {
    let steps = process.stages.iter().flat_map(|stage| &stage.steps);
    steps.filter_map(|step| match &step.kind {
        StepKind::Approval(approval) => Some((step.name.as_str(), approval)),
        StepKind::Background(_) => None,
    })
}
