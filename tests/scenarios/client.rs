//! The player that calls a server as people, systems and workers do, and compares what it shows with what its history says.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use quorate::{
    auth::token_hash,
    proto::{
        v1::{
            self, calendar_service_client::CalendarServiceClient, directory_service_client::DirectoryServiceClient,
            flow_service_client::FlowServiceClient, job_service_client::JobServiceClient,
            process_service_client::ProcessServiceClient, record_service_client::RecordServiceClient,
            submission_service_client::SubmissionServiceClient, work_item_service_client::WorkItemServiceClient,
        },
        value,
    },
    scheduler::{self, Ask, Rejection},
};
use quorate_engine::{
    command::Command,
    delegation::Delegation,
    directory::Directory,
    event::Event,
    id::{JobId, SubmissionId, Tenant},
    projection::project,
    state::Submission,
};
use quorate_store::{
    catalog::ApiTokenRow,
    query::{JobQuery, PAGE_SIZE_MAX, SubmissionQuery},
};
use serde_json::json;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt as _;

use super::{
    calls::caller,
    play::{Definitions, Player, Refused},
    server::Server,
    shown::{short, shown_lines, state_lines},
    world::{Answer, World},
};

/// Who publishes, puts people into the directory, and looks at everything.
const ADMINISTRATOR: &str = "admin";

/// Who reports on jobs.
pub(crate) const WORKER: &str = "worker";

/// The process of every scenario.
pub(crate) const PROCESS: &str = "process";

/// After how long a call that has not been answered is believed to wait for synchronous steps, if there are any.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Writes the accessors of the generated clients: they differ in nothing but their names.
macro_rules! services {
    ($($name:ident: $client:ident;)*) => {$(
        pub(crate) fn $name(&self) -> $client<Channel> {
            $client::new(self.server.channel.clone())
        }
    )*};
}

/// Plays one scenario on a server, as a tenant of its own.
pub(crate) struct Client<'a> {
    server: &'a Server,
    tenant: Tenant,
    /// The text of the process.
    text: String,
    /// The texts of the processes that the submission may be moved to.
    processes: BTreeMap<String, String>,
    /// The directory as the server has it.
    directory: Directory,
    tokens: BTreeMap<String, String>,
    pub(crate) submission: Option<SubmissionId>,
    /// How many of its events the world has followed.
    followed: u64,
}

