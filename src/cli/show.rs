//! `get`, `list` and `events`: reading.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use prost::{Message, Name};
use serde_json::Value;

use crate::{
    cli::{
        Failure,
        data::to_object,
        delegation::print_delegations,
        failure::answered,
        inbox::{decided_by, print_items},
        output::{Format, Session, enum_name, status_name, to_json},
        record, screens,
        table::{Table, print_fields, time},
        watch::in_round,
    },
    proto::v1::{self, Calendar, Event, Flow, Group, OpenJob, Process, Queue, Submission, TaskQueue, User, WorkItem},
};

/// The commands of `quorate get`.
#[derive(Debug, Subcommand)]
pub(crate) enum GetCommand {
    /// Show submissions, with their stages, steps and work items
    Submission(IdArgs),
    /// Show processes, with their definitions
    Process(DefinitionArgs),
    /// Show flows, with their definitions
    Flow(DefinitionArgs),
    /// Show calendars, with their definitions
    Calendar(DefinitionArgs),
    /// Show open jobs
    Job(IdArgs),
    /// Show work items
    WorkItem(IdArgs),
    /// Show who has locked a record, and whether somebody may edit it
    Lock(record::GetLockArgs),
    /// Show what the screens of work items show and ask
    Screen(IdArgs),
}

/// What to show, by id.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// Its id; of several, programs get a list
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

/// What to show, by name.
#[derive(Debug, Args)]
pub(crate) struct DefinitionArgs {
    /// Its name; of several, programs get a list
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Its version; without it, the active one, or else the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) version: Option<u32>,
}

/// The commands of `quorate list`.
#[derive(Debug, Subcommand)]
pub(crate) enum ListCommand {
    /// List submissions, newest first; filter by process, status, submitter, record_type, record_id
    Submissions(FilterArgs),
    /// List work items; filter by status, process, submission, assignee (user:NAME, group:NAME, queue:NAME)
    WorkItems(FilterArgs),
    /// List processes, each in its active or else its newest version
    Processes(PageArgs),
    /// List flows, each in its active or else its newest version
    Flows(PageArgs),
    /// List calendars, each in its active or else its newest version
    Calendars(PageArgs),
    /// List open jobs; filter by task_queue, flow, status, submission
    Jobs(FilterArgs),
    /// List task queues: what waits in them and for how long, and how many workers serve them
    TaskQueues(PageArgs),
    /// List the users of the directory
    Users(PageArgs),
    /// List the groups of the directory
    Groups(PageArgs),
    /// List the queues of the directory
    Queues(PageArgs),
    /// List delegations, those that have ended included: your own, or all for an administrator; filter by delegator, delegate
    Delegations(FilterArgs),
}

/// What to list.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Which: terms joined by AND, each `field = value`
    #[arg(long, value_name = "TERMS", default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// How much to list.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// How many to ask for at a time, 1 to 500
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=500))]
    pub(crate) page_size: i32,
    /// List all, not the first page only
    #[arg(long)]
    pub(crate) all: bool,
}

/// Arguments of `quorate events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// The submission's id
    #[arg(value_name = "SUBMISSION")]
    pub(crate) id: String,
}

/// Fetches the first page, or all of them; says whether more would follow.
pub(crate) async fn pages<T>(
    args: &PageArgs,
    fetch: impl AsyncFn(i32, String) -> Result<(Vec<T>, String), Failure>,
) -> Result<(Vec<T>, bool), Failure> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (page, next) = fetch(args.page_size, token).await?;
        all.extend(page);
        if next.is_empty() || !args.all {
            return Ok((all, !next.is_empty()));
        }
        token = next;
    }
}

/// Says that there is more, where a reader could think that this was all.
pub(crate) fn note_more(more: bool, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    if more { session.note("there are more: --all lists them") } else { Ok(()) }
}

/// Writes a call for each service that differs in nothing but the names of its messages.
macro_rules! list_of {
    ($session:ident, $args:expr, $service:ident.$call:ident($request:ident { $($field:ident: $value:expr),* }) -> $answer:ident) => {{
        let client = $session.client.clone();
        pages($args, async |page_size, page_token| {
            let request = v1::$request { page_size, page_token, $($field: $value),* };
            let answer = client.call(async || client.$service().$call(request.clone()).await).await?;
            Ok((answer.$answer, answer.next_page_token))
        })
        .await?
    }};
}

