//! The gateway and the simulator's meters over sockets: every way to prove oneself, every
//! protection, and what a meter with a fault looks like from here.

use std::time::{Duration, Instant};

use domain::assets::{Attach, Authentication, Policy, Security, Suite, Wrapping};
use domain::commands::{Attribute, Failure, Read, Value};
use domain::leases::Role;
use domain::{Device, Obis};
use gateway::{Config, MeterAccess, MeterCredentials, MeterKeys};
use simulator::field::Outages;
use simulator::registry::MeterEntry;
use simulator::run::Running;
use zeroize::Zeroizing;

use crate::direct::now_slot;
use crate::support::{House, access, house_now};

pub const IMPORT: Attribute = Attribute { class: 3, obis: Obis::ACTIVE_IMPORT, attribute: 2 };
/// Longest wait on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Meters of the simulator with addresses of their own, and a gateway that reads only on demand.
pub struct Field {
    pub house: House,
    pub running: Running,
}

/// A perfect field by the time of the day; its profiles go back forty days.
pub fn street() -> simulator::config::Config {
    simulator::config::Config {
        concentrators: 0,
        seed: 42,
        outages: Outages::Never,
        direct_listen: Some("127.0.0.1:0".parse().unwrap()),
        ..simulator::config::Config::default()
    }
}

/// Nothing is read by itself; a meter is given up soon, and only for that time.
pub fn on_demand() -> Config {
    Config {
        dial_backoff_first_ms: 60_000,
        dial_backoff_cap_ms: 60_000,
        meter_timeout_ms: 4_000,
        line_answer_timeout_ms: 2_000,
        ..Config::for_test()
    }
}

impl Field {
    pub async fn start(street: &simulator::config::Config, config: Config) -> Self {
        let running = Running::start(street).await.unwrap();
        Self { house: house_now(config).await, running }
    }

    pub fn meters(&self) -> Vec<MeterEntry> {
        self.running.registry().meters.clone()
    }

    /// Registers a meter as the field's registry has it, and changed by the test.
    pub async fn dial(&self, entry: &MeterEntry, change: impl FnOnce(&mut MeterAccess)) -> Device {
        let mut access = access_of(entry);
        change(&mut access);
        let attach = attach_of(&access);
        let device = Device::Meter(entry.serial.clone());
        let epoch = {
            let mut cluster = self.house.cluster.lock().unwrap();
            access.ordinal = cluster.meter(&entry.serial, attach);
            cluster.meters.insert(entry.serial.clone(), access);
            cluster.claim(device.clone(), Role::Dial)
        };
        self.house.gateway.dial(&entry.serial, epoch).await;
        device
    }

    pub async fn read(&self, entry: &MeterEntry, what: Attribute) -> Result<Read, Failure> {
        let device = Device::Meter(entry.serial.clone());
        let deadline = Instant::now() + PATIENCE;
        let reads = self.house.gateway.read(&device, &entry.serial, vec![what], deadline).await?;
        Ok(reads[0].clone())
    }

    /// Rows of the load profile of the last three hours.
    async fn rows(&self, entry: &MeterEntry) -> Result<usize, Failure> {
        let device = Device::Meter(entry.serial.clone());
        let (to_s, deadline) = (now_slot(), Instant::now() + PATIENCE);
        let (serial, obis) = (&entry.serial, Obis::LOAD_PROFILE);
        let read =
            self.house.gateway.read_profile(&device, serial, obis, to_s - 11 * 900, to_s, deadline);
        Ok(read.await?.rows.len())
    }

    pub async fn stop(self) {
        self.house.gateway.stop(Duration::from_secs(5)).await;
        self.running.kill().await;
    }
}

fn octets(hex: &str) -> Zeroizing<Vec<u8>> {
    let pairs = (0..hex.len() / 2).map(|at| &hex[2 * at..2 * at + 2]);
    Zeroizing::new(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect())
}

/// How a meter with this access is attached.
pub fn attach_of(access: &MeterAccess) -> Attach {
    Attach::Direct {
        address: access.address.clone().unwrap(),
        client_sap: access.client_sap,
        server_sap: access.server_sap,
        authentication: access.authentication,
        security: access.security,
        system_title: None,
    }
}

