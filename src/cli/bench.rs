//! placeholder
use crate::cli::{Failure, output::Session};
use clap::Args;
/// x
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {}
pub(crate) async fn bench(_args: &BenchArgs, _session: &mut Session<'_, '_>) -> Result<(), Failure> {
    Ok(())
}
