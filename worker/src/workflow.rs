//! Declarative flows: jobs that bring their workflow with them (`docs/flows.md`).

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use jiff::Timestamp;
use quorate_workflow::{
    Effects, GrpcFailure, GrpcRequest, HttpFailure, HttpRequest, HttpResponse, JobEffect, Mail, MailFailure, Run,
    Workflow,
};
use serde_json::{Value, json};
use tracing::warn;

use crate::{
    EmittedEvent, FlowError, JobContext,
    flow::{self, Handler},
};

mod address;
mod binding;
mod client;
mod grpc;
mod mail;

pub use address::{InvalidNetwork, Network};
pub use mail::{InvalidMailServer, MailServer};

/// How many workflows are kept compiled.
const COMPILED_MAX: usize = 128;

/// How many bytes their documents have together: what is compiled takes many times as much.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// How large a secret's file is: more is no password, token or key.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// What a secret's variable in the environment begins with.
const SECRET_VARIABLE: &str = "QUORATE_SECRET_";

/// What declarative flows may use of this worker.
#[derive(Clone, Debug, Default)]
pub struct Workflows {
    networks: address::Networks,
    bindings: binding::Bindings,
    secrets: Option<PathBuf>,
    mail: Option<MailServer>,
}

impl Workflows {
    /// Flows may call addresses of this network, though they are not public.
    #[must_use]
    pub fn allow_network(mut self, network: Network) -> Self {
        self.networks.allowed.push(network);
        self
    }

    /// Flows do not call addresses of this network, whatever else is allowed.
    #[must_use]
    pub fn deny_network(mut self, network: Network) -> Self {
        self.networks.denied.push(network);
        self
    }

    /// This secret goes to this host, and to others that are named so, and nowhere else: a flow that would send it to another one
    /// fails before anything is sent. A secret that is not bound goes wherever a flow sends it.
    #[must_use]
    pub fn bind_secret(mut self, secret: &str, host: &str) -> Self {
        self.bindings.bind(secret, host);
        self
    }

    /// Secrets are the files of this directory, by their names. Without it they are variables of the environment:
    /// `QUORATE_SECRET_ERP_TOKEN` is `erp_token`.
    #[must_use]
    pub fn secrets_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.secrets = Some(directory.into());
        self
    }

    /// Flows may send mails, over this server.
    #[must_use]
    pub fn mail_server(mut self, server: MailServer) -> Self {
        self.mail = Some(server);
        self
    }

    /// What carries out the jobs that bring a workflow.
    pub(crate) fn handler(self) -> Handler {
        let client = client::Client::new(self.networks, self.bindings);
        let protos = grpc::Protos::default();
        let world = Arc::new(World { client, protos, secrets: self.secrets, mail: self.mail });
        let compiled = Arc::new(Compiled::default());
        flow::erase(move |context: JobContext, input: Value| {
            let (world, compiled) = (world.clone(), compiled.clone());
            async move {
                let workflow = compiled.get(&context.job.workflow).await?;
                let run = Run {
                    id: context.job().to_owned(),
                    metadata: json!({
                        "attempt": context.attempt(),
                        "flow": context.flow(),
                        "flow_version": context.flow_version(),
                        "process": context.process(),
                        "stage": context.stage(),
                        "step": context.step(),
                        "submission": context.submission(),
                        "tenant": context.tenant(),
                    }),
                };
                let result = tokio::select! {
                    result = workflow.run(run, input, &*world).boxed() => result,
                    () = context.cancelled() => return Err(FlowError::new("CANCELLED", "cancelled while it ran")),
                };
                let finished = result.map_err(|problem| FlowError {
                    code: problem.code(),
                    message: problem.to_string(),
                    retryable: problem.is_retryable(),
                })?;
                for effect in finished.effects {
                    hand_over(&context, effect)?;
                }
                Ok(finished.output)
            }
        })
    }
}

/// Gives an effect to the job, which sends it with the result.
fn hand_over(context: &JobContext, effect: JobEffect) -> Result<(), FlowError> {
    match effect {
        JobEffect::Comment(text) => context.comment(text),
        JobEffect::RecordPatch(patch) => context.update_record(patch),
        JobEffect::Event(told) => {
            let mut event = EmittedEvent::new(told.kind).source(told.source);
            if let Some(subject) = told.subject {
                event = event.subject(subject);
            }
            if let Some(uri) = told.dataschema {
                event = event.data_schema(uri);
            }
            if let Some(data) = told.data {
                event = event.data(data);
            }
            context.emit(&event)
        }
    }
}

