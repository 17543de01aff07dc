//! Lists, and what they cost.

use quorate_engine::{
    id::{SubmissionId, Tenant, WorkItemId},
    projection::project,
    state::Assignee,
    status::{JobStatus, SubmissionStatus, WorkItemStatus},
};
use quorate_store::{
    query::{AssigneeScope, JobQuery, SubmissionQuery, WorkItemEntry, WorkItemQuery},
    store::{LiveAttempt, TaskQueueLoad},
};
use uuid::Uuid;

use crate::{
    fixture::{Database, Fixture, client, texts},
    schema::statements,
    states::{Run, after, batch, comment, start, tenant},
};

fn user(name: &str) -> AssigneeScope {
    person(name).into()
}

fn person(name: &str) -> Assignee {
    Assignee::User(name.to_owned())
}

fn submissions() -> SubmissionQuery {
    SubmissionQuery {
        tenant: tenant(),
        process: None,
        status: None,
        submitter: None,
        record_type: None,
        record_id: None,
        descending: false,
        after: None,
        limit: 100,
    }
}

fn work_items() -> WorkItemQuery {
    WorkItemQuery {
        tenant: tenant(),
        assignees: None,
        status: None,
        process: None,
        submission: None,
        after: None,
        limit: 100,
    }
}

fn jobs() -> JobQuery {
    JobQuery {
        tenant: tenant(),
        id: None,
        submission: None,
        task_queue: None,
        flow: None,
        status: None,
        after: None,
        limit: 100,
    }
}

/// Seven submissions, two at each time.
async fn seven(on: &Fixture) -> Vec<Run> {
    let mut runs = Vec::new();
    for number in 0..7 {
        let mut run = Run::new(if number % 2 == 0 { "purchase" } else { "travel" }, person(["bob", "dan"][number % 2]));
        run.state.submitted_at = after(i64::try_from(number).unwrap() / 2);
        run.item().assigned_at = after(i64::try_from(number).unwrap() / 2);
        run.state.record.id = format!("PR-{number}");
        runs.push(run);
    }
    let commits = runs.iter_mut().map(|run| run.next(vec![comment("new")])).collect();
    on.store.commit(&batch(commits, start())).await.unwrap();
    runs
}

pub(crate) async fn submissions_are_listed_in_pages_in_both_directions(on: Fixture) {
    let mut expected: Vec<SubmissionId> = seven(&on).await.iter().map(Run::id).collect();
    for descending in [false, true] {
        let mut query = SubmissionQuery { descending, limit: 3, ..submissions() };
        let mut pages = Vec::new();
        loop {
            let page = on.store.list_submissions(&query).await.unwrap();
            let Some(last) = page.last() else { break };
            query.after = Some((last.submitted_at, last.id));
            pages.push(page.iter().map(|row| row.id).collect::<Vec<_>>());
        }
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
        assert_eq!(pages.concat(), expected);
        expected.reverse();
    }
}

pub(crate) async fn submissions_are_filtered(on: Fixture) {
    let mut runs = seven(&on).await;
    runs[1].state.status = SubmissionStatus::Approved;
    runs[1].state.ended_at = Some(after(9));
    runs[1].state.submitter = "eve".into();
    runs[1].commit(&*on.store, after(9)).await.unwrap();
    let found = async |query: SubmissionQuery| -> Vec<usize> {
        let mut both = Vec::new();
        for descending in [false, true] {
            let query = SubmissionQuery { descending, ..query.clone() };
            let mut rows = on.store.list_submissions(&query).await.unwrap();
            if descending {
                rows.reverse();
            }
            both.push(
                rows.iter().map(|row| runs.iter().position(|run| run.id() == row.id).unwrap()).collect::<Vec<_>>(),
            );
        }
        assert_eq!(both[0], both[1]);
        both.swap_remove(0)
    };
    assert_eq!(found(SubmissionQuery { process: Some("travel".into()), ..submissions() }).await, [1, 3, 5]);
    assert_eq!(found(SubmissionQuery { status: Some(SubmissionStatus::Approved), ..submissions() }).await, [1]);
    let open =
        SubmissionQuery { status: Some(SubmissionStatus::InProgress), process: Some("travel".into()), ..submissions() };
    assert_eq!(found(open).await, [3, 5]);
    assert_eq!(found(SubmissionQuery { submitter: Some("eve".into()), ..submissions() }).await, [1]);
    assert_eq!(found(SubmissionQuery { record_id: Some("PR-4".into()), ..submissions() }).await, [4]);
    let record = |record_type: &str| SubmissionQuery {
        record_id: Some("PR-4".into()),
        record_type: Some(record_type.into()),
        submitter: Some("ann".into()),
        ..submissions()
    };
    assert_eq!(found(record("purchase_request")).await, [4]);
    assert!(found(record("invoice")).await.is_empty());
    assert!(found(SubmissionQuery { tenant: "other".into(), ..submissions() }).await.is_empty());
}

