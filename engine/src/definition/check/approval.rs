//! Approval steps: whom they ask, and how decisions add up.

use serde_saphyr::Spanned;

use super::{Checker, Text, assign::Standing, condition::Condition, process::Facts, shorten};
use crate::{
    decision_rule::{ASKED_MAX, WEIGHT_MAX},
    definition::{
        ApprovalStep, DecisionRule, FlowType, OnNoApprovers, Quorum, RejectRule, StepExit, UserOrGroup,
        source::{self, WordOr},
    },
};

/// How many steps one step's deciders must differ from.
pub const DISTINCT_FROM_MAX: usize = 50;

/// What all votes of a step can weigh together.
const WEIGHT_IN_ALL_MAX: u32 = ASKED_MAX * WEIGHT_MAX;

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
        let veto_by = self.veto_by(source, &format!("{path}.decision.veto_by"));
        let assign = self.assign(&source.assign, &format!("{path}.assign"), decision, Standing::First);
        self.enough_people(source, decision, path);
        let exit = match &source.complete {
            None => Some(StepExit::Settled),
            Some(complete) => self.complete(complete, &format!("{path}.complete")).map(|condition| match condition {
                Condition::When(expression) => StepExit::When(expression),
                Condition::Evaluation(flow) => StepExit::Evaluation(flow),
            }),
        };
        let on_no_approvers = self.on_no_approvers(source, &format!("{path}.on_no_approvers"), decision);
        self.distinct_from(step, &source.distinct_from, &format!("{path}.distinct_from"), facts);
        if let Some(screen) = &source.screen {
            self.flow_of_type(screen, &format!("{path}.screen"), FlowType::Screen, "a screen");
        }
        let depends_on = match &source.depends_on {
            None => Some(None),
            Some(paths) => self.record_paths(paths, &format!("{path}.depends_on")).map(Some),
        };
        let reuse_when_unchanged = match &source.reuse_approval {
            None => Some(None),
            Some(reuse) => {
                let at = format!("{path}.reuse_approval.when_unchanged");
                self.record_paths(&reuse.when_unchanged, &at).map(Some)
            }
        };
        let moments = self.moments(source, path, decision);
        let moments = moments?;
        Some(ApprovalStep {
            assign: assign?,
            decision,
            veto_by: veto_by?,
            abstain: written_decision(source).is_some_and(|rule| rule.abstain),
            exit: exit?,
            on_no_approvers: on_no_approvers?,
            distinct_from: source.distinct_from.iter().map(|name| name.value.clone()).collect(),
            allow_submitter: source.allow_submitter,
            depends_on: depends_on?,
            allow_reviewer_edit: source.allow_reviewer_edit,
            lock: source.lock,
            allow_reassign: source.allow_reassign,
            claim_limit: self.claim_limit(source, decision, &format!("{path}.claim.limit")),
            send_back_to: source
                .send_back
                .iter()
                .flat_map(|back| &back.to.value)
                .map(|stage| stage.value.clone())
                .collect(),
            calendar: moments.calendar,
            due: moments.due,
            remind: moments.remind,
            escalate: moments.escalate,
            expire: moments.expire,
            reuse_when_unchanged: reuse_when_unchanged?,
            screen: source.screen.as_ref().map(|screen| screen.value.clone()),
        })
    }

    fn decision(&mut self, source: &Spanned<WordOr<source::Decision>>, path: &str) -> DecisionRule {
        let all = DecisionRule { approve: Quorum::All, reject: RejectRule::Unreachable };
        let rule = match &source.value {
            WordOr::Word(word) => {
                let or = ["{ at_least: n }", "{ percent: p }", "{ weight: w }"];
                return self.word_or(source, word, path, &[("any", ANY), ("all", all)], &or).unwrap_or(ANY);
            }
            WordOr::Object(rule) => rule,
        };
        let approve = self.quorum(source, rule, path);
        let reject_path = format!("{path}.reject");
        if let (Quorum::Any, Some(reject)) = (approve, &rule.reject) {
            let message = "with `any` the first decision settles the step, whichever it is; leave this out";
            self.error(reject, &reject_path, message);
        }
        let reject = rule.reject.as_ref().map_or(RejectRule::Unreachable, |reject| match &reject.value {
            WordOr::Word(word) => {
                let words = [("any", RejectRule::Any), ("unreachable", RejectRule::Unreachable)];
                self.word_or(reject, word, &reject_path, &words, &["{ at_least: n }"]).unwrap_or(RejectRule::Any)
            }
            WordOr::Object(source::AtLeast { at_least }) => {
                let most = if matches!(approve, Quorum::Weight(_)) { WEIGHT_IN_ALL_MAX } else { ASKED_MAX };
                RejectRule::AtLeast(self.number(Some(at_least), &format!("{reject_path}.at_least"), (1, most), 1))
            }
        });
        match approve {
            Quorum::Any => ANY,
            approve => DecisionRule { approve, reject },
        }
    }

    /// What an approval takes: one of five fields.
    fn quorum(&mut self, source: &Spanned<WordOr<source::Decision>>, rule: &source::Decision, path: &str) -> Quorum {
        let at = |field: &str| format!("{path}.{field}");
        match (&rule.any, &rule.all, &rule.at_least, &rule.percent, &rule.weight) {
            (Some(any), None, None, None, None) => {
                if !any.value {
                    self.error(any, &at("any"), "`any` can only be true; say what an approval takes instead");
                }
                Quorum::Any
            }
            (None, Some(all), None, None, None) => {
                if !all.value {
                    self.error(all, &at("all"), "`all` can only be true; leave it out for `any`");
                }
                Quorum::All
            }
            (None, None, Some(n), None, None) => {
                Quorum::AtLeast(self.number(Some(n), &at("at_least"), (1, ASKED_MAX), 1))
            }
            (None, None, None, Some(p), None) => Quorum::Percent(self.number(Some(p), &at("percent"), (1, 100), 100)),
            (None, None, None, None, Some(w)) => {
                Quorum::Weight(self.number(Some(w), &at("weight"), (1, WEIGHT_IN_ALL_MAX), 1))
            }
            _ => {
                let message = "say one of `any`, `all`, `at_least`, `percent` and `weight`: what an approval takes";
                self.error(source, path, message);
                Quorum::All
            }
        }
    }

    /// How long a claim holds. There is one only of what several share.
    fn claim_limit(&mut self, source: &source::Approval, decision: DecisionRule, path: &str) -> Option<u64> {
        let limit = &source.claim.as_ref()?.limit;
        if decision.counts_people() {
            let message = "nothing is shared here to be claimed: every person has a work item of their own";
            self.warning(limit, path, message);
        }
        self.duration_if_given(Some(limit), path)
    }

    /// Those whose rejection settles the step. Only who is asked can reject.
    fn veto_by(&mut self, source: &source::Approval, path: &str) -> Option<Vec<UserOrGroup>> {
        let Some(rule) = written_decision(source) else { return Some(Vec::new()) };
        let Some(written) = &rule.veto_by else { return Some(Vec::new()) };
        let people = self.users_and_groups(written, path)?;
        let asked = || source.assign.value.iter().map(|rule| &rule.value);
        if asked().all(|rule| rule.user.is_some()) {
            for (index, person) in written.value.iter().enumerate() {
                let Some(name) = &person.value.user else { continue };
                if !asked().any(|rule| rule.user.as_ref().is_some_and(|user| user.value == name.value)) {
                    let message = format!(
                        "`{}` is not asked in this step and cannot reject; name them in `assign` as well",
                        shorten(&name.value)
                    );
                    self.error(name, &format!("{path}[{index}].user"), message);
                }
            }
        }
        Some(people)
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
                let path = format!("{path}.fallback");
                self.assign(fallback, &path, decision, Standing::Fallback).map(OnNoApprovers::Fallback)
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

/// A decision rule that is more than a word.
fn written_decision(source: &source::Approval) -> Option<&source::Decision> {
    match source.decision.as_ref().map(|decision| &decision.value) {
        Some(WordOr::Object(rule)) => Some(rule),
        Some(WordOr::Word(_)) | None => None,
    }
}
