//! Definitions, people and API tokens.

use jiff::SignedDuration;
use quorate_engine::{
    delegation::Delegation,
    directory::{Directory, Group, Queue, User},
    expression::Expression,
    status::VersionStatus,
};
use quorate_store::{
    StoreError,
    catalog::{ApiTokenRow, CalendarVersionRow, CatalogChange, FlowVersionRow, ProcessVersionRow},
    store::{RequestKey, RequestRow},
};

use crate::{
    fixture::Fixture,
    states::{start, tenant},
};

fn process(name: &str, version: u32, status: VersionStatus) -> ProcessVersionRow {
    ProcessVersionRow {
        name: name.to_owned(),
        version,
        status,
        title: format!("{name} ✓"),
        record_type: "purchase_request".to_owned(),
        definition: "kind: ApprovalProcess\n".to_owned(),
        digest: [9; 32],
        published_by: "ann".to_owned(),
        published_at: start(),
    }
}

fn flow(name: &str, version: u32, status: VersionStatus) -> FlowVersionRow {
    FlowVersionRow {
        name: name.to_owned(),
        version,
        status,
        flow_type: "autolaunched".to_owned(),
        task_queue: "erp".to_owned(),
        definition: "kind: Flow\n".to_owned(),
        digest: [8; 32],
        published_by: "ann".to_owned(),
        published_at: start(),
    }
}

fn change(expected_version: u64) -> CatalogChange {
    CatalogChange::new(tenant(), expected_version)
}

pub(crate) async fn a_catalog_changes_one_step_at_a_time(on: Fixture) {
    let draft = || CatalogChange { processes: vec![process("a", 1, VersionStatus::Draft)], ..change(0) };
    assert_eq!(on.store.catalog_version(&tenant()).await.unwrap(), 0);
    assert_eq!(on.store.change_catalog(&draft()).await.unwrap(), 1);
    assert!(matches!(on.other.change_catalog(&draft()).await, Err(StoreError::Conflict)));

    let (one, two) = (change(1), CatalogChange { processes: vec![process("b", 1, VersionStatus::Draft)], ..change(1) });
    let (one, two) = tokio::join!(on.store.change_catalog(&one), on.other.change_catalog(&two));
    assert_eq!([one.is_ok(), two.is_ok()].iter().filter(|won| **won).count(), 1);
    assert_eq!(on.store.catalog_version(&tenant()).await.unwrap(), 2);

    let stale = CatalogChange { processes: vec![process("c", 1, VersionStatus::Draft)], ..change(1) };
    assert!(matches!(on.store.change_catalog(&stale).await, Err(StoreError::Conflict)));
    assert_eq!(on.store.process_version(&tenant(), "c", Some(1)).await.unwrap(), None);
}

pub(crate) async fn one_version_is_active_and_the_newest_stands_in_for_it(on: Fixture) {
    use VersionStatus::{Active, Draft, Inactive};
    let first = vec![process("b", 1, Active), process("a", 1, Draft), process("a", 2, Draft)];
    on.store.change_catalog(&CatalogChange { processes: first, ..change(0) }).await.unwrap();
    // Activated before the one that was active steps back: the order in which they are written is the store's matter.
    let second = vec![process("b", 2, Active), process("b", 3, Draft), process("b", 1, Inactive)];
    on.store.change_catalog(&CatalogChange { processes: second, ..change(1) }).await.unwrap();

    let active = async |name: &str| on.store.process_version(&tenant(), name, None).await;
    assert_eq!(active("b").await.unwrap(), Some(process("b", 2, Active)));
    assert_eq!(active("a").await.unwrap(), None);
    assert_eq!(on.store.process_version(&tenant(), "b", Some(1)).await.unwrap(), Some(process("b", 1, Inactive)));
    assert_eq!(on.store.process_version(&tenant(), "b", Some(9)).await.unwrap(), None);

    let versions = on.store.process_versions(&tenant(), "b", None, 2).await.unwrap();
    assert_eq!(versions, [process("b", 3, Draft), process("b", 2, Active)]);
    assert_eq!(on.store.process_versions(&tenant(), "b", Some(2), 2).await.unwrap(), [process("b", 1, Inactive)]);
    let listed = [process("a", 2, Draft), process("b", 2, Active)];
    assert_eq!(on.store.list_processes(&tenant(), None, 10).await.unwrap(), listed);
    assert_eq!(on.store.list_processes(&tenant(), None, 1).await.unwrap(), listed[..1]);
    assert_eq!(on.store.list_processes(&tenant(), Some("a"), 10).await.unwrap(), listed[1..]);

    let two_active = CatalogChange { processes: vec![process("b", 3, Active)], ..change(2) };
    assert!(matches!(on.store.change_catalog(&two_active).await, Err(StoreError::Internal(_))));
}

