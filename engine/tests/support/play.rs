//! Playing a scenario: from its words to commands. Who carries these out is the player's: the engine alone, or a server that
//! is called as a client calls it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use jiff::{SignedDuration, Span, SpanRelativeTo};
use quorate_engine::{
    Json,
    command::{
        Actor, Command, Decide, FlowEffect, Migrate, Override, OverrideTarget, Report, ReportOutcome, Reported, Submit,
        SubmitScreen, UpdateRecord,
    },
    context::Flows,
    decide::{may_decide, record_digest},
    definition::{
        FlowType, Process, StageExit, Step, StepExit, StepKind, StepStart, read_calendar, read_directory, read_flow,
    },
    delegation::Delegation,
    directory::{Directory, User},
    expression::Expression,
    id::{JobId, UserName, WorkItemId},
    refusal::Refusal,
    state::{Assignee, Evaluation, Job, StepRun, Submission, Verdict, VersionRef},
};

use super::{
    expectation,
    script::{Scenario, Script, Token, Turn},
    world::{Answer, World},
};

/// Why something was not done.
pub(crate) struct Refused {
    /// The stable reason.
    pub(crate) reason: String,
    /// What a person is told.
    pub(crate) message: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { reason: refusal.reason().to_owned(), message: refusal.to_string() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Who carries out the commands of a scenario. What is expected after each is checked on the world, whoever did it.
pub(crate) trait Player {
    /// A scenario begins: in a world of its own, with these definitions and the world's people.
    fn begin(&mut self, definitions: &Definitions, world: &World);

    /// Carries out a command and lets the world follow: afterwards it holds all that has happened, and the answer the events
    /// of this command.
    fn carry_out(&mut self, command: &Command, world: &mut World) -> Result<Answer, Refused>;
}

/// The definitions of a scenario as they are published.
#[allow(dead_code, reason = "for a player that publishes them; the engine has them read already")]
pub(crate) struct Definitions {
    /// The text of its process.
    pub(crate) process: String,
    /// The texts of all processes of its file, by their names: a submission may be moved to another one.
    pub(crate) processes: BTreeMap<String, String>,
    /// The texts of the flows that the process names.
    pub(crate) flows: Vec<String>,
    /// The texts of the calendars.
    pub(crate) calendars: Vec<String>,
}

/// Plays a scenario to its end, or to the first complaint.
pub(crate) fn play(
    script: &Script,
    scenario: &Scenario,
    people: &str,
    player: &mut impl Player,
) -> Result<World, String> {
    let at = |line: usize, message: String| format!("{}:{line}: {message}", script.file);
    let process = script.processes[&scenario.process].clone();
    let (flows, texts) = flows(&process, &script.flows).map_err(|message| at(scenario.line, message))?;
    let mut world = World::new(process, flows, directory(people));
    for text in &script.calendars {
        let read = read_calendar(text).map_err(|complaints| at(scenario.line, format!("{text}: {complaints:?}")))?;
        world.calendars.active.insert(read.name.clone(), (1, Arc::new(read)));
    }
    let calendars = script.calendars.clone();
    let process = script.texts[&scenario.process].clone();
    let processes = script.texts.clone();
    player.begin(&Definitions { process, processes, flows: texts, calendars }, &world);
    for turn in &scenario.turns {
        let complain = |message: String| at(turn.line, message);
        let Some(command) = command(turn, script, &mut world).map_err(complain)? else { continue };
        let answer = player.carry_out(&command, &mut world);
        if let Some((line, message)) = expectation::check(&turn.expectations, &answer, &world) {
            return Err(at(line, format!("{message}\n{}", expectation::describe(&world))));
        }
        if let (Err(refusal), true) = (&answer, turn.expectations.is_empty()) {
            return Err(complain(format!("refused: {refusal}")));
        }
    }
    world.finish();
    Ok(world)
}

fn directory(text: &str) -> Directory {
    let people = read_directory(text).expect("the people of the scenarios can be read");
    let directory = Directory::default().with_document(people).expect("the people of the scenarios fit together");
    directory.check().expect("the people of the scenarios are a sound directory");
    directory
}

/// Every flow that the process names has an active version, unless the file says that it has none.
fn flows(process: &Process, said: &BTreeMap<String, String>) -> Result<(Flows, Vec<String>), String> {
    let paths = [&process.rejection_path, &process.recall_path, &process.cancel_path];
    let steps = process.stages.iter().flat_map(|stage| &stage.steps).chain(paths.into_iter().flatten());
    let mut flows = Flows::default();
    let mut texts = Vec::new();
    let of_steps = steps.flat_map(flows_of_step);
    let exits = process.stages.iter().filter_map(|stage| match &stage.exit {
        StageExit::Evaluation(evaluation) => Some((&evaluation.flow, FlowType::Evaluation)),
        StageExit::AllCompleted | StageExit::When(_) => None,
    });
    for (name, flow_type) in of_steps.chain(exits) {
        let said = said.get(name).map_or("", String::as_str);
        if said.trim() == "not active" {
            continue;
        }
        let body: Vec<_> = said.lines().map(str::trim).collect();
        let code = if said.contains("screens:") || said.contains("code:") { "" } else { "code: {}\n" };
        let text = format!(
            "apiVersion: quorate/v1\nkind: Flow\nname: {name}\ntype: {}\n{code}{}",
            flow_type.as_str(),
            body.join("\n")
        );
        let flow = read_flow(&text).map_err(|complaints| format!("flow `{name}`: {complaints:?}"))?;
        texts.push(text);
        flows.active.insert(name.clone(), 1);
        flows.versions.insert(VersionRef { name: name.clone(), version: 1 }, Arc::new(flow));
    }
    Ok((flows, texts))
}

/// The flows that a step names.
fn flows_of_step(step: &Step) -> Vec<(&String, FlowType)> {
    let entry = match &step.start {
        StepStart::Evaluation(evaluation) => Some((&evaluation.flow, FlowType::Evaluation)),
        StepStart::StageStarts | StepStart::After(_) | StepStart::When(_) => None,
    };
    let own = match &step.kind {
        StepKind::Background(background) => Some((&background.flow, FlowType::Autolaunched)),
        StepKind::Approval(approval) => match &approval.exit {
            StepExit::Evaluation(evaluation) => Some((&evaluation.flow, FlowType::Evaluation)),
            StepExit::Settled | StepExit::When(_) => None,
        },
    };
    let screen = match &step.kind {
        StepKind::Background(_) => None,
        StepKind::Approval(approval) => approval.screen.as_ref().map(|screen| (screen, FlowType::Screen)),
    };
    entry.into_iter().chain(own).chain(screen).collect()
}

/// The command of a turn; none for what happens around the submission.
fn command(turn: &Turn, script: &Script, world: &mut World) -> Result<Option<Command>, String> {
    let words: Vec<&str> = turn.command.iter().map(Token::text).collect();
    if surroundings_change(&words, world)? {
        return if turn.expectations.is_empty() { Ok(None) } else { Err("nothing is decided here".into()) };
    }
    let command = match words[..] {
        [who, "resubmits", data] => resubmit(world, who, data)?,
        ["submit", "by", who, data] => submit(who, None, data, "{}")?,
        ["submit", "by", who, data, "choosing", choices] => submit(who, None, data, choices)?,
        ["submit", "by", who, "for", other, data] => submit(who, Some(other), data, "{}")?,
        ["submit", "by", who, "for", other, data, "choosing", choices] => submit(who, Some(other), data, choices)?,
        ["wake"] => Command::Wake,
        [who, "updates", "the", "record", data] => update_record(who, data, None)?,
        [who, "reports", data] => update_record(who, data, Some(Reported::default()))?,
        [who, "reports", data, "as", "version", version] => {
            let version = version.parse().map_err(|_| format!("`{version}` is no version"))?;
            update_record(who, data, Some(Reported { source_version: Some(version) }))?
        }
        [who, "recalls"] => Command::Recall { by: actor(who), comment: String::new() },
        [who, "cancels"] => Command::Cancel { by: actor(who), comment: String::new() },
        [who, "comments", comment] => Command::Comment { by: actor(who), comment: comment.to_owned() },
        [who, "suspends"] => Command::Suspend { by: actor(who), comment: String::new() },
        [who, "resumes"] => Command::Resume { by: actor(who), comment: String::new() },
        [who, "goes", "to", stage] => {
            Command::GoToStage { by: actor(who), stage: stage.to_owned(), comment: String::new() }
        }
        [who, "migrates", "to", version] => migrate((script, world), who, version, "{}")?,
        [who, "migrates", "to", version, "mapping", names] => migrate((script, world), who, version, names)?,
        [who, "retries", "stage", stage] => Command::RetryStage { by: actor(who), stage: stage.to_owned() },
        [who, "retries", step] => Command::RetryStep { by: actor(who), step: step.to_owned() },
        [who, "skips", step, outputs] => {
            Command::SkipStep { by: actor(who), step: step.to_owned(), outputs: json(outputs)?, comment: String::new() }
        }
        [who, "approves", item, ref how @ ..] => decide(world, who, Verdict::Approve, item, how)?,
        [who, "abstains", "from", item, ref how @ ..] => decide(world, who, Verdict::Abstain, item, how)?,
        [who, "rejects", item, ref how @ ..] => decide(world, who, Verdict::Reject, item, how)?,
        [who, "submits", "the", "screen", "of", item, values, way, ref how @ ..] => {
            submit_screen((world, who), (item, values, way), how)?
        }
        [who, "opens", "the", "screen", "of", item] => {
            Command::ReportScreenFailure { work_item: item_of(world, who, item)?, by: actor(who) }
        }
        [who, "claims", item] => Command::Claim { work_item: item_of(world, who, item)?, by: actor(who) },
        [who, "releases", item] => Command::Release { work_item: item_of(world, who, item)?, by: actor(who) },
        [who, "reassigns", item, "to", to, ref how @ ..] => Command::Reassign {
            work_item: item_of(world, who, item)?,
            by: actor(who),
            to: assignee(to),
            comment: said(how, "because")?,
        },
        [who, "overrides", item, "with", verdict, ref how @ ..] => override_step(world, who, item, verdict, how)?,
        [who, "asks", question, "on", item] => Command::RequestInformation {
            work_item: item_of(world, who, item)?,
            by: actor(who),
            question: question.to_owned(),
        },
        [who, "answers", answer, "on", item] => Command::AnswerInformation {
            work_item: item_of(world, who, item)?,
            by: actor(who),
            answer: answer.to_owned(),
        },
        [who, "sends", item, "back", "to", stage, ref how @ ..] => Command::SendBack {
            work_item: item_of(world, who, item)?,
            by: actor(who),
            to: stage.to_owned(),
            comment: said(how, "because")?,
        },
        ["another-job", ref what @ ..] => world.report(JobId(uuid::Uuid::nil()), 1, outcome(what)?),
        ["attempt", attempt, "of", ref job_and_what @ ..] => {
            let attempt = attempt.parse().map_err(|_| format!("`{attempt}` is no number of an attempt"))?;
            of_job(world, Some(attempt), job_and_what)?
        }
        [_, ..] => of_job(world, None, &words)?,
        [] => return Err("a command is missing".into()),
    };
    Ok(Some(command))
}

/// What happens around the submission. Answers whether it was that.
fn surroundings_change(words: &[&str], world: &mut World) -> Result<bool, String> {
    match words {
        ["wait", duration] => world.advance(span(duration)?),
        ["it", "is", time] => {
            world.now = time.parse().map_err(|error| format!("`{time}` is no time: {error}"))?;
        }
        ["calendar", name, "is", "closed"] => {
            world.calendars.active.remove(*name).ok_or_else(|| format!("there is no calendar `{name}`"))?;
        }
        [who, "becomes", how @ ("active" | "inactive")] => {
            let user = world.directory.users.get_mut(*who).ok_or_else(|| format!("there is no user `{who}`"))?;
            user.active = *how == "active";
        }
        [who, "is", "managed", "by", manager] => {
            let user = world.directory.users.get_mut(*who).ok_or_else(|| format!("there is no user `{who}`"))?;
            user.manager = Some((*manager).to_owned());
        }
        [who, how @ ("joins" | "leaves"), group] if world.directory.groups.contains_key(*group) => {
            let group = world.directory.groups.get_mut(*group).ok_or("there is no such group")?;
            let changed =
                if *how == "joins" { group.members.insert((*who).to_owned()) } else { group.members.remove(*who) };
            if !changed {
                return Err(format!("`{who}` {how} nothing"));
            }
        }
        [who, "delegates", "to", to, how @ ..] => {
            let delegation = delegation(world, who, to, how)?;
            world.directory.delegations.insert(delegation.name.clone(), delegation);
            world.directory.check().map_err(|error| error.to_string())?;
        }
        [who, "withdraws", name] => {
            let gone = world.directory.delegations.remove(*name).filter(|gone| gone.from == **who);
            gone.ok_or_else(|| format!("`{who}` has given no delegation `{name}`"))?;
        }
        ["group", name, "grows", "by", count] => {
            let count: u32 = count.parse().map_err(|_| format!("`{count}` is no number"))?;
            let group = world.directory.groups.get_mut(*name).ok_or_else(|| format!("there is no group `{name}`"))?;
            for number in 1..=count {
                let name = format!("member-{number}");
                group.members.insert(name.clone());
                let user = User { name: name.clone(), active: true, manager: None, email: None, time_zone: None };
                world.directory.users.insert(name, user);
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// `named NAME`, `from 1d` (from now on, where it is not said), `for 10d`, `about PROCESS`, `when "expression"`, `else eve`
fn delegation(world: &World, from: &str, to: &str, how: &[&str]) -> Result<Delegation, String> {
    let mut delegation = Delegation {
        name: "holiday".to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        start: world.now,
        end: world.now,
        processes: BTreeSet::new(),
        when: None,
        alternates: Vec::new(),
    };
    let mut length = SignedDuration::from_hours(24);
    for part in how.chunks(2) {
        match part {
            ["named", name] => (*name).clone_into(&mut delegation.name),
            ["from", start] => delegation.start += span(start)?,
            ["for", given] => length = span(given)?,
            ["about", process] => _ = delegation.processes.insert((*process).to_owned()),
            ["when", when] => delegation.when = Some(Expression::parse(when).map_err(|error| error.to_string())?),
            ["else", alternate] => delegation.alternates.push((*alternate).to_owned()),
            part => return Err(format!("nobody delegates {part:?}")),
        }
    }
    delegation.end = delegation.start + length;
    Ok(delegation)
}

fn submit(who: &str, on_behalf_of: Option<&str>, data: &str, choices: &str) -> Result<Command, String> {
    let (tenant, id) = World::identity();
    Ok(Command::Submit(Box::new(Submit {
        tenant,
        id,
        process: VersionRef { name: "process".to_owned(), version: 1 },
        record_type: String::new(),
        record_id: "1".to_owned(),
        data: Arc::new(json(data)?),
        source_version: None,
        submitter: UserName::from(who),
        on_behalf_of: on_behalf_of.map(UserName::from),
        comment: String::new(),
        choices: serde_json::from_str(choices).map_err(|error| format!("`{choices}` are no choices: {error}"))?,
        administrator: actor(who).administrator,
        before: None,
        traceparent: None,
    })))
}

/// A submission in place of the one that there is.
fn resubmit(world: &World, who: &str, data: &str) -> Result<Command, String> {
    let before = world.state.as_deref().ok_or("there is no submission yet")?;
    let Command::Submit(mut submit) = submit(who, None, data, "{}")? else { return Err("a submission".into()) };
    submit.id = World::next_identity(before.id);
    submit.choices.clone_from(&before.choices);
    submit.before = Some(Arc::new(before.clone()));
    Ok(Command::Submit(submit))
}

fn update_record(who: &str, data: &str, reported: Option<Reported>) -> Result<Command, String> {
    Ok(Command::UpdateRecord(Box::new(UpdateRecord {
        by: actor(who),
        data: Arc::new(json(data)?),
        comment: String::new(),
        reported,
    })))
}

/// To another process of the file, as if it were the next version of this one.
fn migrate((script, world): (&Script, &World), who: &str, version: &str, names: &str) -> Result<Command, String> {
    let state = world.state.as_ref().ok_or("there is no submission yet")?;
    let process = script.processes.get(version).ok_or_else(|| format!("there is no process `{version}`"))?;
    let names = json(names)?;
    let map = |kind: &str| -> Result<BTreeMap<String, String>, String> {
        let names = names.get(kind).cloned().unwrap_or_else(|| serde_json::json!({}));
        serde_json::from_value(names).map_err(|error| format!("`{kind}`: {error}"))
    };
    Ok(Command::Migrate(Box::new(Migrate {
        by: actor(who),
        to: VersionRef { name: state.process.name.clone(), version: state.process.version + 1 },
        process: Arc::new(process.clone()),
        stages: map("stages")?,
        steps: map("steps")?,
        comment: String::new(),
    })))
}

fn decide(world: &World, who: &str, verdict: Verdict, item: &str, how: &[&str]) -> Result<Command, String> {
    let state = world.state.as_ref().ok_or("there is no submission yet")?;
    let actor = UserName::from(who);
    let mut decide = Decide {
        work_item: work_item(world, state, &actor, item)?,
        actor,
        verdict,
        comment: "because".to_owned(),
        channel: "API".to_owned(),
        record_digest: state.record.digest.clone(),
    };
    match how {
        ["of", "another", "record"] => decide.record_digest = record_digest(&serde_json::json!({ "another": true })),
        how => decide.comment = said(how, "because")?,
    }
    Ok(Command::Decide(decide))
}

/// A decision as without a screen, and what was filled in.
fn submit_screen(
    (world, who): (&World, &str),
    (item, values, way): (&str, &str, &str),
    how: &[&str],
) -> Result<Command, String> {
    let verdict = match way {
        "approving" => Verdict::Approve,
        "rejecting" => Verdict::Reject,
        "abstaining" => Verdict::Abstain,
        way => return Err(format!("nobody submits a screen {way}")),
    };
    let Command::Decide(decide) = decide(world, who, verdict, item, how)? else { return Err("a decision".into()) };
    Ok(Command::SubmitScreen(SubmitScreen { decide, values: Arc::new(json(values)?) }))
}

/// `STEP` is overridden by its name, `item STEP/bob` by a work item.
fn override_step(world: &World, who: &str, item: &str, verdict: &str, how: &[&str]) -> Result<Command, String> {
    let state = world.state.as_ref().ok_or("there is no submission yet")?;
    let target = if item.contains('/') {
        OverrideTarget::WorkItem(item_of(world, who, item)?)
    } else {
        OverrideTarget::Step(item.to_owned())
    };
    let verdict = Verdict::ALL.into_iter().find(|known| known.as_str() == verdict);
    let verdict = verdict.ok_or("a verdict is APPROVE, REJECT or ABSTAIN")?;
    let by = actor(who);
    let (comment, record_digest) = match how {
        ["of", "another", "record"] => ("because".to_owned(), record_digest(&serde_json::json!({ "another": true }))),
        how => (said(how, "because")?, state.record.digest.clone()),
    };
    Ok(Command::Override(Override { target, by, verdict, comment, record_digest }))
}

/// What is said with a command: something else than usual, nothing, or very much.
fn said(how: &[&str], usual: &str) -> Result<String, String> {
    match how {
        [] => Ok(usual.to_owned()),
        ["without", "a", "comment"] => Ok(String::new()),
        ["with", "a", "comment", "of", length, "bytes"] => {
            Ok("x".repeat(length.parse().map_err(|_| format!("`{length}` is no number"))?))
        }
        ["saying", comment] => Ok((*comment).to_owned()),
        how => Err(format!("nobody says anything {how:?}")),
    }
}

/// `bob`, `group:finance`, `queue:intake`.
fn assignee(text: &str) -> Assignee {
    let named = text.split_once(':').and_then(|(kind, name)| Assignee::from_parts(kind, name));
    named.unwrap_or_else(|| Assignee::User(text.to_owned()))
}

/// The item that a command of this person is of; `another-item` is none that there is.
fn item_of(world: &World, who: &str, item: &str) -> Result<WorkItemId, String> {
    let state = world.state.as_ref().ok_or("there is no submission yet")?;
    if item == "another-item" {
        return Ok(WorkItemId(uuid::Uuid::nil()));
    }
    work_item(world, state, &UserName::from(who), item)
}

/// The item of a step that asks this person, or, as `step/assignee`, another one. Open ones first.
fn work_item(world: &World, state: &Submission, who: &UserName, item: &str) -> Result<WorkItemId, String> {
    let (step, assignee) = item.split_once('/').map_or((item, None), |(step, assignee)| (step, Some(assignee)));
    let run = step_run(state, step)?;
    let fits = |item: &&quorate_engine::state::WorkItem| match assignee {
        Some(assignee) => assignee_text(&item.assignee) == assignee,
        None => may_decide(&item.assignee, who, &world.directory),
    };
    let open = run.work_items.iter().filter(fits).find(|item| item.closed_at.is_none());
    let item = open.or_else(|| run.work_items.iter().find(fits)).or_else(|| run.work_items.first());
    item.map(|item| item.id).ok_or_else(|| format!("step `{step}` asks nobody"))
}

/// `bob`, or `group:finance`.
pub(crate) fn assignee_text(assignee: &quorate_engine::state::Assignee) -> String {
    assignee.to_string().trim_start_matches("user:").to_owned()
}

/// The latest run of a step, or, as `step#2`, that of a round.
pub(crate) fn step_run<'a>(state: &'a Submission, step: &str) -> Result<&'a StepRun, String> {
    let (name, round) = named_round(step)?;
    let steps = state.stage_runs.iter().rev().flat_map(|stage| &stage.steps);
    let run = steps.filter(|run| run.name == name).find(|run| round.is_none_or(|round| run.round == round));
    run.ok_or_else(|| format!("there is no run of step `{step}`"))
}

/// A name, and the round that may be said with it.
pub(crate) fn named_round(name: &str) -> Result<(&str, Option<u32>), String> {
    match name.split_once('#') {
        None => Ok((name, None)),
        Some((name, round)) => Ok((name, Some(round.parse().map_err(|_| format!("`{round}` is no round"))?))),
    }
}

fn of_job(world: &World, attempt: Option<u32>, words: &[&str]) -> Result<Command, String> {
    let state = world.state.as_ref().ok_or("there is no submission yet")?;
    let (job, what) = job_of(state, words)?;
    let (what, foreign) = match what {
        [what @ .., "with", "a", "foreign", "token"] => (what, true),
        what => (what, false),
    };
    let attempt = attempt.unwrap_or(job.attempt);
    if what == ["is", "overdue"] {
        return Ok(world.overdue(job.id, attempt));
    }
    let outcome = outcome(what)?;
    if foreign {
        return Ok(Command::Report(Report { job: job.id, attempt, token: World::foreign_token(), outcome }));
    }
    Ok(world.report(job.id, attempt, outcome))
}

/// The job of a background step, `STEP`, or of what a flow is asked about: `STEP's entry`, `STEP's exit`, `stage NAME's exit`.
/// Answers also what is left of the words.
fn job_of<'s, 'w>(state: &'s Submission, words: &'w [&'w str]) -> Result<(&'s Job, &'w [&'w str]), String> {
    match words {
        ["stage", name, "exit", what @ ..] if name.ends_with("'s") => Ok((&evaluation(state, words)?.job, what)),
        [name, "entry" | "exit", what @ ..] if name.ends_with("'s") => Ok((&evaluation(state, words)?.job, what)),
        [step, what @ ..] => {
            let job = step_run(state, step)?.job.as_ref().ok_or_else(|| format!("step `{step}` has no job"))?;
            Ok((job, what))
        }
        [] => Err("a command is missing".into()),
    }
}

/// What a flow was last asked about `STEP's entry`, `STEP's exit` or `stage NAME's exit`.
pub(crate) fn evaluation<'a>(state: &'a Submission, words: &[&str]) -> Result<&'a Evaluation, String> {
    let found = match words {
        ["stage", whose, "exit", ..] => {
            let (name, round) = named_round(whose.trim_end_matches("'s"))?;
            let mut runs = state.stage_runs.iter().rev().filter(|run| run.name == name);
            runs.find(|run| round.is_none_or(|round| run.round == round)).and_then(|run| run.exit.as_deref())
        }
        [whose, "entry", ..] => step_run(state, whose.trim_end_matches("'s"))?.entry.as_deref(),
        [whose, "exit", ..] => step_run(state, whose.trim_end_matches("'s"))?.exit.as_deref(),
        _ => None,
    };
    found.ok_or_else(|| format!("nothing was asked about `{}`", words.join(" ")))
}

fn outcome(what: &[&str]) -> Result<ReportOutcome, String> {
    let completed = |output: Json| ReportOutcome::Completed { output, effects: Vec::new() };
    let failed = |code: &str, retryable| ReportOutcome::Failed {
        code: code.to_owned(),
        message: "it failed".to_owned(),
        retryable,
    };
    Ok(match what {
        ["starts"] => ReportOutcome::Started { worker: "worker".to_owned() },
        ["beats"] => ReportOutcome::Heartbeat,
        [what @ .., "with", "effects", listed] => {
            let ReportOutcome::Completed { output, .. } = outcome(what)? else {
                return Err("only what completes has effects".to_owned());
            };
            ReportOutcome::Completed { output, effects: effects(listed)? }
        }
        ["completes"] => completed(serde_json::json!({})),
        ["completes", output] => completed(json(output)?),
        ["is", "met"] => completed(serde_json::json!({ "isOrchestrationConditionMet": true })),
        ["is", "not", "met"] => completed(serde_json::json!({ "isOrchestrationConditionMet": false })),
        ["fails", code] => failed(code, true),
        ["fails", code, "for", "good"] => failed(code, false),
        what => return Err(format!("no command is `… {}`", what.join(" "))),
    })
}

/// `[{"comment": "text"}, {"record": {…}}, {"event": {"type": …}}]`
fn effects(listed: &str) -> Result<Vec<FlowEffect>, String> {
    let Json::Array(listed) = json(listed)? else { return Err(format!("`{listed}` is no list of effects")) };
    let effect = |effect: Json| {
        let fields = effect.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
        let (kind, of) = fields.ok_or_else(|| format!("`{effect}` is no effect"))?;
        match (kind.as_str(), of) {
            ("comment", Json::String(comment)) => Ok(FlowEffect::Comment(comment.clone())),
            ("record", patch) => Ok(FlowEffect::RecordPatch(patch.clone())),
            ("event", event) => {
                serde_json::from_value(event.clone()).map(FlowEffect::Emit).map_err(|error| error.to_string())
            }
            _ => Err(format!("`{effect}` is no effect")),
        }
    };
    listed.into_iter().map(effect).collect()
}

fn actor(who: &str) -> Actor {
    Actor { name: UserName::from(who), administrator: who == "admin" }
}

pub(crate) fn json(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| format!("`{text}` is no JSON: {error}"))
}

pub(crate) fn span(text: &str) -> Result<SignedDuration, String> {
    let complain = |error: jiff::Error| format!("`{text}` is no duration: {error}");
    let span: Span = text.parse().map_err(complain)?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(complain)
}