/// Lists.
pub(crate) async fn list(command: &ListCommand, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    match command {
        ListCommand::Submissions(args) => {
            let listed = list_of!(session, &args.page, submissions.list(SubmissionServiceListRequest {
                filter: args.filter.clone(), order_by: String::new()
            }) -> submissions);
            print_list(&listed, print_submissions, session)
        }
        ListCommand::WorkItems(args) => {
            let filter = || args.filter.clone();
            let listed = list_of!(session, &args.page, work_items.list(WorkItemServiceListRequest { filter: filter() }) -> work_items);
            print_list(&listed, print_items, session)
        }
        ListCommand::Jobs(args) => {
            let filter = || args.filter.clone();
            let listed = list_of!(session, &args.page, jobs.list(JobServiceListRequest { filter: filter() }) -> jobs);
            print_list(&listed, print_jobs, session)
        }
        ListCommand::TaskQueues(args) => {
            let listed =
                list_of!(session, args, jobs.list_task_queues(JobServiceListTaskQueuesRequest {}) -> task_queues);
            print_list(&listed, print_task_queues, session)
        }
        ListCommand::Processes(args) => {
            let listed = list_of!(session, args, processes.list(ProcessServiceListRequest {}) -> processes);
            print_list(&listed, print_processes, session)
        }
        ListCommand::Flows(args) => {
            let listed = list_of!(session, args, flows.list(FlowServiceListRequest {}) -> flows);
            print_list(&listed, print_flows, session)
        }
        ListCommand::Calendars(args) => {
            let listed = list_of!(session, args, calendars.list(CalendarServiceListRequest {}) -> calendars);
            print_list(&listed, print_calendars, session)
        }
        ListCommand::Users(args) => {
            let listed = list_of!(session, args, directory.list_users(DirectoryServiceListUsersRequest {}) -> users);
            print_list(&listed, print_users, session)
        }
        ListCommand::Groups(args) => {
            let listed = list_of!(session, args, directory.list_groups(DirectoryServiceListGroupsRequest {}) -> groups);
            print_list(&listed, print_groups, session)
        }
        ListCommand::Queues(args) => {
            let listed = list_of!(session, args, directory.list_queues(DirectoryServiceListQueuesRequest {}) -> queues);
            print_list(&listed, print_queues, session)
        }
        ListCommand::Delegations(args) => {
            let listed = list_of!(session, &args.page, directory.list_delegations(DirectoryServiceListDelegationsRequest {
                filter: args.filter.clone()
            }) -> delegations);
            print_list(&listed, print_delegations, session)
        }
    }
}

/// Writes a list; `print` is its form for people.
fn print_list<T: Message + Name>(
    (listed, more): &(Vec<T>, bool),
    print: fn(&[T], &mut dyn Write) -> io::Result<()>,
    session: &mut Session<'_, '_>,
) -> Result<(), Failure> {
    session.print_all(listed, print)?;
    note_more(*more, session)
}

/// Shows things by id or name.
pub(crate) async fn get(command: &GetCommand, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = session.client.clone();
    match command {
        GetCommand::Submission(args) => {
            let fetch = async |id: String| {
                let request = v1::SubmissionServiceGetRequest { id };
                answered(client.call(async || client.submissions().get(request.clone()).await).await?.submission)
            };
            get_all(&args.ids, fetch, print_submission, session).await
        }
        GetCommand::Lock(args) => record::get_lock(args, session).await,
        GetCommand::Screen(args) => {
            let fetch = async |id: String| screens::get_screen(&client, &id).await;
            get_all(&args.ids, fetch, screens::print_screen, session).await
        }
        GetCommand::Process(args) => {
            let fetch = async |name: String| {
                let request = v1::ProcessServiceGetRequest { name, version: args.version.unwrap_or(0) };
                answered(client.call(async || client.processes().get(request.clone()).await).await?.process)
            };
            get_all(&args.names, fetch, print_process, session).await
        }
        GetCommand::Flow(args) => {
            let fetch = async |name: String| {
                let request = v1::FlowServiceGetRequest { name, version: args.version.unwrap_or(0) };
                answered(client.call(async || client.flows().get(request.clone()).await).await?.flow)
            };
            get_all(&args.names, fetch, print_flow, session).await
        }
        GetCommand::Calendar(args) => {
            let fetch = async |name: String| {
                let request = v1::CalendarServiceGetRequest { name, version: args.version.unwrap_or(0) };
                answered(client.call(async || client.calendars().get(request.clone()).await).await?.calendar)
            };
            get_all(&args.names, fetch, print_calendar, session).await
        }
        GetCommand::Job(args) => {
            let fetch = async |job: String| {
                let request = v1::JobServiceGetRequest { job };
                answered(client.call(async || client.jobs().get(request.clone()).await).await?.job)
            };
            get_all(&args.ids, fetch, |job, out| print_jobs(std::slice::from_ref(job), out), session).await
        }
        GetCommand::WorkItem(args) => {
            let fetch = async |id: String| {
                let request = v1::WorkItemServiceGetRequest { id };
                answered(client.call(async || client.work_items().get(request.clone()).await).await?.work_item)
            };
            get_all(&args.ids, fetch, print_item, session).await
        }
    }
}