fn ids(entries: &[WorkItemEntry]) -> Vec<WorkItemId> {
    entries.iter().map(|entry| entry.item.id).collect()
}

pub(crate) async fn an_inbox_is_the_items_of_all_its_assignees_by_time(on: Fixture) {
    let mut runs = seven(&on).await;
    let expected: Vec<WorkItemId> = runs.iter_mut().map(|run| run.item().id).collect();
    let mut query = WorkItemQuery {
        assignees: Some(vec![user("dan"), user("bob"), user("bob"), Assignee::Group("bob".to_owned()).into()]),
        status: Some(WorkItemStatus::Assigned),
        limit: 4,
        ..work_items()
    };
    let first = on.store.list_work_items(&query).await.unwrap();
    assert_eq!(ids(&first), expected[..4]);
    assert_eq!(first[0].submission, project(&runs[0].state).submission);
    assert_eq!(first[0].item, project(&runs[0].state).work_items[&expected[0]]);
    assert_eq!(first[0].decision, None);
    query.after = first.last().map(|entry| (entry.item.assigned_at, entry.item.id));
    assert_eq!(ids(&on.store.list_work_items(&query).await.unwrap()), expected[4..]);
    query.assignees = Some(Vec::new());
    assert!(on.store.list_work_items(&query).await.unwrap().is_empty());
}

pub(crate) async fn an_inbox_may_hold_items_of_one_process_only(on: Fixture) {
    // Bob is asked by every other one, of purchases; dan by the rest, of travel.
    let mut runs = seven(&on).await;
    let all: Vec<WorkItemId> = runs.iter_mut().map(|run| run.item().id).collect();
    let of_bob: Vec<WorkItemId> = all.iter().copied().step_by(2).collect();
    let scope = |name: &str, process: &str| AssigneeScope { process: Some(process.to_owned()), ..user(name) };
    let list = async |assignees, process: Option<&str>, submission| {
        let process = process.map(str::to_owned);
        let query = WorkItemQuery { assignees: Some(assignees), process, submission, ..work_items() };
        ids(&on.store.list_work_items(&query).await.unwrap())
    };
    let both = || vec![scope("dan", "travel"), scope("bob", "travel"), scope("bob", "purchase")];
    assert_eq!(list(both(), None, None).await, all);
    assert_eq!(list(both(), Some("purchase"), None).await, of_bob);
    assert_eq!(list(vec![scope("dan", "purchase"), scope("bob", "purchase")], None, None).await, of_bob);
    assert!(list(vec![scope("dan", "purchase"), scope("bob", "travel")], None, None).await.is_empty());
    // Who is asked for whole is listed once.
    assert_eq!(list(vec![scope("bob", "purchase"), user("bob"), user("dan")], None, None).await, all);
    assert_eq!(list(both(), None, Some(runs[1].id())).await, all[1..2]);
    assert!(list(vec![scope("dan", "purchase"), user("bob")], None, Some(runs[1].id())).await.is_empty());
}

