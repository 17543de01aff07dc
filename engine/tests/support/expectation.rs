//! What a scenario expects after a command.

use std::collections::BTreeSet;

use jiff::Timestamp;
use quorate_engine::{
    event::EventKind,
    explain::{About, explain},
    id::{StepRunId, UserName},
    state::{Condition, Failure, Job, Submission, WorkItem},
    timer::{Timer, TimerKind},
};

use super::{
    play::{Refused, assignee_text, evaluation, json, named_round, span, step_run},
    script::Token,
    world::{Answer, World},
};

/// What is not as it is expected: the first of it, with its line.
pub(crate) fn check(
    expectations: &[(usize, Vec<Token>)],
    answer: &Result<Answer, Refused>,
    world: &World,
) -> Option<(usize, String)> {
    let mut named = BTreeSet::new();
    let refused = expectations.iter().any(|(_, words)| words.first().is_some_and(|word| word.text() == "refused"));
    if let (Err(refusal), false, Some((line, _))) = (answer, refused, expectations.first()) {
        return Some((*line, format!("refused {}: {refusal}", refusal.reason)));
    }
    expectations.iter().find_map(|(line, tokens)| {
        let words: Vec<&str> = tokens.iter().map(Token::text).collect();
        check_one(&words, answer, world, &mut named).err().map(|message| (*line, message))
    })
}