/// Shows each as soon as it is there; where programs read, one is itself, and several are a list.
async fn get_all<T: Message + Name>(
    ids: &[String],
    fetch: impl AsyncFn(String) -> Result<T, Failure>,
    print: fn(&T, &mut dyn Write) -> io::Result<()>,
    session: &mut Session<'_, '_>,
) -> Result<(), Failure> {
    let mut values = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let message = fetch(id.clone()).await?;
        if session.format != Format::Table {
            values.push(to_json(&message)?);
            continue;
        }
        if index > 0 {
            writeln!(session.screen.out)?;
        }
        print(&message, session.screen.out)?;
    }
    match (session.format, values.len()) {
        (Format::Table, _) => Ok(()),
        (_, 1) => session.print_value(&values.remove(0)),
        _ => session.print_value(&Value::Array(values)),
    }
}

/// Shows the history of a submission, whole: it is bounded by what the submission went through.
pub(crate) async fn events(args: &EventsArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let page = PageArgs { page_size: 500, all: true };
    let (events, _) = list_of!(session, &page, submissions.list_events(SubmissionServiceListEventsRequest {
        id: args.id.clone()
    }) -> events);
    session.print_all(&events, print_events)
}

pub(crate) fn print_events(events: &[Event], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&["SEQ", "AT", "KIND", "BODY"]);
    for event in events {
        // The body is JSON of the kind's own; on one line it can still be searched.
        let body = event.body.as_ref().map(|body| to_object(body).to_string());
        table.row([&event.seq.to_string(), &time(event.at.as_ref()), &event.kind, &body.unwrap_or_default()]);
    }
    table.print(out)
}

fn print_submissions(submissions: &[Submission], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&["ID", "PROCESS", "STATUS", "RECORD", "SUMMARY", "SUBMITTER", "SUBMITTED"]);
    for submission in submissions {
        let record = submission.record.as_ref().map(|record| record.id.as_str()).unwrap_or_default();
        let status = status_name(submission.status());
        let at = time(submission.submitted_at.as_ref());
        table.row([
            &submission.id,
            &submission.process,
            status,
            record,
            &submission.summary,
            &submission.submitter,
            &at,
        ]);
    }
    table.print(out)
}

