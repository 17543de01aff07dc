//! Where a submission goes from a stage, and whether every stage is reached.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use super::{Checker, Text, graph, process::STAGES_MAX, shorten};
use crate::definition::{
    OnRejection, Outcome, Route, Stage, Target,
    source::{self, WordOr},
};

/// How many rules a `next` has: each is evaluated in turn.
pub const ROUTES_MAX: usize = 50;

/// How many stages a step may be sent back to: as many as there are.
pub const SEND_BACK_STAGES_MAX: usize = STAGES_MAX;

/// What `to` says for the end.
const END: &str = "end";

const OUTCOMES: [(&str, Outcome); 3] =
    [("APPROVED", Outcome::Approved), ("REJECTED", Outcome::Rejected), ("ERROR", Outcome::Error)];

/// The stages of a process, by name.
pub(super) struct Map<'s> {
    stages: &'s [Spanned<source::Stage>],
    by_name: BTreeMap<&'s str, usize>,
}

impl<'s> Map<'s> {
    pub(super) fn new(stages: &'s [Spanned<source::Stage>]) -> Self {
        let by_name =
            stages.iter().enumerate().map(|(index, stage)| (stage.value.name.value.as_str(), index)).collect();
        Self { stages, by_name }
    }

    fn is_fault(&self, index: usize) -> bool {
        self.stages[index].value.fault_path
    }

    fn name(&self, index: usize) -> &'s str {
        &self.stages[index].value.name.value
    }
}