pub fn access_of(entry: &MeterEntry) -> MeterAccess {
    let key = |text: &Option<String>| text.as_deref().map(octets);
    let authentication = match entry.authentication.as_str() {
        "none" => Authentication::None,
        "lls" => Authentication::Lls,
        "hls3" => Authentication::Hls3,
        "hls4" => Authentication::Hls4,
        "hls5" => Authentication::Hls5,
        "hls6" => Authentication::Hls6,
        "hls7" => Authentication::Hls7,
        other => panic!("{other}"),
    };
    let policy = entry.policy.as_deref().and_then(|text| text.strip_prefix("v1:"));
    let policy = policy.map(|bits| Policy(u8::from_str_radix(bits, 16).unwrap()));
    let keys = key(&entry.guek).zip(key(&entry.gak));
    MeterAccess {
        address: entry.address.clone(),
        client_sap: entry.client_sap,
        server_sap: entry.server_sap,
        authentication,
        security: Security {
            suite: Suite::of(entry.suite).unwrap(),
            policy: policy.unwrap_or_default(),
            ..Security::default()
        },
        secret: key(&entry.lls_secret),
        keys: keys.map(|(guek, gak)| MeterKeys { guek, gak }),
        credentials: MeterCredentials {
            kek: key(&entry.kek),
            signing: key(&entry.signing_key),
            peer_signing: key(&entry.meter_signing_key),
            ..MeterCredentials::default()
        },
        ..access(0, Authentication::None)
    }
}

fn of_kinds(kinds: &[&str]) -> simulator::config::Config {
    simulator::config::Config {
        direct: u32::try_from(kinds.len()).unwrap(),
        direct_access: kinds.iter().map(|kind| kind.parse().unwrap()).collect(),
        ..street()
    }
}

fn energy(read: &Read) -> u64 {
    match read.value {
        Value::Unsigned(value) => value,
        ref other => panic!("{other:?}"),
    }
}

const KINDS: [&str; 12] = [
    "none",
    "lls",
    "hls3",
    "hls4",
    "hls5",
    "hls6",
    "hls5-suite1",
    "hls5-suite2",
    "hls7-suite1",
    "hls7-suite2",
    "signed-suite1",
    "signed-suite2",
];

#[tokio::test]
async fn every_way_to_prove_oneself_reads_a_register_and_a_profile() {
    let field = Field::start(&of_kinds(&KINDS), on_demand()).await;
    for (entry, kind) in field.meters().iter().zip(KINDS) {
        field.dial(entry, |_| ()).await;
        let read = field.read(entry, IMPORT).await.unwrap_or_else(|e| panic!("{kind}: {e:?}"));
        assert!(energy(&read) > 0, "{kind}");
        assert_eq!(field.rows(entry).await, Ok(12), "{kind}");
    }
    field.stop().await;
}

#[tokio::test]
async fn every_wrapping_is_taken_with_and_without_a_dedicated_key() {
    let kinds = ["hls5", "hls5-suite2", "signed-suite1"];
    for wrapping in [Wrapping::Service, Wrapping::General, Wrapping::Ciphering] {
        for dedicated_key in [false, true] {
            let field = Field::start(&of_kinds(&kinds), on_demand()).await;
            for (entry, kind) in field.meters().iter().zip(kinds) {
                let change = |access: &mut MeterAccess| {
                    (access.security.wrapping, access.security.dedicated_key) =
                        (wrapping, dedicated_key);
                };
                field.dial(entry, change).await;
                let read = field.read(entry, IMPORT).await;
                assert!(read.is_ok(), "{kind} {wrapping:?} {dedicated_key}: {read:?}");
            }
            field.stop().await;
        }
    }
}

