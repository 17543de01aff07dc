//! Workers of every kind serve the same task queues and are killed at random moments, and nothing is lost or done twice.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::future::join_all;
use quorate::proto::v1::SubmissionStatus;
use quorate_engine::event::EventKind;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::sync::Semaphore;

use crate::{
    audit::{all_submissions, each_result_was_applied_once, open_jobs, verified_history},
    backend::Backend,
    definitions::{TASK_QUEUES, purchase},
    kills::{factor, seed},
    program::Program,
    queue_support::{Corner, until},
    system::System,
    workers::{Erp, Source, Way, orders},
};

/// Of each kind of worker.
const KILLS: usize = 4;

/// Between two kills. More than what all workers together hold of a task queue: two each.
const SUBMISSIONS_PER_KILL: usize = 12;

/// After the last kill.
const SUBMISSIONS_AFTER: usize = 100;

/// The longest time from the answers that a kill waits for to the kill: so that it hits what goes on behind them too.
const CALM_MAX: Duration = Duration::from_millis(300);

/// A purchase that nobody decides on.
const BUYING: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: buying
allow_no_approvals: true
record:
  type: purchase_request
  schema:
    type: object
    required: [vendor, amount]
    properties: { vendor: { type: string }, amount: { type: number } }
stages:
  - name: book
    steps:
      - name: check_budget
        background: { flow: check-budget, execution: async, input: { amount: record.amount } }
      - name: create_order
        start: { after: [check_budget] }
        background: { flow: create-order, execution: async, input: { vendor: record.vendor, amount: record.amount } }
    next: [{ to: end }]
";

/// The submissions that may be made by now, and how many were answered.
struct Admission {
    admitted: Semaphore,
    answered: AtomicUsize,
}

impl Admission {
    async fn submit_all(&self, system: &System, submissions: usize) -> Vec<String> {
        let ann = &system.caller("ann");
        join_all((0..submissions).map(|_| async move {
            self.admitted.acquire().await.unwrap().forget();
            let id = ann.submit("buying", purchase(50.0)).await.id;
            self.answered.fetch_add(1, Ordering::Relaxed);
            id
        }))
        .await
    }

    /// Lets some in, and waits until at least this many of all were answered.
    async fn admit(&self, more: usize, enough: usize) {
        self.admitted.add_permits(more);
        let answered = || self.answered.load(Ordering::Relaxed);
        until("answers", || std::future::ready((answered() >= enough).then_some(()))).await;
    }
}

/// Kills the workers in turn and starts each again. At every second kill or so the ERP is closed, so that all workers hold orders that
/// they carry out; at the others it comes at any moment.
async fn supervise(
    source: &Source,
    erp: &Path,
    corner: &Corner,
    workers: &mut BTreeMap<Way, Program>,
    admission: &Admission,
    random: &mut StdRng,
) {
    let mut victims = Way::ALL.repeat(KILLS * factor());
    victims.shuffle(random);
    let closed = erp.join("closed");
    for (kill, victim) in victims.into_iter().enumerate() {
        let closes = random.random();
        if closes {
            fs::write(&closed, "").unwrap();
        }
        let admitted = (kill + 1) * SUBMISSIONS_PER_KILL;
        admission.admit(SUBMISSIONS_PER_KILL, admitted - random.random_range(0..=SUBMISSIONS_PER_KILL)).await;
        if closes {
            let waiting = corner.names.jobs_queue("erp");
            until("more orders than the workers take", || async { (corner.count(&waiting).await > 0).then_some(()) })
                .await;
        }
        tokio::time::sleep(CALM_MAX.mul_f64(random.random())).await;
        let worker = workers.get_mut(&victim).unwrap();
        worker.kill();
        if closes {
            fs::remove_file(&closed).unwrap();
        }
        *worker = victim.start(source, erp, &[]).await;
    }
    admission.admitted.add_permits(SUBMISSIONS_AFTER);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "what is needed to repeat a run")]
async fn workers_of_every_kind_are_killed_while_submissions_run_and_each_ends_once() {
    let seed = seed();
    eprintln!("seed: QUORATE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let system = System::start_without_worker(Backend::postgres_and_rabbitmq().await).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("budget"), "1000").unwrap();
    let erp = Erp::start(folder.path()).await;
    let admin = system.caller("admin");
    admin.publish_flows(&erp.flows()).await;
    admin.publish_process(BUYING).await;
    let source = Source::of(&system);
    let mut workers = BTreeMap::new();
    for way in Way::ALL {
        workers.insert(way, way.start(&source, folder.path(), &[]).await);
    }

    let submissions = Way::ALL.len() * KILLS * factor() * SUBMISSIONS_PER_KILL + SUBMISSIONS_AFTER;
    let admission = Admission { admitted: Semaphore::new(0), answered: AtomicUsize::new(0) };
    let corner = system.backend.broker().corner();
    let (ids, ()) = tokio::join!(
        admission.submit_all(&system, submissions),
        supervise(&source, folder.path(), corner, &mut workers, &admission, &mut random),
    );

    let ann = system.caller("ann");
    for id in &ids {
        ann.when_it_is(id, SubmissionStatus::Approved).await;
    }
    assert_eq!(all_submissions(&system.store).await.len(), submissions);
    let mut jobs = Vec::new();
    for id in &ids {
        let events = verified_history(&system.store, id).await;
        each_result_was_applied_once(&events);
        let completed = events.iter().filter_map(|event| match event.kind {
            EventKind::JobCompleted { job, .. } => Some(job.to_string()),
            _ => None,
        });
        let completed: Vec<_> = completed.collect();
        assert_eq!(completed.len(), 2);
        jobs.extend(completed.into_iter().skip(1));
    }
    // However often an order was carried out, it is one.
    let mut made = orders(folder.path());
    made.sort();
    jobs.sort();
    assert_eq!(made, jobs, "an order for each");
    assert_eq!(open_jobs(&system.store).await, []);
    until("empty queues", || async {
        let mut waiting = corner.count(&corner.names.results_queue()).await;
        for task_queue in TASK_QUEUES {
            waiting += corner.count(&corner.names.jobs_queue(task_queue)).await;
        }
        (waiting == 0).then_some(())
    })
    .await;
    assert_eq!(corner.count(&corner.names.dead_queue()).await, 0);
    for (way, worker) in workers {
        assert!(worker.stop().await.success(), "{way:?}");
    }
    system.end().await;
}
