//! Screens: what a reviewer is shown and asked, what they filled in, and a screen flow that fails (DESIGN 2.3, 2.5).

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    Json,
    command::{Actor, SubmitScreen},
    context::Flows,
    definition::{Flow, Page, Process, screen_violations},
    directory::Directory,
    expression::{Expression, Value, Variables},
    id::{StepRunId, WorkItemId},
    refusal::Refusal,
    state::{Failure, FailureReason, StepRun, Submission, VersionRef},
    status::StepRunStatus,
};

use super::{
    authorize::{Deciding, authorize_decision},
    check_in_progress, check_open,
    conditions::variables,
    draft::Draft,
};

/// How large what a screen flow shows may be as JSON, in bytes: it has to fit into one answer with all that surrounds it.
pub const SCREEN_BYTES_MAX: usize = 200 * 1024;

/// How large what a reviewer filled in may be as JSON, in bytes: it stays with the submission for good, and each of a step's
/// reviewers may fill in so much.
pub const SCREEN_VALUES_BYTES_MAX: usize = 64 * 1024;

/// What a reviewer is shown and asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Screen {
    /// The version of the screen flow that the step is bound to.
    pub flow: VersionRef,
    /// The digest of the record that is shown.
    pub record_digest: String,
    /// In the order of the reviewer's way through them. Empty: nothing but the decision is asked.
    pub pages: Vec<OpenPage>,
}

/// One of the screens, with the values of the submission.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenPage {
    /// Unique in its flow.
    pub name: String,
    /// For people.
    pub title: String,
    /// What the reviewer is to do; empty: nothing is said.
    pub description: String,
    /// What is shown: labels and values.
    pub shown: Vec<(String, Json)>,
    /// The JSON Schema of the fields; `None`: nothing is asked.
    pub schema: Option<Json>,
    /// What the fields hold at first, by their names.
    pub values: Json,
}

/// What is looked at to open a screen. Nothing is changed by it.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// The submission.
    pub state: &'a Submission,
    /// The process version that it is on.
    pub process: &'a Process,
    /// The flows.
    pub flows: &'a Flows,
    /// The people.
    pub directory: &'a Directory,
    /// The time.
    pub now: Timestamp,
}

/// Opens the screen of a work item: for those who may decide it, and administrators.
pub fn open_screen(opening: &Opening<'_>, work_item: WorkItemId, by: &Actor) -> Result<Screen, Refusal> {
    let Opening { state, process, flows, directory, now } = *opening;
    let (_, step, item) = state.work_item(work_item).ok_or(Refusal::WorkItemNotFound)?;
    match authorize_decision(&Deciding { state, process, step, item: Some(item), directory, now }, &by.name) {
        Ok(_) => {}
        Err(_) if by.administrator => {}
        Err(refusal) => return Err(refusal),
    }
    check_open(item)?;
    check_in_progress(state)?;
    let (flow, definition) = screen_flow(step, flows)?;
    let record = Value::from_json(&state.record.data, &process.record.expression_type);
    let variables = variables(process, state, record, now);
    let failed = |why: String| Refusal::ScreenFailed { flow: format!("`{}` version {}", flow.name, flow.version), why };
    let pages: Vec<_> =
        definition.screens.iter().map(|page| open_page(page, &variables)).collect::<Result<_, _>>().map_err(failed)?;
    let bytes: usize = pages.iter().map(OpenPage::bytes).sum();
    if bytes > SCREEN_BYTES_MAX {
        return Err(failed(format!("what it shows is {bytes} bytes long: at most {SCREEN_BYTES_MAX} are allowed")));
    }
    Ok(Screen { flow: flow.clone(), record_digest: state.record.digest.clone(), pages })
}

fn open_page(page: &Page, variables: &Variables) -> Result<OpenPage, String> {
    let value_of = |what: &str, expression: &Expression| {
        let value = expression.eval(variables).and_then(|value| value.to_json());
        value.map_err(|error| {
            format!("screen `{}`, {what}: expression `{}` failed: {error}", page.name, expression.source())
        })
    };
    let shown = page.show.iter().map(|shown| {
        let value = value_of(&format!("`{}`", shown.label), &shown.value)?;
        Ok((shown.label.clone(), value))
    });
    let shown = shown.collect::<Result<_, String>>()?;
    let prefill = page.fields.iter().flat_map(|fields| &fields.prefill);
    let values =
        prefill.map(|(name, expression)| Ok((name.clone(), value_of(&format!("field `{name}`"), expression)?)));
    let values = values.collect::<Result<_, String>>()?;
    Ok(OpenPage {
        name: page.name.clone(),
        title: page.title.clone(),
        description: page.description.clone(),
        shown,
        schema: page.fields.as_ref().map(|fields| fields.schema.clone()),
        values: Json::Object(values),
    })
}

