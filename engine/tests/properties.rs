//! Whatever is asked of a submission, in whatever order, on whatever process: the invariants hold.
//!
//! `QUORATE_LONG=1` runs ten times as many sequences.

#[path = "support/invariants.rs"]
mod invariants;
#[path = "support/processes.rs"]
mod processes;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{FileFailurePersistence, RngAlgorithm},
};
use quorate_engine::{
    command::{
        Actor, Command, Decide, FlowEffect, Migrate, Override, OverrideTarget, ReportOutcome, Reported, Submit,
        SubmitScreen, UpdateRecord,
    },
    decide::record_digest,
    decision_rule::Votes,
    definition::{DecisionRule, Process, Quorum, RejectRule, Step, StepKind, Whom},
    delegation::Delegation,
    event::EmittedEvent,
    expression::Expression,
    id::{JobId, UserName, WorkItemId},
    state::{Assignee, StageRun, Submission, Verdict, VersionRef, WorkItem},
};
use serde_json::json;
use uuid::Uuid;

use processes::PEOPLE;
use world::World;

/// How many sequences each of the two properties runs: enough to visit every rule many times, and few enough for a run of all
/// tests on a busy machine of two cores.
const SEQUENCES: u32 = 5_000;

/// As long a life as a submission usually has.
const COMMANDS_MAX: usize = 40;

fn config() -> ProptestConfig {
    let factor = if std::env::var_os("QUORATE_LONG").is_some() { 10 } else { 1 };
    ProptestConfig {
        cases: SEQUENCES * factor,
        max_shrink_iters: 20_000,
        // The default is a cipher, which takes longer than the engine where nothing is optimised.
        rng_algorithm: RngAlgorithm::XorShift,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/properties.txt"))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_invariants_hold_in_small_processes_whatever_is_asked(
        process in processes::process(1..=2),
        submit in submit(),
        asks in vec(ask(), 1..=COMMANDS_MAX),
    ) {
        run_sequence(process, &submit, &asks);
    }

    #[test]
    fn the_invariants_hold_in_larger_processes_whatever_is_asked(
        process in processes::process(3..=4),
        submit in submit(),
        asks in vec(ask(), 1..=COMMANDS_MAX),
    ) {
        run_sequence(process, &submit, &asks);
    }

    #[test]
    fn a_rule_does_not_care_for_the_order_of_votes(rule in processes::rule(), cast in vec(vote(), 1..=7), order in any::<u64>()) {
        settles_as_its_votes_do(rule, &cast, order);
    }
}

/// A vote, what it weighs, and whether whoever casts it holds a veto.
#[derive(Clone, Copy, Debug)]
struct Vote {
    verdict: Verdict,
    weight: u32,
    veto: bool,
}

fn vote() -> impl Strategy<Value = Vote> {
    let verdict = prop_oneof![4 => Just(Verdict::Approve), 3 => Just(Verdict::Reject), 2 => Just(Verdict::Abstain)];
    (verdict, 1..=4_u32, rarely()).prop_map(|(verdict, weight, veto)| Vote { verdict, weight, veto })
}

/// Those who are asked, and the votes of the first of them.
fn votes_of(asked: &[Vote], cast: &[Vote]) -> Votes {
    let sum = |of: &[Vote], verdict: Option<Verdict>| {
        of.iter().filter(|vote| verdict.is_none_or(|verdict| vote.verdict == verdict)).map(|vote| vote.weight).sum()
    };
    Votes {
        asked: sum(asked, None),
        approved: sum(cast, Some(Verdict::Approve)),
        rejected: sum(cast, Some(Verdict::Reject)),
        abstained: sum(cast, Some(Verdict::Abstain)),
        vetoed: cast.iter().any(|vote| vote.veto && vote.verdict == Verdict::Reject),
    }
}

