//! `ProcessService.Preview`.

use std::{collections::BTreeMap, sync::Arc};

use quorate_engine::{
    Json,
    command::Submit,
    context::Context,
    definition::{Process, STAGES_MAX, STEPS_MAX, read_process},
    directory::check_name,
    id::{SubmissionId, UserName},
    preview::{NotStarted, Preview, preview},
    state::VersionRef,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    auth::{Principal, Role},
    clock::RandomIds,
    proto::{v1, value},
    scheduler::{Rejection, catalog::Snapshot},
};

use super::{
    Api,
    call::{NAME_BYTES_MAX, check_text},
    catalog::{KnownIn, check_definition, refuse},
    convert, errors, explain,
    submission::{choices, record_data},
};

/// For how many steps outputs may be stated: for every step that a process may have.
const OUTPUTS_MAX: usize = STAGES_MAX * STEPS_MAX;

impl Api {
    pub(super) async fn look_ahead(
        &self,
        request: Request<v1::ProcessServicePreviewRequest>,
    ) -> Result<Response<v1::ProcessServicePreviewResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Designer, Role::Submitter]).await?;
        let snapshot = self.scheduler.catalog().current(&principal.tenant).await;
        let snapshot = snapshot.map_err(|error| errors::store(&error))?;
        let (version, process) = self.process_to_preview(&principal, &message, &snapshot).await?;
        let outputs = outputs(&message.outputs)?;
        let submit = submit(&principal, message, version)?;
        let now = self.scheduler.clock().now();
        // Some seconds of work at the worst, which would hold up others here.
        let told = tokio::task::spawn_blocking(move || {
            let mut context = Context {
                now,
                process: &process,
                flows: &snapshot.flows,
                calendars: &snapshot.calendars,
                directory: &snapshot.directory,
                ids: &mut RandomIds,
            };
            preview(&submit, &outputs, &mut context)
        });
        let told = told.await.map_err(|_| errors::rejected(Rejection::Internal))?;
        Ok(Response::new(to_message(told.map_err(|refusal| errors::rejected(refusal.into()))?)))
    }

    /// The definition that is given, or else a version that is stored.
    async fn process_to_preview(
        &self,
        principal: &Principal,
        message: &v1::ProcessServicePreviewRequest,
        snapshot: &Arc<Snapshot>,
    ) -> Result<(VersionRef, Arc<Process>), Status> {
        if !message.definition.is_empty() {
            if !message.name.is_empty() {
                return Err(errors::invalid_field("definition", "give either this or `name`"));
            }
            check_definition(&message.definition)?;
            let read = read_process(&message.definition, &KnownIn::of(snapshot));
            let (process, _) = read.map_err(|complaints| refuse(&complaints))?;
            return Ok((VersionRef { name: process.name.clone(), version: 0 }, Arc::new(process)));
        }
        check_text("name", &message.name, NAME_BYTES_MAX)?;
        let name = message.name.clone();
        let active = || snapshot.active_processes.get(&name).copied();
        let version = if message.version == 0 { active() } else { Some(message.version) };
        let Some(version) = version else { return Err(errors::rejected(Rejection::ProcessNotActive(name))) };
        let reference = VersionRef { name, version };
        let process = self.scheduler.catalog().process(&principal.tenant, &reference).await;
        let process = process.map_err(|error| errors::store(&error))?;
        let missing = || errors::not_found("process version", &format!("{} {version}", reference.name));
        Ok((reference.clone(), process.ok_or_else(missing)?))
    }
}

fn submit(
    principal: &Principal,
    message: v1::ProcessServicePreviewRequest,
    process: VersionRef,
) -> Result<Submit, Status> {
    let person = |field: &str, name: &str| {
        check_name(name).map_err(|error| errors::invalid_field(field, error.to_string()))?;
        Ok::<_, Status>(UserName::from(name))
    };
    let submitter = match message.submitter.as_str() {
        "" => principal.name.clone(),
        name if name != principal.name.as_str() && !principal.has_any(&[Role::Designer]) => {
            return Err(errors::role_missing("designer, to look on behalf of another submitter"));
        }
        name => person("submitter", name)?,
    };
    let on_behalf_of = match message.on_behalf_of.as_str() {
        "" => None,
        name => Some(person("on_behalf_of", name)?),
    };
    check_text("record_type", &message.record_type, NAME_BYTES_MAX)?;
    Ok(Submit {
        tenant: principal.tenant.clone(),
        id: SubmissionId(Uuid::now_v7()),
        process,
        record_type: message.record_type,
        record_id: "preview".to_owned(),
        data: Arc::new(record_data("data", &message.data.unwrap_or_default())?),
        submitter,
        on_behalf_of,
        comment: String::new(),
        choices: choices(message.choices)?,
        source_version: None,
        administrator: false,
        before: None,
        traceparent: None,
    })
}

fn outputs(given: &BTreeMap<String, prost_types::Struct>) -> Result<BTreeMap<String, Json>, Status> {
    if given.len() > OUTPUTS_MAX {
        return Err(errors::invalid_field(
            "outputs",
            format!("are {}: at most {OUTPUTS_MAX} are allowed", given.len()),
        ));
    }
    given.iter().map(|(step, data)| Ok((step.clone(), record_data(&format!("outputs.{step}"), data)?))).collect()
}

fn to_message(told: Preview) -> v1::ProcessServicePreviewResponse {
    let line = |line: quorate_engine::preview::Line| v1::PreviewLine {
        explanation: Some(explain::to_message(line.reason)),
        assumed: line.assumed,
    };
    let unstarted = |NotStarted { stage, step, because }: NotStarted| {
        let (rule, values) = because.map(|because| (because.rule, because.values)).unwrap_or_default();
        let values = (!values.is_empty()).then(|| value::from_json(&Json::Object(values.into_iter().collect())));
        v1::UnstartedStep { stage, step, rule, values }
    };
    v1::ProcessServicePreviewResponse {
        status: convert::submission_status(told.status).into(),
        lines: told.lines.into_iter().map(line).collect(),
        not_started: told.not_started.into_iter().map(unstarted).collect(),
        stopped: told.stopped.unwrap_or_default(),
    }
}
