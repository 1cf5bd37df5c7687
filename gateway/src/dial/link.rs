//! What carries the APDUs of an association: the wrapper on a TCP connection, or HDLC on a line.
//! Frames of the conversation (wrapper octets and all) go in and come out; over HDLC the wrapper
//! is taken off, and its ports are the link's addresses. It knows no association.
//!
//! Invariants: `next` may be dropped at any await and nothing is lost or sent twice; a link that
//! is lost says so once and is of no more use.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cosem::hdlc::{self, Parameters, Reason};
use cosem::wrapper::{self, Deframer, Header};
use domain::commands::Failure;
use domain::units::address::Station;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::session::Broken;
use crate::line::{Fault, Turn};
use crate::listen::set_options;
use crate::shared::Shared;

/// Repetitions of a frame that nobody answers.
const RETRIES: u16 = 2;

/// Octets of a frame beside its information.
const FRAME_OCTETS: usize = 20;

/// The longest wait for the answer to DISC.
const GOOD_BYE: Duration = Duration::from_millis(500);

/// What a link has to say.
pub(super) enum Event {
    /// An APDU came.
    Frame(Header, Bytes),
    /// The stream cannot be read any more.
    Broken(cosem::Error),
    /// The meter gave the connection up.
    Closed,
    /// The meter, or what leads to it, is gone.
    Lost(Failure),
}

/// A way to a meter of COSEM.
pub(super) enum Link {
    Wrapper(Wrapper),
    Hdlc(Box<Hdlc>),
}

/// A TCP connection of its own.
pub(super) struct Wrapper {
    address: (String, u16),
    stream: TcpStream,
    deframer: Deframer,
    buffer: BytesMut,
}

/// A link on a shared line.
pub(super) struct Hdlc {
    turn: Turn,
    station: Station,
    answer: Duration,
    client: hdlc::Client,
    /// Client and server as the wrapper names them; None before the first frame.
    ends: Option<Header>,
    /// APDUs that wait for the link.
    waiting: VecDeque<Vec<u8>>,
    /// Another client is to have the link once it is down.
    moving: bool,
}

impl Link {
    /// Connects to a meter of its own address.
    pub async fn connect(shared: &Shared, host: &str, port: u16) -> Result<Self, Broken> {
        let address = (host.to_owned(), port);
        let stream = connect(shared, &address).await?;
        let deframer = Deframer::new(shared.config.max_apdu_octets);
        let buffer = BytesMut::new();
        Ok(Self::Wrapper(Wrapper { address, stream, deframer, buffer }))
    }

    /// A link on a line.
    pub fn hdlc(shared: &Shared, turn: Turn, station: Station) -> Self {
        let answer = Duration::from_millis(shared.config.line_answer_timeout_ms);
        let client = idle_client();
        let (ends, waiting) = (None, VecDeque::new());
        let link = Hdlc { turn, station, answer, client, ends, waiting, moving: false };
        Self::Hdlc(Box::new(link))
    }

    /// How much longer an answer may take than one that is there at once.
    pub fn line_time(&self) -> Duration {
        match self {
            Self::Wrapper(_) => Duration::ZERO,
            Self::Hdlc(link) => link.turn.line_time(usize::from(u16::MAX)),
        }
    }

    /// Whether somebody waits for the line.
    pub fn is_wanted(&self) -> bool {
        match self {
            Self::Wrapper(_) => false,
            Self::Hdlc(link) => link.turn.is_wanted(),
        }
    }

