//! The development server and its worked example, by the programs as people start them.

use std::{net::SocketAddr, path::Path};

use crate::{
    backend::is_empty,
    program::{Program, output, printed, quorate, quorate_worker},
    queue_support::until,
    service::Service,
    workers::{Source, Way},
};

/// A flow that calls a service of the developer's own machine.
const NOTING: &str = "\
apiVersion: quorate/v1
kind: Flow
name: note
type: autolaunched
workflow:
  document: { dsl: '1.0.3', namespace: tests, name: note, version: '1.0.0' }
  do:
    - ask: { call: http, with: { method: get, endpoint: http://ADDRESS/ } }
---
apiVersion: quorate/v1
kind: ApprovalProcess
name: noting
record: { type: note, schema: { type: object } }
allow_no_approvals: true
stages:
  - name: note
    steps:
      - { name: note, background: { flow: note } }
";

/// A development server in a folder.
async fn dev(folder: &Path, options: &[&str]) -> (Program, SocketAddr) {
    let mut command = quorate();
    command.current_dir(folder).args(["dev", "--listen", "127.0.0.1:0"]).args(options);
    let mut program = Program::start("the development server", command);
    let address = program
        .said("where it listens", |line| {
            line.strip_prefix("quorate listens on http://")?.split(' ').next()?.parse().ok()
        })
        .await;
    (program, address)
}

/// The command that the server suggests, as arguments.
async fn suggested(program: &mut Program, part: &str) -> Vec<String> {
    program
        .said(part, |line| {
            let words = line.strip_prefix("  quorate ")?.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            words.iter().any(|word| word == part).then_some(words)
        })
        .await
}

#[tokio::test]
async fn the_worked_example_can_be_typed_as_it_is_printed_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (mut program, address) = dev(folder.path(), &["--data", "kept"]).await;
    let inbox = suggested(&mut program, "inbox").await;
    let listed = printed(quorate().args(&inbox));
    assert!(listed.contains("ACME: 50") && listed.contains("purchase-request"), "{listed}");
    let items: serde_json::Value = serde_json::from_str(&printed(quorate().args(&inbox).args(["-o", "json"]))).unwrap();
    let item = items[0]["id"].as_str().unwrap();
    let approve: Vec<_> = suggested(&mut program, "approve").await;
    let approve = approve.iter().map(|word| if word == "ITEM" { item } else { word });
    assert!(printed(quorate().args(approve)).to_lowercase().contains("approved"));
    let watch = suggested(&mut program, "watch").await;
    let submission = watch.last().unwrap().clone();
    let watched = printed(quorate().args(&watch));
    assert!(watched.contains("APPROVED"), "{watched}");
    let inbox_after: serde_json::Value =
        serde_json::from_str(&printed(quorate().args(&inbox).args(["-o", "json"]))).unwrap();
    assert_eq!(inbox_after, serde_json::json!([]));
    // The others of the map: a recall of another one, and the exit code that says how it ended.
    let call = |user: &str, arguments: &[&str]| {
        let mut command = quorate();
        command.args(["--server", &format!("http://{address}"), "--as", user]).args(arguments);
        command
    };
    let data = r#"{"vendor": "ACME", "amount": 70}"#;
    let submit = ["submit", "purchase-request", "--record-id", "PR-2", "--data", data, "-o", "json"];
    let second: serde_json::Value = serde_json::from_str(&printed(&mut call("ann", &submit))).unwrap();
    let second = second["id"].as_str().unwrap();
    printed(&mut call("ann", &["recall", second]));
    assert_eq!(output(&mut call("ann", &["watch", second, "--exit-status"])).status.code(), Some(11));
    let events = printed(&mut call("ann", &["events", second]));
    assert!(events.contains("RECALLED"), "{events}");
    assert!(program.stop().await.success());

    let (mut program, address) = dev(folder.path(), &["--data", "kept"]).await;
    let server = format!("http://{address}");
    let kept = printed(quorate().args(["--server", &server, "--as", "ann", "get", "submission", &submission]));
    assert!(kept.contains("APPROVED"), "{kept}");
    let all = printed(quorate().args(["--server", &server, "--as", "ann", "list", "submissions", "-o", "json"]));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&all).unwrap().as_array().unwrap().len(), 2);
    program.signal("TERM");
    let status = until("the server's end", || std::future::ready(program.ended())).await;
    assert!(status.success(), "{status}");
    assert!(!program.has_said("waits for bob"), "the example is set up once");
}

#[tokio::test]
async fn an_ephemeral_server_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (mut program, _) = dev(folder.path(), &["--ephemeral"]).await;
    let inbox = suggested(&mut program, "inbox").await;
    assert!(printed(quorate().args(&inbox)).contains("ACME: 50"));
    assert!(is_empty(folder.path()));
    assert!(program.stop().await.success());
    assert!(is_empty(folder.path()));
}

