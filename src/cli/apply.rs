//! `validate` and `apply`: definitions from files.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    cli::{
        Failure,
        documents::{Document, Kind, Remark, read_documents},
        failure::answered,
        output::{Format, Session},
    },
    client::request_id,
    proto::v1,
};

/// Arguments of `quorate validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Files, or folders with .yaml, .yml and .json files; `-` is standard input
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "PATH")]
    pub(crate) files: Vec<PathBuf>,
}

/// Arguments of `quorate apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Files, or folders with .yaml, .yml and .json files; `-` is standard input
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "PATH")]
    pub(crate) files: Vec<PathBuf>,
}

/// Asks the server what it thinks of the processes.
pub(crate) async fn validate(args: &ValidateArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let found = read_documents(&args.files)?;
    for file in &found.skipped {
        session.note(&format!("{file}: passed over: it has neither apiVersion nor kind"))?;
    }
    let mut values = Vec::new();
    let mut valid = found.complaints.is_empty();
    for complaint in &found.complaints {
        session.line(&complaint.to_string())?;
        values.push(to_value(complaint, "", false));
    }
    for document in &found.documents {
        if document.kind != Kind::ApprovalProcess {
            // The API has no call that checks these without storing them.
            session.note(&format!("{}: checked when it is applied", describe(document)))?;
            continue;
        }
        let complaints = check(document, session).await?;
        for complaint in &complaints {
            let remark = place(document, complaint);
            session.line(&remark.to_string())?;
            values.push(to_value(&remark, &complaint.path, complaint.warning));
        }
        let errors = complaints.iter().filter(|complaint| !complaint.warning).count();
        valid &= errors == 0;
        if errors == 0 {
            session.line(&format!("{}: valid", describe(document)))?;
        }
    }
    if session.format != Format::Table {
        session.print_value(&Value::Array(values))?;
    }
    if valid { Ok(()) } else { Err(Failure::Reported) }
}

fn to_value(remark: &Remark, path: &str, warning: bool) -> Value {
    json!({
        "file": remark.file, "line": remark.line, "column": remark.column,
        "path": path, "message": remark.message, "warning": warning,
    })
}

/// Stores and activates the definitions.
pub(crate) async fn apply(args: &ApplyArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let found = read_documents(&args.files)?;
    for file in &found.skipped {
        session.note(&format!("{file}: passed over: it has neither apiVersion nor kind"))?;
    }
    if !found.complaints.is_empty() {
        for complaint in &found.complaints {
            session.note(&complaint.to_string())?;
        }
        return Err(Failure::Reported);
    }
    if found.documents.is_empty() {
        return Err(Failure::Usage("there are no definitions in these files".to_owned()));
    }
    let mut applied = Vec::new();
    let result = apply_documents(&found.documents, &mut applied, session).await;
    // What was stored before a refusal is stored, and is told.
    if session.format != Format::Table {
        session.print_value(&Value::Array(applied))?;
    }
    result
}

/// Stores documents that are sorted by kind. No process is stored unless all of them are valid; they are checked after
/// the flows and people are there which they name.
pub(crate) async fn apply_documents(
    documents: &[Document],
    applied: &mut Vec<Value>,
    session: &mut Session<'_, '_>,
) -> Result<(), Failure> {
    let first_process = documents.partition_point(|document| document.kind < Kind::ApprovalProcess);
    let (others, processes) = documents.split_at(first_process);
    for document in others {
        let result = match document.kind {
            Kind::Directory => apply_directory(document, session).await,
            Kind::Calendar => apply_calendar(document, session).await,
            Kind::Flow | Kind::ApprovalProcess => apply_flow(document, session).await,
        };
        report(document, result, applied, session)?;
    }
    let mut valid = true;
    for document in processes {
        for complaint in check(document, session).await? {
            session.note(&place(document, &complaint).to_string())?;
            valid &= complaint.warning;
        }
    }
    if !valid {
        return Err(Failure::Reported);
    }
    for document in processes {
        let result = apply_process(document, session).await;
        report(document, result, applied, session)?;
    }
    Ok(())
}

/// Says what became of a document; complaints of the server get the place of the document in its file.
fn report(
    document: &Document,
    result: Result<(String, Value), Failure>,
    applied: &mut Vec<Value>,
    session: &mut Session<'_, '_>,
) -> Result<(), Failure> {
    match result {
        Ok((line, value)) => {
            session.line(&line)?;
            applied.push(value);
            Ok(())
        }
        Err(Failure::Refused(status)) if status.code() == Code::InvalidArgument => {
            for remark in remarks(document, &status) {
                session.note(&remark.to_string())?;
            }
            Err(Failure::Reported)
        }
        Err(failure) => Err(failure),
    }
}

/// The server's refusal of a definition as remarks on the file. A violation's field is `line:column path` where it has a
/// place in the text. That text was sent without the lines before it: with them it would be another text, and another
/// version, wherever it moves in its file.
fn remarks(document: &Document, status: &Status) -> Vec<Remark> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|request| request.field_violations.as_slice()).unwrap_or_default();
    if violations.is_empty() {
        return vec![document.remark(0, 0, status.message())];
    }
    let to_remark = |violation: &tonic_types::FieldViolation| {
        let (field, description) = (violation.field.as_str(), violation.description.as_str());
        match place_of(field) {
            Some((line, column)) => document.remark(document.line - 1 + line, column, description),
            None if field.is_empty() => document.remark(0, 0, description),
            None => document.remark(0, 0, format!("{field}: {description}")),
        }
    };
    violations.iter().map(to_remark).collect()
}

