//! Which migrations a store still needs. They go forward only: each once, in the order of their names, and unchanged since.

use sha2::{Digest, Sha256};

use crate::{StoreError, log::Hash};

/// A migration of the schema, embedded in the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    /// Its name: a number and a subject. The order of the names is that of the migrations.
    pub(crate) name: &'static str,
    /// What it runs.
    pub(crate) sql: &'static str,
}

/// A migration as the store remembers it.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) name: String,
    pub(crate) checksum: Vec<u8>,
}

impl Migration {
    /// SHA-256 of its text.
    pub(crate) fn checksum(&self) -> Hash {
        Sha256::digest(self.sql).into()
    }
}

/// The migrations that are still to be applied. An error when the store is newer than this program, or holds what it did not
/// write.
pub(crate) fn pending(known: &[Migration], applied: &[Applied]) -> Result<Vec<Migration>, StoreError> {
    for (at, applied) in applied.iter().enumerate() {
        let Some(migration) = known.get(at) else {
            return Err(StoreError::Schema(format!(
                "the store is newer than this program: it has migration `{}`, which this program does not know; run a \
                 newer version of the program",
                applied.name
            )));
        };
        if migration.name != applied.name {
            return Err(StoreError::Schema(format!(
                "the store has migration `{}` where this program has `{}`: they are not of the same line of versions",
                applied.name, migration.name
            )));
        }
        if migration.checksum().as_slice() != applied.checksum {
            return Err(StoreError::Schema(format!(
                "migration `{}` was applied with another text than this program has: the store was made by a program \
                 that was changed",
                migration.name
            )));
        }
    }
    Ok(known.iter().skip(applied.len()).copied().collect())
}

/// Whether nothing is left to be applied.
pub(crate) fn check(known: &[Migration], applied: &[Applied]) -> Result<(), StoreError> {
    match pending(known, applied)?.first() {
        None => Ok(()),
        Some(next) => Err(StoreError::Schema(format!(
            "the store lacks migration `{}`: run `quorate migrate` with this version of the program",
            next.name
        ))),
    }
}
