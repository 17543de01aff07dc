//! Tokens of `oauth2`, kept while the run goes on.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use super::{Budget, Interpreter, Surroundings};
use crate::{
    Problem,
    expression::Template,
    oauth::{Client, Oauth2, Token},
};

/// How many tokens a run keeps: clients may be made by expressions.
const TOKENS_MAX: usize = 16;

/// Tokens by their client.
#[derive(Default)]
pub(super) struct Tokens(Mutex<BTreeMap<Client, Token>>);

impl Tokens {
    /// They are asked for anew: a service has not taken one.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Client, Token>> {
        // A panic while the lock was held leaves the map whole: every change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interpreter<'_> {
    pub(super) async fn token(&self, oauth: &Oauth2, on: &Value, around: &Surroundings) -> Result<String, Problem> {
        let authority = self.text("authority", &oauth.authority, on, around).await?;
        let client = Client {
            uri: format!("{}{}", authority.trim_end_matches('/'), oauth.path),
            id: self.text("id", &oauth.id, on, around).await?,
            secret: self.text("secret", &oauth.secret, on, around).await?,
            scopes: self.texts("scopes", &oauth.scopes, on, around).await?,
            audiences: self.texts("audiences", &oauth.audiences, on, around).await?,
        };
        let known = self.tokens.lock().get(&client).cloned();
        if let Some(token) = known.filter(|token| self.effects.now() < token.until) {
            return Ok(token.value);
        }
        let secrets = self.secrets.named(|all, names| oauth.add_secrets(all, names));
        let response = self.send(client.request(oauth.shown, secrets), false).await?;
        let token = client.token(&response, self.effects.now())?;
        let mut tokens = self.tokens.lock();
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(client, token.clone());
        Ok(token.value)
    }

    async fn texts(
        &self,
        name: &str,
        templates: &[Template],
        on: &Value,
        around: &Surroundings,
    ) -> Result<Vec<String>, Problem> {
        let mut texts = Vec::with_capacity(templates.len());
        let budget = &mut Budget::of("a client");
        for template in templates {
            texts.push(self.text_within(budget, name, template, on, around).await?);
        }
        Ok(texts)
    }
}
