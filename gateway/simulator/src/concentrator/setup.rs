//! What a concentrator can be set to, as objects of standard classes
//! (docs/reference/concentrator.md, parameters): auto connect (29), push setup (40), TCP-UDP, IPv4
//! and GPRS setup (41, 42, 45), and three numbers of our own.
//!
//! It holds values and knows their bounds; when they count is decided in `trial`. Network settings
//! besides the two addresses are kept and shown, and change nothing: the sockets are the
//! computer's.
//!
//! Invariant: a set that [`Setup::check`] takes has a main address.

use cosem::{Data, DataAccessError};
use serde::{Deserialize, Serialize};

/// Auto connect of the main and of the standby address.
pub const ADDRESSES: [[u8; 6]; 2] = [[0, 0, 2, 1, 0, 255], [0, 1, 2, 1, 0, 255]];
/// Push setup of profiles.
const PUSH: [u8; 6] = crate::push::PROFILE_PUSH;
/// TCP-UDP setup.
const TCP: [u8; 6] = [0, 0, 25, 0, 0, 255];
/// IPv4 setup.
const IPV4: [u8; 6] = [0, 0, 25, 1, 0, 255];
/// GPRS modem setup.
const GPRS: [u8; 6] = [0, 0, 25, 4, 0, 255];
/// Time between heartbeats, seconds.
const HEARTBEAT: [u8; 6] = [0, 0, 94, 86, 133, 255];
/// Answer time, milliseconds.
const ANSWER: [u8; 6] = [0, 0, 94, 86, 134, 255];
/// Seconds from one push of profiles to the next.
const PERIOD: [u8; 6] = [0, 0, 94, 86, 135, 255];

/// The objects with class and number of attributes.
pub const OBJECTS: [(u16, [u8; 6], i8); 9] = [
    (1, HEARTBEAT, 2),
    (1, ANSWER, 2),
    (1, PERIOD, 2),
    (29, ADDRESSES[0], 6),
    (29, ADDRESSES[1], 6),
    (40, PUSH, 7),
    (41, TCP, 6),
    (42, IPV4, 10),
    (45, GPRS, 4),
];

/// What can be set, in order.
const SETTABLE: [([u8; 6], i8); 13] = [
    (ADDRESSES[0], 6),
    (ADDRESSES[1], 6),
    (HEARTBEAT, 2),
    (ANSWER, 2),
    (PERIOD, 2),
    (PUSH, 5),
    (TCP, 6),
    (IPV4, 3),
    (IPV4, 6),
    (IPV4, 7),
    (IPV4, 8),
    (IPV4, 9),
    (GPRS, 2),
];

/// A set of parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Main and standby address as `host:port`; an empty one is not dialled.
    pub addresses: [String; 2],
    /// Seconds between heartbeats.
    pub heartbeat_s: u16,
    /// Answer time in milliseconds.
    pub answer_ms: u32,
    /// Seconds from one push of profiles to the next; 0: as soon as there is something.
    pub period_s: u32,
    /// Pushes wait for so many seconds at most after they are due, each device for its own time.
    pub spread_s: u16,
    /// Seconds without octets after which a connection is closed; 0: never.
    pub inactivity_s: u16,
    /// Own IPv4 address.
    pub ip: u32,
    /// Subnet mask.
    pub mask: u32,
    /// Gateway.
    pub gateway: u32,
    /// Whether the address comes by DHCP.
    pub dhcp: bool,
    /// Name server.
    pub dns: u32,
    /// Access point of the mobile network.
    pub apn: String,
}