fn print_submission(submission: &Submission, out: &mut dyn Write) -> io::Result<()> {
    let record = submission.record.as_ref();
    let data = record.and_then(|record| record.data.as_ref());
    let failed = |failure: &v1::Failure| format!("{}: {}", failure.reason, failure.message);
    let ending = if submission.ending == 0 { "" } else { status_name(submission.ending()) };
    let fields = [
        ("id", submission.id.clone()),
        ("process", format!("{} version {}", submission.process, submission.process_version)),
        ("status", status_name(submission.status()).to_owned()),
        ("failure", submission.failure.as_ref().map(failed).unwrap_or_default()),
        ("going to end", ending.to_owned()),
        ("summary", submission.summary.clone()),
        ("record", record.map(|it| format!("{}/{} version {}", it.r#type, it.id, it.version)).unwrap_or_default()),
        ("digest", record.map(|it| it.digest.clone()).unwrap_or_default()),
        ("data", data.map(|data| to_object(data).to_string()).unwrap_or_default()),
        ("not taken", submission.ignored_change.as_ref().map(not_taken).unwrap_or_default()),
        ("submitter", submission.submitter.clone()),
        ("on behalf of", submission.on_behalf_of.clone()),
        ("comment", submission.comment.clone()),
        ("submitted", time(submission.submitted_at.as_ref())),
        ("ended", time(submission.ended_at.as_ref())),
    ];
    print_fields(&fields, out)?;
    let mut steps = Table::new(&["STAGE", "STEP", "STATUS", "STARTED", "ENDED", "NOTE"]);
    for stage in &submission.stages {
        let name = in_round(&stage.name, stage.round);
        let status = enum_name(stage.status().as_str_name(), "STAGE_RUN_STATUS_");
        let note = stage.failure.as_ref().map_or_else(|| asked(stage.exit.as_ref()), failed);
        steps.row([&name, "", status, &time(stage.started_at.as_ref()), &time(stage.ended_at.as_ref()), &note]);
        for step in &stage.steps {
            let status = enum_name(step.status().as_str_name(), "STEP_RUN_STATUS_");
            let flow = format!("flow {} version {}, attempt {}", step.flow, step.flow_version, step.attempt);
            let asked = asked(step.exit.as_ref().or(step.entry.as_ref()));
            let flow = match &step.reused {
                Some(reused) => reused_by(reused, &submission.id),
                None if !step.flow.is_empty() => flow,
                None if asked.is_empty() => due(step),
                None => asked,
            };
            let note = step.failure.as_ref().map_or(flow, failed);
            let step_name = in_round(&step.name, step.round);
            let (started, ended) = (time(step.started_at.as_ref()), time(step.ended_at.as_ref()));
            steps.row([&name, &step_name, status, &started, &ended, &note]);
        }
    }
    if !steps.is_empty() {
        writeln!(out)?;
        steps.print(out)?;
    }
    let steps = submission.stages.iter().flat_map(|stage| &stage.steps);
    let items: Vec<WorkItem> = steps.flat_map(|step| step.work_items.iter().cloned()).collect();
    if !items.is_empty() {
        writeln!(out)?;
        print_items(&items, out)?;
    }
    Ok(())
}

/// When an approval step in progress is due, or was.
fn due(step: &v1::StepRun) -> String {
    match &step.due_at {
        Some(at) if step.status() == v1::StepRunStatus::InProgress => {
            format!("{} {}", if step.overdue { "overdue since" } else { "due" }, time(Some(at)))
        }
        _ => String::new(),
    }
}

/// What the record's own system holds by now.
fn not_taken(ignored: &v1::IgnoredChange) -> String {
    format!("a change of {}: {}: {}", time(ignored.at.as_ref()), ignored.reason, ignored.message)
}

/// Whose earlier decisions a step completed by.
fn reused_by(reused: &v1::ReusedDecisions, submission: &str) -> String {
    let from = if reused.submission == submission { "before".to_owned() } else { format!("in {}", reused.submission) };
    format!("decided {from} by {}", reused.reviewers.join(", "))
}

fn print_item(item: &WorkItem, out: &mut dyn Write) -> io::Result<()> {
    let decision = item.decision.clone().unwrap_or_default();
    let fields = [
        ("id", item.id.clone()),
        ("submission", item.submission.clone()),
        ("process", item.process.clone()),
        ("step", format!("{}/{}", item.stage, item.step)),
        ("summary", item.summary.clone()),
        ("submitter", item.submitter.clone()),
        ("record", format!("{}/{}", item.record_type, item.record_id)),
        ("digest", item.record_digest.clone()),
        ("assigned to", crate::cli::watch::assignee(item)),
        ("why", item.reason.clone()),
        ("weight", if item.weight > 1 { item.weight.to_string() } else { String::new() }),
        ("veto", if item.veto { "a rejection settles the step".to_owned() } else { String::new() }),
        ("status", enum_name(item.status().as_str_name(), "WORK_ITEM_STATUS_").to_owned()),
        ("decided by", decided_by(&decision)),
        ("by delegation", decision.delegation),
        ("comment", decision.comment),
        ("assigned", time(item.assigned_at.as_ref())),
        ("due", time(item.due_at.as_ref())),
        ("closed", time(item.closed_at.as_ref())),
    ];
    print_fields(&fields, out)
}

fn print_processes(processes: &[Process], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "VERSION", "STATUS", "RECORD TYPE", "TITLE", "PUBLISHED"]);
    for process in processes {
        let status = enum_name(process.status().as_str_name(), "VERSION_STATUS_");
        let (version, at) = (process.version.to_string(), time(process.published_at.as_ref()));
        table.row([&process.name, &version, status, &process.record_type, &process.title, &at]);
    }
    table.print(out)
}

fn print_process(process: &Process, out: &mut dyn Write) -> io::Result<()> {
    print_processes(std::slice::from_ref(process), out)?;
    print_definition(&process.definition, out)
}

fn print_calendars(calendars: &[Calendar], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "VERSION", "STATUS", "TIME ZONE", "TITLE", "PUBLISHED"]);
    for calendar in calendars {
        let status = enum_name(calendar.status().as_str_name(), "VERSION_STATUS_");
        let (version, at) = (calendar.version.to_string(), time(calendar.published_at.as_ref()));
        table.row([&calendar.name, &version, status, &calendar.time_zone, &calendar.title, &at]);
    }
    table.print(out)
}

