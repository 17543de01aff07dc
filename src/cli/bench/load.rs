//! Submitting at a pace, and following each submission to its end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use prost_types::Struct;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tonic::Status;

use crate::{
    cli::{
        bench::{
            lock,
            report::{Recorder, Sample},
            workload::Workload,
        },
        failure::reason,
        output::status_name,
        watch::Until,
    },
    client::{Client, request_id},
    proto::v1::{
        Record, Submission, SubmissionServiceSubmitRequest, SubmissionServiceWatchRequest, SubmissionStatus, Verdict,
        WorkItemServiceDecideRequest, WorkItemStatus,
    },
};

/// How many submissions may be under way where the rate is fixed. Beyond it the next one waits, and its wait counts.
const IN_FLIGHT_MAX: usize = 10_000;

/// When the next submission begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// When its time has come: so many a second.
    Open { rate: f64 },
    /// When one of so many has ended.
    Closed { concurrency: u32 },
}

/// The connections, and what to do on them.
pub(crate) struct Load {
    pub(crate) workload: Workload,
    pub(crate) callers: Vec<Client>,
    pub(crate) watchers: Vec<Client>,
    pub(crate) reviewers: Vec<Client>,
}

/// Submits until the window ends, then waits for what is under way, at most for `drain`.
pub(crate) async fn drive(load: Arc<Load>, pace: Pace, drain: Duration, recorder: Arc<Mutex<Recorder>>) {
    let end = lock(&recorder).window().end;
    let mut tasks = JoinSet::new();
    let mut schedule = None;
    let work = async {
        match pace {
            Pace::Closed { concurrency } => submit_closed(&load, concurrency, end, &recorder, &mut tasks),
            Pace::Open { rate } => {
                let schedule = schedule.insert(begin_schedule(rate, Instant::now(), end));
                submit_open(&load, schedule, &recorder, &mut tasks).await;
            }
        }
        while tasks.join_next().await.is_some() {}
    };
    // What is still under way then has begun and not ended, which the report shows.
    let _ = timeout_at(end + drain, work).await;
    tasks.abort_all();
    if let Some(mut schedule) = schedule {
        while let Ok((_, at)) = schedule.try_recv() {
            lock(&recorder).begin(at);
        }
    }
}

fn submit_closed(
    load: &Arc<Load>,
    concurrency: u32,
    end: Instant,
    recorder: &Arc<Mutex<Recorder>>,
    tasks: &mut JoinSet<()>,
) {
    for first in 0..concurrency {
        let (load, recorder) = (Arc::clone(load), Arc::clone(recorder));
        tasks.spawn(async move {
            let mut number = first;
            loop {
                let begun = Instant::now();
                if begun >= end {
                    return;
                }
                lock(&recorder).begin(begun);
                load.measure(number, begun, &recorder).await;
                number = number.wrapping_add(concurrency);
            }
        });
    }
}

async fn submit_open(
    load: &Arc<Load>,
    schedule: &mut Schedule,
    recorder: &Arc<Mutex<Recorder>>,
    tasks: &mut JoinSet<()>,
) {
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    while let Some((number, at)) = schedule.recv().await {
        lock(recorder).begin(at);
        // The semaphore is never closed; were it, this one would be reported as unfinished.
        let Ok(permit) = Arc::clone(&places).acquire_owned().await else { continue };
        let (load, recorder) = (Arc::clone(load), Arc::clone(recorder));
        tasks.spawn(async move {
            load.measure(number, at, &recorder).await;
            drop(permit);
        });
        while tasks.try_join_next().is_some() {}
    }
}

/// The numbers and times of the submissions that are due. Not bounded, or the schedule would wait for the server; it holds
/// no more than the rate times the time, at 16 bytes each.
type Schedule = mpsc::UnboundedReceiver<(u32, Instant)>;