#[allow(clippy::too_many_lines, reason = "an arm for each expectation: it is read as a table")]
fn check_one(
    words: &[&str],
    answer: &Result<Answer, Refused>,
    world: &World,
    named: &mut BTreeSet<String>,
) -> Result<(), String> {
    if let ["refused", reason, rest @ ..] = words {
        let Err(refusal) = answer else { return Err(format!("{reason} is expected, and it was accepted")) };
        equal("the refusal", &refusal.reason, reason)?;
        return said(rest, &refusal.to_string());
    }
    let state = world.state.as_deref().ok_or("there is no submission")?;
    match words {
        ["submission", status, rest @ ..] => {
            equal("the submission", state.status.as_str(), status)?;
            let (ending, rest) = match rest {
                ["ending", ending, rest @ ..] => (Some(*ending), rest),
                rest => (None, rest),
            };
            if let Some(ending) = ending {
                equal("the ending", state.ending.map_or("none", |ending| ending.status().as_str()), ending)?;
            }
            failed(rest, state.failure.as_ref())
        }
        ["version", version] => equal("the version", &state.process.version.to_string(), version),
        ["explains", about @ ("stage" | "step"), name, "says", part] => explains(world, about, name, part),
        ["explains", "item", step, assignee, "says", part] => {
            let item = item(state, step, assignee)?;
            explained(world, About::WorkItem(item.id), part)
        }
        ["round", round] => equal("the round", &state.round.to_string(), round),
        ["stage", name, status, rest @ ..] => {
            let (stage, round) = named_round(name)?;
            let mut runs = state.stage_runs.iter().rev().filter(|run| run.name == stage);
            let run = runs.find(|run| round.is_none_or(|round| run.round == round));
            let run = run.ok_or_else(|| format!("there is no run of stage `{name}`"))?;
            named.insert(run.id.to_string());
            equal(&format!("stage `{name}`"), run.status.as_str(), status)?;
            failed(rest, run.failure.as_ref())
        }
        ["no", "stage", name] => match state.stage_runs.iter().find(|run| run.name == *name) {
            Some(run) => Err(format!("stage `{name}` is {}", run.status)),
            None => Ok(()),
        },
        ["step", name, status, rest @ ..] => {
            let run = step_run(state, name)?;
            named.insert(run.id.to_string());
            equal(&format!("step `{name}`"), run.status.as_str(), status)?;
            match rest {
                ["settled", verdict] => equal("it", run.settled.map_or("nothing", |settled| settled.as_str()), verdict),
                rest => failed(rest, run.failure.as_ref()),
            }
        }
        ["outputs", step, outputs] => {
            let is = step_run(state, step)?.outputs.as_ref().map(ToString::to_string);
            equal("the outputs", &is.unwrap_or_default(), &json(outputs)?.to_string())
        }
        ["item", step, assignee, status, rest @ ..] => {
            let item = item(state, step, assignee)?;
            named.insert(item.id.to_string());
            equal(&format!("the item of `{assignee}` in `{step}`"), item.status.as_str(), status)?;
            said(rest, &item.why())
        }
        ["record", version, data] => {
            equal("the record's data", &state.record.data.to_string(), &json(data)?.to_string())?;
            equal("the record's version", &state.record.version.to_string(), version)
        }
        ["locked", "by", steps @ ..] => {
            let holders: Vec<_> = state.locks().map(|(_, step, _)| step.name.as_str()).collect();
            equal("what locks the record", &holders.join(" , "), &steps.join(" "))
        }
        ["not", "locked"] => match state.locks().next() {
            Some((_, step, _)) => Err(format!("the record is locked by `{}`", step.name)),
            None => Ok(()),
        },
        ["dismissed", steps @ ..] => {
            let told = answer.as_ref().map_or(&[][..], |answer| &answer.events);
            let told: Vec<_> = told.iter().flat_map(|event| dismissed(&event.kind)).collect();
            let steps = steps.split(|word| *word == ",").map(|words| words.join(" ")).collect::<Vec<_>>();
            let steps = if steps == ["nothing"] { Vec::new() } else { steps };
            equal("what is dismissed", &told.join(", "), &steps.join(", "))
        }
        ["commented", "by", author, "says", part] => {
            let told = answer.as_ref().map_or(&[][..], |answer| &answer.events);
            let comment = told.iter().find_map(|event| match &event.kind {
                EventKind::Commented { by, comment } if by.as_str() == *author => Some(comment),
                _ => None,
            });
            said(&["says", part], comment.ok_or_else(|| format!("`{author}` has said nothing"))?)
        }
        ["emitted", event_type, event] => {
            let told = answer.as_ref().map_or(&[][..], |answer| &answer.events);
            let told = told.iter().find_map(|told| match &told.kind {
                EventKind::FlowEventEmitted { event, .. } if event.event_type == *event_type => Some(event),
                _ => None,
            });
            let told = told.ok_or_else(|| format!("no event `{event_type}` was emitted"))?;
            let mut expected = json(event)?;
            expected["type"] = (*event_type).into();
            let told = serde_json::to_value(told).map_err(|error| error.to_string())?;
            equal("the event", &told.to_string(), &expected.to_string())
        }
        ["reused", step, reviewers @ ..] => {
            let run = step_run(state, step)?;
            let told = run.reused.as_ref().map(|reused| reused.reviewers.iter().map(UserName::as_str).collect());
            let told: Vec<&str> = told.ok_or_else(|| format!("step `{step}` reuses nothing"))?;
            let reviewers: Vec<&str> = reviewers.iter().copied().filter(|word| *word != ",").collect();
            equal("the reviewers", &told.join(", "), &reviewers.join(", "))
        }
        ["ignored", reason] => {
            equal("the change", state.ignored_change.as_ref().map_or("nothing", |ignored| &ignored.reason), reason)
        }
        ["summary", text] => equal("the summary", &state.summary, text),
        ["decided", step, assignee, "by", rest @ ..] => {
            let item = item(state, step, assignee)?;
            let decision = item.decision.as_ref().ok_or_else(|| format!("`{assignee}` has not decided `{step}`"))?;
            let by = match (&decision.on_behalf_of, &decision.delegation) {
                (Some(person), Some(delegation)) => format!("{} for {person} by {delegation}", decision.actor),
                (None, None) => decision.actor.to_string(),
                half => return Err(format!("half of a delegation is stored: {half:?}")),
            };
            equal("whose decision it is", &by, &rest.join(" "))
        }
        ["left", "out", step, who] => {
            let told = answer.as_ref().map_or(&[][..], |answer| &answer.events);
            let told: Vec<_> = told.iter().filter_map(|event| left_out(&event.kind, state, step)).flatten().collect();
            let found = told.iter().any(|reason| reason.contains(who));
            if found { Ok(()) } else { Err(format!("`{who}` is expected to be left out, and it says {told:?}")) }
        }
        ["due", step, rest @ ..] => due(step_run(state, step)?.deadlines.due_at, world, rest),
        ["timers", rest @ ..] => {
            let timers: Vec<_> = state.timers().iter().map(|timer| timer_text(timer, state, world)).collect();
            equal("what is timed", &timers.join(", "), &list(rest))
        }
        ["calendar", step, name, version] => {
            let calendar = step_run(state, step)?.deadlines.calendar.as_ref();
            let is = calendar.map(|calendar| format!("{} {}", calendar.name, calendar.version));
            equal("the calendar", &is.unwrap_or_default(), &format!("{name} {version}"))
        }
        ["reminded", step, rest @ ..] => {
            let told = answer.as_ref().map_or(&[][..], |answer| &answer.events);
            let told: Vec<_> = told.iter().flat_map(|event| reminded(&event.kind, state, step)).collect();
            equal("who is reminded", &told.join(", "), &list(rest))
        }
        ["no", "item", step, assignee] => match item(state, step, assignee) {
            Ok(item) => Err(format!("the item of `{assignee}` in `{step}` is {}", item.status)),
            Err(_) => Ok(()),
        },
        ["weight", step, assignee, weight] => {
            equal("the weight", &item(state, step, assignee)?.weight.to_string(), weight)
        }
        ["veto", step, assignee] => equal("the veto", &item(state, step, assignee)?.veto.to_string(), "true"),
        ["no", "veto", step, assignee] => equal("the veto", &item(state, step, assignee)?.veto.to_string(), "false"),
        ["claimed", step, assignee, "by", who, rest @ ..] => {
            let claim = item(state, step, assignee)?.claim.as_ref().ok_or("nobody has claimed it")?;
            equal("who claimed it", claim.by.as_str(), who)?;
            match (rest, claim.until) {
                ([], None) => Ok(()),
                (["for", duration], Some(until)) => equal(
                    "the time left",
                    &format!("{:#}", until.duration_since(world.now)),
                    &format!("{:#}", span(duration)?),
                ),
                (rest, until) => Err(format!("it is claimed until {until:?}, and `{}` is expected", rest.join(" "))),
            }
        }
        ["not", "claimed", step, assignee] => match &item(state, step, assignee)?.claim {
            None => Ok(()),
            Some(claim) => Err(format!("`{}` has claimed it", claim.by)),
        },
        ["question", step, assignee, "open", "by", who, rest @ ..] => {
            let question = item(state, step, assignee)?.open_question().ok_or("no question is open")?;
            equal("who asked", question.by.as_str(), who)?;
            said(rest, &question.text)
        }
        ["question", step, assignee, "answered", "by", who, rest @ ..] => {
            let answer = item(state, step, assignee)?.questions.last().and_then(|question| question.answer.as_ref());
            let answer = answer.ok_or("no question is answered")?;
            equal("who answered", answer.by.as_str(), who)?;
            said(rest, &answer.text)
        }
        ["no", "open", "question", step, assignee] => match item(state, step, assignee)?.open_question() {
            None => Ok(()),
            Some(question) => Err(format!("`{}` asks `{}`", question.by, question.text)),
        },
        ["overridden", step, "by", who, rest @ ..] => {
            let overridden = step_run(state, step)?.overridden.as_ref().ok_or("it is not overridden")?;
            equal("the channel", &overridden.decision.channel, "OVERRIDE")?;
            equal("who overrode it", overridden.decision.actor.as_str(), who)?;
            said(rest, &overridden.decision.comment)
        }
        ["sent", "back", stage, "to", to, "by", who, rest @ ..] => {
            let (name, round) = named_round(stage)?;
            let mut runs = state.stage_runs.iter().rev().filter(|run| run.name == name);
            let run = runs.find(|run| round.is_none_or(|round| run.round == round));
            let sent = run.and_then(|run| run.sent_back.as_ref()).ok_or("it was not sent back")?;
            equal("where it was sent", &sent.to, to)?;
            equal("who sent it", sent.by.as_str(), who)?;
            said(rest, &sent.comment)
        }
        ["row", "for", "job", step] => row(state, step, true),
        ["no", "row", "for", "job", step] => row(state, step, false),
        ["job", step, status, rest @ ..] => {
            let job = step_run(state, step)?.job.as_ref().ok_or_else(|| format!("step `{step}` has no job"))?;
            check_job(job, world, &format!("the job of `{step}`"), status, rest)
        }
        ["asked", "about", rest @ ..] => asked(state, world, rest),
        ["not", "asked", "about", rest @ ..] => match evaluation(state, rest) {
            Ok(_) => Err(format!("`{}` was asked about", rest.join(" "))),
            Err(_) => Ok(()),
        },
        ["input", step, input] => {
            let job = step_run(state, step)?.job.as_ref().ok_or_else(|| format!("step `{step}` has no job"))?;
            equal("the input", &job.spec.input.to_string(), &json(input)?.to_string())
        }
        ["waits", "for", "nothing"] => equal("the wait", &format!("{:?}", state.sync_wait()), "None"),
        ["waits", duration] => {
            let wait = state.sync_wait().map(i128::from);
            equal("the wait", &format!("{wait:?}"), &format!("{:?}", Some(span(duration)?.as_millis())))
        }
        ["nothing", "happens"] => equal("what happens", &events(answer, state).join(", "), ""),
        ["events", rest @ ..] => equal("what happens", &events(answer, state).join(", "), &list(rest)),
        ["only"] => only(state, named),
        words => Err(format!("`{}` says nothing that can be expected", words.join(" "))),
    }
}