impl OpenPage {
    fn bytes(&self) -> usize {
        let shown: usize = self.shown.iter().map(|(_, value)| value.to_string().len()).sum();
        shown + self.values.to_string().len()
    }
}

/// The screen flow that a step is bound to.
fn screen_flow<'a>(step: &'a StepRun, flows: &'a Flows) -> Result<(&'a VersionRef, &'a Flow), Refusal> {
    let missing = || Refusal::ScreenMissing { step: step.name.clone() };
    let version = step.screen.as_ref().ok_or_else(missing)?;
    let flow = flows.versions.get(version).ok_or_else(missing)?;
    Ok((version, flow))
}

/// A decision, and what its reviewer filled in.
pub(super) fn submit_screen(draft: &mut Draft<'_, '_>, command: &SubmitScreen) -> Result<(), Refusal> {
    super::decide_work_item(draft, &command.decide, Some(&command.values))
}

/// Refuses what does not fit the fields of a step's screens.
pub(super) fn check_values(draft: &Draft<'_, '_>, step: &StepRun, values: &Json) -> Result<(), Refusal> {
    let (_, flow) = screen_flow(step, draft.context.flows)?;
    if values.to_string().len() > SCREEN_VALUES_BYTES_MAX {
        return Err(Refusal::TooLong { field: "values", max: SCREEN_VALUES_BYTES_MAX });
    }
    let none = serde_json::Map::new();
    let violations = screen_violations(&flow.screens, values.as_object().unwrap_or(&none));
    if violations.is_empty() { Ok(()) } else { Err(Refusal::ScreenValuesInvalid { violations }) }
}

/// Somebody could not be shown a screen. That it fails is found out here once more: nobody stops a step by saying so. What opens
/// after all changes nothing.
pub(super) fn report_failure(draft: &mut Draft<'_, '_>, work_item: WorkItemId, by: &Actor) -> Result<(), Refusal> {
    let super::Context { process, flows, directory, now, .. } = *draft.context;
    let opened = open_screen(&Opening { state: &draft.state, process, flows, directory, now }, work_item, by);
    let failure = match opened {
        Ok(_) => return Ok(()),
        Err(failed @ Refusal::ScreenFailed { .. }) => {
            Failure { reason: FailureReason::ScreenFailed, message: failed.to_string() }
        }
        Err(refusal) => return Err(refusal),
    };
    let Some(step_run) = draft.state.work_item(work_item).map(|(_, step, _)| step.id) else {
        return Err(Refusal::WorkItemNotFound);
    };
    draft.fail_step(step_run, failure);
    draft.progress();
    Ok(())
}

impl Draft<'_, '_> {
    /// The version of a step's screen flow that is active now.
    pub(super) fn bind_screen(&self, screen: Option<&String>) -> Result<Option<VersionRef>, Failure> {
        let Some(name) = screen else { return Ok(None) };
        let Some((version, _)) = self.context.flows.active(name) else {
            let message = format!("screen flow `{name}` has no active version");
            return Err(Failure { reason: FailureReason::FlowNotActive, message });
        };
        Ok(Some(version))
    }

    /// The version that a step is bound to when it is brought back: the one that is active now, so that a flow that failed can be
    /// mended; none where the one that it has stays.
    pub(super) fn rebind_screen(&self, step_run: StepRunId) -> Option<VersionRef> {
        let (_, run) = self.state.step_run(step_run)?;
        let bound = run.screen.as_ref()?;
        let (active, _) = self.context.flows.active(&bound.name)?;
        (active != *bound).then_some(active)
    }
}

impl Submission {
    /// The versions of screen flows that steps in progress are bound to.
    pub fn screens(&self) -> impl Iterator<Item = &VersionRef> {
        let steps = self.stage_runs.iter().flat_map(|stage| &stage.steps);
        steps.filter(|step| step.status == StepRunStatus::InProgress).filter_map(|step| step.screen.as_ref())
    }
}

/// What a decision keeps of it; nothing is nothing to keep.
pub(super) fn kept(values: Option<&Arc<Json>>) -> Option<Arc<Json>> {
    values.filter(|values| values.as_object().is_some_and(|fields| !fields.is_empty())).cloned()
}
