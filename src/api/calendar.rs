//! `CalendarService`.

use std::sync::Arc;

use quorate_engine::{calendar::Calendar, definition::read_calendar, status::VersionStatus};
use quorate_store::catalog::CalendarVersionRow;
use tonic::{Request, Response, Status};

use crate::{
    auth::{Principal, Role},
    proto::v1::{self, calendar_service_server::CalendarService},
    scheduler::catalog::Snapshot,
};

use super::{
    Api,
    call::{check_text, request_key},
    catalog::{DEFINITION_BYTES_MAX, Worked, check_definition, digest, refuse},
    convert, errors, pages,
    versions::Version,
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
            let row: CalendarVersionRow = self.version(principal, &message.name, message.version).await?;
            let (change, row) = self.activate_version(principal, &snapshot, row).await?;
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
                CalendarVersionRow::active(&snapshot, &message.name).unwrap_or_default()
            }
            version => version,
        };
        let row = self.version(&principal, &message.name, version).await?;
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
    async fn publish_calendar(
        &self,
        principal: &Principal,
        message: &v1::CalendarServicePublishRequest,
        calendar: &Calendar,
        snapshot: &Snapshot,
    ) -> Result<Worked<v1::Calendar>, Status> {
        // YAML can write characters that stand nowhere in its text.
        check_text("definition", &calendar.title, DEFINITION_BYTES_MAX)?;
        let digest = digest(&message.definition);
        let make = |version| CalendarVersionRow {
            name: calendar.name.clone(),
            version,
            status: VersionStatus::Draft,
            title: calendar.title.clone(),
            time_zone: calendar.time_zone.iana_name().unwrap_or_default().to_owned(),
            definition: message.definition.clone(),
            digest,
            published_by: principal.name.to_string(),
            published_at: self.scheduler.clock().now(),
        };
        let wanted = (calendar.name.as_str(), &digest, message.activate);
        let (change, row) = self.publish_version(principal, snapshot, wanted, make).await?;
        Ok(Worked { change, answer: to_message(row) })
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
