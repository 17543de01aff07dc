//! `quorate explain`: why things are as they are.

use clap::Args;

use crate::{
    cli::{Failure, output::Session, table::time},
    proto::v1,
};

/// Arguments of `quorate explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The submission's id
    #[arg(value_name = "SUBMISSION")]
    pub(crate) id: String,
    /// Only what brought the runs of this stage about
    #[arg(long, value_name = "NAME", conflicts_with_all = ["step", "item"])]
    pub(crate) stage: Option<String>,
    /// Only what brought the runs of this step about
    #[arg(long, value_name = "NAME", conflicts_with = "item")]
    pub(crate) step: Option<String>,
    /// Only why this work item asks whom it asks
    #[arg(long, value_name = "ITEM")]
    pub(crate) item: Option<String>,
}

/// Tells what happened, and why.
pub(crate) async fn explain(args: ExplainArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::SubmissionServiceExplainRequest {
        id: args.id,
        stage: args.stage.unwrap_or_default(),
        step: args.step.unwrap_or_default(),
        work_item: args.item.unwrap_or_default(),
    };
    let answer = client.call(async || client.submissions().explain(request.clone()).await).await?;
    session.print(&answer, |answer, out| {
        let mut explanations = answer.explanations.iter();
        explanations.try_for_each(|one| writeln!(out, "{}  {}", time(one.at.as_ref()), one.text))
    })
}
