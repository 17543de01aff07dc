//! Delegations of `DirectoryService`: everybody may give and take back their own, an administrator anybody's.

use std::ops::Bound::{Excluded, Unbounded};

use jiff::Timestamp;
use quorate_engine::{
    definition::DirectoryDocument,
    delegation::{Delegation, Moment, NewDelegation},
    directory::Directory,
    expression::Expression,
    refusal::Refusal,
};
use quorate_store::{log::Hash, store::RequestKey};
use tonic::Status;

use crate::{
    auth::{Principal, Role},
    proto::v1,
    scheduler::catalog::Snapshot,
};

use super::{Api, catalog::Worked, convert, directory::Edit, errors, filter, pages};

/// Who may give a delegation: whoever decides.
pub(super) const GIVERS: &[Role] = &[Role::Reviewer];

impl Api {
    pub(super) async fn give_delegation(
        &self,
        principal: &Principal,
        message: &v1::DirectoryServicePutDelegationRequest,
        key: Option<(RequestKey, Hash)>,
    ) -> Result<v1::DirectoryServicePutDelegationResponse, Status> {
        let new = &new_delegation(principal, message)?;
        let work = |snapshot: std::sync::Arc<Snapshot>| async move {
            let directory = &snapshot.directory;
            check_giver(principal, &new.from, directory)?;
            if let Some(name) = new.processes.iter().find(|name| !snapshot.active_processes.contains_key(*name)) {
                let name: String = name.chars().take(64).collect();
                let description = format!("there is no active process `{name}`");
                return Err(errors::invalid_field("delegation.processes", description));
            }
            let put = DirectoryDocument { delegations: vec![new.clone()], ..DirectoryDocument::default() };
            let change = Edit { put, ..Edit::default() }.change(principal, &snapshot)?;
            let given = change.delegations.first();
            let before = given.and_then(|given| directory.delegations.get(&given.name));
            if let Some(before) = before {
                check_giver(principal, &before.from, directory)?;
                if new.name.is_none() && given != Some(before) {
                    let description = format!("there is another delegation `{}`: give this one a name", before.name);
                    return Err(errors::invalid_field("delegation.name", description));
                }
            }
            let delegation = given.map(delegation_to);
            Ok(Worked { change: Some(change), answer: v1::DirectoryServicePutDelegationResponse { delegation } })
        };
        self.change_catalog(principal, key, work).await
    }

    pub(super) async fn withdraw_delegation(
        &self,
        principal: &Principal,
        name: String,
        key: Option<(RequestKey, Hash)>,
    ) -> Result<v1::DirectoryServiceDeleteDelegationResponse, Status> {
        let name = &name;
        let work = |snapshot: std::sync::Arc<Snapshot>| async move {
            let directory = &snapshot.directory;
            let delegation = directory.delegations.get(name).filter(|delegation| sees(principal, delegation));
            let delegation = delegation.ok_or_else(|| errors::not_found("delegation", name))?;
            check_giver(principal, &delegation.from, directory)?;
            let edit = Edit { delegations_gone: vec![name.clone()], ..Edit::default() };
            Ok(Worked {
                change: Some(edit.change(principal, &snapshot)?),
                answer: v1::DirectoryServiceDeleteDelegationResponse {},
            })
        };
        self.change_catalog(principal, key, work).await
    }
}

