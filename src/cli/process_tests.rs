//! `test`: the tests that processes carry, run on the rules alone. No server is needed.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use clap::Args;
use quorate_engine::{
    context::{Calendars, Flows},
    definition::{
        Complaint, FlowType, Known, Named, Process, Severity, read_calendar, read_directory, read_flow, read_process,
    },
    directory::Directory,
    process_test::{Failed, Surroundings, TestResult, run_tests},
    state::VersionRef,
};
use serde_json::{Value, json};

use crate::cli::{
    Failure, Screen,
    documents::{Document, Kind, Remark, read_documents},
    output::{Format, print_value},
};

/// Arguments of `quorate test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Files, or folders with .yaml, .yml and .json files; `-` is standard input
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "PATH")]
    pub(crate) files: Vec<PathBuf>,
    /// Only the tests of this process
    #[arg(long, value_name = "NAME")]
    pub(crate) process: Option<String>,
    /// Only the tests whose name has this in it
    #[arg(long, value_name = "TEXT")]
    pub(crate) test: Option<String>,
}

/// Runs the tests of the processes in the files.
pub(crate) fn test(args: &TestArgs, format: Format, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let found = read_documents(&args.files)?;
    for file in &found.skipped {
        writeln!(screen.err, "{file}: passed over: it has neither apiVersion nor kind")?;
    }
    let mut remarks = found.complaints;
    let folder = Folder::read(&found.documents, &mut remarks);
    let mut processes = Vec::new();
    for document in found.documents.iter().filter(|document| document.kind == Kind::ApprovalProcess) {
        match read_process(&document.padded(), &folder) {
            Ok((process, warnings)) => {
                for warning in &warnings {
                    writeln!(screen.err, "{}", remark(document, warning))?;
                }
                processes.push((document, process));
            }
            Err(complaints) => remarks.extend(complaints.iter().map(|complaint| remark(document, complaint))),
        }
    }
    if !remarks.is_empty() {
        for remark in &remarks {
            writeln!(screen.err, "{remark}")?;
        }
        return Err(Failure::Usage("definitions that cannot be read are not tested".to_owned()));
    }
    let mut tally = Tally::default();
    for (document, process) in processes {
        if args.process.as_ref().is_some_and(|name| *name != process.name) {
            continue;
        }
        for result in folder.run(process, args.test.as_deref()) {
            tally.add(document, result, format, screen)?;
        }
    }
    tally.finish(format, screen)
}

