//! Records: other data for a submission in progress, or for one in place of a submission that has ended; and what happened to a record
//! where it lives.

use clap::Args;

use crate::{
    cli::{
        Failure,
        data::read_object,
        operate::print_submission,
        output::{Session, enum_name},
        parse_instant,
        submit::{choices, parse_choice},
        table::{Table, time},
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

/// Which record.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The record's type
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: String,
    /// The record's id in your system
    #[arg(value_name = "ID")]
    pub(crate) record_id: String,
}

/// Arguments of `quorate report-change`.
#[derive(Debug, Args)]
pub(crate) struct ReportChangeArgs {
    #[command(flatten)]
    pub(crate) record: RecordArgs,
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
            r#type: args.record.record_type,
            id: args.record.record_id,
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

/// Arguments of `quorate lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// For whom or what: a name of your own, by which it is taken off
    #[arg(long, value_name = "NAME")]
    pub(crate) holder: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    /// From when on it counts no more, such as 2026-12-24T12:00:00Z; without it, it is locked until it is taken off
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub(crate) until: Option<prost_types::Timestamp>,
}

/// Locks a record by hand.
pub(crate) async fn lock(args: LockArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::RecordServiceLockRequest {
        record_type: args.record.record_type,
        record_id: args.record.record_id,
        holder: args.holder,
        reason: args.reason,
        until: args.until,
        request_id: request_id(),
    };
    let answer = client.call(async || client.records().lock(request.clone()).await).await?;
    session.print(&answer, |answer, out| {
        let until = answer.lock.as_ref().and_then(|lock| lock.until.as_ref());
        match until {
            Some(until) => writeln!(out, "locked until {}", time(Some(until))),
            None => writeln!(out, "locked"),
        }
    })
}

/// Arguments of `quorate unlock`.
#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// The name that it was locked by
    #[arg(long, value_name = "NAME")]
    pub(crate) holder: String,
}

/// Takes off a lock that was set by hand.
pub(crate) async fn unlock(args: UnlockArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::RecordServiceUnlockRequest {
        record_type: args.record.record_type,
        record_id: args.record.record_id,
        holder: args.holder,
        request_id: request_id(),
    };
    let answer = client.call(async || client.records().unlock(request.clone()).await).await?;
    session.print(&answer, |answer, out| {
        writeln!(out, "{}", if answer.locked { "unlocked; others hold it still" } else { "unlocked" })
    })
}

/// Arguments of `quorate get lock`.
#[derive(Debug, Args)]
pub(crate) struct GetLockArgs {
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// The user who wants to edit it: says whether they may
    #[arg(long = "for", value_name = "USER", default_value = "", hide_default_value = true)]
    pub(crate) user: String,
}

/// Tells who has locked a record.
pub(crate) async fn get_lock(args: &GetLockArgs, session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let client = &session.client;
    let request = v1::RecordServiceGetLockRequest {
        record_type: args.record.record_type.clone(),
        record_id: args.record.record_id.clone(),
        user: args.user.clone(),
    };
    let answer = client.call(async || client.records().get_lock(request.clone()).await).await?;
    session.print(&answer, |answer, out| {
        if !answer.locked {
            return writeln!(out, "not locked");
        }
        let mut table = Table::new(&["HELD BY", "SINCE", "UNTIL", "REASON", "SUBMISSION"]);
        for lock in &answer.locks {
            let (since, until) = (time(lock.since.as_ref()), time(lock.until.as_ref()));
            let (holder, reason) = if lock.submission.is_empty() {
                (lock.holder.clone(), lock.reason.clone())
            } else {
                let but = if lock.allow_reviewer_edit { "those whom it asks may edit" } else { "" };
                (format!("step {} of {}", lock.step, lock.process), but.to_owned())
            };
            table.row([&holder, &since, &until, &reason, &lock.submission]);
        }
        table.print(out)?;
        if args.user.is_empty() {
            return Ok(());
        }
        writeln!(out, "{} {}", args.user, if answer.may_edit { "may edit it" } else { "may not edit it" })
    })
}
