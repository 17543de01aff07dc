//! What declarative flows send, by the stock worker as it is built: to a service over HTTPS, and to a mail server.

use std::{fs, path::Path, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac};
use quorate::proto::v1::{StepRunStatus, SubmissionStatus};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    approvals::step,
    audit::{each_result_was_applied_once, verified_history},
    backend::Backend,
    on_every_backend,
    program::{Program, printed, quorate_worker},
    queue_support::until,
    service::{Authority, Service, header},
    system::System,
};

/// An order in the ERP, which is announced, and told to the buyer by mail.
const TELLING: &str = "\
apiVersion: quorate/v1
kind: Flow
name: tell-buyer
type: autolaunched
workflow:
  document: { dsl: '1.0.3', namespace: purchasing, name: tell-buyer, version: '1.0.0' }
  use:
    secrets: [erp_token, buyers_hook]
    authentications: { erp: { bearer: { token: '${ $secrets.erp_token }' } } }
  do:
    - order:
        call: http
        with:
          method: post
          endpoint: { uri: 'https://ADDRESS/orders', authentication: { use: erp } }
        export: { as: '{ order: .number }' }
    - announce:
        call: webhook
        with:
          endpoint: https://ADDRESS/hook
          secret: buyers_hook
          event: { type: com.example.order.created, source: /purchasing, data: { order: '${ $context.order }' } }
        export: { as: '$context + { webhook: $output.id }' }
    - tell:
        try:
          - mail:
              call: mail
              with:
                to: ['${ $workflow.input.buyer }']
                subject: '${ \"Bestätigung \" + $context.order }'
                text: \"It is on its way.\\n.\\nBcc: mallory@example.com\"
        catch:
          errors: { with: { status: 503 } }
          retry: { delay: { milliseconds: 1 }, limit: { attempt: { count: 2 } } }
    - answer:
        set: { order: '${ $context.order }', webhook: '${ $context.webhook }', mail: '${ .id }' }
";

const BUYING: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: telling
record: { type: purchase, schema: { type: object, properties: { buyer: { type: string } } } }
allow_no_approvals: true
stages:
  - name: book
    steps:
      - { name: tell, background: { flow: tell-buyer, input: { buyer: record.buyer }, retry: { max_attempts: 1 } } }
";

/// It asks a service whether it shall wait, and is made anew by the next attempt.
const WAITING: &str = "\
apiVersion: quorate/v1
kind: Flow
name: wait-long
type: autolaunched
workflow:
  document: { dsl: '1.0.3', namespace: purchasing, name: wait-long, version: '1.0.0' }
  do:
    - ask:
        call: http
        with:
          method: post
          endpoint: http://ADDRESS/begun
          headers: { Idempotency-Key: '${ $workflow.id }' }
    - rest: { if: .wait, wait: { hours: 1 } }
    - answer: { set: { waited: '${ .wait }' } }
";

const PATIENT: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: patient
record: { type: purchase, schema: { type: object } }
allow_no_approvals: true
stages:
  - name: book
    steps:
      - { name: wait, background: { flow: wait-long, execution: async, heartbeat: 2s, retry: { initial_interval: 100ms } } }
";

/// It asks a server of gRPC whether it serves what the record names. The file stands in the flow.
const ASKING: &str = "\
apiVersion: quorate/v1
kind: Flow
name: ask-health
type: autolaunched
workflow:
  document: { dsl: '1.0.3', namespace: purchasing, name: ask-health, version: '1.0.0' }
  do:
    - ask:
        call: grpc
        with:
          proto: { endpoint: 'data:text/plain;base64,PROTO' }
          service: { name: grpc.health.v1.Health, host: 127.0.0.1, port: PORT }
          method: Check
          arguments: { service: '${ .service }' }
";

const HEALTH_PROTO: &str = r#"
syntax = "proto3";
package grpc.health.v1;
message HealthCheckRequest { string service = 1; }
message HealthCheckResponse {
  enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; SERVICE_UNKNOWN = 3; }
  ServingStatus status = 1;
}
service Health { rpc Check(HealthCheckRequest) returns (HealthCheckResponse); }
"#;

const HEALTHY: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: healthy
record: { type: purchase, schema: { type: object, properties: { service: {} } } }
allow_no_approvals: true
stages:
  - name: book
    steps:
      - { name: ask, background: { flow: ask-health, input: { service: record.service }, retry: { max_attempts: 1 } } }
";

/// 24 bytes, as the specification of Standard Webhooks asks for.
const HOOK_KEY: &[u8; 24] = b"0123456789abcdefghijklmn";

/// The stock worker, with what declarative flows may use of it, this machine among that.
fn stock_worker(system: &System, options: impl FnOnce(&mut Command)) -> Program {
    stock_worker_as_it_is(system, |command| {
        command.args(["--allow-network", "127.0.0.0/8"]);
        options(command);
    })
}

