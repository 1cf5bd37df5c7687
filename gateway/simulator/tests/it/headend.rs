//! A scripted head-end: one node that does what a test says, octet by octet over real sockets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::association::{
    Authentication, Client, ClientConfig, Failure, Indication, InvokeId, Rejection,
    open_notification,
};
use cosem::security::{Policy, SigningKey, VerifyingKey};
use cosem::wrapper::{Deframer, Header};
use cosem::{AttributeRef, Data, DataAccessError, Keys, Selection};
use simulator::registry::{MeterEntry, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

pub const LONG: Duration = Duration::from_secs(8);

/// A row as the concentrator told it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushedRow {
    pub serial: String,
    pub end_s: i64,
    pub status: u8,
    pub import_wh: Option<u64>,
    pub export_wh: Option<u64>,
}

/// What a concentrator said by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Identity { ldn: String, meters: u64 },
    Heartbeat { online: u64 },
    Promote { epoch: u64, reason: u64 },
    Push { sequence: u32, rows: Vec<PushedRow> },
}

/// One node of the head-end.
pub struct Node {
    pub listener: TcpListener,
    pub title: [u8; 8],
    pub counter: u32,
}

/// A connection of a concentrator to a node.
pub struct Conn {
    pub stream: TcpStream,
    pub id: String,
    deframer: Deframer,
    keys: Keys,
    title: [u8; 8],
    client: Client,
    said: VecDeque<Said>,
    answers: VecDeque<Indication>,
    meter_frames: VecDeque<(Header, Bytes)>,
    pub last_counter: u32,
}

impl Node {
    pub async fn start(number: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, title: *b"HFDNODE\0", counter: 1 }.with_number(number)
    }

    fn with_number(mut self, number: u8) -> Self {
        self.title[7] = number;
        self
    }

    pub fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Takes a connection and reads its first frame.
    pub async fn accept(&mut self, registry: &Registry) -> Conn {
        let (stream, _) = timeout(LONG, self.listener.accept()).await.expect("no dial").unwrap();
        let mut deframer = Deframer::new(65_535);
        let mut stream = stream;
        let (header, apdu) = raw_frame(&mut stream, &mut deframer, LONG).await.expect("identity");
        assert_eq!(header, Header { source: 1, destination: 102 });
        let (title, _) = cosem::association::peek_sender(&apdu).unwrap();
        let known = registry.concentrators.iter().find(|c| c.system_title == hex(&title));
        let entry = known.expect("nobody registered this concentrator");
        let keys = keys_of(&entry.guek, &entry.gak);
        let mut conn = Conn {
            stream,
            id: entry.id.clone(),
            deframer,
            title: self.title,
            client: management(&keys, self.title, title, None),
            keys,
            said: VecDeque::new(),
            answers: VecDeque::new(),
            meter_frames: VecDeque::new(),
            last_counter: 0,
        };
        conn.frame(header, &apdu).unwrap();
        assert!(matches!(conn.said.pop_front(), Some(Said::Identity { .. })), "no identity");
        conn
    }

    /// Takes a connection and says what is wrong with its identity.
    pub async fn first_frame(&self, registry: &Registry) -> Result<(), &'static str> {
        let (mut stream, _) = timeout(LONG, self.listener.accept()).await.unwrap().unwrap();
        let mut deframer = Deframer::new(65_535);
        let (_, apdu) = raw_frame(&mut stream, &mut deframer, LONG).await.expect("identity");
        let find = |title: &[u8; 8]| {
            let known = registry.concentrators.iter().find(|c| c.system_title == hex(title));
            known.map(|entry| keys_of(&entry.guek, &entry.gak))
        };
        let (title, _) = cosem::association::peek_sender(&apdu).unwrap();
        let keys = find(&title).ok_or("no keys")?;
        open_notification(|_| Some(&keys), &apdu).map(|_| ()).map_err(|error| match error {
            cosem::Error::BadTag => "bad tag",
            _ => "something else",
        })
    }

    /// Takes a connection and associates.
    pub async fn login(&mut self, registry: &Registry) -> Conn {
        let mut conn = self.accept(registry).await;
        conn.associate(self.block()).await.expect("association");
        conn
    }

    /// A fresh block of invocation counters.
    pub fn block(&mut self) -> std::ops::Range<u32> {
        self.counter += 1_000;
        self.counter - 1_000..self.counter
    }
}

