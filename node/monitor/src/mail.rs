//! Mail: lettre's transport with its pool of connections, and what its answers mean.
//!
//! Invariants: with `starttls` and `tls` nothing goes in the clear; the Message-ID of a message
//! is the same at every try, so that mail programs fold a repeat into the first.

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::config::{Smtp, SmtpTls};
use crate::engine::{Job, Outcome};

/// A mail server.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    monitor: String,
}

impl Mailer {
    /// A transport as configured; it connects when there is a mail.
    pub fn new(smtp: &Smtp, monitor: &str) -> Result<Mailer, String> {
        let from = smtp.from.parse().map_err(|error| format!("from: {error}"))?;
        let (tls, port) = match smtp.tls {
            SmtpTls::Starttls => (Tls::Required(parameters(smtp)?), 587),
            SmtpTls::Tls => (Tls::Wrapper(parameters(smtp)?), 465),
            SmtpTls::None => (Tls::None, 25),
        };
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.host.as_str())
                .port(smtp.port.unwrap_or(port))
                .timeout(Some(smtp.timeout.0))
                .tls(tls);
        if let (Some(user), Some(password)) = (&smtp.user, &smtp.password) {
            builder =
                builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        Ok(Mailer { transport: builder.build(), from, monitor: monitor.to_owned() })
    }

    /// Hands a mail over.
    pub async fn send(&self, job: &Job) -> Outcome {
        let mail = match self.mail(job) {
            Ok(mail) => mail,
            Err(error) => return Outcome::Never(error),
        };
        match self.transport.send(mail).await {
            Ok(_) => Outcome::Sent(Vec::new()),
            Err(error) => meaning(&error),
        }
    }

    fn mail(&self, job: &Job) -> Result<Message, String> {
        let to = job.to.parse::<Mailbox>().map_err(|error| error.to_string())?;
        let id = format!("<{}.{}.{}@holdfast>", self.monitor, job.created, job.id);
        // RFC 3834: answers by machines are not wanted.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let body = MultiPart::alternative_plain_html(job.mail.clone(), job.html.clone());
        Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(&job.subject)
            .message_id(Some(id))
            .raw_header(HeaderValue::new(automatic, "auto-generated".into()))
            .multipart(body)
            .map_err(|error| error.to_string())
    }
}

fn parameters(smtp: &Smtp) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(smtp.host.clone());
    if let Some(path) = &smtp.ca_file {
        let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for certificate in pem_blocks(&String::from_utf8_lossy(&pem)) {
            let certificate = Certificate::from_pem(certificate.as_bytes())
                .map_err(|error| format!("{}: {error}", path.display()))?;
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build_rustls().map_err(|error| error.to_string())
}

/// Each certificate of a file by itself.
fn pem_blocks(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = pem.split_inclusive(END).filter(|block| block.contains("-----BEGIN CERTIFICATE"));
    blocks.map(|block| format!("{}\n", block.trim())).collect()
}

fn meaning(error: &lettre::transport::smtp::Error) -> Outcome {
    let text = chain(error);
    let code = error.status().map(|code| code.to_string()).unwrap_or_default();
    // 530 to 538 concern login and TLS (RFC 4954): the message itself was not refused.
    let login = matches!(code.as_str(), "530" | "534" | "535" | "538");
    let answered = error.status().is_some() || error.is_tls() || error.is_client();
    let unreached = text.starts_with("Connection error") || text.contains("refused");
    if error.is_permanent() && !login {
        Outcome::Never(text)
    } else if answered || unreached {
        Outcome::Again(text)
    } else {
        // The line was lost or silent: after the data this may be after it was accepted.
        Outcome::Unknown(text)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}
