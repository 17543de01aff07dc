//! How decisions add up: one total function from votes to pending, approved or rejected (DESIGN 2.5).

use crate::{
    definition::{DecisionRule, Quorum, RejectRule},
    state::Verdict,
};

/// What has been decided in an approval step run so far, in people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// How many were asked, frozen when the step started.
    pub asked: u32,
    /// How many have approved.
    pub approved: u32,
    /// How many have rejected.
    pub rejected: u32,
}

impl DecisionRule {
    /// How the votes settle the step; `None`: they do not yet. The order of the votes makes no difference, and once everybody
    /// has voted it is always settled.
    pub fn outcome(self, votes: Votes) -> Option<Verdict> {
        let needed = self.needed(votes.asked);
        let unreachable = votes.asked.saturating_sub(votes.rejected) < needed;
        let rejected = match (self.approve, self.reject) {
            (Quorum::Any, _) | (_, RejectRule::Any) => votes.rejected >= 1,
            (_, RejectRule::AtLeast(count)) => votes.rejected >= count || unreachable,
            (_, RejectRule::Unreachable) => unreachable,
        };
        if rejected {
            Some(Verdict::Reject)
        } else if votes.approved >= needed {
            Some(Verdict::Approve)
        } else {
            None
        }
    }

    /// How many approvals it takes of so many people.
    pub fn needed(self, asked: u32) -> u32 {
        match self.approve {
            Quorum::Any => 1,
            Quorum::All => asked.max(1),
            Quorum::AtLeast(count) => count,
            Quorum::Percent(percent) => {
                let needed = (u64::from(percent) * u64::from(asked)).div_ceil(100).max(1);
                u32::try_from(needed).unwrap_or(u32::MAX)
            }
        }
    }

    /// Whether every person asked has a work item of their own.
    pub fn counts_people(self) -> bool {
        self.approve != Quorum::Any
    }
}
