//! Which parameters concentrators have (docs/reference/concentrator.md), with their objects and
//! bounds; and a value as people give it beside one as a device holds it.
//!
//! Invariant: names never change their meaning; new ones are added.

use crate::commands::{Attribute, Value, Wanted};
use crate::error::{Refusal, Stop, refuse};
use crate::units::Obis;

/// What kind of value a parameter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `host:port` of a head-end, as an array of one octet-string; an empty one for none, where
    /// that may be.
    Address {
        /// Whether there may be none.
        may_lack: bool,
    },
    /// A number of a unit within bounds.
    Number {
        /// The least.
        least: u64,
        /// The greatest.
        most: u64,
        /// Unit.
        unit: &'static str,
    },
    /// An IPv4 address as a number, the first octet the highest.
    Ipv4,
    /// Yes or no.
    Flag,
    /// Text of so many octets at the most, as an octet-string.
    Text {
        /// The most octets.
        most: usize,
    },
}

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// Where a concentrator has it.
    pub attribute: Attribute,
    /// What it holds.
    pub kind: Kind,
    /// What it means.
    pub about: &'static str,
}

const fn at(class: u16, obis: [u8; 6], attribute: i8) -> Attribute {
    Attribute { class, obis: Obis(obis), attribute }
}

const fn number(least: u64, most: u64, unit: &'static str) -> Kind {
    Kind::Number { least, most, unit }
}

const IPV4: [u8; 6] = [0, 0, 25, 1, 0, 255];

/// The most octets of an address.
const MAX_ADDRESS: usize = 128;

/// Every parameter of a concentrator.
pub const DEFINITIONS: [Definition; 13] = [
    Definition {
        name: "main_address",
        attribute: at(29, [0, 0, 2, 1, 0, 255], 6),
        kind: Kind::Address { may_lack: false },
        about: "Head-end that it dials first, host:port. A new one is on trial.",
    },
    Definition {
        name: "standby_address",
        attribute: at(29, [0, 1, 2, 1, 0, 255], 6),
        kind: Kind::Address { may_lack: true },
        about: "Head-end of its standby channel, host:port; empty for none. A new one is on trial.",
    },
    Definition {
        name: "heartbeat_seconds",
        attribute: at(1, [0, 0, 94, 86, 133, 255], 2),
        kind: number(1, 3_600, "seconds"),
        about: "Time between its heartbeats.",
    },
    Definition {
        name: "answer_milliseconds",
        attribute: at(1, [0, 0, 94, 86, 134, 255], 2),
        kind: number(100, 60_000, "milliseconds"),
        about: "Without an acknowledgement for so long the channel counts as lost.",
    },
    Definition {
        name: "push_period_seconds",
        attribute: at(1, [0, 0, 94, 86, 135, 255], 2),
        kind: number(0, 86_400, "seconds"),
        about: "Rows are pushed at whole multiples of it; 0: as soon as there are some.",
    },
    Definition {
        name: "push_spread_seconds",
        attribute: at(40, [0, 5, 25, 9, 0, 255], 5),
        kind: number(0, 3_600, "seconds"),
        about: "Each concentrator waits for its own share of it before it pushes.",
    },
    Definition {
        name: "inactivity_seconds",
        attribute: at(41, [0, 0, 25, 0, 0, 255], 6),
        kind: number(0, 65_535, "seconds"),
        about: "A connection without octets for so long is closed; 0: never.",
    },
    Definition {
        name: "ip_address",
        attribute: at(42, IPV4, 3),
        kind: Kind::Ipv4,
        about: "Own address.",
    },
    Definition {
        name: "ip_mask",
        attribute: at(42, IPV4, 6),
        kind: Kind::Ipv4,
        about: "Subnet mask.",
    },
    Definition {
        name: "ip_gateway",
        attribute: at(42, IPV4, 7),
        kind: Kind::Ipv4,
        about: "Gateway.",
    },
    Definition {
        name: "ip_dhcp",
        attribute: at(42, IPV4, 8),
        kind: Kind::Flag,
        about: "Whether address, mask, gateway and name server come by DHCP.",
    },
    Definition {
        name: "ip_name_server",
        attribute: at(42, IPV4, 9),
        kind: Kind::Ipv4,
        about: "Name server.",
    },
    Definition {
        name: "gprs_access_point",
        attribute: at(45, [0, 0, 25, 4, 0, 255], 2),
        kind: Kind::Text { most: 64 },
        about: "Access point of the mobile network.",
    },
];

/// The definition of a name.
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|one| one.name == name)
}

/// The parameter that an attribute is, if it is one.
pub fn of_attribute(obis: Obis, attribute: i8) -> Option<&'static Definition> {
    let is_it = |at: &Attribute| at.obis == obis && at.attribute == attribute;
    DEFINITIONS.iter().find(|one| is_it(&one.attribute))
}

