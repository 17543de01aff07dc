//! Locks of records: what steps hold, what is set by hand, and who may edit all the same.

use quorate::proto::v1;
use serde_json::json;
use tonic::Code;

use crate::{
    audit::verified_history,
    backend::Backend,
    caller::{Caller, fields, reason, refused},
    on_every_backend,
    program::{printed, quorate},
    system::System,
};

const LOCKING: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: locking
record: { type: quote }
stages:
  - name: review
    steps:
      - { name: manager, approval: { assign: [{ user: bob }], lock: true } }
      - { name: pricing, approval: { assign: [{ user: carol }], lock: true, allow_reviewer_edit: true } }
";

async fn lock_of(caller: &Caller, record_id: &str, user: &str) -> v1::RecordServiceGetLockResponse {
    let request = v1::RecordServiceGetLockRequest {
        record_type: "quote".to_owned(),
        record_id: record_id.to_owned(),
        user: user.to_owned(),
    };
    caller.records().get_lock(request).await.unwrap().into_inner()
}

/// Who holds the record: names of steps and of holders.
fn holders(answer: &v1::RecordServiceGetLockResponse) -> Vec<String> {
    assert_eq!(answer.locked, !answer.locks.is_empty());
    answer.locks.iter().map(|lock| format!("{}{}", lock.step, lock.holder)).collect()
}

fn by_hand(holder: &str, request_id: &str) -> v1::RecordServiceLockRequest {
    v1::RecordServiceLockRequest {
        record_type: "quote".to_owned(),
        record_id: "1".to_owned(),
        holder: holder.to_owned(),
        reason: "prices are moved".to_owned(),
        until: None,
        request_id: request_id.to_owned(),
    }
}

fn off(holder: &str) -> v1::RecordServiceUnlockRequest {
    v1::RecordServiceUnlockRequest {
        record_type: "quote".to_owned(),
        record_id: "1".to_owned(),
        holder: holder.to_owned(),
        request_id: String::new(),
    }
}

on_every_backend! {
    async fn a_record_is_locked_while_any_step_or_caller_holds_it(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(LOCKING).await;
        let (ann, bob, carol, erp) = (system.caller("ann"), system.caller("bob"), system.caller("carol"), system.caller("erp"));
        let free = lock_of(&erp, "1", "").await;
        assert_eq!((holders(&free), free.may_edit), (vec![], true));
        let submit = v1::SubmissionServiceSubmitRequest {
            record: Some(v1::Record { id: "1".to_owned(), data: Some(quorate::proto::value::from_json(&json!({}))), ..v1::Record::default() }),
            process: "locking".to_owned(),
            ..v1::SubmissionServiceSubmitRequest::default()
        };
        let id = ann.try_submit(submit).await.unwrap().id;
        let held = lock_of(&erp, "1", "carol").await;
        assert_eq!((holders(&held), held.may_edit), (vec!["manager".to_owned(), "pricing".to_owned()], false));
        assert_eq!((held.locks[0].submission.as_str(), held.locks[0].process.as_str()), (id.as_str(), "locking"));
        assert_eq!(holders(&lock_of(&erp, "2", "").await), [""; 0], "another record");

        let set = erp.records().lock(by_hand("migration", "l1")).await.unwrap().into_inner();
        assert_eq!(erp.records().lock(by_hand("migration", "l1")).await.unwrap().into_inner(), set, "the same call has the same answer");
        let other = erp.records().lock(by_hand("other", "l1")).await;
        assert_eq!(refused(other), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
        bob.approve(&ann.items_of(&id, &["bob"]).await[0]).await;
        let held = lock_of(&erp, "1", "carol").await;
        assert_eq!((holders(&held), held.may_edit), (vec!["pricing".to_owned(), "migration".to_owned()], false));

        assert_eq!(refused(ann.records().unlock(off("migration")).await), (Code::PermissionDenied, "NOT_PERMITTED".to_owned()));
        assert_eq!(refused(ann.records().lock(by_hand("migration", "")).await).1, "NOT_PERMITTED");
        assert!(erp.records().unlock(off("migration")).await.unwrap().into_inner().locked);
        assert!(lock_of(&erp, "1", "carol").await.may_edit, "whom the step asks that allows it");
        assert!(!lock_of(&erp, "1", "bob").await.may_edit);
        assert!(!lock_of(&erp, "1", "").await.may_edit);
        carol.approve(&ann.items_of(&id, &["carol"]).await[0]).await;
        assert_eq!(holders(&lock_of(&erp, "1", "").await), [""; 0]);
        assert!(!erp.records().unlock(off("migration")).await.unwrap().into_inner().locked, "there is none any more");
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn a_lock_by_hand_has_a_holder_and_a_time_to_come(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (erp, admin) = (system.caller("erp"), system.caller("admin"));
        let past = Some(prost_types::Timestamp { seconds: 1_000_000_000, nanos: 0 });
        let far = Some(prost_types::Timestamp { seconds: 4_102_444_800, nanos: 0 });
        let bad = [
            (by_hand("", ""), "holder"),
            (v1::RecordServiceLockRequest { until: past, ..by_hand("m", "") }, "until"),
            (v1::RecordServiceLockRequest { until: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }), ..by_hand("m", "") }, "until"),
            (v1::RecordServiceLockRequest { record_id: String::new(), ..by_hand("m", "") }, "record_id"),
            (v1::RecordServiceLockRequest { reason: "x".repeat(5_000), ..by_hand("m", "") }, "reason"),
        ];
        for (request, field) in bad {
            let status = erp.records().lock(request).await.unwrap_err();
            assert_eq!((reason(&status).as_str(), fields(&status)), ("INVALID_FIELD", vec![field.to_owned()]));
        }
        erp.records().lock(v1::RecordServiceLockRequest { until: far, ..by_hand("m", "") }).await.unwrap();
        let held = lock_of(&system.caller("auditor"), "1", "").await;
        assert_eq!((held.locks[0].locked_by.as_str(), held.locks[0].until), ("erp", far));
        assert_eq!(refused(system.caller("auditor").records().unlock(off("m")).await).1, "ROLE_MISSING");
        // Set anew, it is as it was said last; an administrator takes it off.
        erp.records().lock(by_hand("m", "")).await.unwrap();
        let server = format!("http://{}", system.server.address);
        let get = ["get", "lock", "quote", "1", "--for", "ann", "--server", &server];
        let shown = printed(quorate().args(get).env("QUORATE_TOKEN", system.token("ann")));
        assert!(shown.contains("prices are moved") && shown.contains("ann may not edit it"), "{shown}");
        admin.records().unlock(off("m")).await.unwrap();
        assert_eq!(holders(&lock_of(&erp, "1", "").await), [""; 0]);
        system.end().await;
    }
}
