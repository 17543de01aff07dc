//! Tests of a process: that they speak of what there is. Whether what they claim holds is for
//! [`run_tests`](crate::process_test::run_tests).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_saphyr::Spanned;

use super::{
    Checker, Named, Text,
    process::{Facts, TITLE_CHARS_MAX},
    record::CHANGES,
    shorten,
};
use crate::{
    Json,
    definition::{
        complaint::Place,
        source::{self, test as written},
    },
    id::UserName,
    process_test::{
        ADMINISTRATOR, Action, Expectation, ItemRef, Line, LineKind, Mock, ProcessTest, REPORTER, RunRef, START,
        TestSubmit,
    },
    state::{Assignee, Ending, FailureReason, Verdict},
    status::{StageRunStatus, StepRunStatus, SubmissionStatus, WorkItemStatus},
};

/// How many tests a process has: a server runs them all when it is published.
pub const TESTS_MAX: usize = 100;

/// How many lines the script of a test has. What is longer tests more than one thing.
pub const SCRIPT_LINES_MAX: usize = 100;

/// How many answers a flow is given in a test.
pub const ANSWERS_MAX: usize = 100;

/// How many work items a test looks at in one place.
const WORK_ITEMS_MAX: usize = 100;

/// What a test may speak of.
struct Names<'s> {
    steps: BTreeMap<&'s str, bool>,
    stages: BTreeSet<&'s str>,
    flows: BTreeSet<&'s str>,
}