/// Every full set of votes settles, in whatever order they come. What is settled never unsettles: whatever those who are left
/// would have said, it would be settled, and the same way, where no rejection settles it that comes before approval does.
fn settles_as_its_votes_do(rule: DecisionRule, cast: &[Vote], order: u64) {
    let weighs = matches!(rule.approve, Quorum::Weight(_));
    let mut cast: Vec<Vote> =
        cast.iter().map(|vote| Vote { weight: if weighs { vote.weight } else { 1 }, ..*vote }).collect();
    let all = votes_of(&cast, &cast);
    // A step that asks fewer people than approval takes does not start.
    if matches!(rule.approve, Quorum::AtLeast(needed) | Quorum::Weight(needed) if needed > all.asked) {
        return;
    }
    let in_the_end = rule.outcome(all);
    assert!(in_the_end.is_some(), "everybody has voted, and nothing is settled");
    let length = cast.len();
    for place in 0..length {
        let swapped =
            usize::try_from(order.rotate_left(u32::try_from(place * 9).unwrap_or_default()) % 97).unwrap_or_default();
        cast.swap(place, swapped % length);
    }
    // A rejection by any, by so many or by veto settles a step that approvals would have settled had they come first.
    let first_come = rule.approve == Quorum::Any
        || rule.reject != RejectRule::Unreachable
        || cast.iter().any(|vote| vote.veto && vote.verdict == Verdict::Reject);
    let mut settled = None;
    for voted in 0..=length {
        let votes = votes_of(&cast, &cast[..voted]);
        let outcome = rule.outcome(votes);
        match (settled, outcome) {
            (Some(_), None) => panic!("{rule:?} is settled by {:?} and no more with one vote more", &cast[..voted]),
            (Some(before), Some(after)) => assert!(before == after || first_come, "{before:?}, then {after:?}"),
            (None, Some(Verdict::Approve)) => assert!(votes.approved >= 1, "approved by nobody"),
            (None, _) => {}
        }
        settled = settled.or(outcome);
        if votes.asked == votes.abstained {
            assert_eq!(outcome, Some(Verdict::Reject), "all have abstained, which approves nothing");
        }
    }
    assert!(first_come || settled == in_the_end, "{settled:?} in this order, {in_the_end:?} in another");
}

fn run_sequence(process: Process, submit: &Submit, asks: &[Ask]) {
    let submit = with_choices_that_fit(submit, &process);
    let mut world = World::new(process, processes::flows(), processes::directory());
    // Some of what is delegated at all is so from the beginning: many submissions are soon at an end.
    for delegation in asks.iter().filter(|ask| matches!(ask, Ask::Delegate { .. })).take(2) {
        put_delegation(delegation, &mut world);
    }
    if world.run(&Command::Submit(Box::new(submit))).is_err() {
        return;
    }
    for ask in asks {
        if let Some(command) = command(ask, &mut world) {
            // Refused or not: what must hold is checked by the world.
            let _ = world.run(&command);
        }
    }
    world.finish();
}

/// With so many choices that nearly every submission begins: whom the process leaves to the submitter they choose, and nobody
/// else. One that chooses four or more is left as it is.
fn with_choices_that_fit(submit: &Submit, process: &Process) -> Submit {
    let mut submit = submit.clone();
    if submit.choices.values().map(Vec::len).sum::<usize>() > 3 {
        return submit;
    }
    let barred = [Some(&submit.submitter), submit.on_behalf_of.as_ref()];
    let others = ["bob", "carol", "eve", "admin"].map(UserName::from);
    let others: Vec<String> =
        others.iter().filter(|name| !barred.contains(&Some(name))).map(ToString::to_string).collect();
    let leaves_it = |step: &Step| match &step.kind {
        StepKind::Approval(approval) => {
            approval.assign.iter().any(|rule| matches!(rule.whom, Whom::ChosenBySubmitter { .. }))
        }
        StepKind::Background(_) => false,
    };
    let steps = process.stages.iter().flat_map(|stage| &stage.steps);
    submit.choices = steps.filter(|step| leaves_it(step)).map(|step| (step.name.clone(), others.clone())).collect();
    submit
}

