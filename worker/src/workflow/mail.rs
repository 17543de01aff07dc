//! Mails of flows, over the SMTP server that the worker is configured with.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use hyper::Uri;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::{
        AsyncSmtpTransportBuilder,
        authentication::Credentials,
        client::{Tls, TlsParameters},
        extension::ClientId,
    },
};
use quorate_workflow::{Mail, MailFailure};
use tokio::time;

use crate::builder::host_name;

/// How long connecting, and then each answer of the mail server, may take: some look up a sender's host before they greet.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long sending a mail takes in all, as a call does.
const MAIL_TIMEOUT: Duration = Duration::from_mins(1);

/// How much of a mail server's answer is told: it goes into the error of a job.
const ANSWER_CHARS_MAX: usize = 200;

/// What mail servers answer to a worker that they do not let in (RFC 4954): authentication needed, too weak, failed, not encrypted.
const NOT_LET_IN: [u16; 4] = [530, 534, 535, 538];

/// Tells vacation programs not to answer (RFC 3834).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// The SMTP server that flows send mails over. Its password is not in its `Debug`.
#[derive(Clone)]
pub struct MailServer {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<(String, String)>,
    sender: Option<Mailbox>,
    /// With the certificates that the system trusts, which are read once.
    tls: Arc<OnceLock<TlsParameters>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS; a server without it is given nothing.
    StartTls,
    None,
}

/// Mails cannot be sent as configured.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMailServer {
    /// The URL cannot be used.
    #[error("the URL of the mail server cannot be used: {0}")]
    Url(&'static str),
    /// The sender is no address.
    #[error("the sender is no address such as orders@example.com or Orders <orders@example.com>")]
    Sender,
}

impl MailServer {
    /// `smtp://host:587` begins TLS with STARTTLS, and sends nothing to a server without it; `smtps://host:465` begins with TLS;
    /// `smtp://host:25?tls=none` is not encrypted. The ports may be left out. Servers are checked against the certificates that the
    /// system trusts.
    pub fn new(url: &str) -> Result<Self, InvalidMailServer> {
        let uri: Uri = url.parse().map_err(|_| InvalidMailServer::Url("it is no URL"))?;
        let security = match (uri.scheme_str(), uri.query()) {
            (Some("smtps"), None) => Security::Tls,
            (Some("smtp"), None) => Security::StartTls,
            (Some("smtp"), Some("tls=none")) => Security::None,
            (Some("smtp" | "smtps"), Some(_)) => {
                return Err(InvalidMailServer::Url("after `?` there is only `tls=none`, with smtp://"));
            }
            _ => return Err(InvalidMailServer::Url("it has to begin with smtp:// or smtps://")),
        };
        let authority = uri.authority().ok_or(InvalidMailServer::Url("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(InvalidMailServer::Url("user and password are given apart from it"));
        }
        if !matches!(uri.path(), "" | "/") {
            return Err(InvalidMailServer::Url("it ends with the host and the port"));
        }
        let port = authority.port_u16().unwrap_or(match security {
            Security::Tls => 465,
            Security::StartTls => 587,
            Security::None => 25,
        });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port, security, credentials: None, sender: None, tls: Arc::default() })
    }

    /// Who the worker is to the mail server.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// The sender of mails that name none.
    pub fn sender(mut self, address: &str) -> Result<Self, InvalidMailServer> {
        self.sender = Some(address.parse().map_err(|_| InvalidMailServer::Sender)?);
        Ok(self)
    }

    pub(super) async fn send(&self, mail: Mail) -> Result<(), MailFailure> {
        let message = self.message(mail)?;
        let transport: AsyncSmtpTransport<Tokio1Executor> = self.transport().await?.build();
        match time::timeout(MAIL_TIMEOUT, transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(MailFailure::Unavailable("the mail server has not answered in time".to_owned())),
        }
    }

    async fn transport(&self) -> Result<AsyncSmtpTransportBuilder, MailFailure> {
        let tls = match self.security {
            Security::Tls => Tls::Wrapper(self.tls_parameters().await?),
            Security::StartTls => Tls::Required(self.tls_parameters().await?),
            Security::None => Tls::None,
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .tls(tls)
            .hello_name(ClientId::Domain(host_name()))
            .timeout(Some(ANSWER_TIMEOUT));
        Ok(match &self.credentials {
            Some((user, password)) => builder.credentials(Credentials::new(user.clone(), password.clone())),
            None => builder,
        })
    }

    async fn tls_parameters(&self) -> Result<TlsParameters, MailFailure> {
        if let Some(known) = self.tls.get() {
            return Ok(known.clone());
        }
        let failed = |reason: String| MailFailure::NotConfigured(format!("TLS to the mail server: {reason}"));
        let host = self.host.clone();
        let read = tokio::task::spawn_blocking(move || TlsParameters::new(host)).await;
        let read = read.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        Ok(self.tls.get_or_init(|| read).clone())
    }

    fn message(&self, mail: Mail) -> Result<Message, MailFailure> {
        let from = match (&mail.from, &self.sender) {
            (Some(address), _) => mailbox("from", address)?,
            (None, Some(sender)) => sender.clone(),
            (None, None) => {
                return Err(MailFailure::NotConfigured(
                    "the mail names no sender, and this worker has none".to_owned(),
                ));
            }
        };
        let id = format!("<{}@{}>", mail.id, from.email.domain());
        let mut builder = Message::builder()
            .message_id(Some(id))
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
            .from(from)
            .subject(mail.subject);
        for address in &mail.to {
            builder = builder.to(mailbox("to", address)?);
        }
        for address in &mail.cc {
            builder = builder.cc(mailbox("cc", address)?);
        }
        let message = match (mail.text, mail.html) {
            (Some(text), Some(html)) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
            (text, Some(html)) => {
                debug_assert!(text.is_none());
                builder.singlepart(SinglePart::html(html))
            }
            (text, None) => builder.singlepart(SinglePart::plain(text.unwrap_or_default())),
        };
        message.map_err(|error| MailFailure::Invalid(error.to_string()))
    }
}

