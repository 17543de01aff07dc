//! Records: other data for a submission in progress, or for one in place of a submission that has ended.

use clap::Args;

use crate::{
    cli::{
        Failure,
        data::read_object,
        operate::print_submission,
        output::Session,
        submit::{choices, parse_choice},
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
