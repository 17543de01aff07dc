//! `dead`: what could not be processed lies on the broker, and is looked at and given back there. No server is needed.

use clap::{Args, Subcommand};
use quorate::queue::{BODY_BYTES_MAX, DeadLetter, DeadLetters, DeadLettersError, Fate, RabbitConfig};
use serde_json::{Value, json};
use tonic::Status;

use crate::cli::{
    Failure, Screen,
    output::{Format, print_value},
    table::{Table, print_fields, printable},
};

/// How many characters of a body a list shows: the beginning of most bodies says which they are, and a line stays a line.
const BEGINNING_CHARS: usize = 60;

/// How many letters a list shows at most: each is some hundred bytes, and nobody reads more.
const LISTED_MAX: u32 = 10_000;

/// What is written in place of a secret.
const MASK: &str = "***";

/// What can be asked about dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// List the messages that could not be processed, the oldest first
    List(ListArgs),
    /// Show one whole, but for its token
    Show(ShowArgs),
    /// Give messages back to the queues that they came from, to be processed again
    Requeue(RequeueArgs),
}

/// Where the broker is.
#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    /// The message broker, amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…
    #[arg(long, env = "QUORATE_AMQP_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) amqp_url: String,
    /// What the names on the broker begin with
    #[arg(long, env = "QUORATE_AMQP_PREFIX", default_value = "quorate", value_name = "PREFIX")]
    pub(crate) amqp_prefix: String,
}

/// Arguments of `quorate dead list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// Only what came from this queue
    #[arg(long, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(LISTED_MAX)))]
    pub(crate) limit: u32,
}

/// Arguments of `quorate dead show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// Its id, as `dead list` shows it
    pub(crate) id: String,
}

/// Arguments of `quorate dead requeue`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["ids", "queue"]))]
pub(crate) struct RequeueArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// Their ids, as `dead list` shows them
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// All that came from this queue
    #[arg(long, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,
}

/// Carries out a command on dead letters.
pub(crate) async fn dead(command: DeadCommand, format: Format, screen: &mut Screen<'_>) -> Result<(), Failure> {
    match command {
        DeadCommand::List(args) => list(&args, format, screen).await,
        DeadCommand::Show(args) => show(&args, format, screen).await,
        DeadCommand::Requeue(args) => requeue(args, format, screen).await,
    }
}

async fn list(args: &ListArgs, format: Format, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let letters = open(&args.broker).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut rows = Vec::new();
    let mut more = false;
    let looked = letters.look(|letter| {
        if args.queue.as_ref().is_some_and(|queue| *queue != letter.queue) {
            return Fate::Stay;
        }
        if rows.len() == limit {
            more = true;
            return Fate::Stop;
        }
        rows.push(Row::of(letter, BEGINNING_CHARS));
        Fate::Stay
    });
    looked.await.map_err(failure)?;
    letters.close().await;
    if more {
        writeln!(screen.err, "there are more; --limit N shows up to {LISTED_MAX}")?;
    }
    if format != Format::Table {
        return print_value(format, &Value::Array(rows.iter().map(Row::value).collect()), screen.out);
    }
    if rows.is_empty() {
        return Ok(writeln!(screen.out, "no dead letters")?);
    }
    let mut table = Table::new(&["ID", "DIED", "QUEUE", "BYTES", "REASON", "BODY"]);
    for row in &rows {
        table.row([&row.id, &row.died_at, &row.queue, &row.bytes.to_string(), &row.reason, &row.body]);
    }
    Ok(table.print(screen.out)?)
}

async fn show(args: &ShowArgs, format: Format, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let letters = open(&args.broker).await?;
    let mut found = None;
    let looked = letters.look(|letter| {
        if letter.id == args.id {
            found = Some(Row::of(letter, BODY_BYTES_MAX));
            return Fate::Stop;
        }
        Fate::Stay
    });
    looked.await.map_err(failure)?;
    letters.close().await;
    let row = found.ok_or_else(|| no_letter(&args.id))?;
    if format != Format::Table {
        return print_value(format, &row.value(), screen.out);
    }
    let fields = [
        ("id", row.id),
        ("died", row.died_at),
        ("queue", row.queue),
        ("reason", row.reason),
        ("message id", row.message_id),
        ("bytes", row.bytes.to_string()),
    ];
    print_fields(&fields, screen.out)?;
    Ok(writeln!(screen.out, "\n{}", printable(&row.body))?)
}

