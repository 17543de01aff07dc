//! Running tests: a clock, ids and flows of their own, and the rules as they are.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{
    ADMINISTRATOR, Expectation, Line, LineKind, Mock, NOT_TRIGGERED, ProcessTest, TestResult,
    action::{Stage, actor},
    expectation,
    report::Failed,
};
use crate::{
    command::{Command, Report, ReportOutcome, Submit},
    context::{Calendars, Context, Flows, Ids},
    decide::{Decided, decide},
    definition::Process,
    directory::{Directory, User},
    id::{JobId, SubmissionId, Tenant},
    projection::milliseconds,
    refusal::Refusal,
    state::{Condition, Job, Submission, VersionRef},
};

/// How many commands all tests of a process may decide. A hundred tests have fifty each, which is more than people write; a
/// server runs them whenever a process is published.
pub const DECISIONS_MAX: u32 = 5_000;

/// What a worker of a test is called.
const WORKER: &str = "test";

/// What tests run in: what the process will find when it is published.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The process, with its tests.
    pub process: &'a Process,
    /// The flows.
    pub flows: &'a Flows,
    /// The calendars.
    pub calendars: &'a Calendars,
    /// The people.
    pub directory: &'a Directory,
}

/// Runs every test of the process, in the order in which they are written. Before each command `go_on` is asked whether there is
/// time for it: a step may have dear conditions, and a process many steps, and the engine has no clock. Once it says no, what is
/// left of the tests fails.
pub fn run_tests(world: &Surroundings<'_>, go_on: &dyn Fn() -> bool) -> Vec<TestResult> {
    let directory = with_administrator(world.directory);
    let world = &Surroundings { directory: &directory, ..*world };
    let mut decisions = DECISIONS_MAX;
    let mut results = Vec::with_capacity(world.process.tests.len());
    for (index, test) in world.process.tests.iter().enumerate() {
        let mut run = Run {
            world,
            test,
            now: test.now,
            state: None,
            ids: CountedIds::default(),
            answers: BTreeMap::new(),
            silent: BTreeSet::new(),
            decisions,
            go_on,
        };
        let failed = run.run().err();
        decisions = run.decisions;
        results.push(TestResult { index, name: test.name.clone(), failed });
    }
    results
}

/// The people, and the administrator whom every test has.
fn with_administrator(directory: &Directory) -> Cow<'_, Directory> {
    if directory.is_active(ADMINISTRATOR) {
        return Cow::Borrowed(directory);
    }
    let mut directory = directory.clone();
    let name = ADMINISTRATOR.to_owned();
    let user = User { name: name.clone(), active: true, manager: None, email: None, time_zone: None };
    directory.users.insert(name, user);
    Cow::Owned(directory)
}

struct Run<'a> {
    world: &'a Surroundings<'a>,
    test: &'a ProcessTest,
    now: Timestamp,
    state: Option<Submission>,
    ids: CountedIds,
    /// How many answers each flow has given.
    answers: BTreeMap<String, usize>,
    /// Attempts that are heard of no more.
    silent: BTreeSet<(JobId, u32)>,
    /// How many commands may still be decided.
    decisions: u32,
    /// Whether there is time to decide another.
    go_on: &'a dyn Fn() -> bool,
}

/// Why a command was not carried out.
enum Stopped {
    Refused(Refusal),
    Failed(String),
}

