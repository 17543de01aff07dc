//! The stock worker: serves declarative flows, and built-in ones. Its flags are described in `docs/workers.md`.

use std::{collections::BTreeMap, fmt, io::IsTerminal, process::ExitCode, str::FromStr, time::Duration};

use clap::{CommandFactory, FromArgMatches, Parser, error::ErrorKind, parser::ValueSource};
use quorate_worker::{
    Rate, Worker,
    builtin::Builtin,
    workflow::{MailServer, Network, Workflows, read_secret},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

/// The worker could not go on.
const EXIT_FAILED: u8 = 1;

/// As clap exits: what was asked for makes no sense.
const EXIT_USAGE: u8 = 2;

/// As shells report a process that ended by Ctrl-C.
const EXIT_INTERRUPTED: i32 = 130;

#[derive(Parser)]
#[command(
    name = "quorate-worker",
    version,
    about = "Carries out Quorate's jobs: declarative flows, and built-in ones",
    max_term_width = 120
)]
struct Arguments {
    /// The broker to take jobs from: amqp://user:password@host:port/vhost
    #[arg(long, env = "QUORATE_AMQP_URL", hide_env_values = true, value_name = "URL")]
    amqp_url: Option<String>,
    /// The server to take jobs from over gRPC, for workers without a broker: http://host:port
    #[arg(long, env = "QUORATE_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The API token for --server
    #[arg(long, env = "QUORATE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Who the worker is to a development server (`quorate dev`), which takes no tokens
    #[arg(long = "as", env = "QUORATE_AS", value_name = "NAME")]
    user: Option<String>,
    /// The certificates, in PEM form, that an https:// server is checked against
    #[arg(long, env = "QUORATE_CA_FILE", value_name = "FILE")]
    ca_file: Option<std::path::PathBuf>,
    /// What the names on the broker begin with
    #[arg(long, env = "QUORATE_AMQP_PREFIX", default_value = "quorate", value_name = "PREFIX")]
    amqp_prefix: String,
    /// A task queue to serve; with =JOBS it has places of its own, with @RATE such as 10/s so many of its jobs begin in a time: erp=4@10/s; may be given more than once
    #[arg(
        long,
        env = "QUORATE_TASK_QUEUE",
        value_delimiter = ',',
        default_value = "default",
        value_name = "NAME[=JOBS][@RATE]"
    )]
    task_queue: Vec<TaskQueue>,
    /// How many jobs are carried out at once
    #[arg(long, env = "QUORATE_CONCURRENCY", default_value_t = 16, value_name = "JOBS")]
    concurrency: u16,
    /// How many seconds running jobs may take when the worker is asked to stop
    #[arg(long, env = "QUORATE_GRACE", default_value_t = 30, value_name = "SECONDS")]
    grace: u64,
    /// Serve the flow NAME with a built-in one: echo, sleep, fail or ok; may be given more than once
    #[arg(long, value_name = "NAME=BUILTIN", value_parser = parse_serve)]
    serve: Vec<(String, Builtin)>,
    /// Serve every other flow with this built-in one
    #[arg(long, value_name = "BUILTIN")]
    default: Option<Builtin>,
    /// A network whose addresses declarative flows may call, though they are not public, such as 10.1.0.0/16; may be given more than once
    #[arg(long, env = "QUORATE_ALLOW_NETWORK", value_delimiter = ',', value_name = "CIDR")]
    allow_network: Vec<Network>,
    /// A network whose addresses declarative flows do not call, whatever else is allowed; may be given more than once
    #[arg(long, env = "QUORATE_DENY_NETWORK", value_delimiter = ',', value_name = "CIDR")]
    deny_network: Vec<Network>,
    /// A host that a secret of declarative flows goes to, and with others given so the only one: `erp_token=erp.example.com`; a secret that is not bound goes wherever a flow sends it
    #[arg(long, env = "QUORATE_BIND_SECRET", value_delimiter = ',', value_name = "NAME=HOST", value_parser = parse_binding)]
    bind_secret: Vec<(String, String)>,
    /// The directory whose files are the secrets of declarative flows; otherwise `erp_token` is `QUORATE_SECRET_ERP_TOKEN` in the environment
    #[arg(long, env = "QUORATE_SECRETS_DIR", value_name = "DIRECTORY")]
    secrets_dir: Option<std::path::PathBuf>,
    /// The mail server of declarative flows: smtp://host:port with STARTTLS, smtps://host:port with TLS, or smtp://host:port?tls=none
    #[arg(long, env = "QUORATE_SMTP_URL", value_name = "URL")]
    smtp_url: Option<String>,
    /// Who the worker is to the SMTP server; goes with --smtp-password-file
    #[arg(long, env = "QUORATE_SMTP_USER", value_name = "NAME", requires_all = ["smtp_url", "smtp_password_file"])]
    smtp_user: Option<String>,
    /// The file with its password
    #[arg(long, env = "QUORATE_SMTP_PASSWORD_FILE", value_name = "FILE", requires_all = ["smtp_url", "smtp_user"])]
    smtp_password_file: Option<std::path::PathBuf>,
    /// The sender of mails that name none
    #[arg(long, env = "QUORATE_MAIL_FROM", value_name = "ADDRESS", requires = "smtp_url")]
    mail_from: Option<String>,
    /// What to log, as directives of the tracing crate
    #[arg(long, env = "QUORATE_LOG", default_value = "info,lapin=error", value_name = "FILTER")]
    log: String,
}

