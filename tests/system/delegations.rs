//! Delegations through the API and the command line: who may give them, what the inbox shows of them, and what decisions tell.

use quorate::proto::v1::{
    self, Delegation, DirectoryServiceDeleteDelegationRequest, DirectoryServiceListDelegationsRequest,
    DirectoryServicePutDelegationRequest, SubmissionStatus, Verdict, WorkItem, WorkItemServiceListRequest,
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    audit::verified_history,
    backend::Backend,
    caller::{Caller, decision, fields, refused},
    on_every_backend,
    program::{printed, quorate},
    system::System,
};

/// What bob decides alone.
const SIGN: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: sign
record: { type: note, schema: { type: object, properties: { amount: { type: number } } } }
stages:
  - name: review
    steps: [{ name: sign, approval: { assign: [{ user: bob }] } }]
";

/// What bob and carol decide together.
const PAIR: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: pair
record: { type: note }
stages:
  - name: review
    steps: [{ name: sign, approval: { assign: [{ user: bob }, { user: carol }], decision: all } }]
";

async fn system(backend: Backend) -> System {
    let system = System::start_without_worker(backend).await;
    let admin = system.caller("admin");
    admin.publish_process(SIGN).await;
    admin.publish_process(PAIR).await;
    system
}

/// From yesterday on, or for as long as a test takes: the server's clock is the real one.
fn delegation(delegate: &str) -> DirectoryServicePutDelegationRequest {
    let now = jiff::Timestamp::now();
    let day = jiff::SignedDuration::from_hours(24);
    DirectoryServicePutDelegationRequest {
        delegation: Some(Delegation { delegate: delegate.to_owned(), ..Default::default() }),
        start: (now - day).to_string(),
        end: (now + day).to_string(),
        ..Default::default()
    }
}

fn named(name: &str, mut request: DirectoryServicePutDelegationRequest) -> DirectoryServicePutDelegationRequest {
    name.clone_into(&mut request.delegation.as_mut().unwrap().name);
    request
}

fn with(
    mut request: DirectoryServicePutDelegationRequest,
    change: impl FnOnce(&mut Delegation),
) -> DirectoryServicePutDelegationRequest {
    change(request.delegation.as_mut().unwrap());
    request
}

async fn put(caller: &Caller, request: DirectoryServicePutDelegationRequest) -> Result<Delegation, Status> {
    Ok(caller.directory().put_delegation(request).await?.into_inner().delegation.unwrap())
}

async fn delete(caller: &Caller, name: &str) -> Result<(), Status> {
    let request = DirectoryServiceDeleteDelegationRequest { name: name.to_owned(), ..Default::default() };
    caller.directory().delete_delegation(request).await.map(drop)
}

async fn listed(caller: &Caller, page_size: i32, filter: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = DirectoryServiceListDelegationsRequest { page_size, page_token, filter: filter.to_owned() };
        let answer = caller.directory().list_delegations(request).await.unwrap().into_inner();
        names.extend(answer.delegations.into_iter().map(|delegation| delegation.name));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return names;
        }
    }
}

/// The whole inbox, in pages of this size.
async fn inbox(caller: &Caller, page_size: i32) -> Vec<WorkItem> {
    let mut items = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = WorkItemServiceListRequest { page_size, page_token, ..Default::default() };
        let answer = caller.work_items().list(request).await.unwrap().into_inner();
        assert!(answer.work_items.len() <= usize::try_from(page_size).unwrap());
        items.extend(answer.work_items);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return items;
        }
    }
}

/// `submission for person`
fn told(items: &[WorkItem]) -> Vec<String> {
    items.iter().map(|item| format!("{} for {}", item.submission, item.on_behalf_of)).collect()
}