fn stock_worker_as_it_is(system: &System, options: impl FnOnce(&mut Command)) -> Program {
    let mut command = quorate_worker();
    if let Some(broker) = &system.backend.broker {
        command.args(["--amqp-url", &broker.url, "--amqp-prefix", &broker.prefix]);
    } else {
        command.args(["--server", &format!("http://{}", system.server.address)]);
        command.env("QUORATE_TOKEN", system.token("worker"));
    }
    options(&mut command);
    Program::start("the stock worker", command)
}

/// The secrets of the flow, as files.
fn write_secrets(folder: &Path) {
    fs::write(folder.join("erp_token"), "t0ken\n").unwrap();
    // The key in base64.
    fs::write(folder.join("buyers_hook"), "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1u\n").unwrap();
    fs::write(folder.join("smtp_password"), "s3cret\n").unwrap();
}

/// A mail server that asks for TLS and a password, and its URL.
async fn start_mail_server(authority: &Authority, mails: &Path, scheme: &str) -> (Program, String) {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    printed(Command::new("bash").arg(project.join("scripts/install-mail.sh")));
    let mut command = Command::new(project.join("target/mail/python/bin/python"));
    command.arg(project.join("tests/system/mail_server.py"));
    command.arg(if scheme == "smtp" { "starttls" } else { "tls" }).arg(mails);
    command.args([authority.file("server.pem"), authority.file("server.key")]).args(["worker", "s3cret"]);
    let mut program = Program::start("the mail server", command);
    let port: u16 = program.said("the mail server's port", |line| line.strip_prefix("serving on ")?.parse().ok()).await;
    (program, format!("{scheme}://127.0.0.1:{port}"))
}

fn output(submission: &quorate::proto::v1::Submission, name: &str) -> Value {
    let steps = submission.stages.iter().flat_map(|stage| &stage.steps);
    let step = steps.into_iter().find(|step| step.name == name).unwrap();
    quorate::proto::value::to_json(step.outputs.as_ref().unwrap(), "").unwrap()
}

