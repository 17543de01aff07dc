//! Moments of approval steps: what follows from time alone, on a server that runs, and on one that did not.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate::proto::v1::{self, Event, SubmissionStatus, Verdict, VersionStatus, WorkItem, WorkItemStatus};
use serde_json::json;
use tonic::Code;

use crate::{
    audit::{kinds, verified_history},
    backend::Backend,
    caller::{decision, fields, publish, refused},
    on_every_backend,
    program::{printed, quorate},
    queue_support::until,
    system::{Server, System},
};

/// Reminds soon, asks the manager besides, and expires.
const TIMED: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: timed
record: { type: note }
stages:
  - name: review
    steps:
      - name: sign
        approval:
          assign: [{ user: bob }]
          due: 500ms
          remind: [{ after: 300ms }]
          escalate: [{ after_due: 100ms, to: [{ user: heidi }] }]
          expire: { after: 2s, outcome: reject }
";

/// Is due in two days.
const DUE: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: due
record: { type: note }
stages:
  - name: review
    steps: [{ name: sign, approval: { assign: [{ user: bob }], due: 2d } }]
";

/// Counts in the time in which an office is open.
const IN_BUSINESS_TIME: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: in-business-time
record: { type: note }
stages:
  - name: review
    steps: [{ name: sign, approval: { assign: [{ user: bob }], calendar: office, due: { business: 1h } } }]
";

/// An office that opens at this hour for an hour, on every day.
fn office(opens: i64) -> String {
    let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let hours = days.map(|day| format!("  {day}: ['{opens:02}:00-{:02}:00']\n", opens + 1)).concat();
    let head = "apiVersion: quorate/v1\nkind: Calendar\nname: office\ntitle: One hour a day\ntime_zone: Asia/Tokyo";
    format!("{head}\nhours:\n{hours}")
}

/// An hour of the day that begins in six hours by UTC and in 21 by Tokyo's time, whose clock is nine hours ahead: an
/// office that opens then is closed in both as long as a test runs, and an hour of business ends when it first closes.
fn an_hour_far_off() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    (i64::try_from(now).unwrap() / 3_600 + 6).rem_euclid(24)
}

fn count(events: &[Event], kind: &str) -> usize {
    events.iter().filter(|event| event.kind == kind).count()
}

