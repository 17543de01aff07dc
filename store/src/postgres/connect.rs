//! How connections are made, and their bounds.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::{
    Config, NoTls,
    config::{SslMode, SslNegotiation},
};

use crate::StoreError;

/// How long a connection may take to be made, and how long a caller waits for a free one: less than a caller of the API waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a statement may run at the server, in milliseconds: the longest bulk statement takes a few hundred.
const STATEMENT_TIMEOUT_MS: u32 = 30_000;

/// How long a transaction may wait for its next statement, in milliseconds. Its statements are sent together, so one that
/// waits has lost its client, and holds locks.
const IDLE_TRANSACTION_TIMEOUT_MS: u32 = 10_000;

/// After how long without an answer a connection is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// A pool of at most `size` connections.
pub(super) fn pool(url: &str, size: usize) -> Result<Pool, StoreError> {
    let manager = Manager::from_config(config(url)?, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Pool::builder(manager)
        .max_size(size.max(1))
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait: Some(CONNECT_TIMEOUT),
            create: Some(CONNECT_TIMEOUT),
            recycle: Some(CONNECT_TIMEOUT),
        })
        .build()
        .map_err(|error| StoreError::Internal(error.to_string()))
}

fn config(url: &str) -> Result<Config, StoreError> {
    // Asked of the text first: the modes that check certificates are unknown to the parser, whose error would say less.
    if ["sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"].iter().any(|mode| url.contains(mode)) {
        return Err(no_tls());
    }
    // The parser's error is left out: the text that it speaks of may hold the password.
    let mut config: Config = url.parse().map_err(|_| {
        StoreError::Internal(
            "the database URL cannot be read: it has to look like postgres://user:password@host:5432/database"
                .to_owned(),
        )
    })?;
    if config.get_ssl_mode() == SslMode::Require || config.get_ssl_negotiation() == SslNegotiation::Direct {
        return Err(no_tls());
    }
    if config.get_application_name().is_none() {
        config.application_name("quorate");
    }
    let bounds = format!(
        "-c statement_timeout={STATEMENT_TIMEOUT_MS} -c idle_in_transaction_session_timeout={IDLE_TRANSACTION_TIMEOUT_MS} {}",
        config.get_options().unwrap_or_default()
    );
    config
        .options(bounds.trim_end())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(SILENCE_MAX)
        .keepalives(true)
        .keepalives_idle(SILENCE_MAX / 3)
        .keepalives_interval(SILENCE_MAX / 3)
        .keepalives_retries(2);
    Ok(config)
}

fn no_tls() -> StoreError {
    StoreError::Internal(
        "the database URL asks for TLS, which this version does not speak to PostgreSQL: leave `sslmode` out, and run the \
         database on the same host, in a private network, or behind a local TLS proxy"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_asks_for_tls_is_refused_and_no_error_repeats_the_password() {
        for url in [
            "postgres://ann:secret@db/quorate?sslmode=require",
            "postgres://ann:secret@db/quorate?sslmode=verify-full",
            "postgres://ann:secret@db:port/quorate",
        ] {
            let error = config(url).unwrap_err().to_string();
            assert!(error.contains("database URL") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_options_of_a_url_come_after_the_bounds_and_so_prevail() {
        let config = config("postgres://ann@db/quorate?options=-c%20statement_timeout%3D5").unwrap();
        assert!(config.get_options().unwrap().ends_with("-c statement_timeout=5"));
    }
}
