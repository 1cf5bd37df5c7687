//! The far end of a line: meters of HDLC and of IEC 62056-21, made of cosem's own server machines,
//! on whatever carries octets; and pseudo terminals that look like serial ports.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::Secret;
use cosem::association::{AcceptedCounters, Authentication, Level, Server, ServerConfig};
use cosem::association::{Request, ServerIndication};
use cosem::iec62056_21::{self as local, Identification, Output, Reply};
use cosem::wrapper::{self, Header};
use cosem::{Keys, hdlc};
use domain::assets::Authentication as Kind;
use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;

use crate::direct::answer;
use crate::support::{GAK, GUEK};

/// What the line does to what the meters say.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// What the gateway sends comes back to it.
    pub echo: bool,
    /// Octets before each message.
    pub junk: Vec<u8>,
    /// So many messages have a wrong octet in their middle.
    pub wrong: u32,
    /// So many messages end in their middle.
    pub cut: u32,
    /// Nobody hears anything.
    pub dead: bool,
    /// Messages that meters have sent.
    pub sent: u32,
    /// Two machines have spoken to one message of the gateway.
    pub collision: bool,
}

/// What goes wrong on a line, shared with the test.
pub type Line = Arc<Mutex<Faults>>;

/// One meter on a line.
pub enum Meter {
    Hdlc(Box<Cosem>),
    Local(Box<Ascii>),
}

/// A COSEM server behind an HDLC link.
pub struct Cosem {
    link: hdlc::Server,
    address: hdlc::Address,
    kind: Kind,
    server: Option<Server>,
    accepted: AcceptedCounters,
    given: u32,
}

/// A meter of IEC 62056-21, with HDLC behind mode E.
pub struct Ascii {
    machine: local::Server,
    readout: &'static str,
    profile: String,
    behind: Option<Cosem>,
    in_hdlc: bool,
}

impl Cosem {
    pub fn new(address: hdlc::Address, kind: Kind) -> Self {
        Self {
            link: link(address),
            address,
            kind,
            server: None,
            accepted: AcceptedCounters::default(),
            given: 1,
        }
    }

    fn hear(&mut self, octets: &[u8]) -> Vec<Bytes> {
        self.link.handle_bytes(Instant::now(), octets);
        let mut out = Vec::new();
        loop {
            out.extend(std::iter::from_fn(|| self.link.poll_transmit()));
            match self.link.poll() {
                None => return out,
                Some(hdlc::Indication::Connected(_)) => self.associate(),
                Some(hdlc::Indication::Apdu(apdu)) => self.serve(&apdu),
                Some(_) => {}
            }
        }
    }

    fn associate(&mut self) {
        if let Some(server) = &self.server {
            self.accepted.merge(server.accepted());
        }
        let mut config = ServerConfig::new(1, *b"TSTMETER");
        config.max_pdu = 400;
        config.authentication = match self.kind {
            Kind::None => Authentication::None,
            Kind::Lls => Authentication::Lls(Secret::new(b"12345678")),
            Kind::Hls5 => Authentication::Hls5(Keys::new(&GUEK, &GAK)),
            other => panic!("{other:?}"),
        };
        config.ciphered = (self.kind == Kind::Hls5).then(|| Keys::new(&GUEK, &GAK));
        let mut server = Server::new(config, [3; 32], self.accepted.clone());
        server.set_counters(self.given..self.given + 100_000);
        self.given += 100_000;
        self.server = Some(server);
    }

    fn serve(&mut self, apdu: &[u8]) {
        let server = self.server.as_mut().expect("an APDU comes over a link");
        let header = Header { source: self.link.client().logical(), destination: 1 };
        let _ = server.handle_frame(Instant::now(), header, apdu);
        while let Some(indication) = server.poll() {
            if let ServerIndication::Request(request) = indication {
                let public = matches!(&request, Request::Get { attribute, .. }
                    if attribute.logical_name.0[..3] == [0, 0, 43]);
                let level = if public { Level::Public } else { Level::Hls5 };
                server.respond(answer(&request, level, 0)).unwrap();
            }
        }
        let mut silent = true;
        while let Some(frame) = server.poll_transmit() {
            let (_, apdu) = wrapper::decode(&frame).unwrap();
            self.link.send(apdu).unwrap();
            silent = false;
        }
        if silent {
            self.link.pass();
        }
    }
}

