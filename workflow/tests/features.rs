//! The features of the DSL, as cases in `features/*.txt`: a workflow, its input, what the world answers, and what comes of it.
//! `docs/flows.md` names the case that shows each task and property, and this checks that it exists.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::Write,
    fs,
    future::poll_fn,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Condvar, Mutex},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use quorate_workflow::{
    Effects, Finished, GrpcFailure, GrpcRequest, GrpcStatus, HttpFailure, HttpRequest, HttpResponse, Mail, MailFailure,
    Problem, Run, Workflow, evaluations,
};
use serde_json::{Value, json};

/// What a case's text ends with, so that lines are those of the case.
const DOCUMENT: &str = "document: { dsl: '1.0.3', namespace: tests, name: case, version: '1.0.0' }\n";

struct Case {
    name: String,
    workflow: String,
    /// By its name: `input`, `http`, `grpc`, `mail`, `effects`, `slept`, `output`, `fault`, `refused`.
    sections: Vec<(String, String)>,
}

impl Case {
    fn section(&self, name: &str) -> Option<&str> {
        self.sections.iter().find(|(section, _)| section == name).map(|(_, text)| text.trim_end())
    }
}

fn cases() -> Vec<(PathBuf, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/features");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        for text in fs::read_to_string(&file).unwrap().split("\n=== ").skip(1) {
            let (name, text) = text.split_once('\n').unwrap();
            let mut parts = text.split("\n--- ");
            let workflow = parts.next().unwrap().to_owned();
            let sections = parts
                .map(|part| part.split_once('\n').unwrap_or((part, "")))
                .map(|(name, text)| (name.trim().to_owned(), text.to_owned()))
                .collect();
            cases.push((file.clone(), Case { name: name.trim().to_owned(), workflow, sections }));
        }
    }
    cases
}

/// The only test that evaluates: it looks at how many evaluations run in the process.
#[test]
fn every_case_gives_what_it_says() {
    let mut failures = String::new();
    let mut names = BTreeSet::new();
    for (file, case) in cases() {
        assert!(names.insert(case.name.clone()), "two cases are named {}", case.name);
        let known = ["input", "http", "grpc", "mail", "slept", "effects", "output", "fault", "refused"];
        assert!(case.sections.iter().all(|(name, _)| known.contains(&name.as_str())), "{}", case.name);
        if let Err(difference) = play(&case) {
            let _ = writeln!(failures, "{} {}:\n{difference}\n", file.display(), case.name);
        }
    }
    assert!(names.len() > 50, "the cases were not found");
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn the_documentation_names_a_case_for_every_task_and_property() {
    let names: BTreeSet<String> = cases().into_iter().map(|(_, case)| case.name).collect();
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/flows.md")).unwrap();
    let table = docs.split("## Every task and property").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 40, "the table was not found");
    for row in rows {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let named: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test is named: {row}");
        for name in named {
            assert!(names.contains(name), "there is no case `{name}`: {row}");
        }
    }
}

#[test]
fn every_example_of_the_documentation_is_taken() {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/flows.md")).unwrap();
    let examples: Vec<&str> = docs.split("```yaml\n").skip(1).map(|text| text.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 4, "the examples were not found");
    for example in examples {
        // A whole definition, or a part of a document.
        let read = if example.contains("\nworkflow:\n") {
            Workflow::read(example, Some("workflow"))
        } else {
            Workflow::read(&format!("{example}{DOCUMENT}"), None)
        };
        assert!(read.is_ok(), "{example}: {read:?}");
    }
}