/// Something that is asked. Numbers choose among what there is when it is asked.
#[derive(Clone, Debug)]
enum Ask {
    Decide {
        item: usize,
        closed_too: bool,
        as_asked: bool,
        /// By somebody who acts for somebody who is asked, where there is one.
        lent: bool,
        who: usize,
        verdict: Verdict,
        comment: bool,
        old_record: bool,
        /// On the screen of its step, where that has one.
        on_screen: bool,
    },
    Report {
        job: usize,
        attempt: Attempt,
        outcome: ReportOutcome,
    },
    Recall {
        who: usize,
    },
    Cancel {
        who: usize,
    },
    Comment {
        who: usize,
    },
    Retry {
        who: usize,
        step: usize,
    },
    RetryStage {
        who: usize,
        stage: usize,
    },
    Skip {
        who: usize,
        step: usize,
    },
    Suspend {
        who: usize,
    },
    Resume {
        who: usize,
    },
    GoTo {
        who: usize,
        stage: usize,
    },
    Migrate {
        who: usize,
        change: usize,
    },
    OnItem {
        item: usize,
        closed_too: bool,
        as_meant: bool,
        who: usize,
        what: OnItem,
    },
    Wait {
        milliseconds: i64,
    },
    Overdue {
        job: usize,
        attempt: Attempt,
    },
    Wake,
    SubmitAgain,
    UpdateRecord {
        who: usize,
        amount: f64,
        note: bool,
        reported: Option<Reported>,
    },
    /// One delegation of each name that is put again and again, and taken back by being put with a window that is over.
    Delegate {
        name: usize,
        from: usize,
        delegates: Vec<usize>,
        elsewhere: bool,
        when: Option<&'static str>,
        hours: i64,
    },
}

/// What is asked on a work item besides deciding it.
#[derive(Clone, Debug)]
enum OnItem {
    Claim,
    OpenScreen,
    Release,
    Reassign(Assignee),
    Override { verdict: Verdict, by_name: bool },
    Question,
    Answer,
    SendBack(usize),
}

#[derive(Clone, Copy, Debug)]
enum Attempt {
    Live,
    Before,
    Next,
    ForeignToken,
    ForeignJob,
}

fn submit() -> impl Strategy<Value = Submit> {
    let submitter = prop_oneof![12 => Just("ann"), 2 => Just("bob"), 2 => Just("stranger"), 1 => Just("dan")];
    let on_behalf_of = proptest::option::weighted(0.1, Just("eve"));
    let amount = prop_oneof![Just(5.0), Just(50.0)];
    let steps = proptest::sample::select(vec!["s0a", "s0b", "s1a"]);
    let people = proptest::sample::select(vec!["bob", "carol", "eve", "admin"]);
    let chosen = prop_oneof![4 => Just(Vec::new()), 3 => vec((steps, people), 1..=4)];
    (submitter, on_behalf_of, amount, chosen).prop_map(|(submitter, on_behalf_of, amount, chosen)| Submit {
        tenant: World::identity().0,
        id: World::identity().1,
        process: VersionRef { name: "process".to_owned(), version: 1 },
        record_type: String::new(),
        record_id: "1".to_owned(),
        data: std::sync::Arc::new(json!({ "amount": amount })),
        source_version: None,
        submitter: UserName::from(submitter),
        on_behalf_of: on_behalf_of.map(UserName::from),
        comment: String::new(),
        choices: choices(chosen),
        administrator: false,
        before: None,
        traceparent: None,
    })
}

/// For some of the steps that leave it to the submitter, and now and then for one that does not.
fn choices(chosen: Vec<(&str, &str)>) -> BTreeMap<String, Vec<String>> {
    let mut choices: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (step, person) in chosen {
        choices.entry(step.to_owned()).or_default().push(person.to_owned());
    }
    choices
}