#[tokio::test]
async fn a_flow_without_code_runs_on_the_development_server() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(None, |_, _| ("200 OK", r#"{"number": "PO-7"}"#)).await;
    let (program, address) = dev(folder.path(), &["--ephemeral"]).await;
    let definitions = NOTING.replace("ADDRESS", &service.address);
    std::fs::write(folder.path().join("noting.yaml"), definitions).unwrap();
    let call = |user: &str, arguments: &[&str]| {
        let mut command = quorate();
        command.current_dir(folder.path()).args(["--server", &format!("http://{address}"), "--as", user]);
        command.args(arguments);
        tokio::task::spawn_blocking(move || printed(&mut command))
    };
    call("admin", &["apply", "-f", "noting.yaml"]).await.unwrap();
    let submit = ["submit", "noting", "--record-id", "1", "--data", "{}", "--wait", "-o", "json"];
    let ended = call("ann", &submit).await.unwrap();
    assert!(ended.contains("APPROVED"), "{ended}");
    assert_eq!(service.requests().len(), 1);
    assert!(program.stop().await.success());
}

#[tokio::test]
async fn every_example_is_applied_and_takes_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let (program, address) = dev(folder.path(), &["--ephemeral"]).await;
    let call = |user: &str, arguments: &[&str]| {
        let mut command = quorate();
        command.args(["--server", &format!("http://{address}"), "--as", user]).args(arguments);
        printed(&mut command)
    };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let records = [
        ("purchase-request", r#"{"vendor": "ACME", "amount": 50.0}"#),
        ("expense-report", r#"{"amount": 120.0, "purpose": "a train"}"#),
        ("discount", r#"{"number": "Q-1", "discount": 0.2, "released": 0.0}"#),
        ("contract", r#"{"party": "ACME", "terms": "net 30", "value": 5.0}"#),
        ("access-request", r#"{"system": "crm", "level": "read", "owner": "bob"}"#),
    ];
    // The others hold programs.
    let folders = std::fs::read_dir(&examples)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().join("process.yaml").exists());
    assert_eq!(folders.count(), records.len(), "each example has a record here");
    for (name, _) in &records {
        let tested = printed(quorate().args(["test", "-f", examples.join(name).to_str().unwrap()]));
        assert!(tested.contains("passed, 0 failed"), "{tested}");
    }
    for (name, data) in records {
        let applied = call("admin", &["apply", "-f", examples.join(name).to_str().unwrap()]);
        assert!(applied.contains(&format!("process {name}:")), "{applied}");
        let submitted = call("ann", &["submit", name, "--record-id", "1", "--data", data]);
        assert!(submitted.contains("IN_PROGRESS"), "{submitted}");
    }
    assert!(program.stop().await.success());
}

/// A process whose flow the server's own worker does not serve.
const MINE: &str = "\
apiVersion: quorate/v1
kind: Flow
name: create-order
type: autolaunched
task_queue: mine
code: {}
---
apiVersion: quorate/v1
kind: ApprovalProcess
name: mine
record: { type: note, schema: { type: object } }
allow_no_approvals: true
stages:
  - name: note
    steps:
      - name: order
        background: { flow: create-order, input: { vendor: '\"ACME\"', amount: '50' } }
";

#[tokio::test]
async fn workers_in_every_language_join_the_development_server_by_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let (program, address) = dev(folder.path(), &["--ephemeral"]).await;
    std::fs::write(folder.path().join("mine.yaml"), MINE).unwrap();
    let source = Source::Grpc { url: format!("http://{address}"), caller: ("QUORATE_AS", "erp-worker".to_owned()) };
    let call = |user: &str, arguments: &[&str]| {
        let mut command = quorate();
        command.current_dir(folder.path()).args(["--server", &format!("http://{address}"), "--as", user]);
        command.args(arguments);
        tokio::task::spawn_blocking(move || printed(&mut command))
    };
    call("admin", &["apply", "-f", "mine.yaml"]).await.unwrap();
    for (id, way) in [("1", Some(Way::Rust)), ("2", Some(Way::Python)), ("3", Some(Way::TypeScript)), ("4", None)] {
        let worker = if let Some(way) = way {
            way.start(&source, folder.path(), &[("QUORATE_TASK_QUEUE", "mine")]).await
        } else {
            let mut command = quorate_worker();
            command.args(["--server", &format!("http://{address}"), "--as", "stock-worker"]);
            command.args(["--task-queue", "mine", "--serve", "create-order=echo"]);
            Program::start("the stock worker", command)
        };
        let submit = ["submit", "mine", "--record-id", id, "--data", "{}", "--wait", "-o", "json"];
        let ended = call("ann", &submit).await.unwrap();
        assert!(ended.contains("APPROVED"), "{way:?}: {ended}");
        assert!(worker.stop().await.success());
    }
    assert!(program.stop().await.success());
}
