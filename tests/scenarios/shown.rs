//! A submission as the API shows it, beside the submission as its history gives it.

use quorate::proto::{v1, value};
use quorate_engine::state::{Failure, Submission};

/// What the API shows of a submission, a line for each thing that has a status.
pub(crate) fn shown_lines(shown: &v1::Submission) -> Vec<String> {
    let failure = |failure: Option<&v1::Failure>| failure.map(|failure| failure.reason.clone()).unwrap_or_default();
    let status = short(shown.status().as_str_name(), "SUBMISSION_STATUS_");
    let data = shown.record.as_ref().and_then(|record| record.data.as_ref()).unwrap();
    let data = value::to_json(data, "data").unwrap();
    let mut lines = vec![
        format!("submission {status} {}", failure(shown.failure.as_ref())),
        format!("version {} round {} process {}", shown.version, shown.round, shown.process_version),
        format!("record {} {}", shown.record.as_ref().unwrap().version, data),
        format!("summary {}", shown.summary),
    ];
    for stage in &shown.stages {
        let status = short(stage.status().as_str_name(), "STAGE_RUN_STATUS_");
        lines.push(format!("stage {}#{} {status} {}", stage.name, stage.round, failure(stage.failure.as_ref())));
        for step in &stage.steps {
            let status = short(step.status().as_str_name(), "STEP_RUN_STATUS_");
            lines.push(format!("step {} {status} {}", step.name, failure(step.failure.as_ref())));
            lines.extend(step.work_items.iter().map(|item| {
                let assignee = item.assignee.as_ref().unwrap();
                let kind = short(assignee.kind().as_str_name(), "ASSIGNEE_KIND_").to_lowercase();
                let by = item.decision.as_ref().map(|decision| decision.actor.as_str()).unwrap_or_default();
                let status = short(item.status().as_str_name(), "WORK_ITEM_STATUS_");
                format!("item {} {kind}:{} {status} {by}", item.id, assignee.name)
            }));
        }
    }
    lines
}

/// The same of a submission as its history gives it.
pub(crate) fn state_lines(state: &Submission) -> Vec<String> {
    let failure =
        |failure: Option<&Failure>| failure.map(|failure| failure.reason.as_str().to_owned()).unwrap_or_default();
    let mut lines = vec![
        format!("submission {} {}", state.status, failure(state.failure.as_ref())),
        format!("version {} round {} process {}", state.version, state.round, state.process.version),
        format!("record {} {}", state.record.version, state.record.data),
        format!("summary {}", state.summary),
    ];
    for stage in &state.stage_runs {
        let failed = failure(stage.failure.as_ref());
        lines.push(format!("stage {}#{} {} {failed}", stage.name, stage.round, stage.status));
        for step in &stage.steps {
            lines.push(format!("step {} {} {}", step.name, step.status, failure(step.failure.as_ref())));
            lines.extend(step.work_items.iter().map(|item| {
                let by = item.decision.as_ref().map(|decision| decision.actor.as_str()).unwrap_or_default();
                format!("item {} {} {} {by}", item.id, item.assignee, item.status)
            }));
        }
    }
    lines
}

/// A status without what all of its kind begin with.
pub(crate) fn short<'a>(name: &'a str, kind: &str) -> &'a str {
    name.strip_prefix(kind).unwrap_or(name)
}
