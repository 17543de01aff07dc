//! `RecordService`.

use std::sync::Arc;

use jiff::Timestamp;
use quorate_engine::{
    decide::{COMMENT_BYTES_MAX, may_decide},
    id::{Tenant, UserName},
    refusal::Refusal,
    trigger::ChangeKind,
};
use quorate_store::{
    StoreError,
    locks::{HeldLock, ManualLockChange, ManualLockRow},
    log::Hash,
    store::{RequestKey, RequestRow},
};
use tonic::{Request, Response, Status};

use crate::{
    auth::{Principal, Role},
    proto::v1::{self, record_service_server::RecordService},
    scheduler::records::{RecordChange, answer_of},
};

use super::{
    Api,
    call::{NAME_BYTES_MAX, check_text, request_key, traceparent},
    catalog::answer_again,
    convert, errors,
    submission::{on_behalf_of, record_data},
};

/// How many locks of each kind one answer tells: a record that more hold is held all the same.
const LOCKS_MAX: u32 = 100;

#[tonic::async_trait]
impl RecordService for Api {
    async fn report_change(
        &self,
        request: Request<v1::RecordServiceReportChangeRequest>,
    ) -> Result<Response<v1::RecordServiceReportChangeResponse>, Status> {
        let traceparent = traceparent(request.metadata());
        let (principal, message) = self.caller(request, &[Role::Submitter]).await?;
        let key = request_key(&principal, &message.request_id, "RecordService.ReportChange", &message)?;
        let kind = match message.kind() {
            v1::ChangeKind::Created => ChangeKind::Created,
            v1::ChangeKind::Updated => ChangeKind::Updated,
            v1::ChangeKind::Unspecified => return Err(errors::invalid_field("kind", "is missing")),
        };
        let record = message.record.ok_or_else(|| errors::invalid_field("record", "is missing"))?;
        for (field, text) in [("record.type", &record.r#type), ("record.id", &record.id)] {
            if text.is_empty() {
                return Err(errors::invalid_field(field, "is missing"));
            }
            check_text(field, text, NAME_BYTES_MAX)?;
        }
        let data = record.data.as_ref().ok_or_else(|| errors::invalid_field("record.data", "is missing"))?;
        let data = record_data("record.data", data)?;
        let on_behalf_of = on_behalf_of(&message.on_behalf_of)?;
        let change = RecordChange {
            tenant: principal.tenant.clone(),
            record_type: record.r#type,
            record_id: record.id,
            data: Arc::new(data),
            kind,
            source_version: (record.source_version != 0).then_some(record.source_version),
            by: principal.actor(),
            on_behalf_of,
            key,
            traceparent,
        };
        let effects = self.scheduler.report_change(&change).await.map_err(errors::rejected)?;
        Ok(Response::new(answer_of(&effects)))
    }

    async fn get_lock(
        &self,
        request: Request<v1::RecordServiceGetLockRequest>,
    ) -> Result<Response<v1::RecordServiceGetLockResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Submitter, Role::Reviewer, Role::Auditor]).await?;
        let record = record_key(&message.record_type, &message.record_id)?;
        check_text("user", &message.user, NAME_BYTES_MAX)?;
        let (held, set) = self.locks(&principal.tenant, record).await?;
        // Where there may be more than were read, nobody is told that they may.
        let whole = held.len() < LOCKS_MAX as usize;
        let may_edit = set.is_empty() && whole && self.may_edit(&principal.tenant, &held, &message.user).await?;
        let locks: Vec<v1::RecordLock> = held.iter().map(held_lock).chain(set.iter().map(manual_lock)).collect();
        Ok(Response::new(v1::RecordServiceGetLockResponse { locked: !locks.is_empty(), locks, may_edit }))
    }

    async fn lock(
        &self,
        request: Request<v1::RecordServiceLockRequest>,
    ) -> Result<Response<v1::RecordServiceLockResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Submitter]).await?;
        let key = request_key(&principal, &message.request_id, "RecordService.Lock", &message)?;
        if let Some(answer) = self.answered(key.as_ref()).await? {
            return Ok(Response::new(answer));
        }
        let until = message.until.as_ref().map(|until| moment("until", until)).transpose()?;
        let now = self.scheduler.clock().now();
        if until.is_some_and(|until| until <= now) {
            return Err(errors::invalid_field("until", "has passed"));
        }
        check_text("reason", &message.reason, COMMENT_BYTES_MAX)?;
        let lock = ManualLockRow {
            locked_by: principal.name.to_string(),
            reason: message.reason.clone(),
            until,
            ..lock_of(&message.record_type, &message.record_id, &message.holder, now)?
        };
        let (_, set) = self.locks(&principal.tenant, (&lock.record_type, &lock.record_id)).await?;
        check_own(&principal, &set, &lock.holder)?;
        let answer = v1::RecordServiceLockResponse { lock: Some(manual_lock(&lock)) };
        self.change_lock(&principal.tenant, (lock, true), key, answer).await.map(Response::new)
    }

    async fn unlock(
        &self,
        request: Request<v1::RecordServiceUnlockRequest>,
    ) -> Result<Response<v1::RecordServiceUnlockResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Submitter]).await?;
        let key = request_key(&principal, &message.request_id, "RecordService.Unlock", &message)?;
        if let Some(answer) = self.answered(key.as_ref()).await? {
            return Ok(Response::new(answer));
        }
        let now = self.scheduler.clock().now();
        let lock = lock_of(&message.record_type, &message.record_id, &message.holder, now)?;
        let record = record_key(&message.record_type, &message.record_id)?;
        let (held, set) = self.locks(&principal.tenant, record).await?;
        check_own(&principal, &set, &lock.holder)?;
        let locked = !held.is_empty() || set.iter().any(|other| other.holder != lock.holder);
        let answer = v1::RecordServiceUnlockResponse { locked };
        self.change_lock(&principal.tenant, (lock, false), key, answer).await.map(Response::new)
    }
}

