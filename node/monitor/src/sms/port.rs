//! A modem's serial port, driven by the machine of `at`.
//!
//! One task a modem: it opens the port and opens it again when it is lost or the machine wants
//! it. Decides nothing. Invariants: it holds one message at a time; every message that it was
//! given ends with exactly one outcome, that of a lost port included.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_serial::{SerialPortBuilderExt, SerialStream};
use zeroize::Zeroizing;

use super::at::{Event, Modem};
use super::command::Meaning;
use super::pdu;
use crate::channels::News;
use crate::config;
use crate::engine::{Job, Outcome};

/// Pause before a port that could not be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(5);
/// How long a write may take: a port whose other end hangs takes nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// One modem.
pub struct Port {
    config: config::Modem,
    modem: Modem,
    stream: Option<SerialStream>,
    next_open: Instant,
    reference: u8,
    news: mpsc::Sender<News>,
    /// What was told last: trouble, signal, resets.
    told: Option<(Option<String>, Option<i32>, u64)>,
}

enum Step {
    Read(std::io::Result<usize>),
    Time,
    Job(Option<Box<Job>>),
}

impl Port {
    /// A port that is not open yet.
    pub fn new(config: config::Modem, news: mpsc::Sender<News>) -> Port {
        let pin = config.pin.as_ref().map(|pin| Zeroizing::new(pin.expose().to_owned()));
        let modem = Modem::new(pin);
        let next_open = Instant::now();
        Port { config, modem, stream: None, next_open, reference: 0, news, told: None }
    }

    /// Runs until there will be no more messages.
    pub async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut buffer = [0; 1024];
        loop {
            self.reopen();
            let step = self.step(&mut jobs, &mut buffer).await;
            let now = Instant::now();
            match step {
                Step::Read(Ok(count)) if count > 0 => {
                    self.modem.handle_bytes(now, &buffer[..count]);
                }
                Step::Read(end) => self.lose(now, &format!("{end:?}")),
                Step::Time => self.modem.handle_timeout(now),
                Step::Job(None) => return,
                Step::Job(Some(job)) => self.take(now, *job).await,
            }
            self.write().await;
            self.tell().await;
        }
    }

    async fn step(&mut self, jobs: &mut mpsc::Receiver<Job>, buffer: &mut [u8]) -> Step {
        let open_at = self.stream.is_none().then_some(self.next_open);
        let until = [self.modem.poll_timeout(), open_at].into_iter().flatten().min();
        let until = until.unwrap_or_else(|| Instant::now() + OPEN_AGAIN);
        let sending = self.modem.is_sending();
        tokio::select! {
            read = read(self.stream.as_mut(), buffer) => Step::Read(read),
            () = tokio::time::sleep_until(until.into()) => Step::Time,
            job = jobs.recv(), if !sending => Step::Job(job.map(Box::new)),
        }
    }

    fn reopen(&mut self) {
        let now = Instant::now();
        if self.stream.is_some() || now < self.next_open {
            return;
        }
        let device = self.config.device.to_string_lossy();
        match tokio_serial::new(device, self.config.baud).open_native_async() {
            Ok(stream) => {
                self.stream = Some(stream);
                self.modem.opened(now);
            }
            Err(error) => {
                self.next_open = now + OPEN_AGAIN;
                tracing::debug!(channel = self.config.name, %error, "the port is not there");
                self.modem.closed(now);
            }
        }
    }

    fn lose(&mut self, now: Instant, why: &str) {
        tracing::warn!(channel = self.config.name, why, "the modem's port was lost");
        self.stream = None;
        self.next_open = now + OPEN_AGAIN;
        self.modem.closed(now);
    }

    async fn take(&mut self, now: Instant, job: Job) {
        self.reference = self.reference.wrapping_add(1);
        let parts = pdu::submit(&job.to, &job.sms, self.reference, self.config.max_parts);
        let outcome = match parts {
            Err(error) => Outcome::Never(error.to_string()),
            Ok(parts) => {
                if self.modem.send(now, job.id, parts) {
                    return;
                }
                let trouble = self.modem.trouble();
                Outcome::Again(trouble.map_or("the modem is busy".into(), |what| what.to_string()))
            }
        };
        self.settle(job.id, outcome).await;
    }

    async fn settle(&self, id: u64, outcome: Outcome) {
        // The receiver is gone at the stop alone; the message then goes again, marked.
        let _ = self.news.send(News::Settled(id, outcome)).await;
    }

    async fn write(&mut self) {
        while let Some(octets) = self.modem.poll_transmit() {
            let Some(stream) = &mut self.stream else { continue };
            let written = tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(&octets)).await;
            if !matches!(written, Ok(Ok(()))) {
                self.lose(Instant::now(), "a write did not end");
            }
        }
    }

    async fn tell(&mut self) {
        let channel = self.config.name.clone();
        while let Some(event) = self.modem.poll() {
            let news = match event {
                Event::Sent(id, references) => News::Settled(id, Outcome::Sent(references)),
                Event::NotSent(id, meaning, failure) => {
                    let error = failure.to_string();
                    News::Settled(
                        id,
                        match meaning {
                            Meaning::Never => Outcome::Never(error),
                            Meaning::Unknown => Outcome::Unknown(error),
                            Meaning::Again | Meaning::Modem => Outcome::Again(error),
                        },
                    )
                }
                Event::Received(message) => News::Answer {
                    channel: channel.clone(),
                    from: message.from,
                    text: message.text,
                },
                Event::Reported(report) => News::Report { channel: channel.clone(), report },
                Event::Changed => continue,
                Event::Reopen => {
                    self.lose(Instant::now(), "the modem does not answer");
                    self.next_open = Instant::now();
                    continue;
                }
            };
            let _ = self.news.send(news).await;
        }
        let trouble = self.modem.trouble().map(|trouble| trouble.to_string());
        let told = (trouble, self.modem.signal_dbm(), self.modem.resets());
        if self.told.as_ref() != Some(&told) {
            self.told = Some(told.clone());
            let (trouble, signal_dbm, resets) = told;
            let _ = self.news.send(News::Modem { channel, trouble, signal_dbm, resets }).await;
        }
    }
}

async fn read(stream: Option<&mut SerialStream>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match stream {
        Some(stream) => stream.read(buffer).await,
        None => std::future::pending().await,
    }
}
