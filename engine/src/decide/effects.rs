//! What a flow does to its submission besides returning something: comments, a change of the record, events for other systems. It
//! is applied with the flow's result, all of it or nothing, and exactly once as the result is.

use crate::{
    Json,
    command::FlowEffect,
    event::EventKind,
    id::{StepRunId, UserName},
    refusal::Refusal,
    state::Job,
};

use super::{
    check_comment, check_history,
    draft::Draft,
    record::{FlowChange, apply_change_of_flow, change_by_flow},
};

/// Who is told to have done what a flow did. No user and no service is called so: their names have no spaces.
pub fn flow_author(flow: &str) -> UserName {
    UserName(format!("flow {flow}"))
}

/// The change of the record that the effects of one result come to together, and the place of the last patch among them.
pub(super) struct Planned {
    change: Option<(usize, FlowChange)>,
}

impl Draft<'_, '_> {
    /// What effects come to, or why none of them can be applied. All patches of a result are one change of the record, so that
    /// what lies between them need not be a record that the process takes.
    pub(super) fn plan_effects(&self, effects: &[FlowEffect]) -> Result<Planned, Refusal> {
        if effects.is_empty() {
            return Ok(Planned { change: None });
        }
        check_history(&self.state)?;
        let mut patched: Option<(usize, Json)> = None;
        for (place, effect) in effects.iter().enumerate() {
            match effect {
                FlowEffect::Comment(comment) if comment.trim().is_empty() => return Err(Refusal::CommentMissing),
                FlowEffect::Comment(comment) => check_comment("comment", comment)?,
                FlowEffect::Emit(_) => {}
                FlowEffect::RecordPatch(patch) => {
                    let mut data = patched.map_or_else(|| Json::clone(&self.state.record.data), |(_, data)| data);
                    merge(&mut data, patch);
                    patched = Some((place, data));
                }
            }
        }
        let Some((place, data)) = patched else { return Ok(Planned { change: None }) };
        let change = change_by_flow(self, data)?;
        Ok(Planned { change: change.map(|change| (place, change)) })
    }

    /// Applies effects in their order. Where the record's change dismisses decisions, their stage starts again after all of them.
    pub(super) fn apply_effects(&mut self, job: &Job, step_run: StepRunId, effects: &[FlowEffect], planned: Planned) {
        let by = flow_author(&job.spec.flow.name);
        let Planned { mut change } = planned;
        let mut back_to = None;
        for (place, effect) in effects.iter().enumerate() {
            match effect {
                FlowEffect::Comment(comment) => {
                    self.emit(EventKind::Commented { by: by.clone(), comment: comment.clone() });
                }
                FlowEffect::RecordPatch(_) => {
                    if let Some((_, change)) = change.take_if(|(of, _)| *of == place) {
                        back_to = apply_change_of_flow(self, by.clone(), change);
                    }
                }
                FlowEffect::Emit(event) => {
                    let (flow, event) = (job.spec.flow.clone(), event.clone());
                    self.emit(EventKind::FlowEventEmitted { job: job.id, step_run, flow, event });
                }
            }
        }
        if let Some(index) = back_to {
            self.go_back_to(index);
        }
    }
}

/// Merges a patch into data (RFC 7396): `null` takes a field away, an object is merged into what there is, all else replaces it.
/// Both have the bounded depth of what came in over the API.
fn merge(data: &mut Json, patch: &Json) {
    let Json::Object(patch) = patch else {
        data.clone_from(patch);
        return;
    };
    if !data.is_object() {
        *data = Json::Object(serde_json::Map::new());
    }
    let Some(fields) = data.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Json::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::merge;

    #[test]
    fn a_patch_is_merged_as_its_standard_shows() {
        // RFC 7396, appendix A.
        for (mut data, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            merge(&mut data, &patch);
            assert_eq!(data, result);
        }
    }
}
