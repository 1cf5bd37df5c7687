//! Orders in the API's words, both ways.

use domain::Obis;
use domain::commands::{Attribute, Order, Value, Wanted};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::areas::{readings, time};
use crate::http::problem::Problem;
use crate::secret::hex;

/// The largest step of a clock by shifting when nothing else is said, in seconds.
const DEFAULT_SHIFT_S: u16 = 60;

/// Types that can be written, by their names in IEC 62056-6-2 clause 4.1.5, and their tags.
const TYPES: [(&str, u8); 15] = [
    ("null-data", 0),
    ("boolean", 3),
    ("bit-string", 4),
    ("double-long", 5),
    ("double-long-unsigned", 6),
    ("octet-string", 9),
    ("visible-string", 10),
    ("utf8-string", 12),
    ("integer", 15),
    ("long", 16),
    ("unsigned", 17),
    ("long-unsigned", 18),
    ("long64", 20),
    ("long64-unsigned", 21),
    ("enum", 22),
];

/// What a device is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OrderBody {
    /// Read attributes now.
    Read {
        /// 1 to 64.
        attributes: Vec<AttributeBody>,
    },
    /// Read a load profile by range now.
    Profile {
        /// `1-0:99.1.0` when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        obis: Option<String>,
        /// First interval end (RFC 3339).
        from: String,
        /// Last interval end (RFC 3339).
        to: String,
    },
    /// Write an attribute and read it back.
    Write {
        /// Which.
        attribute: AttributeBody,
        /// The new value, unscaled: number, text, true or false, null, a list, or octets as
        /// `{"hex": "01ff"}`.
        #[schema(value_type = Object)]
        value: serde_json::Value,
        /// Its type, as long-unsigned; when left out, the one that the attribute has when it is
        /// read.
        #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
        type_name: Option<String>,
    },
    /// Open or close the supply switch and read its state.
    Switch {
        /// Where to.
        to: SwitchTo,
        /// Why, for the record: 1 to 200 octets.
        reason: String,
    },
    /// Measure the clock and bring it to the cluster's time.
    Clock {
        /// The largest step in seconds by shifting; 60 when left out, 900 at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit_s: Option<u16>,
        /// Set the time whatever the offset is.
        #[serde(default)]
        set: bool,
    },
    /// Shift a clock that is off by so much by one step, as tasks of clocks do.
    Shift {
        /// By how many seconds: 1 to 900 ahead or, below 0, back.
        by_s: i16,
        /// How far it was off when that was decided, milliseconds; ahead of ours is more than 0. A
        /// clock that stands elsewhere by then is left alone.
        off_ms: i64,
    },
    /// Read every parameter of a concentrator; see its `setup`.
    ReadSetup {},
    /// Set a concentrator to what is wanted of it. It is ordered by its `setup` alone.
    Push {
        /// Tells this set from others.
        version: u32,
        /// So long a new address has to prove itself, seconds.
        trial_s: u16,
        /// What is to stand where.
        wanted: Vec<WantedBody>,
    },
    /// Restart a concentrator, and see that it did.
    Restart {
        /// Why, for the record: 1 to 200 octets.
        reason: String,
    },
}

/// An attribute and the value that it is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedBody {
    /// Which.
    pub attribute: AttributeBody,
    /// The value, unscaled.
    #[schema(value_type = Object)]
    pub value: serde_json::Value,
}

/// Positions of a supply switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SwitchTo {
    /// Disconnected.
    Open,
    /// Connected.
    Close,
}

/// An attribute of a COSEM object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributeBody {
    /// OBIS code.
    pub obis: String,
    /// Interface class; when left out 8 for the clock 0-0:1.0.0, 1 for 0-0:42 and 0-0:96, else 3
    /// (register).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<u16>,
    /// Attribute; 2 (the value) when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<i8>,
}

impl OrderBody {
    /// As the domain has it.
    ///
    /// # Errors
    /// What cannot be understood: `bad_obis`, `bad_time`, `bad_value`.
    pub(super) fn to_order(&self) -> Result<Order, Problem> {
        Ok(match self {
            OrderBody::Read { attributes } => {
                let attributes = attributes.iter().map(attribute).collect::<Result<_, _>>()?;
                Order::Read { attributes }
            }
            OrderBody::Profile { obis, from, to } => Order::Profile {
                obis: obis.as_deref().map_or(Ok(Obis::LOAD_PROFILE), readings::obis)?,
                from_s: time::parse("from", from)?,
                to_s: time::parse("to", to)?,
            },
            OrderBody::Write { attribute: of, value, type_name } => Order::Write {
                attribute: attribute(of)?,
                value: to_value(value)?,
                tag: type_name.as_deref().map(tag).transpose()?,
            },
            OrderBody::Switch { to, reason } => {
                Order::Switch { close: *to == SwitchTo::Close, reason: reason.clone() }
            }
            OrderBody::Clock { limit_s, set } => {
                Order::Clock { limit_s: limit_s.unwrap_or(DEFAULT_SHIFT_S), set: *set }
            }
            OrderBody::Shift { by_s, off_ms } => Order::Shift { by_s: *by_s, off_ms: *off_ms },
            OrderBody::ReadSetup {} => Order::Read { attributes: domain::setups::attributes() },
            OrderBody::Push { .. } => {
                let text = "what is wanted of a concentrator is pushed by its setup";
                return Err(Problem::bad("bad_order", text));
            }
            OrderBody::Restart { reason } => Order::Restart { reason: reason.clone() },
        })
    }

