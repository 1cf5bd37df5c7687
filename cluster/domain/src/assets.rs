//! Assets: which concentrators and meters there are, and how each meter is reached.
//!
//! Invariants: 1. An ordinal is given once and never reused. 2. A serial, a logical device name
//! and a system title each belong to one thing, retired ones included. 3. To register the very
//! same thing again is no change.

mod access;

use serde::{Deserialize, Serialize};

pub use self::access::{Authentication, Policy, Security, Suite, Wrapping};
use crate::apply::table::{END, Key, Pair, Typed, after, end_of};
use crate::apply::{Done, Effect, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::units::{Address, Device, Stamp};
use crate::{clocks, registry};

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A concentrator may log in from now on.
    RegisterConcentrator {
        /// Logical device name, ASCII, 1 to 16 octets.
        id: String,
        /// DLMS system title: the first half of its nonces.
        system_title: [u8; 8],
        /// What people call it, up to 128 octets.
        name: String,
    },
    /// A meter may be read from now on. Answers its ordinal.
    RegisterMeter {
        /// 1 to 32 of A-Z, a-z, 0-9 and -.
        serial: String,
        /// How it is reached.
        attach: Attach,
        /// Its model, up to 64 octets.
        model: String,
    },
    /// It is gone for good; its data stay.
    Retire {
        /// Which.
        device: Device,
    },
}

/// How a meter is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "access::Stored", into = "access::Stored")]
pub enum Attach {
    /// Through a concentrator.
    Behind {
        /// Its logical device name.
        concentrator: String,
    },
    /// At an address of its own: it is dialled.
    Direct {
        /// Text of an [`Address`].
        address: String,
        /// Client service access point (wPort), 16 for a public client.
        client_sap: u16,
        /// Server service access point, usually 1.
        server_sap: u16,
        /// How to log in.
        authentication: Authentication,
        /// How services are protected.
        security: Security,
        /// Its system title, when known beforehand.
        system_title: Option<[u8; 8]>,
    },
}

/// A concentrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concentrator {
    /// Logical device name.
    pub id: String,
    /// DLMS system title.
    pub system_title: [u8; 8],
    /// What people call it.
    pub name: String,
    /// Since when it is known.
    pub registered: Stamp,
    /// Since when it is gone.
    pub retired: Option<Stamp>,
}

/// A meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// Its serial.
    pub serial: String,
    /// Its place in every column; never reused.
    pub ordinal: u32,
    /// How it is reached.
    pub attach: Attach,
    /// Its model.
    pub model: String,
    /// Since when it is known.
    pub registered: Stamp,
    /// Since when it is gone.
    pub retired: Option<Stamp>,
}

/// What every batch needs to know of the meter of an ordinal, in one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its serial.
    pub serial: String,
    /// By whose channel its values come.
    pub device: Device,
}

/// How many there are, retired ones left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Concentrators.
    pub concentrators: u32,
    /// Meters, behind concentrators or not.
    pub meters: u32,
}

static CONCENTRATORS: Typed<str, Concentrator> = Typed::new(Table::Concentrators);
static METERS: Typed<str, Meter> = Typed::new(Table::Meters);
static ORDINALS: Typed<u32, Place> = Typed::new(Table::Ordinals);
static BEHIND: Typed<Pair<'_, Device, str>, ()> = Typed::new(Table::Behind);
static TITLES: Typed<[u8; 8], Device> = Typed::new(Table::Titles);
static COUNTS: Typed<str, u32> = Typed::new(Table::AssetCounts);

/// Row of [`COUNTS`]: ordinals given so far, and so the next one.
const ORDINALS_GIVEN: &str = "ordinals";

/// Row of [`COUNTS`]: meters that are not retired.
const METERS_ACTIVE: &str = "meters";

/// Row of [`COUNTS`]: concentrators that are not retired.
const CONCENTRATORS_ACTIVE: &str = "concentrators";

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::RegisterConcentrator { id, system_title, name } => {
            register_concentrator(tx, id, system_title, name)
        }
        Change::RegisterMeter { serial, attach, model } => {
            register_meter(tx, serial, attach, model)
        }
        Change::Retire { device } => retire(tx, device),
    }
}

