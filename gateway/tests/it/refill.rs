//! Gaps, with the simulator's concentrators: what one was off for comes from its meters, what it
//! still holds from its store, nothing twice, and whoever reads on demand does not wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use domain::assets::Attach;
use domain::leases::Role;
use domain::readings::{self, Collection};
use domain::{Device, NodeId, parameters};
use gateway::{Config, MeterAccess, MeterKeys};
use simulator::concentrator::outage;
use simulator::fault::Kind;
use simulator::field::{ConcentratorModel, Outages, Row, concentrators};
use simulator::registry::{ConcentratorEntry, MeterEntry};
use simulator::run::Running;
use zeroize::Zeroizing;

use crate::field::{IMPORT, access_of, attach_of};
use crate::support::{Clock, Cluster, House, join};

const DAY_S: i64 = 86_400;
/// Longest wait on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(150);

/// Meters of each concentrator on the day with dead ones.
const BEHIND_EACH: u32 = 12;

fn unix_s() -> i64 {
    i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

/// What was stored of a meter: every value that came for an interval end, as often as it came.
type Stored = BTreeMap<(u32, i64), Vec<Option<i64>>>;

/// A street of concentrators that were registered when its history begins.
pub struct Street {
    pub house: House,
    pub running: Running,
    pub models: Vec<ConcentratorModel>,
    pub ordinals: BTreeMap<String, u32>,
    pub from_s: i64,
    /// The start of the test: slots that are due later are of no interest.
    pub to_s: i64,
}

impl Street {
    pub async fn start(field: simulator::config::Config, config: Config) -> Self {
        Self::prepare(field, config, |_, _| {}).await
    }

    /// As `start`; `prepare` does something to the cluster first, which is told when the history
    /// begins.
    pub async fn prepare(
        mut field: simulator::config::Config,
        config: Config,
        prepare: impl FnOnce(&mut Cluster, i64),
    ) -> Self {
        let models = concentrators(&field.field());
        let to_s = unix_s().div_euclid(900) * 900;
        let history_s = i64::try_from(field.history.as_secs()).unwrap();
        let from_s = (unix_s() - history_s).div_euclid(900) * 900;
        let mut cluster = Cluster::new(Clock::At(from_s));
        let mut ordinals = BTreeMap::new();
        // Reading the shipped models takes a moment: one meter of each kind is enough.
        let mut kinds: BTreeMap<&str, MeterAccess> = BTreeMap::new();
        for model in &models {
            let id = ConcentratorEntry::new(model).id;
            cluster.concentrator(model.title, &id, model.guek.0, model.gak.0);
            for meter in &model.meters {
                let entry = || access_of(&MeterEntry::behind(&id, meter));
                let mut access = kinds.entry(meter.model).or_insert_with(entry).clone();
                access.keys = Some(MeterKeys {
                    guek: Zeroizing::new(meter.guek.0.to_vec()),
                    gak: Zeroizing::new(meter.gak.0.to_vec()),
                });
                let attach = Attach::Behind { concentrator: id.clone() };
                access.ordinal = cluster.meter(&meter.serial, attach);
                ordinals.insert(meter.serial.clone(), access.ordinal);
                cluster.meters.insert(meter.serial.clone(), access);
            }
        }
        cluster.clock = Clock::Real;
        // A slot that is due is asked for at once: nothing is to be left for later.
        cluster.set(parameters::REFILL_WAIT, 0);
        prepare(&mut cluster, from_s);
        let house = join(Arc::new(Mutex::new(cluster)), NodeId(1), config, None).await;
        field.head_ends = vec![house.gateway.address().to_string()];
        let running = Running::start(&field).await.unwrap();
        Self { house, running, models, ordinals, from_s, to_s }
    }

    /// Every row that some meter holds, by ordinal and interval end.
    fn truth(&self) -> BTreeMap<(u32, i64), Row> {
        let mut truth = BTreeMap::new();
        for meter in self.models.iter().flat_map(|model| &model.meters) {
            let mut player = meter.player();
            let ordinal = self.ordinals[&meter.serial];
            for slot in self.from_s / 900 + 1..=self.to_s / 900 {
                if let Some(row) = player.row(slot * 900, 900) {
                    truth.insert((ordinal, row.end_s), row);
                }
            }
        }
        truth
    }

    /// A+ of every row of the time that is of interest.
    fn stored(&self) -> Stored {
        let cluster = self.house.cluster.lock().unwrap();
        let mut stored = Stored::new();
        for (ordinal, end_s, interval, values) in &cluster.rows {
            if *interval == 15 && *end_s > self.from_s && *end_s <= self.to_s {
                stored.entry((*ordinal, *end_s)).or_default().push(values[0]);
            }
        }
        stored
    }

    pub fn rows(&self) -> usize {
        self.house.cluster.lock().unwrap().rows.len()
    }

    pub fn collection(&self) -> Collection {
        let cluster = self.house.cluster.lock().unwrap();
        readings::collection(&cluster.view, self.from_s, self.to_s).unwrap()
    }

    /// Gaps that somebody may still be asked for.
    pub fn open_gaps(&self) -> Vec<readings::Hole> {
        let cluster = self.house.cluster.lock().unwrap();
        let window = (self.from_s, self.to_s);
        let of = |model: &ConcentratorModel| {
            let device = Device::Concentrator(model.ldn.clone());
            readings::holes(&cluster.view, &device, window, None, usize::MAX).unwrap()
        };
        self.models.iter().flat_map(of).collect()
    }

    pub async fn wait(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let begun = Instant::now();
            if done(self) {
                return;
            }
            assert!(Instant::now() < until, "not in time: {what}: {:?}", self.collection());
            // A look at a thousand meters takes a moment itself.
            let rest = begun.elapsed() * 4;
            tokio::time::sleep(rest.max(Duration::from_millis(100))).await;
        }
    }

    /// Every row that a meter holds is stored once, with its value, and nothing else is.
    pub fn is_whole(&self) {
        let (truth, stored) = (self.truth(), self.stored());
        assert!(!truth.is_empty(), "nothing to compare");
        let lost = truth.keys().filter(|place| !stored.contains_key(place)).count();
        assert_eq!(lost, 0, "of {} rows", truth.len());
        for (place, values) in &stored {
            let row = truth.get(place).unwrap_or_else(|| panic!("{place:?} is of no meter"));
            let expect = [Some(i64::try_from(row.import_wh).unwrap())];
            assert_eq!(values.as_slice(), expect, "{place:?}");
        }
    }

    pub async fn stop(self) {
        self.house.gateway.stop(Duration::from_secs(10)).await;
        self.running.kill().await;
    }
}

