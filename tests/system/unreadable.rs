//! What cannot be read holds up nothing else.

use futures::{StreamExt, stream};
use quorate::proto::v1::SubmissionServiceCommentRequest;
use serde_json::json;
use tonic::Code;

use crate::{
    backend::Backend,
    caller::{CALLS_AT_ONCE, Caller, reason},
    system::System,
};

async fn comment(by: &Caller, submission: &str) -> Result<(), tonic::Status> {
    let request = SubmissionServiceCommentRequest {
        id: submission.to_owned(),
        comment: "hello".to_owned(),
        ..SubmissionServiceCommentRequest::default()
    };
    by.submissions().comment(request).await.map(|_| ())
}

#[tokio::test]
async fn a_submission_that_cannot_be_read_is_refused_alone() {
    let mut system = System::start(Backend::postgres_and_rabbitmq().await).await;
    let ann = system.caller("ann");
    let broken = ann.submit("note", json!({ "n": 1 })).await.id;
    let mut whole = Vec::new();
    for n in 0..20 {
        whole.push(ann.submit("note", json!({ "n": n })).await.id);
    }
    let statement = format!("update event set kind = 'WHATEVER' where submission = '{broken}' and seq = 2");
    system.backend.run_sql(&statement);
    // So that it is read.
    system.restart_server(&[]).await;
    let ann = system.caller("ann");
    // Many at a time, so that they meet in batches.
    let calls = (0..10).flat_map(|_| whole.iter().chain([&broken]));
    let answers: Vec<_> = stream::iter(calls)
        .map(|id| {
            let ann = &ann;
            async move { (id, comment(ann, id).await) }
        })
        .buffer_unordered(CALLS_AT_ONCE)
        .collect()
        .await;
    for (id, answer) in answers {
        match answer {
            Ok(()) => assert_ne!(*id, broken),
            Err(status) => {
                assert_eq!((id, status.code(), reason(&status)), (&broken, Code::Internal, "INTERNAL".to_owned()));
            }
        }
    }
    system.end().await;
}