fn ask() -> impl Strategy<Value = Ask> {
    let who = 0..PEOPLE.len();
    let administrator = prop_oneof![4 => Just(5_usize), 1 => who.clone()];
    let numbers = 0..100_usize;
    let verdict = prop_oneof![8 => Just(Verdict::Approve), 2 => Just(Verdict::Reject), 2 => Just(Verdict::Abstain)];
    let on_screen = any::<bool>();
    let decide =
        (numbers.clone(), rarely(), (often(), any::<bool>(), on_screen), who.clone(), verdict, often(), rarely())
            .prop_map(|(item, closed_too, (as_asked, lent, on_screen), who, verdict, comment, old_record)| {
                Ask::Decide { item, closed_too, as_asked, lent, who, verdict, comment, old_record, on_screen }
            });
    let told = proptest::option::of(proptest::option::of(1..=5_u64));
    let amount = prop_oneof![3 => Just(5.0), 3 => Just(50.0)];
    let update = (prop_oneof![3 => Just(0_usize), 2 => who.clone()], amount, any::<bool>(), told).prop_map(
        |(who, amount, note, reported)| {
            let reported = reported.map(|source_version| Reported { source_version });
            Ask::UpdateRecord { who, amount, note, reported }
        },
    );
    let report = (numbers.clone(), attempt(), outcome());
    let on_item = (numbers.clone(), rarely(), often(), who.clone(), on_item())
        .prop_map(|(item, closed_too, as_meant, who, what)| Ask::OnItem { item, closed_too, as_meant, who, what });
    prop_oneof![
        12 => decide,
        12 => on_item,
        12 => report.prop_map(|(job, attempt, outcome)| Ask::Report { job, attempt, outcome }),
        1 => who.clone().prop_map(|who| Ask::Recall { who }),
        1 => administrator.clone().prop_map(|who| Ask::Cancel { who }),
        1 => who.prop_map(|who| Ask::Comment { who }),
        3 => (administrator.clone(), numbers.clone()).prop_map(|(who, step)| Ask::Retry { who, step }),
        2 => (administrator.clone(), numbers.clone()).prop_map(|(who, step)| Ask::Skip { who, step }),
        1 => administrator.clone().prop_map(|who| Ask::Suspend { who }),
        2 => administrator.clone().prop_map(|who| Ask::Resume { who }),
        1 => (administrator.clone(), numbers.clone()).prop_map(|(who, stage)| Ask::GoTo { who, stage }),
        1 => (administrator.clone(), numbers.clone()).prop_map(|(who, change)| Ask::Migrate { who, change }),
        1 => (administrator, numbers.clone()).prop_map(|(who, stage)| Ask::RetryStage { who, stage }),
        2 => prop_oneof![Just(1_000), Just(11_000), Just(310_000), Just(1_000_000)]
            .prop_map(|milliseconds| Ask::Wait { milliseconds }),
        2 => (numbers, attempt()).prop_map(|(job, attempt)| Ask::Overdue { job, attempt }),
        6 => delegate(),
        2 => Just(Ask::Wake),
        1 => Just(Ask::SubmitAgain),
        3 => update,
    ]
}

fn delegate() -> impl Strategy<Value = Ask> {
    let who = 0..PEOPLE.len() - 1;
    let when = prop_oneof![
        6 => Just(None),
        1 => Just(Some("record.amount > 10.0")),
        1 => Just(Some("record.nothing")),
    ];
    let hours = prop_oneof![5 => Just(24), 1 => Just(0)];
    (0..4_usize, who.clone(), vec(who, 1..=3), rarely(), when, hours).prop_map(
        |(name, from, delegates, elsewhere, when, hours)| Ask::Delegate {
            name,
            from,
            delegates,
            elsewhere,
            when,
            hours,
        },
    )
}

