//! Processes made by chance: every kind of condition, rule, route and path that a definition can hold, in all combinations.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
};

use proptest::{collection::vec, option, prelude::*};
use quorate_engine::{
    context::Flows,
    definition::{
        ApprovalStep, AssignRule, BackgroundStep, DecisionRule, Escalation, EvaluationFlow, Execution, Expiry,
        ExpiryOutcome, Flow, FlowType, Lapse, Moment, OnChange, OnNoApprovers, OnRejection, Outcome, Process, Quorum,
        RecordPath, RecordType, RejectRule, Reminder, Route, Stage, StageExit, Step, StepExit, StepKind, StepStart,
        Target, UserOrGroup, Whom, read_flow,
    },
    directory::{Directory, Group, Queue, User},
    expression::{Expression, Type},
    state::{RetryPolicy, VersionRef},
};

pub(crate) const PEOPLE: &[&str] = &["ann", "bob", "carol", "dan", "eve", "admin", "stranger"];

/// `dan` is not active, and `stranger` is not there.
pub(crate) fn directory() -> Directory {
    let user = |name: &str, manager: Option<&str>| User {
        name: name.to_owned(),
        active: name != "dan",
        manager: manager.map(str::to_owned),
        email: None,
        time_zone: None,
    };
    let users = [
        user("ann", Some("bob")),
        user("bob", Some("carol")),
        user("carol", None),
        user("dan", None),
        user("eve", Some("carol")),
        user("admin", None),
    ];
    let names = |names: &[&str]| names.iter().copied().map(str::to_owned).collect();
    let group =
        |name: &str, members: &[&str]| Group { name: name.to_owned(), members: names(members), groups: names(&[]) };
    let intake = Queue { name: "intake".to_owned(), members: names(&["eve"]), groups: names(&["finance"]) };
    let groups = [group("finance", &["bob", "carol", "dan", "eve"]), group("idle", &["dan"])];
    Directory {
        users: users.into_iter().map(|user| (user.name.clone(), user)).collect(),
        groups: groups.into_iter().map(|group| (group.name.clone(), group)).collect(),
        queues: BTreeMap::from([("intake".to_owned(), intake)]),
        delegations: BTreeMap::new(),
    }
}

/// It can be shown while the amount is small.
const SCREEN: &str = r#"
apiVersion: quorate/v1
kind: Flow
name: screen
type: screen
screens:
  - name: look
    show: [{ label: Amount, value: "record.amount > 10.0 ? record.missing : record.amount" }]
    fields: { type: object, properties: { seen: { type: boolean } } }
"#;

/// `work` waits, `quick` does not, `answer` is an evaluation, and `gone` has no active version.
pub(crate) fn flows() -> Flows {
    let flow = |name: &str| {
        let flow = Flow {
            name: name.to_owned(),
            flow_type: if name == "answer" { FlowType::Evaluation } else { FlowType::Autolaunched },
            task_queue: "default".to_owned(),
            waits: name == "work",
            input: None,
            output: None,
            screens: Vec::new(),
            is_declarative: false,
        };
        (VersionRef { name: name.to_owned(), version: 1 }, Arc::new(flow))
    };
    let screen = read_flow(SCREEN).expect("the screen flow of the sequences can be read");
    let screen = (VersionRef { name: screen.name.clone(), version: 1 }, Arc::new(screen));
    Flows {
        active: BTreeMap::from(["work", "quick", "answer", "screen"].map(|name| (name.to_owned(), 1))),
        versions: BTreeMap::from([flow("work"), flow("quick"), flow("answer"), screen]),
    }
}