/// Whom a step has reminded, where this event says it.
fn reminded(kind: &EventKind, state: &Submission, step: &str) -> Vec<String> {
    let EventKind::AssigneesReminded { step_run, work_items, .. } = kind else { return Vec::new() };
    let Some((_, run)) = state.step_run(*step_run).filter(|(_, run)| run.name == step) else { return Vec::new() };
    let items = run.work_items.iter().filter(|item| work_items.contains(&item.id));
    items.map(|item| assignee_text(&item.assignee)).collect()
}

/// Words that commas part.
fn list(words: &[&str]) -> String {
    let elements: Vec<String> = words.split(|word| *word == ",").map(|element| element.join(" ")).collect();
    elements.join(", ")
}

/// `in 2d` from now, or a moment.
fn due(at: Option<Timestamp>, world: &World, words: &[&str]) -> Result<(), String> {
    let Some(at) = at else { return equal("the due date", "none", &words.join(" ")) };
    match words {
        ["in", duration] => {
            let wait = at.duration_since(world.now);
            equal("the due date", &format!("in {wait:#}"), &format!("in {:#}", span(duration)?))
        }
        words => equal("the due date", &at.to_string(), &words.join(" ")),
    }
}

/// `STEP_DUE manager in 48h`
fn timer_text(timer: &Timer, state: &Submission, world: &World) -> String {
    let subject = match timer.kind {
        TimerKind::ClaimEnds(work_item) => state.work_item(work_item).map(|(_, step, _)| step.name.clone()),
        TimerKind::StepDue(step_run)
        | TimerKind::Reminder(step_run)
        | TimerKind::Escalation(step_run)
        | TimerKind::Expiry(step_run) => state.step_run(step_run).map(|(_, step)| step.name.clone()),
    };
    let wait = timer.at.duration_since(world.now);
    format!("{} {} in {}", timer.kind.as_str(), subject.unwrap_or_default(), format!("{wait:#}").replace(' ', ""))
}