on_every_backend! {
    async fn a_flow_without_code_calls_over_https_posts_a_webhook_and_sends_a_mail(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let authority = Authority::new();
        let service = Service::start(Some(authority.tls.clone()), |_, request| {
            let is_order = request.starts_with("POST /orders");
            if is_order { ("201 Created", r#"{"number": "PO-1"}"#) } else { ("200 OK", "{}") }
        })
        .await;
        let (secrets, mails) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_secrets(secrets.path());
        // One way on each backend: STARTTLS, and TLS from the beginning.
        let scheme = if system.backend.broker.is_some() { "smtps" } else { "smtp" };
        let (_mail_server, url) = start_mail_server(&authority, mails.path(), scheme).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_flows(&TELLING.replace("ADDRESS", &service.address)).await;
        admin.publish_process(BUYING).await;
        let worker = stock_worker(&system, |command| {
            command.env("SSL_CERT_FILE", authority.file("authority.pem"));
            command.arg("--secrets-dir").arg(secrets.path());
            command.args(["--smtp-url", &url, "--smtp-user", "worker"]);
            command.arg("--smtp-password-file").arg(secrets.path().join("smtp_password"));
            command.args(["--mail-from", "Orders <orders@example.com>"]);
        });

        // The mail server takes it the second time.
        let id = ann.submit("telling", json!({ "buyer": "Ann <later@example.com>" })).await.id;
        let ended = ann.when_it_is(&id, SubmissionStatus::Approved).await;
        let told = output(&ended, "tell");
        let requests = service.requests();
        let [order, hook] = requests.as_slice() else { panic!("{requests:?}") };
        assert_eq!(header(order, "authorization"), "Bearer t0ken");
        assert!(hook.starts_with("POST /hook HTTP/1.1\n"), "{hook}");
        let (id_of_hook, at, body) =
            (header(hook, "webhook-id"), header(hook, "webhook-timestamp"), hook.lines().last().unwrap());
        let event: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&event["type"], &event["data"]), (&json!("com.example.order.created"), &json!({ "order": "PO-1" })));
        assert_eq!((&event["id"], &told["webhook"]), (&json!(id_of_hook), &json!(id_of_hook)));
        let signature = BASE64.decode(header(hook, "webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(HOOK_KEY).unwrap();
        mac.update(format!("{id_of_hook}.{at}.{body}").as_bytes());
        mac.verify_slice(&signature).unwrap();

        let mail: Value = serde_json::from_slice(&fs::read(mails.path().join("1.json")).unwrap()).unwrap();
        assert_eq!((&mail["from"], &mail["to"]), (&json!("orders@example.com"), &json!(["later@example.com"])));
        assert_eq!((&mail["user"], &mail["encrypted"]), (&json!("worker"), &json!(true)));
        let message = mail["message"].as_str().unwrap();
        let (head, text) = message.split_once("\r\n\r\n").unwrap();
        let id_of_mail = format!("Message-ID: <{}@example.com>", told["mail"].as_str().unwrap());
        assert!(head.lines().any(|line| line == id_of_mail), "{id_of_mail}: {head}");
        assert!(head.is_ascii() && head.contains("Subject: =?utf-8?"), "{head}");
        assert_eq!(text.trim_end(), "It is on its way.\r\n.\r\nBcc: mallory@example.com");
        verified_history(&system.store, &id).await;

        // What the mail server refuses, and what is no address, ends the flow, and nobody else gets the mail.
        for (buyer, reason) in [
            ("nobody@example.com", "550"),
            ("ann@example.com\r\nBcc: mallory@example.com", "VALIDATION"),
            ("ann@example.com, mallory@example.com", "VALIDATION"),
        ] {
            let id = ann.submit("telling", json!({ "buyer": buyer })).await.id;
            let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
            assert!(format!("{ended:?}").contains(reason), "{ended:?}");
        }
        assert_eq!(fs::read_dir(mails.path()).unwrap().count(), 1);
        assert!(worker.stop().await.success());
        system.end().await;
    }

    async fn a_service_that_nobody_vouches_for_is_told_nothing(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let authority = Authority::new();
        let service = Service::start(Some(authority.tls.clone()), |_, _| ("200 OK", "{}")).await;
        let secrets = tempfile::tempdir().unwrap();
        write_secrets(secrets.path());
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_flows(&TELLING.replace("ADDRESS", &service.address)).await;
        admin.publish_process(BUYING).await;
        // It trusts another one.
        let other = Authority::new();
        let worker = stock_worker(&system, |command| {
            command.env("SSL_CERT_FILE", other.file("authority.pem")).arg("--secrets-dir").arg(secrets.path());
        });
        let id = ann.submit("telling", json!({ "buyer": "ann@example.com" })).await.id;
        let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
        assert_eq!(step(&ended, "tell"), StepRunStatus::Error);
        assert!(format!("{ended:?}").contains("certificate"), "{ended:?}");
        assert!(service.requests().is_empty());
        assert!(worker.stop().await.success());
        system.end().await;
    }

    async fn a_flow_without_code_calls_over_grpc_where_its_worker_may(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        let port = system.server.address.port().to_string();
        let flow = ASKING.replace("PROTO", &BASE64.encode(HEALTH_PROTO)).replace("PORT", &port);
        admin.publish_flows(&flow).await;
        admin.publish_process(HEALTHY).await;
        let worker = stock_worker(&system, |_| {});
        let served = json!({ "service": "quorate.v1.SubmissionService" });
        let id = ann.submit("healthy", served.clone()).await.id;
        let ended = ann.when_it_is(&id, SubmissionStatus::Approved).await;
        assert_eq!(output(&ended, "ask"), json!({ "status": "SERVING" }));

        // What the server says, and what is no message of the method's, ends the flow.
        for (service, reason) in
            [(json!("nothing"), "NOT_FOUND"), (json!(7), "no grpc.health.v1.HealthCheckRequest: `service` is not of its type")]
        {
            let id = ann.submit("healthy", json!({ "service": service })).await.id;
            let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
            assert_eq!(step(&ended, "ask"), StepRunStatus::Error);
            assert!(format!("{ended:?}").contains(reason), "{ended:?}");
        }
        assert!(worker.stop().await.success());

        // A worker that may call public addresses only.
        let worker = stock_worker_as_it_is(&system, |_| {});
        let id = ann.submit("healthy", served).await.id;
        let ended = ann.when_it_is(&id, SubmissionStatus::Error).await;
        assert!(format!("{ended:?}").contains("flows may not call 127.0.0.1"), "{ended:?}");
        assert!(worker.stop().await.success());
        system.end().await;
    }

    async fn a_flow_whose_worker_is_killed_while_it_waits_begins_anew(backend: Backend) {
        let system = System::start_without_worker(backend).await;
        let service =
            Service::start(None, |nth, _| ("200 OK", if nth == 0 { r#"{"wait": true}"# } else { r#"{"wait": false}"# })).await;
        let (admin, ann) = (system.caller("admin"), system.caller("ann"));
        admin.publish_flows(&WAITING.replace("ADDRESS", &service.address)).await;
        admin.publish_process(PATIENT).await;
        let mut killed = stock_worker(&system, |_| {});
        let id = ann.submit("patient", json!({})).await.id;
        until("the flow to begin", || std::future::ready((service.requests().len() == 1).then_some(()))).await;
        killed.kill();
        let worker = stock_worker(&system, |_| {});
        let ended = ann.when_it_is(&id, SubmissionStatus::Approved).await;
        assert_eq!(output(&ended, "wait"), json!({ "waited": false }));
        let requests = service.requests();
        // At least once by each worker: a delivery that comes back and the next attempt may overtake each other.
        assert!(requests.len() >= 2, "{requests:?}");
        let mut keys: Vec<&str> = requests.iter().map(|request| header(request, "idempotency-key")).collect();
        keys.dedup();
        assert_eq!(keys.len(), 1, "the same in every attempt");
        each_result_was_applied_once(&verified_history(&system.store, &id).await);
        assert!(worker.stop().await.success());
        system.end().await;
    }
}