impl Player for Client<'_> {
    fn begin(&mut self, definitions: &Definitions, world: &World) {
        self.server.clock.set(world.now);
        self.server.runtime.clone().block_on(self.publish(definitions, world));
    }

    fn carry_out(&mut self, command: &Command, world: &mut World) -> Result<Answer, Refused> {
        self.server.clock.set(world.now);
        let runtime = self.server.runtime.clone();
        runtime.block_on(self.send_surroundings(world));
        runtime.block_on(self.obey(command, world))
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        Self {
            server,
            tenant: Tenant::from(server.new_tenant().as_str()),
            text: String::new(),
            processes: BTreeMap::new(),
            directory: Directory::default(),
            tokens: BTreeMap::new(),
            submission: None,
            followed: 0,
        }
    }

    async fn publish(&mut self, definitions: &Definitions, world: &World) {
        for name in [ADMINISTRATOR, WORKER] {
            self.make_known(name).await;
        }
        self.processes.clone_from(&definitions.processes);
        self.send_people(&world.directory).await;
        for definition in definitions.calendars.clone() {
            let publish = v1::CalendarServicePublishRequest { definition, activate: true, ..Default::default() };
            self.calendars().publish(self.by(ADMINISTRATOR, publish)).await.unwrap();
        }
        for definition in definitions.flows.clone() {
            let publish = v1::FlowServicePublishRequest { definition, activate: true, ..Default::default() };
            self.flows().publish(self.by(ADMINISTRATOR, publish)).await.unwrap();
        }
        self.text.clone_from(&definitions.process);
        self.publish_process(PROCESS, &definitions.process, 1, true).await;
    }

    /// Publishes a text as a process of this name, and answers with its version, which is another where a version was published
    /// that the submission was not moved to.
    async fn publish_process(&self, name: &str, text: &str, version: u32, activate: bool) -> u32 {
        // A text that is the same as before is no new version.
        let renamed = |line: &str| {
            if line.starts_with("name: ") { format!("name: {name} # {version}\n") } else { format!("{line}\n") }
        };
        let definition: String = text.lines().map(renamed).collect();
        let publish = v1::ProcessServicePublishRequest { definition, activate, ..Default::default() };
        let published = self.processes_of().publish(self.by(ADMINISTRATOR, publish)).await;
        let published = published.unwrap_or_else(|status| panic!("{:?}", status.get_details_bad_request()));
        published.into_inner().process.unwrap().version
    }

    /// Tells the server what has happened around the submission since it was told last.
    async fn send_surroundings(&mut self, world: &World) {
        if self.directory.users != world.directory.users
            || self.directory.groups != world.directory.groups
            || self.directory.queues != world.directory.queues
        {
            self.send_people(&world.directory).await;
        }
        let mut delegations = self.directory.delegations.clone();
        for (name, delegation) in &world.directory.delegations {
            if delegations.remove(name).as_ref() != Some(delegation) {
                // A delegation is about processes that there are.
                for other in delegation.processes.iter().filter(|name| *name != PROCESS) {
                    self.publish_process(other, &self.text, 1, true).await;
                }
                let put = v1::DirectoryServicePutDelegationRequest {
                    delegation: Some(delegation_to(delegation)),
                    ..Default::default()
                };
                self.people().put_delegation(self.by(ADMINISTRATOR, put)).await.unwrap();
            }
        }
        for name in delegations.into_keys() {
            let delete = v1::DirectoryServiceDeleteDelegationRequest { name, ..Default::default() };
            self.people().delete_delegation(self.by(ADMINISTRATOR, delete)).await.unwrap();
        }
        self.directory = world.directory.clone();
    }

    async fn send_people(&mut self, directory: &Directory) {
        let users = directory.users.values().map(|user| {
            let mut entry = json!({ "name": user.name, "active": user.active });
            if let Some(manager) = &user.manager {
                entry["manager"] = json!(manager);
            }
            entry
        });
        let groups = directory
            .groups
            .values()
            .map(|group| json!({ "name": group.name, "members": group.members, "groups": group.groups }));
        let queues = directory
            .queues
            .values()
            .map(|queue| json!({ "name": queue.name, "members": queue.members, "groups": queue.groups }));
        // JSON is YAML.
        let definition = json!({
            "apiVersion": "quorate/v1",
            "kind": "Directory",
            "users": users.collect::<Vec<_>>(),
            "groups": groups.collect::<Vec<_>>(),
            "queues": queues.collect::<Vec<_>>(),
        });
        let apply = v1::DirectoryServiceApplyRequest { definition: definition.to_string(), ..Default::default() };
        self.people().apply(self.by(ADMINISTRATOR, apply)).await.unwrap();
        self.directory = Directory { delegations: self.directory.delegations.clone(), ..directory.clone() };
    }

    /// Carries a command out, and has the world follow.
    async fn obey(&mut self, command: &Command, world: &mut World) -> Result<Answer, Refused> {
        if let Some(name) = caller(command) {
            self.make_known(name).await;
        }
        let outcome = match command {
            Command::Wake | Command::JobOverdue { .. } => self.let_time_pass(command, world).await,
            Command::Migrate(migrate) => {
                let text = self.processes[&migrate.process.name].clone();
                let mut to = migrate.clone();
                to.to.version = self.publish_process(PROCESS, &text, migrate.to.version, false).await;
                let (said, meant) = (format!("version {}", to.to.version), format!("version {}", migrate.to.version));
                self.call(&Command::Migrate(to), world)
                    .await
                    .map_err(|refused| Refused { message: refused.message.replace(&said, &meant), ..refused })
            }
            _ => self.call(command, world).await,
        };
        let begun = match outcome {
            Ok(begun) => begun,
            Err(refused) => {
                assert!(self.news().await.is_empty(), "what was refused has changed something");
                return Err(refused);
            }
        };
        if let Some(submission) = begun {
            world.begin_anew();
            self.submission = Some(submission);
            self.followed = 0;
        }
        let events = self.news().await;
        self.followed += events.len() as u64;
        let answer = world.follow(events);
        if let Command::Migrate(migrate) = command {
            world.process = (*migrate.process).clone();
        }
        self.compare(world).await;
        Ok(answer)
    }

    /// Makes a call and awaits its answer, but not the synchronous steps that it may wait for: no time passes here.
    async fn call(&self, command: &Command, world: &World) -> Result<Option<SubmissionId>, Refused> {
        let before = self.submissions_there_are().await;
        let mut call = tokio::spawn(self.call_of(command, world));
        loop {
            tokio::select! {
                answered = &mut call => return answered.unwrap().map_err(|status| refused(command, &status)),
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            let there_are = self.submissions_there_are().await;
            let new = there_are.into_iter().find(|(id, _)| !before.contains_key(id)).map(|(id, _)| id);
            let Some(id) = new.or(self.submission) else { continue };
            let history = self.history(id, 0).await;
            let waits = quorate_engine::evolve::replay(&history).is_some_and(|state| state.sync_wait().is_some());
            if waits && (new.is_some() || history.len() as u64 > self.followed) {
                call.abort();
                return Ok(new);
            }
        }
    }

    async fn submissions_there_are(&self) -> BTreeMap<SubmissionId, u64> {
        let query = SubmissionQuery {
            tenant: self.tenant.clone(),
            process: None,
            status: None,
            submitter: None,
            record_type: None,
            record_id: None,
            descending: false,
            after: None,
            limit: PAGE_SIZE_MAX,
        };
        let rows = self.server.store.list_submissions(&query).await.unwrap();
        rows.into_iter().map(|row| (row.id, row.version)).collect()
    }

    /// Lets the timers do what is due. Where that is nothing, the question they would have asked is asked nevertheless, as that of
    /// a timer that comes too early or too late; it must not find anything to do.
    async fn let_time_pass(&self, command: &Command, world: &World) -> Result<Option<SubmissionId>, Refused> {
        self.server.scheduler.fire_due().await;
        let Some(submission) = self.submission else { return Ok(None) };
        if !self.news().await.is_empty() {
            return Ok(None);
        }
        let ask = Ask::Command(match command {
            Command::JobOverdue { job, attempt, .. } => {
                let heartbeat_at = self.heard_of(*job).await;
                Command::JobOverdue { job: *job, attempt: *attempt, heartbeat_at }
            }
            command => command.clone(),
        });
        let request = scheduler::Request { tenant: self.tenant.clone(), submission, ask, key: None };
        match self.server.scheduler.ask(request).await {
            Ok(_) => {
                let awaits_time = world.state.as_ref().is_some_and(|state| project(state).submission.awaits_time);
                // A condition that reads the time is looked at once a minute, and a scenario may not have waited so long.
                assert!(awaits_time || self.news().await.is_empty(), "the timers did not see what was due");
                Ok(None)
            }
            Err(Rejection::Refused(refusal)) => Err(refusal.into()),
            Err(rejection) => panic!("{rejection}"),
        }
    }

    /// When a job was last heard of.
    async fn heard_of(&self, job: JobId) -> Option<Timestamp> {
        let query = JobQuery {
            tenant: self.tenant.clone(),
            id: Some(job),
            submission: None,
            task_queue: None,
            flow: None,
            status: None,
            after: None,
            limit: 1,
        };
        self.server.store.list_jobs(&query).await.unwrap().pop().and_then(|row| row.heartbeat_at)
    }

    /// What has happened to the submission that the world does not know yet.
    async fn news(&self) -> Vec<Event> {
        match self.submission {
            Some(submission) => self.history(submission, self.followed).await,
            None => Vec::new(),
        }
    }

    async fn history(&self, submission: SubmissionId, after: u64) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let seen = after + events.len() as u64;
            let page = self.server.store.history(&self.tenant, submission, seen, PAGE_SIZE_MAX).await.unwrap();
            if page.is_empty() {
                return events;
            }
            events.extend(page.iter().map(|event| event.to_event().unwrap()));
        }
    }

    /// The stored rows, and the submission as the API shows it, are those of its history.
    async fn compare(&self, world: &World) {
        let (Some(id), Some(state)) = (self.submission, world.state.as_deref()) else { return };
        let stored = self.server.store.projection(&self.tenant, id).await.unwrap().unwrap();
        assert_eq!(stored, project(state), "the stored rows are not those of the history");
        let get = v1::SubmissionServiceGetRequest { id: id.to_string() };
        let shown = self.submissions().get(self.by(ADMINISTRATOR, get)).await.unwrap().into_inner().submission;
        assert_eq!(shown_lines(&shown.unwrap()), state_lines(state), "the API shows something else");
    }

    /// What the API lists of the submission at the end is what its history says.
    pub(crate) fn compare_what_is_listed(&self, world: &World) {
        if let (Some(id), Some(state)) = (self.submission, world.state.as_deref()) {
            self.server.runtime.block_on(self.compare_lists(&id.to_string(), world.events(), state));
        }
    }

    async fn compare_lists(&self, id: &str, events: &[Event], state: &Submission) {
        let (id, page_size) = (id.to_owned(), i32::try_from(PAGE_SIZE_MAX).unwrap());
        let filter = format!("submission = {id}");
        let mut listed = Vec::new();
        let mut page_token = String::new();
        loop {
            let list = v1::SubmissionServiceListEventsRequest { id: id.clone(), page_size, page_token };
            let page = self.submissions().list_events(self.by(ADMINISTRATOR, list)).await.unwrap().into_inner();
            listed.extend(page.events);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let listed: Vec<_> = listed.into_iter().map(|event| (event.seq, event.kind, event.body.unwrap())).collect();
        let happened = (1..).zip(events).map(|(seq, event)| {
            let (kind, mut body) = event.kind.to_parts();
            // What makes a report count is for the worker alone.
            for secret in ["token", "next_token"] {
                body.as_object_mut().unwrap().remove(secret);
            }
            (seq, kind, value::from_json(&body))
        });
        assert_eq!(listed, happened.collect::<Vec<_>>(), "the API lists other events");

        let rows = project(state);
        let mut listed = Vec::new();
        loop {
            let list = v1::WorkItemServiceListRequest { filter: filter.clone(), page_size, page_token };
            let page = self.work_items().list(self.by(ADMINISTRATOR, list)).await.unwrap().into_inner();
            listed.extend(page.work_items);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let listed: BTreeMap<_, _> = listed
            .iter()
            .map(|item| (item.id.clone(), short(item.status().as_str_name(), "WORK_ITEM_STATUS_").to_owned()))
            .collect();
        let items = rows.work_items.values().map(|item| (item.id.to_string(), item.status.as_str().to_owned()));
        assert_eq!(listed, items.collect(), "the API lists other work items");

        let list = v1::JobServiceListRequest { filter, page_size, ..Default::default() };
        let listed = self.jobs().list(self.by(ADMINISTRATOR, list)).await.unwrap().into_inner().jobs;
        let listed: BTreeMap<_, _> = listed.iter().map(|job| (job.job.clone(), job.attempt)).collect();
        let jobs = rows.jobs.values().map(|job| (job.id.to_string(), job.attempt));
        assert_eq!(listed, jobs.collect(), "the API lists other jobs");
    }

    /// Leaves nothing behind that a later clock, or another one, could wake.
    pub(crate) fn leave(&self) {
        self.server.runtime.block_on(async {
            for id in self.submissions_there_are().await.into_keys() {
                let cancel = v1::SubmissionServiceCancelRequest { id: id.to_string(), ..Default::default() };
                match self.submissions().cancel(self.by(ADMINISTRATOR, cancel)).await {
                    Ok(_) => {}
                    // It has ended already, or is about to.
                    Err(status) => assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}"),
                }
            }
        });
    }

    services! {
        submissions: SubmissionServiceClient;
        work_items: WorkItemServiceClient;
        processes_of: ProcessServiceClient;
        flows: FlowServiceClient;
        calendars: CalendarServiceClient;
        people: DirectoryServiceClient;
        jobs: JobServiceClient;
        records: RecordServiceClient;
    }

    /// Gives a caller a token. Everybody submits and decides; one administers, and one works.
    async fn make_known(&mut self, name: &str) {
        if self.tokens.contains_key(name) {
            return;
        }
        let token = format!("{}/{name}", self.tenant);
        let roles: &[&str] = match name {
            ADMINISTRATOR => &["administrator"],
            WORKER => &["worker"],
            _ => &["submitter", "reviewer"],
        };
        let row = ApiTokenRow {
            hash: token_hash(&token),
            id: token.clone(),
            tenant: self.tenant.clone(),
            principal: name.to_owned(),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            note: String::new(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        self.server.store.put_api_token(&row).await.unwrap();
        self.tokens.insert(name.to_owned(), token);
    }

    /// A call of this caller.
    pub(crate) fn by<T>(&self, name: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = &self.tokens[name];
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    }
}

/// A refusal as the rules would have said it.
fn refused(command: &Command, status: &Status) -> Refused {
    let info = status.get_details_error_info();
    let reason = info.unwrap_or_else(|| panic!("{command:?}: a refusal without a reason: {status:?}")).reason;
    if reason == "ROLE_MISSING" {
        // What takes an administrator is refused before it comes to the rules, which would say so in their own words.
        assert_eq!(status.message(), "this takes the role administrator");
        return Refused { reason: "NOT_PERMITTED".to_owned(), message: "this takes an administrator".to_owned() };
    }
    Refused { reason, message: status.message().to_owned() }
}

fn delegation_to(delegation: &Delegation) -> v1::Delegation {
    let timestamp = |at: Timestamp| prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() };
    v1::Delegation {
        name: delegation.name.clone(),
        delegator: delegation.from.clone(),
        delegate: delegation.to.clone(),
        start_time: Some(timestamp(delegation.start)),
        end_time: Some(timestamp(delegation.end)),
        processes: delegation.processes.iter().cloned().collect(),
        when: delegation.when.as_ref().map(|when| when.source().to_owned()).unwrap_or_default(),
        alternates: delegation.alternates.clone(),
    }
}