#[tokio::test]
async fn whoever_has_the_wrong_key_or_too_weak_a_policy_is_refused() {
    let kinds = ["lls", "hls3", "hls6", "hls7-suite1", "hls5", "signed-suite1"];
    let field = Field::start(&of_kinds(&kinds), on_demand()).await;
    for (entry, kind) in field.meters().iter().zip(kinds) {
        let change = |access: &mut MeterAccess| match kind {
            // A signing key of somebody else, though one of the curve.
            "hls7-suite1" => access.credentials.signing = Some(Zeroizing::new(vec![1; 32])),
            // Requests that the meter demands to be ciphered, or signed.
            "hls5" => access.security.policy = Policy(0),
            "signed-suite1" => access.security.policy = Policy(0x6c),
            _ => access.secret = Some(Zeroizing::new(b"not the secret".to_vec())),
        };
        field.dial(entry, change).await;
        let read = field.read(entry, IMPORT).await;
        let refused = matches!(read, Err(Failure::Rejected(_) | Failure::Security(_)));
        assert!(refused, "{kind}: {read:?}");
    }
    field.stop().await;
}

/// Reads until it works, and gives the failures before.
async fn until_read(field: &Field, entry: &MeterEntry) -> Vec<Failure> {
    let until = Instant::now() + PATIENCE;
    let mut failures = Vec::new();
    loop {
        match field.read(entry, IMPORT).await {
            Ok(_) => return failures,
            Err(failure) => failures.push(failure),
        }
        assert!(Instant::now() < until, "never again: {:?}", failures.last());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Each fault is played on every fourth answer: some reads fail as they should, every meter is
/// read again, and no wrong value comes through.
#[tokio::test]
async fn what_is_wrong_with_an_answer_is_told_and_the_meter_is_read_again() {
    for fault in
        ["answer-tag", "answer-counter", "answer-replay", "half-frame", "meter-restart", "busy"]
    {
        let street = simulator::config::Config {
            faults: vec![fault.parse().unwrap()],
            fault_hold: Duration::from_millis(200),
            ..of_kinds(&["hls5"])
        };
        let config = Config { meter_timeout_ms: 500, ..on_demand() };
        let field = Field::start(&street, config).await;
        let entry = &field.meters()[0];
        field.dial(entry, |_| ()).await;
        let mut failures = Vec::new();
        for _ in 0..4 {
            failures.extend(until_read(&field, entry).await);
        }
        let kind = fault.parse::<simulator::fault::Fault>().unwrap().kind;
        assert!(field.running.tally().faults(kind) > 0, "{fault} was never played");
        // A meter that is busy for a moment is asked again within the same piece of work.
        assert!(fault != "busy" || failures.is_empty(), "{failures:?}");
        for failure in &failures {
            let known = matches!(
                failure,
                Failure::NoAnswer
                    | Failure::ChannelLost
                    | Failure::Rejected(_)
                    | Failure::Security(_)
                    | Failure::Malformed(_)
            );
            assert!(known, "{fault}: {failure:?}");
        }
        field.stop().await;
    }
}

#[tokio::test]
async fn a_late_answer_and_a_skewed_clock_are_read_all_the_same() {
    for fault in ["late-answer", "clock-skew:1", "junk"] {
        let street = simulator::config::Config {
            faults: vec![fault.parse().unwrap()],
            fault_hold: Duration::from_millis(400),
            ..of_kinds(&["hls5"])
        };
        let field = Field::start(&street, on_demand()).await;
        let entry = &field.meters()[0];
        field.dial(entry, |_| ()).await;
        for _ in 0..4 {
            assert!(energy(&field.read(entry, IMPORT).await.unwrap()) > 0, "{fault}");
        }
        if fault.starts_with("clock-skew") {
            let clock = Attribute { class: 8, obis: Obis([0, 0, 1, 0, 0, 255]), attribute: 2 };
            let now_s = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
            let before = now_s();
            let read = field.read(entry, clock).await.unwrap();
            let Value::Time { utc_s: Some(utc_s), .. } = read.value else { panic!("{read:?}") };
            // The meter is 37 seconds ahead, whenever within the read it looked.
            let ahead = (before + 37 - 1..=now_s() + 37 + 1).contains(&utc_s);
            assert!(ahead, "{utc_s} around {before}");
        }
        field.stop().await;
    }
}