fn on_item() -> impl Strategy<Value = OnItem> {
    let people = proptest::sample::select(PEOPLE).prop_map(|name| Assignee::User(name.to_owned()));
    let to = prop_oneof![
        4 => people,
        1 => Just(Assignee::Group("finance".to_owned())),
        1 => Just(Assignee::Queue("intake".to_owned())),
        1 => Just(Assignee::Group("idle".to_owned())),
    ];
    let verdict = prop_oneof![3 => Just(Verdict::Approve), 2 => Just(Verdict::Reject), 1 => Just(Verdict::Abstain)];
    let overriding = (verdict, any::<bool>()).prop_map(|(verdict, by_name)| OnItem::Override { verdict, by_name });
    prop_oneof![
        4 => Just(OnItem::Claim),
        2 => Just(OnItem::Release),
        2 => Just(OnItem::OpenScreen),
        4 => to.prop_map(OnItem::Reassign),
        1 => overriding,
        3 => Just(OnItem::Question),
        3 => Just(OnItem::Answer),
        4 => (0..100_usize).prop_map(OnItem::SendBack),
    ]
}

fn often() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.8)
}

fn rarely() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.1)
}

fn attempt() -> impl Strategy<Value = Attempt> {
    prop_oneof![
        10 => Just(Attempt::Live),
        1 => Just(Attempt::Before),
        1 => Just(Attempt::Next),
        1 => Just(Attempt::ForeignToken),
        1 => Just(Attempt::ForeignJob),
    ]
}

fn outcome() -> impl Strategy<Value = ReportOutcome> {
    let completed = |output| ReportOutcome::Completed { output, effects: Vec::new() };
    let failed = |code: &str, retryable| ReportOutcome::Failed {
        code: code.to_owned(),
        message: "it failed".to_owned(),
        retryable,
    };
    prop_oneof![
        3 => Just(ReportOutcome::Started { worker: "worker".to_owned() }),
        1 => Just(ReportOutcome::Heartbeat),
        4 => Just(completed(json!({ "ok": true }))),
        2 => Just(completed(json!({}))),
        4 => Just(completed(json!({ "isOrchestrationConditionMet": true, "ok": true }))),
        3 => Just(completed(json!({ "isOrchestrationConditionMet": false, "ok": false }))),
        4 => vec(effect(), 1..=3)
            .prop_map(|effects| ReportOutcome::Completed { output: json!({ "ok": true }), effects }),
        2 => Just(failed("DOWN", true)),
        1 => Just(failed("DOWN", false)),
        1 => Just(failed("NO", true)),
        1 => Just(failed("WORKER_STOPPED", true)),
    ]
}

fn effect() -> impl Strategy<Value = FlowEffect> {
    let emitted = EmittedEvent {
        event_type: "order.created".to_owned(),
        source: None,
        subject: None,
        data_schema: None,
        data: Some(json!({ "order": 1 })),
    };
    let amount = prop_oneof![Just(json!(5.0)), Just(json!(50.0)), Just(json!("much")), Just(json!(null))];
    let note = prop_oneof![Just(json!("a word")), Just(json!(null))];
    prop_oneof![
        2 => Just(FlowEffect::Comment("a word".to_owned())),
        1 => Just(FlowEffect::Comment(String::new())),
        2 => Just(FlowEffect::Emit(emitted)),
        3 => amount.prop_map(|amount| FlowEffect::RecordPatch(json!({ "amount": amount }))),
        3 => note.prop_map(|note| FlowEffect::RecordPatch(json!({ "note": note }))),
    ]
}

