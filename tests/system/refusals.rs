//! Bad input is refused whole: with its reason, with the fields it is about, and without a change.

use quorate::proto::v1::{
    DirectoryServiceApplyRequest, DirectoryServicePutUserRequest, FlowServiceGetRequest, JobServiceGetRequest,
    ProcessServiceGetRequest, ProcessServiceValidateRequest, Record, SubmissionServiceCommentRequest,
    SubmissionServiceGetRequest, SubmissionServiceListEventsRequest, SubmissionServiceListRequest,
    SubmissionServiceWatchRequest, User, WorkItemServiceGetRequest, WorkItemServiceListRequest,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    audit::all_submissions,
    backend::Backend,
    caller::{fields, publish, reason, refused, submit},
    definitions::NOTE,
    on_every_backend,
    system::System,
};

/// An id that nothing has.
fn nobody() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn not_found(reason: &str) -> (Code, String) {
    (Code::NotFound, reason.to_owned())
}

fn invalid(reason: &str) -> (Code, String) {
    (Code::InvalidArgument, reason.to_owned())
}

on_every_backend! {
    async fn a_record_that_breaks_its_schema_is_refused_with_every_field(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let data = json!({ "amount": "much", "cost_center": 7 });
        let status = system.caller("ann").try_submit(submit("purchase-request", "", &data)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "RECORD_INVALID"));
        let mut fields = fields(&status);
        fields.sort();
        assert_eq!(fields, ["record.data", "record.data.amount", "record.data.cost_center"]);
        let other = {
            let mut request = submit("note", "", &json!({}));
            "purchase_request".clone_into(&mut request.record.as_mut().unwrap().r#type);
            request
        };
        assert_eq!(refused(system.caller("ann").try_submit(other).await), invalid("RECORD_TYPE_UNFIT"));
        assert_eq!(all_submissions(&system.store).await, [""; 0]);
        system.end().await;
    }

    async fn a_submit_without_its_parts_is_refused(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let ann = system.caller("ann");
        let refused_field = async |request| {
            let status = ann.try_submit(request).await.unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
            fields(&status).join(" ")
        };
        assert_eq!(refused_field(submit("", "", &json!({}))).await, "process");
        let mut without = submit("note", "", &json!({}));
        without.record = None;
        assert_eq!(refused_field(without.clone()).await, "record");
        without.record = Some(Record::default());
        assert_eq!(refused_field(without).await, "record.id");
        let mut foreign = submit("note", "", &json!({}));
        "no such name!".clone_into(&mut foreign.on_behalf_of);
        assert_eq!(refused_field(foreign).await, "on_behalf_of");
        assert_eq!(refused_field(submit("note", &"r".repeat(129), &json!({}))).await, "request_id");
        let unknown = refused(ann.try_submit(submit("unknown", "", &json!({}))).await);
        assert_eq!(unknown, (Code::FailedPrecondition, "PROCESS_NOT_ACTIVE".to_owned()));
        assert_eq!(all_submissions(&system.store).await, [""; 0]);
        system.end().await;
    }

    async fn what_is_too_large_is_refused(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (ann, admin) = (system.caller("ann"), system.caller("admin"));
        let text = |bytes: usize| json!({ "text": "x".repeat(bytes) });
        let envelope = json!({ "text": "" }).to_string().len();
        ann.submit("note", text(256 * 1024 - envelope)).await;
        let status = ann.try_submit(submit("note", "", &text(256 * 1024 - envelope + 1))).await.unwrap_err();
        assert_eq!((reason(&status).as_str(), fields(&status)), ("INVALID_FIELD", vec!["record.data".to_owned()]));
        let whole = ann.try_submit(submit("note", "", &text(5 * 1024 * 1024))).await.unwrap_err();
        assert_eq!(whole.code(), Code::OutOfRange, "{whole:?}");
        let mut commented = submit("note", "", &json!({}));
        commented.comment = "x".repeat(1024 * 1024);
        assert_eq!(refused(ann.try_submit(commented).await), invalid("TOO_LONG"));
        let long = format!("{NOTE}# {}", "x".repeat(256 * 1024));
        assert_eq!(refused(admin.processes().publish(publish(&long)).await), invalid("INVALID_FIELD"));
        let deep = (0..25).fold(json!(1), |inner, _| json!({ "n": inner }));
        assert_eq!(refused(ann.try_submit(submit("note", "", &deep)).await), invalid("INVALID_FIELD"));
        assert_eq!(all_submissions(&system.store).await.len(), 1);
        system.end().await;
    }

    async fn the_character_that_no_store_keeps_is_refused_wherever_it_stands(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (ann, admin) = (system.caller("ann"), system.caller("admin"));
        let refused_fields = async |request| {
            let status = ann.try_submit(request).await.unwrap_err();
            assert_eq!(reason(&status), "INVALID_FIELD");
            fields(&status).join(" ")
        };
        assert_eq!(refused_fields(submit("note", "", &json!({ "text": ["a\u{0}"] }))).await, "record.data.text[0]");
        assert_eq!(refused_fields(submit("note", "r\u{0}", &json!({}))).await, "request_id");
        let mut record = submit("note", "", &json!({}));
        "R\u{0}".clone_into(&mut record.record.as_mut().unwrap().id);
        assert_eq!(refused_fields(record).await, "record.id");
        let mut commented = submit("note", "", &json!({}));
        "\u{0}".clone_into(&mut commented.comment);
        assert_eq!(refused_fields(commented).await, "comment");
        assert_eq!(refused(ann.try_submit(submit("no\u{0}te", "", &json!({}))).await).1, "PROCESS_NOT_ACTIVE");
        let with_nul = format!("{NOTE}# \u{0}");
        assert_eq!(refused(admin.processes().publish(publish(&with_nul)).await), invalid("INVALID_FIELD"));
        for filter in ["process = \u{0}", "submitter = a\u{0}b", "record_id = \u{0}"] {
            let list = SubmissionServiceListRequest { filter: filter.to_owned(), ..Default::default() };
            assert_eq!(refused(ann.submissions().list(list).await), invalid("INVALID_FIELD"), "{filter:?}");
        }
        let get = ProcessServiceGetRequest { name: "a\u{0}".to_owned(), version: 0 };
        assert_eq!(refused(admin.processes().get(get).await), invalid("INVALID_FIELD"));
        let get = FlowServiceGetRequest { name: "a\u{0}".to_owned(), version: 0 };
        assert_eq!(refused(admin.flows().get(get).await), invalid("INVALID_FIELD"));
        let user = User { name: "zoe".to_owned(), email: "a\u{0}b".to_owned(), ..Default::default() };
        let put = DirectoryServicePutUserRequest { user: Some(user), ..Default::default() };
        assert_eq!(refused(admin.directory().put_user(put).await), invalid("INVALID_FIELD"));
        let apply = DirectoryServiceApplyRequest { definition: "apiVersion: quorate/v1\nkind: Directory\nusers: [{ name: zoe, email: \"a\\0b\" }]\n".to_owned(), ..Default::default() };
        assert_eq!(refused(admin.directory().apply(apply).await), invalid("INVALID_FIELD"));
        system.end().await;
    }

    async fn a_definition_cannot_bring_in_the_character_that_no_store_keeps(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let admin = system.caller("admin");
        let titled = NOTE.replace("name: note\n", "name: note\ntitle: \"a\\0b\"\n");
        assert_eq!(refused(admin.processes().publish(publish(&titled)).await), invalid("INVALID_FIELD"));
        let summed = NOTE.replace("name: note\n", "name: note\nsummary: \"'a\\\\u0000b'\"\n");
        assert_eq!(refused(admin.processes().publish(publish(&summed)).await), invalid("DEFINITION_INVALID"));
        let calendar = "apiVersion: quorate/v1\nkind: Calendar\nname: office\ntitle: \"a\\0b\"\ntime_zone: UTC\nhours: { monday: [\"09:00-17:00\"] }\n";
        assert_eq!(refused(admin.publish_calendar(calendar).await), invalid("INVALID_FIELD"));
        system.end().await;
    }

    async fn ids_that_nothing_has_are_not_found_and_what_is_no_id_is_invalid(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let ann = system.caller("ann");
        let get = async |id: String| refused(ann.submissions().get(SubmissionServiceGetRequest { id }).await);
        assert_eq!(get(nobody()).await, not_found("SUBMISSION_NOT_FOUND"));
        assert_eq!(get("R-1".to_owned()).await, invalid("INVALID_FIELD"));
        let events = SubmissionServiceListEventsRequest { id: nobody(), ..Default::default() };
        assert_eq!(refused(ann.submissions().list_events(events).await), not_found("SUBMISSION_NOT_FOUND"));
        let watch = ann.submissions().watch(SubmissionServiceWatchRequest { id: nobody() }).await;
        assert_eq!(refused(watch.map(|_| ())), not_found("SUBMISSION_NOT_FOUND"));
        let comment = SubmissionServiceCommentRequest { id: nobody(), comment: "hello".into(), ..Default::default() };
        assert_eq!(refused(ann.submissions().comment(comment).await), not_found("SUBMISSION_NOT_FOUND"));
        let item = WorkItemServiceGetRequest { id: nobody() };
        assert_eq!(refused(ann.work_items().get(item).await), not_found("WORK_ITEM_NOT_FOUND"));
        let job = JobServiceGetRequest { job: nobody() };
        assert_eq!(refused(system.caller("auditor").jobs().get(job).await), not_found("JOB_NOT_FOUND"));
        system.end().await;
    }

    async fn a_page_token_serves_its_own_query_only(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let ann = system.caller("ann");
        for n in 0..3 {
            ann.submit("note", json!({ "n": n })).await;
        }
        let list = async |filter: &str, page_token: &str| {
            let request = SubmissionServiceListRequest {
                filter: filter.to_owned(),
                page_token: page_token.to_owned(),
                page_size: 2,
                ..Default::default()
            };
            ann.submissions().list(request).await.map(tonic::Response::into_inner)
        };
        let first = list("process = note", "").await.unwrap();
        assert_eq!(first.submissions.len(), 2);
        let second = list("process = note", &first.next_page_token).await.unwrap();
        assert_eq!((second.submissions.len(), second.next_page_token.as_str()), (1, ""));
        assert_eq!(refused(list("", &first.next_page_token).await), invalid("INVALID_FIELD"));
        assert_eq!(refused(list("process = note", "nonsense").await), invalid("INVALID_FIELD"));
        let items = WorkItemServiceListRequest { page_token: first.next_page_token, ..Default::default() };
        assert_eq!(refused(ann.work_items().list(items).await), invalid("INVALID_FIELD"));
        let sizes = SubmissionServiceListRequest { page_size: 501, ..Default::default() };
        assert_eq!(refused(ann.submissions().list(sizes).await), invalid("INVALID_FIELD"));
        for filter in ["color = red", "process note", "status = GREEN", "process = a AND process = b"] {
            assert_eq!(refused(list(filter, "").await), invalid("INVALID_FIELD"), "{filter}");
        }
        system.end().await;
    }

    async fn a_process_whose_tests_fail_is_not_published(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let admin = system.caller("admin");
        let tested = |status: &str| {
            format!("{NOTE}\ntests: [{{ name: it is open, submit: {{ by: ann, record: {{}} }}, expect: {{ status: {status} }} }}]\n")
        };
        let line = tested("").trim_end().lines().count().to_string();
        let status = admin.processes().publish(publish(&tested("APPROVED"))).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "TESTS_FAILED"));
        assert_eq!(fields(&status), [format!("{line}:1 tests[0]")]);
        let validate = ProcessServiceValidateRequest { definition: tested("APPROVED") };
        let complaints = admin.processes().validate(validate).await.unwrap().into_inner().complaints;
        assert!(complaints.iter().any(|found| found.path == "tests[0]" && !found.warning), "{complaints:?}");
        // As many as there may be: clients take no headers that tell of all of them.
        let line = |number: u32| {
            format!("  - {{ name: claim {number}, submit: {{ by: ann, record: {{}} }}, expect: {{ status: APPROVED }} }}\n")
        };
        let many: String = (0..100).map(line).collect();
        let status = admin.processes().publish(publish(&format!("{NOTE}\ntests:\n{many}"))).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "TESTS_FAILED"));
        let told = fields(&status);
        assert!(told[0].ends_with("tests[0]") && told.last().is_some_and(String::is_empty), "{told:?}");
        assert!(system.store.process_version(&"default".into(), "note", Some(2)).await.unwrap().is_none());
        let published = admin.processes().publish(publish(&tested("IN_PROGRESS"))).await.unwrap().into_inner();
        assert_eq!(published.process.unwrap().version, 2);
        system.caller("ann").submit("note", json!({})).await;
        system.end().await;
    }

    async fn a_bad_definition_is_refused_with_line_and_column(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let admin = system.caller("admin");
        let bad = NOTE.replace("group: finance", "group: nobody").replace("to: end", "to: nowhere");
        let status = admin.processes().publish(publish(&bad)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "DEFINITION_INVALID"));
        let lines: Vec<_> = fields(&status).iter().map(|field| field.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(lines, ["9", "10"], "{status:?}");
        assert!(system.store.process_version(&"default".into(), "note", Some(2)).await.unwrap().is_none());
        let value: Value = json!({});
        system.caller("ann").submit("note", value).await;
        system.end().await;
    }
}
