//! Handlers carried out without a server, and what a worker adds to them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use quorate_worker::{
    EmittedEvent, FlowError, InvalidWorker, JobContext, Next, Worker, WorkerBuilder,
    testing::{Effect, Outcome, TestJob},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

#[derive(Deserialize)]
struct Amount {
    amount: u64,
}

/// A flow that waits until it is cancelled.
fn endless() -> WorkerBuilder {
    Worker::builder().flow("endless", |job: JobContext, _: Value| async move {
        job.cancelled().await;
        Err::<Value, _>(FlowError::new("CANCELLED", "as asked"))
    })
}

fn code(tested: &quorate_worker::testing::Tested) -> &str {
    &tested.error().unwrap().code
}

#[tokio::test]
async fn types_are_checked_as_a_worker_checks_them() {
    let worker = Worker::builder()
        .flow("double", |_: JobContext, input: Amount| async move { Ok(json!({ "doubled": input.amount * 2 })) })
        .flow("text", |_: JobContext, _: Value| async { Ok("no object") })
        .flow("panic", |_: JobContext, _: Value| async { panic!("on the streets") as Result<Value, FlowError> });
    let doubled = TestJob::new("double").input(json!({ "amount": 21 })).run(&worker).await;
    assert_eq!(doubled.output::<Value>(), Ok(json!({ "doubled": 42 })));
    assert!(!doubled.started && doubled.heartbeats == 0, "it was done at once");
    assert_eq!(code(&TestJob::new("double").input(json!({ "amount": "much" })).run(&worker).await), "INPUT_INVALID");
    assert_eq!(code(&TestJob::new("text").run(&worker).await), "OUTPUT_NOT_OBJECT");
    assert_eq!(code(&TestJob::new("panic").run(&worker).await), "PANIC");
    assert_eq!(code(&TestJob::new("unknown").run(&worker).await), "UNKNOWN_FLOW");
}

#[tokio::test]
async fn effects_come_in_their_order_and_with_success_only() {
    let worker = Worker::builder().flow("order", |job: JobContext, _: Value| async move {
        job.comment("ordered")?;
        job.emit(&EmittedEvent::new("com.example.ordered").subject("PO-1").data(json!([1])))?;
        job.update_record(json!({ "order": "PO-1", "draft": null }))?;
        if job.attempt() == 1 { Err(FlowError::new("DOWN", "once")) } else { Ok(json!({})) }
    });
    let first = TestJob::new("order").run(&worker).await;
    assert_eq!((code(&first), first.effects.len()), ("DOWN", 0));
    let second = TestJob::new("order").attempt(2).run(&worker).await;
    assert_eq!(
        second.effects,
        [
            Effect::Comment("ordered".to_owned()),
            Effect::Event(EmittedEvent::new("com.example.ordered").subject("PO-1").data(json!([1]))),
            Effect::RecordPatch(json!({ "order": "PO-1", "draft": null })),
        ]
    );
    let asked = TestJob::new("order").attempt(2).evaluation().run(&worker).await;
    assert_eq!(code(&asked), "EFFECT_INVALID", "a flow that answers a condition only answers");
}

