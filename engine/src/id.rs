//! A type for every id.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )*};
}

macro_rules! name {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )*};
}

uuid_id! {
    /// A submission.
    SubmissionId;
    /// The execution of a stage in one submission.
    StageRunId;
    /// The execution of a step in one submission.
    StepRunId;
    /// One request to one assignee.
    WorkItemId;
    /// One background step run, or one evaluation; the same in every attempt.
    JobId;
}

name! {
    /// Whose data it is. Every key of the store begins with it.
    Tenant;
    /// A user of the directory.
    UserName;
}

/// What makes a report on a job count: secret, and different for each attempt.
///
/// It carries the submission's id in front, so that a report finds its lane without a look-up.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// A token of this submission with 128 secret bits.
    pub fn new(submission: SubmissionId, secret: u128) -> Self {
        Self(format!("{}.{secret:032x}", submission.0.simple()))
    }

    /// A token as a worker sent it: `None` when it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let (submission, secret) = text.split_once('.')?;
        Uuid::try_parse(submission).ok()?;
        (secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| Self(text.to_owned()))
    }

    /// The submission it belongs to.
    pub fn submission(&self) -> Option<SubmissionId> {
        let (submission, _) = self.0.split_once('.')?;
        Uuid::try_parse(submission).ok().map(SubmissionId)
    }

    /// The text to give to the worker, and to nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
