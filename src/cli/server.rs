//! The commands that run and administer a server: their arguments.

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
    /// What the names on the broker begin with: several installations can share one virtual host
    #[arg(long, env = "QUORATE_AMQP_PREFIX", default_value = "quorate", value_name = "PREFIX")]
    pub(crate) amqp_prefix: String,
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
    /// After how many seconds a published job that no worker has started or ended is published again; it doubles with each
    /// time, up to an hour
    #[arg(long, env = "QUORATE_REDELIVERY_INTERVAL", value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) redelivery_interval: u64,
    /// Where to show metrics for Prometheus, at /metrics, in plain text and to everybody; not at all when it is not said
    #[arg(long, env = "QUORATE_METRICS_LISTEN", value_name = "ADDR")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// After how many seconds a job that a worker over gRPC carries out is acknowledged at the broker: from there on it lives by
    /// heartbeats and timeouts, since a broker closes channels that hold a delivery for half an hour
    #[arg(long, env = "QUORATE_LONG_JOB_AFTER", value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=1500))]
    pub(crate) long_job_after: u64,
    /// Whether what happens to submissions is published on the broker, for other systems
    #[arg(long, env = "QUORATE_EVENTS", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) events: bool,
}

/// The type of the broker's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueueType {
    /// The default queue type of the virtual host: classic where nobody has set one; say quorum on a cluster
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

/// The server's entry points.
pub(crate) mod serve {
    use std::{
        io::{self, Write},
        sync::Arc,
        time::Duration,
    };

    use quorate::{
        auth, queue,
        serve::{self, Config, Dev, TlsFiles},
    };
    use quorate_store::{Store, catalog::ApiTokenRow};

    use super::{DatabaseArgs, DevArgs, MigrateArgs, QueueType, Role, ServeArgs, TokenCommand, TokenCreateArgs};

    /// The port of the default address, which `--server` need not name.
    const DEFAULT_PORT: u16 = 7400;

    /// Runs everything in one process.
    pub(crate) async fn dev(args: DevArgs) -> Result<(), String> {
        let data = (!args.ephemeral).then_some(args.data);
        let greet = |dev: &Dev| {
            // Nobody reads it: the server runs all the same.
            let _ = greet(dev, &mut io::stdout());
        };
        serve::dev(args.listen, data, stopped(), greet).await.map_err(text)
    }

    /// Runs the server.
    pub(crate) async fn serve(args: ServeArgs) -> Result<(), String> {
        let config = Config {
            listen: args.listen,
            tls: args.tls_cert.zip(args.tls_key).map(|(certificate, key)| TlsFiles { certificate, key }),
            database_url: args.database.database_url,
            amqp_url: args.amqp_url,
            amqp_prefix: args.amqp_prefix,
            queue_type: match args.queue_type {
                QueueType::Auto => queue::QueueType::Auto,
                QueueType::Classic => queue::QueueType::Classic,
                QueueType::Quorum => queue::QueueType::Quorum,
            },
            lanes: args.lanes.map(usize::from),
            redelivery_interval: Duration::from_secs(args.redelivery_interval),
            metrics_listen: args.metrics_listen,
            long_job_after: Duration::from_secs(args.long_job_after),
            events: args.events,
        };
        serve::serve(config, stopped()).await.map_err(text)
    }

    /// Migrates the database.
    pub(crate) async fn migrate(args: MigrateArgs) -> Result<(), String> {
        let applied = open(&args.database).await?.migrate().await.map_err(text)?;
        let mut out = io::stdout();
        for name in &applied {
            say(&mut out, format_args!("applied {name}"))?;
        }
        if applied.is_empty() {
            say(&mut out, format_args!("nothing to apply: the schema is up to date"))?;
        }
        Ok(())
    }