async fn requeue(args: RequeueArgs, format: Format, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let letters = open(&args.broker).await?;
    let mut missing = args.ids.clone();
    let looked = letters.look(|letter| {
        let wanted = args.ids.contains(&letter.id) || args.queue.as_ref() == Some(&letter.queue);
        missing.retain(|id| *id != letter.id);
        if wanted { Fate::Requeue } else { Fate::Stay }
    });
    let looked = looked.await.map_err(failure)?;
    letters.close().await;
    for letter in &looked.not_requeued {
        writeln!(screen.err, "{}: stays: {}", letter.id, printable(&letter.reason))?;
    }
    if format == Format::Table {
        for id in &looked.requeued {
            writeln!(screen.out, "{id}: requeued")?;
        }
        if looked.requeued.is_empty() {
            writeln!(screen.out, "nothing requeued")?;
        }
    } else {
        print_value(format, &json!({ "requeued": looked.requeued }), screen.out)?;
    }
    match missing.first() {
        Some(id) => Err(no_letter(id)),
        None if looked.not_requeued.is_empty() => Ok(()),
        None => Err(Failure::Reported),
    }
}

async fn open(broker: &BrokerArgs) -> Result<DeadLetters, Failure> {
    let config = RabbitConfig {
        prefix: broker.amqp_prefix.clone(),
        connection_name: "quorate dead".to_owned(),
        ..RabbitConfig::new(&broker.amqp_url)
    };
    DeadLetters::open(&config).await.map_err(failure)
}

fn failure(error: DeadLettersError) -> Failure {
    match error {
        DeadLettersError::Url(error) => Failure::Usage(error.to_string()),
        // Without its URL, which holds a password.
        DeadLettersError::Unavailable(reason) => Failure::CannotReach { server: "the broker".to_owned(), reason },
        DeadLettersError::NoQueue(_) => Status::not_found(error.to_string()).into(),
    }
}

fn no_letter(id: &str) -> Failure {
    Status::not_found(format!("there is no dead letter {id}, or somebody else looks at it at this moment")).into()
}

/// A letter as it is shown.
struct Row {
    id: String,
    died_at: String,
    queue: String,
    reason: String,
    message_id: String,
    bytes: usize,
    body: String,
}

impl Row {
    fn of(letter: &DeadLetter, chars_max: usize) -> Self {
        let died_at = letter.died_at.and_then(|seconds| i64::try_from(seconds).ok());
        let died_at = died_at.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        Self {
            id: letter.id.clone(),
            died_at: died_at.map(|time| time.to_string()).unwrap_or_default(),
            queue: letter.queue.clone(),
            reason: letter.reason.clone(),
            message_id: letter.message_id.clone().unwrap_or_default(),
            bytes: letter.body.len(),
            body: without_tokens(&letter.body).chars().take(chars_max).collect(),
        }
    }

    fn value(&self) -> Value {
        json!({
            "id": self.id, "died_at": self.died_at, "queue": self.queue, "reason": self.reason,
            "message_id": self.message_id, "bytes": self.bytes, "body": self.body,
        })
    }
}

/// A body as text, with no token in it: whoever has a job's token can report in its name.
fn without_tokens(body: &[u8]) -> String {
    if body.len() <= BODY_BYTES_MAX
        && let Ok(mut value) = serde_json::from_slice(body)
    {
        mask(&mut value);
        return value.to_string();
    }
    // What cannot be read may have its token anywhere behind the word. Where letters can be written as escapes, the word need not show.
    let text = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]);
    let lower = text.to_ascii_lowercase();
    let end = ["token", "\\u"].iter().filter_map(|word| lower.find(word)).min();
    match end {
        Some(end) => format!("{}{MASK} (the rest may hold a token)", &text[..end]),
        None => text.into_owned(),
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name.eq_ignore_ascii_case("token") {
                    *value = MASK.into();
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_shown_whatever_the_body_is() {
        let table: [(&[u8], &str); 5] = [
            (br#"{"job":"1","token":"secret"}"#, r#"{"job":"1","token":"***"}"#),
            (br#"{"jobs":[{"Token":{"a":"secret"}}]}"#, r#"{"jobs":[{"Token":"***"}]}"#),
            (br#"{"job":"1","token":"secret""#, r#"{"job":"1","*** (the rest may hold a token)"#),
            (br#"{"job":"1","tok\u0065n":"secret""#, r#"{"job":"1","tok*** (the rest may hold a token)"#),
            (b"not json", "not json"),
        ];
        for (body, shown) in table {
            assert_eq!(without_tokens(body), shown);
        }
        let mut large = vec![b' '; BODY_BYTES_MAX];
        large.extend(br#"{"token":"secret"}"#);
        assert!(!without_tokens(&large).contains("secret"));
    }
}