/// A process of so many stages of up to three steps each, and paths to its endings.
pub(crate) fn process(stages: RangeInclusive<usize>) -> impl Strategy<Value = Process> {
    stages.prop_flat_map(|count| {
        let stages: Vec<_> = (0..count).map(|index| stage(index, count)).collect();
        let on_rejection = prop_oneof![
            3 => Just(OnRejection::End),
            1 => Just(OnRejection::Continue),
            1 => (0..count).prop_map(OnRejection::Stage),
        ];
        let on_change = proptest::sample::select(vec![
            OnChange::Deny,
            OnChange::Keep,
            OnChange::DismissAll,
            OnChange::DismissAffected,
            OnChange::DismissAffected,
        ]);
        (stages, on_rejection, path("rejection"), path("recall"), path("cancel"), on_change).prop_map(
            |(stages, on_rejection, rejection_path, recall_path, cancel_path, on_change)| Process {
                name: "process".to_owned(),
                title: "Process".to_owned(),
                summary: Some(expression("'amount ' + string(record.amount)")),
                record: RecordType { name: "request".to_owned(), schema: None, expression_type: Type::Dyn, on_change },
                trigger: None,
                stages: mark_fault_paths(stages),
                on_rejection,
                rejection_path,
                recall_path,
                cancel_path,
                tests: Vec::new(),
            },
        )
    })
}

fn mark_fault_paths(mut stages: Vec<Stage>) -> Vec<Stage> {
    let targets: Vec<_> = stages.iter().filter_map(|stage| stage.on_error.clone()).collect();
    for stage in &mut stages {
        stage.fault_path = targets.contains(&stage.name);
    }
    stages
}

fn stage(index: usize, count: usize) -> impl Strategy<Value = Stage> {
    let steps = vec((start(index), kind()), 1..=3).prop_map(move |steps| named_steps(&format!("s{index}"), steps));
    let exit = prop_oneof![
        5 => Just(StageExit::AllCompleted),
        1 => condition(index).prop_map(StageExit::When),
        1 => evaluation().prop_map(StageExit::Evaluation),
    ];
    // Most ways lead forwards: what goes round without waiting goes round a hundred times in one decision, which is dear.
    let onwards = index + 1..=count;
    let stage_onwards = onwards.clone().prop_map(move |to| if to < count { Some(to) } else { None });
    let on_error = prop_oneof![12 => stage_onwards, 1 => (0..count).prop_map(Some)];
    let on_error = option::weighted(0.4, on_error).prop_map(|to| Some(format!("s{}", to??)));
    let target = prop_oneof![
        1 => (0..count).prop_map(Target::Stage),
        12 => onwards.prop_map(move |to| if to < count { Target::Stage(to) } else { Target::End(None) }),
        6 => option::of(outcome()).prop_map(Target::End),
    ];
    let rules = vec((condition(index), target.clone()), 0..=2);
    (steps, exit, on_error, rules, target).prop_map(move |(steps, exit, on_error, rules, otherwise)| {
        let rules = rules.into_iter().map(|(when, to)| Route { when: Some(when), to });
        let next = rules.chain([Route { when: None, to: otherwise }]).collect();
        Stage { name: format!("s{index}"), steps, exit, on_error, fault_path: false, next }
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Approved), Just(Outcome::Rejected), Just(Outcome::Error)]
}

/// The steps `s0a`, `s0b`, …
fn named_steps(stage: &str, steps: Vec<(StepStart, StepKind)>) -> Vec<Step> {
    let names = ["a", "b", "c"].iter().map(|letter| format!("{stage}{letter}"));
    let step = |(name, (start, mut kind))| {
        if let StepKind::Approval(approval) = &mut kind {
            approval.distinct_from.retain(|other| *other != name);
        }
        Step { name, start, kind }
    };
    names.zip(steps).map(step).collect()
}

fn path(name: &'static str) -> impl Strategy<Value = Vec<Step>> {
    let start = prop_oneof![
        4 => Just(StepStart::StageStarts),
        1 => Just(StepStart::After(vec![format!("{name}a")])),
        1 => condition(0).prop_map(StepStart::When),
        1 => evaluation().prop_map(StepStart::Evaluation),
    ];
    vec((start, background()), 0..=2).prop_map(move |steps| named_steps(name, steps))
}