fn play(case: &Case) -> Result<(), String> {
    let document = if case.workflow.starts_with("document:") { "" } else { DOCUMENT };
    let text = format!("{}\n{document}", case.workflow);
    let workflow = match (Workflow::read(&text, None), case.section("refused")) {
        (Ok(workflow), None) => workflow,
        (Ok(_), Some(_)) => return Err("it was not refused".to_owned()),
        (Err(complaints), refused) => {
            let complaints: Vec<String> = complaints.iter().map(ToString::to_string).collect();
            return same(&complaints.join("\n"), refused.unwrap_or("(not refused)"));
        }
    };
    // As it comes with a job, it is the same.
    let workflow = Workflow::from_json(workflow.definition().clone()).map_err(|found| format!("{found:?}"))?;
    let input: Value =
        serde_json::from_str(case.section("input").unwrap_or("{}")).map_err(|error| error.to_string())?;
    let lines = |name: &str| Mutex::new(case.section(name).unwrap_or_default().lines().map(str::to_owned).collect());
    let world = World {
        clock: Mutex::new(Clock { now: "2026-01-05T09:00:00Z".parse().unwrap(), timers: Vec::new() }),
        answers: lines("http"),
        calls: lines("grpc"),
        mails: lines("mail"),
        unexpected: Mutex::default(),
    };
    let run = Run { id: "job-1".to_owned(), metadata: json!({"attempt": 1}) };
    let begun = world.now();
    let result: Result<Finished, Problem> = world.play(workflow.run(run, input, &world));
    let left = [&world.answers, &world.calls, &world.mails].map(|lines| lines.lock().unwrap().len());
    let left: usize = left.iter().sum();
    let unexpected = world.unexpected.lock().unwrap().clone();
    if left > 0 || !unexpected.is_empty() {
        return Err(format!(
            "{left} requests, calls or mails were not made; not expected: {unexpected:?}; result: {result:?}"
        ));
    }
    if let Some(slept) = case.section("slept") {
        same(&format!("{:#}", world.now().duration_since(begun)), slept)?;
    }
    match (result, case.section("output"), case.section("fault")) {
        (Ok(Finished { output, effects }), Some(expected), None) => {
            let lines = |effects: &[Value]| effects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
            let found: Vec<Value> = effects.iter().map(|effect| serde_json::to_value(effect).unwrap()).collect();
            let wanted = case.section("effects").unwrap_or_default().lines().map(serde_json::from_str);
            let wanted = wanted.collect::<Result<Vec<Value>, _>>().map_err(|error| error.to_string())?;
            same(&lines(&found), &lines(&wanted))?;
            let expected: Value = serde_json::from_str(expected).map_err(|error| error.to_string())?;
            same(&output.to_string(), &expected.to_string())
        }
        (Err(problem), None, Some(expected)) => {
            let retry = if problem.is_retryable() { ", retryable" } else { "" };
            same(&format!("{} {}{retry}: {problem}", problem.code(), problem.status), expected)
        }
        (result, _, _) => Err(format!("it gives {result:?}")),
    }
}

fn same(found: &str, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("expected:\n{expected}\nfound:\n{found}")) }
}

/// A world whose time passes only while everybody waits for it.
struct World {
    clock: Mutex<Clock>,
    answers: Mutex<VecDeque<String>>,
    calls: Mutex<VecDeque<String>>,
    mails: Mutex<VecDeque<String>>,
    unexpected: Mutex<Vec<String>>,
}

struct Clock {
    now: Timestamp,
    timers: Vec<(Timestamp, Waker)>,
}

#[derive(Default)]
struct Flag(Mutex<bool>, Condvar);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }
}

impl World {
    fn play<T>(&self, run: impl Future<Output = T>) -> T {
        let flag = Arc::new(Flag::default());
        let waker = Waker::from(flag.clone());
        let mut run = pin!(run);
        loop {
            if let Poll::Ready(result) = run.as_mut().poll(&mut Context::from_waker(&waker)) {
                return result;
            }
            loop {
                // In this order: an evaluation that is over has set the flag before.
                let evaluating = evaluations() > 0;
                let is_woken = flag.0.lock().unwrap();
                let mut is_woken = if evaluating && !*is_woken {
                    flag.1.wait_timeout(is_woken, Duration::from_millis(1)).unwrap().0
                } else {
                    is_woken
                };
                if std::mem::take(&mut *is_woken) {
                    break;
                }
                drop(is_woken);
                if !evaluating {
                    self.advance();
                }
            }
        }
    }

    fn advance(&self) {
        let mut clock = self.clock.lock().unwrap();
        let next = clock.timers.iter().map(|(at, _)| *at).min().expect("nobody waits, and nothing goes on");
        clock.now = clock.now.max(next);
        let now = clock.now;
        let due: Vec<Waker> = clock.timers.extract_if(.., |(at, _)| *at <= now).map(|(_, waker)| waker).collect();
        drop(clock);
        due.into_iter().for_each(Waker::wake);
    }
}

#[async_trait]
impl Effects for World {
    /// Lines of `METHOD URI {headers} BODY -> STATUS CONTENT`, or `-> refused REASON`, or `-> unavailable REASON`.
    async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpFailure> {
        if let Some(name) = request.secrets.iter().find(|name| *name == "bound") {
            return Err(HttpFailure::Refused(format!("`{name}` does not go there")));
        }
        let mut made = format!("{} {}", request.method, request.uri);
        for (name, value) in &request.headers {
            let _ = write!(made, " [{name}: {value}]");
        }
        if !request.body.is_empty() {
            let _ = write!(made, " {}", String::from_utf8_lossy(&request.body));
        }
        let line = self.answers.lock().unwrap().pop_front().unwrap_or_default();
        let (expected, answer) = line.split_once(" -> ").unwrap_or_default();
        if made != expected {
            self.unexpected.lock().unwrap().push(made);
            return Err(HttpFailure::Refused("not expected".to_owned()));
        }
        let (status, content) = answer.split_once(' ').unwrap_or((answer, ""));
        match status {
            "refused" => Err(HttpFailure::Refused(content.to_owned())),
            "unavailable" => Err(HttpFailure::Unavailable(content.to_owned())),
            status => {
                let media =
                    if serde_json::from_str::<Value>(content).is_ok() { "application/json" } else { "text/plain" };
                Ok(HttpResponse {
                    status: status.parse().unwrap(),
                    headers: vec![("content-type".to_owned(), media.to_owned())],
                    body: content.as_bytes().to_vec(),
                })
            }
        }
    }

