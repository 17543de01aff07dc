//! Whom an approval step asks: from the rules of its definition to people and teams, with the reason for each (DESIGN 2.5).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    decision_rule::ASKED_MAX,
    definition::{ApprovalStep, AssignRule, DecisionRule, Quorum, UserOrGroup, Whom},
    directory::{Directory, check_name},
    expression::{Expression, Value},
    state::{Assignee, Failure, FailureReason, StepRun},
};

use super::{
    authorize::{Separation, barred},
    draft::Draft,
};

/// How much of an expression a reason repeats, in characters: each of a thousand work items has one.
const REASON_SOURCE_CHARACTERS_MAX: usize = 200;

/// Of how many who were left out an error or an event tells: whoever reads it looks at one after the other.
const LEFT_OUT_TOLD_MAX: usize = 20;

/// An approval step that looks for people.
#[derive(Clone, Copy)]
pub(super) struct Asking<'p> {
    pub(super) name: &'p str,
    pub(super) step: &'p ApprovalStep,
    pub(super) separation: &'p Separation<'p>,
}

/// Whom assignment rules come to, and what stands against those who were left out.
#[derive(Default)]
pub(super) struct Resolution {
    /// In the order of the rules; each assignee once.
    pub(super) found: Vec<Found>,
    /// Where in `found` an assignee is.
    places: BTreeMap<Assignee, usize>,
    /// Why others were not asked, in the order of the rules; each reason once.
    left_out: Vec<String>,
    /// What `left_out` holds, to look it up: a group may have many members.
    left_out_known: BTreeSet<String>,
}

/// Somebody to ask.
pub(super) struct Found {
    pub(super) assignee: Assignee,
    /// Why them.
    pub(super) reason: String,
    /// What their vote weighs.
    pub(super) weight: u32,
}

impl Resolution {
    /// Of several rules that name somebody the heaviest counts, and it is the reason.
    fn add(&mut self, assignee: Assignee, reason: String, weight: u32) {
        match self.places.get(&assignee).and_then(|place| self.found.get_mut(*place)) {
            None => {
                self.places.insert(assignee.clone(), self.found.len());
                self.found.push(Found { assignee, reason, weight });
            }
            Some(found) if found.weight < weight => {
                found.reason = reason;
                found.weight = weight;
            }
            Some(_) => {}
        }
    }

    /// Whether those found can settle the step at all.
    pub(super) fn check_enough(&self, decision: DecisionRule) -> Result<(), Failure> {
        let weigh = |found: &Found| u64::from(found.weight);
        let (found, needed) = match decision.approve {
            Quorum::Weight(needed) => (self.found.iter().map(weigh).sum(), needed),
            Quorum::AtLeast(needed) => (self.found.len() as u64, needed),
            Quorum::Any | Quorum::All | Quorum::Percent(_) => (self.found.len() as u64, 1),
        };
        if found >= u64::from(needed) {
            return Ok(());
        }
        let why = self.reasons_left_out().join("; ");
        let why = if why.is_empty() { why } else { format!(": {why}") };
        let message = match decision.approve {
            Quorum::Weight(_) => format!("those who can be asked weigh {found} of the {needed} that it takes{why}"),
            _ => format!("{found} of the {needed} people that it takes can be asked{why}"),
        };
        Err(no_approvers(message))
    }

    pub(super) fn leave_out(&mut self, why: String) {
        if self.left_out_known.insert(why.clone()) {
            self.left_out.push(why);
        }
    }

    /// These instead of those that the rules before had come to; who was left out by them stays so.
    pub(super) fn in_place_of(mut self, before: Self) -> Self {
        let own = std::mem::replace(&mut self.left_out, before.left_out);
        self.left_out_known = before.left_out_known;
        for why in own {
            self.leave_out(why);
        }
        self
    }

    /// Why others were not asked, as far as it is told of.
    pub(super) fn reasons_left_out(&self) -> Vec<String> {
        let mut told: Vec<String> = self.left_out.iter().take(LEFT_OUT_TOLD_MAX).cloned().collect();
        if self.left_out.len() > told.len() {
            told.push(format!("and {} more", self.left_out.len() - told.len()));
        }
        told
    }
}

/// Whose rejection settles a step, as the directory has it when the step starts.
pub(super) struct Vetoes<'d> {
    users: BTreeSet<&'d str>,
    groups: BTreeSet<&'d str>,
}

impl<'d> Vetoes<'d> {
    pub(super) fn of(rules: &'d [UserOrGroup], directory: &'d Directory) -> Self {
        let mut vetoes = Self { users: BTreeSet::new(), groups: BTreeSet::new() };
        for rule in rules {
            match rule {
                UserOrGroup::User(name) => {
                    vetoes.users.insert(name);
                }
                UserOrGroup::Group(name) => {
                    vetoes.groups.insert(name);
                    vetoes.users.extend(directory.members_of_group(name).unwrap_or_default());
                }
            }
        }
        vetoes
    }

