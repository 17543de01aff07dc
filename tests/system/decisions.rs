//! Deciding: in batches, and in a race.

use std::sync::Arc;

use quorate::proto::v1::{SubmissionStatus, Verdict, WorkItemStatus};
use serde_json::json;
use tokio::sync::Barrier;
use tonic::Code;

use crate::{
    audit::verified_history,
    backend::Backend,
    caller::{decision, facts, reason, refused},
    on_every_backend,
    system::System,
};

on_every_backend! {
    async fn a_batch_gives_each_decision_its_own_result(backend: Backend) {
        let system = System::start(backend).await;
        let (ann, carol) = (system.caller("ann"), system.caller("carol"));
        let mut items = Vec::new();
        for _ in 0..5 {
            items.push(carol.item_of(&ann.submit("note", json!({})).await.id).await);
        }
        // Carol's own submission is not hers to decide.
        items.push(carol.item_of(&carol.submit("note", json!({})).await.id).await);
        let mut decisions: Vec<_> = items.iter().map(|item| decision(item, Verdict::Approve, "", "")).collect();
        decisions[1].verdict = Verdict::Reject.into();
        decisions[2].record_digest = "0".repeat(64);
        decisions[3].verdict = 0;
        "no id".clone_into(&mut decisions[4].id);
        decisions.push(decision(&items[0], Verdict::Approve, "", ""));
        let mut unknown = decisions[0].clone();
        unknown.id = uuid::Uuid::now_v7().to_string();
        decisions.push(unknown);
        let results = carol.batch_decide(decisions, "").await.unwrap();
        let reasons: Vec<_> = results.iter().map(|result| result.error.as_ref().map_or("", |error| &error.reason)).collect();
        assert_eq!(
            reasons,
            [
                "", "COMMENT_MISSING", "RECORD_CHANGED", "INVALID_FIELD", "INVALID_FIELD", "SEPARATION_OF_DUTIES",
                "ALREADY_DECIDED", "WORK_ITEM_NOT_FOUND",
            ]
        );
        assert_eq!(results[0].work_item.as_ref().unwrap().status(), WorkItemStatus::Approved);
        assert_eq!(ann.get(&items[0].submission).await.status(), SubmissionStatus::Approved);
        for item in &items[1..] {
            assert_eq!(ann.get(&item.submission).await.status(), SubmissionStatus::InProgress);
        }
        assert_eq!(refused(carol.batch_decide(Vec::new(), "").await), (Code::InvalidArgument, "INVALID_FIELD".into()));
        let too_many = vec![decision(&items[1], Verdict::Approve, "", ""); 501];
        assert_eq!(refused(carol.batch_decide(too_many, "").await), (Code::InvalidArgument, "INVALID_FIELD".into()));
        system.end().await;
    }

    async fn of_two_reviewers_in_a_race_one_wins_and_the_other_is_told_who(backend: Backend) {
        const RACES: usize = 20;
        let system = System::start(backend).await;
        let ann = system.caller("ann");
        for _ in 0..RACES {
            let id = ann.submit("note", json!({})).await.id;
            let item = system.caller("carol").item_of(&id).await;
            let barrier = Arc::new(Barrier::new(2));
            let race = ["carol", "dan"].map(|name| {
                let (caller, item, barrier) = (system.caller(name), item.clone(), Arc::clone(&barrier));
                tokio::spawn(async move {
                    // A call before, so that both are connected.
                    caller.get(&item.submission).await;
                    barrier.wait().await;
                    (name, caller.decide(decision(&item, Verdict::Approve, "", "")).await)
                })
            });
            let (mut winners, mut losers) = (Vec::new(), Vec::new());
            for task in race {
                match task.await.unwrap() {
                    (name, Ok(decided)) => winners.push((name, decided.decision.unwrap())),
                    (_, Err(status)) => losers.push(status),
                }
            }
            let ([(winner, decided)], [loser]) = (winners.as_slice(), losers.as_slice()) else {
                panic!("not one winner: {winners:?}, {losers:?}")
            };
            assert_eq!((loser.code(), reason(loser).as_str()), (Code::FailedPrecondition, "ALREADY_DECIDED"));
            let facts = facts(loser);
            assert_eq!((facts["by"].as_str(), facts["verdict"].as_str()), (*winner, "APPROVE"));
            let at: jiff::Timestamp = facts["at"].parse().unwrap();
            let stored = decided.decided_at.unwrap();
            assert_eq!((at.as_second(), at.subsec_nanosecond()), (stored.seconds, stored.nanos));
            verified_history(&system.store, &id).await;
        }
        system.end().await;
    }
}
