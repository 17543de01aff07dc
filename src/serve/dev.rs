//! The development server: everything in one process, and an example that waits for its approver.

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use quorate_engine::definition::documents;
use quorate_store::Store;
use quorate_worker::{FlowError, JobContext, Worker, workflow::Workflows};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, metadata::MetadataValue, transport::Channel};

use crate::{
    api,
    auth::{Authenticator, DEVELOPMENT_ADMINISTRATOR},
    proto::{
        v1::{
            self, directory_service_client::DirectoryServiceClient, flow_service_client::FlowServiceClient,
            process_service_client::ProcessServiceClient, submission_service_client::SubmissionServiceClient,
        },
        value,
    },
    queue::MemoryQueue,
    scheduler::Settings,
};

use super::{Parts, Server, StartError, wait};

/// The example, as it stands in `examples/purchase-request/`.
const DIRECTORY: &str = include_str!("../../examples/purchase-request/directory.yaml");
const FLOWS: &str = include_str!("../../examples/purchase-request/flows.yaml");
const PROCESS: &str = include_str!("../../examples/purchase-request/process.yaml");

/// What declarative flows may call of this machine, besides public addresses: what a developer runs on it. The server listens on
/// loopback only.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// What the worker of a development server serves: the example's flows, declarative ones, and all others as an echo.
const TASK_QUEUES: [&str; 2] = ["default", "erp"];

/// A development server that runs.
pub struct Dev {
    /// Where it listens.
    pub address: SocketAddr,
    /// The submission of the example, where it was made now.
    pub example: Option<String>,
    /// Where the data is kept; `None`: nowhere.
    pub data: Option<PathBuf>,
}

/// Runs a development server until `stop` is ready. `ready` is told when it takes calls and the example is set up.
pub async fn dev(
    listen: SocketAddr,
    data: Option<PathBuf>,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(&Dev),
) -> Result<(), StartError> {
    if !api::is_loopback(listen) {
        return Err(StartError::NotLoopback(listen));
    }
    let store = open(data.as_deref()).await?;
    store.migrate().await?;
    store.redeliver_all(jiff::Timestamp::now()).await?;
    let fresh = store.catalog_version(&crate::TENANT.into()).await? == 0;
    let settings = Settings { lanes: 1, shared_store: false, tick: Duration::from_millis(50), ..Settings::default() };
    let parts = Parts {
        store,
        queue: Arc::new(MemoryQueue::new()),
        authenticator: Authenticator::Development,
        tls: None,
        settings,
    };
    let server = Server::start(listen, parts).await?;
    let stop_worker = CancellationToken::new();
    let worker = tokio::spawn(worker(server.address)?.run(stop_worker.clone()));
    let example = if fresh {
        let seeded = seed(server.address).await;
        Some(seeded.map_err(|status| StartError::Seed(status.message().to_owned()))?)
    } else {
        None
    };
    ready(&Dev { address: server.address, example, data });
    wait(&server, stop).await;
    stop_worker.cancel();
    match worker.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the worker failed"),
        Err(error) => tracing::error!(%error, "the worker panicked"),
    }
    server.stop().await
}

async fn open(data: Option<&Path>) -> Result<Arc<dyn Store>, StartError> {
    let Some(folder) = data else { return Ok(quorate_store::open("sqlite::memory:").await?) };
    let file = |error| StartError::File { path: folder.to_owned(), error };
    tokio::fs::create_dir_all(folder).await.map_err(file)?;
    Ok(quorate_store::open(&format!("sqlite:{}", folder.join("quorate.db").display())).await?)
}

/// A worker as anybody would write it: over gRPC, with the flows of the example.
fn worker(address: SocketAddr) -> Result<Worker, StartError> {
    let networks = LOOPBACK.iter().filter_map(|network| network.parse().ok());
    Worker::builder()
        .workflows(networks.fold(Workflows::default(), Workflows::allow_network))
        .url(format!("http://{address}"))
        .metadata("quorate-user", "dev-worker")
        .name("dev-worker")
        .task_queues(TASK_QUEUES)
        .grace(Duration::from_secs(5))
        .flow("check-budget", |_job: JobContext, input: Value| async move { check_budget(&input) })
        .flow("create-order", |job: JobContext, _input: Value| async move {
            Ok(json!({ "order": format!("PO-{}", job.submission().rsplit('-').next().unwrap_or_default()) }))
        })
        .default_flow(|_job: JobContext, input: Value| async move { Ok(input) })
        .build()
        .map_err(|error| StartError::Seed(error.to_string()))
}

fn check_budget(input: &Value) -> Result<Value, FlowError> {
    let amount = input.get("amount").and_then(Value::as_f64);
    let amount = amount.ok_or_else(|| FlowError::permanent("AMOUNT_MISSING", "the input has no number `amount`"))?;
    Ok(json!({ "ok": amount <= 1_000_000.0 }))
}

/// Applies the example and submits one record, as a user of the API would.
async fn seed(address: SocketAddr) -> Result<String, Status> {
    let endpoint = Channel::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| Status::internal(error.to_string()))?;
    let channel = endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let apply = v1::DirectoryServiceApplyRequest { definition: DIRECTORY.to_owned(), ..Default::default() };
    DirectoryServiceClient::new(channel.clone()).apply(by(DEVELOPMENT_ADMINISTRATOR, apply)?).await?;
    let mut flows = FlowServiceClient::new(channel.clone());
    for document in documents(FLOWS) {
        let definition = document.text.to_owned();
        let publish = v1::FlowServicePublishRequest { definition, activate: true, ..Default::default() };
        flows.publish(by(DEVELOPMENT_ADMINISTRATOR, publish)?).await?;
    }
    let publish =
        v1::ProcessServicePublishRequest { definition: PROCESS.to_owned(), activate: true, ..Default::default() };
    ProcessServiceClient::new(channel.clone()).publish(by(DEVELOPMENT_ADMINISTRATOR, publish)?).await?;
    let data = json!({ "vendor": "ACME", "amount": 50.0, "cost_center": "R&D" });
    let record = v1::Record { id: "PR-1".to_owned(), data: Some(value::from_json(&data)), ..Default::default() };
    let submit = v1::SubmissionServiceSubmitRequest {
        process: "purchase-request".to_owned(),
        record: Some(record),
        comment: "two monitor stands".to_owned(),
        ..Default::default()
    };
    let response = SubmissionServiceClient::new(channel).submit(by("ann", submit)?).await?;
    Ok(response.into_inner().submission.map(|submission| submission.id).unwrap_or_default())
}

/// A call of this user.
fn by<T>(user: &str, message: T) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    let user = MetadataValue::try_from(user).map_err(|error| Status::internal(error.to_string()))?;
    request.metadata_mut().insert("quorate-user", user);
    Ok(request)
}