    /// Whether somebody who is asked holds a veto. A work item that a group shares has one only where the group itself was
    /// named; with the rule `any`, the only one that shares items, each rejection settles the step anyway.
    pub(super) fn holds(&self, assignee: &Assignee) -> bool {
        match assignee {
            Assignee::User(name) => self.users.contains(name.as_str()),
            Assignee::Group(name) => self.groups.contains(name.as_str()),
            Assignee::Queue(_) => false,
        }
    }
}

impl Draft<'_, '_> {
    /// Whom these rules come to now.
    pub(super) fn resolve(&mut self, asking: Asking<'_>, rules: &[AssignRule]) -> Result<Resolution, Failure> {
        let mut resolution = Resolution::default();
        for AssignRule { whom, weight } in rules {
            match whom {
                Whom::User(name) => self.add(asking, Assignee::User(name.clone()), "", *weight, &mut resolution)?,
                Whom::Group(name) => self.add(asking, Assignee::Group(name.clone()), "", *weight, &mut resolution)?,
                Whom::Queue(name) => self.add(asking, Assignee::Queue(name.clone()), "", *weight, &mut resolution)?,
                Whom::ManagerOf { user, levels } => {
                    self.add_manager(asking, (user, *levels), *weight, &mut resolution)?;
                }
                Whom::ManagerOfAssignee { levels } => {
                    self.add_managers_of_assignees(asking, *levels, *weight, &mut resolution);
                }
                Whom::Expression(expression) => self.add_named(asking, expression, *weight, &mut resolution)?,
                Whom::ChosenBySubmitter { .. } => self.add_chosen(asking, *weight, &mut resolution),
            }
        }
        // Nobody is left out in silence: whoever is not asked would not be counted either.
        if resolution.found.len() > ASKED_MAX as usize {
            let message = format!("{} would be asked: at most {ASKED_MAX} can be", resolution.found.len());
            return Err(no_approvers(message));
        }
        Ok(resolution)
    }

    fn add_manager(
        &mut self,
        asking: Asking<'_>,
        (user, levels): (&Expression, u32),
        weight: u32,
        resolution: &mut Resolution,
    ) -> Result<(), Failure> {
        let Value::String(name) = self.evaluate(user)? else {
            return Err(no_approvers(format!("`manager_of: {}` does not give the name of a user", user.source())));
        };
        match self.context.directory.manager_of(&name, levels) {
            Ok(manager) => {
                let reason = format!("manager_of {} = {name}, {levels} up: {manager}", user.source());
                self.add_person(asking, manager.as_str(), reason, weight, resolution);
            }
            Err(reason) => resolution.leave_out(reason),
        }
        Ok(())
    }

    /// The managers of those who are asked and have not decided. A group or a queue has none, unless somebody has claimed its
    /// work item.
    fn add_managers_of_assignees(&self, asking: Asking<'_>, levels: u32, weight: u32, resolution: &mut Resolution) {
        let latest = self.state.latest_steps();
        let items = latest.get(asking.name).map_or(&[][..], |run| &run.work_items);
        for item in items.iter().filter(|item| item.is_open()) {
            // Whoever has taken it upon themselves is the one who is asked.
            let claim = item.claim.as_ref().filter(|claim| claim.holds(self.context.now));
            let name = match (claim, &item.assignee) {
                (Some(claim), _) => claim.by.as_str(),
                (None, Assignee::User(name)) => name,
                (None, Assignee::Group(_) | Assignee::Queue(_)) => {
                    resolution.leave_out(format!("{} is no person, and has no manager", item.assignee));
                    continue;
                }
            };
            match self.context.directory.manager_of(name, levels) {
                Ok(manager) => {
                    let reason = format!("manager_of_assignee = {name}, {levels} up: {manager}");
                    self.add_person(asking, manager.as_str(), reason, weight, resolution);
                }
                Err(reason) => resolution.leave_out(reason),
            }
        }
    }

    /// Those whom an expression names.
    fn add_named(
        &mut self,
        asking: Asking<'_>,
        expression: &Expression,
        weight: u32,
        resolution: &mut Resolution,
    ) -> Result<(), Failure> {
        let source: String = expression.source().chars().take(REASON_SOURCE_CHARACTERS_MAX).collect();
        let value = self.evaluate(expression)?;
        let names = names(&value).map_err(|given| {
            no_approvers(format!(
                "`expression: {source}` gives {given}; a text such as 'bob' or 'group:finance', or a list of such texts, \
                 is needed"
            ))
        })?;
        if names.is_empty() {
            resolution.leave_out(format!("`expression: {source}` names nobody"));
        }
        for name in names {
            let assignee = assignee(name);
            match check_name(assignee.name()) {
                Ok(()) => self.add(asking, assignee, &format!("expression {source}: "), weight, resolution)?,
                Err(error) => resolution.leave_out(format!("`expression: {source}`: {error}")),
            }
        }
        Ok(())
    }

