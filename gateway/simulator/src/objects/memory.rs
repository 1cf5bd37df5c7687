//! What one meter remembers of what was done to it: written attributes, switchings, clock steps,
//! events, tariffs, image, tokens and keys. A meter that nobody touched remembers nothing, so a
//! field of many meters costs no memory.
//!
//! Invariants: every list is bounded and loses its oldest element first; times are true time in
//! seconds UTC; keys never show in Debug.

use std::collections::BTreeMap;

use cosem::Data;
use serde::{Deserialize, Serialize};

use crate::field::{Key, Past};

/// Events kept in a log; older ones fall out.
pub const LOG_ENTRIES: usize = 100;
/// Tariff settlements kept.
const SETTLED: usize = 8;
/// Tokens kept, so that none is taken twice.
const TOKENS: usize = 100;
/// Captures of the billing profile that somebody ordered.
const CAPTURES: usize = 12;

/// An entry of an event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at_s: i64,
    /// What: a code of IDIS.
    pub code: u8,
}

/// Registers of the four rates when another calendar took over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// When.
    pub at_s: i64,
    /// A+ by rate, Wh.
    pub import_wh: [u64; 4],
    /// A- by rate, Wh.
    pub export_wh: [u64; 4],
    /// Seasons, weeks, days and special days from then on, A-XDR as hex.
    pub calendar: String,
}

/// A token that was entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// When.
    pub at_s: i64,
    /// Its digits.
    pub digits: String,
    /// Status code of class 115.
    pub status: u8,
}

/// Image transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Identifier, hex.
    pub identifier: String,
    /// Announced size, octets.
    pub size: u32,
    /// One character a block, `1` when it came.
    pub blocks: String,
    /// Hash over the blocks, hex.
    pub digest: String,
    /// Whether the first block says that the image is bad.
    pub bad: bool,
    /// image_transfer_status.
    pub status: u8,
    /// Until when it is busy with the last order.
    pub busy_until_s: i64,
    /// Identifier of the activated image, which is the firmware id from then on.
    pub active: Option<String>,
}

/// Keys and secrets that replaced those of the factory.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewKeys {
    /// Global unicast encryption key, hex.
    pub guek: Option<String>,
    /// Global broadcast encryption key, hex.
    pub gbek: Option<String>,
    /// Global authentication key, hex.
    pub gak: Option<String>,
    /// Key-encryption key, hex.
    pub kek: Option<String>,
    /// Secret of LLS and of HLS 3, 4 and 6, hex.
    pub secret: Option<String>,
}

impl std::fmt::Debug for NewKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewKeys(..)")
    }
}

/// What a meter remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MeterMemory {
    /// Written attributes: `class.logical name.attribute` to A-XDR as hex.
    written: BTreeMap<String, String>,
    /// Events by log.
    pub events: BTreeMap<u8, Vec<Event>>,
    /// Switchings and clock steps.
    pub past: Past,
    /// Whether the customer still has to press the button, since when.
    pub ready_since_s: Option<i64>,
    /// Calendars that were activated.
    pub settled: Vec<Settled>,
    /// Credit that was settled: when and how much.
    pub credit: Option<(i64, i64)>,
    /// Tokens entered.
    pub tokens: Vec<Token>,
    /// Firmware update.
    pub image: Image,
    /// Keys.
    pub keys: NewKeys,
    /// Alarm registers.
    pub alarms: [u32; 2],
    /// Alarm descriptors.
    pub descriptors: [u32; 2],
    /// Error register bits that were cleared.
    pub errors_cleared: u32,
    /// Profiles emptied: logical name to the time.
    pub emptied: BTreeMap<String, i64>,
    /// Captures of the billing profile that were ordered.
    pub captures: Vec<i64>,
    /// Maximum demand was reset at.
    pub demand_reset_s: Option<i64>,
    /// Time that `preset_adjusting_time` holds ready: time, from, to.
    pub preset: Option<(i64, i64, i64)>,
    /// Up to when schedules have been looked at.
    pub looked_s: Option<i64>,
}

impl MeterMemory {
    /// The written value of an attribute.
    #[must_use]
    pub fn written(&self, class: u16, name: [u8; 6], attribute: i8) -> Option<Data> {
        let octets = from_hex(self.written.get(&place(class, name, attribute))?)?;
        Data::decode(&octets).ok()
    }

    /// Writes an attribute.
    pub fn write(&mut self, class: u16, name: [u8; 6], attribute: i8, value: &Data) {
        self.written.insert(place(class, name, attribute), hex(&value.to_axdr()));
    }

    /// Records an event.
    pub fn record(&mut self, log: u8, at_s: i64, code: u8) {
        push_bounded(self.events.entry(log).or_default(), Event { at_s, code }, LOG_ENTRIES);
    }

    /// Keeps the registers at the end of a calendar.
    pub fn settle(&mut self, settled: Settled) {
        push_bounded(&mut self.settled, settled, SETTLED);
    }

    /// Keeps a token.
    pub fn keep_token(&mut self, token: Token) {
        push_bounded(&mut self.tokens, token, TOKENS);
    }

    /// Keeps an ordered capture.
    pub fn capture(&mut self, at_s: i64) {
        push_bounded(&mut self.captures, at_s, CAPTURES);
    }
}

/// Appends; the oldest element falls out when there would be more than `most`.
fn push_bounded<T>(list: &mut Vec<T>, element: T, most: usize) {
    if list.len() >= most {
        list.remove(0);
    }
    list.push(element);
}

fn place(class: u16, name: [u8; 6], attribute: i8) -> String {
    let [a, b, c, d, e, f] = name;
    format!("{class}.{a}-{b}:{c}.{d}.{e}.{f}.{attribute}")
}

/// Octets as hex, lower case.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Octets from hex.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
        .collect()
}

/// A key of 16 octets from hex.
#[must_use]
pub fn key_of(text: Option<&String>) -> Option<Key> {
    from_hex(text?)?.try_into().ok().map(Key)
}

#[cfg(test)]
mod tests {
    use cosem::Data;

    use super::{LOG_ENTRIES, MeterMemory, from_hex, hex};

    #[test]
    fn what_is_written_comes_back_over_a_restart() {
        let mut memory = MeterMemory::default();
        memory.write(3, [1, 0, 1, 8, 0, 255], 2, &Data::U32(7));
        memory.keys.guek = Some("5a".repeat(16));
        let kept = serde_json::to_string(&memory).unwrap();
        let back: MeterMemory = serde_json::from_str(&kept).unwrap();
        assert_eq!(back, memory);
        assert_eq!(back.written(3, [1, 0, 1, 8, 0, 255], 2), Some(Data::U32(7)));
        assert_eq!(back.written(3, [1, 0, 1, 8, 0, 255], 3), None);
        assert!(!format!("{memory:?}").contains("5a5a"));
    }

    #[test]
    fn logs_lose_their_oldest_entries_only() {
        let mut memory = MeterMemory::default();
        for at_s in 0..LOG_ENTRIES as i64 + 5 {
            memory.record(0, at_s, 4);
        }
        let log = &memory.events[&0];
        assert_eq!((log.len(), log[0].at_s), (LOG_ENTRIES, 5));
        assert_eq!(from_hex(&hex(&[0, 171, 255])), Some(vec![0, 171, 255]));
        assert_eq!((from_hex("0"), from_hex("zz")), (None, None));
    }
}
