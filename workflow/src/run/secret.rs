//! The secrets of a run: what `$secrets` is, and what nobody is told.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{Effects, Problem, http};

/// How long a secret is that is taken out of what is said of errors: a shorter one would take words out of every sentence.
const WORD_BYTES_MIN: usize = 4;

/// Secrets as they were resolved when the run began.
pub(super) struct Secrets {
    value: Value,
    names: Vec<String>,
    words: Vec<String>,
}

impl Secrets {
    pub(super) fn resolve(names: &[String], effects: &dyn Effects) -> Result<Self, Problem> {
        let mut value = Map::new();
        let mut words = Vec::new();
        for name in names {
            let Some(secret) = effects.secret(name) else {
                // What the specification asks for.
                return Err(Problem::authorization(format!("this worker has no secret `{name}`")));
            };
            if secret.len() >= WORD_BYTES_MIN {
                // As it is, as a URI has it, and as texts are quoted.
                let quoted = Value::from(secret.as_str()).to_string();
                words.extend([secret.clone(), http::encoded(&secret), quoted[1..quoted.len() - 1].to_owned()]);
            }
            value.insert(name.clone(), secret.into());
        }
        // The longest first: one may be a part of another.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words.dedup();
        Ok(Self { value: Value::Object(value), names: names.to_vec(), words })
    }

    /// What `$secrets` is.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// The names of those that may be in a request, which are added of all that there are.
    pub(super) fn named<'a>(&'a self, add: impl FnOnce(&'a [String], &mut BTreeSet<&'a str>)) -> Vec<String> {
        let mut names = BTreeSet::new();
        add(&self.names, &mut names);
        names.into_iter().map(str::to_owned).collect()
    }

    /// What is taken out of the texts of errors.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }
}