fn register_concentrator(
    tx: &mut Tx<'_>,
    id: &str,
    system_title: &[u8; 8],
    name: &str,
) -> Result<Done, Stop> {
    if id.is_empty() || id.len() > 16 || !id.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(refuse("bad_concentrator_id", "1 to 16 printable ASCII octets, no space"));
    }
    if name.len() > 128 {
        return Err(refuse("bad_name", "a name has at most 128 octets"));
    }
    if let Some(known) = CONCENTRATORS.get(tx, id)? {
        let same =
            known.system_title == *system_title && known.name == name && known.retired.is_none();
        return if same { Ok(Done::Noted) } else { Err(refuse("concentrator_exists", id)) };
    }
    take_title(tx, system_title, &Device::Concentrator(id.to_owned()))?;
    let concentrator = Concentrator {
        id: id.to_owned(),
        system_title: *system_title,
        name: name.to_owned(),
        registered: tx.stamp,
        retired: None,
    };
    CONCENTRATORS.put(tx, id, &concentrator)?;
    count(tx, CONCENTRATORS_ACTIVE, 1)?;
    registry::note(tx, registry::Changed::Device(Device::Concentrator(id.to_owned())))?;
    tx.wake(Effect::ConcentratorRegistered { id: id.to_owned() });
    Ok(Done::Noted)
}

fn register_meter(
    tx: &mut Tx<'_>,
    serial: &str,
    attach: &Attach,
    model: &str,
) -> Result<Done, Stop> {
    check_meter(serial, model)?;
    if let Some(known) = METERS.get(tx, serial)? {
        let same = known.attach == *attach && known.model == model && known.retired.is_none();
        let ordinal = known.ordinal;
        return if same {
            Ok(Done::Meter { ordinal })
        } else {
            Err(refuse("meter_exists", serial))
        };
    }
    let device = check_attach(tx, serial, attach)?;
    let ordinal = COUNTS.get(tx, ORDINALS_GIVEN)?.unwrap_or(0);
    let Some(next) = ordinal.checked_add(1) else {
        return Err(refuse("ordinals_exhausted", serial));
    };
    COUNTS.put(tx, ORDINALS_GIVEN, &next)?;
    count(tx, METERS_ACTIVE, 1)?;
    BEHIND.put(tx, &Pair(&device, serial), &())?;
    ORDINALS.put(tx, &ordinal, &Place { serial: serial.to_owned(), device })?;
    let meter = Meter {
        serial: serial.to_owned(),
        ordinal,
        attach: attach.clone(),
        model: model.to_owned(),
        registered: tx.stamp,
        retired: None,
    };
    METERS.put(tx, serial, &meter)?;
    registry::note(tx, registry::Changed::Device(Device::Meter(serial.to_owned())))?;
    tx.wake(Effect::MeterRegistered { serial: serial.to_owned(), ordinal });
    Ok(Done::Meter { ordinal })
}

fn check_meter(serial: &str, model: &str) -> Result<(), Stop> {
    let letters = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    if serial.is_empty() || serial.len() > 32 || !serial.bytes().all(letters) {
        return Err(refuse("bad_serial", "1 to 32 of A-Z, a-z, 0-9 and -"));
    }
    if model.len() > 64 {
        return Err(refuse("bad_name", "a model has at most 64 octets"));
    }
    Ok(())
}

/// Checks how a meter is to be reached. Gives the device by whose channel it is.
fn check_attach(tx: &mut Tx<'_>, serial: &str, attach: &Attach) -> Result<Device, Stop> {
    match attach {
        Attach::Behind { concentrator } => match CONCENTRATORS.get(tx, concentrator)? {
            Some(known) if known.retired.is_none() => Ok(Device::Concentrator(known.id)),
            Some(_) => Err(refuse("retired", concentrator)),
            None => Err(refuse("unknown_concentrator", concentrator)),
        },
        Attach::Direct { address, authentication, security, system_title, .. } => {
            Address::parse(address)?;
            access::check(*authentication, security, system_title.as_ref())?;
            let device = Device::Meter(serial.to_owned());
            if let Some(title) = system_title {
                take_title(tx, title, &device)?;
            }
            Ok(device)
        }
    }
}