fn management(keys: &Keys, title: [u8; 8], server: [u8; 8], gateway: Option<Bytes>) -> Client {
    let mut config = ClientConfig::new(1, 1, title);
    config.authentication = Authentication::Hls5(keys.clone());
    config.ciphered = Some(keys.clone());
    config.server_title = Some(server);
    config.gateway = gateway;
    Client::new(config, b"0123456789abcdef")
}

impl Conn {
    pub async fn associate(&mut self, counters: std::ops::Range<u32>) -> Result<(), Rejection> {
        self.client.set_counters(Instant::now(), counters);
        self.client.connect(Instant::now()).unwrap();
        loop {
            match self.answer().await {
                Indication::Associated { .. } => return Ok(()),
                Indication::Rejected(rejection) => return Err(rejection),
                _ => {}
            }
        }
    }

    pub async fn activate(&mut self, epoch: u32) -> Result<(), DataAccessError> {
        let value = Data::Structure(vec![Data::U32(epoch)]);
        self.set([0, 0, 94, 86, 131, 255], value).await
    }

    pub async fn acknowledge(&mut self, sequence: u32) -> Result<(), DataAccessError> {
        self.set([0, 0, 94, 86, 130, 255], Data::U32(sequence)).await
    }

    pub async fn set(&mut self, name: [u8; 6], value: Data) -> Result<(), DataAccessError> {
        let attribute = AttributeRef::new(1, name, 2);
        self.client.set(Instant::now(), attribute, None, value).unwrap();
        loop {
            match self.answer().await {
                Indication::Set { result, .. } => return result,
                Indication::Failed { failure, .. } => panic!("{failure:?}"),
                _ => {}
            }
        }
    }

    pub async fn invoke(
        &mut self,
        class: u16,
        name: [u8; 6],
        method: i8,
        parameter: Data,
    ) -> Result<(), DataAccessError> {
        let method = cosem::MethodRef::new(class, name, method);
        self.client.action(Instant::now(), method, Some(parameter)).unwrap();
        loop {
            match self.answer().await {
                Indication::Acted { result, .. } => return result.map(|_| ()),
                Indication::Failed { failure, .. } => panic!("{failure:?}"),
                _ => {}
            }
        }
    }

    pub async fn get(&mut self, class: u16, name: [u8; 6]) -> Result<Data, DataAccessError> {
        self.client.get(Instant::now(), AttributeRef::new(class, name, 2), None).unwrap();
        loop {
            match self.answer().await {
                Indication::Got { result, .. } => return result,
                Indication::Failed { failure, .. } => panic!("{failure:?}"),
                _ => {}
            }
        }
    }

    /// The next thing the concentrator says that is no heartbeat.
    pub async fn said(&mut self) -> Option<Said> {
        loop {
            match self.said_within(LONG).await? {
                Said::Heartbeat { .. } => {}
                said => return Some(said),
            }
        }
    }

