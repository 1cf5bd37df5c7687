//! The ways out, as the configuration file writes them.
//!
//! Shapes and defaults alone; what runs them is `channels`.

use std::path::PathBuf;

use serde::Deserialize;

use super::value::{Secret, Span};

/// A way out of the house.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Channel {
    /// Mail.
    Smtp(Smtp),
    /// A GSM modem on a serial port.
    Modem(Modem),
    /// A JSON document by POST.
    Webhook(WebRequest),
    /// A gateway that takes short messages by HTTP.
    SmsGateway(WebRequest),
}

impl Channel {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Channel::Smtp(Smtp { name, .. }) | Channel::Modem(Modem { name, .. }) => name,
            Channel::Webhook(request) | Channel::SmsGateway(request) => &request.name,
        }
    }

    /// Whether texts on it are short and people are numbers.
    pub fn is_sms(&self) -> bool {
        matches!(self, Channel::Modem(_) | Channel::SmsGateway(_))
    }
}

/// How the line to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// STARTTLS, and no mail without it.
    #[default]
    Starttls,
    /// TLS from the first octet.
    Tls,
    /// In the clear; refused together with a password.
    None,
}

/// A mail server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// The channel's name.
    pub name: String,
    /// The server; its certificate must have this name.
    pub host: String,
    /// 587 for STARTTLS, 465 for TLS, 25 in the clear when left out.
    pub port: Option<u16>,
    /// How the line is protected.
    #[serde(default)]
    pub tls: SmtpTls,
    /// Certificates that are trusted (PEM); the system's own without it.
    pub ca_file: Option<PathBuf>,
    /// Who logs in.
    pub user: Option<String>,
    /// The password.
    pub password_file: Option<PathBuf>,
    /// Read from `password_file`.
    #[serde(skip)]
    pub password: Option<Secret>,
    /// The sender's address.
    pub from: String,
    /// How long an answer may take.
    #[serde(default = "twenty_seconds")]
    pub timeout: Span,
}

fn twenty_seconds() -> Span {
    Span::seconds(20)
}

/// A GSM modem.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modem {
    /// The channel's name.
    pub name: String,
    /// The serial device.
    pub device: PathBuf,
    /// Speed of the line.
    #[serde(default = "baud")]
    pub baud: u32,
    /// The SIM's PIN.
    pub pin_file: Option<PathBuf>,
    /// Read from `pin_file`.
    #[serde(skip)]
    pub pin: Option<Secret>,
    /// The most parts of a text; the rest is cut.
    #[serde(default = "four")]
    pub max_parts: u8,
}

fn baud() -> u32 {
    115_200
}

fn four() -> u8 {
    4
}

/// A request to a web server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebRequest {
    /// The channel's name.
    pub name: String,
    /// Where it is posted to.
    pub url: String,
    /// Certificates that are trusted (PEM); the system's own without it.
    pub ca_file: Option<PathBuf>,
    /// A bearer token.
    pub token_file: Option<PathBuf>,
    /// Read from `token_file`.
    #[serde(skip)]
    pub token: Option<Secret>,
    /// A template of the body over `to`, `subject`, `text`, `id`, `repeat`; a JSON document of
    /// all of them without it.
    pub body: Option<String>,
    /// What the body is.
    #[serde(default = "json")]
    pub content_type: String,
    /// How long an answer may take.
    #[serde(default = "twenty_seconds")]
    pub timeout: Span,
}

fn json() -> String {
    "application/json".into()
}