impl Checker<'_> {
    pub(super) fn tests(&mut self, source: &source::Process, facts: &Facts<'_>) -> Option<Vec<ProcessTest>> {
        let Some(tests) = &source.tests else { return Some(Vec::new()) };
        let stages = source.stages.value.iter().map(|stage| stage.value.name.value.as_str());
        let paths = [Ending::Rejected, Ending::Recalled, Ending::Canceled].map(Ending::stage_name);
        let names =
            Names { steps: facts.steps.clone(), stages: stages.chain(paths).collect(), flows: flows_of(source) };
        let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
        let mut read = Vec::new();
        for (index, test) in self.list(tests, "tests", "test", TESTS_MAX).iter().enumerate() {
            let path = format!("tests[{index}]");
            let name = &test.value.name;
            if name.value.trim().is_empty() || name.value.chars().count() > TITLE_CHARS_MAX {
                self.error(
                    name,
                    &format!("{path}.name"),
                    format!("a test's name has 1 to {TITLE_CHARS_MAX} characters"),
                );
            }
            if let Some(line) = seen.insert(&name.value, Place::from(name).line) {
                let message = format!("there is a test `{}` in line {line} already", shorten(&name.value));
                self.error(name, &format!("{path}.name"), message);
            }
            read.push(self.test(test, &path, &names));
        }
        read.into_iter().collect()
    }

    fn test(&mut self, source: &Spanned<written::Test>, path: &str, names: &Names<'_>) -> Option<ProcessTest> {
        let test = &source.value;
        let now = self.beginning(test.now.as_ref(), &format!("{path}.now"));
        let submit = self.test_submit(&test.submit, &format!("{path}.submit"), names);
        let flows = test.flows.iter().map(|(flow, answers)| {
            let path = format!("{path}.flows.{flow}");
            if !names.flows.contains(flow.as_str()) {
                let hint = self.hint(flow, names.flows.iter().copied());
                self.error(answers, &path, format!("the process asks no flow `{}`{hint}", shorten(flow)));
            }
            Some((flow.clone(), self.mocks(answers, &path)?))
        });
        let flows: Option<BTreeMap<_, _>> = flows.collect::<Vec<_>>().into_iter().collect();
        let lines =
            test.script.as_ref().map(|script| self.list(script, &format!("{path}.script"), "line", SCRIPT_LINES_MAX));
        let lines = lines.unwrap_or_default().iter().enumerate();
        let script: Vec<Option<Line>> =
            lines.map(|(index, line)| self.script_line(line, &format!("{path}.script[{index}]"), names)).collect();
        let expect = test.expect.as_ref().map(|expect| {
            let expectation = self.expectation(&expect.value, &format!("{path}.expect"), names)?;
            Some((Place::from(expect).line, expectation))
        });
        let looks = |line: &Spanned<written::Line>| line.value.expect.is_some() || line.value.refused.is_some();
        let claims = test.expect.is_some()
            || test.submit.value.refused.is_some()
            || test.script.as_ref().is_some_and(|script| script.value.iter().any(looks));
        if !claims {
            self.error(source, path, "the test claims nothing: say `expect` or `refused`");
        }
        Some(ProcessTest {
            name: test.name.value.clone(),
            line: Place::from(source).line,
            now: now?,
            submit,
            flows: flows?,
            script: script.into_iter().collect::<Option<_>>()?,
            expect: match expect {
                Some(expect) => Some(expect?),
                None => None,
            },
        })
    }

    fn beginning(&mut self, text: Option<&Text>, path: &str) -> Option<Timestamp> {
        let Some(text) = text else { return START.parse().ok() };
        let parsed = text.value.parse().ok();
        if parsed.is_none() {
            let message = format!("`{}` is no moment; write one such as `{START}`", shorten(&text.value));
            self.error(text, path, message);
        }
        parsed
    }

    fn test_submit(&mut self, source: &Spanned<written::Submit>, path: &str, names: &Names<'_>) -> TestSubmit {
        let submit = &source.value;
        self.object(&submit.record, &format!("{path}.record"));
        let mut choices = BTreeMap::new();
        for (step, people) in &submit.choices {
            let path = format!("{path}.choices.{step}");
            if let Some(first) = people.first().filter(|_| !names.steps.contains_key(step.as_str())) {
                let hint = self.hint(step, names.steps.keys().copied());
                self.error(first, &path, format!("there is no step `{}`{hint}", shorten(step)));
            }
            choices.insert(step.clone(), people.iter().map(|name| name.value.clone()).collect());
        }
        TestSubmit {
            line: Place::from(source).line,
            // A service is in no directory.
            by: UserName::from(submit.by.value.as_str()),
            on_behalf_of: submit.on_behalf_of.as_ref().map(|name| self.somebody(name, &format!("{path}.on_behalf_of"))),
            record: submit.record.value.clone(),
            comment: submit.comment.clone().unwrap_or_default(),
            choices,
            on: submit.on.as_ref().and_then(|kind| self.word(kind, &format!("{path}.on"), &CHANGES)),
            refused: submit.refused.as_ref().map(|reason| reason.value.clone()),
        }
    }

    fn mocks(&mut self, source: &Spanned<written::OneOrMany<written::Mock>>, path: &str) -> Option<Vec<Mock>> {
        match &source.value {
            written::OneOrMany::One(mock) => Some(vec![self.mock(mock, source.into(), path)?]),
            written::OneOrMany::Many(mocks) => {
                if mocks.is_empty() {
                    self.error(source, path, "at least one answer is needed");
                }
                let mocks = self.at_most(mocks, source, path, ANSWERS_MAX).iter().enumerate();
                let mocks: Vec<_> = mocks
                    .map(|(index, mock)| self.mock(&mock.value, mock.into(), &format!("{path}[{index}]")))
                    .collect();
                mocks.into_iter().collect()
            }
        }
    }

    fn mock(&mut self, mock: &written::Mock, at: Place, path: &str) -> Option<Mock> {
        if mock.error.is_none() && (mock.message.is_some() || mock.retryable.is_some()) {
            self.error(at, path, "`message` and `retryable` belong to an `error`");
        }
        match (&mock.output, &mock.error, &mock.silent) {
            (Some(output), None, None) => {
                self.object(output, &format!("{path}.output"));
                Some(Mock::Output(output.value.clone()))
            }
            (None, Some(code), None) => Some(Mock::Error {
                code: code.value.clone(),
                message: mock.message.clone().unwrap_or_else(|| "the test says so".to_owned()),
                retryable: mock.retryable.unwrap_or(true),
            }),
            (None, None, Some(silent)) => {
                if !silent.value {
                    self.error(silent, &format!("{path}.silent"), "write `silent: true`, or what the flow answers");
                }
                Some(Mock::Silent)
            }
            _ => {
                let message = "write one of `output: {…}`, `error: CODE` and `silent: true`";
                self.error(at, path, message);
                None
            }
        }
    }

    fn script_line(&mut self, source: &Spanned<written::Line>, path: &str, names: &Names<'_>) -> Option<Line> {
        let line = &source.value;
        let number = Place::from(source).line;
        let actions = line.actions();
        let what = match (&actions[..], &line.expect, &line.advance, &line.refused) {
            ([(name, at, action)], None, None, None) => {
                LineKind::Do(self.action(*action, (*at).into(), &format!("{path}.{name}"), names)?)
            }
            ([], Some(expect), None, None) => {
                LineKind::Expect(self.expectation(&expect.value, &format!("{path}.expect"), names)?)
            }
            ([], None, Some(advance), None) => {
                let path = format!("{path}.advance");
                LineKind::Advance(self.duration(Some(advance), &path, u64::MAX))
            }
            ([], None, None, Some(refused)) => {
                let path = format!("{path}.refused");
                let actions = refused.value.actions();
                let [(name, at, action)] = actions[..] else {
                    self.error(refused, &path, one_of(actions.iter().map(|(name, ..)| *name), written::ACTIONS));
                    return None;
                };
                let action = self.action(action, at.into(), &format!("{path}.{name}"), names)?;
                LineKind::Refused(action, refused.value.reason.value.clone())
            }
            _ => {
                let others = [
                    line.expect.as_ref().map(|_| "expect"),
                    line.advance.as_ref().map(|_| "advance"),
                    line.refused.as_ref().map(|_| "refused"),
                ];
                let given = actions.iter().map(|(name, ..)| *name).chain(others.into_iter().flatten());
                let known: Vec<&str> =
                    ["expect", "advance", "refused"].into_iter().chain(written::ACTIONS.iter().copied()).collect();
                self.error(source, path, one_of(given, &known));
                return None;
            }
        };
        Some(Line { line: number, what })
    }

    fn action(&mut self, action: written::Action<'_>, at: Place, path: &str, names: &Names<'_>) -> Option<Action> {
        use written::Action as Written;
        Some(match action {
            Written::Decide(decide) => {
                let item = self.item(&decide.step, decide.assignee.as_ref(), path, names);
                let by = self.somebody(&decide.by, &format!("{path}.by"));
                let verdict = self.verdict(&decide.decision, path, &Verdict::ALL);
                Action::Decide { item: item?, by, verdict: verdict?, comment: said(decide.comment.as_ref()) }
            }
            Written::SubmitScreen(screen) => self.screen(screen, path, names)?,
            Written::ScreenError(item) => Action::ScreenError {
                item: self.item(&item.step, item.assignee.as_ref(), path, names)?,
                by: self.somebody(&item.by, &format!("{path}.by")),
            },
            Written::Comment(comment) => {
                // Whoever submits may be a service.
                Action::Comment {
                    by: UserName::from(comment.by.value.as_str()),
                    comment: comment.comment.value.clone(),
                }
            }
            Written::UpdateRecord(update) => self.updated(update, at, path)?,
            Written::ReportChange(report) => {
                let record = self.needed(report.record.as_ref(), at, path)?;
                let by = report.by.as_ref().map_or(REPORTER, |by| by.value.as_str());
                Action::ReportChange { by: UserName::from(by), record }
            }
            Written::Recall(by) => {
                Action::Recall { by: self.by(by.by.as_ref(), path), comment: said(by.comment.as_ref()) }
            }
            Written::Cancel(by) => {
                Action::Cancel { by: self.by(by.by.as_ref(), path), comment: said(by.comment.as_ref()) }
            }
            Written::Suspend(by) => {
                Action::Suspend { by: self.by(by.by.as_ref(), path), comment: said(by.comment.as_ref()) }
            }
            Written::Resume(by) => {
                Action::Resume { by: self.by(by.by.as_ref(), path), comment: said(by.comment.as_ref()) }
            }
            Written::Resubmit(resubmit) => {
                if let Some(record) = &resubmit.record {
                    self.object(record, &format!("{path}.record"));
                }
                Action::Resubmit {
                    by: resubmit.by.as_ref().map(|by| UserName::from(by.value.as_str())),
                    record: resubmit.record.as_ref().map(|record| record.value.clone()),
                    comment: said(resubmit.comment.as_ref()),
                }
            }
            Written::Reassign(reassign) => Action::Reassign {
                item: self.item(&reassign.step, reassign.assignee.as_ref(), path, names)?,
                by: self.somebody(&reassign.by, &format!("{path}.by")),
                to: self.assignee(&reassign.to, &format!("{path}.to")),
                comment: said(reassign.comment.as_ref()),
            },
            Written::Claim(item) => Action::Claim {
                item: self.item(&item.step, item.assignee.as_ref(), path, names)?,
                by: self.somebody(&item.by, &format!("{path}.by")),
            },
            Written::Release(item) => Action::Release {
                item: self.item(&item.step, item.assignee.as_ref(), path, names)?,
                by: self.somebody(&item.by, &format!("{path}.by")),
            },
            Written::Override(step) => Action::Override {
                step: self.approval_run(&step.step, path, names)?.name,
                by: self.by(step.by.as_ref(), path),
                verdict: self.verdict(&step.decision, path, &[Verdict::Approve, Verdict::Reject])?,
                comment: said(step.comment.as_ref()),
            },
            Written::SendBack(back) => Action::SendBack {
                item: self.item(&back.step, back.assignee.as_ref(), path, names)?,
                by: self.somebody(&back.by, &format!("{path}.by")),
                to: self.stage_run(&back.to, &format!("{path}.to"), names)?.name,
                comment: said(back.comment.as_ref()),
            },
            Written::RequestInformation(request) => Action::RequestInformation {
                item: self.item(&request.step, request.assignee.as_ref(), path, names)?,
                by: self.somebody(&request.by, &format!("{path}.by")),
                question: request.question.value.clone(),
            },
            Written::AnswerInformation(answer) => Action::AnswerInformation {
                item: self.item(&answer.step, answer.assignee.as_ref(), path, names)?,
                by: answer.by.as_ref().map(|by| UserName::from(by.value.as_str())),
                answer: answer.answer.value.clone(),
            },
            Written::Retry(retry) => self.retried(retry, at, path, names)?,
            Written::Skip(skip) => self.skipped(skip, path, names)?,
            Written::GoTo(go_to) => Action::GoTo {
                stage: self.stage_run(&go_to.stage, &format!("{path}.stage"), names)?.name,
                by: self.by(go_to.by.as_ref(), path),
                comment: said(go_to.comment.as_ref()),
            },
        })
    }

    fn screen(&mut self, screen: &written::SubmitScreen, path: &str, names: &Names<'_>) -> Option<Action> {
        if let Some(values) = &screen.values {
            self.object(values, &format!("{path}.values"));
        }
        let none = || Json::Object(serde_json::Map::new());
        Some(Action::SubmitScreen {
            item: self.item(&screen.step, screen.assignee.as_ref(), path, names)?,
            by: self.somebody(&screen.by, &format!("{path}.by")),
            verdict: self.verdict(&screen.decision, path, &Verdict::ALL)?,
            comment: said(screen.comment.as_ref()),
            values: screen.values.as_ref().map_or_else(none, |values| values.value.clone()),
        })
    }

    /// The data of a record, which cannot be left out.
    fn needed(&mut self, record: Option<&Spanned<Json>>, at: Place, path: &str) -> Option<Json> {
        let Some(record) = record else {
            self.error(at, path, "the field `record` is missing");
            return None;
        };
        self.object(record, &format!("{path}.record"));
        Some(record.value.clone())
    }

    fn updated(&mut self, update: &written::UpdateRecord, at: Place, path: &str) -> Option<Action> {
        let record = self.needed(update.record.as_ref(), at, path)?;
        Some(Action::UpdateRecord {
            by: update.by.as_ref().map(|by| UserName::from(by.value.as_str())),
            record,
            comment: said(update.comment.as_ref()),
        })
    }

    fn retried(&mut self, retry: &written::Retry, at: Place, path: &str, names: &Names<'_>) -> Option<Action> {
        let by = self.by(retry.by.as_ref(), path);
        match (&retry.step, &retry.stage) {
            (Some(step), None) => {
                Some(Action::RetryStep { step: self.step_run(step, &format!("{path}.step"), names)?.name, by })
            }
            (None, Some(stage)) => {
                Some(Action::RetryStage { stage: self.stage_run(stage, &format!("{path}.stage"), names)?.name, by })
            }
            _ => {
                self.error(at, path, "write one of `step` and `stage`");
                None
            }
        }
    }

    fn skipped(&mut self, skip: &written::Skip, path: &str, names: &Names<'_>) -> Option<Action> {
        if let Some(outputs) = &skip.outputs {
            self.object(outputs, &format!("{path}.outputs"));
        }
        let none = || Json::Object(serde_json::Map::new());
        Some(Action::Skip {
            step: self.step_run(&skip.step, &format!("{path}.step"), names)?.name,
            by: self.by(skip.by.as_ref(), path),
            outputs: skip.outputs.as_ref().map_or_else(none, |outputs| outputs.value.clone()),
            comment: said(skip.comment.as_ref()),
        })
    }

    fn expectation(&mut self, source: &written::Expect, path: &str, names: &Names<'_>) -> Option<Expectation> {
        let status = source.status.as_ref();
        let status = status
            .map(|text| self.status(text, &format!("{path}.status"), SubmissionStatus::ALL, SubmissionStatus::as_str));
        let failure = source.failure.as_ref();
        let failure = failure
            .map(|text| self.status(text, &format!("{path}.failure"), FailureReason::ALL, FailureReason::as_str));
        let mut stages = Vec::new();
        for (stage, status) in &source.stages {
            let path = format!("{path}.stages.{stage}");
            let run = self.named(stage, status.into(), &path, "stage", &names.stages)?;
            // A stage has no status before it is reached: the word is that of its steps.
            let reached = status.value != StepRunStatus::NotStarted.as_str();
            let status = if reached {
                Some(self.status(status, &path, StageRunStatus::ALL, StageRunStatus::as_str)?)
            } else {
                None
            };
            stages.push((run, status));
        }
        let mut steps = Vec::new();
        for (step, status) in &source.steps {
            let path = format!("{path}.steps.{step}");
            let run = self.named(step, status.into(), &path, "step", &step_names(names))?;
            steps.push((run, self.status(status, &path, StepRunStatus::ALL, StepRunStatus::as_str)?));
        }
        let items =
            source.work_items.first().map(|first| self.at_most(&source.work_items, first, path, WORK_ITEMS_MAX));
        let mut work_items = Vec::new();
        for (index, item) in items.unwrap_or_default().iter().enumerate() {
            let (item, path) = (&item.value, format!("{path}.work_items[{index}]"));
            let run = self.approval_run(&item.step, &path, names)?;
            let assignee = self.assignee(&item.assignee, &format!("{path}.assignee"));
            let path = format!("{path}.status");
            work_items.push((
                run,
                assignee,
                self.status(&item.status, &path, WorkItemStatus::ALL, WorkItemStatus::as_str)?,
            ));
        }
        let mut outputs = Vec::new();
        for (step, fields) in &source.outputs {
            let path = format!("{path}.outputs.{step}");
            self.object(fields, &path);
            outputs.push((self.named(step, fields.into(), &path, "step", &step_names(names))?, fields.value.clone()));
        }
        if let Some(record) = &source.record {
            self.object(record, &format!("{path}.record"));
        }
        Some(Expectation {
            status: match status {
                Some(status) => Some(status?),
                None => None,
            },
            failure: match failure {
                Some(failure) => Some(failure?),
                None => None,
            },
            round: source.round,
            stages,
            steps,
            work_items,
            outputs,
            record: source.record.as_ref().map(|record| record.value.clone()),
        })
    }

    fn status<T: Copy>(&mut self, text: &Text, path: &str, all: &[T], as_str: fn(T) -> &'static str) -> Option<T> {
        let words: Vec<(&str, T)> = all.iter().map(|status| (as_str(*status), *status)).collect();
        self.word(text, path, &words)
    }

    fn verdict(&mut self, text: &Text, path: &str, all: &[Verdict]) -> Option<Verdict> {
        self.status(text, &format!("{path}.decision"), all, Verdict::as_str)
    }

    fn object(&mut self, json: &Spanned<Json>, path: &str) {
        if !json.value.is_object() {
            self.error(json, path, "an object (`field: value`) is needed here");
        }
    }

    /// Somebody of the directory, or the administrator.
    fn somebody(&mut self, name: &Text, path: &str) -> UserName {
        if name.value != ADMINISTRATOR {
            self.principal(name, path, Named::User);
        }
        UserName::from(name.value.as_str())
    }

    fn by(&mut self, name: Option<&Text>, path: &str) -> Option<UserName> {
        name.map(|name| self.somebody(name, &format!("{path}.by")))
    }

    /// `bob`, `group:finance`, `queue:intake`.
    fn assignee(&mut self, text: &Text, path: &str) -> Assignee {
        let parts = text.value.split_once(':').and_then(|(kind, name)| Assignee::from_parts(kind, name));
        let assignee = parts.unwrap_or_else(|| Assignee::User(text.value.clone()));
        let (exists, of) = match &assignee {
            Assignee::User(name) => (self.known.has_user(name), Named::User),
            Assignee::Group(name) => (self.known.has_group(name), Named::Group),
            Assignee::Queue(name) => (self.known.has_queue(name), Named::Queue),
        };
        if !exists {
            let names = if self.complaints.is_full() { Vec::new() } else { self.known.names(of) };
            let hint = self.hint(assignee.name(), names.iter().map(String::as_str));
            self.error(text, path, format!("there is no {} `{}`{hint}", of.as_str(), shorten(assignee.name())));
        }
        assignee
    }

    fn item(&mut self, step: &Text, assignee: Option<&Text>, path: &str, names: &Names<'_>) -> Option<ItemRef> {
        let assignee = assignee.map(|assignee| self.assignee(assignee, &format!("{path}.assignee")));
        Some(ItemRef { step: self.approval_run(step, path, names)?, assignee })
    }

    fn approval_run(&mut self, step: &Text, path: &str, names: &Names<'_>) -> Option<RunRef> {
        let path = format!("{path}.step");
        let run = self.step_run(step, &path, names)?;
        if names.steps.get(run.name.as_str()) == Some(&false) {
            self.error(step, &path, format!("step `{}` asks nobody: it is a background step", run.name));
        }
        Some(run)
    }

    fn step_run(&mut self, step: &Text, path: &str, names: &Names<'_>) -> Option<RunRef> {
        self.named(&step.value, step.into(), path, "step", &step_names(names))
    }

    fn stage_run(&mut self, stage: &Text, path: &str, names: &Names<'_>) -> Option<RunRef> {
        self.named(&stage.value, stage.into(), path, "stage", &names.stages)
    }

    /// A stage or a step, `name` or `name#2`.
    fn named(&mut self, text: &str, at: Place, path: &str, what: &str, names: &BTreeSet<&str>) -> Option<RunRef> {
        let (name, round) = text.split_once('#').map_or((text, None), |(name, round)| (name, Some(round)));
        let parsed = round.map(|round| round.parse().ok().filter(|round| *round > 0));
        if let (Some(written), Some(None)) = (round, parsed) {
            self.error(at, path, format!("`{}` is no round: write such as `{name}#2`", shorten(written)));
            return None;
        }
        let round = parsed.flatten();
        if !names.contains(name) {
            let hint = self.hint(name, names.iter().copied());
            self.error(at, path, format!("there is no {what} `{}`{hint}", shorten(name)));
        }
        Some(RunRef { name: name.to_owned(), round })
    }
}

