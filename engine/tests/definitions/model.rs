//! What definitions become.

use super::{
    AssignRule, Everything, Execution, FlowType, Kind, OnNoApprovers, OnRejection, Outcome, PROCESS, Process, Quorum,
    RejectRule, StageExit, StepExit, StepKind, StepStart, Target, UserOrGroup, Whom, completed, kind_of,
    read_directory, read_flow, read_process,
};
use quorate_engine::{
    definition::{ApprovalStep, BackgroundStep, Expiry, ExpiryOutcome, Lapse, Moment, Reminder},
    state::RetryPolicy,
};

fn read(text: &str) -> Process {
    read_process(&completed(text, &PROCESS), &Everything).unwrap_or_else(|complaints| panic!("{complaints:?}")).0
}

fn approval(text: &str) -> ApprovalStep {
    let mut process = read(&format!("stages: [{{ name: a, steps: [{{ name: b, approval: {text} }}] }}]"));
    match process.stages.remove(0).steps.remove(0).kind {
        StepKind::Approval(step) => step,
        StepKind::Background(_) => panic!("an approval step"),
    }
}

fn background(text: &str) -> BackgroundStep {
    let mut process =
        read(&format!("stages: [{{ name: a, steps: [{{ name: b, background: {text} }}] }}]\nallow_no_approvals: true"));
    match process.stages.remove(0).steps.remove(0).kind {
        StepKind::Background(step) => step,
        StepKind::Approval(_) => panic!("a background step"),
    }
}

#[test]
fn routing_is_complete_where_nothing_is_said() {
    let process = read(
        "stages:
- { name: a, steps: [{ name: a, approval: { assign: [{ user: ann }] } }], on_error: f }
- { name: f, fault_path: true, steps: [{ name: f, background: { flow: f } }], next: [{ to: end, outcome: REJECTED }] }
- { name: b, steps: [{ name: b, background: { flow: f } }] }
on_rejection: { to: b }",
    );
    let routes: Vec<Vec<Target>> =
        process.stages.iter().map(|stage| stage.next.iter().map(|route| route.to.clone()).collect()).collect();
    assert_eq!(routes, [[Target::Stage(2)], [Target::End(Some(Outcome::Rejected))], [Target::End(None)]]);
    assert_eq!(process.stages[0].on_error.as_deref(), Some("f"));
    assert!(process.stages[1].fault_path);
    assert!(matches!(process.stages[0].exit, StageExit::AllCompleted));
    assert_eq!(process.on_rejection, OnRejection::Stage(2));
    assert!(process.recall_path.is_empty());
}

#[test]
fn a_process_keeps_what_it_says() {
    let process = read(
        "title: Buy
summary: record.vendor
stages:
  - name: a
    steps:
      - { name: b, approval: { assign: [{ user: ann }] } }
      - { name: c, start: { after: [b] }, approval: { assign: [{ user: ann }] } }
      - { name: d, start: { when: 'true' }, approval: { assign: [{ user: ann }] } }
    complete: { when: record.amount > 5.0 }
    next: [{ when: record.amount > 9.0, to: a }, { to: end, outcome: APPROVED }]
on_rejection: continue
cancel_path: [{ name: x, background: { flow: f } }]",
    );
    assert_eq!((process.name.as_str(), process.title.as_str()), ("purchase", "Buy"));
    assert_eq!(process.summary.as_ref().unwrap().source(), "record.vendor");
    assert_eq!(process.record.name, "purchase");
    assert!(process.record.schema.is_some());
    let stage = &process.stages[0];
    assert!(matches!(&stage.steps[0].start, StepStart::StageStarts));
    assert!(matches!(&stage.steps[1].start, StepStart::After(steps) if steps == &["b"]));
    assert!(matches!(&stage.steps[2].start, StepStart::When(when) if when.source() == "true"));
    assert!(matches!(&stage.exit, StageExit::When(when) if when.source() == "record.amount > 5.0"));
    assert_eq!(stage.next[0].when.as_ref().unwrap().source(), "record.amount > 9.0");
    assert_eq!(stage.next[0].to, Target::Stage(0));
    assert_eq!(stage.next[1].to, Target::End(Some(Outcome::Approved)));
    assert_eq!(process.on_rejection, OnRejection::Continue);
    assert_eq!(process.cancel_path[0].name, "x");
    assert_eq!(read("").title, "purchase");
}