    /// An order of the domain.
    pub(super) fn of(order: &Order) -> OrderBody {
        match order {
            Order::Read { attributes } => {
                OrderBody::Read { attributes: attributes.iter().map(attribute_body).collect() }
            }
            Order::Profile { obis, from_s, to_s } => OrderBody::Profile {
                obis: Some(obis.to_string()),
                from: time::rfc3339(*from_s),
                to: time::rfc3339(*to_s),
            },
            Order::Write { attribute, value, tag } => OrderBody::Write {
                attribute: attribute_body(attribute),
                value: of_value(value),
                type_name: tag.and_then(|tag| {
                    let known = TYPES.iter().find(|(_, number)| *number == tag);
                    known.map(|(name, _)| (*name).to_string())
                }),
            },
            Order::Switch { close, reason } => OrderBody::Switch {
                to: if *close { SwitchTo::Close } else { SwitchTo::Open },
                reason: reason.clone(),
            },
            Order::Clock { limit_s, set } => {
                OrderBody::Clock { limit_s: Some(*limit_s), set: *set }
            }
            Order::Shift { by_s, off_ms } => OrderBody::Shift { by_s: *by_s, off_ms: *off_ms },
            Order::Push { version, trial_s, wanted } => {
                let one = |one: &Wanted| WantedBody {
                    attribute: attribute_body(&one.attribute),
                    value: of_value(&one.value),
                };
                let wanted = wanted.iter().map(one).collect();
                OrderBody::Push { version: *version, trial_s: *trial_s, wanted }
            }
            Order::Restart { reason } => OrderBody::Restart { reason: reason.clone() },
        }
    }
}

fn attribute(given: &AttributeBody) -> Result<Attribute, Problem> {
    let obis = readings::obis(&given.obis)?;
    let [a, _, c, d, _, _] = obis.0;
    let usual = match (a, c, d) {
        (0, 1, 0) => 8,
        (0, 42 | 96, _) => 1,
        _ => 3,
    };
    let class = given.class.unwrap_or(usual);
    Ok(Attribute { class, obis, attribute: given.attribute.unwrap_or(2) })
}

fn attribute_body(attribute: &Attribute) -> AttributeBody {
    AttributeBody {
        obis: attribute.obis.to_string(),
        class: Some(attribute.class),
        attribute: Some(attribute.attribute),
    }
}

fn tag(name: &str) -> Result<u8, Problem> {
    let known = TYPES.iter().find(|(known, _)| *known == name);
    known.map(|(_, tag)| *tag).ok_or_else(|| {
        let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        Problem::bad("bad_value", format!("no type {name:?}; there are {}", names.join(", ")))
    })
}

/// A value to be written. Nesting is bounded by the JSON parser's 128 levels.
fn to_value(given: &serde_json::Value) -> Result<Value, Problem> {
    use serde_json::Value as Json;
    let bad = |text: &str| Problem::bad("bad_value", text.to_string());
    Ok(match given {
        Json::Null => Value::Null,
        Json::Bool(yes) => Value::Boolean(*yes),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Value::Unsigned(number),
            (None, Some(number)) => Value::Integer(number),
            (None, None) => return Err(bad("a number to be written is a whole one, unscaled")),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(to_value).collect::<Result<_, _>>()?),
        Json::Object(fields) => match (fields.len(), fields.get("hex").and_then(Json::as_str)) {
            (1, Some(text)) => {
                let octets = crate::secret::unhex(text);
                Value::Octets(octets.ok_or_else(|| bad("hex is pairs of hex digits"))?)
            }
            _ => return Err(bad("octets are written as {\"hex\": \"01ff\"}")),
        },
    })
}

fn of_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Null | Value::Refused(_) => serde_json::Value::Null,
        Value::Boolean(yes) => (*yes).into(),
        Value::Integer(number) => (*number).into(),
        Value::Unsigned(number) => (*number).into(),
        Value::Octets(octets) => serde_json::json!({"hex": hex(octets)}),
        Value::Text(text) | Value::Float(text) | Value::Time { text, .. } => text.clone().into(),
        Value::Bits(bits) => {
            bits.iter().map(|bit| if *bit { '1' } else { '0' }).collect::<String>().into()
        }
        Value::List(items) => items.iter().map(of_value).collect::<Vec<_>>().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{AttributeBody, OrderBody, attribute};

    #[test]
    fn usual_classes_are_filled_in() {
        for (obis, class) in [("1-0:1.8.0", 3), ("0-0:1.0.0", 8), ("0-0:42.0.0", 1)] {
            let given = AttributeBody { obis: obis.to_string(), class: None, attribute: None };
            let found = attribute(&given).expect(obis);
            assert_eq!((found.class, found.attribute), (class, 2), "{obis}");
        }
    }

    #[test]
    fn orders_read_back_as_given() {
        let (from, to) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let table = [
            format!(r#"{{"kind":"profile","obis":"1-0:99.1.0","from":"{from}","to":"{to}"}}"#),
            r#"{"kind":"switch","to":"open","reason":"arrears"}"#.to_string(),
            r#"{"kind":"clock","limit_s":30,"set":true}"#.to_string(),
            r#"{"kind":"write","attribute":{"obis":"0-0:17.0.0","class":71,"attribute":4},
                "value":[1,-2,true,null,"on",{"hex":"01ff"}],"type":"long-unsigned"}"#
                .to_string(),
        ];
        for text in table {
            let given: OrderBody = serde_json::from_str(&text).expect("an order");
            assert_eq!(OrderBody::of(&given.to_order().expect("a good one")), given, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_told() {
        let head = r#"{"kind":"write","attribute":{"obis":"0-0:17.0.0"}"#;
        for rest in [r#""value":1.5"#, r#""value":{"hex":"0"}"#, r#""value":1,"type":"u16""#] {
            let given: OrderBody = serde_json::from_str(&format!("{head},{rest}}}")).expect(rest);
            let problem = given.to_order().expect_err(rest);
            assert_eq!(problem.code, "bad_value", "{rest}");
        }
    }
}
