//! The store is away for a while, or what the broker has is deleted: nothing is lost, and nothing goes to the dead letters.

use std::net::SocketAddr;

use lapin::{
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use quorate::proto::v1::StepRunStatus;
use serde_json::json;

use crate::{
    approvals::step,
    audit::all_submissions,
    backend::Backend,
    jobs::{completed, delete_task_queue, next, stream},
    queue_support::{Wire, until},
    system::System,
};

const DISCOUNT: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: discount
record: { type: quote }
trigger: { on: [created] }
stages: [{ name: review, steps: [{ name: manager, approval: { assign: [{ user: bob }] } }] }]
";

/// How often a message may come back to its queue in this test.
const DELIVERY_LIMIT: usize = 3;

// The programs that the test waits for need the wire meanwhile, which is a task of the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_while_the_store_is_away_is_held_and_not_handed_back() {
    let mut backend = Backend::postgres_and_rabbitmq().await;
    let corner = backend.broker().corner();
    // As brokers from 4.0 on do by themselves, with a limit of 20.
    for queue in [corner.names.results_queue(), corner.names.records_queue()] {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(i32::try_from(DELIVERY_LIMIT).unwrap()));
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
        let dead = corner.names.dead_queue();
        arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(dead.into()));
        let channel = corner.another_channel().await;
        channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
    }
    let (before, rest) = backend.database_url.split_once('@').unwrap();
    let (store, database) = rest.split_once('/').unwrap();
    let wire = Wire::to(store.parse::<SocketAddr>().unwrap()).await;
    backend.database_url = format!("{before}@{}/{database}", wire.address());
    let system = System::start_without_worker(backend).await;
    system.caller("admin").publish_process(DISCOUNT).await;
    let (ann, worker) = (system.caller("ann"), system.caller("worker"));
    let id = ann.submit("waiting", json!({})).await.id;
    let mut jobs = stream(&worker).await;
    let job = next(&mut jobs).await;

    wire.cut();
    let corner = system.backend.broker().corner();
    corner.put_report(&completed(&job)).await;
    let change = json!({ "record_type": "quote", "record_id": "Q-1", "kind": "CREATED", "data": {} });
    corner.put(&corner.names.records_queue(), change.to_string().as_bytes()).await;
    // Handed back each time, both would have gone to the dead letters by then, and would not be tried any more.
    let tries = 4 * (DELIVERY_LIMIT + 1);
    until("enough tries", || async { (system.server.program.times_said("was not stored") >= tries).then_some(()) })
        .await;
    wire.mend();

    ann.when(&id, "the job's end", |now| step(now, "job") == StepRunStatus::Completed).await;
    until("the record's submission", || async { (all_submissions(&system.store).await.len() == 2).then_some(()) })
        .await;
    assert_eq!(corner.count(&corner.names.dead_queue()).await, 0);
    drop(jobs);
    delete_task_queue(&system).await;
    system.end().await;
}
