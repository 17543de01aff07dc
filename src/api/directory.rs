//! `DirectoryService`.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message;
use quorate_engine::{
    definition::{DirectoryDocument, read_directory},
    directory::{self, DirectoryError},
};
use quorate_store::{catalog::CatalogChange, log::Hash, store::RequestKey};
use tonic::{Request, Response, Status};

use crate::{
    auth::{Principal, Role},
    proto::v1::{self, directory_service_server::DirectoryService},
    scheduler::catalog::Snapshot,
};

use super::{
    Api,
    call::{check_text, request_key},
    catalog::{Worked, check_definition, refuse},
    delegation, errors, pages,
};

/// How long an e-mail address may be, in bytes (RFC 5321: 64 before the at sign, 255 after it).
const EMAIL_BYTES_MAX: usize = 320;

/// Who may look at the directory.
pub(super) const READERS: &[Role] =
    &[Role::Administrator, Role::Designer, Role::Submitter, Role::Reviewer, Role::Auditor];

/// Who may change it.
const WRITERS: &[Role] = &[Role::Administrator];

/// Entries to put and names to delete.
#[derive(Clone, Default)]
pub(super) struct Edit {
    pub(super) put: DirectoryDocument,
    pub(super) users_gone: Vec<String>,
    pub(super) groups_gone: Vec<String>,
    pub(super) queues_gone: Vec<String>,
    pub(super) delegations_gone: Vec<String>,
}

impl Edit {
    /// Carries the edit out on the directory that a snapshot holds, if it is sound then: what is to be written.
    pub(super) fn change(self, principal: &Principal, snapshot: &Snapshot) -> Result<CatalogChange, Status> {
        for email in self.put.users.iter().filter_map(|user| user.email.as_deref()) {
            check_text("user.email", email, EMAIL_BYTES_MAX)?;
        }
        let invalid = |error: DirectoryError| errors::directory_invalid("directory", &error.to_string());
        let mut after = snapshot.directory.clone();
        let delegations = after.put(self.put.clone()).map_err(invalid)?;
        remove("user", &mut after.users, &self.users_gone)?;
        remove("group", &mut after.groups, &self.groups_gone)?;
        remove("queue", &mut after.queues, &self.queues_gone)?;
        remove("delegation", &mut after.delegations, &self.delegations_gone)?;
        after.check().map_err(invalid)?;
        Ok(CatalogChange {
            users: self.put.users,
            groups: self.put.groups,
            queues: self.put.queues,
            delegations,
            users_gone: self.users_gone,
            groups_gone: self.groups_gone,
            queues_gone: self.queues_gone,
            delegations_gone: self.delegations_gone,
            ..CatalogChange::new(principal.tenant.clone(), snapshot.version)
        })
    }
}

fn remove<T>(kind: &str, entries: &mut BTreeMap<String, T>, names: &[String]) -> Result<(), Status> {
    for name in names {
        entries.remove(name).ok_or_else(|| errors::not_found(kind, name))?;
    }
    Ok(())
}

impl Api {
    async fn edit<T: Message + Default + Clone>(
        &self,
        principal: &Principal,
        key: Option<(RequestKey, Hash)>,
        edit: Edit,
        answer: T,
    ) -> Result<Response<T>, Status> {
        let (edit, answer) = (&edit, &answer);
        let work = |snapshot: Arc<Snapshot>| async move {
            let change = edit.clone().change(principal, &snapshot)?;
            Ok(Worked { change: Some(change), answer: answer.clone() })
        };
        Ok(Response::new(self.change_catalog(principal, key, work).await?))
    }

    pub(super) async fn directory(&self, principal: &Principal) -> Result<Arc<Snapshot>, Status> {
        let snapshot = self.scheduler.catalog().current(&principal.tenant).await;
        snapshot.map_err(|error| errors::store(&error))
    }
}