/// A system title is half of every nonce: two devices with one title would share nonces.
fn take_title(tx: &mut Tx<'_>, title: &[u8; 8], device: &Device) -> Result<(), Stop> {
    if let Some(owner) = TITLES.get(tx, title)? {
        return Err(refuse("system_title_taken", owner.to_string()));
    }
    TITLES.put(tx, title, device)?;
    Ok(())
}

fn retire(tx: &mut Tx<'_>, device: &Device) -> Result<Done, Stop> {
    match device {
        Device::Concentrator(id) => {
            let Some(mut known) = CONCENTRATORS.get(tx, id)? else {
                return Err(refuse("unknown_concentrator", id));
            };
            if known.retired.is_some() {
                return Ok(Done::Noted);
            }
            if let Some(meter) = active_behind(tx, id)? {
                return Err(refuse("has_meters", format!("{meter} stands behind {id}")));
            }
            known.retired = Some(tx.stamp);
            CONCENTRATORS.put(tx, id, &known)?;
            count(tx, CONCENTRATORS_ACTIVE, -1)?;
        }
        Device::Meter(serial) => {
            let Some(mut known) = METERS.get(tx, serial)? else {
                return Err(refuse("unknown_meter", serial));
            };
            if known.retired.is_some() {
                return Ok(Done::Noted);
            }
            known.retired = Some(tx.stamp);
            METERS.put(tx, serial, &known)?;
            BEHIND.delete(tx, &Pair(&known.device(), serial));
            count(tx, METERS_ACTIVE, -1)?;
        }
    }
    clocks::retired(tx, device)?;
    registry::note(tx, registry::Changed::Device(device.clone()))?;
    tx.wake(Effect::Retired { device: device.clone() });
    Ok(Done::Noted)
}

fn count(tx: &mut Tx<'_>, what: &str, step: i32) -> Result<(), Fault> {
    let before = COUNTS.get(tx, what)?.unwrap_or(0);
    COUNTS.put(tx, what, &before.saturating_add_signed(step))
}

fn active_behind(view: &dyn View, concentrator: &str) -> Result<Option<String>, Fault> {
    Ok(serials_behind(view, concentrator, None, 1)?.pop())
}

/// A concentrator by its logical device name, retired ones included.
pub fn concentrator(view: &dyn View, id: &str) -> Result<Option<Concentrator>, Fault> {
    CONCENTRATORS.get(view, id)
}

/// At most `limit` concentrators behind `behind` in order of their names, retired ones included.
pub fn concentrators(
    view: &dyn View,
    behind: Option<&str>,
    limit: usize,
) -> Result<Vec<Concentrator>, Fault> {
    let from = behind.map_or_else(Vec::new, |id| after(id.as_bytes()));
    let rows = CONCENTRATORS.scan(view, &from, END, limit)?;
    Ok(rows.into_iter().map(|(_, concentrator)| concentrator).collect())
}

/// A meter by its serial, retired ones included.
pub fn meter(view: &dyn View, serial: &str) -> Result<Option<Meter>, Fault> {
    METERS.get(view, serial)
}

/// At most `limit` meters behind `behind` in order of their serials, retired ones included.
pub fn meters(view: &dyn View, behind: Option<&str>, limit: usize) -> Result<Vec<Meter>, Fault> {
    let from = behind.map_or_else(Vec::new, |serial| after(serial.as_bytes()));
    let rows = METERS.scan(view, &from, END, limit)?;
    Ok(rows.into_iter().map(|(_, meter)| meter).collect())
}

/// At most `limit` active meters behind a concentrator and behind `behind`, in order of serials.
pub fn meters_of(
    view: &dyn View,
    concentrator: &str,
    behind: Option<&str>,
    limit: usize,
) -> Result<Vec<Meter>, Fault> {
    let mut meters = Vec::new();
    for serial in serials_behind(view, concentrator, behind, limit)? {
        meters.extend(meter(view, &serial)?);
    }
    Ok(meters)
}

