//! How decisions add up: one total function from votes to pending, approved or rejected (DESIGN 2.5).

use crate::{
    definition::{DecisionRule, Quorum, RejectRule},
    state::{StepRun, Verdict},
    status::WorkItemStatus,
};

/// How many people one step may ask, and so how many a rule may count: more than anybody waits for, and few enough for a
/// submission to be loaded and told of whole.
pub const ASKED_MAX: u32 = 1_000;

/// How much one person's vote may weigh: as much as everybody else together where as many as can be are asked.
pub const WEIGHT_MAX: u32 = 1_000;

/// What has been decided in an approval step run so far, in people, or, where the rule asks for weight, in their weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// How many are asked: as many as when the step started, but for escalations.
    pub asked: u32,
    /// How many have approved.
    pub approved: u32,
    /// How many have rejected.
    pub rejected: u32,
    /// How many have abstained: they are no longer counted among those who can decide.
    pub abstained: u32,
    /// Whether somebody has rejected whose rejection settles the step.
    pub vetoed: bool,
}

impl Votes {
    /// Those of a step run.
    pub fn of(run: &StepRun) -> Self {
        let weight = |status: Option<WorkItemStatus>| {
            // Whom others are asked instead of is not asked.
            let items = run.work_items.iter().filter(|item| !item.replaced);
            let items = items.filter(|item| status.is_none_or(|status| item.status == status));
            items.fold(0_u32, |sum, item| sum.saturating_add(item.weight))
        };
        Self {
            asked: weight(None),
            approved: weight(Some(WorkItemStatus::Approved)),
            rejected: weight(Some(WorkItemStatus::Rejected)),
            abstained: weight(Some(WorkItemStatus::Abstained)),
            vetoed: run.work_items.iter().any(|item| item.veto && item.status == WorkItemStatus::Rejected),
        }
    }
}

impl DecisionRule {
    /// How the votes settle the step; `None`: they do not yet. The order of the votes makes no difference, and once everybody
    /// has voted it is always settled. Where all abstain it is rejected: nothing is approved by silence.
    pub fn outcome(self, votes: Votes) -> Option<Verdict> {
        let eligible = votes.asked.saturating_sub(votes.abstained);
        let needed = self.needed(eligible);
        // What is left can only shrink, and what is needed of it shrinks no faster: unreachable once is unreachable for good.
        let unreachable = eligible.saturating_sub(votes.rejected) < needed;
        let rejected = match (self.approve, self.reject) {
            (Quorum::Any, _) | (_, RejectRule::Any) => votes.rejected >= 1,
            (_, RejectRule::AtLeast(count)) => votes.rejected >= count,
            (_, RejectRule::Unreachable) => false,
        };
        if votes.vetoed || rejected || unreachable {
            Some(Verdict::Reject)
        } else if votes.approved >= needed {
            Some(Verdict::Approve)
        } else {
            None
        }
    }

    /// How many approvals it takes of so many people, or how much weight. At least one, however few there are.
    pub fn needed(self, eligible: u32) -> u32 {
        match self.approve {
            Quorum::Any => 1,
            Quorum::All => eligible.max(1),
            Quorum::AtLeast(count) | Quorum::Weight(count) => count,
            Quorum::Percent(percent) => {
                let needed = (u64::from(percent) * u64::from(eligible)).div_ceil(100).max(1);
                u32::try_from(needed).unwrap_or(u32::MAX)
            }
        }
    }

    /// Whether every person asked has a work item of their own.
    pub fn counts_people(self) -> bool {
        self.approve != Quorum::Any
    }
}