#[tonic::async_trait]
impl DirectoryService for Api {
    async fn apply(
        &self,
        request: Request<v1::DirectoryServiceApplyRequest>,
    ) -> Result<Response<v1::DirectoryServiceApplyResponse>, Status> {
        let (principal, message) = self.caller(request, WRITERS).await?;
        check_definition(&message.definition)?;
        let key = request_key(&principal, &message.request_id, "DirectoryService.Apply", &message)?;
        let document = read_directory(&message.definition).map_err(|complaints| refuse(&complaints))?;
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let answer = v1::DirectoryServiceApplyResponse {
            users: count(document.users.len()),
            groups: count(document.groups.len()),
            queues: count(document.queues.len()),
            delegations: count(document.delegations.len()),
        };
        let edit = Edit { put: document, ..Edit::default() };
        self.edit(&principal, key, edit, answer).await
    }

    async fn put_user(
        &self,
        request: Request<v1::DirectoryServicePutUserRequest>,
    ) -> Result<Response<v1::DirectoryServicePutUserResponse>, Status> {
        let (principal, message) = self.caller(request, WRITERS).await?;
        let key = request_key(&principal, &message.request_id, "PutUser", &message)?;
        let user = message.user.ok_or_else(|| errors::invalid_field("user", "is missing"))?;
        let put = DirectoryDocument { users: vec![user_from(&user)], ..DirectoryDocument::default() };
        let edit = Edit { put, ..Edit::default() };
        self.edit(&principal, key, edit, v1::DirectoryServicePutUserResponse { user: Some(user) }).await
    }

