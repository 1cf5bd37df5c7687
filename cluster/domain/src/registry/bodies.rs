//! What there is in the registry, and what each has.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::stock::State;
use crate::apply::table::Key;
use crate::error::{Malformed, Stop, refuse};

/// A kind of object. Its octet begins its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A medium-voltage line out of a substation.
    Feeder,
    /// A distribution transformer.
    Transformer,
    /// A place of supply; survives every exchange of its meter.
    Point,
    /// Who is supplied and pays.
    Customer,
    /// That a customer is supplied at a point.
    Contract,
    /// A meter at a point, by the meter's serial.
    Installation,
    /// A thing of the warehouse, by its serial.
    Item,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 7] = [
        Kind::Feeder,
        Kind::Transformer,
        Kind::Point,
        Kind::Customer,
        Kind::Contract,
        Kind::Installation,
        Kind::Item,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Feeder => "feeder",
            Kind::Transformer => "transformer",
            Kind::Point => "point",
            Kind::Customer => "customer",
            Kind::Contract => "contract",
            Kind::Installation => "installation",
            Kind::Item => "item",
        }
    }

    /// Whether it tells something of a person.
    pub fn is_personal(self) -> bool {
        matches!(self, Kind::Customer | Kind::Contract)
    }

    pub(crate) fn octet(self) -> u8 {
        match self {
            Kind::Feeder => b'f',
            Kind::Transformer => b't',
            Kind::Point => b'p',
            Kind::Customer => b'c',
            Kind::Contract => b'k',
            Kind::Installation => b'n',
            Kind::Item => b's',
        }
    }

    fn of_octet(octet: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.octet() == octet)
    }
}

impl FromStr for Kind {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Kind, Malformed> {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or(Malformed("a kind of object"))
    }
}

/// An object by its kind and number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its number with the utility, unique within the kind: 1 to 32 of A-Z, a-z, 0-9, - . _ /
    pub id: String,
}

impl Object {
    /// An object.
    pub fn new(kind: Kind, id: &str) -> Object {
        Object { kind, id: id.to_owned() }
    }

    /// The first object in a key, and how many octets of it that takes.
    pub(crate) fn of_key(key: &[u8]) -> Option<(Object, usize)> {
        let (kind, rest) = key.split_first()?;
        let end = rest.iter().position(|octet| *octet == 0)?;
        let id = String::from_utf8(rest.get(..end)?.to_vec()).ok()?;
        Some((Object { kind: Kind::of_octet(*kind)?, id }, end + 2))
    }
}

impl Key for Object {
    /// Kind and number, closed by a zero that no number contains.
    fn octets(&self) -> Vec<u8> {
        [&[self.kind.octet()], self.id.as_bytes(), &[0]].concat()
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.id)
    }
}

/// Phases that something is connected to: bit 0 is A, bit 1 is B, bit 2 is C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases(pub u8);

/// What a point is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// A customer is supplied.
    Consumption,
    /// A transformer's own meter: what goes into its network.
    Balance,
    /// Somebody feeds in.
    Generation,
}

/// A class of customers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// A household.
    Residential,
    /// A shop, an office.
    Commercial,
    /// A works.
    Industrial,
    /// A school, a hospital, street lights.
    Public,
    /// A farm, pumps.
    Agricultural,
}

/// What a thing of the warehouse is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Category {
    /// A meter.
    Meter,
    /// A concentrator.
    Concentrator,
    /// A modem or its card.
    Modem,
    /// A security module.
    SecurityModule,
    /// A vending terminal.
    Terminal,
    /// A transformer.
    Transformer,
    /// A seal.
    Seal,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// A feeder.
    Feeder {
        /// What people call it.
        name: String,
        /// Where it lies.
        region: u32,
        /// Out of which substation.
        substation: String,
        /// Nominal voltage in volts.
        volts: u32,
    },
    /// A transformer.
    Transformer {
        /// What people call it.
        name: String,
        /// Where it lies.
        region: u32,
        /// Number of its feeder.
        feeder: String,
        /// Rating in volt-amperes.
        rating_va: u32,
    },
    /// A point.
    Point {
        /// Where it lies.
        region: u32,
        /// Number of its transformer, when known.
        transformer: Option<String>,
        /// What it is connected to.
        phases: Phases,
        /// Where people find it.
        address: String,
        /// What it is for.
        purpose: Purpose,
    },
    /// A customer.
    Customer {
        /// Which subsystem keeps it.
        region: u32,
        /// The whole name, in any alphabet.
        name: String,
        /// Telephone, empty when not known.
        phone: String,
        /// Mail address, empty when not known.
        email: String,
        /// Class.
        class: Class,
        /// Language of texts to it: en, es, ru or zh.
        language: String,
    },
    /// A contract.
    Contract {
        /// Number of the point.
        point: String,
        /// Number of the customer.
        customer: String,
        /// Code of the tariff, empty when not known.
        tariff: String,
    },
    /// A meter at a point.
    Installation {
        /// Number of the point.
        point: String,
    },
    /// A thing of the warehouse.
    Item {
        /// What it is.
        category: Category,
        /// Who made it.
        maker: String,
        /// Its type.
        model: String,
        /// How far it has come in its life.
        state: State,
        /// Warehouse or place.
        place: String,
        /// Which subsystem has it.
        region: u32,
    },
}

