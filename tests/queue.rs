//! What every queue promises, checked on each of them; and what `RabbitMQ` alone does.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod queue_support;

use futures::StreamExt;
use lapin::options::{ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use queue_support::{Corner, Wire, connected, until, within};
use quorate::{
    proto::v1::{Job, JobReport},
    queue::{BODY_BYTES_MAX, LifecycleEvent, MemoryQueue, Published, Queue, QueueType, RabbitConfig, RabbitQueue},
};

const TASK_QUEUE: &str = "default";

fn job(number: u32) -> Job {
    job_to(TASK_QUEUE, number)
}

fn job_to(task_queue: &str, number: u32) -> Job {
    Job { job: format!("job-{number}"), attempt: 1, task_queue: task_queue.to_owned(), ..Job::default() }
}

fn report(number: u32) -> JobReport {
    JobReport { job: format!("job-{number}"), attempt: 1, status: "COMPLETED".to_owned(), ..JobReport::default() }
}

fn event(number: u64) -> LifecycleEvent {
    let (routing_key, id) = ("submission.approved".to_owned(), number.to_string());
    LifecycleEvent { routing_key, id, sequence: number, body: serde_json::json!({}) }
}

fn large(bytes: usize) -> Job {
    let text = prost_types::value::Kind::StringValue("x".repeat(bytes));
    let fields = [("text".to_owned(), prost_types::Value { kind: Some(text) })].into();
    Job { input: Some(prost_types::Struct { fields }), ..job(0) }
}

/// A queue under test, with what the suite needs from outside of it.
enum Subject {
    Memory(MemoryQueue),
    Rabbit(Box<Corner>, RabbitQueue),
}

impl Subject {
    fn queue(&self) -> &dyn Queue {
        match self {
            Self::Memory(queue) => queue,
            Self::Rabbit(_, queue) => queue,
        }
    }

    async fn put_report(&self, report: JobReport) {
        match self {
            Self::Memory(queue) => queue.report(report).unwrap(),
            Self::Rabbit(corner, _) => corner.put_report(&report).await,
        }
    }

    /// Where the next dead message came from, and why it died.
    async fn next_dead(&self) -> (String, String) {
        match self {
            Self::Memory(queue) => queue.dead().pop().unwrap(),
            Self::Rabbit(corner, _) => {
                let (mut headers, _) = corner.next_dead().await;
                (headers.remove("x-quorate-queue").unwrap(), headers.remove("x-quorate-reason").unwrap())
            }
        }
    }

    async fn end(self) {
        self.queue().close().await;
        if let Self::Rabbit(corner, _) = self {
            corner.clean_up(&[TASK_QUEUE]).await;
        }
    }
}

macro_rules! for_every_queue {
    ($($claim:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $claim() { super::$claim(super::Subject::Memory(super::MemoryQueue::new())).await; })*
        }
        mod rabbit {
            $(#[tokio::test] async fn $claim() {
                let corner = super::Corner::new().await;
                let queue = corner.queue().await;
                super::$claim(super::Subject::Rabbit(Box::new(corner), queue)).await;
            })*
        }
    };
}

for_every_queue! {
    jobs_come_in_the_order_they_were_published
    what_is_dropped_or_released_comes_again_and_what_is_acknowledged_does_not
    no_more_jobs_than_asked_for_are_unsettled
    what_a_dropped_stream_held_comes_again
    reports_come_in_order_and_once_they_are_acknowledged_not_again
    bury_says_why_and_where_from
    a_job_that_never_fits_is_refused_and_the_rest_is_published
    a_closed_queue_takes_nothing_and_ends_its_streams
}

async fn jobs_come_in_the_order_they_were_published(subject: Subject) {
    let queue = subject.queue();
    let answers = queue.publish((0..1000).map(job).collect()).await.unwrap();
    assert_eq!(answers, vec![Published::Confirmed; 1000]);
    let mut jobs = queue.jobs(vec![TASK_QUEUE.to_owned()], 100);
    for number in 0..1000 {
        let delivery = within("a job", jobs.next()).await.unwrap();
        assert_eq!(delivery.body, job(number));
        delivery.acknowledge.acknowledge().await.unwrap();
    }
    drop(jobs);
    subject.end().await;
}