/// Workflows that ran, compiled, by their documents.
#[derive(Default)]
struct Compiled(Mutex<Kept<Arc<Workflow>>>);

/// What is kept, and when it was used.
struct Kept<T> {
    entries: HashMap<String, (u64, T)>,
    uses: u64,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), uses: 0 }
    }
}

impl<T: Clone> Kept<T> {
    fn get(&mut self, key: &str) -> Option<T> {
        self.uses += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value.clone())
    }

    /// Keeps it, and no longer what was not used for the longest time, where that is too much.
    fn insert(&mut self, key: &str, value: T) {
        self.uses += 1;
        self.entries.insert(key.to_owned(), (self.uses, value));
        while self.entries.len() > COMPILED_MAX
            || self.entries.len() > 1 && self.entries.keys().map(String::len).sum::<usize>() > COMPILED_BYTES_MAX
        {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            self.entries.remove(&oldest.unwrap_or_default());
        }
    }
}

impl Compiled {
    async fn get(&self, document: &str) -> Result<Arc<Workflow>, FlowError> {
        // A panic while the lock was held leaves what is kept whole: each entry is.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(document);
        if let Some(workflow) = known {
            return Ok(workflow);
        }
        let text = document.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let document = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            Workflow::from_json(document)
                .map_err(|complaints| complaints.first().map(ToString::to_string).unwrap_or_default())
        });
        // The server has checked it: a newer one, which another worker may understand.
        let unreadable = |reason: String| FlowError::new("WORKFLOW_UNREADABLE", reason);
        let workflow = read.await.map_err(|error| unreadable(error.to_string()))?.map_err(unreadable)?;
        let workflow = Arc::new(workflow);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(document, workflow.clone());
        Ok(workflow)
    }
}

/// What a secret's file holds, without the line break that editors and `echo` end a file with.
pub fn read_secret(path: &Path) -> std::io::Result<String> {
    if fs::metadata(path)?.len() > SECRET_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has more than {SECRET_BYTES_MAX} bytes")));
    }
    let mut text = fs::read_to_string(path)?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

/// The world as it is.
struct World {
    client: client::Client,
    protos: grpc::Protos,
    secrets: Option<PathBuf>,
    mail: Option<MailServer>,
}

#[tonic::async_trait]
impl Effects for World {
    async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpFailure> {
        self.client.send(request).await
    }

    async fn grpc(&self, request: GrpcRequest) -> Result<Value, GrpcFailure> {
        grpc::call(&self.client, &self.protos, request).await
    }

    async fn mail(&self, mail: Mail) -> Result<(), MailFailure> {
        match &self.mail {
            Some(server) => server.send(mail).await,
            None => Err(MailFailure::NotConfigured("this worker has no mail server".to_owned())),
        }
    }

    fn secret(&self, name: &str) -> Option<String> {
        let Some(directory) = &self.secrets else {
            return std::env::var(format!("{SECRET_VARIABLE}{}", name.to_ascii_uppercase().replace('-', "_"))).ok();
        };
        // Names have letters, digits, `_` and `-` only: this goes to no other directory.
        match read_secret(&directory.join(name)) {
            Ok(secret) => Some(secret),
            Err(error) => {
                warn!(secret = name, %error, "the secret cannot be read");
                None
            }
        }
    }

    async fn sleep(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> f64 {
        rand::random()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_the_longest_time_is_not_kept() {
        let mut kept = Kept::default();
        for number in 0..COMPILED_MAX {
            kept.insert(&number.to_string(), number);
        }
        assert_eq!(kept.get("0"), Some(0));
        kept.insert("one more", 1);
        assert_eq!((kept.get("0"), kept.get("1"), kept.get("2")), (Some(0), None, Some(2)));
        // So large that nothing else is kept with it, and it itself is.
        let large = "x".repeat(COMPILED_BYTES_MAX);
        kept.insert(&large, 3);
        assert_eq!((kept.get(&large), kept.entries.len()), (Some(3), 1));
    }

    #[test]
    fn a_secret_is_the_file_of_its_name_without_the_last_line_break() {
        let directory = std::env::temp_dir().join(format!("quorate-secrets-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("erp_token"), "s3cret\n").unwrap();
        let world = World {
            client: client::Client::new(address::Networks::default(), binding::Bindings::default()),
            protos: grpc::Protos::default(),
            secrets: Some(directory.clone()),
            mail: None,
        };
        assert_eq!(world.secret("erp_token").as_deref(), Some("s3cret"));
        assert_eq!(world.secret("other"), None);
        fs::remove_dir_all(directory).unwrap();
    }
}