#[tokio::test]
async fn an_effect_that_the_server_would_not_read_is_an_error_where_it_is_made() {
    let worker = Worker::builder().flow("try", |job: JobContext, _: Value| async move {
        let deep = (0..30).fold(json!({}), |inner, _| json!({ "a": inner }));
        let refused = [
            job.comment(" "),
            job.comment("x".repeat(4_001)),
            job.update_record("text"),
            job.update_record(&deep),
            job.update_record(json!({ "text": "\0" })),
            job.emit(&EmittedEvent::new("")),
            job.emit(&EmittedEvent::new("two words")),
            job.emit(&EmittedEvent::new("quorate.submission.approved")),
            job.emit(&EmittedEvent::new("fine").subject("x".repeat(501))),
            job.emit(&EmittedEvent::new("fine").data(deep)),
            job.emit(&EmittedEvent::new("fine").data(["\0"])),
        ];
        assert!(refused.iter().all(|refused| refused.as_ref().is_err_and(|error| error.code == "EFFECT_INVALID")));
        for _ in 0..50 {
            job.comment("fine")?;
        }
        job.comment("one too many")?;
        Ok(json!({}))
    });
    let tested = TestJob::new("try").run(&worker).await;
    let error = tested.error().unwrap();
    assert_eq!((error.code.as_str(), error.retryable), ("EFFECT_INVALID", false));
    assert!(error.message.contains("at most 50"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_with_the_earlier_of_its_steps_and_its_flows_timeout() {
    let hour = Duration::from_hours(1);
    for (of_step, of_flow, longest) in [(hour, hour / 60, 120), (hour / 60, hour, 120)] {
        let begun = tokio::time::Instant::now();
        let worker = endless().flow_timeout("endless", of_flow);
        let tested = TestJob::new("endless").timeout(of_step).heartbeat(Duration::from_secs(10)).run(&worker).await;
        assert_eq!(code(&tested), "TIMEOUT");
        assert!(begun.elapsed() < Duration::from_secs(longest), "{:?}", begun.elapsed());
        assert!(tested.started && tested.heartbeats >= 10, "{tested:?}");
    }
    let no_time = endless().url("http://127.0.0.1:1").flow_timeout("endless", Duration::ZERO).build();
    assert!(matches!(no_time, Err(InvalidWorker::FlowTimeout(flow)) if flow == "endless"));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_handler_may_still_finish_and_is_dropped_if_it_does_not() {
    let second = Duration::from_secs(1);
    let stopped = TestJob::new("endless").stopped_after(second).run(&endless()).await;
    assert_eq!(stopped.outcome, Outcome::Dropped);
    // The server's word that the attempt is over comes as the answer to a report.
    let dead = TestJob::new("endless").heartbeat(10 * second).dead_after(60 * second).run(&endless()).await;
    assert_eq!((dead.outcome, dead.started), (Outcome::Dropped, true));
    assert!(dead.heartbeats >= 10);
    let tidy = Worker::builder().flow("tidy", |job: JobContext, _: Value| async move {
        job.cancelled().await;
        Ok(json!({ "tidied": true }))
    });
    let tidied = TestJob::new("tidy").stopped_after(second).run(&tidy).await;
    assert_eq!(tidied.outcome, Outcome::Completed(json!({ "tidied": true })));
    let deaf = Worker::builder().flow("deaf", |_: JobContext, _: Value| async {
        sleep(Duration::from_hours(1)).await;
        Ok(json!({}))
    });
    assert_eq!(TestJob::new("deaf").stopped_after(second).run(&deaf).await.outcome, Outcome::Dropped);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_the_handlers_where_the_worker_says_so() {
    let worker = Worker::builder().manual_heartbeat().flow("slow", |job: JobContext, _: Value| async move {
        for _ in 0..3 {
            sleep(Duration::from_secs(20)).await;
            job.heartbeat();
        }
        sleep(Duration::from_secs(20)).await;
        Ok(json!({}))
    });
    let tested = TestJob::new("slow").heartbeat(Duration::from_secs(30)).run(&worker).await;
    assert_eq!((tested.heartbeats, tested.outcome), (3, Outcome::Completed(json!({}))));
}

#[tokio::test]
async fn layers_are_around_every_handler_the_first_outermost() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let layer = |name: &'static str| {
        let heard = heard.clone();
        move |job: JobContext, mut input: Value, next: Next| {
            let heard = heard.clone();
            async move {
                heard.lock().unwrap().push(format!("{name} before {}", job.flow()));
                input[name] = json!(true);
                let outcome = next.run(job, input).await;
                let how = outcome.as_ref().map_or_else(|error| error.code.clone(), ToString::to_string);
                heard.lock().unwrap().push(format!("{name} after {how}"));
                outcome
            }
        }
    };
    let worker = Worker::builder()
        .layer(layer("outer"))
        .flow("echo", |_: JobContext, input: Value| async move { Ok(input) })
        .layer(layer("inner"))
        .default_flow(|_: JobContext, _: Value| async { Err(FlowError::new("DOWN", "always")) });
    let echoed = TestJob::new("echo").run(&worker).await;
    assert_eq!(echoed.outcome, Outcome::Completed(json!({ "inner": true, "outer": true })));
    assert_eq!(code(&TestJob::new("any").run(&worker).await), "DOWN");
    assert_eq!(
        *heard.lock().unwrap(),
        [
            "outer before echo",
            "inner before echo",
            r#"inner after {"inner":true,"outer":true}"#,
            r#"outer after {"inner":true,"outer":true}"#,
            "outer before any",
            "inner before any",
            "inner after DOWN",
            "outer after DOWN",
        ]
    );
}
