//! Records: other data for a submission in progress.

use clap::Args;

use crate::{
    cli::{Failure, data::read_object, operate::print_submission, output::Session},
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
