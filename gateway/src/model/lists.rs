//! Lists of event codes and of register bits that models name. They come from `models/codes.toml`
//! and from the model itself; a list of the model goes before one of the same name.
//!
//! Invariant: a list is built from its base, then moved, then its own codes go over it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::fault::{At, Faults};
use super::file::CodesFile;

/// The lists that ship with the program.
const SHIPPED: &str = include_str!("../../models/codes.toml");

/// The most lists that stand on one another.
const MAX_BASES: usize = 4;

/// What the codes of a log mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodeList {
    names: BTreeMap<u16, String>,
}

impl CodeList {
    /// What a code means.
    #[must_use]
    pub fn name(&self, code: u16) -> Option<&str> {
        self.names.get(&code).map(String::as_str)
    }

    /// Number of codes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no code.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// What the bits of a register mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BitList {
    names: BTreeMap<u8, String>,
}

impl BitList {
    /// What a bit means, counted from 0, the lowest.
    #[must_use]
    pub fn name(&self, bit: u8) -> Option<&str> {
        self.names.get(&bit).map(String::as_str)
    }

    /// The names of the bits that are set; a bit without a name is `bit_N`.
    #[must_use]
    pub fn set_in(&self, word: u64) -> Vec<String> {
        let is_set = |bit: &u8| word >> bit & 1 == 1;
        let name = |bit| self.name(bit).map_or_else(|| format!("bit_{bit}"), str::to_owned);
        (0..64).filter(is_set).map(name).collect()
    }
}

/// Named lists of both kinds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListsFile {
    codes: BTreeMap<String, CodesFile>,
    bits: BTreeMap<String, BTreeMap<String, String>>,
}

// A shipped file is read by a test, so what does not parse never ships.
static LISTS: LazyLock<ListsFile> = LazyLock::new(|| toml::from_str(SHIPPED).unwrap_or_default());

/// The lists that a model may name: its own, and behind them the shipped ones.
pub(super) struct Lists<'m> {
    pub codes: &'m BTreeMap<String, CodesFile>,
    pub bits: &'m BTreeMap<String, BTreeMap<String, String>>,
}

impl Lists<'_> {
    /// The code list of this name.
    pub fn code_list(&self, name: &str, at: &At, faults: &mut Faults) -> CodeList {
        let mut names = BTreeMap::new();
        self.fill(name, MAX_BASES, &mut names, at, faults);
        CodeList { names }
    }

    fn fill(
        &self,
        name: &str,
        bases: usize,
        names: &mut BTreeMap<u16, String>,
        at: &At,
        faults: &mut Faults,
    ) {
        let own = self.codes.get(name);
        let shipped = LISTS.codes.get(name);
        let Some(list) = own.or(shipped) else {
            let known: Vec<&str> =
                self.codes.keys().chain(LISTS.codes.keys()).map(String::as_str).collect();
            let text = format!("no code list {name:?}; there are {}", known.join(", "));
            faults.add(at, "unknown_list", text);
            return;
        };
        match &list.base {
            Some(base) if base == name && own.is_some() && shipped.is_some() => {
                let shipped = Lists { codes: &LISTS.codes, bits: &LISTS.bits };
                shipped.fill(base, bases.saturating_sub(1), names, at, faults);
            }
            Some(_) if bases == 0 => {
                let text = format!("code list {name:?} stands on itself, or on too many others");
                faults.add(at, "unknown_list", text);
            }
            Some(base) => self.fill(base, bases - 1, names, at, faults),
            None => {}
        }
        shift(list, names);
        for (code, event) in &list.events {
            match code.parse::<u16>() {
                Ok(code) => {
                    names.insert(code, event.clone());
                }
                Err(_) => {
                    let text = format!("{code:?} in code list {name:?} is no code of 0 to 65535");
                    faults.add(at, "bad_code", text);
                }
            }
        }
    }

    /// The bit list of this name.
    pub fn bit_list(&self, name: &str, at: &At, faults: &mut Faults) -> BitList {
        let Some(list) = self.bits.get(name).or_else(|| LISTS.bits.get(name)) else {
            let known: Vec<&str> =
                self.bits.keys().chain(LISTS.bits.keys()).map(String::as_str).collect();
            let text = format!("no bit list {name:?}; there are {}", known.join(", "));
            faults.add(at, "unknown_list", text);
            return BitList::default();
        };
        let mut names = BTreeMap::new();
        for (bit, meaning) in list {
            match bit.parse::<u8>().ok().filter(|bit| *bit < 64) {
                Some(bit) => {
                    names.insert(bit, meaning.clone());
                }
                None => {
                    let text = format!("{bit:?} in bit list {name:?} is no bit of 0 to 63");
                    faults.add(at, "bad_code", text);
                }
            }
        }
        BitList { names }
    }
}

/// Moves ranges of codes. A moved code leaves its old place.
fn shift(list: &CodesFile, names: &mut BTreeMap<u16, String>) {
    for shift in &list.shift {
        let codes: Vec<u16> =
            names.range(shift.from..=shift.to.max(shift.from)).map(|(code, _)| *code).collect();
        let moved: Vec<(u16, String)> =
            codes.into_iter().filter_map(|code| names.remove_entry(&code)).collect();
        for (code, name) in moved {
            if let Some(code) = code.checked_add_signed(shift.by) {
                names.insert(code, name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LISTS, Lists, SHIPPED};
    use crate::model::fault::{At, Faults};

    #[test]
    fn shipped_lists_parse_and_every_list_can_be_built() {
        toml::from_str::<super::ListsFile>(SHIPPED).unwrap();
        let lists = Lists { codes: &LISTS.codes, bits: &LISTS.bits };
        let mut faults = Faults::default();
        let at = At::top();
        let idis = lists.code_list("idis", &at, &mut faults);
        let dsmr = lists.code_list("dsmr", &at, &mut faults);
        let moved = lists.code_list("idis_power_quality_plus_2", &at, &mut faults);
        let check = |code: u16, expect: [Option<&str>; 3]| {
            assert_eq!([&idis, &dsmr, &moved].map(|list| list.name(code)), expect, "{code}");
        };
        check(1, [Some("power_down"); 3]);
        check(
            48,
            [Some("global_key_changed"), Some("module_cover_opened"), Some("global_key_changed")],
        );
        check(76, [Some("under_voltage_l1"), Some("under_voltage_l1"), None]);
        check(78, [Some("under_voltage_l3"), Some("under_voltage_l3"), Some("under_voltage_l1")]);
        check(255, [Some("log_cleared"); 3]);
        check(300, [None; 3]);
        let alarms = lists.bit_list("idis_1", &at, &mut faults);
        assert_eq!(alarms.set_in(0x2003), ["clock_invalid", "replace_battery", "fraud_attempt"]);
        assert_eq!(alarms.set_in(1 << 40), ["bit_40"]);
        assert_eq!(faults.finish(), []);
        assert!(lists.code_list("none", &at, &mut Faults::default()).is_empty());
    }
}