impl fmt::Debug for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, security, .. } = self;
        f.debug_struct("MailServer")
            .field("host", host)
            .field("port", port)
            .field("security", security)
            .finish_non_exhaustive()
    }
}

fn mailbox(field: &str, address: &str) -> Result<Mailbox, MailFailure> {
    address
        .parse()
        .map_err(|_| MailFailure::Invalid(format!("`{address}` in `{field}` is no address such as ann@example.com")))
}

fn failure(error: &lettre::transport::smtp::Error) -> MailFailure {
    // A mail server's answer may have several lines.
    let told = |text: String| -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(ANSWER_CHARS_MAX).collect()
    };
    match error.status().map(u16::from) {
        Some(code) => {
            let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            let reason = told(format!("the mail server answers {code} {reason}"));
            if NOT_LET_IN.contains(&code) {
                MailFailure::Unauthenticated(reason)
            } else if error.is_permanent() {
                MailFailure::Rejected(reason)
            } else {
                MailFailure::Unavailable(reason)
            }
        }
        // It lacks what it is asked for: STARTTLS, or a way to say a password.
        None if error.is_client() => MailFailure::NotConfigured(told(format!("the mail server: {error}"))),
        None => MailFailure::Unavailable(told(format!("the mail server: {error}"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::{TcpListener, TcpSocket},
    };

    use super::*;

    fn mail(subject: &str, to: &str) -> Mail {
        Mail {
            id: "job-1-ab".to_owned(),
            from: None,
            to: vec![to.to_owned()],
            cc: vec!["carol@example.com".to_owned()],
            subject: subject.to_owned(),
            text: Some("Hello\n.\nBcc: mallory@example.com".to_owned()),
            html: None,
        }
    }

    fn written(mail: Mail) -> String {
        let server = MailServer::new("smtps://h").unwrap().sender("Orders <orders@example.com>").unwrap();
        String::from_utf8(server.message(mail).unwrap().formatted()).unwrap()
    }

    #[test]
    fn a_mail_says_that_a_program_sends_it_and_which_job() {
        let text = written(mail("Hello", "Ann <ann@example.com>"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for line in [
            "Message-ID: <job-1-ab@example.com>",
            "Auto-Submitted: auto-generated",
            "From: Orders <orders@example.com>",
            "To: Ann <ann@example.com>",
            "Cc: carol@example.com",
            "Subject: Hello",
        ] {
            assert!(head.lines().any(|found| found == line), "{line}: {head}");
        }
        assert!(!head.contains("mallory") && body.contains("mallory"), "{text}");
    }

    #[test]
    fn no_header_comes_of_a_line_break_whatever_the_interpreter_lets_through() {
        let text = written(mail("Hello\r\nBcc: mallory@example.com", "ann@example.com"));
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        let server = MailServer::new("smtps://h").unwrap().sender("orders@example.com").unwrap();
        for address in ["ann@example.com\r\nBcc: mallory@example.com", "a@example.com, b@example.com", "ann", ""] {
            let refused = server.message(mail("Hello", address));
            assert!(matches!(refused, Err(MailFailure::Invalid(_))), "{address}");
        }
    }

    #[test]
    fn a_url_says_how_the_mail_server_is_spoken_to() {
        for (url, host, port, security) in [
            ("smtp://mail.example.com", "mail.example.com", 587, Security::StartTls),
            ("smtp://mail.example.com:2525/", "mail.example.com", 2525, Security::StartTls),
            ("smtps://mail.example.com", "mail.example.com", 465, Security::Tls),
            ("smtp://[::1]?tls=none", "::1", 25, Security::None),
        ] {
            let server = MailServer::new(url).unwrap();
            assert_eq!((server.host.as_str(), server.port, server.security), (host, port, security), "{url}");
        }
        for url in
            ["mail", "http://h", "smtp://u:p@h", "smtps://h?tls=none", "smtp://h?tls=no", "smtp://h/path", "smtp://"]
        {
            assert!(MailServer::new(url).is_err(), "{url}");
        }
        assert!(MailServer::new("smtp://h").unwrap().sender("nobody").is_err());
    }

    #[tokio::test]
    async fn a_mail_server_without_starttls_is_given_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let heard = tokio::spawn(async move {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            stream.write_all(b"220 mail.example.com\r\n").await.unwrap();
            let mut heard = Vec::new();
            let mut line = String::new();
            while matches!(stream.read_line(&mut line).await, Ok(1..)) {
                heard.push(line.split_whitespace().next().unwrap_or_default().to_owned());
                line.clear();
                // The client may have gone.
                let _ = stream.write_all(b"250 mail.example.com\r\n").await;
            }
            heard
        });
        let server = MailServer::new(&url).unwrap().credentials("worker", "s3cret").sender("a@example.com").unwrap();
        let refused = server.send(mail("Hello", "ann@example.com")).await;
        assert!(matches!(refused, Err(MailFailure::NotConfigured(_))), "{refused:?}");
        let heard = time::timeout(MAIL_TIMEOUT, heard).await.unwrap().unwrap();
        assert!(heard.iter().all(|word| ["EHLO", "QUIT"].contains(&word.as_str())), "{heard:?}");
    }

    #[tokio::test]
    async fn a_mail_server_that_is_away_may_be_there_later() {
        // Bound, so that nobody else gets it, and nobody listens.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let server = MailServer::new(&format!("smtp://{address}?tls=none")).unwrap().sender("a@example.com").unwrap();
        let refused = server.send(mail("Hello", "ann@example.com")).await;
        assert!(matches!(refused, Err(MailFailure::Unavailable(_))), "{refused:?}");
    }

    #[test]
    fn the_password_is_not_printed() {
        let server = MailServer::new("smtp://h").unwrap().credentials("worker", "s3cret");
        assert!(!format!("{server:?}").contains("s3cret"));
    }
}
