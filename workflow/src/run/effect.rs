//! What a run does to its submission: collected while it goes on, and handed over when it has come to its end.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{EFFECTS_MAX, JobEffect, Problem};

/// Effects in their order. Clones collect into the same list.
#[derive(Clone, Default)]
pub(super) struct Collected(Arc<Mutex<Vec<JobEffect>>>);

impl Collected {
    pub(super) fn add(&self, effect: JobEffect) -> Result<(), Problem> {
        self.append(vec![effect])
    }

    /// Takes over what another one has collected.
    pub(super) fn take_over(&self, other: &Self) -> Result<(), Problem> {
        self.append(other.take())
    }

    pub(super) fn take(&self) -> Vec<JobEffect> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn append(&self, mut effects: Vec<JobEffect>) -> Result<(), Problem> {
        // A panic while the lock was held leaves the list whole: every change is one call.
        let mut collected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if collected.len() + effects.len() > EFFECTS_MAX {
            return Err(Problem::validation(format!(
                "a run has at most {EFFECTS_MAX} comments, changes of the record and events"
            )));
        }
        collected.append(&mut effects);
        Ok(())
    }
}
