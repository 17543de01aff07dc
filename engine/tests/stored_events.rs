//! What is stored is stored for ever: events of earlier versions are read, mean what they meant, and are written as they were.

use quorate_engine::{Json, event::EventKind};
use serde_json::json;

const SUBMISSION: &str = "019abcde-0000-7000-8000-000000000001";
const STEP_RUN: &str = "019abcde-0000-7000-8000-000000000002";
const WORK_ITEM: &str = "019abcde-0000-7000-8000-000000000003";

fn read(kind: &str, body: &Json) -> EventKind {
    EventKind::from_parts(kind, body).unwrap_or_else(|error| panic!("{error}"))
}

/// Events as the first version wrote them.
fn of_the_first_version() -> [(&'static str, Json); 4] {
    [
        (
            "SUBMITTED",
            json!({
                "tenant": "default", "submission": SUBMISSION, "process": { "name": "purchase", "version": 1 },
                "record": { "type": "purchase", "id": "1", "version": 1, "digest": "d", "data": {} },
                "submitter": "ann", "comment": "please", "summary": "ACME: 50",
            }),
        ),
        (
            "WORK_ITEM_ASSIGNED",
            json!({
                "work_item": WORK_ITEM, "step_run": STEP_RUN, "assignee": { "kind": "user", "name": "bob" },
                "reason": "user bob",
            }),
        ),
        (
            "WORK_ITEM_DECIDED",
            json!({
                "work_item": WORK_ITEM,
                "decision": {
                    "verdict": "APPROVE", "actor": "bob", "comment": "", "channel": "API", "record_digest": "d",
                },
            }),
        ),
        ("STEP_COMPLETED", json!({ "step_run": STEP_RUN, "outputs": { "decision": "APPROVE" }, "settled": "APPROVE" })),
    ]
}

#[test]
fn events_of_the_first_version_are_written_as_they_were() {
    for (kind, body) in of_the_first_version() {
        assert_eq!(read(kind, &body).to_parts(), (kind.to_owned(), body));
    }
}

#[test]
fn a_step_of_the_first_version_reuses_nothing_and_its_record_was_not_counted() {
    let [(submitted, record), .., (completed, body)] = of_the_first_version();
    let EventKind::StepCompleted { reused, .. } = read(completed, &body) else { panic!("it is another event") };
    let EventKind::Submitted { record, .. } = read(submitted, &record) else { panic!("it is another event") };
    assert_eq!((reused, record.source_version), (None, None));
}

#[test]
fn a_work_item_of_the_first_version_weighs_one_and_is_no_veto() {
    let [_, (kind, body), ..] = of_the_first_version();
    let EventKind::WorkItemAssigned { weight, veto, .. } = read(kind, &body) else { panic!("it is another event") };
    assert_eq!((weight, veto), (1, false));
}

#[test]
fn deadlines_of_which_only_the_due_date_is_said_are_read_and_written_as_they_were() {
    let body = json!({ "step_run": STEP_RUN, "deadlines": { "due_at": "2026-11-24T10:00:00Z" } });
    assert_eq!(read("DEADLINES_SET", &body).to_parts(), ("DEADLINES_SET".to_owned(), body));
}

#[test]
fn a_step_of_the_first_version_started_and_completed_by_no_rule_that_was_kept() {
    let EventKind::StepStarted { because, .. } = read("STEP_STARTED", &json!({ "step_run": STEP_RUN })) else {
        panic!("it is another event")
    };
    assert_eq!(because, None);
    let body = json!({ "step_run": STEP_RUN, "outputs": {} });
    let EventKind::StepCompleted { because, .. } = read("STEP_COMPLETED", &body) else { panic!("it is another event") };
    assert_eq!(because, None);
}

#[test]
fn an_attempt_that_failed_before_stops_were_told_apart_counts() {
    let body = json!({
        "job": STEP_RUN, "attempt": 1, "code": "WORKER_STOPPED", "message": "the worker was stopped",
        "next_token": format!("{SUBMISSION}.secret"), "next_at": "2026-11-24T10:00:00Z",
    });
    let event = read("JOB_ATTEMPT_FAILED", &body);
    assert!(matches!(event, EventKind::JobAttemptFailed { stopped: false, .. }));
    assert_eq!(event.to_parts(), ("JOB_ATTEMPT_FAILED".to_owned(), body));
}