fn link(address: hdlc::Address) -> hdlc::Server {
    let mut config = hdlc::ServerConfig::new(address);
    config.parameters.transmit_octets = 512;
    config.parameters.receive_octets = 512;
    config.parameters.transmit_window = 3;
    config.parameters.receive_window = 3;
    hdlc::Server::new(config)
}

impl Ascii {
    /// `identification` without its line end says the mode; a password closes the programming mode.
    pub fn new(identification: &str, device: &str, password: Option<&[u8]>) -> Self {
        let identification = Identification::parse(identification.as_bytes()).unwrap();
        let mut config = local::ServerConfig::new(identification, device);
        config.password = password.map(Secret::new);
        config.reaction = Duration::from_millis(5);
        let readout = "0.0.0(12345678)\r\nF.F(00000000)\r\n0.9.1(120000)\r\n0.9.2(261122)\r\n\
                       1.8.0(0001234.567*kWh)\r\n2.8.0(0000000.000*kWh)\r\n\
                       1.6.1(12.34*kW)(2611201815)\r\n";
        let machine = local::Server::new(config);
        Self { machine, readout, profile: String::new(), behind: None, in_hdlc: false }
    }

    /// What it answers to a read of `P.01`.
    pub fn with_profile(mut self, profile: &str) -> Self {
        self.profile = profile.to_owned();
        self
    }

    /// What speaks HDLC after mode E.
    pub fn with_hdlc(mut self, behind: Cosem) -> Self {
        self.behind = Some(behind);
        self
    }

    fn hear(&mut self, octets: &[u8]) -> Vec<Bytes> {
        if self.in_hdlc {
            let behind = self.behind.as_mut().expect("mode E was entered");
            let out = behind.hear(octets);
            self.in_hdlc = behind.link.is_connected() || out.is_empty();
            return out;
        }
        self.machine.handle_bytes(Instant::now(), octets);
        self.turn()
    }

    fn turn(&mut self) -> Vec<Bytes> {
        let now = Instant::now();
        self.machine.handle_timeout(now);
        let mut out = Vec::new();
        loop {
            while let Some(output) = self.machine.poll_transmit() {
                match output {
                    Output::Transmit(octets) => out.push(octets),
                    Output::ChangeBaud(_) => {}
                }
            }
            let Some(request) = self.machine.poll() else { return out };
            let data = |text: &str| Reply::Data(Bytes::copy_from_slice(text.as_bytes()));
            let reply = match request {
                local::Request::Readout(_) => data(self.readout),
                local::Request::Command(command) => {
                    let asked = String::from_utf8(command.data).unwrap();
                    let code = asked.split('(').next().unwrap();
                    let line = self.readout.lines().find(|line| line.starts_with(code));
                    match line {
                        _ if code == "P.01" => data(&self.profile),
                        Some(line) => data(line),
                        None => Reply::Error("ER07".to_owned()),
                    }
                }
                local::Request::Hdlc(_) => {
                    self.in_hdlc = self.behind.is_some();
                    continue;
                }
                local::Request::Closed => continue,
            };
            self.machine.respond(now, &reply).unwrap();
        }
    }
}

impl Meter {
    /// HDLC with this logical and physical address.
    pub fn hdlc(logical: u8, physical: u8, kind: Kind) -> Self {
        Self::Hdlc(Box::new(Cosem::new(hdlc::Address::two(logical, physical).unwrap(), kind)))
    }

    fn hear(&mut self, octets: &[u8]) -> Vec<Bytes> {
        match self {
            Self::Hdlc(meter) => meter.hear(octets),
            Self::Local(meter) => meter.hear(octets),
        }
    }

    fn wake(&mut self) -> (Vec<Bytes>, Option<Instant>) {
        match self {
            Self::Hdlc(_) => (Vec::new(), None),
            Self::Local(meter) => (meter.turn(), meter.machine.poll_timeout()),
        }
    }

    /// A connection that ended leaves no link behind.
    fn reset(&mut self) {
        if let Self::Hdlc(meter) = self {
            meter.link = link(meter.address);
        }
    }
}

