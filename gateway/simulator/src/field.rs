//! The field: which concentrators and meters there are, with their keys, from one seed.
//!
//! The keys are derived from the seed so that a run can be repeated; that is right for a simulation
//! and for nothing else. Debug output never shows them.
//!
//! Invariants: the same [`FieldConfig`] gives the same field in every process; serials, logical
//! device names and system titles are unique in it, and in fields with other numbers.

use std::fmt;

use cosem::Suite;

use crate::energy::{Day, Flow, Outage, day_of, slot_of};
use crate::mix;
pub use crate::past::Past;
use crate::shapes::Shape;
use crate::suites::{self, Secured};

/// Days of load profile that a meter keeps.
pub const PROFILE_DAYS: i64 = 40;
/// Bit of the row status: the clock is doubtful.
pub const STATUS_CLOCK_DOUBTFUL: u8 = 0x01;
/// Bit of the row status: power failed within the interval.
pub const STATUS_POWER_FAILURE: u8 = 0x04;
/// Seconds that a skewed meter's clock is off.
pub const SKEW_S: i64 = 37;

/// A key of 16 octets of a simulated device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What decides the field.
#[derive(Clone, Debug)]
pub struct FieldConfig {
    /// Seed of everything.
    pub seed: u64,
    /// Number that the first concentrator bears, from 1: it stands in ids, serials and system
    /// titles. The meters with an address of their own stand under the number before it.
    pub first: u32,
    /// Number of concentrators.
    pub concentrators: u32,
    /// Meters behind each concentrator, at most 1024.
    pub meters: u32,
    /// Meters with an address of their own.
    pub direct: u32,
    /// How those authenticate, in turn.
    pub direct_access: Vec<AccessKind>,
    /// Capture period in seconds, a whole number of minutes.
    pub interval_s: u32,
    /// Meters that never answer, in parts per million.
    pub dead_ppm: u32,
    /// Meters whose profile has holes, in parts per million.
    pub gaps_ppm: u32,
    /// Meters whose clock is [`SKEW_S`] off, in parts per million.
    pub skew_ppm: u32,
    /// Whether supply fails now and then.
    pub outages: Outages,
}

/// Whether supply fails now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outages {
    /// As in a real street.
    Natural,
    /// Never: every slot is there, so that expected values can be counted.
    Never,
}

impl Default for FieldConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            first: 1,
            concentrators: 1,
            meters: 50,
            direct: 0,
            direct_access: AccessKind::DEFAULT.to_vec(),
            interval_s: 900,
            dead_ppm: 10_000,
            gaps_ppm: 30_000,
            skew_ppm: 0,
            outages: Outages::Natural,
        }
    }
}

/// A way to authenticate, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// No authentication.
    None,
    /// Low-level security.
    Lls,
    /// HLS 3, 4 or 6: a secret.
    Secret(Hls),
    /// HLS 5.
    Hls5,
    /// Suite 1 or 2.
    Secured(Secured),
}

/// The mechanisms of HLS that prove a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hls {
    /// HLS 3, MD5.
    Md5 = 3,
    /// HLS 4, SHA-1.
    Sha1 = 4,
    /// HLS 6, SHA-256.
    Sha256 = 6,
}

impl AccessKind {
    /// What the direct meters have when nothing is asked for.
    pub const DEFAULT: [Self; 3] = [Self::None, Self::Lls, Self::Hls5];
}

impl std::str::FromStr for AccessKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "lls" => Ok(Self::Lls),
            "hls3" => Ok(Self::Secret(Hls::Md5)),
            "hls4" => Ok(Self::Secret(Hls::Sha1)),
            "hls5" => Ok(Self::Hls5),
            "hls6" => Ok(Self::Secret(Hls::Sha256)),
            _ => Secured::named(text).map(Self::Secured).ok_or_else(|| {
                format!(
                    "`{text}` is not none, lls, hls3, hls4, hls5 or hls6, nor one of hls5, hls7, \
                     signed with -suite1 or -suite2"
                )
            }),
        }
    }
}