pub(crate) async fn work_items_are_filtered(on: Fixture) {
    let mut runs = seven(&on).await;
    let items: Vec<WorkItemId> = runs.iter_mut().map(|run| run.item().id).collect();
    runs[2].approve(after(9));
    runs[2].commit(&*on.store, after(9)).await.unwrap();
    let list = async |query: WorkItemQuery| on.store.list_work_items(&query).await.unwrap();
    let only = |indices: &[usize]| indices.iter().map(|index| items[*index]).collect::<Vec<_>>();

    let bob = Some(vec![user("bob")]);
    assert_eq!(ids(&list(WorkItemQuery { assignees: bob.clone(), ..work_items() }).await), only(&[0, 2, 4, 6]));
    assert_eq!(ids(&list(work_items()).await), items);
    assert_eq!(ids(&list(WorkItemQuery { process: Some("travel".into()), ..work_items() }).await), only(&[1, 3, 5]));
    for assignees in [bob.clone(), None] {
        let approved = WorkItemQuery { assignees, status: Some(WorkItemStatus::Approved), ..work_items() };
        let approved = list(approved).await;
        assert_eq!(ids(&approved), only(&[2]));
        assert_eq!(approved[0].decision.as_ref(), project(&runs[2].state).decisions.get(&items[2]));
        assert!(approved[0].decision.is_some());
    }
    let open = WorkItemQuery { status: Some(WorkItemStatus::Assigned), ..work_items() };
    assert_eq!(ids(&list(open.clone()).await), only(&[0, 1, 3, 4, 5, 6]));
    let of_one = WorkItemQuery { submission: Some(runs[3].id()), ..open };
    assert_eq!(ids(&list(of_one.clone()).await), only(&[3]));
    assert_eq!(
        ids(&list(WorkItemQuery { assignees: Some(vec![user("dan"), user("bob")]), ..of_one.clone() }).await),
        only(&[3])
    );
    assert!(list(WorkItemQuery { assignees: bob, ..of_one }).await.is_empty());

    let unknown = WorkItemId(Uuid::now_v7());
    let mut found = on.store.submissions_of(&tenant(), &[items[5], unknown, items[1]]).await.unwrap();
    found.sort();
    assert_eq!(found, [(items[1], runs[1].id()), (items[5], runs[5].id())]);
}

pub(crate) async fn histories_are_read_in_pages(on: Fixture) {
    let mut run = Run::new("purchase", person("bob"));
    let commit = run.next((0..5).map(|number| comment(&number.to_string())).collect());
    on.store.commit(&batch(vec![commit], start())).await.unwrap();
    let page = async |after, limit| -> Vec<u64> {
        let events = on.store.history(&tenant(), run.id(), after, limit).await.unwrap();
        events.iter().map(|event| event.seq).collect()
    };
    assert_eq!(page(0, 2).await, [1, 2]);
    assert_eq!(page(2, 2).await, [3, 4]);
    assert_eq!(page(4, 2).await, [5]);
    assert!(page(5, 2).await.is_empty());
}

pub(crate) async fn jobs_are_listed_and_counted(on: Fixture) {
    let mut runs = seven(&on).await;
    runs[1].start_job(after(1));
    runs[1].commit(&*on.store, after(1)).await.unwrap();
    let mut all: Vec<_> = runs.iter_mut().map(|run| run.job().id).collect();
    all.sort();
    let found = async |query: JobQuery| -> Vec<_> {
        on.store.list_jobs(&query).await.unwrap().iter().map(|row| row.job.id).collect()
    };
    assert_eq!(found(JobQuery { limit: 3, ..jobs() }).await, all[..3]);
    assert_eq!(found(JobQuery { after: Some(all[2]), ..jobs() }).await, all[3..]);
    assert_eq!(found(JobQuery { id: Some(all[4]), ..jobs() }).await, [all[4]]);
    assert_eq!(found(JobQuery { submission: Some(runs[0].id()), ..jobs() }).await, [runs[0].job().id]);
    assert_eq!(found(JobQuery { task_queue: Some("erp".into()), ..jobs() }).await, all);
    assert!(found(JobQuery { flow: Some("other".into()), ..jobs() }).await.is_empty());
    let running = on.store.list_jobs(&JobQuery { status: Some(JobStatus::Running), ..jobs() }).await.unwrap();
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].heartbeat_at, Some(after(1)));
    let mut counts = on.store.count_jobs(&tenant()).await.unwrap();
    counts.sort();
    assert_eq!(counts, [(JobStatus::Pending, 6), (JobStatus::Running, 1)]);
}

pub(crate) async fn live_attempts_are_told_from_those_that_are_over(on: Fixture) {
    let mut runs = seven(&on).await;
    runs[1].start_job(after(1));
    runs[1].commit(&*on.store, after(1)).await.unwrap();
    runs[2].job().attempt = 2;
    runs[2].commit(&*on.store, after(1)).await.unwrap();
    let mut asked: Vec<_> = runs.iter_mut().map(|run| (run.id(), run.job().id)).collect();
    // A job is found by its own submission only.
    let stranger = (asked[4].0, asked[5].1);
    asked.truncate(3);
    asked.push(stranger);
    let mut live = on.other.live_attempts(&tenant(), &asked).await.unwrap();
    live.sort_by_key(|live| live.job);
    let of = |run: usize, attempt, status| LiveAttempt { job: asked[run].1, attempt, status };
    let mut expected = [of(0, 1, JobStatus::Pending), of(1, 1, JobStatus::Running), of(2, 2, JobStatus::Pending)];
    expected.sort_by_key(|live| live.job);
    assert_eq!(live, expected);
    assert_eq!(on.store.live_attempts(&Tenant::from("other"), &asked).await.unwrap(), []);
    assert_eq!(on.store.live_attempts(&tenant(), &[]).await.unwrap(), []);
}

