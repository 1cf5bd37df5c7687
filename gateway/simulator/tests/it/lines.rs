//! Meters on lines: HDLC and IEC 62056-21 over TCP and over a pseudo-terminal.

use std::time::{Duration, Instant};

use cosem::association::Indication;
use cosem::hdlc::{self, Address};
use cosem::iec62056_21::{self as iec, Answer, Command, Output, Password, Wish};
use cosem::wrapper::{self, Header};
use cosem::{Data, Secret};
use simulator::config::Config;
use simulator::registry::MeterEntry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::headend::{Meter, got, octets};
use crate::{field, start};

/// Longest wait for a line.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn config() -> Config {
    let mut config = field(&[]);
    config.concentrators = 0;
    config.direct_listen = Some("127.0.0.1:0".parse().unwrap());
    config
}

/// Scheme, host with port, and the value of a key of the query.
pub fn parts(address: &str, key: &str) -> (String, String, String) {
    let (scheme, rest) = address.split_once("://").unwrap();
    let (at, query) = rest.split_once('?').unwrap();
    let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{key}=")));
    (scheme.to_owned(), at.to_owned(), found.unwrap_or("").to_owned())
}

/// A head-end's side of an HDLC line.
pub struct HdlcLine {
    stream: TcpStream,
    pub link: hdlc::Client,
    client_sap: u16,
}

impl HdlcLine {
    pub async fn open(at: &str, client_sap: u16, physical: &str) -> Self {
        let stream = TcpStream::connect(at).await.unwrap();
        Self::over(stream, client_sap, physical).await
    }

    pub async fn over(stream: TcpStream, client_sap: u16, physical: &str) -> Self {
        let client = Address::one(u8::try_from(client_sap).unwrap()).unwrap();
        let server = Address::two(1, physical.parse().unwrap()).unwrap();
        let mut config = hdlc::ClientConfig::new(client, server);
        config.response_timeout = Duration::from_millis(1_500);
        let mut line = Self { stream, link: hdlc::Client::new(config), client_sap };
        line.link.connect(Instant::now()).unwrap();
        let up = line.next().await;
        assert!(matches!(up, Some(hdlc::Indication::Connected(_))), "{up:?}");
        line
    }

    /// The next thing that the link says; `None` when the line closes.
    pub async fn next(&mut self) -> Option<hdlc::Indication> {
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 4_096];
        loop {
            if let Some(indication) = self.link.poll() {
                return Some(indication);
            }
            while let Some(frame) = self.link.poll_transmit() {
                self.stream.write_all(&frame).await.ok()?;
            }
            assert!(Instant::now() < end, "the line is silent");
            let due = self.link.poll_timeout().unwrap_or(end).min(end);
            let wait = due.saturating_duration_since(Instant::now());
            match tokio::time::timeout(wait, self.stream.read(&mut buffer)).await {
                Ok(Ok(0)) | Ok(Err(_)) => return None,
                Ok(Ok(count)) => self.link.handle_bytes(Instant::now(), &buffer[..count]),
                Err(_) => self.link.handle_timeout(Instant::now()),
            }
        }
    }

    pub async fn ask(&mut self, meter: &mut Meter) -> Option<Indication> {
        loop {
            match meter.client.poll() {
                Some(Indication::NeedCounters { .. }) => continue,
                Some(indication) => return Some(indication),
                None => {}
            }
            while let Some(frame) = meter.client.poll_transmit() {
                let apdu = wrapper::decode(&frame).unwrap().1.to_vec();
                self.link.send(Instant::now(), &apdu).unwrap();
            }
            if let hdlc::Indication::Apdu(apdu) = self.next().await? {
                let header = Header { source: 1, destination: self.client_sap };
                let _ = meter.client.handle_frame(Instant::now(), header, &apdu);
            }
        }
    }
}

async fn reads_over_hdlc(line: &mut HdlcLine, entry: &MeterEntry) {
    let mut meter = Meter::new(entry, *b"HFDNODE\x09", None);
    meter.connect(1..900);
    let first = line.ask(&mut meter).await;
    assert!(matches!(first, Some(Indication::Associated { .. })), "{}: {first:?}", entry.serial);
    meter.get(1, [0, 0, 96, 1, 0, 255], 2, None);
    let serial = got(line.ask(&mut meter).await);
    assert_eq!(serial.as_octets(), Some(entry.serial.as_bytes()));
    meter.get(7, [0, 0, 98, 1, 0, 255], 2, None);
    let rows = got(line.ask(&mut meter).await);
    assert_eq!(rows.as_array().map(<[Data]>::len), Some(12), "by blocks and segments");
}

