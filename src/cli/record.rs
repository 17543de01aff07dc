//! Records: other data for a submission in progress, or for one in place of a submission that has ended; and what happened to a record
//! where it lives.

use clap::Args;

use crate::{
    cli::{
        Failure,
        data::read_object,
        operate::print_submission,
        output::{Session, enum_name},
        submit::{choices, parse_choice},
        table::Table,
    },
    client::request_id,
    proto::v1,
};

/// Arguments of `quorate update-record`.
#[derive(Debug, Args)]
pub(crate) struct UpdateRecordArgs {
    /// The submission's id
    #[arg(value_name = "SUBMISSION")]
    pub(crate) id: String,
    /// All of the record's data, a JSON object: the object itself, the name of a file, or `-` for standard input
    #[arg(long, value_name = "FILE|JSON|-")]
    pub(crate) data: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) comment: String,
}

/// Gives the record other data.
pub(crate) async fn update_record(args: UpdateRecordArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::SubmissionServiceUpdateRecordRequest {
        id: args.id,
        data: Some(read_object("--data", &args.data)?),
        comment: args.comment,
        request_id: request_id(),
    };
    let answer = client.call(async || client.submissions().update_record(request.clone()).await).await?;
    print_submission(answer.submission, session)
}

/// Arguments of `quorate resubmit`.
#[derive(Debug, Args)]
pub(crate) struct ResubmitArgs {
    /// The submission that has ended
    #[arg(value_name = "SUBMISSION")]
    pub(crate) id: String,
    /// All of the record's data, as `submit` takes it; what it was at the end where this is left out
    #[arg(long, value_name = "FILE|JSON|-")]
    pub(crate) data: Option<String>,
    /// What the reviewers should know
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) comment: String,
    /// Whom to ask in a step that leaves it to you; as before where this is left out
    #[arg(long = "choose", value_name = "STEP=USER,…", value_parser = parse_choice)]
    pub(crate) choices: Vec<(String, Vec<String>)>,
}

/// Submits in place of a submission that has ended.
pub(crate) async fn resubmit(args: ResubmitArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::SubmissionServiceResubmitRequest {
        id: args.id,
        data: args.data.map(|data| read_object("--data", &data)).transpose()?,
        comment: args.comment,
        choices: choices(&args.choices)?,
        request_id: request_id(),
    };
    let answer = client.call(async || client.submissions().resubmit(request.clone()).await).await?;
    print_submission(answer.submission, session)
}

/// Arguments of `quorate report-change`.
#[derive(Debug, Args)]
pub(crate) struct ReportChangeArgs {
    /// The record's type
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: String,
    /// The record's id in your system
    #[arg(value_name = "ID")]
    pub(crate) record_id: String,
    /// All of the record's data as it is now, a JSON object: the object itself, the name of a file, or `-` for standard input
    #[arg(long, value_name = "FILE|JSON|-")]
    pub(crate) data: String,
    /// What has happened to it
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Kind::Updated)]
    pub(crate) kind: Kind,
    /// The number that your system gives to the change, where it counts them: older changes are passed over
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) source_version: u64,
    /// The user who changed it: a new submission is made on their behalf
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    pub(crate) on_behalf_of: String,
    /// What makes a repetition known as one: with the same id and the same change, nothing happens twice
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
}

/// What can happen to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Created,
    Updated,
}

/// Tells of a change of a record.
pub(crate) async fn report_change(args: ReportChangeArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let kind = match args.kind {
        Kind::Created => v1::ChangeKind::Created,
        Kind::Updated => v1::ChangeKind::Updated,
    };
    let request = v1::RecordServiceReportChangeRequest {
        record: Some(v1::Record {
            r#type: args.record_type,
            id: args.record_id,
            data: Some(read_object("--data", &args.data)?),
            source_version: args.source_version,
            ..v1::Record::default()
        }),
        kind: kind.into(),
        on_behalf_of: args.on_behalf_of,
        request_id: args.request_id.unwrap_or_else(request_id),
    };
    let answer = client.call(async || client.records().report_change(request.clone()).await).await?;
    session.print(&answer, |answer, out| {
        if answer.effects.is_empty() {
            return writeln!(out, "nothing waits for this record");
        }
        let mut table = Table::new(&["PROCESS", "SUBMISSION", "OUTCOME", "REASON", "MESSAGE"]);
        for effect in &answer.effects {
            let outcome = enum_name(effect.outcome().as_str_name(), "OUTCOME_");
            table.row([&effect.process, &effect.submission, outcome, &effect.reason, &effect.message]);
        }
        table.print(out)
    })
}