impl Definition {
    /// Refuses a value that the parameter cannot have (`bad_setting`).
    pub(super) fn check(&self, value: &Value) -> Result<(), Stop> {
        let bad = |text: String| -> Result<(), Stop> {
            Err(Refusal::new("bad_setting", format!("{}: {text}", self.name)).into())
        };
        match (self.kind, value) {
            (Kind::Address { may_lack: true }, Value::Text(text)) if text.is_empty() => Ok(()),
            (Kind::Address { .. }, Value::Text(text)) if is_address(text) => Ok(()),
            (Kind::Address { .. }, _) => bad("host:port, of up to 128 letters".to_owned()),
            (Kind::Number { least, most, .. }, Value::Unsigned(number))
                if (least..=most).contains(number) =>
            {
                Ok(())
            }
            (Kind::Number { least, most, unit }, _) => bad(format!("{least} to {most} {unit}")),
            (Kind::Ipv4, Value::Unsigned(number)) if u32::try_from(*number).is_ok() => Ok(()),
            (Kind::Ipv4, _) => bad("an IPv4 address".to_owned()),
            (Kind::Flag, Value::Boolean(_)) => Ok(()),
            (Kind::Flag, _) => bad("true or false".to_owned()),
            (Kind::Text { most }, Value::Text(text))
                if text.len() <= most && text.bytes().all(|octet| octet.is_ascii_graphic()) =>
            {
                Ok(())
            }
            (Kind::Text { most }, _) => bad(format!("up to {most} letters of ASCII")),
        }
    }

    /// A checked value as the concentrator is to hold it.
    pub(super) fn wanted(&self, value: &Value) -> Wanted {
        let value = match (self.kind, value) {
            (Kind::Address { .. }, Value::Text(text)) if text.is_empty() => Value::List(vec![]),
            (Kind::Address { .. }, Value::Text(_)) => Value::List(vec![value.clone()]),
            _ => value.clone(),
        };
        Wanted { attribute: self.attribute, value }
    }

    /// What a concentrator holds, as people give it.
    pub fn plain(&self, held: &Value) -> Value {
        let text = |value: &Value| match value {
            Value::Octets(octets) => match std::str::from_utf8(octets) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => value.clone(),
            },
            _ => value.clone(),
        };
        match (self.kind, held) {
            (Kind::Address { .. }, Value::List(list)) => match list.as_slice() {
                [] => Value::Text(String::new()),
                [one] => text(one),
                _ => held.clone(),
            },
            (Kind::Text { .. }, _) => text(held),
            _ => held.clone(),
        }
    }
}

/// Whether a text is `host:port`, with the host in brackets when it has colons.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let letters = inner.unwrap_or(host);
    let allowed = |octet: u8| match octet {
        b':' | b'%' => inner.is_some(),
        _ => octet.is_ascii_alphanumeric() || octet == b'.' || octet == b'-',
    };
    text.len() <= MAX_ADDRESS && is_port && !letters.is_empty() && letters.bytes().all(allowed)
}

/// Refuses a name that is no parameter.
pub(super) fn known(name: &str) -> Result<&'static Definition, Stop> {
    definition(name).ok_or_else(|| refuse("bad_setting", format!("no parameter {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::{DEFINITIONS, definition, is_address, of_attribute};
    use crate::commands::Value;

    #[test]
    fn names_and_attributes_are_found_and_distinct() {
        for (place, one) in DEFINITIONS.iter().enumerate() {
            assert_eq!(definition(one.name), Some(one));
            assert_eq!(of_attribute(one.attribute.obis, one.attribute.attribute), Some(one));
            let others = DEFINITIONS.iter().skip(place + 1);
            assert!(others.into_iter().all(|other| other.attribute != one.attribute));
        }
    }

    #[test]
    fn addresses_are_told_from_what_is_none() {
        for good in ["a:1", "10.0.0.1:4059", "head-end.example:65535", "[2001:db8::1]:4059"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "a", ":1", "a:0", "a:65536", "2001:db8::1:4059", "a b:1", "[]:1", "a:"] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_wanted_comes_back_plain() {
        let text = |text: &str| Value::Text(text.to_owned());
        let main = definition("main_address").unwrap();
        let standby = definition("standby_address").unwrap();
        assert_eq!(main.plain(&main.wanted(&text("a:1")).value), text("a:1"));
        assert_eq!(standby.plain(&standby.wanted(&text("")).value), text(""));
        assert_eq!(main.plain(&Value::List(vec![Value::Octets(b"a:1".to_vec())])), text("a:1"));
        assert!(main.check(&text("")).is_err() && standby.check(&text("")).is_ok());
        let heartbeat = definition("heartbeat_seconds").unwrap();
        assert!(heartbeat.check(&Value::Unsigned(0)).is_err());
        assert!(heartbeat.check(&Value::Unsigned(60)).is_ok());
        assert!(heartbeat.check(&text("60")).is_err());
    }
}