pub(crate) async fn flows_are_listed_like_processes(on: Fixture) {
    use VersionStatus::{Active, Draft};
    let flows = vec![flow("b", 1, Active), flow("b", 2, Draft), flow("B", 1, Draft)];
    on.store.change_catalog(&CatalogChange { flows, ..change(0) }).await.unwrap();
    assert_eq!(on.store.active_flows(&tenant()).await.unwrap(), [flow("b", 1, Active)]);
    assert_eq!(on.store.list_flows(&tenant(), None, 10).await.unwrap(), [flow("B", 1, Draft), flow("b", 1, Active)]);
    assert_eq!(on.store.list_flows(&tenant(), Some("B"), 10).await.unwrap(), [flow("b", 1, Active)]);
    let versions = on.store.flow_versions(&tenant(), "b", None, 10).await.unwrap();
    assert_eq!(versions, [flow("b", 2, Draft), flow("b", 1, Active)]);
    assert_eq!(on.store.flow_versions(&tenant(), "b", Some(2), 10).await.unwrap(), [flow("b", 1, Active)]);
}

pub(crate) async fn people_come_and_go(on: Fixture) {
    let user = |name: &str, manager: Option<&str>| User {
        name: name.to_owned(),
        active: manager.is_some(),
        manager: manager.map(str::to_owned),
        email: manager.map(|_| format!("{name}@example.com")),
        time_zone: manager.map(|_| "Europe/Berlin".to_owned()),
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let group = Group { name: "finance".into(), members: names(&["bob", "zoë"]), groups: names(&["treasury"]) };
    let queue = Queue { name: "intake".into(), members: names(&[]), groups: names(&["finance"]) };
    let delegation = |name: &str, when: Option<&str>| Delegation {
        name: name.to_owned(),
        from: "ann".to_owned(),
        to: "zoë".to_owned(),
        start: start(),
        end: start() + SignedDuration::from_hours(24),
        processes: when.iter().map(|_| "purchase".to_owned()).collect(),
        when: when.map(|when| Expression::parse(when).unwrap()),
        alternates: when.iter().flat_map(|_| ["bob".to_owned(), "ann".to_owned()]).collect(),
    };
    let everybody = CatalogChange {
        users: vec![user("ann", Some("bob")), user("bob", None)],
        groups: vec![group.clone(), Group { name: "treasury".into(), members: names(&[]), groups: names(&[]) }],
        queues: vec![queue.clone()],
        delegations: vec![delegation("a", None), delegation("b", None), delegation("c", None)],
        ..change(0)
    };
    on.store.change_catalog(&everybody).await.unwrap();
    let less = CatalogChange {
        users: vec![user("bob", Some("ann"))],
        users_gone: vec!["ann".into(), "nobody".into()],
        groups_gone: vec!["treasury".into()],
        delegations: vec![delegation("b", Some("record.amount < 1.0"))],
        delegations_gone: vec!["a".into()],
        ..change(1)
    };
    on.store.change_catalog(&less).await.unwrap();
    let expected = Directory {
        users: [("bob".to_owned(), user("bob", Some("ann")))].into(),
        groups: [("finance".to_owned(), group)].into(),
        queues: [("intake".to_owned(), queue)].into(),
        delegations: [
            ("b".to_owned(), delegation("b", Some("record.amount < 1.0"))),
            ("c".to_owned(), delegation("c", None)),
        ]
        .into(),
    };
    assert_eq!(on.other.directory(&tenant()).await.unwrap(), expected);
    on.store.change_catalog(&CatalogChange { queues_gone: vec!["intake".into()], ..change(2) }).await.unwrap();
    assert!(on.store.directory(&tenant()).await.unwrap().queues.is_empty());
    assert_eq!(on.store.directory(&"other".into()).await.unwrap(), Directory::default());
}

pub(crate) async fn a_catalog_change_and_its_request_stand_together(on: Fixture) {
    let request = RequestRow {
        key: RequestKey { tenant: tenant(), principal: "ann".into(), request_id: "1".into() },
        digest: [1; 32],
        submission: None,
        version: 1,
        answer: Some(b"answer".to_vec()),
        at: start(),
    };
    let with_request = |expected| CatalogChange { request: Some(request.clone()), ..change(expected) };
    on.store.change_catalog(&with_request(0)).await.unwrap();
    assert_eq!(on.store.request(&request.key).await.unwrap(), Some(request.clone()));
    let again = CatalogChange { processes: vec![process("a", 1, VersionStatus::Draft)], ..with_request(1) };
    assert!(matches!(on.store.change_catalog(&again).await, Err(StoreError::Conflict)));
    assert_eq!(on.store.catalog_version(&tenant()).await.unwrap(), 1);
    assert!(on.store.list_processes(&tenant(), None, 10).await.unwrap().is_empty());
}

pub(crate) async fn api_tokens_are_found_by_hash_and_deleted_by_id(on: Fixture) {
    let token = |id: &str, byte: u8| ApiTokenRow {
        hash: [byte; 32],
        id: id.to_owned(),
        tenant: tenant(),
        principal: "erp".to_owned(),
        roles: vec!["submitter".to_owned(), "worker".to_owned()],
        note: "for the ERP".to_owned(),
        created_at: start(),
    };
    on.store.put_api_token(&token("b", 2)).await.unwrap();
    on.store.put_api_token(&token("a", 1)).await.unwrap();
    assert!(matches!(on.store.put_api_token(&token("c", 1)).await, Err(StoreError::Conflict)));
    assert_eq!(on.store.api_token(&[2; 32]).await.unwrap(), Some(token("b", 2)));
    assert_eq!(on.store.api_token(&[3; 32]).await.unwrap(), None);
    assert_eq!(on.store.list_api_tokens().await.unwrap(), [token("a", 1), token("b", 2)]);
    assert!(on.store.delete_api_token("b").await.unwrap());
    assert!(!on.store.delete_api_token("b").await.unwrap());
    assert_eq!(on.store.api_token(&[2; 32]).await.unwrap(), None);
}

pub(crate) async fn calendars_are_listed_like_processes(on: Fixture) {
    use VersionStatus::{Active, Draft, Inactive};
    let calendar = |name: &str, version: u32, status: VersionStatus| CalendarVersionRow {
        name: name.to_owned(),
        version,
        status,
        title: "Office hours".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        definition: format!("name: {name}"),
        digest: [7; 32],
        published_by: "ann".to_owned(),
        published_at: start(),
    };
    let calendars = vec![calendar("b", 1, Active), calendar("a", 1, Draft)];
    on.store.change_catalog(&CatalogChange { calendars, ..change(0) }).await.unwrap();
    let calendars = vec![calendar("b", 2, Active), calendar("b", 1, Inactive)];
    on.store.change_catalog(&CatalogChange { calendars, ..change(1) }).await.unwrap();
    assert_eq!(on.other.active_calendars(&tenant()).await.unwrap(), [calendar("b", 2, Active)]);
    let listed = [calendar("a", 1, Draft), calendar("b", 2, Active)];
    assert_eq!(on.store.list_calendars(&tenant(), None, 10).await.unwrap(), listed);
    assert_eq!(on.store.list_calendars(&tenant(), Some("a"), 10).await.unwrap(), listed[1..]);
    let versions = on.store.calendar_versions(&tenant(), "b", None, 10).await.unwrap();
    assert_eq!(versions, [calendar("b", 2, Active), calendar("b", 1, Inactive)]);
    assert_eq!(on.store.calendar_versions(&tenant(), "b", Some(2), 10).await.unwrap(), versions[1..]);
}