fn print_calendar(calendar: &Calendar, out: &mut dyn Write) -> io::Result<()> {
    print_calendars(std::slice::from_ref(calendar), out)?;
    print_definition(&calendar.definition, out)
}

fn print_flows(flows: &[Flow], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "VERSION", "STATUS", "TYPE", "TASK QUEUE", "PUBLISHED"]);
    for flow in flows {
        let status = enum_name(flow.status().as_str_name(), "VERSION_STATUS_");
        let kind = enum_name(flow.r#type().as_str_name(), "FLOW_TYPE_").to_lowercase();
        let (version, at) = (flow.version.to_string(), time(flow.published_at.as_ref()));
        table.row([&flow.name, &version, status, &kind, &flow.task_queue, &at]);
    }
    table.print(out)
}

fn print_flow(flow: &Flow, out: &mut dyn Write) -> io::Result<()> {
    print_flows(std::slice::from_ref(flow), out)?;
    print_definition(&flow.definition, out)
}

/// The text as it was published, so that it may be saved and applied again.
fn print_definition(definition: &str, out: &mut dyn Write) -> io::Result<()> {
    let lines = definition.lines().map(crate::cli::table::printable);
    writeln!(out)?;
    lines.into_iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// What an evaluation flow was asked last, and its answer.
fn asked(evaluation: Option<&v1::Evaluation>) -> String {
    let Some(evaluation) = evaluation else { return String::new() };
    let status = enum_name(evaluation.status().as_str_name(), "JOB_STATUS_");
    let answer = match evaluation.met {
        Some(true) => "met",
        Some(false) => "not met",
        None => status,
    };
    format!("flow {} version {}: {answer}", evaluation.flow, evaluation.flow_version)
}

fn print_jobs(jobs: &[OpenJob], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&["JOB", "FLOW", "QUEUE", "STATUS", "ATTEMPT", "SUBMISSION", "STEP", "AVAILABLE"]);
    for job in jobs {
        let status = enum_name(job.status().as_str_name(), "JOB_STATUS_");
        let step = if job.step.is_empty() { job.stage.clone() } else { format!("{}/{}", job.stage, job.step) };
        let (attempt, available) = (job.attempt.to_string(), time(job.available_at.as_ref()));
        table.row([&job.job, &job.flow, &job.task_queue, status, &attempt, &job.submission, &step, &available]);
    }
    table.print(out)
}

fn print_task_queues(queues: &[TaskQueue], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "WAITING", "OLDEST", "RUNNING", "LATER", "CONSUMERS", "FLOWS"]);
    for queue in queues {
        let age = queue.oldest_waiting_age.map(|age| SignedDuration::from_secs(age.seconds));
        let age = age.map(|age| format!("{age:#}")).unwrap_or_default();
        let (waiting, running, later) = (queue.waiting.to_string(), queue.running.to_string(), queue.later.to_string());
        let consumers = queue.consumers.map_or_else(|| "not known".to_owned(), |count| count.to_string());
        table.row([&queue.name, &waiting, &age, &running, &later, &consumers, &queue.flows.join(", ")]);
    }
    table.print(out)
}

fn print_users(users: &[User], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "ACTIVE", "MANAGER", "E-MAIL", "TIME ZONE"]);
    for user in users {
        let active = if user.active.unwrap_or(true) { "yes" } else { "no" };
        table.row([&user.name, active, &user.manager, &user.email, &user.time_zone]);
    }
    table.print(out)
}

fn print_groups(groups: &[Group], out: &mut dyn Write) -> io::Result<()> {
    print_members(groups.iter().map(|group| (&group.name, &group.members, &group.groups)), out)
}

fn print_queues(queues: &[Queue], out: &mut dyn Write) -> io::Result<()> {
    print_members(queues.iter().map(|queue| (&queue.name, &queue.members, &queue.groups)), out)
}

fn print_members<'a>(
    entries: impl Iterator<Item = (&'a String, &'a Vec<String>, &'a Vec<String>)>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "MEMBERS", "GROUPS"]);
    for (name, members, groups) in entries {
        table.row([name, &members.join(", "), &groups.join(", ")]);
    }
    table.print(out)
}