/// Whom a step has left out, and why, where this event says it.
fn left_out<'a>(kind: &'a EventKind, state: &Submission, step: &str) -> Option<&'a [String]> {
    match kind {
        EventKind::AssigneesLeftOut { step_run, reasons } | EventKind::StepEscalated { step_run, reasons, .. } => {
            state.step_run(*step_run).filter(|(_, run)| run.name == step).map(|_| reasons.as_slice())
        }
        _ => None,
    }
}

/// Each step whose decisions no longer count by this event, with who had decided: `manager by bob`.
fn dismissed(kind: &EventKind) -> Vec<String> {
    match kind {
        EventKind::RecordUpdated { dismissed, .. } => dismissed
            .iter()
            .map(|of| {
                let deciders: Vec<&str> = of.deciders.iter().map(UserName::as_str).collect();
                format!("{} by {}", of.step, deciders.join(" and "))
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The work item of the latest run of a step that asks this person or team.
fn item<'a>(state: &'a Submission, step: &str, assignee: &str) -> Result<&'a WorkItem, String> {
    let mut items = step_run(state, step)?.work_items.iter();
    let item = items.find(|item| assignee_text(&item.assignee) == assignee);
    item.ok_or_else(|| format!("step `{step}` does not ask `{assignee}`"))
}

/// `PENDING attempt 2 in 4s`
fn check_job(job: &Job, world: &World, what: &str, status: &str, rest: &[&str]) -> Result<(), String> {
    equal(what, job.status.as_str(), status)?;
    let rest = match rest {
        ["attempt", attempt, rest @ ..] => {
            equal("the attempt", &job.attempt.to_string(), attempt)?;
            rest
        }
        rest => rest,
    };
    match rest {
        [] => Ok(()),
        ["in", duration] => {
            let wait = job.available_at.duration_since(world.now);
            equal("the wait", &format!("{wait:#}"), &format!("{:#}", span(duration)?))
        }
        rest => Err(format!("`{}` says nothing of a job", rest.join(" "))),
    }
}

/// Whether the job of a step is among those that the server publishes and watches.
fn row(state: &Submission, step: &str, expected: bool) -> Result<(), String> {
    let job = step_run(state, step)?.job.as_ref().ok_or_else(|| format!("step `{step}` has no job"))?;
    let is = quorate_engine::projection::project(state).jobs.contains_key(&job.id);
    equal(&format!("that the job of `{step}` has a row"), &is.to_string(), &expected.to_string())
}

fn explains(world: &World, about: &str, name: &str, part: &str) -> Result<(), String> {
    explained(world, if about == "stage" { About::Stage(name) } else { About::Step(name) }, part)
}

/// A part of what an explanation says.
fn explained(world: &World, about: About<'_>, part: &str) -> Result<(), String> {
    let reasons = explain(world.events(), about).ok_or_else(|| format!("there is nothing to explain of {about:?}"))?;
    let texts: Vec<_> = reasons.into_iter().map(|reason| reason.text).collect();
    if texts.iter().any(|text| text.contains(part)) {
        Ok(())
    } else {
        Err(format!("`{part}` is expected, and it says {texts:#?}"))
    }
}

/// `manager's entry PENDING attempt 2 in 4s`, `stage review's exit COMPLETED met`, … `not met`, … `without an answer`,
/// … `with {input}`
fn asked(state: &Submission, world: &World, words: &[&str]) -> Result<(), String> {
    let evaluation = evaluation(state, words)?;
    let (what, rest) = words.split_at(if words.first() == Some(&"stage") { 3 } else { 2 });
    let what = what.join(" ");
    let [status, rest @ ..] = rest else { return Err("a status is missing".into()) };
    let answer = match evaluation.met {
        None => "without an answer",
        Some(true) => "met",
        Some(false) => "not met",
    };
    match rest {
        ["met"] | ["not", "met"] | ["without", "an", "answer"] => {
            equal(&what, evaluation.job.status.as_str(), status)?;
            equal(&what, answer, &rest.join(" "))
        }
        ["with", input] => {
            equal(&what, evaluation.job.status.as_str(), status)?;
            equal("the input", &evaluation.job.spec.input.to_string(), &json(input)?.to_string())
        }
        rest => check_job(&evaluation.job, world, &what, status, rest),
    }
}

/// Everything that there is was named before.
fn only(state: &Submission, named: &BTreeSet<String>) -> Result<(), String> {
    for stage in &state.stage_runs {
        if !named.contains(&stage.id.to_string()) {
            return Err(format!("stage `{}` is {} and not named", stage.name, stage.status));
        }
        for step in &stage.steps {
            if !named.contains(&step.id.to_string()) {
                return Err(format!("step `{}` is {} and not named", step.name, step.status));
            }
            if let Some(item) = step.work_items.iter().find(|item| !named.contains(&item.id.to_string())) {
                return Err(format!(
                    "the item of {} in `{}` is {} and not named",
                    item.assignee, step.name, item.status
                ));
            }
        }
    }
    Ok(())
}

/// `because REASON says "a part of the message"`, or either of the two.
fn failed(words: &[&str], failure: Option<&Failure>) -> Result<(), String> {
    match words {
        [] => Ok(()),
        ["because", reason, rest @ ..] => {
            equal("the reason", failure.map_or("none", |failure| failure.reason.as_str()), reason)?;
            said(rest, failure.map_or("", |failure| &failure.message))
        }
        words => said(words, failure.map_or("", |failure| &failure.message)),
    }
}

fn said(words: &[&str], message: &str) -> Result<(), String> {
    match words {
        [] => Ok(()),
        ["says", part] if message.contains(part) => Ok(()),
        ["says", part] => Err(format!("`{part}` is expected, and it says `{message}`")),
        words => Err(format!("`{}` says nothing that can be expected here", words.join(" "))),
    }
}

fn equal(what: &str, is: &str, expected: &str) -> Result<(), String> {
    if is == expected { Ok(()) } else { Err(format!("{what} is `{is}`, and `{expected}` is expected")) }
}

/// The events of an answer in short: their kind and what they are of.
fn events(answer: &Result<Answer, Refused>, state: &Submission) -> Vec<String> {
    let events = answer.as_ref().map_or(&[][..], |answer| &answer.events);
    let short = |kind: &EventKind| {
        let (name, _) = kind.to_parts();
        let subject = subject(kind, state);
        if subject.is_empty() { name } else { format!("{name} {subject}") }
    };
    events.iter().map(|event| short(&event.kind)).collect()
}

fn subject(kind: &EventKind, state: &Submission) -> String {
    use EventKind as E;
    let stage = |id: &_| state.stage_runs.iter().find(|stage| stage.id == *id).map(|stage| stage.name.clone());
    let step = |id: &_| state.step_run(*id).map(|(_, step)| step.name.clone());
    let item = |id: &_| {
        let (_, step, item) = state.work_item(*id)?;
        Some(format!("{} {}", step.name, assignee_text(&item.assignee)))
    };
    let job = |id: &_| {
        let placed = state.job(*id)?;
        match placed.condition {
            None => placed.step.map(|step| step.name.clone()),
            Some(of) => Some(condition(state, of)),
        }
    };
    let subject = match kind {
        E::StageStarted { stage, .. } | E::MovedToStage { stage, .. } => Some(stage.clone()),
        E::StageCompleted { stage_run, .. }
        | E::StageFailed { stage_run, .. }
        | E::StageCanceled { stage_run }
        | E::StageDiscontinued { stage_run }
        | E::StageRevived { stage_run, .. } => stage(stage_run),
        E::StepStarted { step_run, .. }
        | E::StepCompleted { step_run, .. }
        | E::StepFailed { step_run, .. }
        | E::StepDiscontinued { step_run }
        | E::StepCanceled { step_run }
        | E::StepRevived { step_run, .. }
        | E::StepSkipped { step_run, .. }
        | E::AssigneesLeftOut { step_run, .. }
        | E::RecordLocked { step_run, .. }
        | E::DeadlinesSet { step_run, .. }
        | E::StepOverdue { step_run }
        | E::StepOverridden { step_run, .. }
        | E::AssigneesReminded { step_run, .. } => step(step_run),
        E::StepEscalated { step_run, escalation, .. } => step(step_run).map(|step| format!("{step} {escalation}")),
        E::StepExpired { step_run, outcome } => {
            step(step_run).map(|step| format!("{step} {}", format!("{outcome:?}").to_uppercase()))
        }
        E::WorkItemAssigned { work_item, .. }
        | E::WorkItemDecided { work_item, .. }
        | E::WorkItemRevived { work_item }
        | E::WorkItemReassigned { work_item, .. }
        | E::WorkItemClaimed { work_item, .. }
        | E::WorkItemReleased { work_item, .. }
        | E::InformationRequested { work_item, .. }
        | E::InformationAnswered { work_item, .. } => item(work_item),
        E::SentBack { to, .. } => Some(to.clone()),
        E::SubmissionMigrated { to, .. } => Some(to.version.to_string()),
        E::WorkItemClosed { work_item, status } => item(work_item).map(|item| format!("{item} {status}")),
        E::JobScheduled { job: id, .. }
        | E::JobStarted { job: id, .. }
        | E::JobAttemptFailed { job: id, .. }
        | E::JobCompleted { job: id, .. }
        | E::JobFailed { job: id, .. }
        | E::JobCanceled { job: id }
        | E::JobRevived { job: id, .. } => job(id),
        E::EvaluationScheduled { condition: of, .. } | E::EvaluationCompleted { condition: of, .. } => {
            Some(condition(state, *of))
        }
        E::SubmissionEnded { status } => Some(status.to_string()),
        E::RecordChangeIgnored { reason, .. } => Some(reason.clone()),
        E::FlowEventEmitted { event, .. } => Some(event.event_type.clone()),
        E::Submitted { .. }
        | E::Commented { .. }
        | E::RecordUpdated { .. }
        | E::RejectionDecided { .. }
        | E::Recalled { .. }
        | E::Canceled { .. }
        | E::SubmissionSuspended { .. }
        | E::SubmissionResumed { .. }
        | E::SubmissionFailed { .. } => None,
    };
    subject.unwrap_or_default()
}

/// `manager's entry`, `manager's exit` or `stage review's exit`.
fn condition(state: &Submission, of: Condition) -> String {
    let step = |id: StepRunId| state.step_run(id).map(|(_, step)| step.name.clone()).unwrap_or_default();
    match of {
        Condition::StageExit(id) => {
            let stage = state.stage_runs.iter().find(|stage| stage.id == id);
            format!("stage {}'s exit", stage.map_or("", |stage| stage.name.as_str()))
        }
        Condition::StepEntry(id) => format!("{}'s entry", step(id)),
        Condition::StepExit(id) => format!("{}'s exit", step(id)),
    }
}

/// How everything stands, for whoever reads a complaint.
pub(crate) fn describe(world: &World) -> String {
    let Some(state) = world.state.as_deref() else { return "    there is no submission".to_owned() };
    let mut lines = vec![format!("    submission {} {:?}", state.status, state.failure)];
    for stage in &state.stage_runs {
        lines.push(format!("    stage {}#{} {} {:?}", stage.name, stage.round, stage.status, stage.failure));
        let conditions = stage.jobs().filter_map(|placed| Some((placed, state.evaluation(placed.condition?)?)));
        lines.extend(conditions.map(|(placed, evaluation)| {
            let step = placed.step.map_or("", |step| step.name.as_str());
            let of = placed.condition.map_or("", Condition::as_str);
            format!("      asked about {of} {step} {} {:?}", evaluation.job.status, evaluation.met)
        }));
        for step in &stage.steps {
            lines.push(format!("      step {} {} {:?}", step.name, step.status, step.failure));
            lines.extend(step.job.iter().map(|job| format!("        job {} attempt {}", job.status, job.attempt)));
            let item =
                |item: &quorate_engine::state::WorkItem| format!("        item {} {}", item.assignee, item.status);
            lines.extend(step.work_items.iter().map(item));
        }
    }
    lines.join("\n")
}
