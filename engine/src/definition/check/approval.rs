//! Approval steps: whom they ask, and how decisions add up.

use std::collections::BTreeSet;

use serde_saphyr::Spanned;

use super::{Checker, Named, Text, expressions::Wanted, process::Facts, shorten};
use crate::definition::{
    ApprovalStep, AssignRule, DecisionRule, FlowType, OnNoApprovers, Quorum, RejectRule,
    source::{self, WordOr},
};

/// How many rules name whom to ask. More people than this are a group.
pub const ASSIGN_RULES_MAX: usize = 50;

/// How many steps one step's deciders must differ from.
pub const DISTINCT_FROM_MAX: usize = 50;

/// How many levels up a manager may be asked for. No organisation is deeper, but a loop in a directory is.
pub const MANAGER_LEVELS_MAX: u32 = 10;

/// How many people a rule may count. A directory holds more, but nobody waits for so many.
const PEOPLE_MAX: u32 = 10_000;

const ANY: DecisionRule = DecisionRule { approve: Quorum::Any, reject: RejectRule::Any };

impl Checker<'_> {
    pub(super) fn approval(
        &mut self,
        step: &Text,
        source: &source::Approval,
        path: &str,
        facts: &Facts<'_>,
    ) -> Option<ApprovalStep> {
        let decision =
            source.decision.as_ref().map_or(ANY, |decision| self.decision(decision, &format!("{path}.decision")));
        let assign = self.assign(&source.assign, &format!("{path}.assign"), decision);
        self.enough_people(source, decision, path);
        let exit = source.complete.as_ref().map(|exit| self.condition(&exit.when, &format!("{path}.complete.when")));
        let on_no_approvers = self.on_no_approvers(source, &format!("{path}.on_no_approvers"), decision);
        self.distinct_from(step, &source.distinct_from, &format!("{path}.distinct_from"), facts);
        if let Some(screen) = &source.screen {
            self.flow_of_type(screen, &format!("{path}.screen"), FlowType::Screen, "a screen");
        }
        Some(ApprovalStep {
            assign: assign?,
            decision,
            exit: match exit {
                Some(exit) => Some(exit?),
                None => None,
            },
            on_no_approvers: on_no_approvers?,
            distinct_from: source.distinct_from.iter().map(|name| name.value.clone()).collect(),
            allow_submitter: source.allow_submitter,
        })
    }

    fn decision(&mut self, source: &Spanned<WordOr<source::Decision>>, path: &str) -> DecisionRule {
        let all = DecisionRule { approve: Quorum::All, reject: RejectRule::Unreachable };
        let rule = match &source.value {
            WordOr::Word(word) => {
                let or = ["{ at_least: n }", "{ percent: p }"];
                return self.word_or(source, word, path, &[("any", ANY), ("all", all)], &or).unwrap_or(ANY);
            }
            WordOr::Object(rule) => rule,
        };
        let approve = match (&rule.all, &rule.at_least, &rule.percent) {
            (Some(all), None, None) => {
                if !all.value {
                    self.error(all, &format!("{path}.all"), "`all` can only be true; leave it out for `any`");
                }
                Quorum::All
            }
            (None, Some(n), None) => {
                Quorum::AtLeast(self.number(Some(n), &format!("{path}.at_least"), (1, PEOPLE_MAX), 1))
            }
            (None, None, Some(n)) => Quorum::Percent(self.number(Some(n), &format!("{path}.percent"), (1, 100), 100)),
            _ => {
                self.error(source, path, "say one of `all`, `at_least` and `percent`: what an approval takes");
                Quorum::All
            }
        };
        let reject = rule.reject.as_ref().map_or(RejectRule::Unreachable, |reject| {
            let path = format!("{path}.reject");
            match &reject.value {
                WordOr::Word(word) => {
                    let words = [("any", RejectRule::Any), ("unreachable", RejectRule::Unreachable)];
                    self.word_or(reject, word, &path, &words, &["{ at_least: n }"]).unwrap_or(RejectRule::Any)
                }
                WordOr::Object(source::AtLeast { at_least }) => {
                    RejectRule::AtLeast(self.number(Some(at_least), &format!("{path}.at_least"), (1, PEOPLE_MAX), 1))
                }
            }
        });
        DecisionRule { approve, reject }
    }

    fn assign(
        &mut self,
        rules: &Spanned<Vec<Spanned<source::Assign>>>,
        path: &str,
        decision: DecisionRule,
    ) -> Option<Vec<AssignRule>> {
        let rules = self.list(rules, path, "user, group, queue or manager", ASSIGN_RULES_MAX);
        let rules: Vec<Option<AssignRule>> = (rules.iter().enumerate())
            .map(|(index, rule)| self.assign_rule(rule, &format!("{path}[{index}]"), decision))
            .collect();
        rules.into_iter().collect()
    }

    fn assign_rule(
        &mut self,
        rule: &Spanned<source::Assign>,
        path: &str,
        decision: DecisionRule,
    ) -> Option<AssignRule> {
        let source::Assign { user, group, queue, manager_of, levels } = &rule.value;
        if let (Some(levels), None) = (levels, manager_of) {
            self.error(levels, &format!("{path}.levels"), "only `manager_of` has levels");
        }
        match (user, group, queue, manager_of) {
            (Some(name), None, None, None) => {
                self.principal(name, &format!("{path}.user"), Named::User);
                Some(AssignRule::User(name.value.clone()))
            }
            (None, Some(name), None, None) => {
                self.principal(name, &format!("{path}.group"), Named::Group);
                Some(AssignRule::Group(name.value.clone()))
            }
            (None, None, Some(name), None) => {
                let path = format!("{path}.queue");
                self.principal(name, &path, Named::Queue);
                if decision.approve != Quorum::Any {
                    let message = "a queue has no members to count: with this decision rule every person has a work item \
                                   of their own; name a group";
                    self.error(name, &path, message);
                }
                Some(AssignRule::Queue(name.value.clone()))
            }
            (None, None, None, Some(user)) => {
                let levels = self.number(levels.as_ref(), &format!("{path}.levels"), (1, MANAGER_LEVELS_MAX), 1);
                let user = self.expression(user, &format!("{path}.manager_of"), Wanted::Text)?;
                Some(AssignRule::ManagerOf { user, levels })
            }
            _ => {
                self.error(rule, path, "say one of `user`, `group`, `queue` and `manager_of` in each rule");
                None
            }
        }
    }

    /// Where all who are asked can be counted from the text, a rule that needs more of them can never be met.
    fn enough_people(&mut self, source: &source::Approval, decision: DecisionRule, path: &str) {
        let Quorum::AtLeast(needed) = decision.approve else { return };
        let rules = || source.assign.value.iter().map(|rule| &rule.value);
        if rules().any(|rule| rule.group.is_some() || rule.queue.is_some()) {
            return;
        }
        let users: BTreeSet<&str> = rules().filter_map(|rule| Some(rule.user.as_ref()?.value.as_str())).collect();
        let most = users.len() + rules().filter(|rule| rule.manager_of.is_some()).count();
        if let Some(decision) = &source.decision
            && most < needed as usize
            && most > 0
        {
            let message = format!("{needed} approvals can never be reached: only {most} people are asked");
            self.error(decision, &format!("{path}.decision.at_least"), message);
        }
    }

    fn on_no_approvers(
        &mut self,
        source: &source::Approval,
        path: &str,
        decision: DecisionRule,
    ) -> Option<OnNoApprovers> {
        #[derive(Clone, Copy)]
        enum Word {
            Error,
            Reject,
        }
        let Some(source) = &source.on_no_approvers else { return Some(OnNoApprovers::Error) };
        match &source.value {
            WordOr::Word(word) => {
                let words = [("error", Word::Error), ("reject", Word::Reject)];
                self.word_or(source, word, path, &words, &["{ fallback: [whom, …] }"]).map(|word| match word {
                    Word::Error => OnNoApprovers::Error,
                    Word::Reject => OnNoApprovers::Reject,
                })
            }
            WordOr::Object(source::Fallback { fallback }) => {
                self.assign(fallback, &format!("{path}.fallback"), decision).map(OnNoApprovers::Fallback)
            }
        }
    }

    fn distinct_from(&mut self, step: &Text, names: &[Text], path: &str, facts: &Facts<'_>) {
        let Some(first) = names.first() else { return };
        let names = self.at_most(names, first, path, DISTINCT_FROM_MAX);
        for (index, name) in names.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match facts.steps.get(name.value.as_str()) {
                Some(_) if name.value == step.value => {
                    self.error(
                        name,
                        &path,
                        "a step's deciders cannot differ from themselves; nobody decides twice anyway",
                    );
                }
                Some(true) => {}
                Some(false) => {
                    let message = format!("`{}` is a background step: nobody decides there", name.value);
                    self.error(name, &path, message);
                }
                None => {
                    let approvals = facts.steps.iter().filter(|(_, asks)| **asks).map(|(name, _)| *name);
                    let hint = self.hint(&name.value, approvals);
                    self.error(name, &path, format!("there is no step `{}`{hint}", shorten(&name.value)));
                }
            }
        }
    }
}