async fn what_is_dropped_or_released_comes_again_and_what_is_acknowledged_does_not(subject: Subject) {
    let queue = subject.queue();
    queue.publish(vec![job(1), job(2), job(3)]).await.unwrap();
    let mut jobs = queue.jobs(vec![TASK_QUEUE.to_owned()], 3);
    let first = within("a job", jobs.next()).await.unwrap();
    let second = within("a job", jobs.next()).await.unwrap();
    let third = within("a job", jobs.next()).await.unwrap();
    second.acknowledge.acknowledge().await.unwrap();
    drop(first);
    third.acknowledge.release().await.unwrap();
    let mut again = Vec::new();
    for _ in 0..2 {
        let delivery = within("a job again", jobs.next()).await.unwrap();
        again.push(delivery.body.job.clone());
        delivery.acknowledge.acknowledge().await.unwrap();
    }
    again.sort();
    assert_eq!(again, ["job-1", "job-3"]);
    // Had the second come again too, it would come before this one.
    queue.publish(vec![job(4)]).await.unwrap();
    assert_eq!(within("the last job", jobs.next()).await.unwrap().body, job(4));
    drop(jobs);
    subject.end().await;
}

async fn no_more_jobs_than_asked_for_are_unsettled(subject: Subject) {
    let queue = subject.queue();
    queue.publish((0..5).map(job).collect()).await.unwrap();
    let mut jobs = queue.jobs(vec![TASK_QUEUE.to_owned()], 2);
    let first = within("a job", jobs.next()).await.unwrap();
    let second = within("a job", jobs.next()).await.unwrap();
    let mut third = jobs.next();
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(futures::poll!(&mut third).is_pending());
    }
    first.acknowledge.acknowledge().await.unwrap();
    assert_eq!(within("a job", third).await.unwrap().body, job(2));
    drop((second, jobs));
    subject.end().await;
}

async fn what_a_dropped_stream_held_comes_again(subject: Subject) {
    let queue = subject.queue();
    queue.publish(vec![job(1), job(2)]).await.unwrap();
    let mut jobs = queue.jobs(vec![TASK_QUEUE.to_owned()], 2);
    // The second job may lie in the stream, not yet taken.
    let held = within("a job", jobs.next()).await.unwrap();
    drop(jobs);
    drop(held);
    let mut jobs = queue.jobs(vec![TASK_QUEUE.to_owned()], 2);
    let mut again = Vec::new();
    for _ in 0..2 {
        let delivery = within("a job again", jobs.next()).await.unwrap();
        again.push(delivery.body.job.clone());
        delivery.acknowledge.acknowledge().await.unwrap();
    }
    again.sort();
    assert_eq!(again, ["job-1", "job-2"]);
    drop(jobs);
    subject.end().await;
}

async fn reports_come_in_order_and_once_they_are_acknowledged_not_again(subject: Subject) {
    let queue = subject.queue();
    // A task queue is there to clean up for every subject.
    queue.publish(vec![job(0)]).await.unwrap();
    let mut reports = queue.reports();
    for number in 0..10 {
        subject.put_report(report(number)).await;
    }
    for number in 0..10 {
        let delivery = within("a report", reports.next()).await.unwrap();
        assert_eq!(delivery.body, report(number));
        delivery.acknowledge.acknowledge().await.unwrap();
    }
    drop(reports);
    let mut reports = queue.reports();
    subject.put_report(report(10)).await;
    assert_eq!(within("a report", reports.next()).await.unwrap().body, report(10));
    drop(reports);
    subject.end().await;
}

async fn bury_says_why_and_where_from(subject: Subject) {
    let queue = subject.queue();
    queue.publish(vec![job(0)]).await.unwrap();
    let mut reports = queue.reports();
    subject.put_report(report(1)).await;
    let delivery = within("a report", reports.next()).await.unwrap();
    delivery.acknowledge.bury("no such job, and there never was").await.unwrap();
    let (source, reason) = subject.next_dead().await;
    assert_eq!(reason, "no such job, and there never was");
    if let Subject::Rabbit(corner, _) = &subject {
        assert_eq!(source, corner.names.results_queue());
    }
    subject.put_report(report(2)).await;
    assert_eq!(within("a report", reports.next()).await.unwrap().body, report(2), "the buried one does not come again");
    drop(reports);
    subject.end().await;
}

