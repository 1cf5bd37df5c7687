//! The registry's objects in the API's words, both ways.

use domain::registry::{
    Body, Category, Class, Finding, Head, Installation, Kind, Object, Phases, Purpose, Register,
    State, Version,
};
use domain::{Obis, Stamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::areas::time;
use crate::http::problem::Problem;

/// What an object is. `kind` says which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Facts {
    /// A medium-voltage line out of a substation.
    Feeder {
        /// What people call it.
        name: String,
        /// Number of the region where it lies.
        region: u32,
        /// Out of which substation.
        #[serde(default)]
        substation: String,
        /// Nominal voltage, V.
        volts: u32,
    },
    /// A distribution transformer.
    Transformer {
        /// What people call it.
        name: String,
        /// Number of the region where it lies.
        region: u32,
        /// Number of its feeder.
        feeder: String,
        /// Rating, VA.
        rating_va: u32,
    },
    /// A place of supply.
    Point {
        /// Number of the region where it lies.
        region: u32,
        /// Number of its transformer, when known.
        transformer: Option<String>,
        /// What it is connected to: letters of A, B, C.
        phases: String,
        /// Where people find it.
        address: String,
        /// consumption, balance or generation.
        purpose: String,
    },
    /// Who is supplied and pays.
    Customer {
        /// Number of the region that keeps it.
        region: u32,
        /// The whole name, in any alphabet.
        name: String,
        /// Telephone.
        #[serde(default)]
        phone: String,
        /// Mail address.
        #[serde(default)]
        email: String,
        /// residential, commercial, industrial, public or agricultural.
        class: String,
        /// en, es, ru or zh.
        #[serde(default = "english")]
        language: String,
    },
    /// That a customer is supplied at a point.
    Contract {
        /// Number of the point.
        point: String,
        /// Number of the customer.
        customer: String,
        /// Code of the tariff.
        #[serde(default)]
        tariff: String,
    },
    /// A meter at a point.
    Installation {
        /// Number of the point.
        point: String,
    },
    /// A thing of the warehouse.
    Item {
        /// meter, concentrator, modem, security_module, terminal, transformer or seal.
        category: String,
        /// Who made it.
        maker: String,
        /// Its type.
        #[serde(default)]
        model: String,
        /// How far it has come: received, in_stock, assigned, installed, commissioned, in_service,
        /// faulty, suspended, removed, retired.
        state: String,
        /// Warehouse or place.
        #[serde(default)]
        place: String,
        /// Number of the region that has it.
        region: u32,
    },
}

fn english() -> String {
    "en".to_owned()
}

/// What a register showed when a meter was built in or taken out.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterBody {
    /// Such as 1-0:1.8.0.
    pub obis: String,
    /// The value as it stands in the meter.
    pub value: i64,
    /// Power of ten that it is multiplied by.
    #[serde(default)]
    pub scaler: i8,
    /// Unit by the table of IEC 62056-6-2; 30, Wh, when left out.
    #[serde(default = "watt_hours")]
    pub unit: u8,
}

fn watt_hours() -> u8 {
    30
}

/// An object as it is, or was at the time that was asked for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ObjectBody {
    /// Its number.
    pub number: String,
    /// Since when it is so.
    pub from: String,
    /// Whether it is gone since then; the facts are those of before.
    pub closed: bool,
    /// What it is.
    pub facts: Facts,
}

/// What an object is from a time on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VersionBody {
    /// From when on.
    pub from: String,
    /// What it is; null: it is gone.
    pub facts: Option<Facts>,
    /// What the registers of a meter showed that was built in or taken out.
    pub registers: Vec<RegisterBody>,
    /// Who said so.
    pub by: String,
    /// When it was entered.
    pub entered: String,
    /// Why.
    pub reason: String,
}

/// A meter at a point for a time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InstallationBody {
    /// The meter's serial.
    pub meter: String,
    /// Number of the point.
    pub point: String,
    /// Since when.
    pub from: String,
    /// Until when; null: it is there.
    pub until: Option<String>,
    /// What it showed when it was built in.
    pub first: Vec<RegisterBody>,
    /// What it showed when it was taken out.
    pub last: Vec<RegisterBody>,
}

/// Something that does not fit together.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FindingBody {
    /// A stable code.
    pub code: String,
    /// Kind of the object.
    pub kind: String,
    /// Its number.
    pub number: String,
    /// What else is concerned.
    pub other: Option<String>,
    /// What mends it.
    pub repair: String,
}

const PURPOSES: [(&str, Purpose); 3] = [
    ("consumption", Purpose::Consumption),
    ("balance", Purpose::Balance),
    ("generation", Purpose::Generation),
];

