//! The call that a client makes for each command.

use futures::{FutureExt as _, future::BoxFuture};
use quorate::proto::{
    v1::{self, job_effect::Effect},
    value,
};
use quorate_engine::{
    command::{Actor, Command, FlowEffect, Migrate, OverrideTarget, Report, ReportOutcome, Submit, UpdateRecord},
    id::{SubmissionId, Token},
    state::{Assignee, Verdict},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    client::{Client, PROCESS, WORKER},
    world::World,
};

/// What a call comes to: the submission that it began, if it began one.
pub(crate) type Call = BoxFuture<'static, Result<Option<SubmissionId>, Status>>;

impl Client<'_> {
    /// The call that a client makes for a command.
    #[allow(clippy::too_many_lines, reason = "an arm for each command: it is read as a table")]
    pub(crate) fn call_of(&self, command: &Command, world: &World) -> Call {
        let id = self.submission.map(|id| id.to_string()).unwrap_or_default();
        macro_rules! call {
            ($client:ident.$method:ident($who:expr, $message:ident { $($field:ident $(: $value:expr)?),* })) => {{
                #[allow(clippy::needless_update, reason = "not all of them have more fields")]
                let message = v1::$message { $($field $(: $value)?,)* request_id: request_id(), ..Default::default() };
                let (mut client, request) = (self.$client(), self.by($who.name.as_str(), message));
                async move { client.$method(request).await.map(|_| None) }.boxed()
            }};
        }
        match command {
            Command::Submit(submit) => self.submit(submit, &id),
            Command::Report(report) => self.report(report),
            Command::Migrate(migrate) => self.migrate(migrate, id),
            Command::UpdateRecord(update) if update.reported.is_some() => self.report_change(update, world),
            Command::UpdateRecord(update) => {
                let data = Some(value::from_json(&update.data));
                let comment = update.comment.clone();
                call!(submissions.update_record(update.by, SubmissionServiceUpdateRecordRequest { id, data, comment }))
            }
            Command::Recall { by, comment } => {
                let comment = comment.clone();
                call!(submissions.recall(by, SubmissionServiceRecallRequest { id, comment }))
            }
            Command::Cancel { by, comment } => {
                let comment = comment.clone();
                call!(submissions.cancel(by, SubmissionServiceCancelRequest { id, comment }))
            }
            Command::Comment { by, comment } => {
                let comment = comment.clone();
                call!(submissions.comment(by, SubmissionServiceCommentRequest { id, comment }))
            }
            Command::Suspend { by, comment } => {
                let comment = comment.clone();
                call!(submissions.suspend(by, SubmissionServiceSuspendRequest { id, comment }))
            }
            Command::Resume { by, comment } => {
                let comment = comment.clone();
                call!(submissions.resume(by, SubmissionServiceResumeRequest { id, comment }))
            }
            Command::GoToStage { by, stage, comment } => {
                let (stage, comment) = (stage.clone(), comment.clone());
                call!(submissions.go_to_stage(by, SubmissionServiceGoToStageRequest { id, stage, comment }))
            }
            Command::RetryStep { by, step } => {
                let step = step.clone();
                call!(submissions.retry_step(by, SubmissionServiceRetryStepRequest { id, step }))
            }
            Command::RetryStage { by, stage } => {
                let stage = stage.clone();
                call!(submissions.retry_step(by, SubmissionServiceRetryStepRequest { id, stage }))
            }
            Command::SkipStep { by, step, outputs, comment } => {
                let (step, comment) = (step.clone(), comment.clone());
                let outputs = Some(value::from_json(outputs));
                call!(submissions.skip_step(by, SubmissionServiceSkipStepRequest { id, step, outputs, comment }))
            }
            Command::Decide(decide) => {
                let by = Actor { name: decide.actor.clone(), administrator: false };
                let id = decide.work_item.to_string();
                let verdict = verdict(decide.verdict).into();
                let (comment, record_digest) = (decide.comment.clone(), decide.record_digest.clone());
                let channel = decide.channel.clone();
                call!(
                    work_items
                        .decide(by, WorkItemServiceDecideRequest { id, verdict, comment, record_digest, channel })
                )
            }
            Command::SubmitScreen(screen) => {
                let decide = &screen.decide;
                let by = Actor { name: decide.actor.clone(), administrator: false };
                let (id, verdict) = (decide.work_item.to_string(), verdict(decide.verdict).into());
                let (comment, record_digest) = (decide.comment.clone(), decide.record_digest.clone());
                let (channel, values) = (decide.channel.clone(), Some(value::from_json(&screen.values)));
                call!(work_items.submit_screen(
                    by,
                    WorkItemServiceSubmitScreenRequest { id, verdict, comment, record_digest, channel, values }
                ))
            }
            Command::ReportScreenFailure { work_item, by } => self.open_screen(by, work_item.to_string()),
            Command::Claim { work_item, by } => {
                let id = work_item.to_string();
                call!(work_items.claim(by, WorkItemServiceClaimRequest { id }))
            }
            Command::Release { work_item, by } => {
                let id = work_item.to_string();
                call!(work_items.release(by, WorkItemServiceReleaseRequest { id }))
            }
            Command::Reassign { work_item, by, to, comment } => {
                let (id, to, comment) = (work_item.to_string(), Some(assignee(to)), comment.clone());
                call!(work_items.reassign(by, WorkItemServiceReassignRequest { id, to, comment }))
            }
            Command::Override(of) => {
                let (id, submission, step) = match &of.target {
                    OverrideTarget::WorkItem(item) => (item.to_string(), String::new(), String::new()),
                    OverrideTarget::Step(step) => (String::new(), id, step.clone()),
                };
                let verdict = verdict(of.verdict).into();
                let (comment, record_digest) = (of.comment.clone(), of.record_digest.clone());
                call!(work_items.r#override(
                    of.by,
                    WorkItemServiceOverrideRequest { id, submission, step, verdict, comment, record_digest }
                ))
            }
            Command::RequestInformation { work_item, by, question } => {
                let (id, question) = (work_item.to_string(), question.clone());
                call!(work_items.request_information(by, WorkItemServiceRequestInformationRequest { id, question }))
            }
            Command::AnswerInformation { work_item, by, answer } => {
                let (id, answer) = (work_item.to_string(), answer.clone());
                call!(work_items.answer_information(by, WorkItemServiceAnswerInformationRequest { id, answer }))
            }
            Command::SendBack { work_item, by, to, comment } => {
                let (id, to, comment) = (work_item.to_string(), to.clone(), comment.clone());
                call!(work_items.send_back(by, WorkItemServiceSendBackRequest { id, to, comment }))
            }
            Command::Wake | Command::JobOverdue { .. } => {
                unreachable!("time passes without a call: {:?}", world.now)
            }
        }
    }

    /// Opens a screen. That it cannot be shown is what is wanted: the server has told its lane then.
    fn open_screen(&self, by: &Actor, id: String) -> Call {
        let message = v1::WorkItemServiceGetScreenRequest { id };
        let (mut client, request) = (self.work_items(), self.by(by.name.as_str(), message));
        async move {
            match client.get_screen(request).await {
                Err(status) if status.get_details_error_info().is_some_and(|info| info.reason == "SCREEN_FAILED") => {
                    Ok(None)
                }
                answer => answer.map(|_| None),
            }
        }
        .boxed()
    }

    fn submit(&self, submit: &Submit, before: &str) -> Call {
        let choices = submit.choices.iter().map(|(step, users)| (step.clone(), v1::Choice { users: users.clone() }));
        let choices = choices.collect();
        let data = Some(value::from_json(&submit.data));
        let mut client = self.submissions();
        let began = |submission: Option<v1::Submission>| Some(submission.unwrap().id.parse().unwrap());
        if submit.before.is_some() {
            let (id, comment) = (before.to_owned(), submit.comment.clone());
            let message = v1::SubmissionServiceResubmitRequest { id, data, comment, choices, request_id: request_id() };
            let request = self.by(submit.submitter.as_str(), message);
            return async move { client.resubmit(request).await.map(|answer| began(answer.into_inner().submission)) }
                .boxed();
        }
        let record =
            v1::Record { r#type: submit.record_type.clone(), id: submit.record_id.clone(), data, ..Default::default() };
        let message = v1::SubmissionServiceSubmitRequest {
            process: PROCESS.to_owned(),
            record: Some(record),
            comment: submit.comment.clone(),
            on_behalf_of: submit.on_behalf_of.as_ref().map(ToString::to_string).unwrap_or_default(),
            request_id: request_id(),
            choices,
        };
        let request = self.by(submit.submitter.as_str(), message);
        async move { client.submit(request).await.map(|answer| began(answer.into_inner().submission)) }.boxed()
    }

    fn migrate(&self, migrate: &Migrate, id: String) -> Call {
        let message = v1::SubmissionServiceMigrateSubmissionRequest {
            id,
            to_version: migrate.to.version,
            stages: migrate.stages.clone(),
            steps: migrate.steps.clone(),
            comment: migrate.comment.clone(),
            validate_only: false,
            request_id: request_id(),
        };
        let (mut client, request) = (self.submissions(), self.by(migrate.by.name.as_str(), message));
        async move { client.migrate_submission(request).await.map(|_| None) }.boxed()
    }

    /// Tells of a change of the record, and takes out what it has come to for this submission.
    fn report_change(&self, update: &UpdateRecord, world: &World) -> Call {
        let record = &world.state.as_ref().unwrap().record;
        let source_version = update.reported.and_then(|reported| reported.source_version).unwrap_or_default();
        let record = v1::Record {
            r#type: record.record_type.clone(),
            id: record.id.clone(),
            data: Some(value::from_json(&update.data)),
            source_version,
            ..Default::default()
        };
        let message = v1::RecordServiceReportChangeRequest {
            record: Some(record),
            kind: v1::ChangeKind::Updated.into(),
            request_id: request_id(),
            ..Default::default()
        };
        let request = self.by(update.by.name.as_str(), message);
        let (mut client, id) = (self.records(), self.submission.unwrap().to_string());
        async move {
            let effects = client.report_change(request).await?.into_inner().effects;
            let effect = effects.iter().find(|effect| effect.submission == id);
            let effect = effect.unwrap_or_else(|| panic!("the change did not reach the submission: {effects:?}"));
            if effect.outcome() == v1::change_effect::Outcome::Refused {
                let details = ErrorDetails::with_error_info(effect.reason.clone(), "quorate", []);
                return Err(Status::with_error_details(Code::FailedPrecondition, effect.message.clone(), details));
            }
            Ok(None)
        }
        .boxed()
    }

    fn report(&self, report: &Report) -> Call {
        // A token of no attempt is one of this submission nevertheless, or it would not come so far.
        let token = match (report.token == World::foreign_token(), self.submission) {
            (true, Some(submission)) => Token::new(submission, u128::MAX),
            (true, None) | (false, _) => report.token.clone(),
        };
        let mut message = v1::JobReport {
            job: report.job.to_string(),
            attempt: report.attempt,
            token: token.reveal().to_owned(),
            ..Default::default()
        };
        let status = match &report.outcome {
            ReportOutcome::Started { worker } => {
                message.worker.clone_from(worker);
                "STARTED"
            }
            ReportOutcome::Heartbeat => "HEARTBEAT",
            ReportOutcome::Completed { output, effects } => {
                message.output = Some(value::from_json(output));
                message.effects = effects.iter().map(effect).collect();
                "COMPLETED"
            }
            ReportOutcome::Failed { code, message: text, retryable } => {
                let (code, text) = (code.clone(), text.clone());
                message.error = Some(v1::JobError { code, message: text, retryable: Some(*retryable) });
                "FAILED"
            }
        };
        status.clone_into(&mut message.status);
        let request = self.by(WORKER, v1::JobServiceReportJobRequest { report: Some(message) });
        let mut client = self.jobs();
        async move { client.report_job(request).await.map(|_| None) }.boxed()
    }
}