/// How a client must prove itself to a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No authentication.
    None,
    /// Low-level security: the secret.
    Lls(Key),
    /// HLS 3, 4 or 6 with a secret; services are not ciphered.
    Secret(Hls, Key),
    /// HLS 5 (GMAC), authenticated and encrypted.
    Hls5,
    /// HLS 5 or 7 in suite 1 or 2, protected as its policy says.
    Secured(Secured),
}

impl Access {
    /// The suite, where services are protected.
    #[must_use]
    pub fn suite(&self) -> Option<Suite> {
        match self {
            Self::None | Self::Lls(_) | Self::Secret(..) => None,
            Self::Hls5 => Some(Suite::Zero),
            Self::Secured(secured) => Some(secured.suite),
        }
    }

    /// The security policy that the meter comes with, in version 1 of the security setup.
    #[must_use]
    pub fn policy(&self) -> u8 {
        match self {
            Self::None | Self::Lls(_) | Self::Secret(..) => 0,
            Self::Hls5 => suites::CIPHERED,
            Self::Secured(secured) => secured.policy,
        }
    }
}

/// A concentrator as it was built and provisioned.
#[derive(Clone, Debug)]
pub struct ConcentratorModel {
    /// Logical device name `HFDSIM%010d`.
    pub ldn: String,
    /// System title.
    pub title: [u8; 8],
    /// Serial number.
    pub serial: String,
    /// Global unicast encryption key.
    pub guek: Key,
    /// Global authentication key.
    pub gak: Key,
    /// A name for people.
    pub name: String,
    /// Seed of its noise.
    pub seed: u64,
    /// Its meters.
    pub meters: Vec<MeterModel>,
}

/// A meter as it was built and provisioned.
#[derive(Clone, Debug)]
pub struct MeterModel {
    /// Serial number, also its address behind a concentrator.
    pub serial: String,
    /// System title.
    pub title: [u8; 8],
    /// Global unicast encryption key.
    pub guek: Key,
    /// Global authentication key.
    pub gak: Key,
    /// Key-encryption key: what new keys come wrapped in.
    pub kek: Key,
    /// Password of the reading client, which may read and change nothing.
    pub reader: Key,
    /// How the managing client authenticates.
    pub access: Access,
    /// Type name: the name of the meter model that fits.
    pub model: &'static str,
    /// One phase or three.
    pub phases: u8,
    /// Reactive energy of active energy, in parts per thousand.
    pub reactive_ppk: u64,
    /// Whether it never answers and captures nothing.
    pub dead: bool,
    /// Seconds that its clock is ahead.
    pub skew_s: i64,
    /// Seed of its noise.
    pub seed: u64,
    gappy: bool,
    outages: bool,
    import: Flow,
    export: Option<Flow>,
}

/// One captured row of the load profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// End of the interval by the meter's clock, seconds UTC.
    pub end_s: i64,
    /// Status bits as in the concentrator's protocol.
    pub status: u8,
    /// Register A+ in Wh.
    pub import_wh: u64,
    /// Register A- in Wh; `None` for a meter without generation.
    pub export_wh: Option<u64>,
}

/// All concentrators of a configuration.
#[must_use]
pub fn concentrators(config: &FieldConfig) -> Vec<ConcentratorModel> {
    (0..config.concentrators)
        .map(|place| concentrator(config, config.first.saturating_add(place)))
        .collect()
}

/// Concentrator `number` (from 1).
#[must_use]
pub fn concentrator(config: &FieldConfig, number: u32) -> ConcentratorModel {
    let ldn = format!("HFDSIM{number:010}");
    let secret = secrets(config.seed, &ldn);
    ConcentratorModel {
        title: title(number, 0),
        serial: format!("DCU{number:08}"),
        guek: secret.0,
        gak: secret.1,
        name: format!("Transformer station {number}"),
        seed: mix::at(config.seed, 11, u64::from(number)),
        meters: (1..=config.meters).map(|m| meter(config, number, m, Access::Hls5)).collect(),
        ldn,
    }
}

