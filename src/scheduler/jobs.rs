//! Jobs as they go out: the message of a job row.

use jiff::{SignedDuration, Timestamp};
use quorate_engine::{
    id::{SubmissionId, Tenant},
    projection::{JobRow, milliseconds},
};

use crate::proto::{v1::Job, value};

/// A started attempt reports this often within the silence it is allowed.
const HEARTBEATS_PER_TIMEOUT: i32 = 3;

/// The message of a job. `workflow` is what its flow's definition holds, or nothing.
pub(super) fn message(tenant: &Tenant, submission: SubmissionId, row: &JobRow, workflow: &str) -> Job {
    let retry = &row.spec.retry;
    Job {
        job: row.id.to_string(),
        attempt: row.attempt,
        token: row.token.clone(),
        kind: row.spec.kind.as_str().to_owned(),
        flow: row.spec.flow.name.clone(),
        flow_version: row.spec.flow.version,
        task_queue: row.spec.task_queue.clone(),
        tenant: tenant.to_string(),
        submission: submission.to_string(),
        process: row.process.clone(),
        stage: row.stage.clone(),
        step: row.step.clone(),
        input: Some(value::from_json(&row.spec.input)),
        deadline: row.deadline.map(timestamp),
        timeout: Some(duration(milliseconds(retry.timeout))),
        heartbeat_interval: row.heartbeat_timeout.map(|timeout| duration(timeout / HEARTBEATS_PER_TIMEOUT)),
        traceparent: row.spec.traceparent.as_ref().map(ToString::to_string).unwrap_or_default(),
        workflow: workflow.to_owned(),
    }
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

fn duration(duration: SignedDuration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs(), nanos: duration.subsec_nanos() }
}
