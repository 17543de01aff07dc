//! `delegate` and `delete delegation`: who acts for whom, while they are away.

use std::io;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    cli::{
        Failure,
        failure::answered,
        output::{Format, Session, to_json},
        table::{Table, time},
    },
    client::request_id,
    proto::v1::{Delegation, DirectoryServiceDeleteDelegationRequest, DirectoryServicePutDelegationRequest},
};

/// Arguments of `quorate delegate`.
#[derive(Debug, Args)]
pub(crate) struct DelegateArgs {
    /// Who is to act
    #[arg(long, value_name = "USER")]
    pub(crate) to: String,
    /// For whom: an administrator may say anybody; without it, for you
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    pub(crate) from: String,
    /// From when on, such as 2026-12-01T09:00:00Z, or 2026-12-01T09:00 or 2026-12-01 for a local time; without it, from now on
    #[arg(long, value_name = "TIME")]
    pub(crate) from_time: Option<String>,
    /// Until when, at most 366 days later: at that moment no more
    #[arg(long, value_name = "TIME")]
    pub(crate) until: String,
    /// Where local times are, such as Europe/Berlin; without it, where the directory has the user, else UTC
    #[arg(long, value_name = "ZONE", default_value = "", hide_default_value = true)]
    pub(crate) time_zone: String,
    /// Only in submissions of these processes; without it, in all
    #[arg(long = "process", value_name = "NAME", value_delimiter = ',')]
    pub(crate) processes: Vec<String>,
    /// Only where this expression holds, such as 'record.amount < 1000.0'
    #[arg(long, value_name = "EXPRESSION", default_value = "", hide_default_value = true)]
    pub(crate) when: String,
    /// Who acts where those before are away, not active, or may not decide
    #[arg(long = "alternate", value_name = "USER", value_delimiter = ',')]
    pub(crate) alternates: Vec<String>,
    /// What to call it; one of that name is replaced. Without it, a name is made of who, for whom and from when on
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) name: String,
}

/// The commands of `quorate delete`.
#[derive(Debug, Subcommand)]
pub(crate) enum DeleteCommand {
    /// Take delegations back, at once: what was decided by them stays
    Delegation {
        /// Their names, as `quorate list delegations` shows them
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Lets somebody act for the caller, or for somebody else.
pub(crate) async fn delegate(args: DelegateArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let request = DirectoryServicePutDelegationRequest {
        delegation: Some(Delegation {
            name: args.name,
            delegator: args.from,
            delegate: args.to,
            processes: args.processes,
            when: args.when,
            alternates: args.alternates,
            ..Delegation::default()
        }),
        request_id: request_id(),
        start: args.from_time.unwrap_or_else(|| Timestamp::now().to_string()),
        end: args.until,
        time_zone: args.time_zone,
    };
    let client = &session.client;
    let answer = client.call(async || client.directory().put_delegation(request.clone()).await).await?;
    let delegation = answered(answer.delegation)?;
    if session.format != Format::Table {
        return session.print_value(&to_json(&delegation)?);
    }
    let Delegation { name, delegator, delegate, start_time, end_time, .. } = &delegation;
    let (start, end) = (time(start_time.as_ref()), time(end_time.as_ref()));
    session.line(&format!("{name}: {delegate} acts for {delegator} from {start} until {end}"))
}

/// Takes delegations back.
pub(crate) async fn delete(command: DeleteCommand, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let DeleteCommand::Delegation { names } = command;
    for name in &names {
        let request = DirectoryServiceDeleteDelegationRequest { name: name.clone(), request_id: request_id() };
        let client = &session.client;
        client.call(async || client.directory().delete_delegation(request.clone()).await).await?;
        if session.format == Format::Table {
            session.line(&format!("{name}: deleted"))?;
        }
    }
    if session.format == Format::Table { Ok(()) } else { session.print_value(&json!({ "deleted": names })) }
}

/// Writes delegations as a table.
pub(crate) fn print_delegations(delegations: &[Delegation], out: &mut dyn io::Write) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "FOR", "WHO", "FROM", "UNTIL", "PROCESSES", "WHEN"]);
    for delegation in delegations {
        let who = std::iter::once(delegation.delegate.as_str()).chain(delegation.alternates.iter().map(String::as_str));
        let who: Vec<&str> = who.collect();
        let (start, end) = (time(delegation.start_time.as_ref()), time(delegation.end_time.as_ref()));
        let (who, processes) = (who.join(", "), delegation.processes.join(", "));
        table.row([&delegation.name, &delegation.delegator, &who, &start, &end, &processes, &delegation.when]);
    }
    table.print(out)
}