/// The place in `12:3 stages[0].name`.
fn place_of(field: &str) -> Option<(usize, usize)> {
    let (line, column) = field.split(' ').next()?.split_once(':')?;
    Some((line.parse().ok().filter(|&line| line > 0)?, column.parse().ok()?))
}

async fn check(document: &Document, session: &Session<'_, '_>) -> Result<Vec<v1::Complaint>, Failure> {
    let client = &session.client;
    let request = v1::ProcessServiceValidateRequest { definition: document.padded() };
    Ok(client.call(async || client.processes().validate(request.clone()).await).await?.complaints)
}

/// The complaint at its place: the text was sent with the line numbers of its file.
fn place(document: &Document, complaint: &v1::Complaint) -> Remark {
    let prefix = if complaint.warning { "warning: " } else { "" };
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    document.remark(size(complaint.line), size(complaint.column).max(1), format!("{prefix}{}", complaint.message))
}

fn describe(document: &Document) -> String {
    match document.kind {
        Kind::Directory => "directory".to_owned(),
        Kind::Flow => format!("flow {}", document.name),
        Kind::Calendar => format!("calendar {}", document.name),
        Kind::ApprovalProcess => format!("process {}", document.name),
    }
}

async fn apply_directory(document: &Document, session: &Session<'_, '_>) -> Result<(String, Value), Failure> {
    let client = &session.client;
    let request = v1::DirectoryServiceApplyRequest { definition: document.text.clone(), request_id: request_id() };
    let put = client.call(async || client.directory().apply(request.clone()).await).await?;
    let counted = |count: u32, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let (users, groups, queues) =
        (counted(put.users, "user"), counted(put.groups, "group"), counted(put.queues, "queue"));
    let value = json!({ "kind": "Directory", "users": put.users, "groups": put.groups, "queues": put.queues });
    Ok((format!("directory: {users}, {groups}, {queues}"), value))
}

async fn apply_flow(document: &Document, session: &Session<'_, '_>) -> Result<(String, Value), Failure> {
    let client = &session.client;
    let get = v1::FlowServiceGetRequest { name: document.name.clone(), version: 0 };
    let before = found(client.call(async || client.flows().get(get.clone()).await).await)?.and_then(|got| got.flow);
    let publish =
        v1::FlowServicePublishRequest { definition: document.text.clone(), activate: true, request_id: request_id() };
    let published = client.call(async || client.flows().publish(publish.clone()).await).await?;
    let flow = answered(published.flow)?;
    let unchanged =
        before.is_some_and(|before| before.version == flow.version && before.status() == v1::VersionStatus::Active);
    Ok(version_line("Flow", "flow", &flow.name, flow.version, unchanged))
}

async fn apply_calendar(document: &Document, session: &Session<'_, '_>) -> Result<(String, Value), Failure> {
    let client = &session.client;
    let get = v1::CalendarServiceGetRequest { name: document.name.clone(), version: 0 };
    let before =
        found(client.call(async || client.calendars().get(get.clone()).await).await)?.and_then(|got| got.calendar);
    let publish = v1::CalendarServicePublishRequest {
        definition: document.text.clone(),
        activate: true,
        request_id: request_id(),
    };
    let published = client.call(async || client.calendars().publish(publish.clone()).await).await?;
    let calendar = answered(published.calendar)?;
    let unchanged =
        before.is_some_and(|before| before.version == calendar.version && before.status() == v1::VersionStatus::Active);
    Ok(version_line("Calendar", "calendar", &calendar.name, calendar.version, unchanged))
}

async fn apply_process(document: &Document, session: &Session<'_, '_>) -> Result<(String, Value), Failure> {
    let client = &session.client;
    let get = v1::ProcessServiceGetRequest { name: document.name.clone(), version: 0 };
    let before =
        found(client.call(async || client.processes().get(get.clone()).await).await)?.and_then(|got| got.process);
    let publish = v1::ProcessServicePublishRequest {
        definition: document.text.clone(),
        activate: true,
        request_id: request_id(),
    };
    let published = client.call(async || client.processes().publish(publish.clone()).await).await?;
    let process = answered(published.process)?;
    let unchanged =
        before.is_some_and(|before| before.version == process.version && before.status() == v1::VersionStatus::Active);
    Ok(version_line("ApprovalProcess", "process", &process.name, process.version, unchanged))
}

fn version_line(kind: &str, word: &str, name: &str, version: u32, unchanged: bool) -> (String, Value) {
    let line = if unchanged {
        format!("{word} {name}: unchanged (version {version})")
    } else {
        format!("{word} {name}: version {version} active")
    };
    (line, json!({ "kind": kind, "name": name, "version": version, "changed": !unchanged }))
}

/// What is not there yet is none.
fn found<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        // A document without a name asks for a nameless thing, which the server may call invalid; publishing will say it.
        Err(Failure::Refused(status)) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => Ok(None),
        Err(failure) => Err(failure),
    }
}