    /// Sends a frame of the conversation, or queues it until the link is up.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn send(&mut self, shared: &Shared, frame: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Hdlc(link) => {
                link.send(frame);
                Ok(())
            }
            Self::Wrapper(link) => {
                let limit = Duration::from_millis(shared.config.write_timeout_ms);
                match timeout(limit, link.stream.write_all(frame)).await {
                    Ok(written) => written?,
                    Err(_) => return Err(std::io::ErrorKind::TimedOut.into()),
                }
                shared.metrics.sent.inc_by(frame.len() as u64);
                Ok(())
            }
        }
    }

    /// What happens next.
    pub async fn next(&mut self, shared: &Shared) -> Event {
        match self {
            Self::Wrapper(link) => link.next(shared).await,
            Self::Hdlc(link) => link.next(shared).await,
        }
    }

    /// Begins anew after `Closed`: another connection, or the link set up again.
    pub async fn again(&mut self, shared: &Shared) -> Result<(), Broken> {
        match self {
            Self::Wrapper(link) => {
                link.stream = connect(shared, &link.address).await?;
                link.deframer = Deframer::new(shared.config.max_apdu_octets);
                link.buffer.clear();
            }
            Self::Hdlc(link) => {
                link.client = idle_client();
                (link.ends, link.moving) = (None, false);
                link.waiting.clear();
            }
        }
        Ok(())
    }

    /// Sends the last frames and closes, without insisting on an answer.
    pub async fn part(self, shared: &Arc<Shared>, frames: Vec<Vec<u8>>) {
        match self {
            Self::Wrapper(mut link) if !frames.is_empty() => {
                let good_bye = async {
                    link.stream.write_all(&frames.concat()).await?;
                    link.buffer.clear();
                    link.stream.read_buf(&mut link.buffer).await?;
                    link.stream.shutdown().await
                };
                let _ = timeout(GOOD_BYE, good_bye).await;
            }
            Self::Wrapper(_) => {}
            Self::Hdlc(mut link) => {
                if !link.client.is_connected() {
                    return;
                }
                for frame in frames {
                    link.send(&frame);
                }
                let limit = GOOD_BYE + link.turn.line_time(4 * FRAME_OCTETS);
                let shared = Arc::clone(shared);
                // The session has its result; only the line waits for this.
                let tasks = shared.tasks.clone();
                tasks.spawn(async move {
                    let _ = timeout(limit, link.next(&shared)).await;
                    link.client.disconnect(Instant::now().into_std());
                    let _ = timeout(limit, link.next(&shared)).await;
                });
            }
        }
    }
}

impl Wrapper {
    async fn next(&mut self, shared: &Shared) -> Event {
        loop {
            match self.deframer.next_frame() {
                Ok(Some((header, apdu))) => return Event::Frame(header, apdu),
                Err(error) => return Event::Broken(error),
                Ok(None) => {}
            }
            self.buffer.clear();
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Event::Closed,
                Ok(octets) => shared.metrics.received.inc_by(octets as u64),
            }
            self.deframer.feed(&self.buffer);
        }
    }
}

impl Hdlc {
    fn send(&mut self, frame: &[u8]) {
        // The conversation made this frame, so it is whole.
        let Ok((header, apdu)) = wrapper::decode(frame) else { return };
        let now = Instant::now().into_std();
        match self.ends {
            Some(ends) if ends == header => {}
            None => self.open(header),
            Some(_) => {
                // What was queued for the old client would go to the new one.
                self.waiting.clear();
                if self.client.is_connected() {
                    self.ends = Some(header);
                    self.moving = true;
                    self.client.disconnect(now);
                } else {
                    self.open(header);
                }
            }
        }
        if self.moving || self.client.send(now, apdu).is_err() {
            self.waiting.push_back(apdu.to_vec());
        }
    }

    /// Sets the link up for a client.
    fn open(&mut self, ends: Header) {
        self.ends = Some(ends);
        self.moving = false;
        let addresses = addresses(self.station, ends);
        let Ok((client, server)) = addresses else { return };
        let mut config = hdlc::ClientConfig::new(client, server);
        // A window of general blocks is at most 63 APDUs.
        config.max_queue = 64;
        let Station { window, size, .. } = self.station;
        config.parameters = Parameters {
            transmit_octets: size,
            receive_octets: size,
            transmit_window: window,
            receive_window: window,
        };
        // A turn of the meter begins when ours is over on the line, and lasts a window.
        let octets = (usize::from(size) + FRAME_OCTETS) * (usize::from(window) + 1);
        config.response_timeout = self.answer + self.turn.line_time(octets);
        config.retries = RETRIES;
        self.client = hdlc::Client::new(config);
        // A new client is down, so this cannot fail.
        let _ = self.client.connect(Instant::now().into_std());
    }