#[test]
fn decision_rules_have_defaults() {
    for (text, approve, reject) in [
        ("{ assign: [{ group: g }] }", Quorum::Any, RejectRule::Any),
        ("{ assign: [{ group: g }], decision: any }", Quorum::Any, RejectRule::Any),
        ("{ assign: [{ group: g }], decision: all }", Quorum::All, RejectRule::Unreachable),
        ("{ assign: [{ group: g }], decision: { all: true, reject: any } }", Quorum::All, RejectRule::Any),
        ("{ assign: [{ group: g }], decision: { at_least: 2 } }", Quorum::AtLeast(2), RejectRule::Unreachable),
        (
            "{ assign: [{ group: g }], decision: { percent: 60, reject: { at_least: 3 } } }",
            Quorum::Percent(60),
            RejectRule::AtLeast(3),
        ),
        ("{ assign: [{ group: g }], decision: { any: true } }", Quorum::Any, RejectRule::Any),
        ("{ assign: [{ group: g }], decision: { weight: 5 } }", Quorum::Weight(5), RejectRule::Unreachable),
    ] {
        let rule = approval(text).decision;
        assert_eq!((rule.approve, rule.reject), (approve, reject), "{text}");
    }
}

#[test]
fn an_approval_step_keeps_what_it_says() {
    let step = approval(
        "{ assign: [{ user: u }, { group: g }, { queue: q }, { manager_of: record.vendor }, { manager_of: \"'x'\", levels: 2 }],
           on_no_approvers: { fallback: [{ user: v }] }, complete: { when: 'true' } }",
    );
    assert_eq!(
        described(&step.assign),
        ["user u", "group g", "queue q", "manager 1 of record.vendor", "manager 2 of 'x'"]
    );
    assert!(matches!(&step.on_no_approvers, OnNoApprovers::Fallback(rules) if described(rules) == ["user v"]));
    assert!(matches!(&step.exit, StepExit::When(when) if when.source() == "true"));
    assert!(matches!(approval("{ assign: [{ user: u }] }").on_no_approvers, OnNoApprovers::Error));
    let rejecting = approval("{ assign: [{ user: u }], on_no_approvers: reject }");
    assert!(matches!(rejecting.on_no_approvers, OnNoApprovers::Reject));
}

#[test]
fn an_approval_step_keeps_what_it_says_of_votes() {
    let step = approval(
        "{ assign: [{ user: u, weight: 3 }, { expression: record.vendor }, { chosen_by_submitter: true, from: [{ group: g }], weight: 2 }],
           decision: { weight: 4, reject: { at_least: 2 }, veto_by: [{ user: u }, { group: legal }], abstain: true }, allow_submitter: true,
           allow_reassign: true, claim: { limit: 4h } }",
    );
    assert_eq!(described(&step.assign), ["user u * 3", "named by record.vendor", "chosen from [Group(\"g\")] * 2"]);
    assert_eq!(step.decision.reject, RejectRule::AtLeast(2));
    assert_eq!(step.veto_by, [UserOrGroup::User("u".to_owned()), UserOrGroup::Group("legal".to_owned())]);
    assert!(step.abstain && step.allow_submitter && step.allow_reassign);
    assert_eq!(step.claim_limit, Some(4 * 60 * 60 * 1_000));
    let plain = approval("{ assign: [{ chosen_by_submitter: true }] }");
    assert_eq!(described(&plain.assign), ["chosen"]);
    assert!(plain.veto_by.is_empty() && !plain.abstain && !plain.allow_submitter);
    assert!(!plain.allow_reassign && plain.claim_limit.is_none() && plain.send_back_to.is_empty());
}

#[test]
fn moments_are_read_as_written() {
    let hours = |count: u64| Lapse::Time(count * 3_600_000);
    let step = approval(
        "{ assign: [{ user: u }], due: 2d,
           remind: [{ before_due: 4h }, { after: 1d, every: 12h, times: 3 }, { after_due: 0s }],
           escalate: [{ after_due: 1h, to: [{ manager_of_assignee: true, levels: 2 }] }, { after: 5d, to: [{ group: g }], how: replace }],
           expire: { after: 10d, outcome: reject } }",
    );
    assert_eq!(step.due, Some(hours(48)));
    let once = |at| Reminder { at, every: None, times: 1 };
    let repeated = Reminder { at: Moment::After(hours(24)), every: Some(hours(12)), times: 3 };
    assert_eq!(step.remind, [once(Moment::BeforeDue(hours(4))), repeated, once(Moment::AfterDue(None))]);
    let escalations: Vec<_> = step.escalate.iter().map(|one| (one.at, described(&one.to), one.replace)).collect();
    let [first, second] = &escalations[..] else { panic!("two escalations are written") };
    assert_eq!(*first, (Moment::AfterDue(Some(hours(1))), vec!["manager 2 of the assignee".to_owned()], false));
    assert_eq!(*second, (Moment::After(hours(120)), vec!["group g".to_owned()], true));
    assert_eq!(step.expire, Some(Expiry { at: Moment::After(hours(240)), outcome: ExpiryOutcome::Reject }));
    let silent =
        approval("{ assign: [{ user: u }], expire: { after: 1d, outcome: approve }, approve_by_silence: true }");
    assert_eq!(silent.expire, Some(Expiry { at: Moment::After(hours(24)), outcome: ExpiryOutcome::Approve }));
}