impl Setup {
    /// An attribute of the objects; none when it is none of theirs.
    #[must_use]
    pub fn get(&self, name: [u8; 6], attribute: i8) -> Option<Data> {
        let list = |address: &str| {
            let used = (!address.is_empty()).then(|| Data::octets(address.as_bytes()));
            Data::Array(used.into_iter().collect())
        };
        let number = |ip| Data::U32(ip);
        Some(match (name, attribute) {
            (HEARTBEAT, 2) => Data::U16(self.heartbeat_s),
            (ANSWER, 2) => Data::U32(self.answer_ms),
            (PERIOD, 2) => Data::U32(self.period_s),
            // Permanently connected.
            _ if ADDRESSES.contains(&name) => match attribute {
                2 => Data::Enum(101),
                3 => Data::U8(0),
                4 => Data::U16(30),
                5 => Data::Array(Vec::new()),
                6 if name == ADDRESSES[0] => list(&self.addresses[0]),
                6 => list(&self.addresses[1]),
                _ => return None,
            },
            (PUSH, 2) => Data::Array(vec![Data::Structure(vec![
                Data::U16(7),
                Data::octets(&crate::push::LOAD_PROFILE),
                Data::I8(2),
                Data::U16(0),
            ])]),
            (PUSH, 3) => Data::Structure(vec![
                Data::Enum(0),
                Data::octets(self.addresses[0].as_bytes()),
                Data::Enum(0),
            ]),
            (PUSH, 4) => Data::Array(Vec::new()),
            (PUSH, 5) => Data::U16(self.spread_s),
            (PUSH, 6) => Data::U8(0),
            (PUSH, 7) => Data::U16(u16::try_from(self.answer_ms / 1000).unwrap_or(u16::MAX)),
            (TCP, 2) => Data::U16(4059),
            (TCP, 3) => Data::octets(&IPV4),
            (TCP, 4) => Data::U16(1400),
            (TCP, 5) => Data::U8(1),
            (TCP, 6) => Data::U16(self.inactivity_s),
            (IPV4, 2) => Data::octets(&[0, 0, 25, 2, 0, 255]),
            (IPV4, 3) => number(self.ip),
            (IPV4, 4 | 5) => Data::Array(Vec::new()),
            (IPV4, 6) => number(self.mask),
            (IPV4, 7) => number(self.gateway),
            (IPV4, 8) => Data::Boolean(self.dhcp),
            (IPV4, 9) => number(self.dns),
            (IPV4, 10) => number(0),
            (GPRS, 2) => Data::octets(self.apn.as_bytes()),
            // A PIN is not shown, and no quality of service is asked for.
            (GPRS, 3) => Data::U16(0),
            (GPRS, 4) => {
                let quality = || Data::Structure(vec![Data::U8(0); 5]);
                Data::Structure(vec![quality(), quality()])
            }
            _ => return None,
        })
    }

