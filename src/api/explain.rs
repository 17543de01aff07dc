//! `SubmissionService.Explain`.

use quorate_engine::{
    Json,
    explain::{About, Reason, explain},
    id::WorkItemId,
    refusal::Refusal,
};
use tonic::{Request, Response, Status};

use crate::{
    auth::Role,
    proto::{v1, value},
};

use super::{
    Api,
    call::{NAME_BYTES_MAX, check_text, parse_id},
    convert, errors,
};

/// Who may ask: those who may read the history.
const READERS: &[Role] = &[Role::Submitter, Role::Reviewer, Role::Designer, Role::Auditor];

/// How much is told in one answer: what a message may hold, and more than anybody reads. Of more, the last.
const EXPLANATIONS_MAX: usize = 2_000;

impl Api {
    pub(super) async fn explanations(
        &self,
        request: Request<v1::SubmissionServiceExplainRequest>,
    ) -> Result<Response<v1::SubmissionServiceExplainResponse>, Status> {
        let (principal, message) = self.caller(request, READERS).await?;
        let id = parse_id("id", &message.id)?;
        check_text("stage", &message.stage, NAME_BYTES_MAX)?;
        check_text("step", &message.step, NAME_BYTES_MAX)?;
        let about = match (message.stage.as_str(), message.step.as_str(), message.work_item.as_str()) {
            ("", "", "") => About::Submission,
            (stage, "", "") => About::Stage(stage),
            ("", step, "") => About::Step(step),
            ("", "", item) => About::WorkItem(WorkItemId(parse_id("work_item", item)?)),
            _ => return Err(errors::invalid_field("step", "ask about one of stage, step and work_item")),
        };
        let events = self.history(&principal.tenant, id).await?;
        if events.is_empty() {
            return Err(errors::rejected(Refusal::SubmissionNotFound.into()));
        }
        let reasons = explain(&events, about).ok_or_else(|| match about {
            About::Submission => errors::rejected(Refusal::SubmissionNotFound.into()),
            About::WorkItem(_) => errors::rejected(Refusal::WorkItemNotFound.into()),
            About::Stage(name) => errors::not_found("run of stage", name),
            About::Step(name) => errors::not_found("run of step", name),
        })?;
        let beyond = reasons.len().saturating_sub(EXPLANATIONS_MAX);
        let explanations = reasons.into_iter().skip(beyond).map(to_message).collect();
        Ok(Response::new(v1::SubmissionServiceExplainResponse { explanations }))
    }
}

pub(super) fn to_message(reason: Reason) -> v1::Explanation {
    let (rule, values) = reason.because.map(|because| (because.rule, because.values)).unwrap_or_default();
    v1::Explanation {
        seq: reason.seq,
        at: Some(convert::timestamp(reason.at)),
        kind: reason.kind,
        stage: reason.stage.unwrap_or_default(),
        step: reason.step.unwrap_or_default(),
        work_item: reason.work_item.map(|id| id.to_string()).unwrap_or_default(),
        text: reason.text,
        rule,
        values: (!values.is_empty()).then(|| value::from_json(&Json::Object(values.into_iter().collect()))),
    }
}