impl Checker<'_> {
    /// The rules of a stage; complete, so that the last one always holds.
    pub(super) fn next(
        &mut self,
        index: usize,
        stage: &source::Stage,
        map: &Map<'_>,
        path: &str,
    ) -> Option<Vec<Route>> {
        let path = format!("{path}.next");
        let Some(next) = &stage.next else {
            if stage.fault_path {
                let message =
                    "a fault path must say in `next` how it ends, such as `next: [{ to: end, outcome: ERROR }]`";
                self.error(&stage.name, &path, message);
            }
            let following = (index + 1..map.stages.len()).find(|later| !map.is_fault(*later));
            return Some(vec![Route { when: None, to: following.map_or(Target::End(None), Target::Stage) }]);
        };
        let rules = self.list(next, &path, "rule", ROUTES_MAX);
        let last = next.value.len().saturating_sub(1);
        let mut always = false;
        let mut routes = Vec::new();
        for (number, rule) in rules.iter().enumerate() {
            let path = format!("{path}[{number}]");
            if always {
                self.error(rule, &path, "this rule is never looked at: the one before has no `when`");
            }
            always = rule.value.when.is_none();
            let when = rule.value.when.as_ref().map(|when| self.condition(when, &format!("{path}.when")));
            if number == last && !always {
                self.error(rule, &path, "the last rule of `next` must have no `when`");
            }
            let to = self.target(&rule.value, stage, map, &path);
            routes.push(match when {
                Some(when) => when.map(|when| Route { when: Some(when), to }),
                None => Some(Route { when: None, to }),
            });
        }
        routes.into_iter().collect()
    }

    fn target(&mut self, rule: &source::Rule, from: &source::Stage, map: &Map<'_>, path: &str) -> Target {
        let outcome =
            rule.outcome.as_ref().and_then(|outcome| self.word(outcome, &format!("{path}.outcome"), &OUTCOMES));
        let path_to = format!("{path}.to");
        if rule.to.value == END {
            if from.fault_path && rule.outcome.is_none() {
                let message = "a fault path must state the outcome of its end, such as `outcome: ERROR`: it never approves \
                               by silence";
                self.error(&rule.to, path, message);
            }
            return Target::End(outcome);
        }
        if let Some(outcome) = &rule.outcome {
            self.error(outcome, &format!("{path}.outcome"), "only `to: end` has an outcome");
        }
        let Some(index) = self.stage_named(&rule.to, map, &path_to, true) else { return Target::End(None) };
        match (from.fault_path, map.is_fault(index)) {
            (false, true) => {
                let message =
                    format!("`{}` is a fault path: only `on_error` and other fault paths lead to it", rule.to.value);
                self.error(&rule.to, &path_to, message);
            }
            (true, false) => {
                let message = format!(
                    "a fault path does not lead back to `{}`: it ends with an outcome, or in another fault path",
                    rule.to.value
                );
                self.error(&rule.to, &path_to, message);
            }
            (true, true) | (false, false) => {}
        }
        Target::Stage(index)
    }

    pub(super) fn on_error(&mut self, stage: &source::Stage, map: &Map<'_>, path: &str) -> Option<String> {
        let on_error = stage.on_error.as_ref()?;
        let path = format!("{path}.on_error");
        let index = self.stage_named(on_error, map, &path, false)?;
        if !map.is_fault(index) {
            let message = format!("`{}` is not a fault path; say `fault_path: true` there", on_error.value);
            self.error(on_error, &path, message);
        }
        Some(on_error.value.clone())
    }

    pub(super) fn on_rejection(
        &mut self,
        source: Option<&Spanned<WordOr<source::GoTo>>>,
        map: &Map<'_>,
    ) -> OnRejection {
        let Some(source) = source else { return OnRejection::End };
        match &source.value {
            WordOr::Word(word) => {
                let words = [("end", OnRejection::End), ("continue", OnRejection::Continue)];
                self.word_or(source, word, "on_rejection", &words, &["{ to: stage }"]).unwrap_or(OnRejection::End)
            }
            WordOr::Object(source::GoTo { to }) => {
                let Some(index) = self.stage_named(to, map, "on_rejection.to", false) else { return OnRejection::End };
                if map.is_fault(index) {
                    let message =
                        format!("`{}` is a fault path: only `on_error` and other fault paths lead to it", to.value);
                    self.error(to, "on_rejection.to", message);
                }
                OnRejection::Stage(index)
            }
        }
    }

    /// The stages that the steps of a stage may send back to: earlier ones, and no fault path.
    pub(super) fn send_back(&mut self, index: usize, stage: &source::Stage, map: &Map<'_>, path: &str) {
        for (number, step) in stage.steps.value.iter().enumerate() {
            let Some(back) = step.value.approval.as_ref().and_then(|approval| approval.value.send_back.as_ref()) else {
                continue;
            };
            let path = format!("{path}.steps[{number}].approval.send_back.to");
            if stage.fault_path {
                self.error(&back.to, &path, "a fault path does not lead back to where the submission came from");
                continue;
            }
            let names = self.list(&back.to, &path, "stage", SEND_BACK_STAGES_MAX);
            for (place, name) in names.iter().enumerate() {
                let path = format!("{path}[{place}]");
                let Some(to) = self.stage_named(name, map, &path, false) else { continue };
                if map.is_fault(to) {
                    let message =
                        format!("`{}` is a fault path: only `on_error` and other fault paths lead to it", name.value);
                    self.error(name, &path, message);
                } else if to >= index {
                    let message =
                        format!("`{}` is not written before this stage: back is to an earlier one", name.value);
                    self.error(name, &path, message);
                }
            }
        }
    }

    fn stage_named(&mut self, name: &Text, map: &Map<'_>, path: &str, or_end: bool) -> Option<usize> {
        let index = map.by_name.get(name.value.as_str()).copied();
        if index.is_none() {
            let names = map.by_name.keys().copied().chain(or_end.then_some(END));
            let message = format!("there is no stage `{}`{}", shorten(&name.value), self.hint(&name.value, names));
            self.error(name, path, message);
        }
        index
    }

    /// Complains of fault paths that cannot be followed, and warns of stages that nothing leads to.
    pub(super) fn reach(&mut self, source: &source::Process, stages: &[Option<Stage>], on_rejection: OnRejection) {
        let map = Map::new(&source.stages.value);
        let Some(first) = source.stages.value.first() else { return };
        self.fault_cycle(&map);
        if first.value.fault_path {
            let message = "a submission begins with the first stage, which cannot be a fault path";
            self.error(&first.value.name, "stages[0].fault_path", message);
            return;
        }
        // What is reached is known only if all stages could be read.
        let Some(stages) = stages.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() else { return };
        let mut reached = BTreeSet::new();
        let mut open = vec![0];
        while let Some(index) = open.pop() {
            if !reached.insert(index) {
                continue;
            }
            let Some(stage) = stages.get(index) else { continue };
            open.extend(stage.next.iter().filter_map(|route| match route.to {
                Target::Stage(to) => Some(to),
                Target::End(_) => None,
            }));
            open.extend(stage.on_error.as_deref().and_then(|name| map.by_name.get(name)));
            let asks = stage.steps.iter().any(|step| matches!(step.kind, crate::definition::StepKind::Approval(_)));
            if let (true, OnRejection::Stage(to)) = (asks, on_rejection) {
                open.push(to);
            }
        }
        for (index, stage) in map.stages.iter().enumerate().filter(|(index, _)| !reached.contains(index)) {
            let message = format!("nothing leads to stage `{}`", map.name(index));
            self.warning(&stage.value.name, &format!("stages[{index}]"), message);
        }
    }

    /// An error in a fault path may have a fault path too, but not one that leads back: the error would go round.
    fn fault_cycle(&mut self, map: &Map<'_>) {
        let edges: BTreeMap<&str, Vec<&str>> = map
            .stages
            .iter()
            .filter_map(|stage| {
                Some((stage.value.name.value.as_str(), vec![stage.value.on_error.as_ref()?.value.as_str()]))
            })
            .collect();
        if let Some((name, way)) = graph::find_cycle(&edges)
            && let Some(index) = map.by_name.get(name)
            && let Some(on_error) = &map.stages[*index].value.on_error
        {
            let message = format!("the fault paths lead back to where the error was: {way}");
            self.error(on_error, &format!("stages[{index}].on_error"), message);
        }
    }
}
