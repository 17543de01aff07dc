//! Whom an approval step asks.

use std::collections::BTreeMap;

use serde_saphyr::Spanned;

use super::{Checker, Named, expressions::Wanted};
use crate::{
    decision_rule::WEIGHT_MAX,
    definition::{AssignRule, DecisionRule, Quorum, UserOrGroup, Whom, source},
};

/// How many rules name whom to ask. More people than this are a group.
pub const ASSIGN_RULES_MAX: usize = 50;

/// How many levels up a manager may be asked for. No organisation is deeper, but a loop in a directory is.
pub const MANAGER_LEVELS_MAX: u32 = 10;

const ONE_RULE: &str =
    "say one of `user`, `group`, `queue`, `manager_of`, `expression` and `chosen_by_submitter` in each rule";

/// Where rules of assignment stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In `assign`.
    First,
    /// In `on_no_approvers`.
    Fallback,
    /// In `escalate`.
    Escalation,
}

impl Checker<'_> {
    pub(super) fn assign(
        &mut self,
        rules: &Spanned<Vec<Spanned<source::Assign>>>,
        path: &str,
        decision: DecisionRule,
        standing: Standing,
    ) -> Option<Vec<AssignRule>> {
        let rules = self.list(rules, path, "user, group, queue or manager", ASSIGN_RULES_MAX);
        let mut choices = 0;
        let checked: Vec<Option<AssignRule>> = (rules.iter().enumerate())
            .map(|(index, rule)| {
                let path = format!("{path}[{index}]");
                let rule_of = self.assign_rule(rule, &path, decision);
                if let Some(chosen) = &rule.value.chosen_by_submitter {
                    choices += 1;
                    let path = format!("{path}.chosen_by_submitter");
                    match standing {
                        Standing::Fallback => {
                            let message =
                                "whom the submitter chose cannot be what follows when nobody is found; name others";
                            self.error(chosen, &path, message);
                        }
                        Standing::Escalation => {
                            let message = "the submitter chooses whom the step asks when it starts; name others here";
                            self.error(chosen, &path, message);
                        }
                        Standing::First if choices > 1 => {
                            let message = "the submitter chooses once for a step; make one rule of the two";
                            self.error(chosen, &path, message);
                        }
                        Standing::First => {}
                    }
                }
                if let (Some(manager), false) = (&rule.value.manager_of_assignee, standing == Standing::Escalation) {
                    let message = "nobody is asked before these are; this is for `escalate`";
                    self.error(manager, &format!("{path}.manager_of_assignee"), message);
                }
                rule_of
            })
            .collect();
        checked.into_iter().collect()
    }

    fn assign_rule(
        &mut self,
        rule: &Spanned<source::Assign>,
        path: &str,
        decision: DecisionRule,
    ) -> Option<AssignRule> {
        let source::Assign { manager_of, manager_of_assignee, chosen_by_submitter, levels, from, weight, .. } =
            &rule.value;
        if let (Some(levels), None, None) = (levels, manager_of, manager_of_assignee) {
            self.error(levels, &format!("{path}.levels"), "only a manager has levels");
        }
        if let (Some(from), None) = (from, chosen_by_submitter) {
            self.error(from, &format!("{path}.from"), "only `chosen_by_submitter` has people to choose from");
        }
        let whom = self.whom(rule, path, decision);
        let path = format!("{path}.weight");
        if let (Some(weight), false) = (weight, matches!(decision.approve, Quorum::Weight(_))) {
            let message =
                "nothing is weighed with this decision rule; write `decision: { weight: w }`, or leave this out";
            self.error(weight, &path, message);
        }
        let weight = self.number(weight.as_ref(), &path, (1, WEIGHT_MAX), 1);
        Some(AssignRule { whom: whom?, weight })
    }

    fn whom(&mut self, rule: &Spanned<source::Assign>, path: &str, decision: DecisionRule) -> Option<Whom> {
        let source::Assign {
            user,
            group,
            queue,
            manager_of,
            expression,
            chosen_by_submitter,
            manager_of_assignee,
            levels,
            from,
            weight: _,
        } = &rule.value;
        let others = [user, group, queue, manager_of, expression].iter().any(|other| other.is_some());
        if let Some(manager) = manager_of_assignee {
            if others || chosen_by_submitter.is_some() {
                self.error(rule, path, ONE_RULE);
                return None;
            }
            if !manager.value {
                let path = format!("{path}.manager_of_assignee");
                self.error(manager, &path, "`manager_of_assignee` can only be true; leave the rule out otherwise");
            }
            let levels = self.number(levels.as_ref(), &format!("{path}.levels"), (1, MANAGER_LEVELS_MAX), 1);
            return Some(Whom::ManagerOfAssignee { levels });
        }
        match (user, group, queue, manager_of, expression, chosen_by_submitter) {
            (Some(name), None, None, None, None, None) => {
                self.principal(name, &format!("{path}.user"), Named::User);
                Some(Whom::User(name.value.clone()))
            }
            (None, Some(name), None, None, None, None) => {
                self.principal(name, &format!("{path}.group"), Named::Group);
                Some(Whom::Group(name.value.clone()))
            }
            (None, None, Some(name), None, None, None) => {
                let path = format!("{path}.queue");
                self.principal(name, &path, Named::Queue);
                if decision.approve != Quorum::Any {
                    let message = "a queue has no members to count: with this decision rule every person has a work item \
                                   of their own; name a group";
                    self.error(name, &path, message);
                }
                Some(Whom::Queue(name.value.clone()))
            }
            (None, None, None, Some(user), None, None) => {
                let levels = self.number(levels.as_ref(), &format!("{path}.levels"), (1, MANAGER_LEVELS_MAX), 1);
                let user = self.expression(user, &format!("{path}.manager_of"), Wanted::Text)?;
                Some(Whom::ManagerOf { user, levels })
            }
            (None, None, None, None, Some(expression), None) => {
                self.expression(expression, &format!("{path}.expression"), Wanted::Assignees).map(Whom::Expression)
            }
            (None, None, None, None, None, Some(chosen)) => {
                if !chosen.value {
                    let path = format!("{path}.chosen_by_submitter");
                    self.error(chosen, &path, "`chosen_by_submitter` can only be true; leave the rule out otherwise");
                }
                let from = from.as_ref().map(|from| self.users_and_groups(from, &format!("{path}.from")));
                Some(Whom::ChosenBySubmitter {
                    from: match from {
                        Some(from) => Some(from?),
                        None => None,
                    },
                })
            }
            _ => {
                self.error(rule, path, ONE_RULE);
                None
            }
        }
    }

    /// Users and groups.
    pub(super) fn users_and_groups(
        &mut self,
        people: &Spanned<Vec<Spanned<source::UserOrGroup>>>,
        path: &str,
    ) -> Option<Vec<UserOrGroup>> {
        let people = self.list(people, path, "user or group", ASSIGN_RULES_MAX);
        let checked: Vec<Option<UserOrGroup>> = (people.iter().enumerate())
            .map(|(index, person)| {
                let path = format!("{path}[{index}]");
                match (&person.value.user, &person.value.group) {
                    (Some(name), None) => {
                        self.principal(name, &format!("{path}.user"), Named::User);
                        Some(UserOrGroup::User(name.value.clone()))
                    }
                    (None, Some(name)) => {
                        self.principal(name, &format!("{path}.group"), Named::Group);
                        Some(UserOrGroup::Group(name.value.clone()))
                    }
                    _ => {
                        self.error(person, &path, "say one of `user` and `group`");
                        None
                    }
                }
            })
            .collect();
        checked.into_iter().collect()
    }

    /// Where all who are asked can be counted from the text, a rule that needs more of them can never be met.
    pub(super) fn enough_people(&mut self, source: &source::Approval, decision: DecisionRule, path: &str) {
        let (needed, field) = match decision.approve {
            Quorum::AtLeast(needed) => (needed, "at_least"),
            Quorum::Weight(needed) => (needed, "weight"),
            Quorum::Any | Quorum::All | Quorum::Percent(_) => return,
        };
        let rules = || source.assign.value.iter().map(|rule| &rule.value);
        let countable = |rule: &source::Assign| rule.user.is_some() || rule.manager_of.is_some();
        if !rules().all(countable) {
            return;
        }
        let weight = |rule: &source::Assign| rule.weight.as_ref().map_or(1, |weight| u64::from(weight.value));
        let mut users: BTreeMap<&str, u64> = BTreeMap::new();
        for rule in rules() {
            if let Some(user) = &rule.user {
                let heaviest = users.entry(user.value.as_str()).or_default();
                *heaviest = weight(rule).max(*heaviest);
            }
        }
        let managers = rules().filter(|rule| rule.manager_of.is_some()).map(weight);
        let most = users.into_values().chain(managers).fold(0, u64::saturating_add);
        if let Some(decision) = &source.decision
            && most < u64::from(needed)
            && most > 0
        {
            let message = match field {
                "weight" => format!("a weight of {needed} can never be reached: those who are asked weigh only {most}"),
                _ => format!("{needed} approvals can never be reached: only {most} people are asked"),
            };
            self.error(decision, &format!("{path}.decision.{field}"), message);
        }
    }
}