impl Api {
    /// Who holds a record: steps, and callers by hand.
    async fn locks(
        &self,
        tenant: &Tenant,
        record: (&str, &str),
    ) -> Result<(Vec<HeldLock>, Vec<ManualLockRow>), Status> {
        let store = self.scheduler.store();
        let now = self.scheduler.clock().now();
        let (held, set) = tokio::try_join!(
            store.record_locks(tenant, record, LOCKS_MAX),
            store.manual_locks(tenant, record, now, LOCKS_MAX),
        )
        .map_err(|error| errors::store(&error))?;
        Ok((held, set))
    }

    /// Whether somebody may edit a record that these steps hold: every one of them asks them, and says that they may.
    async fn may_edit(&self, tenant: &Tenant, held: &[HeldLock], user: &str) -> Result<bool, Status> {
        if held.is_empty() {
            return Ok(true);
        }
        if user.is_empty() || held.iter().any(|held| !held.lock.allow_reviewer_edit) {
            return Ok(false);
        }
        let snapshot = self.scheduler.catalog().current(tenant).await.map_err(|error| errors::store(&error))?;
        let name = UserName::from(user);
        for HeldLock { submission, lock } in held {
            let state = self.submission(tenant, *submission).await?;
            let step = state.step_run(lock.step_run).map(|(_, step)| step);
            let mut open = step.into_iter().flat_map(|step| &step.work_items).filter(|item| item.is_open());
            if !open.any(|item| may_decide(&item.assignee, &name, &snapshot.directory)) {
                return Ok(false);
            }
        }
        Ok(snapshot.directory.is_active(user))
    }

    /// The first answer to a call that comes again.
    async fn answered<T: prost::Message + Default>(
        &self,
        key: Option<&(RequestKey, Hash)>,
    ) -> Result<Option<T>, Status> {
        let Some((key, digest)) = key else { return Ok(None) };
        let row = self.scheduler.store().request(key).await.map_err(|error| errors::store(&error))?;
        row.map(|row| answer_again(&row, digest)).transpose()
    }

