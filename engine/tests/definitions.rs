//! Definitions and what is complained of in them, as tables that a person can read; and the hostile ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use quorate_engine::{
    definition::{
        AssignRule, Complaint, DEFINITION_BYTES_MAX, Document, Everything, Execution, FlowType, Kind, Known, Named,
        OnNoApprovers, OnRejection, Outcome, Process, Quorum, RejectRule, Severity, StageExit, StepExit, StepKind,
        StepStart, Target, UserOrGroup, Whom, documents, kind_of, read_calendar, read_directory, read_flow,
        read_process,
    },
    directory::Directory,
};

#[path = "definitions/hostile.rs"]
mod hostile;
#[path = "definitions/model.rs"]
mod model;

/// What processes need; a case of a table leaves out what it is not about.
const PROCESS: [(&str, &str); 5] = [
    ("apiVersion", "quorate/v1"),
    ("kind", "ApprovalProcess"),
    ("name", "purchase"),
    (
        "record",
        "{ type: purchase, schema: { type: object, properties: { vendor: { type: string }, amount: { type: number } } } }",
    ),
    ("stages", "[{ name: review, steps: [{ name: manager, approval: { assign: [{ user: bob }] } }] }]"),
];
const FLOW: [(&str, &str); 5] = [
    ("apiVersion", "quorate/v1"),
    ("kind", "Flow"),
    ("name", "create-order"),
    ("type", "autolaunched"),
    ("code", "{}"),
];
const CALENDAR: [(&str, &str); 5] = [
    ("apiVersion", "quorate/v1"),
    ("kind", "Calendar"),
    ("name", "office"),
    ("time_zone", "Europe/Berlin"),
    ("hours", "{ monday: [\"09:00-17:00\"] }"),
];
const DIRECTORY: [(&str, &str); 2] = [("apiVersion", "quorate/v1"), ("kind", "Directory")];

fn process_complaints(text: &str) -> Vec<Complaint> {
    match read_process(text, &Office) {
        Ok((_, warnings)) => warnings,
        Err(complaints) => complaints,
    }
}

#[test]
fn fields_and_yaml_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/fields.txt"), &PROCESS, process_complaints);
}

#[test]
fn names_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/names.txt"), &PROCESS, process_complaints);
}

#[test]
fn process_tests_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/process_tests.txt"), &PROCESS, process_complaints);
}

#[test]
fn routes_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/routing.txt"), &PROCESS, process_complaints);
}

#[test]
fn steps_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/steps.txt"), &PROCESS, process_complaints);
}

#[test]
fn approval_steps_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/approvals.txt"), &PROCESS, process_complaints);
}

#[test]
fn moments_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/moments.txt"), &PROCESS, process_complaints);
}

#[test]
fn calendars_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/calendars.txt"), &CALENDAR, |text| {
        read_calendar(text).err().unwrap_or_default()
    });
}

#[test]
fn background_steps_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/backgrounds.txt"), &PROCESS, process_complaints);
}

#[test]
fn evaluations_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/evaluations.txt"), &PROCESS, process_complaints);
}

#[test]
fn expressions_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/expressions.txt"), &PROCESS, process_complaints);
}

#[test]
fn schemas_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/schemas.txt"), &PROCESS, process_complaints);
}

#[test]
fn flows_are_complained_of_as_the_table_says() {
    check_table(include_str!("definitions/flows.txt"), &FLOW, |text| read_flow(text).err().unwrap_or_default());
}

#[test]
fn directories_are_complained_of_as_the_table_says() {
    let complaints = |text: &str| read_directory(text).err().unwrap_or_default();
    check_table(include_str!("definitions/directories.txt"), &DIRECTORY, complaints);
}

#[test]
fn a_process_with_warnings_only_is_read() {
    let (_, warnings) = read_process(
        &completed("stages: [{ name: a, steps: [{ name: b, start: { when: 'true' }, approval: { assign: [{ user: ann }] } }] }]", &PROCESS),
        &Office,
    )
    .unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].severity, Severity::Warning);
}

#[test]
fn every_document_of_the_examples_is_read_without_complaints() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut files = 0;
    for folder in fs::read_dir(examples).unwrap() {
        let mut texts = Vec::new();
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                texts.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
        files += texts.len();
        let documents: Vec<(&str, Document<'_>)> = texts
            .iter()
            .flat_map(|(path, text)| documents(text).into_iter().map(move |found| (path.as_str(), found)))
            .collect();
        let known = Folder::read(&documents);
        for (path, document) in documents {
            if kind_of(document.text) == Ok(Kind::ApprovalProcess) {
                let (_, warnings) =
                    read_process(document.text, &known).unwrap_or_else(|c| panic!("{path}: {}", lines(&c)));
                assert!(warnings.is_empty(), "{path}: {}", lines(&warnings));
            }
        }
    }
    assert!(files >= 3);
}

