//! From text and environment to checked tables, with every fault listed at once.
//!
//! Knows kinds of values, not what they are used for. Invariants: a faulty value never stops the
//! search for the next fault; a fault names its key, shows its value and says why; the values of
//! keys that hold hashes are not shown.

use std::fmt;
use std::net::SocketAddr;

use toml::{Table, Value};

use super::keys::{self, Kind};

/// One fault: which key, which value, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `section.name`, or the environment variable.
    pub key: String,
    /// The value as given; empty when there is none.
    pub value: String,
    /// Why it cannot be used.
    pub reason: String,
}

impl Fault {
    /// A fault of one key.
    pub fn new(
        key: impl Into<String>,
        value: impl fmt::Display,
        reason: impl Into<String>,
    ) -> Fault {
        Fault { key: key.into(), value: value.to_string(), reason: reason.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}: {}", self.key, self.reason)
        } else {
            write!(f, "{} = {}: {}", self.key, self.value, self.reason)
        }
    }
}

/// Puts the environment over the file: `HOLDFAST_SECTION__KEY`.
pub fn overlay(
    table: &mut Table,
    environment: impl Iterator<Item = (String, String)>,
    faults: &mut Vec<Fault>,
) {
    for (variable, text) in environment {
        let Some((section, name)) =
            variable.strip_prefix("HOLDFAST_").and_then(|rest| rest.split_once("__"))
        else {
            continue;
        };
        let (section, name) = (section.to_ascii_lowercase(), name.to_ascii_lowercase());
        let Some(key) = keys::find(&section, &name) else {
            faults.push(Fault::new(variable, "", "no such key"));
            continue;
        };
        let value = match key.kind {
            Kind::Integer(..) => text.parse().map(Value::Integer).ok(),
            Kind::Flag => text.parse().map(Value::Boolean).ok(),
            _ => None,
        };
        let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(name, value.unwrap_or(Value::String(text)));
        }
    }
}

/// Checks a whole file against the table of keys and fills in the defaults. What comes back holds
/// only good values, so that the caller can go on to look for faults between values.
pub fn check(table: &Table, faults: &mut Vec<Fault>) -> Table {
    let mut out = Table::new();
    for (name, value) in table {
        let known = keys::SECTIONS.iter().any(|(section, _)| section == name);
        match value {
            Value::Table(section) if known => {
                out.insert(name.clone(), Value::Table(check_section(name, section, faults)));
            }
            _ if known => faults.push(Fault::new(name, value, "must be a table")),
            _ => faults.push(Fault::new(name, "", unknown("section", name, section_names()))),
        }
    }
    for (section, _) in keys::SECTIONS.iter().filter(|(s, _)| !s.contains('.')) {
        if !out.contains_key(*section) {
            let empty = check_section(section, &Table::new(), faults);
            out.insert((*section).to_string(), Value::Table(empty));
        }
    }
    out
}

fn check_section(section: &str, given: &Table, faults: &mut Vec<Fault>) -> Table {
    let mut out = Table::new();
    for (name, value) in given {
        let inner = format!("{section}.{name}");
        if keys::SECTIONS.iter().any(|(known, _)| *known == inner) {
            out.insert(name.clone(), check_list(&inner, value, faults));
            continue;
        }
        let Some(key) = keys::find(section, name) else {
            let names = keys::all().filter(|k| k.section == section).map(|k| k.name);
            faults.push(Fault::new(inner, shown(name, value), unknown("key", name, names)));
            continue;
        };
        match check_value(key.kind, value) {
            Ok(()) => {
                out.insert(name.clone(), value.clone());
            }
            Err(reason) => faults.push(Fault::new(inner, shown(name, value), reason)),
        }
    }
    for key in keys::all().filter(|k| k.section == section && !given.contains_key(k.name)) {
        match key.default.and_then(default_value) {
            Some(value) => {
                out.insert(key.name.to_string(), value);
            }
            None => faults.push(Fault::new(format!("{section}.{}", key.name), "", "is missing")),
        }
    }
    out
}

fn check_list(section: &str, value: &Value, faults: &mut Vec<Fault>) -> Value {
    let Value::Array(items) = value else {
        faults.push(Fault::new(section, value, format!("must be [[{section}]] tables")));
        return Value::Array(Vec::new());
    };
    let mut out = Vec::new();
    for item in items {
        let Value::Table(table) = item else {
            faults.push(Fault::new(section, item, format!("must be [[{section}]] tables")));
            continue;
        };
        let before = faults.len();
        let checked = check_section(section, table, faults);
        if faults.len() == before {
            out.push(Value::Table(checked));
        }
    }
    Value::Array(out)
}

fn check_value(kind: Kind, value: &Value) -> Result<(), String> {
    let good = match (kind, value) {
        (Kind::Integer(low, high), Value::Integer(n)) => (low..=high).contains(n),
        (Kind::Flag, Value::Boolean(_)) => true,
        (Kind::Text, Value::String(s)) => !s.is_empty() && s.len() <= 255,
        (Kind::Path, Value::String(s)) => !s.is_empty() && !s.contains('\0'),
        (Kind::Listen, Value::String(s)) => s.parse::<SocketAddr>().is_ok(),
        (Kind::MaybeListen, Value::String(s)) => s == "none" || s.parse::<SocketAddr>().is_ok(),
        (Kind::HostPort, Value::String(s)) => is_host_port(s),
        (Kind::Hex(octets), Value::String(s)) => {
            s.len() == octets * 2 && s.bytes().all(|b| b.is_ascii_hexdigit())
        }
        (Kind::Choice(words), Value::String(s)) => words.contains(&s.as_str()),
        _ => false,
    };
    if good { Ok(()) } else { Err(format!("must be {}", expected(kind))) }
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Integer(low, high) => format!("a whole number from {low} to {high}"),
        Kind::Listen => "an IP address and a port, such as 127.0.0.1:8080".into(),
        Kind::MaybeListen => "an IP address and a port, or none".into(),
        Kind::HostPort => "a host and a port, such as n1.example:7001".into(),
        Kind::Text => "text of 1 to 255 octets".into(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        other => keys::describe(other),
    }
}

/// Whether a text is `host:port` with a port from 1 up.
pub fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_good = match bare {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.len() <= 253
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        }
    };
    host_good && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn default_value(text: &str) -> Option<Value> {
    let table: Table = format!("v = {text}").parse().ok()?;
    table.get("v").cloned()
}

fn shown(name: &str, value: &Value) -> String {
    if name.contains("token") || name.contains("secret") { "***".into() } else { value.to_string() }
}

fn section_names() -> impl Iterator<Item = &'static str> {
    keys::SECTIONS.iter().map(|(section, _)| *section).filter(|s| !s.contains('.'))
}

fn unknown<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let near = names.iter().find(|n| n.contains(name) || name.contains(*n));
    match near {
        Some(near) => format!("no such {what}; did you mean `{near}`?"),
        None => format!("no such {what}; known are {}", names.join(", ")),
    }
}