fn start(stage: usize) -> impl Strategy<Value = StepStart> {
    prop_oneof![
        5 => Just(StepStart::StageStarts),
        2 => Just(StepStart::After(vec![format!("s{stage}a")])),
        2 => condition(stage).prop_map(StepStart::When),
        1 => evaluation().prop_map(StepStart::Evaluation),
    ]
}

fn evaluation() -> impl Strategy<Value = EvaluationFlow> {
    let flow = prop_oneof![8 => Just("answer"), 1 => Just("gone")];
    let input = prop_oneof![6 => Just("submission.round"), 3 => Just("record.amount"), 1 => Just("record.nothing")];
    (flow, input, retry()).prop_map(|(flow, input, retry)| EvaluationFlow {
        flow: flow.to_owned(),
        input: BTreeMap::from([("amount".to_owned(), expression(input))]),
        retry,
    })
}

fn condition(stage: usize) -> impl Strategy<Value = Expression> {
    let fixed = [
        "true",
        "false",
        "record.amount > 10.0",
        "record.nothing == 1",
        "submission.round < 3",
        "now >= timestamp('2026-01-01T00:10:00Z')",
    ];
    let of_steps = ["status == 'COMPLETED'", "status == 'IN_PROGRESS'", "decision == 'REJECT'", "outputs.ok == true"];
    let of_steps = of_steps.map(|what| format!("steps.s{stage}a.{what}"));
    let sources: Vec<_> = fixed.into_iter().map(str::to_owned).chain(of_steps).collect();
    proptest::sample::select(sources).prop_map(|source| expression(&source))
}

fn kind() -> impl Strategy<Value = StepKind> {
    prop_oneof![2 => background(), 3 => approval()]
}

fn background() -> impl Strategy<Value = StepKind> {
    let flow = prop_oneof![6 => Just("work"), 2 => Just("quick"), 1 => Just("gone")];
    let input = prop_oneof![4 => Just("record.amount"), 1 => Just("record.nothing")];
    (flow, input, retry()).prop_map(|(flow, input, retry)| {
        StepKind::Background(BackgroundStep {
            flow: flow.to_owned(),
            execution: Execution::Auto,
            sync_timeout: 10_000,
            input: BTreeMap::from([("amount".to_owned(), expression(input))]),
            retry,
        })
    })
}

fn retry() -> impl Strategy<Value = RetryPolicy> {
    let total_timeout = option::weighted(0.3, Just(900_000));
    let heartbeat_timeout = option::weighted(0.3, Just(10_000));
    (1..=3_u32, total_timeout, heartbeat_timeout).prop_map(|(max_attempts, total_timeout, heartbeat_timeout)| {
        RetryPolicy {
            max_attempts,
            initial_interval: 1_000,
            backoff: 2.0,
            max_interval: 60_000,
            jitter: 0.2,
            non_retryable: vec!["NO".to_owned()],
            timeout: 300_000,
            total_timeout,
            heartbeat_timeout,
        }
    })
}

