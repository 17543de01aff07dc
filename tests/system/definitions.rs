//! The definitions of the tests: the example, and small processes for one purpose each.

use quorate_worker::{FlowError, JobContext, WorkerBuilder, builtin::Builtin};
use serde_json::{Value, json};

pub(crate) const DIRECTORY: &str = include_str!("../../examples/purchase-request/directory.yaml");
pub(crate) const EXAMPLE_FLOWS: &str = include_str!("../../examples/purchase-request/flows.yaml");
pub(crate) const PURCHASE: &str = include_str!("../../examples/purchase-request/process.yaml");

/// What the workers of the tests serve.
pub(crate) const TASK_QUEUES: [&str; 2] = ["default", "erp"];

/// What is published before each test, besides [`purchase_process`].
pub(crate) const PROCESSES: [&str; 6] = [NOTE, FRAGILE, FAULTY, WAITING, SLEEPY, TWO_JOBS];

/// The process of the example. The tests look at what a synchronous step's answer shows, however long a loaded machine takes for it.
pub(crate) fn purchase_process() -> String {
    let synchronous = "execution: sync\n";
    assert_eq!(PURCHASE.matches(synchronous).count(), 1);
    PURCHASE.replace(synchronous, "execution: sync\n          sync_timeout: 1m\n")
}

/// A record that the example takes.
pub(crate) fn purchase(amount: f64) -> Value {
    json!({ "vendor": "ACME", "amount": amount })
}

/// Flows that the stock worker knows, and one that nobody serves.
pub(crate) const FLOWS: &str = "\
apiVersion: quorate/v1
kind: Flow
name: echo
type: autolaunched
code: {}
---
apiVersion: quorate/v1
kind: Flow
name: fail
type: autolaunched
code: {}
---
apiVersion: quorate/v1
kind: Flow
name: sleep
type: autolaunched
code: {}
---
apiVersion: quorate/v1
kind: Flow
name: orphan
type: autolaunched
task_queue: nobody
code: {}
";

/// One approval that any one of a group settles.
pub(crate) const NOTE: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: note
record:
  type: note
  schema: { type: object, properties: { n: { type: number }, text: { type: string } } }
stages:
  - name: review
    steps: [{ name: approve, approval: { assign: [{ group: finance }] } }]
    next: [{ to: end }]
";

/// A synchronous step that fails as often as its record says, and an approval after it. Nothing catches the error.
pub(crate) const FRAGILE: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: fragile
record:
  type: note
  schema: { type: object, required: [times], properties: { times: { type: number } } }
stages:
  - name: work
    steps:
      - name: book
        background: { flow: fail, execution: sync, sync_timeout: 1m, input: { times: record.times, code: \"'ERP_DOWN'\" }, retry: { max_attempts: 1 } }
      - { name: approve, start: { after: [book] }, approval: { assign: [{ user: bob }] } }
    next: [{ to: end }]
";

/// As `fragile`, with a fault path.
pub(crate) const FAULTY: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: faulty
record:
  type: note
  schema: { type: object, properties: { n: { type: number } } }
stages:
  - name: work
    steps:
      - { name: look, approval: { assign: [{ user: bob }] } }
      - { name: book, background: { flow: fail, execution: sync, retry: { max_attempts: 1 } } }
    on_error: apologize
    next: [{ to: end }]
  - name: apologize
    fault_path: true
    steps: [{ name: notify, background: { flow: echo } }]
    next: [{ to: end, outcome: REJECTED }]
";

/// A job that no worker takes, and then an approval.
pub(crate) const WAITING: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: waiting
record:
  type: note
  schema: { type: object, properties: { n: { type: number } } }
stages:
  - name: work
    steps:
      - { name: job, background: { flow: orphan, execution: async } }
      - { name: approve, start: { after: [job] }, approval: { assign: [{ user: bob }] } }
    next: [{ to: end }]
";

/// A job that the stock worker sleeps over, and then an approval.
pub(crate) const SLEEPY: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: sleepy
record:
  type: note
  schema: { type: object, properties: { n: { type: number } } }
stages:
  - name: work
    steps:
      - { name: job, background: { flow: sleep, execution: async, input: { seconds: \"3600.0\" } } }
      - { name: approve, start: { after: [job] }, approval: { assign: [{ user: bob }] } }
    next: [{ to: end }]
";

/// A job, an approval, a job: what is asked of the flows comes back as the steps' outputs.
pub(crate) const TWO_JOBS: &str = "\
apiVersion: quorate/v1
kind: ApprovalProcess
name: two-jobs
record:
  type: note
  schema: { type: object, required: [n], properties: { n: { type: number } } }
stages:
  - name: work
    steps:
      - { name: first, background: { flow: echo, execution: async, input: { n: record.n, step: \"'first'\" } } }
      - { name: approve, start: { after: [first] }, approval: { assign: [{ user: bob }] } }
      - { name: second, start: { after: [approve] },
          background: { flow: echo, execution: async, input: { n: record.n, step: \"'second'\" } } }
    next: [{ to: end }]
";

/// The flows of the example and of the tests.
pub(crate) fn serve(worker: WorkerBuilder) -> WorkerBuilder {
    worker
        .builtin("fail", Builtin::Fail)
        .default_builtin(Builtin::Echo)
        .flow("check-budget", |_: JobContext, _: Value| async { Ok::<_, FlowError>(json!({ "ok": true })) })
        .flow("create-order", |_: JobContext, _: Value| async { Ok::<_, FlowError>(json!({ "order": "PO-1" })) })
}
