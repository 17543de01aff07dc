//! The tests that definitions carry: those that hold, and what is said of those that do not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::{cell::Cell, fmt::Write, sync::Arc};

use proptest::prelude::*;
use quorate_engine::{
    context::{Calendars, Flows},
    definition::{
        Everything, Kind, Process, documents, kind_of, read_calendar, read_directory, read_flow, read_process,
    },
    directory::Directory,
    process_test::{DECISIONS_MAX, Line, LineKind, Mock, Surroundings, TestResult, run_tests},
    state::VersionRef,
};

#[derive(Default)]
struct Folder {
    processes: Vec<Process>,
    flows: Flows,
    calendars: Calendars,
    directory: Directory,
}

impl Folder {
    fn read(text: &str) -> Self {
        let mut folder = Self::default();
        for document in documents(text) {
            // As many lines as stand before it, so that its lines are those of the file.
            let before = usize::try_from(document.first_line).unwrap() - 1;
            let text = "\n".repeat(before) + document.text.trim_start_matches("---");
            match kind_of(&text).unwrap() {
                Kind::Directory => {
                    folder.directory = folder.directory.with_document(read_directory(&text).unwrap()).unwrap();
                }
                Kind::Flow => {
                    let flow = read_flow(&text).unwrap();
                    folder.flows.active.insert(flow.name.clone(), 1);
                    let version = VersionRef { name: flow.name.clone(), version: 1 };
                    folder.flows.versions.insert(version, Arc::new(flow));
                }
                Kind::Calendar => {
                    let calendar = read_calendar(&text).unwrap();
                    folder.calendars.active.insert(calendar.name.clone(), (1, Arc::new(calendar)));
                }
                Kind::ApprovalProcess => folder.processes.push(read_process(&text, &Everything).unwrap().0),
            }
        }
        folder
    }

    fn run(&self, process: &Process) -> Vec<TestResult> {
        self.run_while(process, &|| true)
    }

    fn run_while(&self, process: &Process, go_on: &dyn Fn() -> bool) -> Vec<TestResult> {
        let Self { flows, calendars, directory, .. } = self;
        run_tests(&Surroundings { process, flows, calendars, directory }, go_on)
    }
}

fn printed(results: &[TestResult]) -> String {
    let mut text = String::new();
    for TestResult { name, failed, .. } in results {
        match failed {
            None => writeln!(text, "== {name}: holds").unwrap(),
            Some(failed) => writeln!(text, "== {name}: line {}: {failed}", failed.line).unwrap(),
        }
    }
    text
}

#[test]
fn what_a_test_claims_and_is_so_holds() {
    let folder = Folder::read(include_str!("process_tests/holding.yaml"));
    let results: Vec<_> = folder.processes.iter().flat_map(|process| folder.run(process)).collect();
    let failed: Vec<_> = results.iter().filter(|result| result.failed.is_some()).cloned().collect();
    assert!(failed.is_empty(), "{}", printed(&failed));
    assert_eq!(results.len(), 19);
}

#[test]
fn a_failing_test_shows_what_was_expected_beside_what_is() {
    let folder = Folder::read(include_str!("process_tests/failing.yaml"));
    assert_eq!(printed(&folder.run(&folder.processes[0])), include_str!("process_tests/failing.txt"));
}

#[test]
fn a_failing_test_is_a_complaint_about_its_line() {
    let folder = Folder::read(include_str!("process_tests/failing.yaml"));
    let complaint = folder.run(&folder.processes[0])[1].complaint().unwrap();
    assert!(
        complaint.to_string().starts_with(
            "42:1 tests[1]: the test `the submission is not to be refused` fails: the submission is refused: RECORD_INVALID"
        ),
        "{complaint}"
    );
}

/// A process that goes round as often as it may.
const ENDLESS: &str = "apiVersion: quorate/v1
kind: ApprovalProcess
name: endless
record: { type: any }
allow_no_approvals: true
stages:
  - { name: round, steps: [{ name: again, background: { flow: turn, retry: { max_attempts: 1 } } }], next: [{ to: round }] }
tests: [{ name: round and round, submit: { by: ann, record: {} }, flows: { turn: { output: {} } }, expect: { status: ERROR, failure: ROUNDS_EXCEEDED } }]
---
apiVersion: quorate/v1
kind: Flow
name: turn
type: autolaunched
code: {}
";