/// Puts a delegation, where the directory is sound with it.
fn put_delegation(ask: &Ask, world: &mut World) {
    let Ask::Delegate { name, from, delegates, elsewhere, when, hours } = ask else { return };
    let name = format!("delegation-{name}");
    let person = |index: &usize| PEOPLE[*index].to_owned();
    let mut delegates = delegates.iter().map(person);
    let before = world.directory.delegations.remove(&name);
    let delegation = Delegation {
        name: name.clone(),
        from: person(from),
        to: delegates.next().unwrap_or_default(),
        start: world.now,
        end: world.now + SignedDuration::from_hours(*hours),
        processes: elsewhere.then(|| "elsewhere".to_owned()).into_iter().collect(),
        when: when.map(|when| Expression::parse(when).expect("the conditions of this file can be parsed")),
        alternates: delegates.collect(),
    };
    world.directory.delegations.insert(name.clone(), delegation);
    if world.directory.check().is_err() {
        world.directory.delegations.remove(&name);
        world.directory.delegations.extend(before.filter(|_| *hours > 0).map(|before| (name, before)));
    }
}

/// The command that an ask comes to now; none where there is nothing of the kind.
fn command(ask: &Ask, world: &mut World) -> Option<Command> {
    if let Ask::Wait { milliseconds } = ask {
        world.advance(SignedDuration::from_millis(*milliseconds));
        return None;
    }
    let state = world.state.clone()?;
    let state = &*state;
    match ask {
        Ask::Decide { .. } => decide_command(ask, world, state),
        Ask::OnItem { .. } => on_item_command(ask, world, state),
        Ask::Report { job, attempt, outcome } => {
            let (job, number) = chosen_attempt(state, *job, *attempt)?;
            let report = world.report(job, number, outcome.clone());
            Some(match (report, attempt) {
                (Command::Report(mut report), Attempt::ForeignToken) => {
                    report.token = World::foreign_token();
                    Command::Report(report)
                }
                (report, _) => report,
            })
        }
        Ask::Recall { who } => Some(Command::Recall { by: actor(*who), comment: String::new() }),
        Ask::Cancel { who } => Some(Command::Cancel { by: actor(*who), comment: String::new() }),
        Ask::Comment { who } => Some(Command::Comment { by: actor(*who), comment: "a word".to_owned() }),
        Ask::Retry { who, step } => Some(Command::RetryStep { by: actor(*who), step: step_name(state, *step)? }),
        Ask::RetryStage { who, stage } => {
            Some(Command::RetryStage { by: actor(*who), stage: choose(&state.stage_runs, *stage)?.name.clone() })
        }
        Ask::Skip { who, step } => Some(Command::SkipStep {
            by: actor(*who),
            step: step_name(state, *step)?,
            outputs: json!({ "ok": true }),
            comment: String::new(),
        }),
        Ask::Suspend { who } => Some(Command::Suspend { by: actor(*who), comment: String::new() }),
        Ask::Resume { who } => Some(Command::Resume { by: actor(*who), comment: String::new() }),
        Ask::GoTo { who, stage } => Some(Command::GoToStage {
            by: actor(*who),
            stage: choose(&world.process.stages, *stage)?.name.clone(),
            comment: String::new(),
        }),
        Ask::Migrate { who, change } => {
            let (process, stages) = processes::next_version(&world.process, *change);
            Some(Command::Migrate(Box::new(Migrate {
                by: actor(*who),
                to: VersionRef { name: state.process.name.clone(), version: state.process.version + 1 },
                process: process.into(),
                stages,
                steps: BTreeMap::new(),
                comment: String::new(),
            })))
        }
        Ask::Overdue { job, attempt } => {
            let (job, attempt) = chosen_attempt(state, *job, *attempt)?;
            Some(world.overdue(job, attempt))
        }
        Ask::Wake => Some(Command::Wake),
        Ask::UpdateRecord { who, amount, note, reported } => {
            let data = if *note { json!({ "amount": amount, "note": "a word" }) } else { json!({ "amount": amount }) };
            Some(Command::UpdateRecord(Box::new(UpdateRecord {
                by: actor(*who),
                data: std::sync::Arc::new(data),
                comment: String::new(),
                reported: *reported,
            })))
        }
        Ask::Delegate { .. } => {
            put_delegation(ask, world);
            None
        }
        Ask::SubmitAgain => Some(Command::Submit(Box::new(submit_again(state)))),
        Ask::Wait { .. } => None,
    }
}