    /// Those whom the submitter chose for the step; whether they could was checked when they did.
    fn add_chosen(&self, asking: Asking<'_>, weight: u32, resolution: &mut Resolution) {
        let submitter = &self.state.submitter;
        let Some(names) = self.state.choices.get(asking.name) else {
            resolution.leave_out(format!("`{submitter}` chose nobody"));
            return;
        };
        for name in names {
            self.add_person(asking, name, format!("chosen by {submitter}: user {name}"), weight, resolution);
        }
    }

    /// A person; or a group or a queue: one work item for all of it, or, where people are counted, one for each of its members.
    fn add(
        &self,
        asking: Asking<'_>,
        assignee: Assignee,
        because: &str,
        weight: u32,
        resolution: &mut Resolution,
    ) -> Result<(), Failure> {
        let reason = format!("{because}{} {}", assignee.kind(), assignee.name());
        let members = match &assignee {
            Assignee::User(name) => {
                self.add_person(asking, name, reason, weight, resolution);
                return Ok(());
            }
            Assignee::Group(name) => self.context.directory.members_of_group(name),
            Assignee::Queue(name) => {
                if asking.step.decision.counts_people() {
                    let message =
                        format!("{reason} has no members to count: every person has a work item of their own here");
                    return Err(no_approvers(message));
                }
                self.context.directory.members_of_queue(name)
            }
        };
        let Some(members) = members else {
            resolution.leave_out(format!("there is no {} `{}`", assignee.kind(), assignee.name()));
            return Ok(());
        };
        if asking.step.decision.counts_people() {
            for member in members {
                self.add_person(asking, member, format!("{reason}: member {member}"), weight, resolution);
            }
        } else if members.iter().any(|member| self.unfit(asking, member).is_none()) {
            resolution.add(assignee, reason, weight);
        } else {
            resolution.leave_out(format!("{reason} has no member who is active and may decide"));
        }
        Ok(())
    }

    fn add_person(&self, asking: Asking<'_>, name: &str, reason: String, weight: u32, resolution: &mut Resolution) {
        match self.unfit(asking, name) {
            Some(why) => resolution.leave_out(why),
            None => resolution.add(Assignee::User(name.to_owned()), reason, weight),
        }
    }

    /// What stands against asking somebody in place of another; `None` when nothing does. It is what stands against asking them
    /// first, and that they are asked already.
    pub(super) fn unfit_in_place(&self, asking: Asking<'_>, run: &StepRun, to: &Assignee) -> Option<String> {
        // Whom others were asked instead of is asked no more.
        if run.work_items.iter().any(|item| item.assignee == *to && !item.replaced) {
            return Some("they are asked in this step already".to_owned());
        }
        let decided = |name: &str| {
            let mut decisions = run.work_items.iter().filter_map(|item| item.decision.as_ref());
            decisions.any(|decision| decision.is_of(name))
        };
        let members = match to {
            Assignee::User(name) if decided(name) => return Some("they have decided in this step already".to_owned()),
            Assignee::User(name) => return self.unfit(asking, name),
            Assignee::Group(_) | Assignee::Queue(_) if asking.step.decision.counts_people() => {
                return Some("every person has a work item of their own here: name a user".to_owned());
            }
            Assignee::Group(name) => self.context.directory.members_of_group(name),
            Assignee::Queue(name) => self.context.directory.members_of_queue(name),
        };
        match members {
            None => Some(format!("there is no {} `{}`", to.kind(), to.name())),
            Some(members) if members.iter().all(|member| self.unfit(asking, member).is_some()) => {
                Some(format!("{} {} has no member who is active and may decide", to.kind(), to.name()))
            }
            Some(_) => None,
        }
    }

    /// What stands against asking a person.
    fn unfit(&self, asking: Asking<'_>, name: &str) -> Option<String> {
        match self.context.directory.users.get(name) {
            None => Some(format!("there is no user `{name}`")),
            Some(user) if !user.active => Some(format!("user `{name}` is not active")),
            Some(_) => barred(&self.state, asking.separation, name).map(|why| format!("user `{name}` may not: {why}")),
        }
    }
}

/// The texts that a value is; `Err` says what it is instead.
fn names(value: &Value) -> Result<Vec<&str>, String> {
    match value {
        Value::String(name) => Ok(vec![name]),
        Value::List(elements) => {
            let name = |element: &'_ Value| match element {
                Value::String(_) => Ok(()),
                other => Err(format!("a list that holds {}", other.type_name())),
            };
            elements.iter().try_for_each(name)?;
            Ok(elements
                .iter()
                .filter_map(|element| if let Value::String(name) = element { Some(&**name) } else { None })
                .collect())
        }
        other => Err(other.type_name().to_owned()),
    }
}

/// `user:bob`, `group:finance`, `queue:intake`; all else is the name of a user as it stands.
fn assignee(text: &str) -> Assignee {
    let named = text.split_once(':').and_then(|(kind, name)| Assignee::from_parts(kind, name));
    named.unwrap_or_else(|| Assignee::User(text.to_owned()))
}

fn no_approvers(message: String) -> Failure {
    Failure { reason: FailureReason::NoApprovers, message }
}