    /// Creates, lists and revokes tokens.
    pub(crate) async fn token(command: TokenCommand) -> Result<(), String> {
        let mut out = io::stdout();
        match command {
            TokenCommand::Create(args) => {
                let token = auth::new_token();
                open(&args.database).await?.put_api_token(&token_row(&args, &token)).await.map_err(text)?;
                say(&mut out, format_args!("{token}"))
            }
            TokenCommand::List(args) => {
                let tokens = open(&args.database).await?.list_api_tokens().await.map_err(text)?;
                for token in tokens {
                    let (roles, at) = (token.roles.join(","), token.created_at);
                    say(&mut out, format_args!("{}  {}  {roles}  {at:.0}  {}", token.id, token.principal, token.note))?;
                }
                Ok(())
            }
            TokenCommand::Revoke(args) => {
                if open(&args.database).await?.delete_api_token(&args.id).await.map_err(text)? {
                    say(&mut out, format_args!("revoked {}; servers believe it for 10 s more", args.id))
                } else {
                    Err(format!("there is no token `{}`", args.id))
                }
            }
        }
    }

    fn token_row(args: &TokenCreateArgs, token: &str) -> ApiTokenRow {
        let hash = auth::token_hash(token);
        ApiTokenRow {
            hash,
            id: hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat(),
            tenant: quorate::TENANT.into(),
            principal: args.user.clone(),
            roles: args.roles.iter().map(|role| role_name(*role).to_owned()).collect(),
            note: args.note.clone().unwrap_or_default(),
            created_at: jiff::Timestamp::now(),
        }
    }

    fn role_name(role: Role) -> &'static str {
        match role {
            Role::Submitter => auth::Role::Submitter,
            Role::Reviewer => auth::Role::Reviewer,
            Role::Designer => auth::Role::Designer,
            Role::Administrator => auth::Role::Administrator,
            Role::Worker => auth::Role::Worker,
            Role::Auditor => auth::Role::Auditor,
        }
        .as_str()
    }

    async fn open(database: &DatabaseArgs) -> Result<Arc<dyn Store>, String> {
        quorate_store::open(&database.database_url).await.map_err(text)
    }

    /// Where a development server listens, and what to try next.
    fn greet(dev: &Dev, out: &mut dyn Write) -> io::Result<()> {
        let quorate = if dev.address.port() == DEFAULT_PORT {
            "quorate".to_owned()
        } else {
            format!("quorate --server http://{}", dev.address)
        };
        let data = match &dev.data {
            Some(folder) => format!("data in {}", folder.display()),
            None => "nothing is kept".to_owned(),
        };
        writeln!(out, "quorate listens on http://{} ({data}); Ctrl-C stops it", dev.address)?;
        if let Some(example) = &dev.example {
            writeln!(out, "the process `purchase-request` is active, and a submission of ann waits for bob:")?;
            writeln!(out, "  {quorate} --as bob inbox")?;
            writeln!(out, "  {quorate} --as bob approve ITEM --comment fine")?;
            writeln!(out, "  {quorate} --as ann watch {example}")?;
        } else {
            writeln!(out, "  {quorate} --as bob inbox")?;
        }
        out.flush()
    }

    fn say(out: &mut dyn Write, line: std::fmt::Arguments<'_>) -> Result<(), String> {
        writeln!(out, "{line}").map_err(text)
    }

    /// Ready when the program is told to stop: by Ctrl-C or SIGTERM. A second time ends it at once.
    async fn stopped() {
        signal().await;
        tokio::spawn(async {
            signal().await;
            std::process::exit(130);
        });
    }

    async fn signal() {
        let interrupt = tokio::signal::ctrl_c();
        #[cfg(unix)]
        {
            let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
            let Ok(mut terminate) = terminate else {
                let _ = interrupt.await;
                return;
            };
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        #[cfg(not(unix))]
        let _ = interrupt.await;
    }

    #[expect(clippy::needless_pass_by_value, reason = "`map_err` gives the error away")]
    fn text(error: impl ToString) -> String {
        error.to_string()
    }
}