/// Meters with an address of their own; they authenticate as asked for, in turn.
#[must_use]
pub fn direct_meters(config: &FieldConfig) -> Vec<MeterModel> {
    (1..=config.direct)
        .map(|number| {
            let lls = password(secrets(config.seed, &format!("lls {number}")).0);
            let kinds = &config.direct_access;
            let kind = kinds.get((number as usize - 1) % kinds.len().max(1));
            let access = match kind.unwrap_or(&AccessKind::Hls5) {
                AccessKind::None => Access::None,
                AccessKind::Lls => Access::Lls(lls),
                AccessKind::Secret(hls) => Access::Secret(*hls, lls),
                AccessKind::Hls5 => Access::Hls5,
                AccessKind::Secured(secured) => Access::Secured(*secured),
            };
            meter(config, config.first.saturating_sub(1), number, access)
        })
        .collect()
}

fn meter(config: &FieldConfig, concentrator: u32, number: u32, access: Access) -> MeterModel {
    let serial = format!("HFD{concentrator:05}{number:05}");
    let (guek, gak) = secrets(config.seed, &serial);
    let (kek, reader) = secrets(config.seed, &format!("kek {serial}"));
    let place = u64::from(concentrator) << 32 | u64::from(number);
    let seed = mix::at(config.seed, 12, place);
    let draw = |purpose: u64| mix::at(seed, 20 + purpose, 0);
    let (shape, annual_wh) = match mix::between(draw(1), 0, 99) {
        0..=87 => (
            Shape::Household((draw(2) >> 20) as u8 % 3),
            mix::between(draw(3), 1_100_000, 5_200_000),
        ),
        88..=94 => (Shape::Business, mix::between(draw(3), 6_000_000, 30_000_000)),
        _ => (Shape::Farm, mix::between(draw(3), 8_000_000, 40_000_000)),
    };
    let solar = mix::happens(draw(4), 150_000);
    let panel = Shape::Solar((draw(5) >> 20) as u8 % 2);
    let yearly = mix::between(draw(6), 2_500_000, 9_500_000);
    // Whatever needs much power has three phases, and one household in four.
    let three = !matches!(shape, Shape::Household(_)) || mix::happens(draw(12), 250_000);
    let export = solar.then(|| Flow::new(draw(7), seed, panel, yearly, 0));
    MeterModel {
        title: title(concentrator, number),
        guek,
        gak,
        kek,
        reader: password(reader),
        access,
        model: if three { "three-phase" } else { "single-phase" },
        phases: if three { 3 } else { 1 },
        reactive_ppk: mix::between(draw(13), 120, 380),
        dead: mix::happens(draw(8), config.dead_ppm),
        skew_s: if mix::happens(draw(9), config.skew_ppm) { SKEW_S } else { 0 },
        seed,
        gappy: mix::happens(draw(10), config.gaps_ppm),
        outages: config.outages == Outages::Natural,
        import: Flow::new(seed, seed, shape, annual_wh, mix::between(draw(11), 0, 9_000_000)),
        export,
        serial,
    }
}

/// Passwords of real meters are text.
fn password(secret: Key) -> Key {
    Key(secret.0.map(|octet| b'a' + octet % 26))
}

/// GUEK and GAK of a device, derived from the seed.
fn secrets(seed: u64, name: &str) -> (Key, Key) {
    let mut hasher = blake3::Hasher::new_derive_key("holdfast simulator device keys v1");
    hasher.update(&seed.to_be_bytes());
    hasher.update(name.as_bytes());
    let (mut guek, mut gak) = ([0; 16], [0; 16]);
    let mut reader = hasher.finalize_xof();
    reader.fill(&mut guek);
    reader.fill(&mut gak);
    (Key(guek), Key(gak))
}

