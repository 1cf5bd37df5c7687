//! The ways out: which task carries a message, and what it says of it.
//!
//! Not the choice of the way (see `engine`). Invariant: every job that is given ends with exactly
//! one `News::Settled`, unless the process ends first.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::config::{Channel, Config, WebRequest};
use crate::engine::{Job, Outcome};
use crate::mail::Mailer;
use crate::sms::pdu::Report;
use crate::sms::port::Port;
use crate::texts::fill;
use crate::web::{Client, Failure};

/// Jobs that wait for one modem; the engine gives one at a time.
const WAITING_JOBS: usize = 4;

/// What channels say.
#[derive(Clone, Debug)]
pub enum News {
    /// What became of a message.
    Settled(u64, Outcome),
    /// A modem's state.
    Modem {
        /// The channel.
        channel: String,
        /// What keeps it from sending.
        trouble: Option<String>,
        /// Signal strength.
        signal_dbm: Option<i32>,
        /// How often it was told to start anew.
        resets: u64,
    },
    /// Somebody sent a message.
    Answer {
        /// The channel.
        channel: String,
        /// From whom.
        from: String,
        /// What.
        text: String,
    },
    /// What the centre says of a message.
    Report {
        /// The channel.
        channel: String,
        /// What.
        report: Report,
    },
}

enum Carrier {
    Mail(Arc<Mailer>),
    Modem(mpsc::Sender<Job>),
    Web(Arc<Web>),
}

struct Web {
    client: Client,
    request: WebRequest,
    is_sms: bool,
}

/// All channels, running.
pub struct Channels {
    carriers: BTreeMap<String, Carrier>,
    news: mpsc::Sender<News>,
}

impl Channels {
    /// Starts the channels of a configuration.
    pub fn start(config: &Config, news: mpsc::Sender<News>) -> Result<Channels, String> {
        let mut carriers = BTreeMap::new();
        for channel in &config.channels {
            let name = channel.name().to_owned();
            let fault = |error: String| format!("channel \"{name}\": {error}");
            let carrier = match channel {
                Channel::Smtp(smtp) => {
                    Carrier::Mail(Arc::new(Mailer::new(smtp, &config.name).map_err(fault)?))
                }
                Channel::Modem(modem) => {
                    let (jobs, taken) = mpsc::channel(WAITING_JOBS);
                    tokio::spawn(Port::new(modem.clone(), news.clone()).run(taken));
                    Carrier::Modem(jobs)
                }
                Channel::Webhook(request) | Channel::SmsGateway(request) => {
                    let client = Client::new(request.ca_file.as_deref()).map_err(fault)?;
                    let is_sms = channel.is_sms();
                    Carrier::Web(Arc::new(Web { client, request: request.clone(), is_sms }))
                }
            };
            carriers.insert(name, carrier);
        }
        Ok(Channels { carriers, news })
    }

    /// Takes a message on its way.
    pub fn give(&self, job: Job) {
        let news = self.news.clone();
        let id = job.id;
        let refused = match self.carriers.get(&job.channel) {
            None => Outcome::Never(format!("there is no channel \"{}\"", job.channel)),
            Some(Carrier::Modem(jobs)) => match jobs.try_send(job) {
                Ok(()) => return,
                Err(_) => Outcome::Again("the modem is busy".into()),
            },
            Some(Carrier::Mail(mailer)) => {
                let mailer = mailer.clone();
                tokio::spawn(async move {
                    let outcome = mailer.send(&job).await;
                    let _ = news.send(News::Settled(id, outcome)).await;
                });
                return;
            }
            Some(Carrier::Web(web)) => {
                let web = web.clone();
                tokio::spawn(async move {
                    let outcome = web.send(&job).await;
                    let _ = news.send(News::Settled(id, outcome)).await;
                });
                return;
            }
        };
        tokio::spawn(async move {
            let _ = news.send(News::Settled(id, refused)).await;
        });
    }
}

impl Web {
    async fn send(&self, job: &Job) -> Outcome {
        let body = match self.body(job) {
            Ok(body) => body,
            Err(error) => return Outcome::Never(error),
        };
        let request = &self.request;
        let sent = self.client.post(
            &request.url,
            request.token.as_ref(),
            &request.content_type,
            body,
            request.timeout.0,
        );
        match sent.await {
            Ok(status) if (200..300).contains(&status) => Outcome::Sent(Vec::new()),
            // Too early, too many, timed out, and what concerns our login: a person mends that.
            Ok(status @ (401 | 403 | 407 | 408 | 425 | 429)) => {
                Outcome::Again(format!("status {status}"))
            }
            Ok(status) if (400..500).contains(&status) => {
                Outcome::Never(format!("status {status}"))
            }
            Ok(status) => Outcome::Again(format!("status {status}")),
            Err(Failure::NotSent(error)) => Outcome::Again(error),
            Err(Failure::Unknown(error)) => Outcome::Unknown(error),
        }
    }

    fn body(&self, job: &Job) -> Result<Vec<u8>, String> {
        let text = if self.is_sms { &job.sms } else { &job.mail };
        let document = serde_json::json!({
            "id": job.id,
            "to": job.to,
            "subject": job.subject,
            "text": text,
            "repeat": job.repeat,
            "facts": job.facts,
        });
        match &self.request.body {
            None => serde_json::to_vec(&document).map_err(|error| error.to_string()),
            Some(template) => fill(template, &document).map(String::into_bytes),
        }
    }
}