fn decide_command(ask: &Ask, world: &World, state: &Submission) -> Option<Command> {
    let Ask::Decide { item, closed_too, as_asked, lent, who, verdict, comment, old_record, on_screen } = ask else {
        return None;
    };
    let items = state.stage_runs.iter().flat_map(|stage| &stage.steps).flat_map(|step| &step.work_items);
    let items: Vec<_> = items.filter(|item| *closed_too || item.closed_at.is_none()).collect();
    let item = choose(&items, *item)?;
    let asked = asked_by(item, world);
    let lends = |delegation: &&Delegation| asked.contains(&UserName::from(delegation.from.as_str()));
    let acting: Vec<_> = world
        .directory
        .delegations
        .values()
        .filter(lends)
        .flat_map(Delegation::delegates)
        .map(UserName::from)
        .collect();
    let actor = match choose(&acting, *who) {
        Some(acting) if *lent => acting.clone(),
        _ if *as_asked => choose(&asked, *who)?.clone(),
        _ => actor(*who).name,
    };
    let record_digest = if *old_record { record_digest(&json!({})) } else { state.record.digest.clone() };
    let decide = Decide {
        work_item: item.id,
        actor,
        verdict: *verdict,
        comment: if *comment { "because".to_owned() } else { String::new() },
        channel: "API".to_owned(),
        record_digest,
    };
    let has_screen = state.work_item(item.id).is_some_and(|(_, step, _)| step.screen.is_some());
    Some(if *on_screen && (has_screen || *closed_too) {
        let seen = if *comment { json!({ "seen": true }) } else { json!({ "seen": "no" }) };
        Command::SubmitScreen(SubmitScreen { decide, values: std::sync::Arc::new(seen) })
    } else {
        Command::Decide(decide)
    })
}

fn on_item_command(ask: &Ask, world: &World, state: &Submission) -> Option<Command> {
    let Ask::OnItem { item, closed_too, as_meant, who, what } = ask else { return None };
    let steps = state.stage_runs.iter().flat_map(|stage| &stage.steps);
    let items = steps.flat_map(|step| step.work_items.iter().map(move |item| (step, item)));
    let mut items: Vec<_> = items.filter(|(_, item)| *closed_too || item.closed_at.is_none()).collect();
    if *as_meant && items.iter().any(|(_, item)| is_meant(what, item)) {
        items.retain(|(_, item)| is_meant(what, item));
    }
    let (step, item) = choose(&items, *item)?;
    let by = if *as_meant { meant(what, item, *who, world, state)? } else { actor(*who) };
    let (work_item, comment) = (item.id, "because".to_owned());
    Some(match what {
        OnItem::Claim => Command::Claim { work_item, by },
        OnItem::Release => Command::Release { work_item, by },
        OnItem::OpenScreen => Command::ReportScreenFailure { work_item, by },
        OnItem::Reassign(to) => Command::Reassign { work_item, by, to: to.clone(), comment },
        OnItem::Override { verdict, by_name } => Command::Override(Override {
            target: overridden(work_item, &step.name, *by_name),
            by,
            verdict: *verdict,
            comment,
            record_digest: state.record.digest.clone(),
        }),
        OnItem::Question => Command::RequestInformation { work_item, by, question: "what?".to_owned() },
        OnItem::Answer => Command::AnswerInformation { work_item, by, answer: "this".to_owned() },
        OnItem::SendBack(to) => {
            let to = choose(&state.stage_runs, *to)?.name.clone();
            Command::SendBack { work_item, by, to, comment }
        }
    })
}