    /// Takes one attribute.
    ///
    /// # Errors
    /// `ObjectUndefined` for what cannot be set, `TypeUnmatched` for another type.
    pub fn put(
        &mut self,
        name: [u8; 6],
        attribute: i8,
        value: &Data,
    ) -> Result<(), DataAccessError> {
        let wrong = || DataAccessError::TypeUnmatched;
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).map_err(|_| wrong());
        match (name, attribute, value) {
            (HEARTBEAT, 2, Data::U16(seconds)) => self.heartbeat_s = *seconds,
            (ANSWER, 2, Data::U32(milliseconds)) => self.answer_ms = *milliseconds,
            (PERIOD, 2, Data::U32(seconds)) => self.period_s = *seconds,
            (PUSH, 5, Data::U16(seconds)) => self.spread_s = *seconds,
            (TCP, 6, Data::U16(seconds)) => self.inactivity_s = *seconds,
            (IPV4, 3, Data::U32(number)) => self.ip = *number,
            (IPV4, 6, Data::U32(number)) => self.mask = *number,
            (IPV4, 7, Data::U32(number)) => self.gateway = *number,
            (IPV4, 8, Data::Boolean(yes)) => self.dhcp = *yes,
            (IPV4, 9, Data::U32(number)) => self.dns = *number,
            (GPRS, 2, Data::OctetString(apn)) => self.apn = text(apn)?,
            (_, 6, Data::Array(list)) if ADDRESSES.contains(&name) => {
                let address = match list.as_slice() {
                    [] => String::new(),
                    [one] => text(one.as_octets().ok_or_else(wrong)?)?,
                    _ => return Err(DataAccessError::OtherReason),
                };
                self.addresses[usize::from(name == ADDRESSES[1])] = address;
            }
            _ if SETTABLE.contains(&(name, attribute)) => return Err(wrong()),
            _ => return Err(DataAccessError::ObjectUndefined),
        }
        Ok(())
    }

    /// Refuses a set that no concentrator could work with.
    ///
    /// # Errors
    /// `OtherReason`: a value out of its bounds, or no main address.
    pub fn check(&self) -> Result<(), DataAccessError> {
        let is_address = |text: &str| {
            let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            text.len() <= 128 && port.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        };
        let [main, standby] = &self.addresses;
        let good = is_address(main)
            && (standby.is_empty() || is_address(standby))
            && (1..=3_600).contains(&self.heartbeat_s)
            && (100..=60_000).contains(&self.answer_ms)
            && self.period_s <= 86_400
            && self.spread_s <= 3_600
            && self.apn.len() <= 64;
        if good { Ok(()) } else { Err(DataAccessError::OtherReason) }
    }

    /// All that can be set: {class, logical name, attribute, value}.
    #[must_use]
    pub fn list(&self) -> Data {
        let entry = |(name, attribute): &([u8; 6], i8)| {
            let (class, _, _) = OBJECTS.iter().find(|(_, known, _)| known == name)?;
            Some(Data::Structure(vec![
                Data::U16(*class),
                Data::octets(name),
                Data::I8(*attribute),
                self.get(*name, *attribute)?,
            ]))
        };
        Data::Array(SETTABLE.iter().filter_map(entry).collect())
    }

    /// When what was captured at `end_s` is pushed, before the own wait of the device.
    #[must_use]
    pub fn due_s(&self, end_s: i64) -> i64 {
        let period = i64::from(self.period_s.max(1));
        (end_s + period - 1).div_euclid(period) * period
    }
}

#[cfg(test)]
mod tests {
    use super::{ADDRESSES, ANSWER, OBJECTS, SETTABLE, Setup};
    use cosem::{Data, DataAccessError};

    fn setup() -> Setup {
        let addresses = ["a:1".to_owned(), "[::1]:2".to_owned()];
        Setup { addresses, heartbeat_s: 60, answer_ms: 700, ..Setup::default() }
    }

    #[test]
    fn what_can_be_set_comes_back_and_every_attribute_is_there() {
        let (from, mut to) = (Setup { apn: "m2m".into(), dhcp: true, ..setup() }, setup());
        for (name, attribute) in SETTABLE {
            to.put(name, attribute, &from.get(name, attribute).unwrap()).unwrap();
        }
        assert_eq!(to, from);
        for (_, name, attributes) in OBJECTS {
            assert!((2..=attributes).all(|attribute| from.get(name, attribute).is_some()));
            assert_eq!(from.get(name, attributes + 1), None);
        }
    }

    #[test]
    fn what_no_concentrator_could_work_with_is_refused() {
        let mut setup = setup();
        assert_eq!(setup.check(), Ok(()));
        let wrong = setup.put(ANSWER, 2, &Data::U16(1));
        assert_eq!(wrong, Err(DataAccessError::TypeUnmatched));
        let strange = setup.put([0, 0, 42, 0, 0, 255], 2, &Data::U16(1));
        assert_eq!(strange, Err(DataAccessError::ObjectUndefined));
        for address in ["", "nowhere", ":4059", "a:99999"] {
            let list = Data::Array(vec![Data::octets(address.as_bytes())]);
            setup.put(ADDRESSES[0], 6, &list).unwrap();
            assert_eq!(setup.check(), Err(DataAccessError::OtherReason), "{address:?}");
        }
    }

    #[test]
    fn pushes_are_due_at_whole_periods() {
        let setup = Setup { period_s: 3_600, ..setup() };
        assert_eq!((setup.due_s(3_600), setup.due_s(3_601)), (3_600, 7_200));
        assert_eq!(Setup::default().due_s(3_601), 3_601);
    }
}