/// A page of the delegations that the caller may see.
pub(super) fn list(
    principal: &Principal,
    directory: &Directory,
    message: &v1::DirectoryServiceListDelegationsRequest,
) -> Result<v1::DirectoryServiceListDelegationsResponse, Status> {
    let terms = filter::parse(&message.filter, &["delegator", "delegate"])?;
    let size = pages::size(message.page_size)?;
    // What a caller sees is their own: so are their pages.
    let query = ["delegations", &message.filter, principal.name.as_str()];
    let after: Option<String> = pages::after(&message.page_token, &query)?;
    let fits = |delegation: &&Delegation| {
        let (delegator, delegate) = (terms.get("delegator"), terms.get("delegate"));
        delegator.is_none_or(|name| delegation.from == **name)
            && delegate.is_none_or(|name| delegation.delegates().any(|delegate| delegate == *name))
            && sees(principal, delegation)
    };
    let range = directory.delegations.range::<str, _>((after.as_deref().map_or(Unbounded, Excluded), Unbounded));
    let page: Vec<_> = range.map(|(_, delegation)| delegation).filter(fits).take(size as usize).collect();
    let next_page_token = pages::next(page.len(), size, page.last().map(|delegation| &delegation.name), &query);
    Ok(v1::DirectoryServiceListDelegationsResponse {
        delegations: page.into_iter().map(delegation_to).collect(),
        next_page_token,
    })
}

/// When somebody is away is not for everybody to know.
pub(super) fn sees(principal: &Principal, delegation: &Delegation) -> bool {
    let name = principal.name.as_str();
    principal.has_any(&[Role::Administrator, Role::Auditor])
        || delegation.from == name
        || delegation.delegates().any(|delegate| delegate == name)
}

fn check_giver(principal: &Principal, delegator: &str, directory: &Directory) -> Result<(), Status> {
    if principal.is_administrator() {
        return Ok(());
    }
    let actor = principal.name.clone();
    if delegator != actor.as_str() {
        let refusal = Refusal::NotPermitted { actor, needed: "whose delegation it is, or an administrator" };
        return Err(errors::rejected(refusal.into()));
    }
    if !directory.is_active(delegator) {
        return Err(errors::rejected(Refusal::NotActive { actor }.into()));
    }
    Ok(())
}

fn new_delegation(
    principal: &Principal,
    message: &v1::DirectoryServicePutDelegationRequest,
) -> Result<NewDelegation, Status> {
    let missing = || errors::invalid_field("delegation", "is missing");
    let delegation = message.delegation.as_ref().ok_or_else(missing)?;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let when = given(&delegation.when).map(|when| Expression::parse(&when)).transpose();
    Ok(NewDelegation {
        name: given(&delegation.name),
        from: given(&delegation.delegator).unwrap_or_else(|| principal.name.to_string()),
        to: delegation.delegate.clone(),
        start: moment("start", &message.start, delegation.start_time)?,
        end: moment("end", &message.end, delegation.end_time)?,
        time_zone: given(&message.time_zone),
        processes: delegation.processes.iter().cloned().collect(),
        when: when.map_err(|error| errors::invalid_field("delegation.when", error.to_string()))?,
        alternates: delegation.alternates.clone(),
    })
}

fn moment(field: &str, text: &str, instant: Option<prost_types::Timestamp>) -> Result<Moment, Status> {
    match (text, instant) {
        ("", None) => Err(errors::invalid_field(field, "is missing")),
        ("", Some(instant)) => {
            let instant = Timestamp::new(instant.seconds, instant.nanos);
            let outside =
                |_| errors::invalid_field(format!("delegation.{field}_time"), "is outside of the times there are");
            instant.map(Moment::Instant).map_err(outside)
        }
        (_, Some(_)) => {
            Err(errors::invalid_field(field, format!("is said twice: leave out delegation.{field}_time or this")))
        }
        (text, None) => Moment::parse(text).map_err(|why| errors::invalid_field(field, why)),
    }
}

pub(super) fn delegation_to(delegation: &Delegation) -> v1::Delegation {
    v1::Delegation {
        name: delegation.name.clone(),
        delegator: delegation.from.clone(),
        delegate: delegation.to.clone(),
        start_time: Some(convert::timestamp(delegation.start)),
        end_time: Some(convert::timestamp(delegation.end)),
        processes: delegation.processes.iter().cloned().collect(),
        when: delegation.when.as_ref().map(|when| when.source().to_owned()).unwrap_or_default(),
        alternates: delegation.alternates.clone(),
    }
}