/// Serves these meters on a line until it is closed.
pub async fn serve(
    wire: &mut (impl AsyncRead + AsyncWrite + Unpin),
    meters: &mut [Meter],
    line: &Line,
) {
    let mut buffer = [0; 1024];
    loop {
        let mut out = Vec::new();
        let mut next = Instant::now() + Duration::from_secs(5);
        for meter in meters.iter_mut() {
            let (messages, wake) = meter.wake();
            out.extend(messages);
            next = next.min(wake.unwrap_or(next));
        }
        tell(wire, line, out).await;
        tokio::select! {
            read = wire.read(&mut buffer) => {
                let Ok(octets @ 1..) = read else { return };
                let faults = line.lock().unwrap().clone();
                if faults.echo {
                    let _ = wire.write_all(&buffer[..octets]).await;
                }
                if faults.dead {
                    continue;
                }
                let all: Vec<Vec<Bytes>> =
                    meters.iter_mut().map(|meter| meter.hear(&buffer[..octets])).collect();
                let speakers = all.iter().filter(|messages| !messages.is_empty()).count();
                line.lock().unwrap().collision |= speakers > 1;
                tell(wire, line, all.concat()).await;
            }
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
}

async fn tell(wire: &mut (impl AsyncWrite + Unpin), line: &Line, messages: Vec<Bytes>) {
    for message in messages {
        let mut octets = message.to_vec();
        let middle = octets.len() / 2;
        let junk = {
            let mut faults = line.lock().unwrap();
            faults.sent += 1;
            if faults.wrong > 0 {
                faults.wrong -= 1;
                octets[middle] ^= 0x01;
            } else if faults.cut > 0 {
                faults.cut -= 1;
                octets.truncate(middle);
            }
            faults.junk.clone()
        };
        let _ = wire.write_all(&[junk, octets].concat()).await;
    }
}

/// A serial server with these meters behind it. Its address, `host:port`.
pub async fn serial_server(mut meters: Vec<Meter>, line: Line) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            for meter in &mut meters {
                meter.reset();
            }
            serve(&mut stream, &mut meters, &line).await;
        }
    });
    address
}

/// A place where serial devices come and go.
pub struct Socket {
    folder: tempfile::TempDir,
}

impl Socket {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// The path of the device.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("tty")
    }

    /// Plugs a device in. What is dropped is pulled out.
    pub fn plug(&self) -> DuplexStream {
        let (device, path) = terminal();
        let _ = std::fs::remove_file(self.path());
        std::os::unix::fs::symlink(path, self.path()).unwrap();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(pump(device, theirs));
        ours
    }
}

/// A pseudo terminal: the device's end, and the path of the computer's end.
fn terminal() -> (OwnedFd, PathBuf) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&device).unwrap();
    unlockpt(&device).unwrap();
    let name = ptsname(&device, Vec::new()).unwrap();
    let flags = rustix::fs::fcntl_getfl(&device).unwrap();
    rustix::fs::fcntl_setfl(&device, flags | OFlags::NONBLOCK).unwrap();
    (device, Path::new(name.to_str().unwrap()).to_path_buf())
}

/// Carries octets between a terminal and a stream until the stream is dropped.
async fn pump(device: OwnedFd, mut stream: DuplexStream) {
    // Held open, so that the device does not fail while nobody has its other end.
    let name = rustix::pty::ptsname(&device, Vec::new()).unwrap();
    let held = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut raw = rustix::termios::tcgetattr(&held).unwrap();
    raw.make_raw();
    rustix::termios::tcsetattr(&held, rustix::termios::OptionalActions::Now, &raw).unwrap();
    let (mut up, mut down) = ([0; 512], [0; 512]);
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    loop {
        tokio::select! {
            _ = tick.tick() => match rustix::io::read(&device, &mut up) {
                Ok(octets) => stream.write_all(&up[..octets]).await.unwrap_or_default(),
                Err(rustix::io::Errno::AGAIN) => {}
                Err(_) => return,
            },
            read = stream.read(&mut down) => {
                let Ok(octets @ 1..) = read else { return };
                let mut rest = &down[..octets];
                while !rest.is_empty() {
                    match rustix::io::write(&device, rest) {
                        Ok(octets) => rest = &rest[octets..],
                        Err(rustix::io::Errno::AGAIN) => { tick.tick().await; }
                        Err(_) => return,
                    }
                }
            }
        }
    }
}
