//! Server and worker are killed at random moments, again and again, and nothing is lost or done twice.

use std::{collections::BTreeMap, env, error::Error, net::SocketAddr, sync::Mutex, time::Duration};

use futures::future::join_all;
use quorate::proto::{
    v1::{StepRunStatus, Submission, SubmissionStatus, Verdict},
    value,
};
use quorate_engine::event::EventKind;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tonic::{Code, Status};

use crate::{
    audit::{all_submissions, each_result_was_applied_once, open_jobs, verified_history},
    backend::Backend,
    caller::{Caller, decision, submit},
    program::Program,
    queue_support::until,
    system::{Server, System, start_worker},
};

const SUBMISSIONS: usize = 500;
const KILLS: usize = 10;

/// The longest time from the answers that a kill waits for to the kill: so that it hits what goes on behind them too.
const CALM_MAX: Duration = Duration::from_millis(300);

/// How long a client waits before it repeats a call.
const REPEAT_DELAY: Duration = Duration::from_millis(50);

/// By how much a long run multiplies both.
pub(crate) fn factor() -> usize {
    if env::var_os("QUORATE_LONG").is_some() { 10 } else { 1 }
}

/// `QUORATE_SEED` repeats the choices of a run, though not its moments.
pub(crate) fn seed() -> u64 {
    env::var("QUORATE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap())
}

/// A client that repeats what the server may not have heard, by the same `request_id`.
struct Client {
    address: watch::Receiver<SocketAddr>,
    token: String,
    /// The channel of an address is shared by all calls to it.
    caller: Mutex<Option<(SocketAddr, Caller)>>,
    repeated: Mutex<BTreeMap<String, u32>>,
}

impl Client {
    fn new(address: &watch::Sender<SocketAddr>, token: String) -> Self {
        Self { address: address.subscribe(), token, caller: Mutex::default(), repeated: Mutex::default() }
    }

    fn caller(&self) -> Caller {
        let address = *self.address.borrow();
        let mut caller = self.caller.lock().unwrap();
        match &*caller {
            Some((known, caller)) if *known == address => caller.clone(),
            _ => caller.insert((address, Caller::with_token(address, &self.token))).1.clone(),
        }
    }

    async fn call<T>(&self, call: impl AsyncFn(Caller) -> Result<T, Status>) -> T {
        until("an answer", async || match call(self.caller()).await {
            Ok(answer) => Some(answer),
            Err(status) => {
                assert!(may_be_repeated(&status), "{status:?}");
                *self.repeated.lock().unwrap().entry(format!("{:?}", status.code())).or_default() += 1;
                tokio::time::sleep(REPEAT_DELAY).await;
                None
            }
        })
        .await
    }
}

/// The server says so, or the connection broke: then the status has a cause, and never came from the server.
fn may_be_repeated(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some()
}

/// The submissions that clients may make by now, and those whose calls were answered.
struct Admission {
    admitted: Semaphore,
    answered: watch::Sender<usize>,
}

/// Kills server and worker, each `kills` times, and starts each again. Each kill lets some more submissions in, and the next comes
/// when some of these are answered: there is always work to interrupt, and progress however slow the machine is.
async fn supervise(
    system: &mut System,
    worker: &mut Program,
    address: &watch::Sender<SocketAddr>,
    admission: &Admission,
    (kills, submissions): (usize, usize),
    random: &mut StdRng,
) {
    let at_once = submissions / (2 * kills);
    let mut left = [kills, kills];
    let mut admitted = 0;
    while left != [0, 0] {
        admission.admitted.add_permits(at_once);
        admitted += at_once;
        let enough = admitted - random.random_range(0..=at_once);
        let answered = admission.answered.subscribe();
        until("answers", || std::future::ready((*answered.borrow() >= enough).then_some(()))).await;
        tokio::time::sleep(CALM_MAX.mul_f64(random.random())).await;
        let victim = if left[0] == 0 {
            1
        } else if left[1] == 0 {
            0
        } else {
            random.random_range(0..2)
        };
        left[victim] -= 1;
        if victim == 0 {
            system.server.program.kill();
            system.server = Server::start(&system.backend, &["--redelivery-interval", "2"]).await;
            address.send_replace(system.server.address);
        } else {
            worker.kill();
            *worker = start_worker(&system.backend, "echo");
        }
    }
    admission.admitted.add_permits(submissions - admitted);
}

async fn submit_all(ann: &Client, admission: &Admission, submissions: usize) -> Vec<String> {
    join_all((0..submissions).map(|n| async move {
        admission.admitted.acquire().await.unwrap().forget();
        let request = submit("two-jobs", &format!("submit-{n}"), &json!({ "n": n }));
        let id = ann.call(async |caller| caller.try_submit(request.clone()).await).await.id;
        admission.answered.send_modify(|count| *count += 1);
        id
    }))
    .await
}

async fn approve_all(bob: &Client, submissions: usize) {
    let mut decided = 0;
    while decided < submissions {
        let items = until("something in the inbox", async || {
            let items = bob.call(async |caller| caller.try_inbox().await).await;
            (!items.is_empty()).then_some(items)
        })
        .await;
        decided += items.len();
        join_all(items.iter().map(|item| async move {
            let request = decision(item, Verdict::Approve, "", &format!("decide-{}", item.id));
            bob.call(async |caller| caller.decide(request.clone()).await).await;
        }))
        .await;
    }
}

/// What the flows returned is what they were asked: the effect of each step, seen once in its outputs.
fn has_its_own_outputs(submission: &Submission) {
    let data = submission.record.as_ref().unwrap().data.as_ref().unwrap();
    let n = value::to_json(data, "").unwrap()["n"].clone();
    let [stage] = submission.stages.as_slice() else { panic!("not one stage: {submission:?}") };
    assert_eq!(stage.steps.len(), 3);
    for step in &stage.steps {
        assert_eq!(step.status(), StepRunStatus::Completed);
        if step.name != "approve" {
            let outputs = value::to_json(step.outputs.as_ref().unwrap(), "").unwrap();
            assert_eq!(outputs, json!({ "n": n, "step": step.name }));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "what is needed to repeat a run, and what a run was like")]
async fn server_and_worker_are_killed_while_submissions_run_and_each_ends_once() {
    let (submissions, kills, seed) = (SUBMISSIONS * factor(), KILLS * factor(), seed());
    eprintln!("seed: QUORATE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut system = System::start_without_worker(Backend::postgres_and_rabbitmq().await).await;
    let mut worker = start_worker(&system.backend, "echo");
    let (address, _) = watch::channel(system.server.address);
    let [ann, bob] = ["ann", "bob"].map(|name| Client::new(&address, system.token(name)));
    let admission = Admission { admitted: Semaphore::new(0), answered: watch::Sender::new(0) };
    let (ids, (), ()) = tokio::join!(
        submit_all(&ann, &admission, submissions),
        approve_all(&bob, submissions),
        supervise(&mut system, &mut worker, &address, &admission, (kills, submissions), &mut random),
    );
    eprintln!("{kills} kills each; calls repeated: {:?} {:?}", ann.repeated.lock(), bob.repeated.lock());
    let caller = system.caller("ann");
    for id in &ids {
        has_its_own_outputs(&caller.when_it_is(id, SubmissionStatus::Approved).await);
    }
    assert_eq!(all_submissions(&system.store).await.len(), submissions, "a repeated Submit made a second submission");
    for id in &ids {
        let events = verified_history(&system.store, id).await;
        each_result_was_applied_once(&events);
        let count = |fits: fn(&EventKind) -> bool| events.iter().filter(|event| fits(&event.kind)).count();
        assert_eq!(count(|kind| matches!(kind, EventKind::JobCompleted { .. })), 2);
        assert_eq!(count(|kind| matches!(kind, EventKind::StepCompleted { .. })), 3);
        assert_eq!(count(|kind| matches!(kind, EventKind::WorkItemDecided { .. })), 1);
    }
    assert_eq!(open_jobs(&system.store).await, []);
    let corner = system.backend.broker().corner();
    until("empty queues", async || {
        let jobs = corner.count(&corner.names.jobs_queue("default")).await;
        (jobs + corner.count(&corner.names.results_queue()).await == 0).then_some(())
    })
    .await;
    assert_eq!(corner.count(&corner.names.dead_queue()).await, 0);
    assert!(worker.stop().await.success());
    system.end().await;
}