const CLASSES: [(&str, Class); 5] = [
    ("residential", Class::Residential),
    ("commercial", Class::Commercial),
    ("industrial", Class::Industrial),
    ("public", Class::Public),
    ("agricultural", Class::Agricultural),
];

const CATEGORIES: [(&str, Category); 7] = [
    ("meter", Category::Meter),
    ("concentrator", Category::Concentrator),
    ("modem", Category::Modem),
    ("security_module", Category::SecurityModule),
    ("terminal", Category::Terminal),
    ("transformer", Category::Transformer),
    ("seal", Category::Seal),
];

fn word<T: Copy>(what: &str, words: &[(&str, T)], text: &str) -> Result<T, Problem> {
    let found = words.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        Problem::bad("bad_word", format!("{what} {text:?}: one of {}", known.join(", ")))
    })
}

fn name<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> String {
    words.iter().find(|(_, known)| known == value).map_or("", |(name, _)| name).to_owned()
}

/// `ABC` of the bits of phases.
fn phases_text(phases: Phases) -> String {
    let letters = ['A', 'B', 'C'].into_iter().enumerate();
    letters.filter(|(bit, _)| phases.0 & (1 << bit) != 0).map(|(_, letter)| letter).collect()
}

fn phases_of(text: &str) -> Result<Phases, Problem> {
    let mut bits = 0_u8;
    for letter in text.chars() {
        let bit = match letter {
            'A' | 'a' => 1,
            'B' | 'b' => 2,
            'C' | 'c' => 4,
            _ => return Err(Problem::bad("bad_word", format!("phases {text:?}: letters A, B, C"))),
        };
        bits |= bit;
    }
    Ok(Phases(bits))
}

impl Facts {
    /// In the API's words.
    pub fn of(body: &Body) -> Facts {
        match body.clone() {
            Body::Feeder { name, region, substation, volts } => {
                Facts::Feeder { name, region, substation, volts }
            }
            Body::Transformer { name, region, feeder, rating_va } => {
                Facts::Transformer { name, region, feeder, rating_va }
            }
            Body::Point { region, transformer, phases, address, purpose } => Facts::Point {
                region,
                transformer,
                phases: phases_text(phases),
                address,
                purpose: name(&PURPOSES, &purpose),
            },
            Body::Customer { region, name: called, phone, email, class, language } => {
                let class = name(&CLASSES, &class);
                Facts::Customer { region, name: called, phone, email, class, language }
            }
            Body::Contract { point, customer, tariff } => {
                Facts::Contract { point, customer, tariff }
            }
            Body::Installation { point } => Facts::Installation { point },
            Body::Item { category, maker, model, state, place, region } => Facts::Item {
                category: name(&CATEGORIES, &category),
                maker,
                model,
                state: state.name().to_owned(),
                place,
                region,
            },
        }
    }

    /// In the domain's words.
    ///
    /// Errors: `bad_word` with the words that there are.
    pub fn body(self) -> Result<Body, Problem> {
        Ok(match self {
            Facts::Feeder { name, region, substation, volts } => {
                Body::Feeder { name, region, substation, volts }
            }
            Facts::Transformer { name, region, feeder, rating_va } => {
                Body::Transformer { name, region, feeder, rating_va }
            }
            Facts::Point { region, transformer, phases, address, purpose } => Body::Point {
                region,
                transformer: transformer.filter(|text| !text.is_empty()),
                phases: phases_of(&phases)?,
                address,
                purpose: word("purpose", &PURPOSES, &purpose)?,
            },
            Facts::Customer { region, name, phone, email, class, language } => {
                let class = word("class", &CLASSES, &class)?;
                Body::Customer { region, name, phone, email, class, language }
            }
            Facts::Contract { point, customer, tariff } => {
                Body::Contract { point, customer, tariff }
            }
            Facts::Installation { point } => Body::Installation { point },
            Facts::Item { category, maker, model, state, place, region } => Body::Item {
                category: word("category", &CATEGORIES, &category)?,
                maker,
                model,
                state: word("state", &State::ALL.map(|state| (state.name(), state)), &state)?,
                place,
                region,
            },
        })
    }

    /// What people call it: a name, an address, or nothing.
    pub fn title(&self) -> &str {
        match self {
            Facts::Feeder { name, .. }
            | Facts::Transformer { name, .. }
            | Facts::Customer { name, .. } => name,
            Facts::Point { address, .. } => address,
            Facts::Item { place, .. } => place,
            Facts::Contract { .. } | Facts::Installation { .. } => "",
        }
    }
}

/// Registers of a request.
pub fn registers(given: Vec<RegisterBody>) -> Result<Vec<Register>, Problem> {
    let one = |one: RegisterBody| {
        let obis: Obis = one
            .obis
            .parse()
            .map_err(|_| Problem::bad("bad_obis", format!("{:?} is no OBIS code", one.obis)))?;
        Ok(Register { obis, value: one.value, scaler: one.scaler, unit: one.unit })
    };
    given.into_iter().map(one).collect()
}