/// Sends the number and the time of each submission when its time has come. On a thread of its own: the runtime's timers
/// tick in milliseconds, and a millisecond is a good part of what is to be measured.
fn begin_schedule(rate: f64, start: Instant, end: Instant) -> Schedule {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::task::spawn_blocking(move || {
        for number in 0.. {
            let at = start + Duration::from_secs_f64(f64::from(number) / rate);
            if at >= end {
                return;
            }
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if sender.send((number, at)).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Load {
    async fn measure(&self, number: u32, begun: Instant, recorder: &Mutex<Recorder>) {
        let mut submitted = false;
        let result = self.run(number, &mut submitted).await;
        lock(recorder).end(Sample { begun, ended: Instant::now(), submitted, result });
    }

    /// One submission, to its approval, or else the reason why it was not approved.
    async fn run(&self, number: u32, submitted: &mut bool) -> Result<(), String> {
        let why = |status: Status| reason(&status);
        let record = Record { id: format!("bench-{number}"), data: Some(Struct::default()), ..Record::default() };
        let request = SubmissionServiceSubmitRequest {
            process: self.workload.process().to_owned(),
            record: Some(record),
            request_id: request_id(),
            ..SubmissionServiceSubmitRequest::default()
        };
        let answer = pick(&self.callers, number).submissions().submit(request).await.map_err(why)?.into_inner();
        let submission = answer.submission.ok_or_else(|| "NO_ANSWER".to_owned())?;
        *submitted = true;
        if Until::Halted.is_reached(submission.status()) {
            return approved(submission.status());
        }
        let request = SubmissionServiceWatchRequest { id: submission.id };
        let mut stream = pick(&self.watchers, number).submissions().watch(request).await.map_err(why)?.into_inner();
        let mut decided = self.workload != Workload::W2;
        while let Some(answer) = stream.message().await.map_err(why)? {
            let Some(submission) = answer.submission else { continue };
            if Until::Halted.is_reached(submission.status()) {
                return approved(submission.status());
            }
            if !decided && let Some(decision) = decision(&submission) {
                pick(&self.reviewers, number).work_items().decide(decision).await.map_err(why)?;
                decided = true;
            }
        }
        Err("STREAM_ENDED".to_owned())
    }
}

/// The connections take turns.
fn pick(clients: &[Client], number: u32) -> &Client {
    &clients[usize::try_from(number).unwrap_or_default() % clients.len()]
}

fn approved(status: SubmissionStatus) -> Result<(), String> {
    if status == SubmissionStatus::Approved { Ok(()) } else { Err(status_name(status).to_owned()) }
}

/// The approval of the open work item, if there is one.
fn decision(submission: &Submission) -> Option<WorkItemServiceDecideRequest> {
    let mut items = submission.stages.iter().flat_map(|stage| &stage.steps).flat_map(|step| &step.work_items);
    let item = items.find(|item| item.status() == WorkItemStatus::Assigned)?;
    let digest = submission.record.as_ref().map(|record| record.digest.clone()).unwrap_or_default();
    Some(WorkItemServiceDecideRequest {
        id: item.id.clone(),
        verdict: Verdict::Approve.into(),
        record_digest: digest,
        channel: "CLI".to_owned(),
        request_id: request_id(),
        ..WorkItemServiceDecideRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{bench::report::Window, fake::Fake},
        client::Connection,
    };

    #[tokio::test]
    async fn w2_decides_the_item_once_as_the_reviewer() {
        let (fake, server) = Fake::start().await;
        let timeout = Duration::from_secs(5);
        let connect = |user: &str| {
            Client::connect(Connection { server: server.clone(), user: Some(user.to_owned()), token: None, timeout })
        };
        let (ann, bob) = (connect("ann").await.unwrap(), connect("bob").await.unwrap());
        let load =
            Load { workload: Workload::W2, callers: vec![ann.clone()], watchers: vec![ann], reviewers: vec![bob] };
        let mut submitted = false;
        load.run(1, &mut submitted).await.unwrap();
        assert!(submitted);
        let submission = fake.only();
        assert_eq!(submission.submitter, "ann");
        assert_eq!(submission.stages[0].steps[0].work_items[0].decision.as_ref().unwrap().actor, "bob");
    }

    #[test]
    fn an_end_other_than_approval_is_an_error_with_its_name() {
        assert_eq!(approved(SubmissionStatus::Rejected), Err("REJECTED".to_owned()));
        assert!(approved(SubmissionStatus::Approved).is_ok());
    }

    #[tokio::test]
    async fn a_server_that_never_finishes_is_not_waited_for_and_hides_nothing() {
        let (_fake, server) = Fake::start().await;
        let timeout = Duration::from_secs(5);
        let connection = Connection { server, user: Some("ann".to_owned()), token: None, timeout };
        let ann = Client::connect(connection).await.unwrap();
        // The fake asks a person in every process, and in w3 nobody decides.
        let (callers, watchers) = (vec![ann.clone()], vec![ann.clone()]);
        let load = Arc::new(Load { workload: Workload::W3, callers, watchers, reviewers: vec![ann] });
        let start = Instant::now();
        // Long enough for all three to begin in it on a loaded machine.
        let window = Window { start, end: start + Duration::from_secs(2) };
        let recorder = Arc::new(Mutex::new(Recorder::new(window)));
        let pace = Pace::Closed { concurrency: 3 };
        drive(load, pace, Duration::from_millis(50), Arc::clone(&recorder)).await;
        let report = lock(&recorder).report(Workload::W3, pace);
        assert_eq!(report.errors["UNFINISHED"], 3, "{report:?}");
    }

    #[tokio::test]
    async fn the_schedule_is_kept_whether_or_not_anybody_keeps_up() {
        let start = Instant::now();
        let mut schedule = begin_schedule(50.0, start, start + Duration::from_millis(200));
        let mut times = Vec::new();
        while let Some((_, at)) = schedule.recv().await {
            times.push(at);
        }
        assert_eq!(times.len(), 10);
        assert!(times.windows(2).all(|pair| (pair[1] - pair[0]).as_millis().abs_diff(20) <= 1), "{times:?}");
    }
}
