//! Who calls: principals, their roles, and how a server knows them (DESIGN 9). Deny by default.

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use quorate_engine::{
    command::Actor,
    id::{Tenant, UserName},
};
use quorate_store::{Store, StoreError, catalog::ApiTokenRow, log::Hash};
use sha2::{Digest, Sha256};

/// The start of every API token's text, so that secret scanners can find one that leaked.
pub const TOKEN_PREFIX: &str = "qrt_";

/// For how long a token that was looked up is believed: a revoked one works this much longer at most.
const TOKEN_BELIEVED: Duration = Duration::from_secs(10);

/// How many looked-up tokens are kept.
const TOKENS_MAX: usize = 10_000;

/// The user that development servers take for an administrator besides `admin`'s roles: none. Its name only.
pub const DEVELOPMENT_ADMINISTRATOR: &str = "admin";

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Submits, and recalls what they submitted.
    Submitter,
    /// Sees their inbox and decides.
    Reviewer,
    /// Publishes processes and flows.
    Designer,
    /// Everything on submissions, and the directory.
    Administrator,
    /// Takes jobs and reports on them.
    Worker,
    /// Reads everything.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Submitter, Self::Reviewer, Self::Designer, Self::Administrator, Self::Worker, Self::Auditor];

    /// The role as it is written outside the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submitter => "submitter",
            Self::Reviewer => "reviewer",
            Self::Designer => "designer",
            Self::Administrator => "administrator",
            Self::Worker => "worker",
            Self::Auditor => "auditor",
        }
    }

    /// The role of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Whose data they see.
    pub tenant: Tenant,
    /// The user or service.
    pub name: UserName,
    /// What they may do.
    pub roles: BTreeSet<Role>,
}

impl Principal {
    /// Whether they have one of these roles; an administrator has all but that of a worker.
    pub fn has_any(&self, roles: &[Role]) -> bool {
        let administrator = self.roles.contains(&Role::Administrator);
        roles.iter().any(|role| self.roles.contains(role) || (administrator && *role != Role::Worker))
    }

    /// Whether they are an administrator.
    pub fn is_administrator(&self) -> bool {
        self.roles.contains(&Role::Administrator)
    }

    /// The principal as the rules know them.
    pub fn actor(&self) -> Actor {
        Actor { name: self.name.clone(), administrator: self.is_administrator() }
    }
}

/// Why a caller is not known.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Nothing says who calls.
    #[error("{0}")]
    Missing(&'static str),
    /// What says it is not valid.
    #[error("the API token is not valid")]
    Invalid,
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a server knows its callers.
#[derive(Clone)]
pub enum Authenticator {
    /// Any name is believed; `admin` has every role, all others every role but administrator's. Loopback only.
    Development,
    /// API tokens, of which the store keeps hashes.
    Tokens(Arc<Tokens>),
}

/// The API tokens of a store.
pub struct Tokens {
    store: Arc<dyn Store>,
    known: Mutex<lru::LruCache<Hash, (Instant, Principal)>>,
}

impl Tokens {
    /// The tokens of this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let known = lru::LruCache::new(NonZeroUsize::new(TOKENS_MAX).unwrap_or(NonZeroUsize::MIN));
        Self { store, known: Mutex::new(known) }
    }

    async fn principal(&self, token: &str) -> Result<Principal, AuthError> {
        let hash = token_hash(token);
        if let Some((at, principal)) = self.lock().get(&hash)
            && at.elapsed() < TOKEN_BELIEVED
        {
            return Ok(principal.clone());
        }
        let row = self.store.api_token(&hash).await?.ok_or(AuthError::Invalid)?;
        let principal = principal_of(&row);
        self.lock().put(hash, (Instant::now(), principal.clone()));
        Ok(principal)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, lru::LruCache<Hash, (Instant, Principal)>> {
        // A panic while the lock was held leaves the cache whole: every change is one call.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authenticator {
    /// Who calls, by the values of the `authorization` and `quorate-user` metadata.
    pub async fn principal(&self, authorization: Option<&str>, user: Option<&str>) -> Result<Principal, AuthError> {
        match self {
            Self::Development => {
                let name = user.filter(|name| quorate_engine::directory::check_name(name).is_ok()).ok_or(
                    AuthError::Missing("say who calls: metadata `quorate-user: NAME` (`quorate --as NAME …`)"),
                )?;
                Ok(development_principal(name))
            }
            Self::Tokens(tokens) => {
                let token = authorization
                    .and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")))
                    .ok_or(AuthError::Missing("say who calls: metadata `authorization: Bearer TOKEN`"))?;
                tokens.principal(token.trim()).await
            }
        }
    }
}

/// The principal of a development server's caller.
pub fn development_principal(name: &str) -> Principal {
    let administrator = name == DEVELOPMENT_ADMINISTRATOR;
    let roles = Role::ALL.into_iter().filter(|role| administrator || *role != Role::Administrator).collect();
    Principal { tenant: Tenant::from(crate::TENANT), name: UserName::from(name), roles }
}

/// A new API token's text: 256 random bits.
pub fn new_token() -> String {
    let secret: [u8; 32] = rand::random();
    secret.iter().fold(TOKEN_PREFIX.to_owned(), |mut text, byte| {
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the store keeps of a token.
pub fn token_hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

fn principal_of(row: &ApiTokenRow) -> Principal {
    Principal {
        tenant: row.tenant.clone(),
        name: UserName(row.principal.clone()),
        roles: row.roles.iter().filter_map(|role| Role::parse(role)).collect(),
    }
}