fn approval() -> impl Strategy<Value = StepKind> {
    // Weights of a fallback are left out: they are published only with a rule that weighs.
    let fallback = assign().prop_map(|rule| AssignRule { weight: 1, ..rule });
    let on_no_approvers = prop_oneof![
        2 => Just(OnNoApprovers::Error),
        1 => Just(OnNoApprovers::Reject),
        1 => vec(fallback, 1..=1).prop_map(OnNoApprovers::Fallback),
    ];
    let exit = prop_oneof![
        12 => Just(StepExit::Settled),
        2 => condition(0).prop_map(StepExit::When),
        2 => evaluation().prop_map(StepExit::Evaluation),
    ];
    let distinct_from = option::weighted(0.3, proptest::sample::select(vec!["s0a", "s0b", "s1a"]));
    let allow_submitter = proptest::bool::weighted(0.2);
    let veto_by = prop_oneof![
        6 => Just(Vec::new()),
        1 => Just(vec![UserOrGroup::User("carol".to_owned()), UserOrGroup::Group("idle".to_owned())]),
        1 => Just(vec![UserOrGroup::Group("finance".to_owned())]),
    ];
    let abstain = proptest::bool::weighted(0.5);
    let voting = (rule(), veto_by, abstain);
    let field = proptest::sample::select(vec!["amount", "note"]);
    let depends_on = option::weighted(0.5, vec(field.prop_map(|name| RecordPath(vec![name.to_owned()])), 1..=1));
    let unchanged = proptest::sample::select(vec!["amount", "note"]);
    let reuse = option::weighted(0.4, vec(unchanged.prop_map(|name| RecordPath(vec![name.to_owned()])), 1..=1));
    let of_record = (depends_on, (proptest::bool::weighted(0.3), proptest::bool::weighted(0.4)), moments(), reuse);
    let claim_limit = option::of(Just(600_000));
    let send_back_to = proptest::sample::select(vec![vec![], vec!["s0"], vec!["s0", "s1"]]);
    let screen = option::weighted(0.3, proptest::sample::select(vec!["screen", "screen", "screen", "gone"]));
    let handling = (allow_submitter, proptest::bool::weighted(0.5), claim_limit, send_back_to, screen);
    (vec(assign(), 1..=3), voting, exit, on_no_approvers, distinct_from, handling, of_record).prop_map(
        |(assign, (decision, veto_by, abstain), exit, on_no_approvers, distinct_from, handling, of_record)| {
            let (depends_on, (allow_reviewer_edit, lock), moments, reuse_when_unchanged) = of_record;
            let (allow_submitter, allow_reassign, claim_limit, send_back_to, screen) = handling;
            let (due, remind, escalate, expire) = moments;
            let mut assign = assign;
            let weighs = matches!(decision.approve, Quorum::Weight(_));
            assign.iter_mut().filter(|_| !weighs).for_each(|rule| rule.weight = 1);
            StepKind::Approval(ApprovalStep {
                assign,
                decision,
                veto_by,
                abstain,
                exit,
                on_no_approvers,
                distinct_from: distinct_from.into_iter().map(str::to_owned).collect(),
                allow_submitter,
                depends_on,
                allow_reviewer_edit,
                lock,
                // Business time has a calendar, which these sequences do without: what it comes to is a table of its own.
                calendar: None,
                due,
                allow_reassign,
                claim_limit,
                send_back_to: send_back_to.into_iter().map(str::to_owned).collect(),
                remind,
                escalate,
                expire,
                reuse_when_unchanged,
                screen: screen.map(str::to_owned),
            })
        },
    )
}

type Moments = (Option<Lapse>, Vec<Reminder>, Vec<Escalation>, Option<Expiry>);

/// Moments within the time that a sequence takes, for some of the steps.
fn moments() -> impl Strategy<Value = Moments> {
    let lapse = || prop_oneof![Just(10_000), Just(300_000), Just(900_000)].prop_map(Lapse::Time);
    let moment = || {
        prop_oneof![
            2 => lapse().prop_map(Moment::After),
            1 => lapse().prop_map(Moment::BeforeDue),
            1 => option::of(lapse()).prop_map(Moment::AfterDue),
        ]
    };
    let reminder =
        (moment(), lapse(), 1..=3_u32).prop_map(|(at, every, times)| Reminder { at, every: Some(every), times });
    let to = prop_oneof![
        2 => assign(),
        1 => (1..=2_u32).prop_map(|levels| AssignRule { whom: Whom::ManagerOfAssignee { levels }, weight: 1 }),
    ];
    // Weights are left out: they are published only with a rule that weighs.
    let to = to.prop_map(|rule| AssignRule { weight: 1, ..rule });
    let escalation =
        (moment(), vec(to, 1..=2), any::<bool>()).prop_map(|(at, to, replace)| Escalation { at, to, replace });
    let outcome = prop_oneof![Just(ExpiryOutcome::Reject), Just(ExpiryOutcome::Error), Just(ExpiryOutcome::Approve)];
    let expires_at = prop_oneof![lapse().prop_map(Moment::After), option::of(lapse()).prop_map(Moment::AfterDue)];
    let expiry = (expires_at, outcome).prop_map(|(at, outcome)| Expiry { at, outcome });
    let some =
        (option::weighted(0.7, lapse()), vec(reminder, 0..=2), vec(escalation, 0..=2), option::weighted(0.5, expiry));
    prop_oneof![1 => Just((None, Vec::new(), Vec::new(), None)), 1 => some]
}

