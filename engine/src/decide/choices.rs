//! The submitter's choice of who is asked, where a step leaves it to them (DESIGN 2.5): checked when they submit, so that what
//! is accepted can be carried out.

use std::collections::BTreeSet;

use crate::{
    decision_rule::ASKED_MAX,
    definition::{ApprovalStep, OnNoApprovers, Process, Quorum, StepKind, UserOrGroup, Whom},
    directory::Directory,
    refusal::Refusal,
    state::Submission,
};

use super::authorize::{approval_step, barred, separation};

/// Checks the choices of a new submission: that each is one that the process asks for, and that none is missing.
pub(super) fn check_choices(state: &Submission, process: &Process, directory: &Directory) -> Result<(), Refusal> {
    let chosen_in_all: usize = state.choices.values().map(Vec::len).sum();
    if chosen_in_all > ASKED_MAX as usize {
        let why = format!("{chosen_in_all} are too many: choose at most {ASKED_MAX} in all");
        return Err(Refusal::ChoiceInvalid { field: "choices".to_owned(), why });
    }
    for (name, chosen) in &state.choices {
        let field = format!("choices.{name}");
        let invalid = |why: String| Err(Refusal::ChoiceInvalid { field: field.clone(), why });
        let Some(step) = approval_step(process, name) else {
            return invalid(format!("there is no approval step `{name}`{}", choosable(process)));
        };
        let Some((from, weight)) = choice(step) else {
            return invalid(format!(
                "step `{name}` does not leave it to the submitter who is asked{}",
                choosable(process)
            ));
        };
        check_chosen(state, process, name, chosen, from, directory)?;
        let enough = match step.decision.approve {
            _ if step.assign.len() > 1 || chosen.is_empty() => true,
            Quorum::AtLeast(needed) => chosen.len() >= needed as usize,
            Quorum::Weight(needed) => chosen.len() as u64 * u64::from(weight) >= u64::from(needed),
            Quorum::Any | Quorum::All | Quorum::Percent(_) => true,
        };
        if !enough {
            return invalid(format!(
                "{} are too few for the decision rule of step `{name}`: choose more",
                chosen.len()
            ));
        }
    }
    let steps = process.stages.iter().flat_map(|stage| &stage.steps);
    for step in steps {
        let StepKind::Approval(approval) = &step.kind else { continue };
        let chosen = state.choices.get(&step.name).is_some_and(|chosen| !chosen.is_empty());
        if !chosen && is_needed(approval) {
            return Err(Refusal::ChoiceMissing { step: step.name.clone() });
        }
    }
    Ok(())
}

/// Checks each who was chosen for a step.
fn check_chosen(
    state: &Submission,
    process: &Process,
    step: &str,
    chosen: &[String],
    from: Option<&[UserOrGroup]>,
    directory: &Directory,
) -> Result<(), Refusal> {
    let separation = separation(process, step);
    let offered = from.map(|from| offered(from, directory));
    let mut seen = BTreeSet::new();
    for (index, name) in chosen.iter().enumerate() {
        let why = match directory.users.get(name) {
            None => format!("there is no user `{name}`"),
            Some(user) if !user.active => format!("user `{name}` is not active"),
            Some(_) if !seen.insert(name) => format!("user `{name}` is chosen twice"),
            Some(_) if offered.as_ref().is_some_and(|offered| !offered.contains(name.as_str())) => {
                format!("user `{name}` cannot be chosen: choose from {}", from.map(describe).unwrap_or_default())
            }
            Some(_) => match barred(state, &separation, name) {
                Some(why) => format!("user `{name}` cannot be chosen: {why}"),
                None => continue,
            },
        };
        return Err(Refusal::ChoiceInvalid { field: format!("choices.{step}[{index}]"), why });
    }
    Ok(())
}

/// The rule of a step that leaves it to the submitter: whom they can choose from, and what each weighs.
fn choice(step: &ApprovalStep) -> Option<(Option<&[UserOrGroup]>, u32)> {
    step.assign.iter().find_map(|rule| match &rule.whom {
        Whom::ChosenBySubmitter { from } => Some((from.as_deref(), rule.weight)),
        _ => None,
    })
}

/// Whether nobody would be asked in a step without a choice, and the process does not name others for that case.
fn is_needed(step: &ApprovalStep) -> bool {
    let only = step.assign.iter().all(|rule| matches!(rule.whom, Whom::ChosenBySubmitter { .. }));
    only && !matches!(step.on_no_approvers, OnNoApprovers::Fallback(_))
}

fn offered<'d>(from: &'d [UserOrGroup], directory: &'d Directory) -> BTreeSet<&'d str> {
    let mut offered = BTreeSet::new();
    for rule in from {
        match rule {
            UserOrGroup::User(name) => {
                offered.insert(name.as_str());
            }
            UserOrGroup::Group(name) => offered.extend(directory.members_of_group(name).unwrap_or_default()),
        }
    }
    offered
}

fn describe(from: &[UserOrGroup]) -> String {
    let each = from.iter().map(|rule| match rule {
        UserOrGroup::User(name) => format!("user `{name}`"),
        UserOrGroup::Group(name) => format!("group `{name}`"),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The end of a complaint about a step for which nothing is to be chosen: those for which something is.
fn choosable(process: &Process) -> String {
    let steps = process.stages.iter().flat_map(|stage| &stage.steps);
    let chooses = steps.filter(|step| matches!(&step.kind, StepKind::Approval(approval) if choice(approval).is_some()));
    let names: Vec<_> = chooses.map(|step| format!("`{}`", step.name)).collect();
    if names.is_empty() {
        "; this process leaves nothing to choose".to_owned()
    } else {
        format!("; there is a choice for {}", names.join(", "))
    }
}