    pub async fn said_within(&mut self, limit: Duration) -> Option<Said> {
        let deadline = Instant::now() + limit;
        while self.said.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let (header, apdu) = self.raw(left).await?;
            let _ = self.frame(header, &apdu);
        }
        self.said.pop_front()
    }

    /// The next push.
    pub async fn push(&mut self) -> (u32, Vec<PushedRow>) {
        loop {
            match self.said().await {
                Some(Said::Push { sequence, rows }) => return (sequence, rows),
                Some(_) => {}
                None => panic!("no push"),
            }
        }
    }

    async fn answer(&mut self) -> Indication {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return answer;
            }
            while let Some(frame) = self.client.poll_transmit() {
                self.stream.write_all(&frame).await.unwrap();
            }
            let (header, apdu) = self.raw(LONG).await.expect("no answer");
            let _ = self.frame(header, &apdu);
        }
    }

    /// The next frame as it came; `None` when the connection closes or nothing comes in time.
    pub async fn raw(&mut self, limit: Duration) -> Option<(Header, Bytes)> {
        raw_frame(&mut self.stream, &mut self.deframer, limit).await
    }

    /// Whether the stream was no wrapper stream.
    pub fn is_broken(&mut self) -> bool {
        self.deframer.next_frame().is_err()
    }

    pub fn frame(&mut self, header: Header, apdu: &[u8]) -> Result<(), cosem::Error> {
        if apdu.first() == Some(&0xE7) {
            self.meter_frames.push_back((header, Bytes::copy_from_slice(apdu)));
            return Ok(());
        }
        if header.destination == 102 {
            let opened = open_notification(|_| Some(&self.keys), apdu)?;
            let counter = opened.counter.unwrap();
            if counter <= self.last_counter {
                return Err(cosem::Error::Replayed { counter, highest: self.last_counter });
            }
            self.last_counter = counter;
            let body = opened.decode()?.data().unwrap().clone();
            self.said.push_back(understand(&body));
            return Ok(());
        }
        let result = self.client.handle_frame(Instant::now(), header, apdu);
        while let Some(indication) = self.client.poll() {
            self.answers.push_back(indication);
        }
        result
    }

    /// An association with a meter through the concentrator; public when `public`.
    pub fn meter(&self, entry: &MeterEntry) -> Meter {
        let address = Some(Bytes::copy_from_slice(entry.serial.as_bytes()));
        Meter::new(entry, self.title, address)
    }

    /// One request of a meter's client and its answer.
    pub async fn through(&mut self, meter: &mut Meter) -> Option<Indication> {
        loop {
            if let Some(indication) = meter.client.poll() {
                if matches!(indication, Indication::NeedCounters { .. }) {
                    continue;
                }
                return Some(indication);
            }
            while let Some(frame) = meter.client.poll_transmit() {
                self.stream.write_all(&frame).await.unwrap();
            }
            let deadline = Instant::now() + Duration::from_secs(2);
            while self.meter_frames.is_empty() {
                let left = deadline.checked_duration_since(Instant::now())?;
                let (header, apdu) = self.raw(left).await?;
                let _ = self.frame(header, &apdu);
            }
            let (header, apdu) = self.meter_frames.pop_front()?;
            let _ = meter.client.handle_frame(Instant::now(), header, &apdu);
        }
    }
}

/// A client of one meter.
pub struct Meter {
    pub client: Client,
}

impl Meter {
    pub fn new(entry: &MeterEntry, title: [u8; 8], gateway: Option<Bytes>) -> Self {
        Self::with(entry, title, gateway, |_| ())
    }

    /// As `new`, with settings changed by the test.
    pub fn with(
        entry: &MeterEntry,
        title: [u8; 8],
        gateway: Option<Bytes>,
        change: impl FnOnce(&mut ClientConfig),
    ) -> Self {
        let mut config = ClientConfig::new(entry.client_sap, entry.server_sap, title);
        let suite = cosem::Suite::of(entry.suite).unwrap();
        if let (Some(guek), Some(gak)) = (&entry.guek, &entry.gak) {
            let keys = Keys::in_suite(suite, &octets(guek), &octets(gak)).unwrap();
            config.authentication = Authentication::Hls5(keys.clone());
            config.ciphered = Some(keys);
        }
        if let (Some(own), Some(meter)) = (&entry.signing_key, &entry.meter_signing_key) {
            config.credentials.signing = Some(SigningKey::new(suite, &octets(own)).unwrap());
            let meter = VerifyingKey::new(suite, &octets(meter)).unwrap();
            config.credentials.peer_signing = Some(meter);
        }
        if entry.authentication == "hls7" {
            config.authentication = Authentication::Hls7;
        }
        if let Some(policy) = entry.policy.as_ref().and_then(|text| text.strip_prefix("v1:")) {
            config.policy = Policy::from_v1(u8::from_str_radix(policy, 16).unwrap()).unwrap();
        }
        if let Some(secret) = &entry.lls_secret {
            let secret = cosem::Secret::new(&octets(secret));
            config.authentication = match entry.authentication.as_str() {
                "hls3" => Authentication::Hls3(secret),
                "hls4" => Authentication::Hls4(secret),
                "hls6" => Authentication::Hls6(secret),
                _ => Authentication::Lls(secret),
            };
        }
        config.gateway = gateway;
        config.response_timeout = LONG;
        change(&mut config);
        Self { client: Client::new(config, b"fedcba9876543210fedcba9876543210") }
    }

