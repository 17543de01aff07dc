//! Calls: what is sent, and what comes of it; and what is done to the submission.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Budget, Interpreter, Surroundings};
use crate::{
    COMMENT_BYTES_MAX, HttpRequest, HttpResponse, JobEffect, Mail, Problem, ToldEvent, VALUE_BYTES_MAX,
    event::EventTemplate,
    expression::Template,
    http::{self, Authentication, Endpoint, HttpCall, Uri},
    mail::{self, MailCall},
    model::Task,
    webhook::{self, WebhookCall},
};

/// How many bytes of a digest tell the calls of one job apart.
const CALL_DIGEST_BYTES: usize = 8;

/// What a service answers that does not take a token.
const UNAUTHORIZED: u16 = 401;

impl Interpreter<'_> {
    pub(super) async fn http(&self, call: &HttpCall, on: &Value, around: &Surroundings) -> Result<Value, Problem> {
        let mut uri = self.uri(&call.endpoint, on, around).await?;
        // What may be said of it: it becomes data, which goes to the server.
        let mut told = (!call.endpoint.is_secret()).then(|| uri.clone());
        let budget = &mut Budget::of("a request");
        for (name, template) in &call.query {
            let value = self.fill_within(budget, template, on, around).await?;
            http::append_query(&mut uri, name, &value)?;
            if let Some(told) = &mut told
                && !template.uses_secrets()
            {
                http::append_query(told, name, &value)?;
            }
        }
        let mut headers = Vec::new();
        for (name, template) in &call.headers {
            headers.push((name.to_ascii_lowercase(), self.text_within(budget, name, template, on, around).await?));
        }
        headers.extend(self.authorization(call.endpoint.authentication.as_ref(), on, around).await?);
        let mut body = Vec::new();
        if let Some(template) = &call.body {
            let (bytes, media) = match self.fill_within(budget, template, on, around).await? {
                Value::String(text) => (text.into_bytes(), "text/plain; charset=utf-8"),
                value => (value.to_string().into_bytes(), "application/json"),
            };
            body = bytes;
            if !headers.iter().any(|(name, _)| name == "content-type") {
                headers.push(("content-type".to_owned(), media.to_owned()));
            }
        }
        let secrets = self.secrets.named(|all, names| {
            call.endpoint.add_secrets(all, names);
            let parts = call.query.iter().chain(&call.headers).map(|(_, template)| template).chain(&call.body);
            parts.for_each(|template| template.add_secrets(all, names));
        });
        let request = HttpRequest { method: call.method.clone(), uri, headers, body, secrets };
        let response = self.send(request, call.endpoint.is_secret()).await?;
        http::output(call, told.as_deref(), &response)
    }

    pub(super) async fn webhook(
        &self,
        call: &WebhookCall,
        task: &Task,
        on: &Value,
        around: &Surroundings,
    ) -> Result<Value, Problem> {
        let uri = self.uri(&call.endpoint, on, around).await?;
        let id = self.call_id(task, around);
        let body = self.event(&call.event, &id, on, around).await?.to_string().into_bytes();
        let at = self.effects.now().as_second();
        let secret = self.secrets.value()[call.secret.as_str()].as_str().unwrap_or_default();
        let signature = webhook::sign(secret, &id, at, &body)
            .map_err(|reason| Problem::configuration(format!("the secret `{}` {reason}", call.secret)))?;
        let mut headers = vec![
            ("content-type".to_owned(), "application/cloudevents+json; charset=utf-8".to_owned()),
            ("webhook-id".to_owned(), id.clone()),
            ("webhook-timestamp".to_owned(), at.to_string()),
            ("webhook-signature".to_owned(), signature),
        ];
        headers.extend(self.authorization(call.endpoint.authentication.as_ref(), on, around).await?);
        let told = (!call.endpoint.is_secret()).then(|| uri.clone());
        // What it is signed with does not go with it, but whoever gets a signature could pass it on.
        let secrets = self.secrets.named(|all, names| {
            call.endpoint.add_secrets(all, names);
            names.insert(&call.secret);
        });
        let request = HttpRequest { method: "POST".to_owned(), uri, headers, body, secrets };
        let response = self.send(request, call.endpoint.is_secret()).await?;
        http::check_status(told.as_deref(), response.status, http::SUCCESS_LAST)?;
        Ok(json!({"id": id, "statusCode": response.status}))
    }

    pub(super) async fn mail(
        &self,
        call: &MailCall,
        task: &Task,
        on: &Value,
        around: &Surroundings,
    ) -> Result<Value, Problem> {
        let optional = async |name: &str, template: &Option<Template>| {
            Ok::<_, Problem>(match template {
                None => None,
                Some(template) => match self.fill(template, on, around).await? {
                    Value::Null => None,
                    value => Some(http::text_of(name, &value)?),
                },
            })
        };
        let mail = Mail {
            id: self.call_id(task, around),
            from: optional("from", &call.from).await?,
            to: mail::addresses("to", &self.fill(&call.to, on, around).await?)?,
            cc: match &call.cc {
                None => Vec::new(),
                Some(cc) => mail::addresses("cc", &self.fill(cc, on, around).await?)?,
            },
            subject: self.text("subject", &call.subject, on, around).await?,
            text: optional("text", &call.text).await?,
            html: optional("html", &call.html).await?,
        };
        mail::check(&mail)?;
        let id = mail.id.clone();
        self.effects.mail(mail).await?;
        Ok(json!({"id": id}))
    }

    pub(super) async fn comment(&self, text: &Template, on: &Value, around: &Surroundings) -> Result<(), Problem> {
        let text = self.text("text", text, on, around).await?;
        if text.trim().is_empty() || text.len() > COMMENT_BYTES_MAX {
            return Err(Problem::validation(format!("a comment has 1 to {COMMENT_BYTES_MAX} bytes")));
        }
        around.collected.add(JobEffect::Comment(text))
    }

    pub(super) async fn update_record(
        &self,
        patch: &Template,
        on: &Value,
        around: &Surroundings,
    ) -> Result<(), Problem> {
        match self.fill(patch, on, around).await? {
            Value::Object(patch) => around.collected.add(JobEffect::RecordPatch(patch)),
            _ => Err(Problem::expression("`patch` has to be an object")),
        }
    }

    pub(super) async fn emit(
        &self,
        event: &EventTemplate,
        task: &Task,
        on: &Value,
        around: &Surroundings,
    ) -> Result<Value, Problem> {
        let value = self.event(event, &self.call_id(task, around), on, around).await?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let kind = text("type").unwrap_or_default();
        EventTemplate::check_told(&kind)?;
        around.collected.add(JobEffect::Event(ToldEvent {
            kind,
            source: text("source").unwrap_or_default(),
            subject: text("subject"),
            dataschema: text("dataschema"),
            data: value.get("data").cloned(),
        }))?;
        Ok(value)
    }

    /// A `CloudEvent` in its JSON format. `id` is its id where it does not say another one.
    async fn event(
        &self,
        event: &EventTemplate,
        id: &str,
        on: &Value,
        around: &Surroundings,
    ) -> Result<Value, Problem> {
        let mut value = json!({
            "specversion": "1.0",
            "id": id,
            "time": self.effects.now().to_string(),
            "datacontenttype": "application/json",
        });
        for (name, template) in &event.attributes {
            let text = self.text(name, template, on, around).await?;
            EventTemplate::check(name, &text)?;
            value[name.as_str()] = text.into();
        }
        if let Some(data) = &event.data {
            value["data"] = self.fill(data, on, around).await?;
        }
        Ok(value)
    }

    /// What names a call: the job's id, and a digest of the task and its turn. The same when the call is made again, in another
    /// attempt of the job or of a `try`.
    pub(super) fn call_id(&self, task: &Task, around: &Surroundings) -> String {
        let digest = Sha256::new().chain_update(&task.pointer).chain_update([0]).chain_update(&around.turn).finalize();
        let digest = digest.iter().take(CALL_DIGEST_BYTES).fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        format!("{}-{digest:016x}", self.workflow["id"].as_str().unwrap_or_default())
    }

    /// Sends, to an endpoint that may be one of which nothing is told.
    pub(super) async fn send(&self, request: HttpRequest, is_secret: bool) -> Result<HttpResponse, Problem> {
        let response = self.effects.http(request).await;
        let response =
            response.map_err(|failure| if is_secret { http::withheld(&failure) } else { Problem::from(failure) })?;
        if response.status == UNAUTHORIZED {
            self.tokens.forget();
        }
        if response.body.len() > VALUE_BYTES_MAX {
            return Err(Problem::communication(502, format!("the answer has more than {VALUE_BYTES_MAX} bytes")));
        }
        Ok(response)
    }

    async fn uri(&self, endpoint: &Endpoint, on: &Value, around: &Surroundings) -> Result<String, Problem> {
        match &endpoint.uri {
            Uri::Template(parts) => http::expand(parts, on),
            Uri::Expression(expression) => match self.evaluate(expression, on, around).await? {
                Value::String(uri) => Ok(uri),
                _ => Err(Problem::expression("the URI has to be a text")),
            },
        }
    }

    /// The header that shows who calls.
    pub(super) async fn authorization(
        &self,
        authentication: Option<&Authentication>,
        on: &Value,
        around: &Surroundings,
    ) -> Result<Option<(String, String)>, Problem> {
        let value = match authentication {
            None => return Ok(None),
            Some(Authentication::Bearer { token }) => {
                format!("Bearer {}", self.text("token", token, on, around).await?)
            }
            Some(Authentication::Oauth2(oauth)) => format!("Bearer {}", self.token(oauth, on, around).await?),
            Some(Authentication::Basic { username, password }) => {
                let username = self.text("username", username, on, around).await?;
                let password = self.text("password", password, on, around).await?;
                format!("Basic {}", BASE64.encode(format!("{username}:{password}")))
            }
        };
        Ok(Some(("authorization".to_owned(), value)))
    }

    /// A text, or a number or a boolean as one.
    pub(super) async fn text(
        &self,
        name: &str,
        template: &Template,
        on: &Value,
        around: &Surroundings,
    ) -> Result<String, Problem> {
        http::text_of(name, &self.fill(template, on, around).await?)
    }

    pub(super) async fn text_within(
        &self,
        budget: &mut Budget,
        name: &str,
        template: &Template,
        on: &Value,
        around: &Surroundings,
    ) -> Result<String, Problem> {
        http::text_of(name, &self.fill_within(budget, template, on, around).await?)
    }
}