on_every_backend! {
    async fn a_delegate_decides_what_is_open_already_and_it_is_told_for_whom(backend: Backend) {
        let system = system(backend).await;
        let (ann, bob, heidi) = (system.caller("ann"), system.caller("bob"), system.caller("heidi"));
        let id = ann.submit("sign", json!({})).await.id;
        let item = ann.item_of(&id).await;
        let early = heidi.decide(decision(&item, Verdict::Approve, "", "")).await;
        assert_eq!(refused(early), (Code::PermissionDenied, "NOT_ASSIGNEE".to_owned()));
        let request = DirectoryServicePutDelegationRequest {
            request_id: "away".to_owned(),
            ..named("summer", delegation("heidi"))
        };
        let given = put(&bob, request.clone()).await.unwrap();
        assert_eq!((given.delegator.as_str(), given.delegate.as_str()), ("bob", "heidi"));
        assert_eq!(put(&bob, request).await.unwrap(), given, "the same call, again");

        let shown = heidi.inbox().await;
        assert_eq!(told(&shown), [format!("{id} for bob")]);
        assert_eq!(shown[0].delegation, "summer");
        assert_eq!(bob.inbox().await.len(), 1, "it is bob's still");
        let decided = heidi.approve(&shown[0]).await.decision.unwrap();
        let by = (decided.actor.as_str(), decided.on_behalf_of.as_str(), decided.delegation.as_str());
        assert_eq!(by, ("heidi", "bob", "summer"));
        let ended = ann.get(&id).await;
        assert_eq!(ended.status(), SubmissionStatus::Approved);
        let item = &ended.stages[0].steps[0].work_items[0];
        assert_eq!(item.assignee.as_ref().unwrap().name, "bob", "assignees are never rewritten");
        assert_eq!(item.decision.as_ref(), Some(&decided));
        let filter = format!("submission = {id}");
        let request = WorkItemServiceListRequest { filter, ..Default::default() };
        let listed = ann.work_items().list(request).await.unwrap().into_inner().work_items;
        assert_eq!(listed[0].decision.as_ref(), Some(&decided));
        verified_history(&system.store, &id).await;

        let next = ann.item_of(&ann.submit("sign", json!({})).await.id).await;
        delete(&bob, "summer").await.unwrap();
        assert!(heidi.inbox().await.is_empty());
        let late = heidi.decide(decision(&next, Verdict::Approve, "", "")).await;
        assert_eq!(refused(late), (Code::PermissionDenied, "NOT_ASSIGNEE".to_owned()));
        system.end().await;
    }

    async fn an_inbox_holds_what_may_be_decided_for_others_and_its_pages_lose_nothing(backend: Backend) {
        let system = system(backend).await;
        let (ann, bob, heidi) = (system.caller("ann"), system.caller("bob"), system.caller("heidi"));
        put(&bob, named("small", with(delegation("heidi"), |delegation| {
            delegation.processes = vec!["sign".to_owned(), "note".to_owned()];
            "has(record.amount) && record.amount < 10.0".clone_into(&mut delegation.when);
        }))).await.unwrap();
        let mut expected = Vec::new();
        for number in 0..8 {
            // Every other one is too much; bob decides in finance and in pairs too, of which one is lent.
            let amount = if number % 2 == 0 { 5.0 } else { 50.0 };
            let id = ann.submit("sign", json!({ "amount": amount })).await.id;
            expected.extend((number % 2 == 0).then(|| format!("{id} for bob")));
        }
        heidi.submit("sign", json!({ "amount": 1.0 })).await;
        ann.submit("note", json!({ "n": 1.0 })).await;
        ann.submit("pair", json!({})).await;
        let finance = named("finance", with(delegation("heidi"), |delegation| {
            delegation.processes = vec!["note".to_owned()];
        }));
        put(&system.caller("dan"), finance).await.unwrap();
        let note = ann.submit("note", json!({ "n": 2.0 })).await.id;
        let shown = inbox(&heidi, 500).await;
        assert_eq!(shown.len(), 6, "{:?}", told(&shown));
        expected.extend(told(&shown[4..]));
        assert!(expected.contains(&format!("{note} for dan")));
        assert!(shown[4..].iter().all(|item| item.process == "note" && item.delegation == "finance"));
        for size in [1, 2, 3, 500] {
            assert_eq!(told(&inbox(&heidi, size).await), expected, "in pages of {size}");
        }
        system.end().await;
    }

    async fn whoever_gives_may_take_back_and_others_do_not_even_see(backend: Backend) {
        let system = system(backend).await;
        let callers = ["admin", "auditor", "bob", "carol", "heidi"].map(|name| system.caller(name));
        let [admin, auditor, bob, carol, heidi] = &callers;
        let for_bob = |request| with(request, |delegation| "bob".clone_into(&mut delegation.delegator));
        let not_permitted = (Code::PermissionDenied, "NOT_PERMITTED".to_owned());
        let not_found = (Code::NotFound, "NOT_FOUND".to_owned());
        assert_eq!(refused(put(carol, for_bob(delegation("carol"))).await), not_permitted);
        put(admin, named("a", for_bob(delegation("heidi")))).await.unwrap();
        put(bob, named("b", delegation("carol"))).await.unwrap();
        put(heidi, named("c", delegation("bob"))).await.unwrap();
        assert_eq!(refused(put(carol, named("b", delegation("ivan"))).await), not_permitted, "it is bob's name");
        for (caller, sees) in [(admin, &["a", "b", "c"][..]), (auditor, &["a", "b", "c"]), (bob, &["a", "b", "c"]), (carol, &["b"])] {
            assert_eq!(listed(caller, 1, "").await, sees);
        }
        assert_eq!(listed(heidi, 50, "delegator = bob").await, ["a"]);
        assert_eq!(listed(admin, 50, "delegator = bob AND delegate = carol").await, ["b"]);
        let request = v1::DirectoryServiceGetDelegationRequest { name: "a".to_owned() };
        assert_eq!(refused(carol.directory().get_delegation(request.clone()).await), not_found);
        assert_eq!(refused(delete(carol, "a").await), not_found);
        assert_eq!(refused(delete(heidi, "a").await), not_permitted);
        let seen = heidi.directory().get_delegation(request).await.unwrap().into_inner().delegation.unwrap();
        assert_eq!(seen.delegator, "bob");
        let user = v1::DirectoryServiceDeleteUserRequest { name: "heidi".to_owned(), ..Default::default() };
        let named_by_one = admin.directory().delete_user(user).await;
        assert_eq!(refused(named_by_one), (Code::InvalidArgument, "DIRECTORY_INVALID".to_owned()));
        delete(bob, "a").await.unwrap();
        delete(admin, "b").await.unwrap();
        assert_eq!(listed(admin, 50, "").await, ["c"]);
        system.end().await;
    }

    async fn a_delegation_that_cannot_be_is_refused_with_its_field(backend: Backend) {
        let system = system(backend).await;
        let (admin, bob) = (system.caller("admin"), system.caller("bob"));
        let field = async |request| {
            let status = put(&bob, request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            format!("{} {}", fields(&status).join(" "), status.message())
        };
        let says = |said: String, field: &str, part: &str| {
            assert!(said.starts_with(field) && said.contains(part), "{said}");
        };
        says(field(DirectoryServicePutDelegationRequest { end: "soon".into(), ..delegation("heidi") }).await, "end", "`soon` is no time");
        says(field(DirectoryServicePutDelegationRequest { end: String::new(), ..delegation("heidi") }).await, "end", "is missing");
        says(field(with(delegation("heidi"), |it| it.when = "record.".into())).await, "delegation.when", "");
        says(field(with(delegation("heidi"), |it| it.when = "'x'".into())).await, "directory", "a condition must be a bool");
        says(field(with(delegation("heidi"), |it| it.processes = vec!["sing".into()])).await, "delegation.processes", "no active process `sing`");
        says(field(delegation("nobody")).await, "directory", "user `nobody`, which does not exist");
        says(field(delegation("bob")).await, "directory", "cannot act for themselves");
        let local = DirectoryServicePutDelegationRequest { time_zone: "Mars/Olympus".into(), ..delegation("heidi") };
        says(field(local).await, "directory", "no time zone");
        assert!(listed(&admin, 50, "").await.is_empty(), "nothing half done");

        let berlin = v1::User { name: "bob".into(), time_zone: "Europe/Berlin".into(), ..Default::default() };
        let request = v1::DirectoryServicePutUserRequest { user: Some(berlin), ..Default::default() };
        admin.directory().put_user(request).await.unwrap();
        let local = DirectoryServicePutDelegationRequest {
            start: "2026-12-01".into(), end: "2027-07-01T08:30".into(), ..delegation("heidi")
        };
        let given = put(&bob, local.clone()).await.unwrap();
        assert_eq!(given.name, "bob-heidi-20261130T230000Z");
        let instant = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second();
        assert_eq!(given.start_time.unwrap().seconds, instant("2026-11-30T23:00:00Z"));
        assert_eq!(given.end_time.unwrap().seconds, instant("2027-07-01T06:30:00Z"));
        let longer = DirectoryServicePutDelegationRequest { end: "2027-08-01".into(), ..local };
        says(field(longer).await, "delegation.name", "give this one a name");
        system.end().await;
    }

    async fn nobody_has_two_votes_in_a_batch_either(backend: Backend) {
        let system = system(backend).await;
        let (ann, carol) = (system.caller("ann"), system.caller("carol"));
        put(&system.caller("bob"), named("away", with(delegation("carol"), |it| it.alternates = vec!["heidi".into()]))).await.unwrap();
        let id = ann.submit("pair", json!({})).await.id;
        let other = ann.submit("sign", json!({})).await.id;
        let items = ann.items_of(&id, &["bob", "carol"]).await;
        let alone = ann.item_of(&other).await;
        let decisions = [&items[0], &alone, &items[1]].map(|item| decision(item, Verdict::Approve, "", ""));
        let results = carol.batch_decide(decisions.to_vec(), "").await.unwrap();
        let reasons: Vec<_> = results.iter().map(|result| result.error.as_ref().map(|error| error.reason.as_str())).collect();
        assert!(reasons[0] == Some("SEPARATION_OF_DUTIES") || reasons[0] == Some("ALREADY_DECIDED"), "{reasons:?}");
        assert_eq!(reasons[1..], [None, None]);
        assert_eq!(ann.get(&other).await.status(), SubmissionStatus::Approved);
        assert_eq!(ann.get(&id).await.status(), SubmissionStatus::InProgress);
        let heidi = system.caller("heidi");
        let shown = heidi.inbox().await;
        assert_eq!(told(&shown), [format!("{id} for bob")]);
        heidi.approve(&shown[0]).await;
        assert_eq!(ann.get(&id).await.status(), SubmissionStatus::Approved);
        verified_history(&system.store, &id).await;
        system.end().await;
    }

    async fn a_document_and_the_command_line_give_them_too(backend: Backend) {
        let system = system(backend).await;
        let server = format!("http://{}", system.server.address);
        let call = |user: &str, format: &str, arguments: &[&str]| {
            let mut command = quorate();
            command.args(["--server", &server, "--token", &system.token(user), "-o", format]).args(arguments);
            printed(&mut command)
        };
        let text = "apiVersion: quorate/v1\nkind: Directory\nusers: [{ name: bob, time_zone: Asia/Tokyo }]\n\
                    delegations: [{ name: past, from: bob, to: grace, start: 2024-02-01, end: 2024-02-02 }]\n";
        let request = v1::DirectoryServiceApplyRequest { definition: text.to_owned(), ..Default::default() };
        let applied = system.caller("admin").directory().apply(request).await.unwrap().into_inner();
        assert_eq!((applied.users, applied.delegations), (1, 1));
        let id = system.caller("ann").submit("sign", json!({ "amount": 5.0 })).await.id;
        let until = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
        let delegate = [
            "delegate", "--to", "heidi", "--until", &until, "--process", "sign,note", "--when", "record.amount < 10.0",
            "--alternate", "ivan", "--name", "now",
        ];
        assert!(call("bob", "table", &delegate).starts_with("now: heidi acts for bob from "));
        let listed = call("bob", "table", &["list", "delegations"]);
        for part in ["heidi, ivan", "note, sign", "record.amount < 10.0", "past", "2024-01-31"] {
            assert!(listed.contains(part), "{part} is not in\n{listed}");
        }
        let shown = call("heidi", "table", &["inbox"]);
        assert!(shown.contains("for bob"), "{shown}");
        let items: Value = serde_json::from_str(&call("heidi", "json", &["inbox"])).unwrap();
        let item = items[0]["id"].as_str().unwrap();
        call("heidi", "table", &["approve", item]);
        assert!(call("ann", "table", &["get", "submission", &id]).contains("heidi for bob"));
        assert_eq!(call("bob", "table", &["delete", "delegation", "now"]), "now: deleted\n");
        assert!(!call("bob", "table", &["list", "delegations"]).contains("heidi"));
        system.end().await;
    }
}