    /// Lines of `HOST:PORT SERVICE/METHOD <PROTO> [authorization] ARGUMENTS -> `, and `ok ANSWER`, the name of a status and
    /// what the service says of it, or what else becomes of it.
    async fn grpc(&self, request: GrpcRequest) -> Result<Value, GrpcFailure> {
        let GrpcRequest { proto, host, port, service, method, authorization, arguments, secrets } = request;
        if let Some(name) = secrets.iter().find(|name| *name == "bound") {
            return Err(GrpcFailure::Refused(format!("`{name}` does not go there")));
        }
        let mut made = format!("{host}:{port} {service}/{method} <{proto}>");
        if let Some(authorization) = authorization {
            let _ = write!(made, " [{authorization}]");
        }
        let _ = write!(made, " {arguments}");
        let line = self.calls.lock().unwrap().pop_front().unwrap_or_default();
        let (expected, answer) = line.split_once(" -> ").unwrap_or_default();
        if made != expected {
            self.unexpected.lock().unwrap().push(made);
            return Err(GrpcFailure::Refused("not expected".to_owned()));
        }
        let (outcome, content) = answer.split_once(' ').unwrap_or((answer, ""));
        let content = content.to_owned();
        let code = match outcome {
            "ok" => return Ok(serde_json::from_str(&content).unwrap()),
            "refused" => return Err(GrpcFailure::Refused(content)),
            "invalid" => return Err(GrpcFailure::Invalid(content)),
            "unavailable" => return Err(GrpcFailure::Unavailable(content)),
            "CANCELLED" => GrpcStatus::Cancelled,
            "UNKNOWN" => GrpcStatus::Unknown,
            "INVALID_ARGUMENT" => GrpcStatus::InvalidArgument,
            "DEADLINE_EXCEEDED" => GrpcStatus::DeadlineExceeded,
            "NOT_FOUND" => GrpcStatus::NotFound,
            "ALREADY_EXISTS" => GrpcStatus::AlreadyExists,
            "PERMISSION_DENIED" => GrpcStatus::PermissionDenied,
            "RESOURCE_EXHAUSTED" => GrpcStatus::ResourceExhausted,
            "FAILED_PRECONDITION" => GrpcStatus::FailedPrecondition,
            "ABORTED" => GrpcStatus::Aborted,
            "OUT_OF_RANGE" => GrpcStatus::OutOfRange,
            "UNIMPLEMENTED" => GrpcStatus::Unimplemented,
            "INTERNAL" => GrpcStatus::Internal,
            "UNAVAILABLE" => GrpcStatus::Unavailable,
            "DATA_LOSS" => GrpcStatus::DataLoss,
            "UNAUTHENTICATED" => GrpcStatus::Unauthenticated,
            other => panic!("`{other}` is nothing that becomes of a call"),
        };
        Err(GrpcFailure::Status { code, message: content })
    }

    /// Lines of the mail as JSON, ` -> `, and `sent` or what else becomes of it.
    async fn mail(&self, mail: Mail) -> Result<(), MailFailure> {
        let made = serde_json::to_value(&mail).unwrap().to_string();
        let line = self.mails.lock().unwrap().pop_front().unwrap_or_default();
        let (expected, answer) = line.split_once(" -> ").unwrap_or_default();
        let expected = serde_json::from_str::<Value>(expected).map(|mail| mail.to_string()).unwrap_or_default();
        if made != expected {
            self.unexpected.lock().unwrap().push(made);
            return Err(MailFailure::NotConfigured("not expected".to_owned()));
        }
        let (outcome, reason) = answer.split_once(' ').unwrap_or((answer, ""));
        let reason = reason.to_owned();
        match outcome {
            "sent" => Ok(()),
            "not-configured" => Err(MailFailure::NotConfigured(reason)),
            "invalid" => Err(MailFailure::Invalid(reason)),
            "unauthenticated" => Err(MailFailure::Unauthenticated(reason)),
            "rejected" => Err(MailFailure::Rejected(reason)),
            "unavailable" => Err(MailFailure::Unavailable(reason)),
            other => panic!("`{other}` is nothing that becomes of a mail"),
        }
    }

    fn secret(&self, name: &str) -> Option<String> {
        let secret = match name {
            "erp_token" => "s3cret",
            // An example of the specification of Standard Webhooks. The second goes nowhere.
            "hook" | "bound" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "short" => "whsec_c2hvcnQ=",
            _ => return None,
        };
        Some(secret.to_owned())
    }

    async fn sleep(&self, length: Duration) {
        let until = self.now() + SignedDuration::try_from(length).unwrap();
        poll_fn(|context| {
            let mut clock = self.clock.lock().unwrap();
            if clock.now >= until {
                return Poll::Ready(());
            }
            clock.timers.push((until, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn now(&self) -> Timestamp {
        self.clock.lock().unwrap().now
    }

    fn random(&self) -> f64 {
        0.5
    }
}