/// `HFD`, then 20 bits of concentrator and 20 of meter: unique in a field.
fn title(concentrator: u32, meter: u32) -> [u8; 8] {
    let number = u64::from(concentrator & 0xF_FFFF) << 20 | u64::from(meter & 0xF_FFFF);
    let octets = number.to_be_bytes();
    [b'H', b'F', b'D', octets[3], octets[4], octets[5], octets[6], octets[7]]
}

impl MeterModel {
    /// A player over this meter's rows, which keeps the day it last reckoned.
    #[must_use]
    pub fn player(&self) -> Player<'_> {
        self.player_after(&NO_PAST)
    }

    /// As `player`, for a meter to which something happened.
    #[must_use]
    pub fn player_after<'a>(&'a self, past: &'a Past) -> Player<'a> {
        Player { meter: self, past, import: None, export: None }
    }

    /// A+ and A- in mWh at a time, as if its switch had never been opened.
    #[must_use]
    pub fn flows_mwh(&self, at_s: i64) -> [u64; 2] {
        let register = |flow: &Flow| flow.register_mwh(at_s, self.outages);
        [register(&self.import), self.export.as_ref().map_or(0, register)]
    }

    /// When supply was away within a time, as (from, to), oldest first; at most `most`.
    #[must_use]
    pub fn outages_within(&self, from_s: i64, to_s: i64, most: usize) -> Vec<(i64, i64)> {
        if !self.outages {
            return Vec::new();
        }
        let days = day_of(from_s)..=day_of(to_s);
        let mut found: Vec<(i64, i64)> = days
            .rev()
            .filter_map(|day| Outage::of(self.seed, day).span(day))
            .filter(|(from, to)| *from >= from_s && *to <= to_s)
            .take(most)
            .collect();
        found.reverse();
        found
    }

    /// Whether the meter measures generation too.
    #[must_use]
    pub fn bidirectional(&self) -> bool {
        self.export.is_some()
    }

    fn lost(&self, end_s: i64) -> bool {
        if !self.gappy {
            return false;
        }
        let noise = mix::at(self.seed, 32, day_of(end_s));
        if !mix::happens(noise, 300_000) {
            return false;
        }
        let first = mix::between(mix::word(noise), 0, 86) as usize;
        let slots = mix::between(mix::word(!noise), 1, 9) as usize;
        (first..first + slots).contains(&slot_of(end_s))
    }

    fn unsupplied(&self, end_s: i64) -> bool {
        self.outages && Outage::of(self.seed, day_of(end_s)).covers(slot_of(end_s))
    }
}

/// A meter to which nothing happened.
static NO_PAST: std::sync::LazyLock<Past> = std::sync::LazyLock::new(Past::default);

/// Reads rows of one meter; cheap when they come in order of time.
#[derive(Debug)]
pub struct Player<'a> {
    meter: &'a MeterModel,
    past: &'a Past,
    import: Option<Day>,
    export: Option<Day>,
}

impl Player<'_> {
    /// The row of the interval that ends at `end_s` by true time, or `None` where the meter
    /// captured nothing. A skewed meter stamps its row with its own clock.
    pub fn row(&mut self, end_s: i64, interval_s: u32) -> Option<Row> {
        let meter = self.meter;
        if meter.dead || meter.lost(end_s) || meter.unsupplied(end_s) {
            return None;
        }
        let skew_s = self.past.offset_s(end_s, meter.skew_s);
        let mut status = 0;
        if meter.unsupplied(end_s - i64::from(interval_s)) {
            status |= STATUS_POWER_FAILURE;
        }
        if skew_s != 0 {
            status |= STATUS_CLOCK_DOUBTFUL;
        }
        let [import_wh, export_wh] = self.registers_wh(end_s);
        let export_wh = meter.bidirectional().then_some(export_wh);
        Some(Row { end_s: end_s + skew_s, status, import_wh, export_wh })
    }

    /// A+ and A- in Wh at a time.
    pub fn registers_wh(&mut self, at_s: i64) -> [u64; 2] {
        let meter = self.meter;
        let mut mwh = [register(&meter.import, &mut self.import, at_s, meter.outages), 0];
        if let Some(flow) = &meter.export {
            mwh[1] = register(flow, &mut self.export, at_s, meter.outages);
        }
        if !self.past.is_untouched() {
            let back = self.past.kept_back(at_s, |at| meter.flows_mwh(at));
            mwh = [mwh[0].saturating_sub(back[0]), mwh[1].saturating_sub(back[1])];
        }
        mwh.map(|register| register / 1_000)
    }
}