fn registers_of(registers: &[Register]) -> Vec<RegisterBody> {
    let one = |one: &Register| {
        let Register { obis, value, scaler, unit } = *one;
        RegisterBody { obis: obis.to_string(), value, scaler, unit }
    };
    registers.iter().map(one).collect()
}

impl ObjectBody {
    /// Of the newest version.
    pub fn of_head(object: &Object, head: &Head) -> ObjectBody {
        ObjectBody {
            number: object.id.clone(),
            from: time::stamp(head.from),
            closed: head.closed,
            facts: Facts::of(&head.body),
        }
    }

    /// Of a version; none when it is gone.
    pub fn of_version(object: &Object, version: &Version) -> Option<ObjectBody> {
        let body = version.body.as_ref()?;
        let from = time::stamp(version.from);
        Some(ObjectBody { number: object.id.clone(), from, closed: false, facts: Facts::of(body) })
    }

    /// Its day, for pages.
    pub fn since_day(&self) -> &str {
        self.from.get(..10).unwrap_or(&self.from)
    }
}

impl VersionBody {
    /// In the API's words.
    pub fn of(version: Version) -> VersionBody {
        VersionBody {
            from: time::stamp(version.from),
            facts: version.body.as_ref().map(Facts::of),
            registers: registers_of(&version.registers),
            by: version.by,
            entered: time::stamp(version.entered),
            reason: version.reason,
        }
    }
}

impl InstallationBody {
    /// In the API's words.
    pub fn of(one: &Installation) -> InstallationBody {
        InstallationBody {
            meter: one.meter.clone(),
            point: one.point.clone(),
            from: time::stamp(one.from),
            until: one.until.map(time::stamp),
            first: registers_of(&one.first),
            last: registers_of(&one.last),
        }
    }
}

impl FindingBody {
    /// In the API's words, with what mends it.
    pub fn of(finding: Finding) -> FindingBody {
        let repair = match finding.code {
            "point_without_transformer" => "say from which transformer the point is supplied",
            "point_without_meter" => "build a meter in, or close the point",
            "point_without_contract" => "enter the contract, or close the point",
            "customer_without_contract" => "enter a contract, or close the customer",
            "retired_meter_installed" => "take the meter out, or exchange it",
            "region_differs" => "place the meter where its point lies, or move the point",
            "parent_not_there" => "name what it hangs on now",
            "meter_without_point" => "build the meter in at its point, or retire it",
            _ => "look at both",
        };
        FindingBody {
            code: finding.code.to_owned(),
            kind: finding.object.kind.name().to_owned(),
            number: finding.object.id,
            other: finding.other,
            repair: repair.to_owned(),
        }
    }
}

/// The kind of a path's word, such as `feeders`.
pub fn kind_of(plural: &str) -> Result<Kind, Problem> {
    let singular = plural.strip_suffix('s').and_then(|one| one.parse().ok());
    singular.ok_or_else(|| Problem::missing("unknown_kind", plural.to_owned()))
}

/// A time of a request; none when left out.
pub fn at(what: &str, text: Option<&str>) -> Result<Option<Stamp>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    // A day alone begins at midnight UTC.
    let day = (text.len() == 10 && text.contains('-')).then(|| format!("{text}T00:00:00Z"));
    let seconds = time::parse(what, day.as_deref().unwrap_or(text))?;
    let seconds = u64::try_from(seconds)
        .map_err(|_| Problem::bad("bad_time", format!("{what}: before 1970")))?;
    Ok(Some(Stamp::from_seconds(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back_as_they_went() {
        for body in [
            Body::Point {
                region: 1,
                transformer: None,
                phases: Phases(5),
                address: "улица 1".into(),
                purpose: Purpose::Balance,
            },
            Body::Customer {
                region: 2,
                name: "李伟".into(),
                phone: String::new(),
                email: String::new(),
                class: Class::Public,
                language: "zh".into(),
            },
        ] {
            assert_eq!(Facts::of(&body).body(), Ok(body));
        }
        assert_eq!(phases_text(Phases(5)), "AC");
        assert_eq!(phases_of("D").map_err(|p| p.code), Err("bad_word".into()));
    }

    #[test]
    fn kinds_and_days_are_read() {
        assert_eq!(kind_of("points"), Ok(Kind::Point));
        assert_eq!(kind_of("point").map_err(|p| p.code), Err("unknown_kind".into()));
        assert_eq!(at("at", Some("2026-11-01")), Ok(Some(Stamp::from_seconds(1_793_491_200))));
        assert_eq!(at("at", None), Ok(None));
        assert!(at("at", Some("1969-01-01")).is_err());
    }
}