async fn a_job_that_never_fits_is_refused_and_the_rest_is_published(subject: Subject) {
    let queue = subject.queue();
    let jobs =
        vec![job(1), large(BODY_BYTES_MAX), job_to("No Such Name", 2), job_to("", 3), large(BODY_BYTES_MAX - 200)];
    let answers = queue.publish(jobs).await.unwrap();
    assert_eq!((&answers[0], &answers[4]), (&Published::Confirmed, &Published::Confirmed));
    for answer in &answers[1..4] {
        assert!(matches!(answer, Published::Refused(_)), "{answer:?}");
    }
    subject.end().await;
}

async fn a_closed_queue_takes_nothing_and_ends_its_streams(subject: Subject) {
    let queue = subject.queue();
    queue.publish(vec![job(1)]).await.unwrap();
    let mut reports = queue.reports();
    assert!(futures::poll!(reports.next()).is_pending());
    queue.close().await;
    assert!(!queue.is_connected());
    assert!(queue.publish(vec![job(1)]).await.is_err());
    assert!(within("the end of the stream", reports.next()).await.is_none());
    subject.end().await;
}

#[tokio::test]
async fn the_topology_is_declared_as_the_contract_says() {
    let corner = Corner::new().await;
    let queue = corner.queue().await;
    queue.publish(vec![job(1)]).await.unwrap();
    let names = &corner.names;
    assert_eq!(names.jobs_queue("default"), format!("{}.jobs.default", corner.prefix));
    let dead = names.dead_queue();
    let dead_letters = [("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", dead.as_str())];
    assert!(corner.is_declared(&names.jobs_queue(TASK_QUEUE), QueueType::Auto, &dead_letters).await);
    assert!(!corner.is_declared(&names.jobs_queue(TASK_QUEUE), QueueType::Auto, &[]).await);
    assert!(corner.is_declared(&names.results_queue(), QueueType::Auto, &dead_letters).await);
    assert!(corner.is_declared(&dead, QueueType::Auto, &[]).await);
    assert!(corner.is_declared(&names.records_queue(), QueueType::Quorum, &dead_letters).await);
    assert!(!corner.is_declared(&names.records_queue(), QueueType::Classic, &dead_letters).await);
    queue.close().await;
    corner.clean_up(&[TASK_QUEUE]).await;
}

#[tokio::test]
async fn quorum_queues_are_declared_when_asked_for() {
    let corner = Corner::new().await;
    let queue = corner.queue_with(RabbitConfig { queue_type: QueueType::Quorum, ..corner.config() }).await;
    assert_eq!(queue.publish(vec![job(1)]).await.unwrap(), [Published::Confirmed]);
    let dead = corner.names.dead_queue();
    assert!(corner.is_declared(&dead, QueueType::Quorum, &[]).await);
    let mut jobs = queue.jobs(vec![TASK_QUEUE.to_owned()], 1);
    assert_eq!(within("a job", jobs.next()).await.unwrap().body, job(1));
    drop(jobs);
    queue.close().await;
    corner.clean_up(&[TASK_QUEUE]).await;
}