#[test]
fn the_tests_of_a_process_may_not_decide_for_ever() {
    let folder = Folder::read(ENDLESS);
    let mut process = folder.processes[0].clone();
    assert!(folder.run(&process)[0].failed.is_none(), "{}", printed(&folder.run(&process)));
    process.tests = vec![process.tests[0].clone(); 100];
    let results = folder.run(&process);
    let last = results.last().unwrap().failed.as_ref().unwrap();
    assert_eq!(
        last.message,
        format!("the tests of a process may take {DECISIONS_MAX} steps together, and have taken them")
    );
    assert!(results[0].failed.is_none());
}

/// A process whose flow is stopped with its worker, again and again.
const STOPPED: &str = "apiVersion: quorate/v1
kind: ApprovalProcess
name: stopped
record: { type: any }
allow_no_approvals: true
stages: [{ name: work, steps: [{ name: job, background: { flow: turn, retry: { max_attempts: 1 } } }], next: [{ to: end }] }]
tests:
  - name: stopped too often
    submit: { by: ann, record: {} }
    flows: { turn: { error: WORKER_STOPPED } }
    expect: { status: ERROR, failure: FLOW_FAILED }
---
apiVersion: quorate/v1
kind: Flow
name: turn
type: autolaunched
code: {}
";

#[test]
fn an_attempt_that_its_worker_gives_up_counts_once_this_has_happened_too_often() {
    let folder = Folder::read(STOPPED);
    let results = folder.run(&folder.processes[0]);
    assert!(results[0].failed.is_none(), "{}", printed(&results));
}

#[test]
fn tests_are_stopped_when_there_is_no_time_for_them() {
    let folder = Folder::read(include_str!("process_tests/holding.yaml"));
    let asked = Cell::new(0);
    let go_on = || {
        asked.set(asked.get() + 1);
        asked.get() <= 20
    };
    let results = folder.run_while(&folder.processes[0], &go_on);
    let message = |result: &TestResult| result.failed.as_ref().map(|failed| failed.message.clone());
    let stopped = Some("the tests of the process take longer than they may here".to_owned());
    assert_eq!((message(&results[0]), message(&results[14])), (None, stopped));
}

/// A process whose flow answers much, over and over.
const WORDY: &str = "apiVersion: quorate/v1
kind: ApprovalProcess
name: wordy
record: { type: any }
allow_no_approvals: true
stages:
  - { name: round, steps: [{ name: again, background: { flow: talk } }], next: [{ when: submission.round < 50, to: round }, { to: end }] }
tests:
  - name: it says much
    submit: { by: ann, record: {} }
    flows: { talk: { output: { words: WORDS } } }
    expect: { status: REJECTED, round: 1, outputs: { again: { words: MORE_WORDS } } }
---
apiVersion: quorate/v1
kind: Flow
name: talk
type: autolaunched
code: {}
";

#[test]
fn a_failing_test_is_told_within_bounds() {
    let words = "word-".repeat(10_000);
    let folder = Folder::read(&WORDY.replace("MORE_WORDS", &format!("{words}again")).replace("WORDS", &words));
    let told = printed(&folder.run(&folder.processes[0]));
    assert!(told.len() < 30_000, "{} bytes", told.len());
    for shown in
        ["submission APPROVED, round 50", "  … 1 lines", "step again#50 COMPLETED", "stage round#2 COMPLETED", "word-…"]
    {
        assert!(told.contains(shown), "{shown}: {told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a script does in whatever order, its test ends, and says what stopped it.
    #[test]
    fn a_test_in_any_order_ends(
        lines in proptest::collection::vec((0_usize..1_000, any::<bool>(), 1_u64..100_000_000_000), 0..40),
        mocks in proptest::collection::vec(0_usize..3, 1..4),
    ) {
        let folder = Folder::read(include_str!("process_tests/holding.yaml"));
        let mut process = folder.processes[0].clone();
        let actions: Vec<Line> = process.tests.iter().flat_map(|test| test.script.clone()).collect();
        let mut test = process.tests[0].clone();
        test.script = lines
            .iter()
            .map(|(index, waits, by)| match waits {
                true => Line { line: 1, what: LineKind::Advance(*by) },
                false => actions[index % actions.len()].clone(),
            })
            .collect();
        let answer = |kind: &usize| match kind {
            0 => Mock::Output(serde_json::json!({ "ok": true, "isOrchestrationConditionMet": true })),
            1 => Mock::Error { code: "DOWN".into(), message: String::new(), retryable: true },
            _ => Mock::Silent,
        };
        for answers in test.flows.values_mut() {
            *answers = mocks.iter().map(answer).collect();
        }
        process.tests = vec![test];
        let results = folder.run(&process);
        prop_assert_eq!(results.len(), 1);
        prop_assert_eq!(printed(&results), printed(&folder.run(&process)));
    }
}
