//! Deciding for somebody else. A delegation lends what its giver may decide, and nothing more: whatever stands against them, or
//! against whoever acts for them, stands (DESIGN 9). It is lent once: nobody lends on what was lent to them.

use crate::{
    definition::Process,
    delegation::Delegation,
    directory::Directory,
    id::UserName,
    refusal::Refusal,
    state::{Assignee, Submission, WorkItem},
};

use super::{
    authorize::{Deciding, Right, may_decide},
    conditions::record_variables,
};

/// Whether somebody whom a work item does not ask may decide it for somebody whom it does. Of several delegations that say so the
/// first by name is the one; where none does, the first that was meant for it tells why.
pub(super) fn authorize_delegate(deciding: &Deciding<'_>, item: &WorkItem, actor: &UserName) -> Result<Right, Refusal> {
    let Deciding { directory, now, .. } = deciding;
    let mut refusal = None;
    for delegation in directory.delegations_to(actor.as_str(), *now) {
        let person = UserName::from(delegation.from.as_str());
        if !may_decide(&item.assignee, &person, directory) {
            continue;
        }
        match check_delegation(deciding, item, delegation, actor) {
            Ok(()) => return Ok(Right::Delegation { name: delegation.name.clone(), person }),
            Err(why) => refusal = refusal.or(Some(why)),
        }
    }
    let assignee = item.assignee.to_string();
    Err(refusal.unwrap_or_else(|| Refusal::NotAssignee { actor: actor.clone(), assignee }))
}

/// Whether a person acts for somebody whom one of these asks, so far as nothing else stands against it.
pub(super) fn acts_for(
    state: &Submission,
    process: &Process,
    directory: &Directory,
    now: jiff::Timestamp,
    (assignee, person): (&Assignee, &UserName),
) -> bool {
    directory.delegations_to(person.as_str(), now).any(|delegation| {
        may_decide(assignee, &UserName::from(delegation.from.as_str()), directory)
            && applies(delegation, state, process, now).is_ok()
    })
}

/// Whether this delegation, which is in force and names the actor, lets them decide for its giver, whom the item asks.
fn check_delegation(
    deciding: &Deciding<'_>,
    item: &WorkItem,
    delegation: &Delegation,
    actor: &UserName,
) -> Result<(), Refusal> {
    let Deciding { state, process, directory, now, .. } = deciding;
    let from = delegation.from.as_str();
    let unfit = |why: String| Refusal::DelegationUnfit {
        actor: actor.clone(),
        person: UserName::from(from),
        delegation: delegation.name.clone(),
        why,
    };
    applies(delegation, state, process, *now).map_err(unfit)?;
    // What asks them by name waits for nobody else. A group or a queue has others.
    if !directory.is_active(from) && !matches!(item.assignee, Assignee::User(_)) {
        return Err(unfit(format!("`{from}` is not active, and {} asks its active members", item.assignee)));
    }
    if let Some(why) = deciding.barred(from) {
        let why = format!("they would act for `{from}`, who may not either: {why}");
        return Err(Refusal::SeparationOfDuties { actor: actor.clone(), why });
    }
    deciding.check_one_vote(from)?;
    // Whoever acts for the claimer does so here too; and what they claimed for them is theirs.
    if deciding.check_claim(item, actor).is_err() {
        deciding.check_claim(item, &UserName::from(from))?;
    }
    for delegate in delegation.delegates() {
        let stands_in = check_delegate(deciding, delegation, delegate);
        if delegate == actor.as_str() {
            return stands_in;
        }
        if stands_in.is_ok() {
            return Err(unfit(format!("`{delegate}` comes first, and can")));
        }
    }
    Err(unfit("it does not name them".to_owned()))
}

/// Whether one of those whom a delegation names can act by it now; if not, whoever comes next may.
fn check_delegate(deciding: &Deciding<'_>, delegation: &Delegation, delegate: &str) -> Result<(), Refusal> {
    let actor = UserName::from(delegate);
    if !deciding.directory.is_active(delegate) {
        return Err(Refusal::NotActive { actor });
    }
    let Deciding { state, process, step, directory, now, .. } = deciding;
    let mut own = directory.delegations_from(delegate, *now);
    if let Some(own) = own.find(|own| applies(own, state, process, *now).is_ok()) {
        return Err(Refusal::DelegationUnfit {
            actor,
            person: UserName::from(delegation.from.as_str()),
            delegation: delegation.name.clone(),
            why: format!("`{delegate}` is away too, by delegation `{}`", own.name),
        });
    }
    if let Some(why) = deciding.barred(delegate) {
        return Err(Refusal::SeparationOfDuties { actor, why });
    }
    deciding.check_one_vote(delegate)?;
    // With two votes to cast, the first would take the other away: their own, or that of whom they act for.
    let mut items = step.work_items.iter().filter(|item| !item.replaced);
    let asked = items.any(|item| matches!(&item.assignee, Assignee::User(name) if name == delegate));
    if asked && deciding.counts_people() {
        let why = "the step asks them too, and nobody has two votes".to_owned();
        return Err(Refusal::SeparationOfDuties { actor, why });
    }
    Ok(())
}

/// Whether a delegation that is in force is about this submission; `Err` says why not. What cannot be told is no right.
fn applies(delegation: &Delegation, state: &Submission, process: &Process, now: jiff::Timestamp) -> Result<(), String> {
    if !delegation.is_about(&state.process.name) {
        return Err(format!("it is not about process `{}`", state.process.name));
    }
    let Some(when) = &delegation.when else { return Ok(()) };
    match when.eval_bool(&record_variables(process, state, now)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("its condition `{}` does not hold", when.source())),
        Err(error) => Err(format!("its condition `{}` failed: {error}", when.source())),
    }
}