/// A task queue as it is to be served.
#[derive(Clone)]
struct TaskQueue {
    name: String,
    concurrency: Option<u16>,
    rate: Option<Rate>,
}

impl FromStr for TaskQueue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, rate) = text.split_once('@').map_or((text, None), |(rest, rate)| (rest, Some(rate)));
        let (name, jobs) = rest.split_once('=').map_or((rest, None), |(name, jobs)| (name, Some(jobs)));
        let rate = rate.map(str::parse::<Rate>).transpose().map_err(|error| error.to_string())?;
        let concurrency = jobs.map(str::parse::<u16>).transpose();
        let concurrency = concurrency.map_err(|_| "the number of jobs after = has to be 1 to 1000".to_owned())?;
        Ok(Self { name: name.to_owned(), concurrency, rate })
    }
}

impl fmt::Display for TaskQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(jobs) = self.concurrency {
            write!(f, "={jobs}")?;
        }
        self.rate.map_or(Ok(()), |rate| write!(f, "@{rate}"))
    }
}

fn parse_serve(text: &str) -> Result<(String, Builtin), String> {
    let (name, builtin) = text.split_once('=').ok_or("it has to be NAME=BUILTIN")?;
    if name.is_empty() {
        return Err("the name of the flow is missing".to_owned());
    }
    Ok((name.to_owned(), builtin.parse().map_err(|error: quorate_worker::builtin::UnknownBuiltin| error.to_string())?))
}

