//! `RecordService`.

use std::sync::Arc;

use quorate_engine::{directory::check_name, id::UserName, trigger::ChangeKind};
use tonic::{Request, Response, Status};

use crate::{
    auth::Role,
    proto::v1::{self, record_service_server::RecordService},
    scheduler::records::{RecordChange, answer_of},
};

use super::{
    Api,
    call::{NAME_BYTES_MAX, check_text, request_key},
    errors,
    submission::record_data,
};

#[tonic::async_trait]
impl RecordService for Api {
    async fn report_change(
        &self,
        request: Request<v1::RecordServiceReportChangeRequest>,
    ) -> Result<Response<v1::RecordServiceReportChangeResponse>, Status> {
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
        let on_behalf_of = match message.on_behalf_of.as_str() {
            "" => None,
            name => {
                check_name(name).map_err(|error| errors::invalid_field("on_behalf_of", error.to_string()))?;
                Some(UserName::from(name))
            }
        };
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
        };
        let effects = self.scheduler.report_change(&change).await.map_err(errors::rejected)?;
        Ok(Response::new(answer_of(&effects)))
    }
}
