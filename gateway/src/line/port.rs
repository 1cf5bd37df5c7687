//! The octets of one line: a serial port, or a connection to a serial server. It paces what is
//! sent, takes our own echo away, and sets rate and character frame. It knows no protocol.
//!
//! Invariants: every future here may be dropped at any await and nothing is sent twice; nothing is
//! sent sooner than the turnaround after the last octet heard; the rate changes only after the
//! octets before it are on the line.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use domain::units::address::{Bits, Way};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_serial::{DataBits, SerialPort as _, SerialPortBuilderExt, SerialStream, StopBits};

use super::settings::{Parity, SerialPort};
use super::telnet::{self, Agreement, Telnet};
use crate::listen::set_options;

/// Bits of a character with start, parity and stop.
const BITS_OF_A_CHARACTER: u64 = 10;

/// The rate that is reckoned with behind a serial server.
const SERVER_BAUD: u32 = 9_600;

/// Octets read at a time.
const READ_OCTETS: usize = 2_048;

/// How long the system's buffer may take to run dry beyond the reckoned time.
const DRY: Duration = Duration::from_secs(2);

enum Stream {
    Tcp(TcpStream),
    Telnet(TcpStream, Telnet),
    Serial(SerialStream, SerialPort),
}

/// An open line.
pub(crate) struct Port {
    stream: Stream,
    baud: u32,
    turnaround: Duration,
    heard: Instant,
    /// When the last octet sent is on the line.
    free: Instant,
    out: BytesMut,
    /// Octets of the line that came while something else was awaited.
    early: BytesMut,
    /// Our own octets that come back.
    echo: Option<VecDeque<u8>>,
}

impl Port {
    /// Opens a serial port under its settings, for us alone.
    ///
    /// # Errors
    /// What the system says.
    pub fn serial(settings: &SerialPort) -> io::Result<Self> {
        let path = settings.path.to_string_lossy();
        let mut stream = tokio_serial::new(path, settings.baud).open_native_async()?;
        stream.set_exclusive(true)?;
        let turnaround = Duration::from_millis(settings.turnaround_ms);
        let echo = settings.echo.then(VecDeque::new);
        let mut port = Self::new(Stream::Serial(stream, settings.clone()), turnaround, echo);
        port.restore()?;
        Ok(port)
    }

