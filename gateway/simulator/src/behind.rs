//! Real meters behind a simulated concentrator: any DLMS server with wrapper framing on TCP.
//!
//! A concentrator is a gateway to them: APDUs go through unchanged, without the E6 prefix there and
//! with E7 back. Invariants: one TCP connection for each (line, client SAP, meter), at most
//! [`CONNECTIONS`]; every wait has a deadline; a connection ends when its line does not use it.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use cosem::wrapper::{self, Deframer, MAX_APDU_OCTETS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::concentrator::Forward;

const CONNECTIONS: usize = 64;
const WAITING: usize = 16;
const ANSWER: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(120);

/// The answer of a real meter.
#[derive(Debug)]
pub struct Answered {
    /// What was asked.
    pub request: Forward,
    /// The APDU that came back.
    pub apdu: Bytes,
}

/// Line with generation, place of the meter, client SAP.
type Key = ((usize, u32), usize, u16);

/// Carries requests to real meters and their answers back.
#[derive(Debug)]
pub struct Carrier {
    addresses: Vec<String>,
    open: HashMap<Key, mpsc::Sender<Forward>>,
    answers: mpsc::Sender<Answered>,
    answered: mpsc::Receiver<Answered>,
}

impl Carrier {
    /// A carrier to meters at these addresses.
    #[must_use]
    pub fn new(addresses: Vec<String>) -> Self {
        let (answers, answered) = mpsc::channel(WAITING);
        Self { addresses, open: HashMap::new(), answers, answered }
    }

    /// Carries a request. What cannot be carried gets no answer, as on a bad line.
    pub fn carry(&mut self, request: Forward) {
        let key = (request.line, request.meter, request.header.source);
        self.open.retain(|_, sender| !sender.is_closed());
        if !self.open.contains_key(&key) {
            let Some(address) = self.addresses.get(request.meter) else { return };
            if self.open.len() >= CONNECTIONS {
                return;
            }
            let (sender, requests) = mpsc::channel(WAITING);
            tokio::spawn(exchange(address.clone(), requests, self.answers.clone()));
            self.open.insert(key, sender);
        }
        if let Some(sender) = self.open.get(&key) {
            let _ = sender.try_send(request);
        }
    }

    /// The next answer; waits for ever when there are no real meters.
    pub async fn answer(&mut self) -> Option<Answered> {
        if self.addresses.is_empty() {
            return pending().await;
        }
        self.answered.recv().await
    }
}

/// Serves one connection until it fails or nobody uses it.
async fn exchange(
    address: String,
    requests: mpsc::Receiver<Forward>,
    answers: mpsc::Sender<Answered>,
) {
    if let Err(error) = serve(&address, requests, answers).await {
        tracing::warn!(%address, %error, "the real meter does not answer");
    }
}

async fn serve(
    address: &str,
    mut requests: mpsc::Receiver<Forward>,
    answers: mpsc::Sender<Answered>,
) -> io::Result<()> {
    let mut stream = timeout(ANSWER, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    let mut deframer = Deframer::new(MAX_APDU_OCTETS);
    while let Ok(Some(request)) = timeout(IDLE, requests.recv()).await {
        let frame = wrapper::encode(request.header, &request.apdu).map_err(io::Error::other)?;
        timeout(ANSWER, stream.write_all(&frame)).await??;
        let apdu = timeout(ANSWER, next(&mut stream, &mut deframer)).await??;
        if answers.send(Answered { request, apdu }).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn next(stream: &mut TcpStream, deframer: &mut Deframer) -> io::Result<Bytes> {
    let mut buffer = [0; 4_096];
    loop {
        if let Some((_, apdu)) = deframer.next_frame().map_err(io::Error::other)? {
            return Ok(apdu);
        }
        let octets = stream.read(&mut buffer).await?;
        if octets == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        deframer.feed(buffer.get(..octets).unwrap_or(&[]));
    }
}