pub(crate) async fn task_queues_tell_what_waits_and_since_when(on: Fixture) {
    assert_eq!(on.store.task_queues(&tenant(), after(0)).await.unwrap(), []);
    let mut runs = seven(&on).await;
    runs[1].start_job(after(1));
    runs[1].commit(&*on.store, after(1)).await.unwrap();
    runs[2].job().available_at = after(100);
    runs[2].commit(&*on.store, after(2)).await.unwrap();
    runs[3].job().available_at = after(3);
    runs[3].commit(&*on.store, after(2)).await.unwrap();
    on.store.mark_published(&[runs[0].attempt()], after(900)).await.unwrap();
    let erp =
        |waiting, oldest_since, later| TaskQueueLoad { name: "erp".into(), waiting, oldest_since, running: 1, later };
    assert_eq!(on.store.task_queues(&tenant(), after(2)).await.unwrap(), [erp(4, Some(start()), 2)]);
    assert_eq!(on.other.task_queues(&tenant(), after(100)).await.unwrap(), [erp(6, Some(start()), 0)]);
    assert_eq!(on.store.task_queues(&Tenant::from("other"), after(100)).await.unwrap(), []);
}

/// The plan of an inbox's page with thousands of open and closed items in the table.
pub(crate) async fn an_inbox_reads_no_more_than_its_page(on: Fixture) {
    let mut runs = seven(&on).await;
    runs[0].approve(after(9));
    runs[0].commit(&*on.store, after(9)).await.unwrap();
    let (random, many) = match on.database {
        Database::Postgres(_) => ("gen_random_uuid()", "generate_series(1, 2000) as many (number)"),
        Database::Sqlite(_) => (
            "lower(hex(randomblob(16)))",
            "(with recursive n (number) as (select 1 union all select number + 1 from n where number < 2000) select * from n)",
        ),
    };
    let rest = "step_run, process, stage, step, assignee_kind, assignee, reason, status, assigned_at, closed_at";
    on.database
        .run(&format!(
            "insert into work_item (tenant, submission, id, {rest}) \
             select tenant, submission, {random}, {rest} from work_item cross join {many}"
        ))
        .await;
    on.database.run("analyze").await;

    let plan = match &on.database {
        Database::Postgres(url) => {
            let sql = statement("postgres", "work_item/list_of_assignees.sql");
            let prepare = format!(
                "prepare inbox (text, text, text, timestamptz, uuid, bigint, text[], text[], text[]) as {sql}; \
                 set plan_cache_mode = force_custom_plan"
            );
            let client = client(url).await;
            client.batch_execute(&prepare).await.unwrap();
            let explain = "explain execute inbox (
                'default', 'ASSIGNED', null, null, null, 50, '{user,user}', '{bob,dan}', '{null,purchase}'
            )";
            texts(&client.simple_query(explain).await.unwrap())
        }
        Database::Sqlite(path) => {
            let connection = rusqlite::Connection::open(path).unwrap();
            let sql = statement("sqlite", "work_item/list_open_of_assignee.sql");
            let mut explained = connection.prepare(&format!("explain query plan {sql}")).unwrap();
            let rows = explained.query_map([None::<i64>; 8], |row| row.get::<_, String>("detail")).unwrap();
            rows.map(Result::unwrap).collect()
        }
    };
    let plan = plan.join("\n");
    assert!(plan.contains("work_item_open_by_assignee"), "{plan}");
    assert!(!plan.contains("work_item_closed_by_assignee"), "the closed half is not read:\n{plan}");
    for scan in ["Seq Scan on work_item", "SCAN w", "USE TEMP B-TREE"] {
        assert!(!plan.contains(scan), "{plan}");
    }
}

fn statement(store: &str, name: &str) -> String {
    let all = statements(store);
    all.into_iter().find(|(path, _)| path.ends_with(name)).unwrap().1
}
