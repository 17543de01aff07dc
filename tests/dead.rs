//! Dead letters on a real broker: looked at without losing one, and given back to where they came from.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod queue_support;

use std::process::{Command, Output};

use futures::{StreamExt, stream::BoxStream};
use lapin::{
    BasicProperties,
    options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use queue_support::{Corner, amqp_url, until, within};
use quorate::{
    proto::v1::{Job, JobReport},
    queue::{DeadLetter, DeadLetters, Delivery, Fate, Queue},
};

async fn letters(corner: &Corner) -> Vec<DeadLetter> {
    let dead = DeadLetters::open(&corner.config()).await.unwrap();
    let mut letters = Vec::new();
    dead.look(|letter| {
        letters.push(letter.clone());
        Fate::Stay
    })
    .await
    .unwrap();
    dead.close().await;
    letters
}

async fn buried(corner: &Corner, count: usize) -> Vec<DeadLetter> {
    until("the dead letters", || async { Some(letters(corner).await).filter(|letters| letters.len() == count) }).await
}

/// Takes in a report that can be read: what came before it has been buried then.
async fn applied(corner: &Corner, reports: &mut BoxStream<'static, Delivery<JobReport>>) {
    corner.put_report(&JobReport { job: "job-1".into(), ..JobReport::default() }).await;
    let delivery = within("a report", reports.next()).await.unwrap();
    assert_eq!(delivery.body.job, "job-1");
    delivery.acknowledge.acknowledge().await.unwrap();
}

#[tokio::test]
async fn letters_keep_their_order_and_their_ids_and_go_back_to_where_they_came_from() {
    let corner = Corner::new().await;
    let queue = corner.queue().await;
    assert_eq!(letters(&corner).await, []);
    let mut reports = queue.reports();
    let results = corner.names.results_queue();
    for body in ["not json", "nor this"] {
        corner.put(&results, body.as_bytes()).await;
    }
    applied(&corner, &mut reports).await;
    let first = buried(&corner, 2).await;
    let seen: Vec<_> = first.iter().map(|letter| (letter.queue.as_str(), letter.body.as_slice())).collect();
    assert_eq!(seen, [(results.as_str(), b"not json".as_slice()), (results.as_str(), b"nor this")]);
    assert!(first.iter().all(|letter| letter.reason.starts_with("not the JSON of") && letter.died_at.is_some()));
    assert_eq!(buried(&corner, 2).await, first);

    // A worker rejects what it cannot read: the broker says where that came from.
    queue
        .publish(vec![Job { job: "job-1".into(), attempt: 1, task_queue: "default".into(), ..Job::default() }])
        .await
        .unwrap();
    let jobs = corner.names.jobs_queue("default");
    let job = corner.channel.basic_get(jobs.as_str().into(), BasicGetOptions::default()).await.unwrap().unwrap();
    job.delivery.acker.reject(BasicRejectOptions { requeue: false }).await.unwrap();
    let rejected = buried(&corner, 3).await.pop().unwrap();
    assert_eq!((rejected.queue.as_str(), rejected.reason.as_str()), (jobs.as_str(), "rejected"));
    assert_eq!((rejected.message_id.as_deref(), rejected.died_at.is_some()), (Some("job-1/1"), true));

    let dead = DeadLetters::open(&corner.config()).await.unwrap();
    let judge = |letter: &DeadLetter| if letter.id == rejected.id { Fate::Requeue } else { Fate::Stay };
    assert_eq!(dead.look(judge).await.unwrap().requeued, [rejected.id.as_str()]);
    dead.close().await;
    assert_eq!(buried(&corner, 2).await, first);
    let again = corner.get(&jobs).await.unwrap();
    assert_eq!(again.delivery.data, rejected.body);
    let headers = again.delivery.properties.headers().clone().unwrap_or_default();
    assert!(headers.inner().keys().all(|name| !name.as_str().contains("death")), "{headers:?}");

    drop(reports);
    queue.close().await;
    corner.clean_up(&["default"]).await;
}

#[tokio::test]
async fn what_is_buried_and_given_back_is_described_as_it_was() {
    let corner = Corner::new().await;
    let queue = corner.queue().await;
    let records = corner.names.records_queue();
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), AMQPValue::LongString("acme".into()));
    // It would be copied there once more by each who publishes it again.
    headers.insert("CC".into(), AMQPValue::FieldArray(vec![AMQPValue::LongString("elsewhere".into())].into()));
    let sent = BasicProperties::default()
        .with_message_id("m-1".into())
        .with_correlation_id("c-1".into())
        .with_content_type("application/json; charset=UTF-8".into())
        .with_timestamp(1_760_000_000)
        .with_type("change".into())
        .with_expiration("60000".into())
        .with_headers(headers);
    let put = corner.channel.basic_publish(
        "".into(),
        records.as_str().into(),
        BasicPublishOptions::default(),
        b"{}",
        sent.clone(),
    );
    put.await.unwrap().await.unwrap();
    let mut changes = queue.record_changes();
    let delivery = within("the change", changes.next()).await.unwrap();
    assert_eq!(delivery.message_id.as_deref(), Some("m-1"));
    delivery.acknowledge.bury("it is not ripe").await.unwrap();
    drop(changes);
    let letter = buried(&corner, 1).await.pop().unwrap();
    assert_eq!((letter.message_id.as_deref(), letter.reason.as_str()), (Some("m-1"), "it is not ripe"));

    let dead = DeadLetters::open(&corner.config()).await.unwrap();
    assert_eq!(dead.look(|_| Fate::Requeue).await.unwrap().requeued, [letter.id]);
    dead.close().await;
    // The stream may have held it for a moment longer.
    let again = until("the change in its queue", || async { corner.get(&records).await }).await;
    let again = &again.delivery.properties;
    assert_eq!((again.message_id(), again.correlation_id()), (sent.message_id(), sent.correlation_id()));
    assert_eq!((again.content_type(), again.timestamp()), (sent.content_type(), sent.timestamp()));
    assert_eq!((again.kind(), again.expiration()), (sent.kind(), &None));
    let headers = again.headers().clone().unwrap_or_default();
    let names = headers.inner().keys().map(lapin::types::ShortString::as_str);
    // That the stream held it once more is counted.
    assert_eq!(names.filter(|name| *name != "x-delivery-count").collect::<Vec<_>>(), ["tenant"]);
    queue.close().await;
    corner.clean_up(&[]).await;
}