#[tokio::test]
async fn meters_share_an_hdlc_line_and_answer_by_their_address() {
    let mut config = config();
    config.direct_hdlc = 3;
    let running = start(&config).await;
    let meters = running.registry().meters.clone();
    assert_eq!(meters.len(), 3);
    for (number, entry) in meters.iter().enumerate() {
        let (scheme, at, physical) = parts(entry.address.as_ref().unwrap(), "physical");
        assert_eq!((scheme.as_str(), physical), ("hdlc+tcp", (17 + number).to_string()));
        assert_eq!(at, parts(meters[0].address.as_ref().unwrap(), "").1, "one line");
        let mut line = HdlcLine::open(&at, entry.client_sap, &(17 + number).to_string()).await;
        reads_over_hdlc(&mut line, entry).await;
    }
    assert_eq!(running.tally().violations(), 0);
    running.kill().await;
}

/// A head-end's side of an IEC 62056-21 line.
pub struct AsciiLine<S> {
    pub stream: S,
    pub client: iec::Client,
}

impl<S: AsyncReadExt + AsyncWriteExt + Unpin> AsciiLine<S> {
    pub async fn next(&mut self) -> Option<iec::Indication> {
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 4_096];
        loop {
            while let Some(output) = self.client.poll_transmit() {
                if let Output::Transmit(octets) = output {
                    self.stream.write_all(&octets).await.ok()?;
                }
            }
            if let Some(indication) = self.client.poll() {
                return Some(indication);
            }
            assert!(Instant::now() < end, "the line is silent");
            let due = self.client.poll_timeout().unwrap_or(end).min(end);
            let wait = due.saturating_duration_since(Instant::now());
            match tokio::time::timeout(wait, self.stream.read(&mut buffer)).await {
                Ok(Ok(0)) | Ok(Err(_)) => return None,
                Ok(Ok(count)) => self.client.handle_bytes(Instant::now(), &buffer[..count]),
                Err(_) => self.client.handle_timeout(Instant::now()),
            }
        }
    }

    /// The last thing of a session that is not the identification.
    pub async fn outcome(&mut self) -> Option<iec::Indication> {
        loop {
            match self.next().await? {
                iec::Indication::Identified(_) | iec::Indication::Operand(_) => {}
                indication => return Some(indication),
            }
        }
    }
}

pub fn ascii_client(device: &str, wish: Wish, entry: &MeterEntry) -> iec::Client {
    let mut config = iec::ClientConfig::new(device, wish);
    config.answer_timeout = Duration::from_secs(4);
    if let Some(secret) = &entry.lls_secret {
        config.password = Password::Plain(Secret::new(&octets(secret)));
    }
    let mut client = iec::Client::new(config);
    client.start(Instant::now()).unwrap();
    client
}

fn value<'a>(sets: &'a [iec::DataSet], address: &str) -> &'a str {
    &sets.iter().find(|set| set.address == address).expect(address).values[0].text
}

/// What the model of 62056-21 meters names has to stand in a readout.
fn assert_complete(sets: &[iec::DataSet], serial: &str, phases: u8) {
    let model: toml::Table = include_str!("../../../models/iec62056-21.toml").parse().unwrap();
    for object in model["object"].as_array().unwrap() {
        let address = object["address"].as_str().unwrap();
        let other_phase = phases == 1 && matches!(&address[..2], "52" | "51" | "72" | "71");
        assert_eq!(sets.iter().any(|set| set.address == address), !other_phase, "{address}");
    }
    assert_eq!(value(sets, "0.0.0"), serial);
    let total: f64 = value(sets, "1.8.0").parse().unwrap();
    let rates: f64 =
        (1..=4).map(|n| value(sets, &format!("1.8.{n}")).parse::<f64>().unwrap()).sum();
    assert!((total - rates).abs() < 0.0005, "{total} and {rates}");
}