fn register(flow: &Flow, day: &mut Option<Day>, at_s: i64, outages: bool) -> u64 {
    match day {
        Some(day) if day.holds(at_s) => day.register_mwh(at_s),
        _ => day.insert(Day::of(flow, day_of(at_s), outages)).register_mwh(at_s),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{FieldConfig, Outages, concentrators, direct_meters};

    const NOV: i64 = 1_795_305_600;

    #[test]
    fn the_same_seed_gives_the_same_field_and_another_does_not() {
        let config = FieldConfig { concentrators: 2, meters: 20, ..FieldConfig::default() };
        let (one, two) = (concentrators(&config), concentrators(&config));
        let other = concentrators(&FieldConfig { seed: 2, ..config });
        assert_eq!(one[1].guek, two[1].guek);
        assert_ne!(one[1].guek, other[1].guek);
        for end in (NOV..NOV + 86_400).step_by(900) {
            let row = one[1].meters[3].player().row(end, 900);
            assert_eq!(row, two[1].meters[3].player().row(end, 900));
        }
        assert!(!format!("{:?}", one[0]).contains(&format!("{:?}", one[0].guek.0)));
    }

    #[test]
    fn names_are_unique() {
        let config =
            FieldConfig { concentrators: 15, meters: 100, direct: 25, ..FieldConfig::default() };
        let beside = FieldConfig { first: 17, ..config.clone() };
        let both = [config, beside];
        let field: Vec<_> = both.iter().flat_map(concentrators).collect();
        let direct: Vec<_> = both.iter().flat_map(direct_meters).collect();
        let meters = || field.iter().flat_map(|c| &c.meters).chain(&direct);
        let serials: BTreeSet<_> = meters().map(|m| &m.serial).collect();
        let titles: BTreeSet<_> =
            meters().map(|m| m.title).chain(field.iter().map(|c| c.title)).collect();
        assert_eq!((serials.len(), titles.len()), (3_050, 3_080));
        assert!(field.iter().all(|c| c.ldn.len() == 16));
    }

    #[test]
    fn a_street_has_its_gaps_and_a_perfect_one_has_none() {
        let natural = FieldConfig { concentrators: 4, meters: 500, ..FieldConfig::default() };
        let perfect =
            FieldConfig { dead_ppm: 0, gaps_ppm: 0, outages: Outages::Never, ..natural.clone() };
        let count = |config: &FieldConfig| {
            let field = concentrators(config);
            let mut rows = 0_u32;
            for meter in field.iter().flat_map(|c| &c.meters) {
                let mut player = meter.player();
                rows += (1..=96).filter_map(|s| player.row(NOV + s * 900, 900)).count() as u32;
            }
            let dead = field.iter().flat_map(|c| &c.meters).filter(|m| m.dead).count();
            (rows, dead)
        };
        assert_eq!(count(&perfect), (2_000 * 96, 0));
        let (rows, dead) = count(&natural);
        assert!((8..40).contains(&dead), "{dead} dead of 2000");
        let missing = 2_000 * 96 - rows - dead as u32 * 96;
        assert!((10..600).contains(&missing), "{missing} slots missing");
    }
}