    async fn next(&mut self, shared: &Shared) -> Event {
        if let Some(ends) = self.ends
            && let Err(error) = addresses(self.station, ends)
        {
            let text = format!("the access points do not fit the HDLC address: {error}");
            return Event::Lost(Failure::Unsupported(text));
        }
        loop {
            if let Some(event) = self.indicated() {
                return event;
            }
            while let Some(frame) = self.client.poll_transmit() {
                shared.metrics.sent.inc_by(frame.len() as u64);
                self.turn.put(&frame);
            }
            let limit = Duration::from_millis(shared.config.write_timeout_ms);
            match timeout(limit, self.turn.flush()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return self.lost(&error),
                Err(_) => return self.lost(&std::io::ErrorKind::TimedOut.into()),
            }
            let at = self.client.poll_timeout().map(Instant::from_std);
            tokio::select! {
                octets = self.turn.read() => match octets {
                    Ok(octets) => {
                        shared.metrics.received.inc_by(octets.len() as u64);
                        self.client.handle_bytes(Instant::now().into_std(), &octets);
                    }
                    Err(error) => return self.lost(&error),
                },
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                    self.client.handle_timeout(Instant::now().into_std());
                }
            }
        }
    }

    fn indicated(&mut self) -> Option<Event> {
        while let Some(indication) = self.client.poll() {
            match indication {
                hdlc::Indication::Connected(_) => {
                    let now = Instant::now().into_std();
                    while let Some(apdu) = self.waiting.pop_front() {
                        // More than the machine's queue are never made at a time.
                        let _ = self.client.send(now, &apdu);
                    }
                }
                hdlc::Indication::Apdu(apdu) => {
                    let ends = self.ends?;
                    return Some(Event::Frame(ends.reversed(), apdu));
                }
                hdlc::Indication::Push { .. } => {}
                hdlc::Indication::Disconnected(_) if self.moving => {
                    let ends = self.ends?;
                    self.open(ends);
                }
                hdlc::Indication::Disconnected(reason) => return Some(self.down(reason)),
            }
        }
        None
    }

    fn down(&self, reason: Reason) -> Event {
        let quality = self.client.quality();
        match reason {
            Reason::Released | Reason::GivenUp | Reason::Rejected => Event::Closed,
            Reason::NoAnswer if quality.frames == 0 && quality.junk_octets > 0 => {
                let text = "octets came, and no frame whose check sequence (FCS) holds";
                Event::Lost(Failure::Malformed(text.to_owned()))
            }
            Reason::NoAnswer | Reason::NoProgress | Reason::Inactive => {
                Event::Lost(Failure::NoAnswer)
            }
            Reason::Refused => {
                Event::Lost(Failure::Rejected("the meter refused the link (DM)".to_owned()))
            }
            Reason::TooLong | Reason::Parameters => {
                Event::Lost(Failure::Malformed(reason.to_string()))
            }
        }
    }

    fn lost(&mut self, error: &std::io::Error) -> Event {
        self.turn.lose();
        Event::Lost(Failure::from(Fault::Gone(format!("the line went away: {error}"))))
    }
}

/// A client that was never connected.
fn idle_client() -> hdlc::Client {
    let nobody = hdlc::Address::one(0).expect("zero is an address of one octet");
    hdlc::Client::new(hdlc::ClientConfig::new(nobody, nobody))
}

/// Client and server of a link: the client SAP, and the station with the server SAP where it names
/// no logical device.
fn addresses(
    station: Station,
    ends: Header,
) -> Result<(hdlc::Address, hdlc::Address), cosem::Error> {
    let short = |half: u16| u8::try_from(half).unwrap_or(u8::MAX);
    let logical = station.server.unwrap_or(ends.destination);
    let fits = |half: u16| half <= 0x7f;
    let server = match (station.octets, station.physical) {
        (Some(4), physical) => hdlc::Address::four(logical, physical.unwrap_or(0)),
        (_, None) => hdlc::Address::one(short(logical)),
        (Some(2), Some(physical)) => hdlc::Address::two(short(logical), short(physical)),
        (_, Some(physical)) if fits(logical) && fits(physical) => {
            hdlc::Address::two(short(logical), short(physical))
        }
        (_, Some(physical)) => hdlc::Address::four(logical, physical),
    };
    Ok((hdlc::Address::one(short(ends.source))?, server?))
}

async fn connect(shared: &Shared, (host, port): &(String, u16)) -> Result<TcpStream, Broken> {
    let limit = Duration::from_millis(shared.config.dial_connect_timeout_ms);
    match timeout(limit, TcpStream::connect((host.as_str(), *port))).await {
        Ok(Ok(stream)) => {
            set_options(&stream);
            Ok(stream)
        }
        Ok(Err(error)) => Err(Broken::Unreachable(error.to_string())),
        Err(_) => Err(Broken::Unreachable("no connection in time".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use cosem::hdlc::Address;
    use cosem::wrapper::Header;
    use domain::units::address::Station;

    use super::addresses;

    #[test]
    fn the_fewest_octets_that_hold_an_address_are_used() {
        let ends = Header { source: 16, destination: 1 };
        let server = |server, physical, octets| {
            let station = Station { server, physical, octets, ..Station::default() };
            addresses(station, ends).map(|(_, server)| server)
        };
        assert_eq!(server(None, None, None), Address::one(1));
        assert_eq!(server(Some(2), Some(17), None), Address::two(2, 17));
        assert_eq!(server(None, Some(200), None), Address::four(1, 200));
        assert_eq!(server(None, Some(17), Some(4)), Address::four(1, 17));
        let far = Header { source: 300, destination: 1 };
        assert!(addresses(Station::default(), far).is_err(), "a client has one octet");
    }
}
