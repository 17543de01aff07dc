//! The commands that run and administer a server: their arguments.
#![allow(dead_code, reason = "the fields are read by the server, which is wired in separately")]

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

/// Arguments of `quorate dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Where the database is kept
    #[arg(long, env = "QUORATE_DATA", default_value = ".quorate", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Keep nothing, wherever --data says: the database is gone when the server stops
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// The address to listen on; the callers are not authenticated, so it must be a loopback address
    #[arg(long, env = "QUORATE_LISTEN", default_value = "127.0.0.1:7400", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
}

/// A database. Its URL may hold a password, so the value of the variable is not shown.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// The database: postgres://USER:PASSWORD@HOST:PORT/NAME, or sqlite:PATH
    #[arg(long, env = "QUORATE_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: String,
}

/// Arguments of `quorate serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// The message broker, amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…; without it jobs stay in this process, and
    /// workers come by gRPC
    #[arg(long, env = "QUORATE_AMQP_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) amqp_url: Option<String>,
    /// The type of the broker's queues
    #[arg(long, env = "QUORATE_QUEUE_TYPE", value_enum, default_value_t = QueueType::Auto)]
    pub(crate) queue_type: QueueType,
    /// The address to listen on
    #[arg(long, env = "QUORATE_LISTEN", default_value = "127.0.0.1:7400", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// The certificate chain to serve TLS with, PEM
    #[arg(long, env = "QUORATE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, env = "QUORATE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// How many lanes write at the same time, each with a database connection of its own, 1 to 64 [default: 4 with
    /// PostgreSQL, 1 with SQLite, which has one writer]
    #[arg(long, env = "QUORATE_LANES", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) lanes: Option<u16>,
}

/// The type of the broker's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueueType {
    /// quorum on a cluster, classic on a single broker
    Auto,
    /// Classic queues: faster on a single broker; what it forgets is sent again
    Classic,
    /// Quorum queues: replicated over a broker cluster
    Quorum,
}

/// Arguments of `quorate migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

/// The commands of `quorate token`. They work on the database itself, so that the first token needs no token.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token, and print it: it is stored hashed, and cannot be shown again
    Create(TokenCreateArgs),
    /// List the tokens: their ids, users, roles and notes
    List(TokenListArgs),
    /// Revoke a token at once
    Revoke(TokenRevokeArgs),
}

/// Arguments of `quorate token create`.
#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// The user or service that calls with this token
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// What the token allows; may be given several times
    #[arg(long = "role", value_enum, value_name = "ROLE", required = true)]
    pub(crate) roles: Vec<Role>,
    /// What the token is for
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
}

/// What a caller may do. A caller may have several roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Submit records, and recall what it submitted
    Submitter,
    /// Decide work items
    Reviewer,
    /// Publish and activate processes and flows
    Designer,
    /// Everything, the directory and other people's submissions included
    Administrator,
    /// Take jobs and report them
    Worker,
    /// Read everything, change nothing
    Auditor,
}

/// Arguments of `quorate token list`.
#[derive(Debug, Args)]
pub(crate) struct TokenListArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

/// Arguments of `quorate token revoke`.
#[derive(Debug, Args)]
pub(crate) struct TokenRevokeArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// The token's id, as `quorate token list` shows it
    pub(crate) id: String,
}

/// The server's entry points, until the server is there.
pub(crate) mod serve {
    #![allow(clippy::unused_async, reason = "the server awaits")]

    use super::{DevArgs, MigrateArgs, ServeArgs, TokenCommand};

    const NOT_BUILT: &str = "not built yet";

    /// Runs everything in one process.
    pub(crate) async fn dev(_args: DevArgs) -> Result<(), String> {
        Err(NOT_BUILT.to_owned())
    }

    /// Runs the server.
    pub(crate) async fn serve(_args: ServeArgs) -> Result<(), String> {
        Err(NOT_BUILT.to_owned())
    }

    /// Migrates the database.
    pub(crate) async fn migrate(_args: MigrateArgs) -> Result<(), String> {
        Err(NOT_BUILT.to_owned())
    }

    /// Creates, lists and revokes tokens.
    pub(crate) async fn token(_command: TokenCommand) -> Result<(), String> {
        Err(NOT_BUILT.to_owned())
    }
}