fn described(rules: &[AssignRule]) -> Vec<String> {
    let described = |whom: &Whom| match whom {
        Whom::User(name) => format!("user {name}"),
        Whom::Group(name) => format!("group {name}"),
        Whom::Queue(name) => format!("queue {name}"),
        Whom::ManagerOf { user, levels } => format!("manager {levels} of {}", user.source()),
        Whom::Expression(expression) => format!("named by {}", expression.source()),
        Whom::ManagerOfAssignee { levels } => format!("manager {levels} of the assignee"),
        Whom::ChosenBySubmitter { from: None } => "chosen".to_owned(),
        Whom::ChosenBySubmitter { from: Some(from) } => format!("chosen from {from:?}"),
    };
    let weighed = |rule: &AssignRule| match rule.weight {
        1 => described(&rule.whom),
        weight => format!("{} * {weight}", described(&rule.whom)),
    };
    rules.iter().map(weighed).collect()
}

#[test]
fn a_background_step_has_defaults() {
    let step = background("{ flow: f }");
    assert_eq!((step.flow.as_str(), step.execution, step.sync_timeout), ("f", Execution::Auto, 10_000));
    assert!(step.input.is_empty());
    let defaults = RetryPolicy {
        max_attempts: 3,
        initial_interval: 1_000,
        backoff: 2.0,
        max_interval: 60_000,
        jitter: 0.2,
        non_retryable: vec![],
        timeout: 600_000,
        total_timeout: None,
        heartbeat_timeout: None,
    };
    assert_eq!(step.retry, defaults);
    let long = background("{ flow: f, retry: { initial_interval: 5m } }").retry;
    assert_eq!((long.initial_interval, long.max_interval), (300_000, 300_000));
}

#[test]
fn a_background_step_keeps_what_it_says() {
    let step = background(
        "{ flow: f, execution: async, input: { a: 12, b: record.vendor }, timeout: 30s, total_timeout: 1h, heartbeat: 5s,
           retry: { max_attempts: 9, initial_interval: 2s, backoff: 3, max_interval: 4m, jitter: 0.5, non_retryable: [NO] } }",
    );
    assert_eq!(step.execution, Execution::Async);
    let input: Vec<(&str, &str)> = step.input.iter().map(|(name, value)| (name.as_str(), value.source())).collect();
    assert_eq!(input, [("a", "12"), ("b", "record.vendor")]);
    let said = RetryPolicy {
        max_attempts: 9,
        initial_interval: 2_000,
        backoff: 3.0,
        max_interval: 240_000,
        jitter: 0.5,
        non_retryable: vec!["NO".to_owned()],
        timeout: 30_000,
        total_timeout: Some(3_600_000),
        heartbeat_timeout: Some(5_000),
    };
    assert_eq!(step.retry, said);
}

#[test]
fn a_flow_has_defaults() {
    let flow = read_flow("{ apiVersion: quorate/v1, kind: Flow, name: f, type: evaluation, code: {} }").unwrap();
    assert_eq!((flow.name.as_str(), flow.flow_type), ("f", FlowType::Evaluation));
    assert_eq!((flow.task_queue.as_str(), flow.waits), ("default", true));
    assert!(flow.input.is_none() && flow.output.is_none());
}

#[test]
fn a_directory_keeps_what_it_says() {
    let people = read_directory(
        "apiVersion: quorate/v1
kind: Directory
users: [{ name: ann, manager: bob, email: ann@example.com }, { name: bob, active: false }]
groups: [{ name: finance, members: [bob, ann, bob], groups: [board] }]
queues: [{ name: intake, members: [bob], groups: [finance] }]",
    )
    .unwrap();
    assert_eq!(people.users[0].manager.as_deref(), Some("bob"));
    assert!(people.users[0].active && !people.users[1].active);
    assert_eq!(people.groups[0].members.iter().collect::<Vec<_>>(), ["ann", "bob"]);
    assert_eq!(people.queues[0].groups.first().map(String::as_str), Some("finance"));
}

#[test]
fn the_kind_of_a_document_is_told() {
    for (kind, name) in Kind::ALL.map(|kind| (kind, kind.as_str())) {
        assert_eq!(kind_of(&format!("apiVersion: quorate/v1\nkind: {name}\nanything: else")), Ok(kind));
    }
    assert!(kind_of("apiVersion: quorate/v1\nkind: Anything").is_err());
}