fn parse_binding(text: &str) -> Result<(String, String), String> {
    let (name, host) = text.split_once('=').ok_or("it has to be NAME=HOST")?;
    let is_host = !host.is_empty() && !host.contains(|c: char| c == '/' || c == '*' || c.is_whitespace());
    if name.is_empty() || !is_host {
        return Err(
            "it has to be NAME=HOST, the name of a secret and that of a host, without scheme and port".to_owned()
        );
    }
    Ok((name.to_owned(), host.trim_start_matches('[').trim_end_matches(']').to_owned()))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = parse();
    let filter = EnvFilter::try_new(&arguments.log).unwrap_or_else(|error| usage(&format!("--log: {error}")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let shutdown = CancellationToken::new();
    if let Err(error) = stop_on_signals(shutdown.clone()) {
        error!(%error, "cannot listen to signals");
        return ExitCode::from(EXIT_FAILED);
    }
    let worker = build(&arguments);
    match worker.run(shutdown).await {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(%error, "stopped");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn parse() -> Arguments {
    let matches = Arguments::command().get_matches();
    let mut arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // What is typed wins over what the environment happens to hold.
    let typed = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
    match (typed("amqp_url"), typed("server")) {
        (true, false) => arguments.server = None,
        (false, true) => arguments.amqp_url = None,
        (true, true) | (false, false) => {}
    }
    arguments
}

fn build(arguments: &Arguments) -> Worker {
    let url = match (&arguments.amqp_url, &arguments.server) {
        (Some(url), None) if url.starts_with("amqp") => url,
        (None, Some(url)) if url.starts_with("http") => url,
        (Some(_), None) => usage("--amqp-url has to begin with amqp:// or amqps://"),
        (None, Some(_)) => usage("--server has to begin with http:// or https://"),
        (None, None) => usage("where are the jobs? Give --amqp-url or --server"),
        (Some(_), Some(_)) => usage(
            "--amqp-url (QUORATE_AMQP_URL) and --server (QUORATE_SERVER) exclude each other: unset one of the variables, or type \
             the one that is meant, which wins over the variable of the other",
        ),
    };
    let mut flows: BTreeMap<String, Builtin> =
        Builtin::ALL.into_iter().map(|builtin| (builtin.to_string(), builtin)).collect();
    flows.extend(arguments.serve.iter().cloned());
    let mut builder = Worker::builder()
        .url(url)
        .token(arguments.token.clone())
        .prefix(&arguments.amqp_prefix)
        .task_queues(arguments.task_queue.iter().map(|queue| &queue.name))
        .concurrency(arguments.concurrency)
        .grace(Duration::from_secs(arguments.grace));
    for TaskQueue { name, concurrency, rate } in &arguments.task_queue {
        if let Some(jobs) = concurrency {
            builder = builder.task_queue_concurrency(name, *jobs);
        }
        if let Some(rate) = rate {
            builder = builder.task_queue_rate(name, *rate);
        }
    }
    if let Some(path) = &arguments.ca_file {
        let pem = std::fs::read(path).unwrap_or_else(|error| usage(&format!("--ca-file {}: {error}", path.display())));
        builder = builder.ca_certificate(pem);
    }
    if let Some(user) = &arguments.user {
        builder = builder.metadata("quorate-user", user);
    }
    for (name, builtin) in &flows {
        builder = builder.builtin(name, *builtin);
    }
    if let Some(builtin) = arguments.default {
        builder = builder.default_builtin(builtin);
    }
    let mut workflows = arguments
        .allow_network
        .iter()
        .fold(Workflows::default(), |workflows, network| workflows.allow_network(*network));
    for network in &arguments.deny_network {
        workflows = workflows.deny_network(*network);
    }
    for (secret, host) in &arguments.bind_secret {
        workflows = workflows.bind_secret(secret, host);
    }
    if let Some(directory) = &arguments.secrets_dir {
        workflows = workflows.secrets_directory(directory);
    }
    if let Some(server) = mail_server(arguments) {
        workflows = workflows.mail_server(server);
    }
    builder = builder.workflows(workflows);
    let worker = builder.build().unwrap_or_else(|error| usage(&error.to_string()));
    let mut served: Vec<String> = flows.iter().map(|(name, builtin)| describe(name, *builtin)).collect();
    served.extend(arguments.default.map(|builtin| format!("any other as {builtin}")));
    info!(
        source = worker.source(),
        task_queues = arguments.task_queue.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        flows = served.join(", "),
        concurrency = arguments.concurrency,
        "serving"
    );
    worker
}

fn mail_server(arguments: &Arguments) -> Option<MailServer> {
    let url = arguments.smtp_url.as_ref()?;
    let mut server = MailServer::new(url).unwrap_or_else(|error| usage(&format!("--smtp-url: {error}")));
    if let (Some(user), Some(file)) = (&arguments.smtp_user, &arguments.smtp_password_file) {
        let password = read_secret(file)
            .unwrap_or_else(|error| usage(&format!("--smtp-password-file {}: {error}", file.display())));
        server = server.credentials(user, password);
    }
    if let Some(sender) = &arguments.mail_from {
        server = server.sender(sender).unwrap_or_else(|error| usage(&format!("--mail-from: {error}")));
    }
    Some(server)
}

fn describe(name: &str, builtin: Builtin) -> String {
    if name == builtin.to_string() { name.to_owned() } else { format!("{name} as {builtin}") }
}

fn usage(message: &str) -> ! {
    let error = Arguments::command().error(ErrorKind::ValueValidation, message);
    debug_assert_eq!(error.exit_code(), i32::from(EXIT_USAGE));
    error.exit()
}

/// The first Ctrl-C or SIGTERM lets running jobs end, the second one ends the process at once.
fn stop_on_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for last in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if last {
                std::process::exit(EXIT_INTERRUPTED);
            }
            shutdown.cancel();
        }
    });
    Ok(())
}
