//! What has to hold of every stored submission, whatever happened to it.

use std::{collections::BTreeMap, sync::Arc};

use quorate::TENANT;
use quorate_engine::{
    event::{Event, EventKind},
    evolve,
    id::{StepRunId, SubmissionId, Tenant},
    projection::project,
    status::JobStatus,
};
use quorate_store::{
    Store, log,
    log::StoredEvent,
    query::{PAGE_SIZE_MAX, SubmissionQuery},
};

/// The whole history of a submission, after checking that
/// it is as it was written, and that its replay gives the stored projection.
pub(crate) async fn verified_history(store: &Arc<dyn Store>, id: &str) -> Vec<Event> {
    let (tenant, id) = (Tenant::from(TENANT), id.parse().unwrap());
    let (stored, projection) = loop {
        let stored = history(store, &tenant, id).await;
        let projection = store.projection(&tenant, id).await.unwrap().unwrap();
        // What happened between the two is only in the second: both are read anew.
        if store.history(&tenant, id, stored.len() as u64, PAGE_SIZE_MAX).await.unwrap().is_empty() {
            break (stored, projection);
        }
    };
    log::verify(id, &stored).unwrap_or_else(|seq| panic!("event {seq} of {id} is not as it was written"));
    let events: Vec<Event> = stored.iter().map(|event| event.to_event().unwrap()).collect();
    let state = evolve::replay(&events).unwrap();
    assert_eq!(projection, project(&state), "the stored rows of {id} are not those of its history");
    events
}

async fn history(store: &Arc<dyn Store>, tenant: &Tenant, id: SubmissionId) -> Vec<StoredEvent> {
    let mut events = Vec::new();
    loop {
        let page = store.history(tenant, id, events.len() as u64, PAGE_SIZE_MAX).await.unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// The kinds of a history, in order.
pub(crate) fn kinds(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.kind.to_parts().0).collect()
}

/// Each step run completed at most once, each job at most once, and no result was applied to what had ended.
pub(crate) fn each_result_was_applied_once(events: &[Event]) {
    let mut steps: BTreeMap<StepRunId, u32> = BTreeMap::new();
    let mut scheduled = BTreeMap::new();
    for event in events {
        match &event.kind {
            EventKind::JobScheduled { job, .. } => assert_eq!(scheduled.insert(*job, 0), None),
            EventKind::JobCompleted { job, .. } => *scheduled.get_mut(job).unwrap() += 1,
            EventKind::StepCompleted { step_run, .. } => *steps.entry(*step_run).or_default() += 1,
            _ => {}
        }
    }
    assert!(scheduled.values().all(|count| *count == 1), "{scheduled:?}");
    assert!(steps.values().all(|count| *count == 1), "{steps:?}");
}

/// The ids of all submissions.
pub(crate) async fn all_submissions(store: &Arc<dyn Store>) -> Vec<String> {
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let query = SubmissionQuery {
            tenant: TENANT.into(),
            process: None,
            status: None,
            submitter: None,
            record_type: None,
            record_id: None,
            descending: false,
            after,
            limit: PAGE_SIZE_MAX,
        };
        let page = store.list_submissions(&query).await.unwrap();
        let Some(last) = page.last() else { return ids };
        after = Some((last.submitted_at, last.id));
        ids.extend(page.iter().map(|row| row.id.to_string()));
    }
}

/// How many jobs are open.
pub(crate) async fn open_jobs(store: &Arc<dyn Store>) -> Vec<(JobStatus, u64)> {
    let counts = store.count_jobs(&TENANT.into()).await.unwrap();
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}