fn assign() -> impl Strategy<Value = AssignRule> {
    let people = proptest::sample::select(vec!["bob", "carol", "dan", "eve", "ann"]);
    let named = proptest::sample::select(vec![
        "['bob', 'user:carol', 'group:finance']",
        "record.amount > 10.0 ? 'group:finance' : 'stranger'",
        "'queue:intake'",
        "record.nothing",
        "[1]",
    ]);
    let from = option::of(Just(vec![UserOrGroup::Group("finance".to_owned()), UserOrGroup::User("admin".to_owned())]));
    let whom = prop_oneof![
        4 => people.prop_map(|name| Whom::User(name.to_owned())),
        3 => Just(Whom::Group("finance".to_owned())),
        1 => Just(Whom::Group("idle".to_owned())),
        1 => Just(Whom::Queue("intake".to_owned())),
        2 => (1..=3_u32).prop_map(|levels| Whom::ManagerOf { user: expression("submission.submitter"), levels }),
        1 => named.prop_map(|source| Whom::Expression(expression(source))),
        1 => from.prop_map(|from| Whom::ChosenBySubmitter { from }),
    ];
    (whom, 1..=3_u32).prop_map(|(whom, weight)| AssignRule { whom, weight })
}

/// Every kind of decision rule.
pub(crate) fn rule() -> impl Strategy<Value = DecisionRule> {
    let approve = prop_oneof![
        Just(Quorum::Any),
        Just(Quorum::All),
        (1..=6_u32).prop_map(Quorum::Weight),
        (1..=3_u32).prop_map(Quorum::AtLeast),
        (1..=100_u32).prop_map(Quorum::Percent),
    ];
    let reject =
        prop_oneof![Just(RejectRule::Any), (1..=3_u32).prop_map(RejectRule::AtLeast), Just(RejectRule::Unreachable),];
    (approve, reject).prop_map(|(approve, reject)| DecisionRule { approve, reject })
}

/// The expression of this source, parsed once: processes are made by the ten thousand, of few expressions.
fn expression(source: &str) -> Expression {
    static PARSED: Mutex<BTreeMap<String, Expression>> = Mutex::new(BTreeMap::new());
    let mut parsed = PARSED.lock().expect("parsing does not panic");
    let parse = || Expression::parse(source).expect("the expressions of this file can be parsed");
    parsed.entry(source.to_owned()).or_insert_with(parse).clone()
}

/// Another version of a process, and what stages that have other names in it were called: it is the same, a stage has another
/// name, each has a step more, or each a step less.
pub(crate) fn next_version(process: &Process, change: usize) -> (Process, BTreeMap<String, String>) {
    let mut next = process.clone();
    let mut renamed = BTreeMap::new();
    match change % 4 {
        0 => {}
        1 => {
            let old = next.stages[0].name.clone();
            let new = if old == "s0" { "t0" } else { "s0" }.to_owned();
            for stage in &mut next.stages {
                for name in std::iter::once(&mut stage.name).chain(&mut stage.on_error) {
                    if *name == old {
                        name.clone_from(&new);
                    }
                }
            }
            renamed.insert(old, new);
        }
        2 => {
            for (index, stage) in next.stages.iter_mut().enumerate() {
                let name = format!("s{index}z{}", stage.steps.len());
                let like = stage.steps[0].clone();
                stage.steps.push(Step { name, start: StepStart::StageStarts, ..like });
            }
        }
        _ => next.stages.iter_mut().filter(|stage| stage.steps.len() > 1).for_each(|stage| {
            stage.steps.pop();
        }),
    }
    (next, renamed)
}
