//! The task that gives a concentrator its sockets: it waits, the machine decides.
//!
//! One task a concentrator. Invariants: every dial has a deadline; an address that fails is dialled
//! again after 0.2 s, doubling to 30 s, with jitter; a socket is read only when the machine wants.

use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::{Concentrator, Now};
use crate::behind::{Answered, Carrier};
use crate::tally::Count;

const DIAL: Duration = Duration::from_secs(3);
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// Reads of one socket before the others get their turn.
const READS_A_TURN: usize = 16;

type Dial = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

enum Wire {
    Absent,
    Waiting(Instant),
    Dialing(Dial),
    Up(TcpStream),
}

struct Place {
    address: Option<String>,
    wire: Wire,
    back_off: Duration,
}

enum Event {
    Stop,
    Time,
    Dial(usize),
    Dialled(usize, io::Result<TcpStream>),
    Ready(usize),
    Answered(Option<Answered>),
}

impl Now {
    /// The time now.
    #[must_use]
    pub fn read() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            instant: Instant::now(),
            real_us: i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        }
    }
}

/// Runs a concentrator until it is told to stop.
///
/// # Errors
/// When its memory or the journal cannot be written.
pub async fn run(
    mut machine: Concentrator,
    head_ends: Vec<String>,
    mut carrier: Carrier,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    machine.set_head_ends(head_ends);
    let mut places = [0, 1].map(|line| Place::new(machine.address(line).map(str::to_owned)));
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = Now::read();
        machine.handle_timeout(now);
        for (line, place) in places.iter_mut().enumerate() {
            place.follow(machine.address(line));
            flush(&mut machine, line, place);
            close_if_wanted(&mut machine, line, place);
        }
        while let Some(forward) = machine.poll_forward() {
            carrier.carry(forward);
        }
        if let Some(fault) = machine.take_fault() {
            return Err(fault);
        }
        let event = select(&machine, &mut places, &mut carrier, &mut stop).await;
        match event {
            Event::Stop => break,
            Event::Time => {}
            Event::Dial(line) => dial(&machine, line, &mut places),
            Event::Dialled(line, result) => dialled(&mut machine, line, &mut places, result),
            Event::Ready(line) => read(&mut machine, line, &mut places, &mut buffer),
            Event::Answered(Some(answer)) => machine.forwarded(&answer.request, &answer.apdu),
            Event::Answered(None) => {}
        }
    }
    machine.stop();
    machine.take_fault().map_or(Ok(()), Err)
}

impl Place {
    fn new(address: Option<String>) -> Self {
        // The first dials of many concentrators are spread a little, as after a power failure.
        let wire = match &address {
            Some(_) => Wire::Waiting(Instant::now() + jitter(Duration::from_millis(100))),
            None => Wire::Absent,
        };
        Self { address, wire, back_off: BACK_OFF.0 }
    }

    /// Takes another address. A connection that stands is the machine's to close.
    fn follow(&mut self, address: Option<&str>) {
        if self.address.as_deref() == address {
            return;
        }
        let place = Self::new(address.map(str::to_owned));
        (self.address, self.back_off) = (place.address, place.back_off);
        if !matches!(self.wire, Wire::Up(_)) {
            self.wire = place.wire;
        }
    }

    /// Drops the connection and waits before the next dial.
    fn retry(&mut self) {
        if self.address.is_none() {
            self.wire = Wire::Absent;
            return;
        }
        self.wire = Wire::Waiting(Instant::now() + jitter(self.back_off));
        self.back_off = (self.back_off * 2).min(BACK_OFF.1);
    }
}