    /// Connects to a serial server.
    ///
    /// # Errors
    /// No connection, or none in time.
    pub async fn tcp(host: &str, port: u16, limit: Duration) -> io::Result<Self> {
        let stream = match timeout(limit, TcpStream::connect((host, port))).await {
            Ok(stream) => stream?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        set_options(&stream);
        Ok(Self::new(Stream::Tcp(stream), Duration::ZERO, None))
    }

    /// Connects to a serial server that is told the settings of its port (RFC 2217).
    ///
    /// # Errors
    /// No connection, or none in time; `Unsupported` when the server does not let itself be told.
    pub async fn rfc2217(host: &str, port: u16, limit: Duration) -> io::Result<Self> {
        let late = Instant::now() + limit;
        let mut port = Self::tcp(host, port, limit).await?;
        if let Stream::Tcp(stream) = port.stream {
            let (telnet, first) = Telnet::new();
            port.stream = Stream::Telnet(stream, telnet);
            port.out = first;
        }
        port.flush().await?;
        let agreed = port.until(late, |telnet| match telnet.agreement() {
            Agreement::Open => None,
            other => Some(other),
        });
        if agreed.await? != Some(Agreement::Agreed) {
            let text = "the serial server does not speak RFC 2217";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        port.restore()?;
        Ok(port)
    }

    /// Reads until the server has said something; None when it has not in time.
    async fn until<T>(
        &mut self,
        late: Instant,
        said: impl Fn(&Telnet) -> Option<T>,
    ) -> io::Result<Option<T>> {
        loop {
            if let Stream::Telnet(_, telnet) = &self.stream
                && let Some(said) = said(telnet)
            {
                return Ok(Some(said));
            }
            match timeout_at(late, self.receive()).await {
                Ok(octets) => {
                    let octets = octets?;
                    // Bounded: whoever talks without being asked is not listened to for ever.
                    if self.early.len() < READ_OCTETS {
                        self.early.extend_from_slice(&octets);
                    }
                    self.flush().await?;
                }
                Err(_) => return Ok(None),
            }
        }
    }

    fn new(stream: Stream, turnaround: Duration, echo: Option<VecDeque<u8>>) -> Self {
        let now = Instant::now();
        let baud = SERVER_BAUD;
        let (out, early) = (BytesMut::new(), BytesMut::new());
        Self { stream, baud, turnaround, heard: now, free: now, out, early, echo }
    }

    /// Whether the rate of the line is in our hands.
    pub fn has_rate(&self) -> bool {
        matches!(self.stream, Stream::Serial(..) | Stream::Telnet(..))
    }

    /// How long so many octets are on the line.
    pub fn line_time(&self, octets: usize) -> Duration {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        let bits = octets.saturating_mul(BITS_OF_A_CHARACTER);
        Duration::from_micros(bits.saturating_mul(1_000_000) / u64::from(self.baud.max(1)))
    }

    /// Back to the settings of the configuration; what waits to be sent is dropped.
    ///
    /// # Errors
    /// The port does not take them.
    pub fn restore(&mut self) -> io::Result<()> {
        self.out.clear();
        self.early.clear();
        if let Some(echo) = &mut self.echo {
            echo.clear();
        }
        self.baud = SERVER_BAUD;
        if let Stream::Telnet(_, telnet) = &mut self.stream {
            telnet.set_baud(SERVER_BAUD, &mut self.out);
            Telnet::set_frame(8, telnet::Parity::None, &mut self.out);
        }
        let Stream::Serial(stream, settings) = &mut self.stream else { return Ok(()) };
        let seven = settings.data_bits == 7;
        stream.set_baud_rate(settings.baud)?;
        stream.set_data_bits(if seven { DataBits::Seven } else { DataBits::Eight })?;
        stream.set_parity(match settings.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        })?;
        let two = settings.stop_bits == 2;
        stream.set_stop_bits(if two { StopBits::Two } else { StopBits::One })?;
        self.baud = settings.baud;
        Ok(())
    }

    /// Sets the frame of a character; behind a serial server it is what it is.
    ///
    /// # Errors
    /// The port does not take it.
    pub fn set_bits(&mut self, bits: Bits) -> io::Result<()> {
        if let Stream::Telnet(..) = &self.stream {
            match bits {
                Bits::SevenEven => Telnet::set_frame(7, telnet::Parity::Even, &mut self.out),
                Bits::EightNone => Telnet::set_frame(8, telnet::Parity::None, &mut self.out),
            }
            return Ok(());
        }
        let Stream::Serial(stream, _) = &mut self.stream else { return Ok(()) };
        let (data, parity) = match bits {
            Bits::SevenEven => (DataBits::Seven, tokio_serial::Parity::Even),
            Bits::EightNone => (DataBits::Eight, tokio_serial::Parity::None),
        };
        stream.set_data_bits(data)?;
        stream.set_parity(parity)?;
        Ok(stream.set_stop_bits(StopBits::One)?)
    }

    /// Sets the rate once all that was sent is on the line. Behind a serial server it is only
    /// reckoned with.
    ///
    /// # Errors
    /// The port does not take it, or does not get rid of its octets.
    pub async fn set_baud(&mut self, baud: u32) -> io::Result<()> {
        self.flush().await?;
        if !self.has_rate() {
            self.baud = baud;
            return Ok(());
        }
        sleep_until(self.free).await;
        let late = Instant::now() + DRY;
        if let Stream::Telnet(_, telnet) = &mut self.stream {
            telnet.set_baud(baud, &mut self.out);
            self.flush().await?;
            // Without the confirmation what follows would be sent at the old rate.
            // One that confirms an earlier rate only now has not come to this one.
            let confirmed = |telnet: &Telnet| telnet.baud().filter(|rate| *rate == baud);
            if self.until(late, confirmed).await?.is_none() {
                return Err(io::Error::other("the serial server does not confirm the rate"));
            }
            self.baud = baud;
            return Ok(());
        }
        let Stream::Serial(stream, _) = &mut self.stream else { return Ok(()) };
        while stream.bytes_to_write()? > 0 {
            if Instant::now() >= late {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sleep(Duration::from_millis(2)).await;
        }
        stream.set_baud_rate(baud)?;
        self.baud = baud;
        Ok(())
    }

    /// Queues octets; `flush` sends them.
    pub fn put(&mut self, octets: &[u8]) {
        match &self.stream {
            Stream::Telnet(..) => Telnet::encode(octets, &mut self.out),
            Stream::Tcp(_) | Stream::Serial(..) => self.out.extend_from_slice(octets),
        }
    }

    /// Sends what is queued, after the turnaround.
    ///
    /// # Errors
    /// The line is gone.
    pub async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        sleep_until(self.heard + self.turnaround).await;
        while !self.out.is_empty() {
            let octets = self.out.chunk();
            let written = match &mut self.stream {
                Stream::Tcp(stream) | Stream::Telnet(stream, _) => stream.write(octets).await?,
                Stream::Serial(stream, _) => stream.write(octets).await?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let sent = self.out.split_to(written);
            if let Some(echo) = &mut self.echo {
                echo.extend(sent.iter());
            }
            self.free = self.free.max(Instant::now()) + self.line_time(written);
        }
        Ok(())
    }

    /// Octets from the line, at least one, without our own.
    ///
    /// # Errors
    /// The line is gone.
    pub async fn read(&mut self) -> io::Result<BytesMut> {
        loop {
            if !self.early.is_empty() {
                return Ok(self.early.split());
            }
            let octets = self.receive().await?;
            if !octets.is_empty() {
                return Ok(octets);
            }
            // What a serial server wants to know is answered at once.
            self.flush().await?;
        }
    }

    /// One reading from the stream; nothing when it held no octets of the line.
    async fn receive(&mut self) -> io::Result<BytesMut> {
        let mut octets = BytesMut::with_capacity(READ_OCTETS);
        let read = match &mut self.stream {
            Stream::Tcp(stream) | Stream::Telnet(stream, _) => stream.read_buf(&mut octets).await?,
            Stream::Serial(stream, _) => stream.read_buf(&mut octets).await?,
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.heard = Instant::now();
        if let Stream::Telnet(_, telnet) = &mut self.stream {
            telnet.decode(&mut octets, &mut self.out);
        }
        if let Some(echo) = &mut self.echo {
            take_echo(echo, &mut octets);
        }
        Ok(octets)
    }

    /// Drops what comes until the line has been silent for the turnaround, or `limit` is over.
    /// The number of octets dropped.
    ///
    /// # Errors
    /// The line is gone.
    pub async fn quiet(&mut self, limit: Duration) -> io::Result<usize> {
        let late = Instant::now() + limit;
        let silence = self.turnaround.max(Duration::from_millis(2));
        let mut dropped = 0_usize;
        while Instant::now() < late {
            match timeout(silence, self.read()).await {
                Ok(octets) => dropped = dropped.saturating_add(octets?.len()),
                Err(_) => break,
            }
        }
        Ok(dropped)
    }
}

/// Takes away from the front what we sent ourselves; the first octet that is another ends it.
fn take_echo(sent: &mut VecDeque<u8>, octets: &mut BytesMut) {
    while let (Some(ours), Some(octet)) = (sent.front(), octets.first()) {
        if ours != octet {
            sent.clear();
            return;
        }
        sent.pop_front();
        octets.advance(1);
    }
}

/// The name of a line in metrics: that of the port, or one for all serial servers.
pub(crate) fn label(way: &Way) -> &str {
    match way {
        Way::Serial { port } => port,
        Way::Tcp { .. } | Way::Rfc2217 { .. } => super::settings::TCP,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::BytesMut;

    use super::take_echo;

    #[test]
    fn only_what_we_sent_is_taken_away() {
        let mut sent: VecDeque<u8> = b"/?!".iter().copied().collect();
        let mut octets = BytesMut::from(&b"/?"[..]);
        take_echo(&mut sent, &mut octets);
        assert!(octets.is_empty());
        let mut octets = BytesMut::from(&b"!/ABC"[..]);
        take_echo(&mut sent, &mut octets);
        assert_eq!(&octets[..], b"/ABC");
        let mut sent: VecDeque<u8> = b"xy".iter().copied().collect();
        let mut octets = BytesMut::from(&b"xz"[..]);
        take_echo(&mut sent, &mut octets);
        assert_eq!(&octets[..], b"z");
        assert!(sent.is_empty(), "a line without echo is not searched for one for ever");
    }
}
