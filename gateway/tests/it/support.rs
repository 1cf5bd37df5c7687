//! Both ends of the gateway: a cluster that is one `MemoryView`, and a COSEM server on a socket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use cosem::association::{Answer, Request, Server, ServerIndication};
use cosem::wrapper::Deframer;
use domain::assets::{Attach, Authentication, Security};
use domain::leases::Role;
use domain::readings::{BatchBuilder, Ingest};
use domain::{
    Author, Change, Device, Done, Entry, MemoryView, NodeId, Outcome, Proposal, ProposalId, Stamp,
};
use gateway::{
    Admission, Claimed, Config, Denied, Gateway, HolesQuery, MeterAccess, MeterCredentials,
    MeterHoles, MeterKeys, Upcall,
};
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

pub const LDN: &str = "HFDSIM0000000001";
pub const TITLE: [u8; 8] = *b"HFDSIM01";
pub const GUEK: [u8; 16] = [1; 16];
pub const GAK: [u8; 16] = [2; 16];
/// 2026-11-22 12:00 UTC.
pub const NOON: i64 = 1_795_305_600;
pub const NODE: NodeId = NodeId(1);

/// What the clock of a cluster shows.
#[derive(Default)]
pub enum Clock {
    /// 2026-11-22 12:00 UTC, for ever.
    #[default]
    Noon,
    /// This time, seconds UTC, for ever.
    At(i64),
    /// The time of the day.
    Real,
}

/// The cluster in memory: every answer is what `domain::apply` says.
#[derive(Default)]
pub struct Cluster {
    pub clock: Clock,
    /// Name, GUEK and GAK by system title.
    concentrators: HashMap<[u8; 8], (String, [u8; 16], [u8; 16])>,
    pub view: MemoryView,
    index: u64,
    /// Rows that were stored: ordinal, end, interval, values.
    pub rows: Vec<(u32, i64, u16, Vec<Option<i64>>)>,
    pub meters: HashMap<String, MeterAccess>,
    /// Rows that are lost on their way: ordinal, interval ends after and up to.
    pub lose: Vec<(u32, i64, i64)>,
    /// What came for tasks.
    pub reports: Vec<domain::tasks::Report>,
    catalog: Option<gateway::model::Catalog>,
    /// The next so many Ingest questions are answered `Unavailable`.
    pub refuse_ingests: u32,
    /// Every Admit question is answered `Unavailable`.
    pub has_no_quorum: bool,
}