impl Run<'_> {
    fn run(&mut self) -> Result<(), Failed> {
        self.submit().map_err(|message| self.failed(self.test.submit.line, &message))?;
        for Line { line, what } in &self.test.script {
            match what {
                LineKind::Expect(expectation) => self.expect(*line, expectation)?,
                LineKind::Do(action) => match self.act(action) {
                    Ok(()) => {}
                    Err(Stopped::Failed(message)) => return Err(self.failed(*line, &message)),
                    Err(Stopped::Refused(refusal)) => {
                        return Err(self.failed(*line, &format!("it is refused: {}", why(&refusal))));
                    }
                },
                LineKind::Refused(action, reason) => {
                    let got = match self.act(action) {
                        Ok(()) => "it is not refused".to_owned(),
                        Err(Stopped::Refused(refusal)) if refusal.reason() == reason => continue,
                        Err(Stopped::Refused(refusal)) => format!("it is refused: {}", why(&refusal)),
                        Err(Stopped::Failed(message)) => message,
                    };
                    return Err(self.failed(*line, &format!("{reason} is expected, but {got}")));
                }
                LineKind::Advance(by) => self.advance(*by).map_err(|message| self.failed(*line, &message))?,
            }
        }
        match &self.test.expect {
            Some((line, expectation)) => self.expect(*line, expectation),
            None => Ok(()),
        }
    }

    fn submit(&mut self) -> Result<(), String> {
        let submit = &self.test.submit;
        if let Some(kind) = submit.on {
            let triggered = self.world.process.is_triggered_by(kind, &submit.record, self.now)?;
            match (triggered, submit.refused.as_deref()) {
                (true, Some(NOT_TRIGGERED)) => {
                    return Err(format!("{NOT_TRIGGERED} is expected, but the trigger fits"));
                }
                (true, _) => {}
                (false, Some(NOT_TRIGGERED)) => return Ok(()),
                (false, _) => {
                    return Err(format!("{NOT_TRIGGERED}: the trigger of the process does not fit the change"));
                }
            }
        }
        let command = Command::Submit(Box::new(Submit {
            tenant: Tenant::from("test"),
            id: SubmissionId(self.ids.uuid()),
            process: VersionRef { name: self.world.process.name.clone(), version: 1 },
            record_type: String::new(),
            record_id: "1".to_owned(),
            data: Arc::new(submit.record.clone()),
            submitter: submit.by.clone(),
            on_behalf_of: submit.on_behalf_of.clone(),
            comment: submit.comment.clone(),
            choices: submit.choices.clone(),
            source_version: None,
            administrator: actor(&submit.by).administrator,
            before: None,
            traceparent: None,
        }));
        match (self.carry_out(&command), &submit.refused) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(reason)) => Err(format!("{reason} is expected, but the submission is not refused")),
            (Err(Stopped::Refused(refusal)), Some(reason)) if refusal.reason() == reason => Ok(()),
            (Err(Stopped::Refused(refusal)), None) => Err(format!("the submission is refused: {}", why(&refusal))),
            (Err(Stopped::Refused(refusal)), Some(reason)) => {
                Err(format!("{reason} is expected, but the submission is refused: {}", why(&refusal)))
            }
            (Err(Stopped::Failed(message)), _) => Err(message),
        }
    }

    fn act(&mut self, action: &super::Action) -> Result<(), Stopped> {
        let next_id = SubmissionId(self.ids.uuid());
        let missing = || Stopped::Failed("there is no submission: it was refused".to_owned());
        let state = self.state.as_ref().ok_or_else(missing)?;
        let stage = Stage { world: self.world, state, now: self.now };
        let command = stage.command(action, next_id).map_err(Stopped::Failed)?;
        self.carry_out(&command)
    }

    fn expect(&self, line: u64, expectation: &Expectation) -> Result<(), Failed> {
        let Some(state) = &self.state else {
            return Err(self.failed(line, "there is no submission: it was refused"));
        };
        let differences = expectation::differences(expectation, state);
        if differences.is_empty() {
            return Ok(());
        }
        Err(Failed::new(line, "it does not stand as expected", differences, self.state.as_ref()))
    }

    fn failed(&self, line: u64, message: &str) -> Failed {
        Failed::new(line, message, Vec::new(), self.state.as_ref())
    }

    /// Carries out a command, and lets flows answer until none is asked any more.
    fn carry_out(&mut self, command: &Command) -> Result<(), Stopped> {
        self.decide(command)?;
        self.let_flows_answer().map_err(Stopped::Failed)
    }

    fn decide(&mut self, command: &Command) -> Result<(), Stopped> {
        let Some(left) = self.decisions.checked_sub(1) else {
            let message =
                format!("the tests of a process may take {DECISIONS_MAX} steps together, and have taken them");
            return Err(Stopped::Failed(message));
        };
        if !(self.go_on)() {
            return Err(Stopped::Failed("the tests of the process take longer than they may here".to_owned()));
        }
        self.decisions = left;
        let Surroundings { process, flows, calendars, directory } = *self.world;
        let mut context = Context { now: self.now, process, flows, calendars, directory, ids: &mut self.ids };
        let begins = matches!(command, Command::Submit(_));
        let state = self.state.as_ref().filter(|_| !begins);
        let Decided { state, .. } = decide(state, command, &mut context).map_err(Stopped::Refused)?;
        self.state = Some(state);
        Ok(())
    }

    fn let_flows_answer(&mut self) -> Result<(), String> {
        while let Some((job, asked_by)) = self.asked() {
            let (id, attempt, token, flow) = (job.id, job.attempt, job.token.clone(), job.spec.flow.name.clone());
            let Some(mocks) = self.test.flows.get(&flow) else {
                return Err(format!(
                    "flow `{flow}` is asked by {asked_by}, and the test does not say what it answers; say it with \
                     `flows: {{ {flow}: {{ output: {{}} }} }}`"
                ));
            };
            let given = self.answers.entry(flow).or_default();
            let mock = mocks.get(*given).or(mocks.last());
            *given += 1;
            let outcome = match mock {
                Some(Mock::Output(output)) => ReportOutcome::Completed { output: output.clone(), effects: Vec::new() },
                Some(Mock::Error { code, message, retryable }) => {
                    ReportOutcome::Failed { code: code.clone(), message: message.clone(), retryable: *retryable }
                }
                Some(Mock::Silent) | None => {
                    self.silent.insert((id, attempt));
                    ReportOutcome::Started { worker: WORKER.to_owned() }
                }
            };
            self.timely(&Command::Report(Report { job: id, attempt, token, outcome }))?;
        }
        Ok(())
    }

    /// The first flow that is asked and has not answered, and by what. An attempt does not wait for its time: a test moves the
    /// clock, and nothing else does.
    fn asked(&self) -> Option<(&Job, String)> {
        let state = self.state.as_ref()?;
        let placed = state
            .jobs()
            .filter(|placed| placed.job.is_live() && !state.holds(placed.job))
            .filter(|placed| !self.silent.contains(&(placed.job.id, placed.job.attempt)))
            // What may begin begins, and what has begun ends, before it is asked whether all is done.
            .min_by_key(|placed| match placed.condition {
                Some(Condition::StepEntry(_)) => 0,
                None => 1,
                Some(Condition::StepExit(_) | Condition::StageExit(_)) => 2,
            })?;
        let of = placed.step.map_or_else(
            || format!("the exit condition of stage `{}`", placed.stage.name),
            |step| format!("step `{}`", step.name),
        );
        Some((placed.job, of))
    }

    /// Carries out what no person asks for, which is not refused.
    fn timely(&mut self, command: &Command) -> Result<(), String> {
        self.decide(command).map_err(|stopped| match stopped {
            Stopped::Failed(message) => message,
            Stopped::Refused(refusal) => why(&refusal),
        })
    }

    /// Lets time pass, and whatever is due happen at its time.
    fn advance(&mut self, by: u64) -> Result<(), String> {
        let until = self.now.checked_add(milliseconds(by)).map_err(|_| "there is no time so late".to_owned())?;
        while let Some((at, command)) = self.next_due().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.timely(&command)?;
            self.let_flows_answer()?;
        }
        self.now = until;
        // Conditions may read the time.
        if self.state.is_some() {
            self.timely(&Command::Wake)?;
            self.let_flows_answer()?;
        }
        Ok(())
    }

    /// The next moment at which something follows from time alone.
    fn next_due(&self) -> Option<(Timestamp, Command)> {
        let state = self.state.as_ref()?;
        let timer = state.timers().first().map(|timer| (timer.at, Command::Wake));
        let jobs = state.jobs().map(|placed| placed.job).filter(|job| job.is_live() && !state.holds(job));
        let overdue = jobs.filter_map(|job| {
            let command = Command::JobOverdue { job: job.id, attempt: job.attempt, heartbeat_at: None };
            Some((over_at(job)?, command))
        });
        timer.into_iter().chain(overdue).min_by_key(|(at, _)| *at)
    }
}