#[test]
fn every_definition_in_the_reference_is_read_without_complaints() {
    let reference = include_str!("../../docs/definitions.md");
    let blocks: Vec<&str> =
        reference.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert!(blocks.len() >= 6);
    for block in blocks {
        let complaints = match kind_of(block).unwrap_or_else(|complaints| panic!("{block}{}", lines(&complaints))) {
            Kind::ApprovalProcess => {
                read_process(block, &Everything).map_or_else(|complaints| complaints, |(_, warnings)| warnings)
            }
            Kind::Calendar => read_calendar(block).err().unwrap_or_default(),
            Kind::Flow => read_flow(block).err().unwrap_or_default(),
            Kind::Directory => read_directory(block).err().unwrap_or_default(),
        };
        assert!(complaints.is_empty(), "{block}{}", lines(&complaints));
    }
}

/// Runs the cases of a table: `==== claim`, a definition, `----`, and a line for each complaint. What the definition does not
/// say of what it needs comes after it, so that lines and columns are those of the table's text. A claim that ends in
/// `(whole)` says everything itself.
fn check_table(table: &str, defaults: &[(&str, &str)], complaints: impl Fn(&str) -> Vec<Complaint>) {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for case in table.split("\n==== ").skip(1) {
        let (claim, rest) = case.split_once('\n').unwrap();
        let (definition, expected) = rest.split_once("----\n").unwrap_or_else(|| panic!("{claim}: no line `----`"));
        let whole = claim.ends_with("(whole)");
        let text = if whole { definition.to_owned() } else { completed(definition, defaults) };
        let found = lines(&complaints(&text));
        if found.trim() != expected.trim() {
            wrong.push(format!("==== {claim}\n{definition}----\n{found}\n"));
        }
        cases += 1;
    }
    assert!(cases > 0);
    assert!(wrong.is_empty(), "{} of {cases} cases; found instead:\n\n{}", wrong.len(), wrong.join("\n"));
}

fn lines(complaints: &[Complaint]) -> String {
    complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn completed(definition: &str, defaults: &[(&str, &str)]) -> String {
    let mut text = format!("{}\n", definition.trim_end());
    for (field, value) in defaults {
        let is_there =
            definition.lines().any(|line| line.strip_prefix(field).is_some_and(|rest| rest.starts_with(':')));
        if !is_there {
            text.extend([field, ": ", value, "\n"]);
        }
    }
    text
}

/// The names that the tables may use.
struct Office;

impl Known for Office {
    fn flow(&self, name: &str) -> Option<FlowType> {
        match name {
            "check-budget" | "create-order" | "notify" | "unserved" => Some(FlowType::Autolaunched),
            "review-screen" => Some(FlowType::Screen),
            "is-ready" => Some(FlowType::Evaluation),
            _ => None,
        }
    }

    fn unserved_task_queue(&self, flow: &str) -> Option<String> {
        (flow == "unserved").then(|| "erp".to_owned())
    }

    fn has_user(&self, name: &str) -> bool {
        self.names(Named::User).contains(&name.to_owned())
    }

    fn has_group(&self, name: &str) -> bool {
        self.names(Named::Group).contains(&name.to_owned())
    }

    fn has_queue(&self, name: &str) -> bool {
        self.names(Named::Queue).contains(&name.to_owned())
    }

    fn has_calendar(&self, name: &str) -> bool {
        self.names(Named::Calendar).contains(&name.to_owned())
    }

    fn names(&self, of: Named) -> Vec<String> {
        let names: &[&str] = match of {
            Named::Flow => &["check-budget", "create-order", "notify", "review-screen", "is-ready"],
            Named::User => &["ann", "bob", "carol"],
            Named::Group => &["finance", "board"],
            Named::Queue => &["intake"],
            Named::Calendar => &["office"],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}

/// The names that the definitions of a folder give.
#[derive(Default)]
struct Folder {
    flows: BTreeMap<String, FlowType>,
    calendars: BTreeSet<String>,
    directory: Directory,
}

impl Folder {
    fn read(documents: &[(&str, Document<'_>)]) -> Self {
        let mut folder = Self::default();
        for (path, Document { text, .. }) in documents {
            match kind_of(text).unwrap_or_else(|complaints| panic!("{path}: {}", lines(&complaints))) {
                Kind::ApprovalProcess => {}
                Kind::Calendar => {
                    let calendar =
                        read_calendar(text).unwrap_or_else(|complaints| panic!("{path}: {}", lines(&complaints)));
                    folder.calendars.insert(calendar.name);
                }
                Kind::Flow => {
                    let flow = read_flow(text).unwrap_or_else(|complaints| panic!("{path}: {}", lines(&complaints)));
                    folder.flows.insert(flow.name, flow.flow_type);
                }
                Kind::Directory => {
                    let people =
                        read_directory(text).unwrap_or_else(|complaints| panic!("{path}: {}", lines(&complaints)));
                    folder.directory =
                        (folder.directory.with_document(people)).unwrap_or_else(|error| panic!("{path}: {error}"));
                }
            }
        }
        assert_eq!(folder.directory.check(), Ok(()));
        folder
    }
}

impl Known for Folder {
    fn flow(&self, name: &str) -> Option<FlowType> {
        self.flows.get(name).copied()
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
        self.calendars.contains(name)
    }
}