#[tokio::test]
async fn queues_of_another_type_are_used_as_they_are() {
    let corner = Corner::new().await;
    let classic = corner.queue().await;
    classic.publish(vec![job(1)]).await.unwrap();
    classic.close().await;
    let quorum = corner.queue_with(RabbitConfig { queue_type: QueueType::Quorum, ..corner.config() }).await;
    assert_eq!(quorum.publish(vec![job(2)]).await.unwrap(), [Published::Confirmed]);
    let mut jobs = quorum.jobs(vec![TASK_QUEUE.to_owned()], 2);
    assert_eq!(within("the first job", jobs.next()).await.unwrap().body, job(1));
    assert_eq!(within("the second job", jobs.next()).await.unwrap().body, job(2));
    drop(jobs);
    quorum.close().await;
    corner.clean_up(&[TASK_QUEUE]).await;
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_buried_once_and_not_yielded() {
    let corner = Corner::new().await;
    let queue = corner.queue().await;
    let mut reports = queue.reports();
    let results = corner.names.results_queue();
    corner.put(&results, b"not json").await;
    corner.put(&results, &vec![b' '; BODY_BYTES_MAX + 1]).await;
    corner.put_report(&report(1)).await;
    assert_eq!(within("a report", reports.next()).await.unwrap().body, report(1));
    let (headers, body) = corner.next_dead().await;
    assert_eq!(body, b"not json");
    assert_eq!(headers["x-quorate-queue"], results);
    assert!(headers["x-quorate-reason"].contains("not the JSON of JobReport"), "{headers:?}");
    let (headers, body) = corner.next_dead().await;
    assert_eq!(body.len(), BODY_BYTES_MAX + 1);
    assert!(headers["x-quorate-reason"].contains("at most 262144 are allowed"), "{headers:?}");
    assert_eq!(corner.count(&corner.names.dead_queue()).await, 0);
    drop(reports);
    queue.close().await;
    corner.clean_up(&[]).await;
}

#[tokio::test]
async fn a_task_queue_that_was_deleted_is_declared_again() {
    let corner = Corner::new().await;
    let queue = corner.queue().await;
    queue.publish(vec![job_to("gone", 1), job_to("stays", 2)]).await.unwrap();
    corner.delete(&corner.names.jobs_queue("gone")).await;
    let answers = queue.publish(vec![job_to("stays", 3), job_to("gone", 4), job_to("stays", 5)]).await.unwrap();
    assert_eq!(answers, vec![Published::Confirmed; 3]);
    let mut jobs = queue.jobs(vec!["gone".to_owned()], 10);
    assert_eq!(within("the job", jobs.next()).await.unwrap().body, job_to("gone", 4));
    assert_eq!(corner.count(&corner.names.jobs_queue("stays")).await, 3, "nothing is published twice without need");
    drop(jobs);
    queue.close().await;
    corner.clean_up(&["gone", "stays"]).await;
}

#[tokio::test]
async fn a_consumer_survives_that_its_queue_is_deleted() {
    let corner = Corner::new().await;
    let queue = corner.queue().await;
    let mut jobs = queue.jobs(vec![TASK_QUEUE.to_owned()], 1);
    queue.publish(vec![job(1)]).await.unwrap();
    within("a job", jobs.next()).await.unwrap().acknowledge.acknowledge().await.unwrap();
    corner.delete(&corner.names.jobs_queue(TASK_QUEUE)).await;
    queue.publish(vec![job(2)]).await.unwrap();
    assert_eq!(within("the job in the new queue", jobs.next()).await.unwrap().body, job(2));
    drop(jobs);
    queue.close().await;
    corner.clean_up(&[TASK_QUEUE]).await;
}

#[tokio::test]
async fn a_queue_of_results_that_was_deleted_comes_back() {
    let corner = Corner::new().await;
    let queue = corner.queue().await;
    let mut reports = queue.reports();
    corner.put_report(&report(1)).await;
    within("a report", reports.next()).await.unwrap().acknowledge.acknowledge().await.unwrap();
    corner.delete(&corner.names.results_queue()).await;
    let next = tokio::spawn(async move { (reports.next().await, reports) });
    until("the queue of results", || async { corner.exists(&corner.names.results_queue()).await.then_some(()) }).await;
    corner.put_report(&report(2)).await;
    let (delivery, reports) = within("the report in the new queue", next).await.unwrap();
    assert_eq!(delivery.unwrap().body, report(2));
    drop(reports);
    queue.close().await;
    corner.clean_up(&[]).await;
}

#[tokio::test]
async fn exchanges_that_were_deleted_come_back_and_jobs_and_events_go_out_again() {
    let corner = Corner::new().await;
    let queue = corner.queue().await;
    queue.publish(vec![job(1)]).await.unwrap();
    queue.publish_events(vec![event(1)]).await.unwrap();
    for exchange in [corner.names.jobs_exchange(), corner.names.events_exchange()] {
        corner.channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
    }
    // Not known to be published, they are published again, as the relay does.
    until("the job in its queue", || async {
        let answers = queue.publish(vec![job(2)]).await;
        answers.is_ok_and(|answers| answers == [Published::Confirmed]).then_some(())
    })
    .await;
    until("the event", || async {
        let answers = queue.publish_events(vec![event(2)]).await;
        answers.is_ok_and(|answers| answers == [Published::Confirmed]).then_some(())
    })
    .await;
    assert_eq!(corner.count(&corner.names.jobs_queue(TASK_QUEUE)).await, 2);
    queue.close().await;
    corner.clean_up(&[TASK_QUEUE]).await;
}

#[tokio::test]
async fn a_full_queue_leaves_its_jobs_unconfirmed() {
    let corner = Corner::new().await;
    let queue = corner.queue().await;
    // As an operator might set it up before.
    let name = corner.names.jobs_queue("full");
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), lapin::types::AMQPValue::LongInt(2));
    arguments.insert("x-overflow".into(), lapin::types::AMQPValue::LongString("reject-publish".into()));
    let channel = corner.another_channel().await;
    channel.queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
    let exchange = corner.names.jobs_exchange();
    let options = QueueBindOptions::default();
    channel.queue_bind(name.into(), exchange.into(), "full".into(), options, FieldTable::default()).await.unwrap();
    let answers = queue.publish((0..4).map(|number| job_to("full", number)).collect()).await.unwrap();
    assert_eq!(answers[..2], [Published::Confirmed, Published::Confirmed]);
    assert!(matches!(answers[2..], [Published::Unconfirmed(_), Published::Unconfirmed(_)]), "{answers:?}");
    queue.close().await;
    corner.clean_up(&["full"]).await;
}

