//! `CalendarService`.

use std::sync::Arc;

use quorate_engine::{calendar::Calendar, definition::read_calendar, status::VersionStatus};
use quorate_store::catalog::{CalendarVersionRow, CatalogChange};
use tonic::{Request, Response, Status};

use crate::{
    auth::{Principal, Role},
    proto::v1::{self, calendar_service_server::CalendarService},
    scheduler::catalog::Snapshot,
};

use super::{
    Api,
    call::{NAME_BYTES_MAX, check_text, request_key},
    catalog::{Worked, check_definition, digest, refuse},
    convert, errors, pages,
};

/// Who may look at definitions.
const READERS: &[Role] = &[Role::Designer, Role::Submitter, Role::Reviewer, Role::Auditor, Role::Worker];

#[tonic::async_trait]
impl CalendarService for Api {
    async fn publish(
        &self,
        request: Request<v1::CalendarServicePublishRequest>,
    ) -> Result<Response<v1::CalendarServicePublishResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Designer]).await?;
        check_definition(&message.definition)?;
        let key = request_key(&principal, &message.request_id, "CalendarService.Publish", &message)?;
        let calendar = read_calendar(&message.definition).map_err(|complaints| refuse(&complaints))?;
        let (principal, message, calendar) = (&principal, &message, &calendar);
        let work = |snapshot: Arc<Snapshot>| async move {
            let Worked { change, answer } = self.publish_calendar(principal, message, calendar, &snapshot).await?;
            Ok(Worked { change, answer: v1::CalendarServicePublishResponse { calendar: Some(answer) } })
        };
        Ok(Response::new(self.change_catalog(principal, key, work).await?))
    }

    async fn activate(
        &self,
        request: Request<v1::CalendarServiceActivateRequest>,
    ) -> Result<Response<v1::CalendarServiceActivateResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Designer]).await?;
        let key = request_key(&principal, &message.request_id, "CalendarService.Activate", &message)?;
        let (principal, message) = (&principal, &message);
        let work = |snapshot: Arc<Snapshot>| async move {
            let mut row = self.calendar_row(principal, &message.name, message.version).await?;
            let mut change = CatalogChange::new(principal.tenant.clone(), snapshot.version);
            self.retire_calendar(principal, &row, &snapshot, &mut change).await?;
            row.status = VersionStatus::Active;
            change.calendars.push(row.clone());
            let answer = v1::CalendarServiceActivateResponse { calendar: Some(to_message(row)) };
            Ok(Worked { change: Some(change), answer })
        };
        Ok(Response::new(self.change_catalog(principal, key, work).await?))
    }

    async fn get(
        &self,
        request: Request<v1::CalendarServiceGetRequest>,
    ) -> Result<Response<v1::CalendarServiceGetResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let version = match message.version {
            0 => {
                let snapshot = self.scheduler.catalog().current(&principal.tenant).await;
                let snapshot = snapshot.map_err(|error| errors::store(&error))?;
                snapshot.calendars.active.get(&message.name).map_or(0, |(version, _)| *version)
            }
            version => version,
        };
        let row = self.calendar_row(&principal, &message.name, version).await?;
        Ok(Response::new(v1::CalendarServiceGetResponse { calendar: Some(to_message(row)) }))
    }

    async fn list(
        &self,
        request: Request<v1::CalendarServiceListRequest>,
    ) -> Result<Response<v1::CalendarServiceListResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let size = pages::size(message.page_size)?;
        let after: Option<String> = pages::after(&message.page_token, &["calendars"])?;
        let rows = self.scheduler.store().list_calendars(&principal.tenant, after.as_deref(), size).await;
        let rows = rows.map_err(|error| errors::store(&error))?;
        let next_page_token = pages::next(rows.len(), size, rows.last().map(|row| row.name.clone()), &["calendars"]);
        let calendars = rows.into_iter().map(to_message).collect();
        Ok(Response::new(v1::CalendarServiceListResponse { calendars, next_page_token }))
    }
}

impl Api {
    /// A new version, or the newest one again where its text is the same.
    async fn publish_calendar(
        &self,
        principal: &Principal,
        message: &v1::CalendarServicePublishRequest,
        calendar: &Calendar,
        snapshot: &Snapshot,
    ) -> Result<Worked<v1::Calendar>, Status> {
        let newest = self.scheduler.store().calendar_versions(&principal.tenant, &calendar.name, None, 1).await;
        let newest = newest.map_err(|error| errors::store(&error))?.into_iter().next();
        let digest = digest(&message.definition);
        let same = newest.as_ref().filter(|row| row.digest == digest);
        let mut row = same.cloned().unwrap_or_else(|| CalendarVersionRow {
            name: calendar.name.clone(),
            version: 1 + newest.as_ref().map_or(0, |row| row.version),
            status: VersionStatus::Draft,
            title: calendar.title.clone(),
            time_zone: calendar.time_zone.iana_name().unwrap_or_default().to_owned(),
            definition: message.definition.clone(),
            digest,
            published_by: principal.name.to_string(),
            published_at: self.scheduler.clock().now(),
        });
        let mut change = CatalogChange::new(principal.tenant.clone(), snapshot.version);
        let activates = message.activate && row.status != VersionStatus::Active;
        if activates {
            self.retire_calendar(principal, &row, snapshot, &mut change).await?;
            row.status = VersionStatus::Active;
        }
        let changed = activates || same.is_none();
        change.calendars.push(row.clone());
        Ok(Worked { change: changed.then_some(change), answer: to_message(row) })
    }

    /// The version that is active makes room for another.
    async fn retire_calendar(
        &self,
        principal: &Principal,
        successor: &CalendarVersionRow,
        snapshot: &Snapshot,
        change: &mut CatalogChange,
    ) -> Result<(), Status> {
        if let Some(&(active, _)) = snapshot.calendars.active.get(&successor.name)
            && active != successor.version
        {
            let mut row = self.calendar_row(principal, &successor.name, active).await?;
            row.status = VersionStatus::Inactive;
            change.calendars.push(row);
        }
        Ok(())
    }

    /// A version; 0: the newest.
    async fn calendar_row(
        &self,
        principal: &Principal,
        name: &str,
        version: u32,
    ) -> Result<CalendarVersionRow, Status> {
        check_text("name", name, NAME_BYTES_MAX)?;
        let before = (version != 0).then(|| version.saturating_add(1));
        let rows = self.scheduler.store().calendar_versions(&principal.tenant, name, before, 1).await;
        let row = rows.map_err(|error| errors::store(&error))?.into_iter().next();
        row.filter(|row| version == 0 || row.version == version).ok_or_else(|| match version {
            0 => errors::not_found("calendar", name),
            version => errors::not_found("calendar version", &format!("{name} {version}")),
        })
    }
}

fn to_message(row: CalendarVersionRow) -> v1::Calendar {
    v1::Calendar {
        name: row.name,
        version: row.version,
        status: convert::version_status(row.status).into(),
        title: row.title,
        time_zone: row.time_zone,
        definition: row.definition,
        published_by: row.published_by,
        published_at: Some(convert::timestamp(row.published_at)),
    }
}
