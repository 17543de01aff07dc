//! Previews: what is told of a record before it is submitted.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use quorate_engine::{
    Json,
    command::Submit,
    context::{Calendars, Context, Flows, Ids},
    definition::{Everything, Process, read_directory, read_flow, read_process},
    directory::Directory,
    id::{SubmissionId, Tenant, UserName},
    preview::{Preview, preview},
    refusal::Refusal,
    state::VersionRef,
    status::SubmissionStatus,
};
use serde_json::json;
use uuid::Uuid;

const PROCESS: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: purchase
record: { type: request, schema: { type: object, required: [amount], properties: { amount: { type: number } } } }
stages:
  - name: review
    steps:
      - { name: check, background: { flow: work } }
      - { name: manager, start: { after: [check] }, approval: { assign: [{ manager_of: submission.submitter }] } }
      - { name: finance, start: { when: record.amount > 10000.0 }, approval: { assign: [{ group: finance }], decision: all } }
    complete: { when: \"steps.manager.status == 'COMPLETED' && (record.amount <= 10000.0 || steps.finance.status == 'COMPLETED')\" }
    next: [{ when: steps.check.outputs.ok == true, to: book }, { to: end, outcome: REJECTED }]
  - name: book
    steps: [{ name: entry, background: { flow: work } }]
";

const PEOPLE: &str = "\
apiVersion: quorate/v1
kind: Directory
users: [{ name: ann, manager: bob }, { name: bob }, { name: carol }, { name: dan, active: false }]
groups: [{ name: finance, members: [bob, carol, dan] }]
";

const FLOW: &str = "apiVersion: quorate/v1\nkind: Flow\nname: work\ntype: autolaunched\ncode: {}\n";

struct Counted(u128);

impl Ids for Counted {
    fn uuid(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(self.0)
    }

    fn secret(&mut self) -> u128 {
        self.0 += 1;
        self.0
    }

    fn fraction(&mut self) -> f64 {
        0.0
    }
}

fn look(definition: &str, data: Json, outputs: &[(&str, Json)]) -> Result<Preview, Refusal> {
    let (process, _): (Process, _) = read_process(definition, &Everything).expect("the definition can be read");
    let people = read_directory(PEOPLE).expect("the people can be read");
    let directory = Directory::default().with_document(people).expect("the people fit together");
    let reference = VersionRef { name: "work".to_owned(), version: 1 };
    let flow = Arc::new(read_flow(FLOW).expect("the flow can be read"));
    let flows =
        Flows { active: BTreeMap::from([("work".to_owned(), 1)]), versions: BTreeMap::from([(reference, flow)]) };
    let submit = Submit {
        tenant: Tenant::from("default"),
        id: SubmissionId(Uuid::from_u128(u128::MAX)),
        process: VersionRef { name: process.name.clone(), version: 1 },
        record_type: String::new(),
        record_id: "1".to_owned(),
        data: Arc::new(data),
        submitter: UserName::from("ann"),
        on_behalf_of: None,
        comment: String::new(),
        choices: BTreeMap::new(),
        source_version: None,
        administrator: false,
        before: None,
        traceparent: None,
    };
    let outputs = outputs.iter().map(|(step, output)| ((*step).to_owned(), output.clone())).collect();
    let mut context = Context {
        now: Timestamp::UNIX_EPOCH,
        process: &process,
        flows: &flows,
        calendars: &Calendars::default(),
        directory: &directory,
        ids: &mut Counted(0),
    };
    preview(&submit, &outputs, &mut context)
}

fn texts(preview: &Preview) -> Vec<&str> {
    preview.lines.iter().map(|line| line.reason.text.as_str()).collect()
}

#[test]
fn it_tells_who_would_be_asked_and_why_in_order() {
    let told =
        look(PROCESS, json!({ "amount": 25000.0 }), &[("check", json!({ "ok": true }))]).expect("it is accepted");
    assert_eq!(told.status, SubmissionStatus::Approved);
    let texts = texts(&told);
    let place =
        |part: &str| texts.iter().position(|text| text.contains(part)).unwrap_or_else(|| panic!("{part}: {texts:#?}"));
    let finance = place("step finance started, because start: when record.amount > 10000.0: record.amount = 25000");
    let left_out = place("not asked in step finance: user `dan` is not active");
    let carol = place("carol is asked in step finance, because: group finance: member carol");
    let manager = place("bob is asked in step manager, because: manager_of submission.submitter = ann, 1 up: bob");
    let book = place("stage book started, because next of `review`: to book when steps.check.outputs.ok == true");
    assert!(finance < left_out && left_out < carol && carol < manager && manager < book, "{texts:#?}");
    let assumed: Vec<_> = told.lines.iter().filter(|line| line.assumed).map(|line| line.reason.kind.as_str()).collect();
    assert_eq!(
        assumed,
        ["JOB_COMPLETED", "WORK_ITEM_DECIDED", "WORK_ITEM_DECIDED", "WORK_ITEM_DECIDED", "JOB_COMPLETED"]
    );
    assert!(told.not_started.is_empty() && told.stopped.is_none());
}

#[test]
fn it_tells_which_steps_would_not_start_with_what_their_conditions_read() {
    let told = look(PROCESS, json!({ "amount": 5.0 }), &[("check", json!({ "ok": false }))]).expect("it is accepted");
    assert_eq!(told.status, SubmissionStatus::Rejected);
    let [not_started] = told.not_started.as_slice() else { panic!("{:?}", told.not_started) };
    assert_eq!((not_started.stage.as_str(), not_started.step.as_str()), ("review", "finance"));
    let because = not_started.because.as_ref().expect("there is a condition");
    assert_eq!(because.rule, "start: when record.amount > 10000.0");
    assert_eq!(because.values, BTreeMap::from([("record.amount".to_owned(), json!(5))]));
}

#[test]
fn what_depends_on_outputs_that_are_not_stated_is_an_error_that_says_so() {
    let told = look(PROCESS, json!({ "amount": 5.0 }), &[]).expect("it is accepted");
    assert_eq!(told.status, SubmissionStatus::Error);
    assert!(texts(&told).iter().any(|text| text.contains("expression `steps.check.outputs.ok == true` failed")));
}

#[test]
fn what_would_be_refused_is_refused() {
    assert!(matches!(look(PROCESS, json!({}), &[]), Err(Refusal::RecordInvalid { .. })));
}

#[test]
fn where_nothing_can_be_assumed_it_says_why() {
    let waits = PROCESS.replace("record.amount > 10000.0 }", "now > timestamp('2030-01-01T00:00:00Z') }");
    let told = look(&waits, json!({ "amount": 25000.0 }), &[("check", json!({ "ok": true }))]).expect("it is accepted");
    assert_eq!(told.status, SubmissionStatus::InProgress);
    assert!(told.stopped.is_some_and(|why| why.contains("waits for time")));
}

#[test]
fn what_flows_are_asked_about_conditions_is_assumed_to_hold() {
    let asking = PROCESS.replace("{ when: record.amount > 10000.0 }", "{ evaluation: { flow: work } }");
    let told =
        look(&asking, json!({ "amount": 25000.0 }), &[("check", json!({ "ok": true }))]).expect("it is accepted");
    assert_eq!(told.status, SubmissionStatus::Approved);
    let assumed: Vec<_> = told.lines.iter().filter(|line| line.assumed).map(|line| line.reason.kind.as_str()).collect();
    assert_eq!(assumed.first(), Some(&"EVALUATION_COMPLETED"));
    let texts = texts(&told);
    assert!(texts.iter().any(|text| text.contains("finance started, because start: evaluation work")), "{texts:#?}");
}
