//! Who may call, what a server insists on before it starts, and what anybody may ask of it.

use quorate::proto::v1::{
    DirectoryServicePutUserRequest, JobServiceListRequest, JobServiceStreamJobsRequest, SubmissionServiceGetRequest,
    SubmissionServiceListRequest, User,
};
use serde_json::json;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb;

use crate::{
    backend::Backend,
    caller::{Caller, Identity, publish, reason, refused, submit},
    definitions::NOTE,
    on_every_backend,
    program::{output, printed, quorate},
    queue_support::until,
    system::{Server, System, create_token},
};

fn role_missing() -> (Code, String) {
    (Code::PermissionDenied, "ROLE_MISSING".to_owned())
}

on_every_backend! {
    async fn callers_are_known_by_their_tokens_and_may_what_their_roles_say(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let id = system.caller("ann").submit("note", json!({})).await.id;
        let list = SubmissionServiceListRequest::default();
        let identities = [
            Identity::default(),
            Identity { token: Some("Bearer qrt_0000".parse().unwrap()), user: None },
            Identity { token: Some("Basic YTpi".parse().unwrap()), user: None },
            // Believed by development servers only.
            Identity { token: None, user: Some("admin".parse().unwrap()) },
        ];
        for identity in identities {
            let caller = Caller::new(system.server.address, identity);
            let answer = refused(caller.submissions().list(list.clone()).await);
            assert_eq!(answer, (Code::Unauthenticated, "UNAUTHENTICATED".to_owned()));
        }
        let with = |role: &str| Caller::with_token(system.server.address, &create_token(&system.backend, "someone", &[role]));
        let (submitter, reviewer) = (with("submitter"), with("reviewer"));
        let (designer, worker, auditor) = (with("designer"), with("worker"), with("auditor"));
        assert_eq!(refused(submitter.processes().publish(publish(NOTE)).await), role_missing());
        assert_eq!(refused(submitter.batch_decide(Vec::new(), "").await), role_missing());
        assert_eq!(refused(reviewer.try_submit(submit("note", "", &json!({}))).await), role_missing());
        assert_eq!(refused(designer.try_submit(submit("note", "", &json!({}))).await), role_missing());
        let user = DirectoryServicePutUserRequest { user: Some(User { name: "zoe".into(), ..Default::default() }), ..Default::default() };
        assert_eq!(refused(designer.directory().put_user(user).await), role_missing());
        assert_eq!(refused(worker.submissions().list(list.clone()).await), role_missing());
        assert_eq!(refused(auditor.try_submit(submit("note", "", &json!({}))).await), role_missing());
        assert_eq!(refused(auditor.jobs().stream_jobs(JobServiceStreamJobsRequest::default()).await.map(|_| ())), role_missing());
        // An administrator is no worker: jobs go to workers only.
        let stream = system.caller("admin").jobs().stream_jobs(JobServiceStreamJobsRequest::default()).await;
        assert_eq!(refused(stream.map(|_| ())), role_missing());
        designer.publish_process(NOTE).await;
        assert_eq!(auditor.submissions().get(SubmissionServiceGetRequest { id: id.clone() }).await.unwrap().into_inner().submission.unwrap().id, id);
        auditor.jobs().list(JobServiceListRequest::default()).await.unwrap();
        system.end().await;
    }

    async fn a_revoked_token_is_refused(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let database = system.backend.database_url.clone();
        let token = create_token(&system.backend, "eve", &["submitter"]);
        let caller = Caller::with_token(system.server.address, &token);
        caller.submit("note", json!({})).await;
        let listed = printed(quorate().args(["token", "list", "--database-url", &database]));
        assert!(!listed.contains(&token) && !listed.contains("qrt_"), "{listed}");
        let line = listed.lines().find(|line| line.contains("eve")).unwrap();
        let id = line.split_whitespace().next().unwrap();
        printed(quorate().args(["token", "revoke", "--database-url", &database, id]));
        // A server believes it for ten seconds more.
        let status = until("the refusal of a revoked token", || async {
            caller.submissions().list(SubmissionServiceListRequest::default()).await.err()
        })
        .await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "UNAUTHENTICATED"));
        let again = output(quorate().args(["token", "revoke", "--database-url", &database, id]));
        assert_eq!(again.status.code(), Some(1));
        system.end().await;
    }

    async fn a_server_starts_neither_on_a_schema_that_is_not_migrated_nor_without_a_token(backend: Backend) {
        let mut unmigrated = Server::launch(&backend, &[]);
        let status = until("the end of the server", || std::future::ready(unmigrated.ended())).await;
        assert_eq!(status.code(), Some(1));
        unmigrated.said("what to do", |line| line.contains("quorate migrate").then_some(())).await;
        let applied = printed(quorate().args(["migrate", "--database-url", &backend.database_url]));
        assert!(applied.starts_with("applied "), "{applied}");
        let again = printed(quorate().args(["migrate", "--database-url", &backend.database_url]));
        assert!(again.contains("up to date"), "{again}");
        let mut without = Server::launch(&backend, &[]);
        let status = until("the end of the server", || std::future::ready(without.ended())).await;
        assert_eq!(status.code(), Some(1));
        without.said("what to do", |line| line.contains("quorate token create").then_some(())).await;
        assert!(!without.has_said("listen="));
        create_token(&backend, "admin", &["administrator"]);
        let server = Server::start(&backend, &[]).await;
        assert!(server.program.stop().await.success());
    }
}

#[tokio::test]
async fn a_development_server_listens_on_loopback_only() {
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let refused = output(quorate().args(["dev", "--ephemeral", "--listen", address]));
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("loopback") && refused.stdout.is_empty(), "{said}");
    }
}

#[tokio::test]
async fn health_and_both_reflections_answer_without_a_token() {
    let system = System::start_without_worker(Backend::sqlite_and_memory()).await;
    let caller = Caller::new(system.server.address, Identity::default());
    for service in ["", "quorate.v1.SubmissionService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = HealthClient::new(caller.channel()).check(request).await.unwrap().into_inner().status;
        assert_eq!(status, 1, "SERVING");
    }
    let server = format!("http://{}", system.server.address);
    assert!(output(quorate().args(["--server", &server, "health"])).status.success());
    // The two versions differ in their package only.
    macro_rules! services {
        ($package:ident) => {{
            use pb::$package::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let list = MessageRequest::ListServices(String::new());
            let request = ServerReflectionRequest { message_request: Some(list), ..Default::default() };
            let mut client = ServerReflectionClient::new(caller.channel());
            let answers = client.server_reflection_info(futures::stream::iter([request])).await;
            let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
            let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
                panic!("not a list of services: {answer:?}")
            };
            list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
        }};
    }
    for services in [services!(v1), services!(v1alpha)] {
        for name in ["Process", "Flow", "Submission", "WorkItem", "Directory", "Job"] {
            assert!(services.contains(&format!("quorate.v1.{name}Service")), "{name}: {services:?}");
        }
        assert!(services.contains(&"grpc.health.v1.Health".to_owned()), "{services:?}");
    }
    system.end().await;
}