on_every_backend! {
    async fn an_approval_that_nobody_decides_reminds_escalates_and_expires_each_once(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(TIMED).await;
        let (ann, bob) = (system.caller("ann"), system.caller("bob"));
        // The answer shows how it begins, whatever has become of it by now: the step does not wait for long.
        let submitted = ann.submit("timed", json!({})).await;
        let (id, begun) = (submitted.id, &submitted.stages[0].steps[0]);
        assert!(begun.due_at.is_some() && begun.expires_at.is_some(), "{begun:?}");
        let item = &begun.work_items[0];
        assert_eq!((item.assignee.as_ref().unwrap().name.as_str(), item.due_at.is_some()), ("bob", true));
        let asked = ann.when(&id, "somebody else to be asked", |submission| {
            submission.stages[0].steps[0].work_items.len() == 2
        });
        let asked = asked.await;
        let step = &asked.stages[0].steps[0];
        assert!(step.overdue);
        assert!(step.work_items[1].reason.starts_with("escalation 1: "), "{}", step.work_items[1].reason);
        let ended = ann.when_it_is(&id, SubmissionStatus::Rejected).await;
        let statuses: Vec<_> = ended.stages[0].steps[0].work_items.iter().map(WorkItem::status).collect();
        assert_eq!(statuses, [WorkItemStatus::Withdrawn, WorkItemStatus::Withdrawn]);
        let events = ann.events(&id).await;
        for kind in ["DEADLINES_SET", "ASSIGNEES_REMINDED", "STEP_OVERDUE", "STEP_ESCALATED", "STEP_EXPIRED"] {
            assert_eq!(count(&events, kind), 1, "{kind}");
        }
        let late = bob.decide(decision(item, Verdict::Approve, "", "")).await;
        assert_eq!(refused(late), (Code::FailedPrecondition, "WORK_ITEM_CLOSED".into()));
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn a_moment_that_passes_while_no_server_runs_is_made_up_for(backend: Backend) {
        let mut system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(TIMED).await;
        let ann = system.caller("ann");
        let submitted = ann.submit("timed", json!({})).await;
        let expires = SystemTime::try_from(submitted.stages[0].steps[0].expires_at.unwrap()).unwrap();
        system.stop_server().await;
        until("the moment", || std::future::ready((SystemTime::now() > expires).then_some(()))).await;
        system.server = Server::start(&system.backend, &[]).await;
        let (ann, id) = (system.caller("ann"), submitted.id);
        ann.when_it_is(&id, SubmissionStatus::Rejected).await;
        let events = verified_history(&system.store, &id).await;
        let expired = kinds(&events).iter().filter(|kind| *kind == "STEP_EXPIRED").count();
        assert_eq!(expired, 1);
        system.end().await;
    }

    async fn a_due_date_in_business_time_is_that_of_the_calendar_that_is_active(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        let opens = an_hour_far_off();
        let office = office(opens);
        let unknown = admin.processes().publish(publish(IN_BUSINESS_TIME)).await.unwrap_err();
        assert_eq!(unknown.code(), Code::InvalidArgument);
        assert!(fields(&unknown)[0].ends_with("stages[0].steps[0].approval.calendar"), "{:?}", fields(&unknown));
        let never = admin.publish_calendar(&office.replace("Asia/Tokyo", "Mars/Olympus")).await.unwrap_err();
        assert_eq!(fields(&never), ["5:12 time_zone"]);
        let refused_to = ann.publish_calendar(&office).await;
        assert_eq!(refused(refused_to), (Code::PermissionDenied, "ROLE_MISSING".into()));

        let first = admin.publish_calendar(&office).await.unwrap();
        assert_eq!((first.version, first.status(), first.time_zone.as_str()), (1, VersionStatus::Active, "Asia/Tokyo"));
        assert_eq!(admin.publish_calendar(&office).await.unwrap(), first, "the same text is the same version");
        admin.publish_process(IN_BUSINESS_TIME).await;
        let id = ann.submit("in-business-time", json!({})).await.id;
        let due = system.caller("bob").item_of(&id).await.due_at.unwrap().seconds;
        assert_eq!((due + 9 * 3_600).rem_euclid(86_400), (opens + 1) % 24 * 3_600, "when it closes in Tokyo");

        let second = admin.publish_calendar(&office.replace("Asia/Tokyo", "UTC")).await.unwrap();
        assert_eq!((second.version, second.status()), (2, VersionStatus::Active));
        assert_eq!(ann.get(&id).await.stages[0].steps[0].due_at.unwrap().seconds, due, "what has started is fixed");
        let next = ann.submit("in-business-time", json!({})).await.id;
        let due = system.caller("bob").item_of(&next).await.due_at.unwrap().seconds;
        assert_eq!(due.rem_euclid(86_400), (opens + 1) % 24 * 3_600, "when it closes by UTC");

        let back = v1::CalendarServiceActivateRequest { name: "office".to_owned(), version: 1, ..Default::default() };
        let back = admin.calendars().activate(back).await.unwrap().into_inner().calendar.unwrap();
        assert_eq!((back.version, back.status()), (1, VersionStatus::Active));
        let listed = ann.calendars().list(v1::CalendarServiceListRequest::default()).await.unwrap().into_inner();
        assert_eq!(listed.calendars, [back]);
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn the_command_line_applies_and_shows_calendars(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("office.yaml");
        std::fs::write(&file, format!("{IN_BUSINESS_TIME}---\n{}", office(3))).unwrap();
        let server = format!("http://{}", system.server.address);
        let run = |args: &[&str]| {
            let mut command = quorate();
            command.args(["--server", &server, "--token", &system.token("admin")]).args(args);
            printed(&mut command)
        };
        let file = file.to_str().unwrap();
        let applied = run(&["apply", "-f", file]);
        assert_eq!(applied, "calendar office: version 1 active\nprocess in-business-time: version 1 active\n");
        assert!(run(&["apply", "-f", file]).starts_with("calendar office: unchanged (version 1)\n"));
        let listed = run(&["list", "calendars"]);
        assert!(listed.lines().nth(1).unwrap().contains("Asia/Tokyo  One hour a day"), "{listed}");
        assert!(run(&["get", "calendar", "office"]).contains("kind: Calendar"));
        assert_eq!(run(&["activate", "calendar", "office"]), "calendar office: version 1 active\n");
        system.end().await;
    }

    async fn the_command_line_shows_what_is_due(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        system.caller("admin").publish_process(DUE).await;
        let id = system.caller("ann").submit("due", json!({})).await.id;
        let server = format!("http://{}", system.server.address);
        let run = |user: &str, args: &[&str]| {
            let mut command = quorate();
            command.args(["--server", &server, "--token", &system.token(user)]).args(args);
            printed(&mut command)
        };
        let inbox = run("bob", &["inbox"]);
        assert!(inbox.lines().next().unwrap().ends_with("DUE"), "{inbox}");
        let shown = run("ann", &["get", "submission", &id]);
        assert!(shown.contains("due 20"), "{shown}");
        system.end().await;
    }
}