impl Cluster {
    /// Knows nobody yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    pub fn propose(&mut self, author: Author, change: Change) -> Outcome {
        self.index += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.index.to_be_bytes());
        let proposal = Proposal { id: ProposalId(id), author, change };
        let entry = Entry { stamp: self.now(), proposal };
        let applied = domain::apply(&self.view, self.index, &entry).unwrap();
        self.view.apply(&applied);
        for batch in &applied.rows {
            for row in batch.rows().unwrap().iter() {
                let values = row.values.to_vec();
                self.rows.push((row.ordinal, row.end_s, batch.interval_minutes(), values));
            }
        }
        applied.outcome
    }

    /// Proposes for a node.
    pub fn node(&mut self, node: NodeId, change: Change) -> Result<Done, Denied> {
        self.propose(Author::Node(node), change).map_err(|refusal| Denied::Refused {
            code: refusal.code.into_owned(),
            detail: refusal.detail,
        })
    }

    /// Registers a concentrator.
    pub fn concentrator(&mut self, title: [u8; 8], id: &str, guek: [u8; 16], gak: [u8; 16]) {
        let register = domain::assets::Change::RegisterConcentrator {
            id: id.to_owned(),
            system_title: title,
            name: "test".to_owned(),
        };
        self.propose(Author::Bootstrap, Change::Assets(register)).unwrap();
        self.concentrators.insert(title, (id.to_owned(), guek, gak));
    }

    /// Registers a meter and gives its ordinal.
    pub fn meter(&mut self, serial: &str, attach: Attach) -> u32 {
        let (serial, model) = (serial.to_owned(), "T".to_owned());
        let change = domain::assets::Change::RegisterMeter { serial, attach, model };
        match self.propose(Author::Bootstrap, Change::Assets(change)) {
            Ok(Done::Meter { ordinal }) => ordinal,
            other => panic!("{other:?}"),
        }
    }

    pub fn claim(&mut self, device: Device, role: Role) -> u64 {
        let reason = domain::leases::Reason::Login;
        let claim = domain::leases::Change::Claim { device, node: NODE, channel: role, reason };
        match self.node(NODE, Change::Leases(claim)) {
            Ok(Done::Lease { epoch }) => epoch,
            other => panic!("{other:?}"),
        }
    }

    fn admit(&self, node: NodeId, title: [u8; 8]) -> Result<Admission, Denied> {
        let known = self.concentrators.get(&title).ok_or(Denied::refused("unknown"))?;
        let (concentrator, guek, gak) = known.clone();
        let mark = domain::readings::mark(&self.view, &concentrator).unwrap();
        Ok(Admission {
            concentrator,
            guek: Zeroizing::new(guek),
            gak: Zeroizing::new(gak),
            client_title: client_title(node),
            last_counter: mark.as_ref().map_or(0, |mark| mark.counter),
            last_sequence: mark.as_ref().map_or(0, |mark| mark.sequence),
        })
    }

    /// Stores rows of one meter, by its channel.
    pub fn store(&mut self, ordinal: u32, device: &Device, epoch: u64, ends_s: &[i64]) {
        use domain::readings::{Change as Readings, Part, Register};
        let register = Register { obis: domain::Obis::ACTIVE_IMPORT, scaler: 0, unit: 30 };
        let mut batch = BatchBuilder::new(15, vec![register]);
        for end_s in ends_s {
            batch.push(ordinal, *end_s, 0, &[Some(1)]);
        }
        let lease = Some((device.clone(), epoch));
        let parts = vec![Part { lease, mark: None, batches: vec![batch.finish()] }];
        let change = Change::Readings(Readings::Ingest(Ingest { parts }));
        let done = self.node(NODE, change).unwrap();
        assert!(matches!(&done, Done::Ingested(parts) if parts[0].is_ok()), "{done:?}");
    }

    /// Makes a task and begins a run of it for all meters there are.
    pub fn task(&mut self, name: &str, rule: domain::tasks::Rule) {
        use domain::tasks;
        let meters = tasks::concerned(&self.view, &rule.whom).unwrap();
        let rule = Box::new(rule);
        let set = tasks::Change::Set { name: name.to_owned(), rule, seen: 0 };
        self.propose(Author::Operator("admin".to_owned()), Change::Tasks(set)).unwrap();
        let due_s = self.now().seconds();
        let begin = tasks::Change::Begin { name: name.to_owned(), version: 1, due_s, meters };
        self.node(NODE, Change::Tasks(begin)).unwrap();
    }

    /// The last run of a task.
    pub fn run(&self, name: &str) -> domain::tasks::Run {
        let task = domain::tasks::task(&self.view, name).unwrap().unwrap();
        domain::tasks::run(&self.view, &task, task.runs).unwrap().unwrap()
    }

    fn without_lost(&self, mut part: domain::readings::Part) -> domain::readings::Part {
        for batch in part.batches.iter_mut().filter(|_| !self.lose.is_empty()) {
            let mut kept = BatchBuilder::new(batch.interval_minutes(), batch.registers().to_vec());
            for row in batch.rows().unwrap().iter() {
                let is_lost = |(ordinal, from_s, to_s): &(u32, i64, i64)| {
                    row.ordinal == *ordinal && row.end_s > *from_s && row.end_s <= *to_s
                };
                if !self.lose.iter().any(is_lost) {
                    kept.push(row.ordinal, row.end_s, row.flag, row.values);
                }
            }
            *batch = kept.finish();
        }
        part
    }

    /// Sets a parameter, once.
    pub fn set(&mut self, name: &str, value: u32) {
        let seen = domain::parameters::history(&self.view, name).unwrap().len();
        let change = domain::parameters::Change::Set {
            name: name.to_owned(),
            value,
            from: None,
            seen: u32::try_from(seen).unwrap(),
            reason: "a test".to_owned(),
        };
        self.propose(Author::Operator("admin".to_owned()), Change::Parameters(change)).unwrap();
    }

    pub fn now(&self) -> Stamp {
        let seconds = match self.clock {
            Clock::Noon => u64::try_from(NOON).unwrap(),
            Clock::At(seconds) => u64::try_from(seconds).unwrap(),
            Clock::Real => SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs(),
        };
        Stamp::from_seconds(seconds)
    }

    fn holes(&self, query: &HolesQuery) -> Vec<MeterHoles> {
        use domain::readings;
        let HolesQuery { device, reach_s, behind, meters } = query;
        let window = readings::refill_window(&self.view, self.now()).unwrap();
        let Some(mut window) = window else { return Vec::new() };
        if let Some(reach_s) = reach_s {
            window.0 = window.0.max(self.now().seconds() - reach_s);
        }
        let found = readings::holes(&self.view, device, window, behind.as_deref(), *meters);
        let found = found.unwrap();
        let of_meter = found.chunk_by(|one, next| one.ordinal == next.ordinal);
        of_meter
            .map(|holes| MeterHoles {
                serial: holes[0].serial.clone(),
                ordinal: holes[0].ordinal,
                profile: domain::Obis::LOAD_PROFILE,
                holes: holes.to_vec(),
            })
            .collect()
    }

    fn answer(&mut self, node: NodeId, upcall: Upcall) {
        use domain::{keys, leases, readings};
        match upcall {
            Upcall::Admit(ask) if self.has_no_quorum => ask.answer(Err(Denied::Unavailable)),
            Upcall::Admit(ask) => {
                let answer = self.admit(node, ask.request.system_title);
                ask.answer(answer);
            }
            Upcall::Meter(ask) => {
                let access = self.meters.get(&ask.request.serial).cloned();
                let access =
                    access.map(|access| MeterAccess { client_title: client_title(node), ..access });
                ask.answer(access.ok_or(Denied::refused("unknown_meter")));
            }
            Upcall::Roster(ask) => {
                let of =
                    |(serial, access): (&String, &MeterAccess)| (serial.clone(), access.ordinal);
                ask.answer(Ok(self.meters.iter().map(of).collect()));
            }
            Upcall::Reserve(ask) => {
                let (device, count) = (ask.request.device.clone(), ask.request.count);
                let change = Change::Keys(keys::Change::Reserve { device, count });
                ask.answer(self.node(node, change).map(|done| match done {
                    Done::Counters { first, .. } => first,
                    other => panic!("{other:?}"),
                }));
            }
            Upcall::RaiseCounter(ask) => {
                let (device, at_least) = (ask.request.device.clone(), ask.request.at_least);
                let change = Change::Keys(keys::Change::RaiseCounter { device, at_least });
                ask.answer(self.node(node, change).map(|_| ()));
            }
            Upcall::Claim(ask) => {
                let request = ask.request.clone();
                let claim = leases::Change::Claim {
                    device: request.device,
                    node,
                    channel: request.role,
                    reason: request.reason,
                };
                ask.answer(match self.node(node, Change::Leases(claim)) {
                    Ok(Done::Lease { epoch }) => Ok(Claimed::Granted { epoch }),
                    Ok(other) => panic!("{other:?}"),
                    Err(Denied::Refused { code, .. }) if code == "held" => {
                        Ok(Claimed::Held { owner: None })
                    }
                    Err(denied) => Err(denied),
                });
            }
            Upcall::Release(ask) => {
                let (device, epoch) = (ask.request.device.clone(), ask.request.epoch);
                let release = leases::Change::Release { device, node, epoch };
                ask.answer(self.node(node, Change::Leases(release)).map(|_| ()));
            }
            Upcall::Standby(ask) => {
                let (device, up) = (ask.request.device.clone(), ask.request.up);
                let standby = leases::Change::Standby { device, node, up };
                ask.answer(self.node(node, Change::Leases(standby)).map(|_| ()));
            }
            Upcall::Holes(ask) => {
                let found = self.holes(&ask.request);
                ask.answer(Ok(found));
            }
            Upcall::Refill(ask) => {
                let change = Change::Readings(readings::Change::Refill(ask.request.clone()));
                ask.answer(self.node(node, change).map(|done| match done {
                    Done::Ingested(mut parts) => parts.remove(0).unwrap(),
                    other => panic!("{other:?}"),
                }));
            }
            Upcall::TaskDevices(ask) => {
                let found = gateway::task_devices(&self.view, &ask.request, self.now());
                ask.answer(Ok(found.unwrap()));
            }
            Upcall::TaskWork(ask) => {
                let catalog = self.catalog.get_or_insert_with(gateway::model::Catalog::shipped);
                let catalog = catalog.clone();
                let model = |name: &str| catalog.or_generic(name).0;
                let found = gateway::task_work(&self.view, &ask.request, self.now(), model);
                ask.answer(Ok(found.unwrap()));
            }
            Upcall::TaskReport(ask) => {
                self.reports.push(ask.request.clone());
                let report = domain::tasks::Change::Report(Box::new(ask.request.clone()));
                ask.answer(self.node(node, Change::Tasks(report)).map(|done| match done {
                    Done::Ingested(mut parts) => parts.remove(0).unwrap(),
                    other => panic!("{other:?}"),
                }));
            }
            Upcall::Report(ask) => ask.answer(Ok(())),
            Upcall::Ingest(ask) => {
                if self.refuse_ingests > 0 {
                    self.refuse_ingests -= 1;
                    return ask.answer(Err(Denied::Unavailable));
                }
                let parts = vec![self.without_lost(ask.request.clone())];
                let change = Change::Readings(readings::Change::Ingest(Ingest { parts }));
                let part = self.node(node, change).and_then(|done| match done {
                    Done::Ingested(mut parts) => parts.remove(0).map_err(|refusal| {
                        Denied::Refused { code: refusal.code.into_owned(), detail: refusal.detail }
                    }),
                    other => panic!("{other:?}"),
                });
                ask.answer(part);
            }
        }
    }
}