fn effect(effect: &FlowEffect) -> v1::JobEffect {
    let effect = match effect {
        FlowEffect::Comment(comment) => Effect::Comment(comment.clone()),
        FlowEffect::RecordPatch(patch) => Effect::RecordPatch(value::from_json(patch)),
        FlowEffect::Emit(event) => Effect::Event(v1::EmittedEvent {
            r#type: event.event_type.clone(),
            source: event.source.clone().unwrap_or_default(),
            subject: event.subject.clone().unwrap_or_default(),
            data: event.data.as_ref().map(value::value_from_json),
            dataschema: event.data_schema.clone().unwrap_or_default(),
        }),
    };
    v1::JobEffect { effect: Some(effect) }
}

fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Who makes the call for a command.
pub(crate) fn caller(command: &Command) -> Option<&str> {
    match command {
        Command::Submit(submit) => Some(submit.submitter.as_str()),
        Command::Decide(decide) => Some(decide.actor.as_str()),
        Command::SubmitScreen(screen) => Some(screen.decide.actor.as_str()),
        Command::UpdateRecord(update) => Some(update.by.name.as_str()),
        Command::Override(of) => Some(of.by.name.as_str()),
        Command::Migrate(migrate) => Some(migrate.by.name.as_str()),
        Command::ReportScreenFailure { by, .. }
        | Command::Recall { by, .. }
        | Command::Cancel { by, .. }
        | Command::Comment { by, .. }
        | Command::RetryStep { by, .. }
        | Command::RetryStage { by, .. }
        | Command::SkipStep { by, .. }
        | Command::Suspend { by, .. }
        | Command::Resume { by, .. }
        | Command::GoToStage { by, .. }
        | Command::Claim { by, .. }
        | Command::Release { by, .. }
        | Command::Reassign { by, .. }
        | Command::RequestInformation { by, .. }
        | Command::AnswerInformation { by, .. }
        | Command::SendBack { by, .. } => Some(by.name.as_str()),
        Command::Report(_) | Command::JobOverdue { .. } | Command::Wake => None,
    }
}

const fn verdict(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Approve => v1::Verdict::Approve,
        Verdict::Reject => v1::Verdict::Reject,
        Verdict::Abstain => v1::Verdict::Abstain,
    }
}

fn assignee(assignee: &Assignee) -> v1::Assignee {
    let (kind, name) = match assignee {
        Assignee::User(name) => (v1::AssigneeKind::User, name),
        Assignee::Group(name) => (v1::AssigneeKind::Group, name),
        Assignee::Queue(name) => (v1::AssigneeKind::Queue, name),
    };
    v1::Assignee { kind: kind.into(), name: name.clone() }
}