#[tokio::test]
async fn publishing_and_consuming_resume_after_the_wire_was_cut() {
    let corner = Corner::new().await;
    let wire = Wire::to_broker().await;
    let queue = corner.queue_with(RabbitConfig { url: wire.url(), ..corner.config() }).await;
    let mut jobs = queue.jobs(vec![TASK_QUEUE.to_owned()], 10);
    let mut reports = queue.reports();
    queue.publish(vec![job(1)]).await.unwrap();
    corner.put_report(&report(1)).await;
    let held_job = within("a job", jobs.next()).await.unwrap();
    let held_report = within("a report", reports.next()).await.unwrap();

    wire.cut();
    until("the loss to be noticed", || async { (!queue.is_connected()).then_some(()) }).await;
    assert!(queue.publish(vec![job(2)]).await.is_err());
    // It cannot get through, whether or not that is known by now: the delivery comes again.
    let _ = held_report.acknowledge.acknowledge().await;
    wire.mend();

    connected(&queue).await;
    assert_eq!(queue.publish(vec![job(2)]).await.unwrap(), [Published::Confirmed]);
    let mut again = Vec::new();
    for _ in 0..2 {
        let delivery = within("a job after the cut", jobs.next()).await.unwrap();
        again.push(delivery.body.job.clone());
        delivery.acknowledge.acknowledge().await.unwrap();
    }
    again.sort();
    assert_eq!(again, ["job-1", "job-2"]);
    let delivery = within("the report after the cut", reports.next()).await.unwrap();
    assert_eq!(delivery.body, report(1));
    delivery.acknowledge.acknowledge().await.unwrap();
    drop((held_job, jobs, reports));
    queue.close().await;
    assert_eq!(corner.count(&corner.names.jobs_queue(TASK_QUEUE)).await, 0);
    corner.clean_up(&[TASK_QUEUE]).await;
}

#[tokio::test]
async fn a_broker_that_is_away_at_the_start_is_found_later() {
    let corner = Corner::new().await;
    let wire = Wire::to_broker().await;
    wire.cut();
    let queue = RabbitQueue::connect(&RabbitConfig { url: wire.url(), ..corner.config() }).unwrap();
    let mut jobs = queue.jobs(vec![TASK_QUEUE.to_owned()], 1);
    assert!(queue.publish(vec![job(1)]).await.is_err());
    wire.mend();
    connected(&queue).await;
    queue.publish(vec![job(1)]).await.unwrap();
    assert_eq!(within("a job", jobs.next()).await.unwrap().body, job(1));
    drop(jobs);
    queue.close().await;
    corner.clean_up(&[TASK_QUEUE]).await;
}

#[tokio::test]
async fn a_url_that_makes_no_sense_is_refused_without_its_password() {
    for url in ["", "http://user:secret@host", "amqps://user:secret@host"] {
        let Err(error) = RabbitQueue::connect(&RabbitConfig::new(url)) else { panic!("{url} was taken") };
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