/// Whether an item is one on which something can be asked at all.
fn is_meant(what: &OnItem, item: &WorkItem) -> bool {
    match what {
        OnItem::Claim => !matches!(item.assignee, Assignee::User(_)),
        OnItem::Release => item.claim.is_some(),
        OnItem::Answer => item.open_question().is_some(),
        OnItem::Reassign(_) | OnItem::Override { .. } | OnItem::OpenScreen | OnItem::Question | OnItem::SendBack(_) => {
            true
        }
    }
}

/// Somebody who may well ask it.
fn meant(what: &OnItem, item: &WorkItem, who: usize, world: &World, state: &Submission) -> Option<Actor> {
    let administrator = || Actor { name: UserName::from("admin"), administrator: true };
    Some(match (what, &item.claim) {
        (OnItem::Override { .. }, _) => administrator(),
        (OnItem::Reassign(_) | OnItem::SendBack(_) | OnItem::Release, _) if who.is_multiple_of(2) => administrator(),
        (OnItem::Answer, _) => Actor { name: state.submitter.clone(), administrator: false },
        (_, Some(claim)) => Actor { name: claim.by.clone(), administrator: false },
        (_, None) => Actor { name: choose(&asked_by(item, world), who)?.clone(), administrator: false },
    })
}

/// Those whom an item asks.
fn asked_by(item: &WorkItem, world: &World) -> Vec<UserName> {
    let people = PEOPLE.iter().map(|name| UserName::from(*name));
    people.filter(|name| quorate_engine::decide::may_decide(&item.assignee, name, &world.directory)).collect()
}

fn overridden(work_item: WorkItemId, step: &str, by_name: bool) -> OverrideTarget {
    if by_name { OverrideTarget::Step(step.to_owned()) } else { OverrideTarget::WorkItem(work_item) }
}

fn chosen_attempt(state: &Submission, job: usize, attempt: Attempt) -> Option<(JobId, u32)> {
    let jobs: Vec<_> = state.stage_runs.iter().rev().flat_map(StageRun::jobs).map(|placed| placed.job).collect();
    // Live ones are what most reports are of.
    let live: Vec<_> = jobs.iter().copied().filter(|job| job.is_live()).collect();
    let job = choose(if live.is_empty() { &jobs } else { &live }, job)?;
    Some(match attempt {
        Attempt::Live | Attempt::ForeignToken => (job.id, job.attempt),
        Attempt::Before => (job.id, job.attempt - 1),
        Attempt::Next => (job.id, job.attempt + 1),
        Attempt::ForeignJob => (JobId(Uuid::from_u128(u128::MAX)), 1),
    })
}

/// Steps in error first: those are what administrators look at.
fn step_name(state: &Submission, step: usize) -> Option<String> {
    let steps: Vec<_> = state.stage_runs.iter().flat_map(|stage| &stage.steps).collect();
    let failed: Vec<_> = steps.iter().copied().filter(|step| step.failure.is_some()).collect();
    choose(if failed.is_empty() { &steps } else { &failed }, step).map(|step| step.name.clone())
}

fn submit_again(state: &Submission) -> Submit {
    // What has ended is at times submitted again, and at times only the call comes again.
    let ended = state.status.is_terminal() && !state.version.is_multiple_of(3);
    Submit {
        tenant: state.tenant.clone(),
        id: if ended { World::next_identity(state.id) } else { state.id },
        process: state.process.clone(),
        record_type: String::new(),
        record_id: state.record.id.clone(),
        data: state.record.data.clone(),
        source_version: state.record.source_version,
        submitter: state.submitter.clone(),
        on_behalf_of: state.on_behalf_of.clone(),
        comment: state.comment.clone(),
        choices: state.choices.clone(),
        administrator: false,
        before: ended.then(|| std::sync::Arc::new(state.clone())),
        traceparent: None,
    }
}

fn actor(who: usize) -> Actor {
    let name = PEOPLE[who % PEOPLE.len()];
    Actor { name: UserName::from(name), administrator: name == "admin" }
}

fn choose<T>(from: &[T], which: usize) -> Option<&T> {
    from.get(which.checked_rem(from.len())?)
}