/// At most `limit` active meters with addresses of their own behind `behind`, in order of serials.
pub fn direct_meters(
    view: &dyn View,
    behind: Option<&str>,
    limit: usize,
) -> Result<Vec<Meter>, Fault> {
    let all = Device::Meter(String::new()).octets();
    let kind = all.get(..1).unwrap_or_default();
    // A meter stands behind itself: kind, serial, zero, serial.
    let from = behind
        .map_or_else(|| kind.to_vec(), |serial| end_of(&Device::Meter(serial.to_owned()).octets()));
    let mut meters = Vec::new();
    for (key, ()) in BEHIND.scan(view, &from, &end_of(kind), limit)? {
        let serial = text(&key, (key.len() + kind.len()).div_ceil(2), Table::Behind)?;
        meters.extend(meter(view, &serial)?);
    }
    Ok(meters)
}

/// How many concentrators and meters there are, retired ones left out.
pub fn counts(view: &dyn View) -> Result<Counts, Fault> {
    Ok(Counts {
        concentrators: COUNTS.get(view, CONCENTRATORS_ACTIVE)?.unwrap_or(0),
        meters: COUNTS.get(view, METERS_ACTIVE)?.unwrap_or(0),
    })
}

/// Who has an ordinal, retired ones included.
pub fn place(view: &dyn View, ordinal: u32) -> Result<Option<Place>, Fault> {
    ORDINALS.get(view, &ordinal)
}

/// Who has a system title.
pub fn by_system_title(view: &dyn View, title: &[u8; 8]) -> Result<Option<Device>, Fault> {
    TITLES.get(view, title)
}

/// How many ordinals have been given: every ordinal is below.
pub fn ordinals_given(view: &dyn View) -> Result<u32, Fault> {
    Ok(COUNTS.get(view, ORDINALS_GIVEN)?.unwrap_or(0))
}

/// Whether a device is registered and not retired.
pub fn is_active(view: &dyn View, device: &Device) -> Result<bool, Fault> {
    Ok(match device {
        Device::Concentrator(id) => concentrator(view, id)?.is_some_and(|c| c.retired.is_none()),
        Device::Meter(serial) => meter(view, serial)?.is_some_and(|m| m.retired.is_none()),
    })
}

/// Whether a device is active and has a channel of its own: a meter behind a concentrator has none.
pub fn has_channel(view: &dyn View, device: &Device) -> Result<bool, Fault> {
    Ok(match device {
        Device::Concentrator(_) => is_active(view, device)?,
        Device::Meter(serial) => meter(view, serial)?
            .is_some_and(|meter| meter.retired.is_none() && meter.device() == *device),
    })
}

/// By whose channel a target is reached: the concentrator before a meter, else the target itself.
/// None when there is no such active meter or concentrator. A meter is looked for first.
pub fn device_of(view: &dyn View, target: &str) -> Result<Option<Device>, Fault> {
    if let Some(meter) = meter(view, target)?.filter(|meter| meter.retired.is_none()) {
        return Ok(Some(meter.device()));
    }
    let device = Device::Concentrator(target.to_owned());
    Ok(is_active(view, &device)?.then_some(device))
}

impl Meter {
    /// By whose channel it is reached.
    pub fn device(&self) -> Device {
        match &self.attach {
            Attach::Behind { concentrator } => Device::Concentrator(concentrator.clone()),
            Attach::Direct { .. } => Device::Meter(self.serial.clone()),
        }
    }
}

fn serials_behind(
    view: &dyn View,
    concentrator: &str,
    behind: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, Fault> {
    let prefix = Device::Concentrator(concentrator.to_owned()).octets();
    let from = behind.map_or_else(
        || prefix.clone(),
        |serial| after(&[prefix.as_slice(), serial.as_bytes()].concat()),
    );
    let rows = BEHIND.scan(view, &from, &end_of(&prefix), limit)?;
    rows.into_iter().map(|(key, ())| text(&key, prefix.len(), Table::Behind)).collect()
}

/// The text that a key ends with.
pub(crate) fn text(key: &[u8], from: usize, table: Table) -> Result<String, Fault> {
    key.get(from..)
        .and_then(|octets| String::from_utf8(octets.to_vec()).ok())
        .ok_or(Fault::Corrupt { table, why: "the key is not text" })
}
