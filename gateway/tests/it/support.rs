//! Both ends of the gateway: a cluster that is one `MemoryView`, and a COSEM server on a socket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cosem::association::{Answer, Request, Server, ServerIndication};
use cosem::wrapper::Deframer;
use domain::assets::{Attach, Authentication};
use domain::leases::Role;
use domain::readings::Ingest;
use domain::{
    Author, Change, Device, Done, Entry, MemoryView, NodeId, Outcome, Proposal, ProposalId, Stamp,
};
use gateway::{Admission, Claimed, Config, Denied, Gateway, MeterAccess, MeterKeys, Upcall};
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
const NODE: NodeId = NodeId(1);

/// The cluster in memory: every answer is what `domain::apply` says.
#[derive(Default)]
pub struct Cluster {
    pub view: MemoryView,
    index: u64,
    /// Rows that were stored: ordinal, end, interval, values.
    pub rows: Vec<(u32, i64, u16, Vec<Option<i64>>)>,
    pub meters: HashMap<String, MeterAccess>,
    /// The next so many Ingest questions are answered `Unavailable`.
    pub refuse_ingests: u32,
}

impl Cluster {
    pub fn propose(&mut self, author: Author, change: Change) -> Outcome {
        self.index += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.index.to_be_bytes());
        let proposal = Proposal { id: ProposalId(id), author, change };
        let stamp = Stamp::from_seconds(u64::try_from(NOON).unwrap());
        let entry = Entry { stamp, proposal };
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

    fn node(&mut self, change: Change) -> Result<Done, Denied> {
        self.propose(Author::Node(NODE), change).map_err(|refusal| Denied::Refused {
            code: refusal.code.into_owned(),
            detail: refusal.detail,
        })
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
        match self.node(Change::Leases(claim)) {
            Ok(Done::Lease { epoch }) => epoch,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, upcall: Upcall) {
        use domain::{keys, leases, readings};
        match upcall {
            Upcall::Admit(ask) => {
                let known = ask.request.system_title == TITLE;
                let admission = Admission {
                    concentrator: LDN.to_owned(),
                    guek: Zeroizing::new(GUEK),
                    gak: Zeroizing::new(GAK),
                    client_title: *b"HFDNODE1",
                    last_counter: 0,
                    last_sequence: 0,
                };
                ask.answer(known.then_some(admission).ok_or(Denied::refused("unknown")));
            }
            Upcall::Meter(ask) => {
                let access = self.meters.get(&ask.request.serial).cloned();
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
                ask.answer(self.node(change).map(|done| match done {
                    Done::Counters { first, .. } => first,
                    other => panic!("{other:?}"),
                }));
            }
            Upcall::RaiseCounter(ask) => {
                let (device, at_least) = (ask.request.device.clone(), ask.request.at_least);
                let change = Change::Keys(keys::Change::RaiseCounter { device, at_least });
                ask.answer(self.node(change).map(|_| ()));
            }
            Upcall::Claim(ask) => {
                let request = ask.request.clone();
                let claim = leases::Change::Claim {
                    device: request.device,
                    node: NODE,
                    channel: request.role,
                    reason: request.reason,
                };
                ask.answer(self.node(Change::Leases(claim)).map(|done| match done {
                    Done::Lease { epoch } => Claimed::Granted { epoch },
                    other => panic!("{other:?}"),
                }));
            }
            Upcall::Release(ask) => {
                let (device, epoch) = (ask.request.device.clone(), ask.request.epoch);
                let release = leases::Change::Release { device, node: NODE, epoch };
                ask.answer(self.node(Change::Leases(release)).map(|_| ()));
            }
            Upcall::Standby(ask) => {
                let (device, up) = (ask.request.device.clone(), ask.request.up);
                let standby = leases::Change::Standby { device, node: NODE, up };
                ask.answer(self.node(Change::Leases(standby)).map(|_| ()));
            }
            Upcall::Ingest(ask) => {
                if self.refuse_ingests > 0 {
                    self.refuse_ingests -= 1;
                    return ask.answer(Err(Denied::Unavailable));
                }
                let parts = vec![ask.request.clone()];
                let change = Change::Readings(readings::Change::Ingest(Ingest { parts }));
                let part = self.node(change).and_then(|done| match done {
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

pub async fn house(config: Config) -> House {
    let registry = Registry::new();
    let (gateway, questions) = Gateway::start(config, None, &registry).await.unwrap();
    let mut cluster = Cluster::default();
    let renew = domain::leases::Change::Renew { node: NODE, ttl_ms: 60_000 };
    cluster.node(Change::Leases(renew)).unwrap();
    let register = domain::assets::Change::RegisterConcentrator {
        id: LDN.to_owned(),
        system_title: TITLE,
        name: "test".to_owned(),
    };
    cluster.propose(Author::Bootstrap, Change::Assets(register)).unwrap();
    let cluster = Arc::new(Mutex::new(cluster));
    tokio::spawn(answer_all(Arc::clone(&cluster), questions));
    House { gateway, cluster, registry }
}

async fn answer_all(cluster: Arc<Mutex<Cluster>>, mut questions: mpsc::Receiver<Upcall>) {
    while let Some(question) = questions.recv().await {
        cluster.lock().unwrap().answer(question);
    }
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

pub fn access(ordinal: u32, authentication: Authentication) -> MeterAccess {
    let keys = MeterKeys { guek: Zeroizing::new(GUEK), gak: Zeroizing::new(GAK) };
    MeterAccess {
        ordinal,
        address: None,
        client_sap: 1,
        server_sap: 1,
        authentication,
        secret: (authentication == Authentication::Lls)
            .then(|| Zeroizing::new(b"12345678".to_vec())),
        keys: (authentication == Authentication::Hls5).then_some(keys),
        server_title: None,
        client_title: *b"HFDNODE1",
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

/// Waits until `condition` holds, five seconds at most.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in five seconds: {what}");
}