    pub fn connect(&mut self, counters: std::ops::Range<u32>) {
        self.client.set_counters(Instant::now(), counters);
        self.client.connect(Instant::now()).unwrap();
    }

    pub fn get(
        &mut self,
        class: u16,
        name: [u8; 6],
        attribute: i8,
        selection: Option<Selection>,
    ) -> InvokeId {
        let attribute = AttributeRef::new(class, name, attribute);
        self.client.get(Instant::now(), attribute, selection).unwrap()
    }
}

/// The value of an answer to a read.
pub fn got(indication: Option<Indication>) -> Data {
    match indication {
        Some(Indication::Got { result, .. }) => result.unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The exception in an answer.
pub fn exception(indication: Option<Indication>) -> cosem::apdu::ServiceFault {
    match indication {
        Some(Indication::Rejected(Rejection::Exception(exception)))
        | Some(Indication::Failed { failure: Failure::Exception(exception), .. }) => {
            exception.fault
        }
        other => panic!("{other:?}"),
    }
}

async fn raw_frame(
    stream: &mut TcpStream,
    deframer: &mut Deframer,
    limit: Duration,
) -> Option<(Header, Bytes)> {
    let mut buffer = vec![0; 65_536];
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        if let Some(frame) = deframer.next_frame().ok()? {
            return Some(frame);
        }
        let read = tokio::time::timeout_at(deadline, stream.read(&mut buffer)).await.ok()?;
        let octets = read.ok().filter(|octets| *octets > 0)?;
        deframer.feed(&buffer[..octets]);
    }
}

fn understand(body: &Data) -> Said {
    let fields = body.as_structure().unwrap();
    let text = |at: usize| String::from_utf8(fields[at].as_octets().unwrap().to_vec()).unwrap();
    let number = |at: usize| fields[at].as_u64().unwrap();
    match fields[1].as_octets().unwrap()[1] {
        7 => Said::Identity { ldn: text(0), meters: number(5) },
        6 => Said::Heartbeat { online: number(4) },
        8 => Said::Promote { epoch: number(2), reason: number(3) },
        5 => Said::Push { sequence: number(2) as u32, rows: rows(fields) },
        other => panic!("push setup {other}"),
    }
}

fn rows(fields: &[Data]) -> Vec<PushedRow> {
    let period = fields[4].as_i64().unwrap();
    assert_eq!(fields[5].as_array().unwrap().len(), 4);
    let mut rows = Vec::new();
    for meter in fields[6].as_array().unwrap() {
        let [serial, list] = meter.as_structure().unwrap() else { panic!("meter") };
        let mut end_s = 0;
        for row in list.as_array().unwrap() {
            let [clock, status, import, export] = row.as_structure().unwrap() else { panic!() };
            end_s = match clock {
                Data::Null => end_s + period,
                clock => clock.as_date_time().unwrap().to_unix_s(0).unwrap(),
            };
            rows.push(PushedRow {
                serial: String::from_utf8(serial.as_octets().unwrap().to_vec()).unwrap(),
                end_s,
                status: status.as_u64().unwrap() as u8,
                import_wh: import.as_u64(),
                export_wh: export.as_u64(),
            });
        }
    }
    rows
}

pub fn keys_of(guek: &str, gak: &str) -> Keys {
    let key = |text: &str| -> [u8; 16] { octets(text).try_into().unwrap() };
    Keys::new(&key(guek), &key(gak))
}

pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub fn octets(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}
