//! `quorate preview`: who would be asked, and why, with nothing submitted.

use std::{collections::BTreeMap, io::Write};

use clap::Args;
use prost_types::Struct;

use crate::{
    cli::{
        Failure,
        data::{read_object, to_object},
        output::{Session, status_name},
        submit::{choices, parse_choice},
    },
    proto::v1::{ProcessServicePreviewRequest, ProcessServicePreviewResponse},
};

/// Arguments of `quorate preview`.
#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// The process
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub(crate) process: Option<String>,
    /// Its version; without it, the active one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "file")]
    pub(crate) version: Option<u32>,
    /// A file with the definition of a process that need not be published
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<std::path::PathBuf>,
    /// The record's data, a JSON object: the object itself, the name of a file, or `-` for standard input
    #[arg(long, value_name = "FILE|JSON|-")]
    pub(crate) data: String,
    /// Who would submit it; without it, the caller. For others it takes a designer
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    pub(crate) by: String,
    /// The user that it would be submitted for
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    pub(crate) on_behalf_of: String,
    /// Whom to ask in a step that leaves it to the submitter; once for each such step
    #[arg(long = "choose", value_name = "STEP=USER,…", value_parser = parse_choice)]
    pub(crate) choices: Vec<(String, Vec<String>)>,
    /// What the flow of a step would return, a JSON object; once for each step. Those of the others return nothing
    #[arg(long = "output-of", value_name = "STEP=JSON", value_parser = parse_output)]
    pub(crate) outputs: Vec<(String, String)>,
}

fn parse_output(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((step, output)) if !step.is_empty() => Ok((step.to_owned(), output.to_owned())),
        _ => Err("write STEP=JSON".to_owned()),
    }
}

/// Tells who would be asked, in which order, and why.
pub(crate) async fn preview(args: PreviewArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let mut outputs: BTreeMap<String, Struct> = BTreeMap::new();
    for (step, output) in &args.outputs {
        outputs.insert(step.clone(), read_object("--output-of", output)?);
    }
    let definition = match &args.file {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", file.display())))?,
        None => String::new(),
    };
    let request = ProcessServicePreviewRequest {
        name: args.process.unwrap_or_default(),
        version: args.version.unwrap_or(0),
        definition,
        record_type: String::new(),
        data: Some(read_object("--data", &args.data)?),
        submitter: args.by,
        on_behalf_of: args.on_behalf_of,
        choices: choices(&args.choices)?,
        outputs,
    };
    let client = &session.client;
    let answer = client.call(async || client.processes().preview(request.clone()).await).await?;
    session.print(&answer, print_plan)
}

fn print_plan(answer: &ProcessServicePreviewResponse, out: &mut dyn Write) -> std::io::Result<()> {
    for line in &answer.lines {
        let text = line.explanation.as_ref().map_or("", |explanation| explanation.text.as_str());
        writeln!(out, "{text}{}", if line.assumed { " (assumed)" } else { "" })?;
    }
    for step in &answer.not_started {
        let values = step.values.as_ref().map(|values| format!(": {}", to_object(values))).unwrap_or_default();
        let rule =
            if step.rule.is_empty() { String::new() } else { format!(", since this does not hold: {}", step.rule) };
        writeln!(out, "step {} would not start{rule}{values}", step.step)?;
    }
    if answer.stopped.is_empty() {
        writeln!(out, "it would be {}", status_name(answer.status()))
    } else {
        writeln!(out, "it would be {}, and no more can be told: {}", status_name(answer.status()), answer.stopped)
    }
}