    async fn get_user(
        &self,
        request: Request<v1::DirectoryServiceGetUserRequest>,
    ) -> Result<Response<v1::DirectoryServiceGetUserResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let snapshot = self.directory(&principal).await?;
        let user = snapshot.directory.users.get(&message.name);
        let user = user.ok_or_else(|| errors::not_found("user", &message.name))?;
        Ok(Response::new(v1::DirectoryServiceGetUserResponse { user: Some(user_to(user)) }))
    }

    async fn list_users(
        &self,
        request: Request<v1::DirectoryServiceListUsersRequest>,
    ) -> Result<Response<v1::DirectoryServiceListUsersResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let snapshot = self.directory(&principal).await?;
        let page = ("users", message.page_size, message.page_token.as_str());
        let (users, next_page_token) = page_of(&snapshot.directory.users, page, user_to)?;
        Ok(Response::new(v1::DirectoryServiceListUsersResponse { users, next_page_token }))
    }

    async fn delete_user(
        &self,
        request: Request<v1::DirectoryServiceDeleteUserRequest>,
    ) -> Result<Response<v1::DirectoryServiceDeleteUserResponse>, Status> {
        let (principal, message) = self.caller(request, WRITERS).await?;
        let key = request_key(&principal, &message.request_id, "DeleteUser", &message)?;
        let edit = Edit { users_gone: vec![message.name], ..Edit::default() };
        self.edit(&principal, key, edit, v1::DirectoryServiceDeleteUserResponse {}).await
    }

    async fn put_group(
        &self,
        request: Request<v1::DirectoryServicePutGroupRequest>,
    ) -> Result<Response<v1::DirectoryServicePutGroupResponse>, Status> {
        let (principal, message) = self.caller(request, WRITERS).await?;
        let key = request_key(&principal, &message.request_id, "PutGroup", &message)?;
        let group = message.group.ok_or_else(|| errors::invalid_field("group", "is missing"))?;
        let put = DirectoryDocument { groups: vec![group_from(&group)], ..DirectoryDocument::default() };
        let edit = Edit { put, ..Edit::default() };
        self.edit(&principal, key, edit, v1::DirectoryServicePutGroupResponse { group: Some(group) }).await
    }

    async fn get_group(
        &self,
        request: Request<v1::DirectoryServiceGetGroupRequest>,
    ) -> Result<Response<v1::DirectoryServiceGetGroupResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let snapshot = self.directory(&principal).await?;
        let group = snapshot.directory.groups.get(&message.name);
        let group = group.ok_or_else(|| errors::not_found("group", &message.name))?;
        Ok(Response::new(v1::DirectoryServiceGetGroupResponse { group: Some(group_to(group)) }))
    }

    async fn list_groups(
        &self,
        request: Request<v1::DirectoryServiceListGroupsRequest>,
    ) -> Result<Response<v1::DirectoryServiceListGroupsResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let snapshot = self.directory(&principal).await?;
        let page = ("groups", message.page_size, message.page_token.as_str());
        let (groups, next_page_token) = page_of(&snapshot.directory.groups, page, group_to)?;
        Ok(Response::new(v1::DirectoryServiceListGroupsResponse { groups, next_page_token }))
    }

    async fn delete_group(
        &self,
        request: Request<v1::DirectoryServiceDeleteGroupRequest>,
    ) -> Result<Response<v1::DirectoryServiceDeleteGroupResponse>, Status> {
        let (principal, message) = self.caller(request, WRITERS).await?;
        let key = request_key(&principal, &message.request_id, "DeleteGroup", &message)?;
        let edit = Edit { groups_gone: vec![message.name], ..Edit::default() };
        self.edit(&principal, key, edit, v1::DirectoryServiceDeleteGroupResponse {}).await
    }

    async fn put_queue(
        &self,
        request: Request<v1::DirectoryServicePutQueueRequest>,
    ) -> Result<Response<v1::DirectoryServicePutQueueResponse>, Status> {
        let (principal, message) = self.caller(request, WRITERS).await?;
        let key = request_key(&principal, &message.request_id, "PutQueue", &message)?;
        let queue = message.queue.ok_or_else(|| errors::invalid_field("queue", "is missing"))?;
        let put = DirectoryDocument { queues: vec![queue_from(&queue)], ..DirectoryDocument::default() };
        let edit = Edit { put, ..Edit::default() };
        self.edit(&principal, key, edit, v1::DirectoryServicePutQueueResponse { queue: Some(queue) }).await
    }

    async fn get_queue(
        &self,
        request: Request<v1::DirectoryServiceGetQueueRequest>,
    ) -> Result<Response<v1::DirectoryServiceGetQueueResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let snapshot = self.directory(&principal).await?;
        let queue = snapshot.directory.queues.get(&message.name);
        let queue = queue.ok_or_else(|| errors::not_found("queue", &message.name))?;
        Ok(Response::new(v1::DirectoryServiceGetQueueResponse { queue: Some(queue_to(queue)) }))
    }

    async fn list_queues(
        &self,
        request: Request<v1::DirectoryServiceListQueuesRequest>,
    ) -> Result<Response<v1::DirectoryServiceListQueuesResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let snapshot = self.directory(&principal).await?;
        let page = ("queues", message.page_size, message.page_token.as_str());
        let (queues, next_page_token) = page_of(&snapshot.directory.queues, page, queue_to)?;
        Ok(Response::new(v1::DirectoryServiceListQueuesResponse { queues, next_page_token }))
    }

    async fn delete_queue(
        &self,
        request: Request<v1::DirectoryServiceDeleteQueueRequest>,
    ) -> Result<Response<v1::DirectoryServiceDeleteQueueResponse>, Status> {
        let (principal, message) = self.caller(request, WRITERS).await?;
        let key = request_key(&principal, &message.request_id, "DeleteQueue", &message)?;
        let edit = Edit { queues_gone: vec![message.name], ..Edit::default() };
        self.edit(&principal, key, edit, v1::DirectoryServiceDeleteQueueResponse {}).await
    }

    async fn put_delegation(
        &self,
        request: Request<v1::DirectoryServicePutDelegationRequest>,
    ) -> Result<Response<v1::DirectoryServicePutDelegationResponse>, Status> {
        let (principal, message) = self.caller(request, delegation::GIVERS).await?;
        let key = request_key(&principal, &message.request_id, "PutDelegation", &message)?;
        Ok(Response::new(self.give_delegation(&principal, &message, key).await?))
    }

    async fn get_delegation(
        &self,
        request: Request<v1::DirectoryServiceGetDelegationRequest>,
    ) -> Result<Response<v1::DirectoryServiceGetDelegationResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let snapshot = self.directory(&principal).await?;
        let delegation = snapshot.directory.delegations.get(&message.name);
        let delegation = delegation.filter(|delegation| delegation::sees(&principal, delegation));
        let delegation = delegation.ok_or_else(|| errors::not_found("delegation", &message.name))?;
        let delegation = Some(delegation::delegation_to(delegation));
        Ok(Response::new(v1::DirectoryServiceGetDelegationResponse { delegation }))
    }

    async fn list_delegations(
        &self,
        request: Request<v1::DirectoryServiceListDelegationsRequest>,
    ) -> Result<Response<v1::DirectoryServiceListDelegationsResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let snapshot = self.directory(&principal).await?;
        Ok(Response::new(delegation::list(&principal, &snapshot.directory, &message)?))
    }

    async fn delete_delegation(
        &self,
        request: Request<v1::DirectoryServiceDeleteDelegationRequest>,
    ) -> Result<Response<v1::DirectoryServiceDeleteDelegationResponse>, Status> {
        let (principal, message) = self.caller(request, delegation::GIVERS).await?;
        let key = request_key(&principal, &message.request_id, "DeleteDelegation", &message)?;
        Ok(Response::new(self.withdraw_delegation(&principal, message.name, key).await?))
    }
}