impl Body {
    /// The kind of object that has such a body.
    pub fn kind(&self) -> Kind {
        match self {
            Body::Feeder { .. } => Kind::Feeder,
            Body::Transformer { .. } => Kind::Transformer,
            Body::Point { .. } => Kind::Point,
            Body::Customer { .. } => Kind::Customer,
            Body::Contract { .. } => Kind::Contract,
            Body::Installation { .. } => Kind::Installation,
            Body::Item { .. } => Kind::Item,
        }
    }

    /// Where it lies; a contract and an installation lie where their point does.
    pub fn region(&self) -> Option<u32> {
        match self {
            Body::Feeder { region, .. }
            | Body::Transformer { region, .. }
            | Body::Point { region, .. }
            | Body::Customer { region, .. }
            | Body::Item { region, .. } => Some(*region),
            Body::Contract { .. } | Body::Installation { .. } => None,
        }
    }

    /// What it hangs on.
    pub fn parents(&self) -> Vec<Object> {
        match self {
            Body::Transformer { feeder, .. } => vec![Object::new(Kind::Feeder, feeder)],
            Body::Point { transformer: Some(transformer), .. } => {
                vec![Object::new(Kind::Transformer, transformer)]
            }
            Body::Contract { point, customer, .. } => {
                vec![Object::new(Kind::Point, point), Object::new(Kind::Customer, customer)]
            }
            Body::Installation { point } => vec![Object::new(Kind::Point, point)],
            _ => Vec::new(),
        }
    }
}

/// Refuses what no object may be.
pub(super) fn check(object: &Object, body: &Body) -> Result<(), Stop> {
    check_id(&object.id)?;
    if object.kind != body.kind() {
        return Err(refuse("bad_object", format!("{object} is no {}", body.kind().name())));
    }
    match body {
        Body::Feeder { name, substation, volts, .. } => {
            check_text("name", name, 1, 128)?;
            check_text("substation", substation, 0, 128)?;
            check_range("volts", *volts, 100, 1_000_000)
        }
        Body::Transformer { name, feeder, rating_va, .. } => {
            check_text("name", name, 1, 128)?;
            check_id(feeder)?;
            check_range("rating_va", *rating_va, 1000, 1_000_000_000)
        }
        Body::Point { transformer, phases, address, .. } => {
            check_text("address", address, 1, 256)?;
            check_range("phases", u32::from(phases.0), 1, 7)?;
            transformer.as_deref().map_or(Ok(()), check_id)
        }
        Body::Customer { name, phone, email, language, .. } => {
            check_text("name", name, 1, 128)?;
            check_contact(phone, email)?;
            let known = ["en", "es", "ru", "zh"].contains(&language.as_str());
            if known { Ok(()) } else { Err(refuse("bad_language", "en, es, ru or zh")) }
        }
        Body::Contract { point, customer, tariff } => {
            check_id(point)?;
            check_id(customer)?;
            check_text("tariff", tariff, 0, 32)
        }
        Body::Installation { point } => check_id(point),
        Body::Item { maker, model, place, .. } => {
            check_text("maker", maker, 1, 64)?;
            check_text("model", model, 0, 64)?;
            check_text("place", place, 0, 128)
        }
    }
}

pub(super) fn check_id(id: &str) -> Result<(), Stop> {
    let letter = |octet: u8| octet.is_ascii_alphanumeric() || b"-._/".contains(&octet);
    if id.is_empty() || id.len() > 32 || !id.bytes().all(letter) {
        return Err(refuse("bad_number", "a number has 1 to 32 of A-Z, a-z, 0-9, - . _ /"));
    }
    Ok(())
}

fn check_text(what: &str, text: &str, least: usize, most: usize) -> Result<(), Stop> {
    let letters = text.trim().chars().count();
    if letters < least || text.len() > 4 * most || letters > most {
        return Err(refuse("bad_text", format!("{what} has {least} to {most} letters")));
    }
    if text.chars().any(char::is_control) {
        return Err(refuse("bad_text", format!("{what} has a control character")));
    }
    Ok(())
}

fn check_range(what: &str, value: u32, least: u32, most: u32) -> Result<(), Stop> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(refuse("bad_range", format!("{what} is {least} to {most}, not {value}")))
}

fn check_contact(phone: &str, email: &str) -> Result<(), Stop> {
    let dials = |letter: char| letter.is_ascii_digit() || " +-()".contains(letter);
    if phone.len() > 32 || !phone.chars().all(dials) {
        return Err(refuse("bad_phone", "up to 32 of 0-9, +, -, brackets and spaces"));
    }
    check_text("email", email, 0, 128)?;
    let sound = email.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && host.contains('.') && !email.contains(char::is_whitespace)
    });
    if email.is_empty() || sound {
        return Ok(());
    }
    Err(refuse("bad_email", "a mail address such as name@example.org"))
}
