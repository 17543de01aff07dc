//! `SubmissionService.MigrateSubmission`.

use std::collections::BTreeMap;

use quorate_engine::{
    command::{Command, Migrate},
    definition::{STAGES_MAX, STEPS_MAX},
    id::SubmissionId,
    state::VersionRef,
};
use tonic::{Request, Response, Status};

use crate::{auth::Role, proto::v1};

use super::{
    Api,
    call::{NAME_BYTES_MAX, check_text, parse_id, request_key},
    convert, errors,
    submission::comment,
};

/// How many names a mapping may hold: those of every stage, and those of every step that a process may have.
const STAGES_MAPPED_MAX: usize = STAGES_MAX;
const STEPS_MAPPED_MAX: usize = STAGES_MAX * STEPS_MAX;

impl Api {
    pub(super) async fn move_submission(
        &self,
        request: Request<v1::SubmissionServiceMigrateSubmissionRequest>,
    ) -> Result<Response<v1::SubmissionServiceMigrateSubmissionResponse>, Status> {
        let (principal, message) = self.caller(request, &[Role::Administrator]).await?;
        let id: SubmissionId = parse_id("id", &message.id)?;
        check_names("stages", &message.stages, STAGES_MAPPED_MAX)?;
        check_names("steps", &message.steps, STEPS_MAPPED_MAX)?;
        // A submission is never of another process than it was.
        let state = self.submission(&principal.tenant, id).await?;
        let name = state.process.name.clone();
        let catalog = self.scheduler.catalog();
        let version = match message.to_version {
            0 => {
                let snapshot = catalog.current(&principal.tenant).await.map_err(|error| errors::store(&error))?;
                snapshot.active_processes.get(&name).copied()
            }
            version => Some(version),
        };
        let Some(version) = version else {
            return Err(errors::rejected(crate::scheduler::Rejection::ProcessNotActive(name)));
        };
        let to = VersionRef { name, version };
        let process = catalog.process(&principal.tenant, &to).await.map_err(|error| errors::store(&error))?;
        let process =
            process.ok_or_else(|| errors::not_found("process version", &format!("{} {}", to.name, to.version)))?;
        let command = Command::Migrate(Box::new(Migrate {
            by: principal.actor(),
            to,
            process,
            stages: message.stages.clone(),
            steps: message.steps.clone(),
            comment: comment(&message.comment)?,
        }));
        if message.validate_only {
            let tried = self.scheduler.rehearse(&principal.tenant, &state, &command).await;
            let tried = tried.map_err(errors::rejected)?;
            let events =
                (state.version + 1..).zip(&tried.events).map(|(seq, event)| convert::unstored_event(seq, event));
            let (events, submission) = (events.collect(), Some(convert::submission(&tried.state)));
            return Ok(Response::new(v1::SubmissionServiceMigrateSubmissionResponse { submission, events }));
        }
        let key = request_key(&principal, &message.request_id, "MigrateSubmission", &message)?;
        let submission = Some(self.command(&principal, &message.id, command, key).await?);
        Ok(Response::new(v1::SubmissionServiceMigrateSubmissionResponse { submission, events: Vec::new() }))
    }
}

fn check_names(field: &str, names: &BTreeMap<String, String>, max: usize) -> Result<(), Status> {
    if names.len() > max {
        return Err(errors::invalid_field(field, format!("are {}: at most {max} are allowed", names.len())));
    }
    for (old, new) in names {
        check_text(field, old, NAME_BYTES_MAX)?;
        check_text(&format!("{field}.{old}"), new, NAME_BYTES_MAX)?;
    }
    Ok(())
}
