//! The statuses of DESIGN 1, exactly.

use serde::{Deserialize, Serialize};

macro_rules! status {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every value, in the order of the design.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The status as it is written everywhere outside the code.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The status of this text.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|status| status.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

status! {
    /// How a submission stands.
    SubmissionStatus {
        /// Under way.
        InProgress = "IN_PROGRESS",
        /// Ended: every stage done, nothing rejected.
        Approved = "APPROVED",
        /// Ended by a rejection.
        Rejected = "REJECTED",
        /// Ended by its submitter.
        Recalled = "RECALLED",
        /// Ended by an administrator.
        Canceled = "CANCELED",
        /// Stopped by an error: it waits for an administrator, without time limit.
        Error = "ERROR",
        /// Held by an administrator.
        Suspended = "SUSPENDED",
    }
    /// How a stage run stands.
    StageRunStatus {
        /// Under way.
        InProgress = "IN_PROGRESS",
        /// Its exit condition held.
        Completed = "COMPLETED",
        /// Not ended when an administrator went to another stage.
        Discontinued = "DISCONTINUED",
        /// In progress when the submission was recalled or canceled.
        Canceled = "CANCELED",
        /// It met an error.
        Error = "ERROR",
        /// Held with its submission.
        Suspended = "SUSPENDED",
    }
    /// How a step run stands (DESIGN 2.1).
    StepRunStatus {
        /// Its entry condition has not been met.
        NotStarted = "NOT_STARTED",
        /// It was started.
        InProgress = "IN_PROGRESS",
        /// The approval step met its exit condition; or the background step's flow completed.
        Completed = "COMPLETED",
        /// In progress when its stage completed or was left, or when its stage or submission met an error.
        Discontinued = "DISCONTINUED",
        /// In progress when the submission was recalled or canceled.
        Canceled = "CANCELED",
        /// It met an error.
        Error = "ERROR",
    }
    /// How a work item stands.
    WorkItemStatus {
        /// Open.
        Assigned = "ASSIGNED",
        /// Decided: approve.
        Approved = "APPROVED",
        /// Decided: reject.
        Rejected = "REJECTED",
        /// Decided: neither, where that is allowed.
        Abstained = "ABSTAINED",
        /// No longer needed: its step settled, or its stage completed, without it.
        Withdrawn = "WITHDRAWN",
        /// The submission was canceled.
        Canceled = "CANCELED",
        /// The submission was recalled.
        Recalled = "RECALLED",
        /// Its stage met an error.
        Errored = "ERRORED",
    }
    /// How a job stands.
    JobStatus {
        /// Stored.
        Pending = "PENDING",
        /// The broker confirmed it.
        Published = "PUBLISHED",
        /// A worker said so.
        Running = "RUNNING",
        /// Its flow completed.
        Completed = "COMPLETED",
        /// Its flow failed, after its retries.
        Failed = "FAILED",
        /// Its step ended without it.
        Canceled = "CANCELED",
    }
    /// How a version of a process or a flow stands.
    VersionStatus {
        /// Published, never active.
        Draft = "DRAFT",
        /// The one that is used.
        Active = "ACTIVE",
        /// Was active once.
        Inactive = "INACTIVE",
    }
}

impl SubmissionStatus {
    /// Whether it has ended: a terminal submission never changes again (DESIGN 4, invariant 6).
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Approved | Self::Rejected | Self::Recalled | Self::Canceled => true,
            Self::InProgress | Self::Error | Self::Suspended => false,
        }
    }
}

impl StepRunStatus {
    /// Whether the step run may still become something else within its stage run's progress.
    pub const fn is_open(self) -> bool {
        match self {
            Self::NotStarted | Self::InProgress => true,
            Self::Completed | Self::Discontinued | Self::Canceled | Self::Error => false,
        }
    }
}