fn remark(document: &Document, complaint: &Complaint) -> Remark {
    let prefix = if complaint.severity == Severity::Warning { "warning: " } else { "" };
    document.remark(size(complaint.line), size(complaint.column), format!("{prefix}{}", complaint.message))
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What the documents define besides processes: each the version that would be active.
#[derive(Default)]
struct Folder {
    directory: Directory,
    flows: Flows,
    calendars: Calendars,
}

impl Folder {
    fn read(documents: &[Document], remarks: &mut Vec<Remark>) -> Self {
        let mut folder = Self::default();
        for document in documents {
            let text = document.padded();
            let read = match document.kind {
                Kind::Directory => read_directory(&text).map(|people| {
                    if let Err(error) = folder.directory.put(people) {
                        remarks.push(document.remark(0, 0, error.to_string()));
                    }
                }),
                Kind::Flow => read_flow(&text).map(|flow| {
                    let version = VersionRef { name: flow.name.clone(), version: 1 };
                    folder.flows.active.insert(flow.name.clone(), 1);
                    folder.flows.versions.insert(version, Arc::new(flow));
                }),
                Kind::Calendar => read_calendar(&text).map(|calendar| {
                    folder.calendars.active.insert(calendar.name.clone(), (1, Arc::new(calendar)));
                }),
                Kind::ApprovalProcess => Ok(()),
            };
            if let Err(complaints) = read {
                remarks.extend(complaints.iter().map(|complaint| remark(document, complaint)));
            }
        }
        let people = documents.iter().find(|document| document.kind == Kind::Directory);
        if let (Some(document), Err(error)) = (people, folder.directory.check()) {
            remarks.push(document.remark(0, 0, error.to_string()));
        }
        folder
    }

    /// The tests of the process, by name: those that are not asked for do not run.
    fn run(&self, mut process: Process, only: Option<&str>) -> Vec<(String, TestResult)> {
        process.tests.retain(|test| only.is_none_or(|only| test.name.contains(only)));
        let Self { directory, flows, calendars } = self;
        // Whoever runs them here stops them when they take too long.
        let results = run_tests(&Surroundings { process: &process, flows, calendars, directory }, &|| true);
        results.into_iter().map(|result| (process.name.clone(), result)).collect()
    }
}

impl Known for Folder {
    fn flow(&self, name: &str) -> Option<FlowType> {
        self.flows.active(name).map(|(_, flow)| flow.flow_type)
    }

    fn has_user(&self, name: &str) -> bool {
        self.directory.users.contains_key(name)
    }

    fn has_group(&self, name: &str) -> bool {
        self.directory.groups.contains_key(name)
    }

    fn has_queue(&self, name: &str) -> bool {
        self.directory.queues.contains_key(name)
    }

    fn has_calendar(&self, name: &str) -> bool {
        self.calendars.active.contains_key(name)
    }

    fn names(&self, of: Named) -> Vec<String> {
        fn keys<T>(named: &BTreeMap<String, T>) -> Vec<String> {
            named.keys().cloned().collect()
        }
        match of {
            Named::Flow => keys(&self.flows.active),
            Named::User => keys(&self.directory.users),
            Named::Group => keys(&self.directory.groups),
            Named::Queue => keys(&self.directory.queues),
            Named::Calendar => keys(&self.calendars.active),
        }
    }
}

/// What the tests came to.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    values: Vec<Value>,
}

impl Tally {
    fn add(
        &mut self,
        document: &Document,
        (process, result): (String, TestResult),
        format: Format,
        screen: &mut Screen<'_>,
    ) -> Result<(), Failure> {
        let TestResult { name, failed, .. } = result;
        let place = |failed: &Failed| document.remark(size(failed.line), 1, failed.to_string());
        match &failed {
            None => self.passed += 1,
            Some(_) => self.failed += 1,
        }
        if format != Format::Table {
            self.values.push(to_value(&process, &name, failed.as_ref().map(|failed| (place(failed), failed))));
            return Ok(());
        }
        match failed {
            None => writeln!(screen.out, "ok      {process}: {name}")?,
            Some(failed) => {
                let remark = place(&failed);
                writeln!(screen.out, "FAILED  {process}: {name}")?;
                for line in format!("{}:{}: {}", remark.file, remark.line, remark.message).lines() {
                    writeln!(screen.out, "  {line}")?;
                }
            }
        }
        Ok(())
    }

    fn finish(self, format: Format, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let Self { passed, failed, values } = self;
        if format == Format::Table {
            writeln!(screen.out, "{passed} passed, {failed} failed")?;
        } else {
            print_value(format, &Value::Array(values), screen.out)?;
        }
        match (passed, failed) {
            (0, 0) => Err(Failure::Usage("there are no tests of this name in these files".to_owned())),
            (_, 0) => Ok(()),
            (_, _) => Err(Failure::Reported),
        }
    }
}

fn to_value(process: &str, name: &str, failed: Option<(Remark, &Failed)>) -> Value {
    let mut value = json!({ "process": process, "test": name, "passed": failed.is_none() });
    if let Some((remark, failed)) = failed {
        let differences = failed.differences.iter();
        value["file"] = json!(remark.file);
        value["line"] = json!(remark.line);
        value["message"] = json!(failed.message);
        value["differences"] =
            differences.map(|row| json!({ "what": row.what, "expected": row.expected, "got": row.got })).collect();
        value["standing"] = json!(failed.standing);
    }
    value
}