    /// Sets a lock or takes it off. A call that was answered before gets its first answer again.
    async fn change_lock<T: prost::Message + Default>(
        &self,
        tenant: &Tenant,
        (lock, put): (ManualLockRow, bool),
        key: Option<(RequestKey, Hash)>,
        answer: T,
    ) -> Result<T, Status> {
        let store = self.scheduler.store();
        // Told twice at once, the second finds the answer of the first.
        for _ in 0..2 {
            if let Some(answer) = self.answered(key.as_ref()).await? {
                return Ok(answer);
            }
            let now = lock.locked_at;
            let request = key.as_ref().map(|(key, digest)| RequestRow {
                key: key.clone(),
                digest: *digest,
                submission: None,
                version: 0,
                answer: Some(answer.encode_to_vec()),
                at: now,
            });
            let change = ManualLockChange { tenant: tenant.clone(), lock: lock.clone(), put, request, now };
            match store.change_manual_lock(&change).await {
                Ok(()) => return Ok(answer),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(errors::store(&error)),
            }
        }
        Err(errors::catalog_busy())
    }
}

/// Whoever has set a lock sets it anew or takes it off, or an administrator does.
fn check_own(principal: &Principal, set: &[ManualLockRow], holder: &str) -> Result<(), Status> {
    let own = set.iter().find(|lock| lock.holder == holder);
    if own.is_none_or(|own| own.locked_by == principal.name.as_str()) || principal.is_administrator() {
        return Ok(());
    }
    let needed = "whoever has locked it, or an administrator";
    Err(errors::rejected(Refusal::NotPermitted { actor: principal.name.clone(), needed }.into()))
}

fn record_key<'m>(record_type: &'m str, record_id: &'m str) -> Result<(&'m str, &'m str), Status> {
    for (field, text) in [("record_type", record_type), ("record_id", record_id)] {
        if text.is_empty() {
            return Err(errors::invalid_field(field, "is missing"));
        }
        check_text(field, text, NAME_BYTES_MAX)?;
    }
    Ok((record_type, record_id))
}

/// The lock of a holder, of whom nothing else is said.
fn lock_of(record_type: &str, record_id: &str, holder: &str, now: Timestamp) -> Result<ManualLockRow, Status> {
    let (record_type, record_id) = record_key(record_type, record_id)?;
    if holder.is_empty() {
        return Err(errors::invalid_field("holder", "is missing"));
    }
    check_text("holder", holder, NAME_BYTES_MAX)?;
    Ok(ManualLockRow {
        record_type: record_type.to_owned(),
        record_id: record_id.to_owned(),
        holder: holder.to_owned(),
        reason: String::new(),
        locked_by: String::new(),
        locked_at: now,
        until: None,
    })
}

/// A moment of a request, to the microsecond.
fn moment(field: &str, at: &prost_types::Timestamp) -> Result<Timestamp, Status> {
    let micros = i128::from(at.seconds) * 1_000_000 + i128::from(at.nanos) / 1_000;
    let moment = i64::try_from(micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    moment.ok_or_else(|| errors::invalid_field(field, "is no time that can be told"))
}

fn held_lock(HeldLock { submission, lock }: &HeldLock) -> v1::RecordLock {
    v1::RecordLock {
        submission: submission.to_string(),
        process: lock.process.clone(),
        stage: lock.stage.clone(),
        step: lock.step.clone(),
        allow_reviewer_edit: lock.allow_reviewer_edit,
        since: Some(convert::timestamp(lock.since)),
        ..v1::RecordLock::default()
    }
}

fn manual_lock(lock: &ManualLockRow) -> v1::RecordLock {
    v1::RecordLock {
        holder: lock.holder.clone(),
        locked_by: lock.locked_by.clone(),
        reason: lock.reason.clone(),
        since: Some(convert::timestamp(lock.locked_at)),
        until: lock.until.map(convert::timestamp),
        ..v1::RecordLock::default()
    }
}