/// A gateway with its cluster.
pub struct House {
    pub gateway: Gateway,
    pub cluster: Arc<Mutex<Cluster>>,
    pub registry: Registry,
}

/// One node, with one registered concentrator.
/// A node whose cluster stands at noon of one day, for scripted concentrators.
pub async fn house(config: Config) -> House {
    at(Clock::Noon, config).await
}

/// A node whose cluster has the time of the day, for meters that have it too.
pub async fn house_now(config: Config) -> House {
    at(Clock::Real, config).await
}

async fn at(clock: Clock, config: Config) -> House {
    let mut cluster = Cluster::new(clock);
    cluster.concentrator(TITLE, LDN, GUEK, GAK);
    join(Arc::new(Mutex::new(cluster)), NODE, config, None).await
}

/// Starts a node that asks this cluster.
pub async fn join(
    cluster: Arc<Mutex<Cluster>>,
    node: NodeId,
    config: Config,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> House {
    let registry = Registry::new();
    let (gateway, questions) = Gateway::start(config, tls, &registry).await.unwrap();
    let renew = domain::leases::Change::Renew { node, ttl_ms: 60_000 };
    cluster.lock().unwrap().node(node, Change::Leases(renew)).unwrap();
    tokio::spawn(answer_all(Arc::clone(&cluster), node, questions));
    House { gateway, cluster, registry }
}

async fn answer_all(
    cluster: Arc<Mutex<Cluster>>,
    node: NodeId,
    mut questions: mpsc::Receiver<Upcall>,
) {
    while let Some(question) = questions.recv().await {
        if matches!(question, Upcall::Ingest(_)) {
            // A commit takes a moment: a backlog is not over before a test can look.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cluster.lock().unwrap().answer(node, question);
    }
}

/// The system title of a node.
fn client_title(NodeId(node): NodeId) -> [u8; 8] {
    let mut title = *b"HFDNODE0";
    title[7] += u8::try_from(node).unwrap();
    title
}

impl House {
    /// The value of a counter or gauge.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let of_label = |metric: &&prometheus::proto::Metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        };
        let metric = family.and_then(|family| family.get_metric().iter().find(of_label).cloned());
        metric
            .map_or(0.0, |metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
    }
}

fn needs_secret(authentication: Authentication) -> bool {
    use Authentication::{Hls3, Hls4, Hls6, Lls};
    matches!(authentication, Lls | Hls3 | Hls4 | Hls6)
}

pub fn access(ordinal: u32, authentication: Authentication) -> MeterAccess {
    let keys = MeterKeys { guek: Zeroizing::new(GUEK.to_vec()), gak: Zeroizing::new(GAK.to_vec()) };
    MeterAccess {
        ordinal,
        address: None,
        client_sap: 1,
        server_sap: 1,
        authentication,
        security: Security::default(),
        secret: needs_secret(authentication).then(|| Zeroizing::new(b"12345678".to_vec())),
        keys: (authentication == Authentication::Hls5).then_some(keys),
        credentials: MeterCredentials::default(),
        server_title: None,
        client_title: *b"HFDNODE1",
        model: gateway::model::Catalog::shipped().or_generic("").0,
        registers: Vec::new(),
        profile: None,
        watermark_s: None,
    }
}

/// One end of a wrapper stream with a COSEM server on it.
pub struct Peer {
    pub stream: TcpStream,
    pub server: Server,
    deframer: Deframer,
}

impl Peer {
    pub fn new(stream: TcpStream, server: Server) -> Self {
        Self { stream, server, deframer: Deframer::new(65_535) }
    }

    /// Sends what waits.
    pub async fn flush(&mut self) {
        while let Some(frame) = self.server.poll_transmit() {
            self.stream.write_all(&frame).await.unwrap();
        }
    }

    /// Serves until `answer` says that it has seen enough, or the stream ends (false).
    pub async fn serve(&mut self, mut answer: impl FnMut(&Request) -> (Answer, bool)) -> bool {
        loop {
            self.flush().await;
            while let Ok(Some((header, apdu))) = self.deframer.next_frame() {
                let _ = self.server.handle_frame(Instant::now(), header, &apdu);
                let mut enough = false;
                while let Some(indication) = self.server.poll() {
                    if let ServerIndication::Request(request) = indication {
                        let (answer, last) = answer(&request);
                        self.server.respond(answer).unwrap();
                        enough |= last;
                    }
                }
                self.flush().await;
                if enough {
                    return true;
                }
            }
            let mut buffer = [0; 4096];
            let read = tokio::time::timeout(Duration::from_secs(10), self.stream.read(&mut buffer));
            match read.await.expect("the gateway has said nothing for ten seconds") {
                Ok(0) | Err(_) => return false,
                Ok(octets) => self.deframer.feed(&buffer[..octets]),
            }
        }
    }
}

/// Waits until `condition` holds, fifteen seconds at most.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1_500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in fifteen seconds: {what}");
}