#[tokio::test]
async fn every_mode_of_62056_21_is_read_out() {
    let mut config = config();
    config.direct_iec = 5;
    let running = start(&config).await;
    let mut modes = Vec::new();
    for entry in &running.registry().meters {
        let address = entry.address.as_ref().unwrap();
        let (scheme, at, device) = parts(address, "device");
        let mode = parts(address, "mode").2;
        let stream = TcpStream::connect(&at).await.unwrap();
        let phases = if entry.model == "three-phase" { 3 } else { 0 };
        if scheme == "mode-e+tcp" {
            let mut line = AsciiLine { stream, client: ascii_client(&device, Wish::Hdlc, entry) };
            let outcome = line.outcome().await;
            assert!(
                matches!(outcome, Some(iec::Indication::Hdlc { confirmed: true, .. })),
                "{outcome:?}"
            );
            let physical = parts(address, "physical").2;
            let mut line = HdlcLine::over(line.stream, entry.client_sap, &physical).await;
            reads_over_hdlc(&mut line, entry).await;
            modes.push("e".to_owned());
            continue;
        }
        let client = if mode == "d" {
            let mut client = iec::Client::new(iec::ClientConfig::new("", Wish::Readout));
            client.listen().unwrap();
            client
        } else {
            ascii_client(&device, Wish::Readout, entry)
        };
        let mut line = AsciiLine { stream, client };
        let sets = match line.outcome().await {
            Some(iec::Indication::Readout(sets)) => sets,
            other => panic!("mode {mode}: {other:?}"),
        };
        let three = sets.iter().any(|set| set.address == "52.7.0");
        assert_complete(&sets, &entry.serial, if three { 3 } else { 1.max(phases) });
        modes.push(mode);
    }
    assert_eq!(modes, ["c", "e", "a", "b", "d"]);
    running.kill().await;
}

#[tokio::test]
async fn programming_mode_takes_its_password_and_reads_the_profile() {
    let mut config = config();
    config.direct_iec = 1;
    config.direct_access = vec!["lls".parse().unwrap()];
    let running = start(&config).await;
    let entry = running.registry().meters[0].clone();
    let (_, at, device) = parts(entry.address.as_ref().unwrap(), "device");
    let mut wrong = entry.clone();
    wrong.lls_secret = Some("3030".to_owned());
    let stream = TcpStream::connect(&at).await.unwrap();
    let mut line = AsciiLine { stream, client: ascii_client(&device, Wish::Programming, &wrong) };
    let outcome = line.outcome().await;
    assert_eq!(outcome, Some(iec::Indication::Failed(iec::Failure::Password)));

    let stream = TcpStream::connect(&at).await.unwrap();
    let mut line = AsciiLine { stream, client: ascii_client(&device, Wish::Programming, &entry) };
    assert_eq!(line.outcome().await, Some(iec::Indication::Ready));
    let read = Command::read("1.8.0").unwrap();
    line.client.command(Instant::now(), read).unwrap();
    match line.outcome().await {
        Some(iec::Indication::Answered(Answer::Data(sets))) => {
            assert_eq!(sets[0].values[0].unit.as_deref(), Some("kWh"));
        }
        other => panic!("{other:?}"),
    }
    let profile = Command::new('R', '5', b"P.01(;)").unwrap();
    line.client.command(Instant::now(), profile).unwrap();
    match line.outcome().await {
        Some(iec::Indication::Answered(Answer::Data(sets))) => {
            assert_eq!(sets[0].address, "P.01");
            assert_eq!(sets[0].values[2].text, "15", "minutes");
            assert_eq!(sets.len(), 3_841, "a head and 40 days");
        }
        other => panic!("{other:?}"),
    }
    let clock = Command::new('W', '1', b"0.9.1(101500)").unwrap();
    line.client.command(Instant::now(), clock).unwrap();
    assert_eq!(line.outcome().await, Some(iec::Indication::Answered(Answer::Done)));
    let other = Command::new('W', '1', b"1.8.0(0)").unwrap();
    line.client.command(Instant::now(), other).unwrap();
    let refused = line.outcome().await;
    assert!(matches!(refused, Some(iec::Indication::Answered(Answer::Refused(_)))), "{refused:?}");
    running.kill().await;
}

#[tokio::test]
async fn a_pseudo_terminal_carries_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("meter");
    let mut config = config();
    config.direct_listen = None;
    config.direct_iec = 1;
    config.pty = Some(link.clone());
    let running = start(&config).await;
    let entry = running.registry().meters[0].clone();
    assert_eq!(
        entry.address.as_deref(),
        Some(&*format!("iec+serial://{}?device={}&mode=c", link.display(), entry.serial))
    );
    let port = std::fs::OpenOptions::new().read(true).write(true).open(&link).unwrap();
    let stream = tokio::fs::File::from_std(port);
    let (reader, writer) = (stream.try_clone().await.unwrap(), stream);
    let stream = tokio::io::join(reader, writer);
    let client = ascii_client(&entry.serial, Wish::Readout, &entry);
    let mut line = AsciiLine { stream, client };
    match line.outcome().await {
        Some(iec::Indication::Readout(sets)) => assert_eq!(value(&sets, "0.0.0"), entry.serial),
        other => panic!("{other:?}"),
    }
    running.stop().await.unwrap();
    assert!(!link.exists(), "the symlink is gone");
}