/// A page of entries by name, and the token of the next.
fn page_of<T, M>(
    entries: &BTreeMap<String, T>,
    (query, page_size, page_token): (&str, i32, &str),
    to_message: impl Fn(&T) -> M,
) -> Result<(Vec<M>, String), Status> {
    use std::ops::Bound::{Excluded, Unbounded};
    let size = pages::size(page_size)?;
    let after: Option<String> = pages::after(page_token, &[query])?;
    let from = after.as_deref().map_or(Unbounded, Excluded);
    let page: Vec<_> = entries.range::<str, _>((from, Unbounded)).take(size as usize).collect();
    let next = pages::next(page.len(), size, page.last().map(|(name, _)| name), &[query]);
    Ok((page.into_iter().map(|(_, entry)| to_message(entry)).collect(), next))
}

fn user_from(user: &v1::User) -> directory::User {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    directory::User {
        name: user.name.clone(),
        active: user.active.unwrap_or(true),
        manager: text(&user.manager),
        email: text(&user.email),
        time_zone: text(&user.time_zone),
    }
}

fn user_to(user: &directory::User) -> v1::User {
    v1::User {
        name: user.name.clone(),
        active: Some(user.active),
        manager: user.manager.clone().unwrap_or_default(),
        email: user.email.clone().unwrap_or_default(),
        time_zone: user.time_zone.clone().unwrap_or_default(),
    }
}

fn group_from(group: &v1::Group) -> directory::Group {
    directory::Group {
        name: group.name.clone(),
        members: group.members.iter().cloned().collect(),
        groups: group.groups.iter().cloned().collect(),
    }
}

fn group_to(group: &directory::Group) -> v1::Group {
    v1::Group {
        name: group.name.clone(),
        members: group.members.iter().cloned().collect(),
        groups: group.groups.iter().cloned().collect(),
    }
}

fn queue_from(queue: &v1::Queue) -> directory::Queue {
    directory::Queue {
        name: queue.name.clone(),
        members: queue.members.iter().cloned().collect(),
        groups: queue.groups.iter().cloned().collect(),
    }
}

fn queue_to(queue: &directory::Queue) -> v1::Queue {
    v1::Queue {
        name: queue.name.clone(),
        members: queue.members.iter().cloned().collect(),
        groups: queue.groups.iter().cloned().collect(),
    }
}