/// Half to all of a duration, at random.
fn jitter(span: Duration) -> Duration {
    let mut octets = [0; 4];
    // Without random octets everybody waits the full time: slower, never wrong.
    let share = match getrandom::fill(&mut octets) {
        Ok(()) => f64::from(u32::from_be_bytes(octets)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    };
    span.mul_f64(0.5 + share / 2.0)
}

async fn select(
    machine: &Concentrator,
    places: &mut [Place; 2],
    carrier: &mut Carrier,
    stop: &mut watch::Receiver<bool>,
) -> Event {
    let now = Now::read();
    let deadline = machine.poll_timeout(now);
    let wants = |line| Wants {
        read: machine.reads(line, now),
        write: machine.transmit(line, now).is_some(),
    };
    let (first, second) = (wants(0), wants(1));
    let [main, standby] = places;
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => Event::Stop,
        event = line_event(0, main, first) => event,
        event = line_event(1, standby, second) => event,
        answer = carrier.answer() => Event::Answered(answer),
        () = until(deadline) => Event::Time,
    }
}

#[derive(Clone, Copy)]
struct Wants {
    read: bool,
    write: bool,
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

async fn line_event(line: usize, place: &mut Place, wants: Wants) -> Event {
    match &mut place.wire {
        Wire::Absent => pending().await,
        Wire::Waiting(at) => {
            sleep_until((*at).into()).await;
            Event::Dial(line)
        }
        Wire::Dialing(dial) => Event::Dialled(line, dial.await),
        Wire::Up(stream) => {
            let interest = match (wants.read, wants.write) {
                (true, true) => Interest::READABLE | Interest::WRITABLE,
                (true, false) => Interest::READABLE,
                (false, true) => Interest::WRITABLE,
                // A black hole does not even notice that the other side closes.
                (false, false) => return pending().await,
            };
            let _ = stream.ready(interest).await;
            Event::Ready(line)
        }
    }
}

fn dial(machine: &Concentrator, line: usize, places: &mut [Place; 2]) {
    let Some(place) = places.get_mut(line) else { return };
    let Some(address) = place.address.clone() else { return };
    machine.count(Count::Dials);
    place.wire = Wire::Dialing(Box::pin(async move {
        let stream = timeout(DIAL, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }));
}

fn dialled(
    machine: &mut Concentrator,
    line: usize,
    places: &mut [Place; 2],
    result: io::Result<TcpStream>,
) {
    let Some(place) = places.get_mut(line) else { return };
    match result {
        Ok(stream) => {
            let limit = machine.tcp_limit();
            let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
            // The kernel closes a connection whose heartbeats get no TCP acknowledgement.
            let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, millis);
            place.wire = Wire::Up(stream);
            machine.connected(line, Now::read());
        }
        Err(error) => {
            tracing::debug!(line, %error, "no connection");
            place.retry();
        }
    }
}

fn read(machine: &mut Concentrator, line: usize, places: &mut [Place; 2], buffer: &mut [u8]) {
    let Some(place) = places.get_mut(line) else { return };
    for _ in 0..READS_A_TURN {
        let Wire::Up(stream) = &place.wire else { return };
        let now = Now::read();
        if !machine.reads(line, now) {
            return;
        }
        let good = match stream.try_read(buffer) {
            Ok(0) => false,
            Ok(octets) => machine.received(line, buffer.get(..octets).unwrap_or(&[]), now),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => false,
        };
        if !good {
            machine.closed(line, now);
            place.retry();
            return;
        }
        if machine.is_associated(line) {
            place.back_off = BACK_OFF.0;
        }
    }
}

/// Writes what the socket takes.
fn flush(machine: &mut Concentrator, line: usize, place: &mut Place) {
    loop {
        let Wire::Up(stream) = &place.wire else { return };
        let now = Now::read();
        let Some(octets) = machine.transmit(line, now) else { return };
        match stream.try_write(&octets) {
            Ok(taken) => machine.sent(line, taken, now),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => {
                machine.closed(line, now);
                place.retry();
                return;
            }
        }
    }
}

fn close_if_wanted(machine: &mut Concentrator, line: usize, place: &mut Place) {
    let now = Now::read();
    if matches!(place.wire, Wire::Up(_)) && machine.wants_close(line, now) {
        machine.closed(line, now);
        place.retry();
    }
}