#[tokio::test]
async fn what_has_no_way_back_stays() {
    let corner = Corner::new().await;
    let queue = corner.queue().await;
    corner.put(&corner.names.dead_queue(), b"put here by hand").await;
    let dead = DeadLetters::open(&corner.config()).await.unwrap();
    let looked = dead.look(|_| Fate::Requeue).await.unwrap();
    assert_eq!((looked.requeued.len(), looked.not_requeued.len()), (0, 1));
    dead.close().await;
    assert_eq!(buried(&corner, 1).await[0].body, b"put here by hand");
    queue.close().await;
    corner.clean_up(&[]).await;
}

#[tokio::test]
async fn looking_more_often_than_a_quorum_queue_delivers_loses_nothing() {
    /// What `RabbitMQ` 4 sets by itself.
    const DELIVERY_LIMIT: i32 = 20;
    let corner = Corner::new().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    let name = corner.names.dead_queue();
    corner.channel.queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
    corner.put(&name, b"kept").await;
    for _ in 0..=2 * DELIVERY_LIMIT {
        assert_eq!(buried(&corner, 1).await[0].body, b"kept");
    }
    corner.delete(&name).await;
}

#[tokio::test]
async fn the_command_lists_shows_and_requeues_without_a_token() {
    let corner = Corner::new().await;
    let queue = corner.queue().await;
    let mut reports = queue.reports();
    let body = r#"{"job":"1","token":"secret","status":7}"#;
    corner.put(&corner.names.results_queue(), body.as_bytes()).await;
    applied(&corner, &mut reports).await;
    drop(reports);
    let letter = buried(&corner, 1).await.pop().unwrap();
    queue.close().await;

    let listed = ran(&corner, &["list"]);
    let table = String::from_utf8(listed.stdout).unwrap();
    assert!(table.contains(&letter.id) && table.contains(&corner.names.results_queue()), "{table}");
    let shown = ran(&corner, &["show", &letter.id, "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["body"], r#"{"job":"1","status":7,"token":"***"}"#);
    assert!(!table.contains("secret"), "{table}");
    assert_eq!(ran(&corner, &["show", "0"]).status.code(), Some(4));

    let requeued = ran(&corner, &["requeue", "--queue", &corner.names.results_queue()]);
    assert_eq!(String::from_utf8(requeued.stdout).unwrap(), format!("{}: requeued\n", letter.id));
    assert_eq!(letters(&corner).await, []);
    // As it was: the mask is for those who look.
    assert_eq!(corner.get(&corner.names.results_queue()).await.unwrap().delivery.data, body.as_bytes());
    corner.clean_up(&[]).await;
}

fn ran(corner: &Corner, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .env_clear()
        .env("QUORATE_AMQP_URL", amqp_url())
        .env("QUORATE_AMQP_PREFIX", &corner.prefix)
        .arg("dead")
        .args(arguments)
        .output()
        .unwrap()
}