pub fn config() -> Config {
    Config {
        max_connections: 256,
        max_connections_per_address: 256,
        refill_settle_ms: 500,
        refill_every_ms: 2_000,
        refill_chunk_s: 4 * 86_400,
        meter_timeout_ms: 20_000,
        answer_timeout_ms: 20_000,
        upcall_timeout_ms: 20_000,
        write_timeout_ms: 20_000,
        heartbeat_misses: 100,
        refill_read_timeout_ms: 60_000,
        ..Config::for_test()
    }
}

pub fn field() -> simulator::config::Config {
    simulator::config::Config {
        outages: Outages::Never,
        answer: Duration::from_secs(30),
        seed: 5,
        ..simulator::config::Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_meters_give_what_their_concentrator_was_off_for() {
    let field = simulator::config::Config {
        meters: 1_024,
        history: Duration::from_secs(3 * 86_400 + 7_200),
        faults: vec!["outage:1".parse().unwrap()],
        outage_hold: Duration::from_secs(3 * 86_400),
        ..field()
    };
    let street = Street::prepare(field, config(), |cluster, _| {
        cluster.set(parameters::REFILL_REACH, 0);
    })
    .await;
    // On its return it pushes what it has: the two hours beside the outage.
    let pushed = 1_024 * 8;
    street.wait("the concentrator pushes", |street| street.rows() >= pushed).await;
    street.house.cluster.lock().unwrap().set(parameters::REFILL_REACH, 35);
    let device = Device::Concentrator(street.models[0].ldn.clone());
    let begun = Instant::now();
    let all = 1_024 * (3 * 96 + 8);
    let (mut read, mut slowest) = (0, Duration::ZERO);
    for part in 1..10 {
        street.wait("rows come", |street| street.rows() > all * part / 10).await;
        let serial = &street.models[0].meters[1_023 - 100 * part].serial;
        let deadline = Instant::now() + Duration::from_secs(30);
        let asked = Instant::now();
        let answer = street.house.gateway.read(&device, serial, vec![IMPORT], deadline).await;
        assert!(answer.is_ok(), "{serial}: {answer:?}");
        slowest = slowest.max(asked.elapsed());
        read += usize::from(street.rows() < all);
    }
    assert!(read > 5, "the refill was over too soon: nobody read meanwhile");
    street.wait("every gap is filled", |street| street.open_gaps().is_empty()).await;
    street.is_whole();
    let found = street.collection();
    assert_eq!((found.stored, found.missing), (found.expected, 0), "{found:?}");
    assert!(found.refilled >= 1_024 * 3 * 96, "{found:?}");
    assert_eq!(street.house.metric("holdfast_gateway_refill_missing_total", ""), 0.0);
    println!("{} rows in {:?}; on demand at most {slowest:?}", found.refilled, begun.elapsed());
    street.stop().await;
}

/// Rows of acknowledged pushes by the simulator's journal, each once.
fn journalled(path: &Path) -> BTreeSet<(String, i64)> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows = BTreeSet::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for row in line["rows"].as_array().unwrap() {
            rows.insert((row[0].as_str().unwrap().to_owned(), row[1].as_i64().unwrap()));
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_with_dead_meters_and_outages_is_whole_and_its_rate_is_the_formula() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal.jsonl");
    let field = simulator::config::Config {
        concentrators: 50,
        meters: BEHIND_EACH,
        history: Duration::from_secs(86_400 + 7_200),
        faults: vec!["dead-meters:0.01".parse().unwrap(), "outage:0.02".parse().unwrap()],
        journal: Some(journal.clone()),
        outages: Outages::Natural,
        ..field()
    };
    // A dead meter is waited for as long as a slow one.
    let config =
        Config { meter_timeout_ms: 4_000, refill_devices: 16, refill_attempts: 8, ..config() };
    let plan = field.plan();
    let (history_s, hold_s) = (86_400 + 7_200, 6 * 3_600);
    let begin_s = unix_s() - history_s;
    let street = Street::prepare(field, config, |cluster, _| {
        cluster.set(parameters::REFILL_REACH, 0);
    })
    .await;
    let off: BTreeMap<u32, (i64, i64)> = street
        .models
        .iter()
        .filter(|model| plan.plays(Kind::Outage, model.seed))
        .map(|model| (model, outage((begin_s, begin_s + history_s, 900), hold_s, model.seed)))
        .flat_map(|(model, off)| {
            let ordinals = model.meters.iter().map(|meter| street.ordinals[&meter.serial]);
            ordinals.map(move |ordinal| (ordinal, off)).collect::<Vec<_>>()
        })
        .collect();
    // First all that is pushed, so that what is refilled can be told from it.
    let is_pushed = |(ordinal, end_s): &&(u32, i64)| {
        off.get(ordinal).is_none_or(|(off_s, on_s)| *end_s <= *off_s || *end_s > *on_s)
    };
    let truth = street.truth();
    let pushed = truth.keys().filter(is_pushed).count();
    street
        .wait("all is pushed", |street| street.rows() >= pushed && street.stored().len() >= pushed)
        .await;
    street.house.cluster.lock().unwrap().set(parameters::REFILL_REACH, 35);
    let meters = street.models.iter().flat_map(|model| &model.meters);
    let dead = meters.clone().filter(|meter| meter.dead).count();
    let off = off.len() / BEHIND_EACH as usize;
    assert!(off > 0 && dead > 2, "{off} concentrators were off, {dead} meters are dead");
    let is_dead: BTreeSet<String> =
        meters.filter(|meter| meter.dead).map(|meter| meter.serial.clone()).collect();
    street
        .wait("nothing but dead meters is open", |street| {
            street.open_gaps().iter().all(|hole| is_dead.contains(&hole.serial))
        })
        .await;
    street.is_whole();
    // The formula, from the registry, the journal and the meters themselves.
    let due = street.to_s / 900 - street.from_s / 900;
    let owing = 50 * u64::from(BEHIND_EACH);
    let expected = u64::try_from(due).unwrap() * owing;
    let pushed = journalled(&journal);
    let serials: BTreeMap<u32, &String> =
        street.ordinals.iter().map(|(serial, ordinal)| (*ordinal, serial)).collect();
    let first = truth
        .keys()
        .filter(|(ordinal, end_s)| pushed.contains(&(serials[ordinal].clone(), *end_s)));
    let first = first.count() as u64;
    let all = truth.len() as u64;
    let found = street.collection();
    println!("{found:?}, {off} off, {dead} dead");
    assert_eq!((found.expected, found.stored), (expected, all));
    assert_eq!((found.first_pass(), found.refilled, found.brought), (first, all - first, 0));
    assert_eq!(found.rate_ppm(), Some(all * 1_000_000 / expected));
    assert_eq!(found.first_pass_ppm(), Some(first * 1_000_000 / expected));
    assert!(found.refilled > 0, "no outage was filled");
    // What no meter holds was asked for once and is known to be missing, but for the dead.
    let alive = owing - dead as u64;
    assert_eq!(found.missing, alive * (expected / owing) - all);
    street.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_concentrator_still_holds_comes_from_its_store() {
    let field =
        simulator::config::Config { meters: 12, history: Duration::from_secs(86_400), ..field() };
    // Two hours of three meters are lost on their way to the cluster.
    let street = Street::prepare(field, config(), |cluster, from_s| {
        for ordinal in [2, 5, 6] {
            cluster.lose.push((ordinal, from_s + 4 * 3_600, from_s + 6 * 3_600));
        }
    })
    .await;
    street.wait("the concentrator pushes", |street| street.rows() >= 12 * 96 - 24).await;
    street.wait("every gap is filled", |street| street.open_gaps().is_empty()).await;
    street.is_whole();
    let rows = |source| street.house.metric("holdfast_gateway_refill_rows_total", source);
    assert_eq!((rows("store"), rows("meter")), (3.0 * 8.0, 0.0));
    assert_eq!(street.collection().refilled, 3 * 8);
    street.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialled_meter_fills_its_gaps_in_its_own_session() {
    let config = Config { profile_every_s: 1, registers_every_s: 3_600, ..config() };
    let street = crate::field::Field::start(
        &simulator::config::Config { direct: 1, ..crate::field::street() },
        config,
    )
    .await;
    let meter = street.meters().remove(0);
    let first_s = unix_s().div_euclid(900) * 900 - 2 * DAY_S;
    // Two rows were stored, two days ago and now; the time between is missing.
    let device = Device::Meter(meter.serial.clone());
    let access = access_of(&meter);
    let attach = attach_of(&access);
    let now_s = first_s + 2 * DAY_S;
    let epoch = {
        let mut cluster = street.house.cluster.lock().unwrap();
        cluster.set(parameters::REFILL_WAIT, 0);
        let ordinal = cluster.meter(&meter.serial, attach);
        let watermark_s = Some(now_s);
        let access = gateway::MeterAccess { ordinal, watermark_s, ..access };
        cluster.meters.insert(meter.serial.clone(), access);
        let epoch = cluster.claim(device.clone(), Role::Dial);
        cluster.store(ordinal, &device, epoch, &[first_s, now_s]);
        epoch
    };
    street.house.gateway.dial(&meter.serial, epoch).await;
    let window = (first_s - 900, now_s);
    let is_filled = || {
        let cluster = street.house.cluster.lock().unwrap();
        readings::holes(&cluster.view, &device, window, None, 1).unwrap().is_empty()
    };
    let until = Instant::now() + PATIENCE;
    while !is_filled() {
        assert!(Instant::now() < until, "the gaps are not filled in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    {
        let cluster = street.house.cluster.lock().unwrap();
        let found = readings::collection(&cluster.view, first_s, now_s).unwrap();
        assert!(found.refilled >= 2 * 96 - 5 && found.missing == 0, "{found:?}");
        let ends: Vec<i64> = cluster.rows.iter().map(|(_, end_s, ..)| *end_s).collect();
        let once: BTreeSet<i64> = ends.iter().copied().collect();
        assert_eq!(once.len(), ends.len(), "a row came twice");
    }
    street.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meter_that_never_answers_is_given_up() {
    let field = simulator::config::Config {
        meters: 3,
        history: Duration::from_secs(86_400),
        faults: vec!["dead-meters:1".parse().unwrap()],
        ..field()
    };
    let config = Config { meter_timeout_ms: 300, refill_attempts: 2, ..config() };
    let street = Street::start(field, config).await;
    let whole = || street.house.metric("holdfast_gateway_refill_runs_total", "whole");
    // All that is left is nobody's to ask for: the looks end as whole, with the gaps open.
    street.wait("they are given up", |_| whole() > 0.0).await;
    let asked = street.running.tally().get(simulator::tally::Count::MeterRequests);
    let before = whole();
    street.wait("two looks more", |_| whole() >= before + 2.0).await;
    let again = street.running.tally().get(simulator::tally::Count::MeterRequests);
    assert_eq!(asked, again, "given up and asked again");
    assert!(asked >= 3 * 2, "{asked} requests");
    assert_eq!(street.open_gaps().len(), 3);
    assert_eq!(street.collection().missing, 0, "nobody has answered for them");
    street.stop().await;
}
