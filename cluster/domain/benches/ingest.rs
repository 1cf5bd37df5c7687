//! What readings cost on one core: encode, decode, and apply an ingest of 4 channels x 50 meters.
//! Run: `cargo bench -p domain`. The figures are rows a second; a row is A+ and A- of one meter.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use domain::assets::{Attach, Change as Asset};
use domain::leases::{Change as Lease, Reason, Role};
use domain::readings::{self, Batch, BatchBuilder, Ingest, Part, Register};
use domain::{
    Author, Change, Device, Entry, MemoryView, NodeId, Obis, Proposal, ProposalId, Stamp, apply,
};

const CHANNELS: u32 = 4;
const METERS: u32 = 50;
/// Quarter hours of each meter in one ingest.
const SLOTS: i64 = 16;
const ROWS: u64 = CHANNELS as u64 * METERS as u64 * SLOTS as u64;

fn batch(channel: u32, first_slot: i64) -> Batch {
    let register = |obis| Register { obis, scaler: 0, unit: 30 };
    let registers = vec![register(Obis::ACTIVE_IMPORT), register(Obis::ACTIVE_EXPORT)];
    let mut batch = BatchBuilder::new(15, registers);
    for ordinal in channel * METERS..(channel + 1) * METERS {
        for slot in first_slot..first_slot + SLOTS {
            let noise = (i64::from(ordinal) * 7919 + slot * 104_729) % 97;
            let import = i64::from(ordinal) * 100_000 + slot * 200 + noise;
            batch.push(ordinal, (slot + 1) * 900, 0, &[Some(import), Some(1000)]);
        }
    }
    batch.finish()
}

struct Cluster {
    view: MemoryView,
    index: u64,
}

impl Cluster {
    fn entry(&mut self, author: Author, change: Change) -> Entry {
        self.index += 1;
        let id = ProposalId(u128::from(self.index).to_be_bytes());
        let stamp = Stamp::from_seconds(100_000_000);
        Entry { stamp, proposal: Proposal { id, author, change } }
    }

    fn propose(&mut self, author: Author, change: Change) {
        let entry = self.entry(author, change);
        let applied = apply(&self.view, self.index, &entry).expect("the view is sound");
        assert!(applied.outcome.is_ok(), "{:?}", applied.outcome);
        self.view.apply(&applied);
    }

    fn with_a_street() -> Cluster {
        let mut cluster = Cluster { view: MemoryView::default(), index: 0 };
        for channel in 0..CHANNELS {
            let concentrator = format!("C{channel}");
            let asset = Asset::RegisterConcentrator {
                id: concentrator.clone(),
                system_title: u64::from(channel).to_be_bytes(),
                name: String::new(),
            };
            cluster.propose(Author::Bootstrap, Change::Assets(asset));
            for meter in 0..METERS {
                let asset = Asset::RegisterMeter {
                    serial: format!("M{channel}-{meter}"),
                    attach: Attach::Behind { concentrator: concentrator.clone() },
                    model: String::new(),
                };
                cluster.propose(Author::Bootstrap, Change::Assets(asset));
            }
            let claim = Lease::Claim {
                device: Device::Concentrator(concentrator),
                node: NodeId(1),
                channel: Role::Main,
                reason: Reason::Login,
            };
            cluster.propose(Author::Node(NodeId(1)), Change::Leases(claim));
        }
        cluster
    }

    fn ingest(&mut self, first_slot: i64) -> Entry {
        let part = |channel: u32| Part {
            lease: Some((Device::Concentrator(format!("C{channel}")), 1)),
            mark: None,
            batches: vec![batch(channel, first_slot)],
        };
        let ingest = Ingest { parts: (0..CHANNELS).map(part).collect() };
        self.entry(Author::Node(NodeId(1)), Change::Readings(readings::Change::Ingest(ingest)))
    }
}

fn ingest(criterion: &mut Criterion) {
    let mut cluster = Cluster::with_a_street();
    let warm = cluster.ingest(0);
    let applied = apply(&cluster.view, cluster.index, &warm).expect("the view is sound");
    cluster.view.apply(&applied);
    let next = cluster.ingest(SLOTS);
    let octets = next.encode().expect("an entry that fits");
    println!("{ROWS} rows in an entry of {} octets", octets.len());
    let mut group = criterion.benchmark_group("ingest");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("build", |bencher| {
        bencher.iter(|| (0..CHANNELS).map(|channel| batch(channel, 0).octets()).sum::<usize>());
    });
    group.bench_function("decode", |bencher| {
        let batches: Vec<Batch> = (0..CHANNELS).map(|channel| batch(channel, 0)).collect();
        bencher.iter(|| batches.iter().flat_map(Batch::rows).map(|rows| rows.len()).sum::<usize>());
    });
    group.bench_function("apply", |bencher| {
        bencher.iter_batched(
            || Entry::decode(&octets).expect("our own octets"),
            |entry| apply(&cluster.view, cluster.index, &entry).map(|applied| applied.hash),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, ingest);
criterion_main!(benches);