/// The reason for a refusal, what people are told, and what is wrong with which field.
fn why(refusal: &Refusal) -> String {
    let violations = match refusal {
        Refusal::RecordInvalid { violations } | Refusal::ScreenValuesInvalid { violations } => &violations[..],
        _ => &[],
    };
    let fields = violations.iter().map(|field| format!("{}: {}", field.path, field.message));
    let parts: Vec<String> = std::iter::once(format!("{}: {refusal}", refusal.reason())).chain(fields).collect();
    parts.join("; ")
}

/// When an attempt is over that is heard of no more.
fn over_at(job: &Job) -> Option<Timestamp> {
    let heartbeat = job.spec.retry.heartbeat_timeout.map(milliseconds);
    let silent =
        heartbeat.zip(job.started_at).and_then(|(timeout, at): (SignedDuration, _)| at.checked_add(timeout).ok());
    silent.into_iter().chain(job.deadline()).min()
}

/// Ids in the order in which they are asked for, and no chance at all: a test gives the same each time.
#[derive(Clone, Default)]
struct CountedIds {
    given: u128,
}

impl Ids for CountedIds {
    fn uuid(&mut self) -> Uuid {
        self.given += 1;
        Uuid::from_u128(self.given)
    }

    fn secret(&mut self) -> u128 {
        self.given += 1;
        self.given
    }

    fn fraction(&mut self) -> f64 {
        0.0
    }
}