fn said(comment: Option<&String>) -> String {
    comment.cloned().unwrap_or_default()
}

fn step_names<'s>(names: &Names<'s>) -> BTreeSet<&'s str> {
    names.steps.keys().copied().collect()
}

/// What to say where not exactly one of some fields is given.
fn one_of<'n>(given: impl Iterator<Item = &'n str>, known: &[&str]) -> String {
    let quote = |name: &str| format!("`{name}`");
    let given: Vec<String> = given.map(quote).collect();
    let known: Vec<String> = known.iter().copied().map(quote).collect();
    match &given[..] {
        [] => format!("write one of {}", known.join(", ")),
        given => format!("write one of them: {}", given.join(", ")),
    }
}

/// The flows that a process asks, wherever it does.
fn flows_of(source: &source::Process) -> BTreeSet<&str> {
    let paths = [&source.rejection_path, &source.recall_path, &source.cancel_path];
    let stages = source.stages.value.iter().map(|stage| &stage.value);
    let exits = stages.clone().filter_map(|stage| stage.complete.as_ref()?.value.evaluation.as_ref());
    let steps = stages.map(|stage| &stage.steps).chain(paths.into_iter().flatten());
    let steps = steps.flat_map(|steps| &steps.value).map(|step| &step.value);
    let mut flows: BTreeSet<&str> = exits.map(|evaluation| evaluation.flow.value.as_str()).collect();
    for step in steps {
        let entry = step.start.as_ref().and_then(|start| start.value.evaluation.as_ref());
        let complete = step.approval.as_ref().and_then(|approval| approval.value.complete.as_ref());
        let exit = complete.and_then(|complete| complete.value.evaluation.as_ref());
        flows.extend(entry.into_iter().chain(exit).map(|evaluation| evaluation.flow.value.as_str()));
        flows.extend(step.background.as_ref().map(|background| background.value.flow.value.as_str()));
    }
    flows
}
