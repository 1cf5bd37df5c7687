//! What pages say of the API's bodies, in the reader's language.

use super::clock;
use super::devices::Row;
use crate::areas::alarms::AlarmBody;
use crate::areas::channels::GrantBody;
use crate::areas::commands::{AttributeBody, CommandBody, OrderBody, SwitchTo};
use crate::areas::concentrators::ChannelBody;
use crate::areas::gaps::{GapBody, MeterGaps};
use crate::areas::meters::{MeterBody, SeriesBody};
use crate::texts::{Language, escaped};

impl ChannelBody {
    pub(super) fn since_clock(&self) -> String {
        clock(&self.since)
    }
}

impl MeterBody {
    pub(super) fn registered_clock(&self) -> String {
        clock(&self.registered)
    }
}

impl SeriesBody {
    pub(super) fn first_clock(&self) -> String {
        clock(&self.first)
    }

    pub(super) fn last_clock(&self) -> String {
        clock(&self.last)
    }
}

impl MeterGaps {
    pub(super) fn first_clock(&self) -> String {
        clock(&self.first)
    }

    pub(super) fn last_clock(&self) -> String {
        clock(&self.last)
    }
}

impl GapBody {
    pub(super) fn begin_clock(&self) -> String {
        clock(&self.from)
    }

    pub(super) fn end_clock(&self) -> String {
        clock(&self.to)
    }
}

impl Row {
    pub(super) fn time_clock(&self) -> String {
        clock(&self.time)
    }

    /// The words of the value's marks, with their codes, as markup.
    pub(super) fn quality(&self, t: &Language) -> String {
        let words = self.quality.split(',').map(|code| t.coded("quality", code));
        words.collect::<Vec<_>>().join(", ")
    }
}

impl GrantBody {
    pub(super) fn since_clock(&self) -> String {
        clock(&self.since)
    }

    pub(super) fn until_clock(&self) -> String {
        self.until.as_deref().map_or_else(|| "–".to_owned(), clock)
    }
}

impl AlarmBody {
    pub(super) fn time_clock(&self) -> String {
        clock(&self.time)
    }
}

fn or_dash(time: Option<&String>) -> String {
    time.map_or_else(|| "–".to_owned(), |time| clock(time))
}

impl CommandBody {
    pub(super) fn sent_clock(&self) -> String {
        or_dash(self.sent.as_ref())
    }

    pub(super) fn acknowledged_clock(&self) -> String {
        or_dash(self.acknowledged.as_ref())
    }

    pub(super) fn settled_clock(&self) -> String {
        or_dash(self.settled.as_ref())
    }

    pub(super) fn expires_clock(&self) -> String {
        clock(&self.expires)
    }

    pub(super) fn queued_clock(&self) -> String {
        clock(&self.queued)
    }

    /// What was ordered.
    pub(super) fn ordered(&self, t: &Language) -> String {
        let (kind, of) = match &self.order {
            OrderBody::Read { attributes } => ("read", codes(attributes)),
            OrderBody::Profile { obis, .. } => ("profile", obis.clone().unwrap_or_default()),
            OrderBody::Write { attribute, .. } => ("write", attribute.obis.clone()),
            OrderBody::Switch { to: SwitchTo::Open, .. } => ("open", String::new()),
            OrderBody::Switch { to: SwitchTo::Close, .. } => ("close", String::new()),
            OrderBody::Clock { .. } => ("clock", String::new()),
            OrderBody::ReadSetup {} => ("read", String::new()),
            OrderBody::Push { wanted, .. } => ("push", format!("({})", wanted.len())),
            OrderBody::Restart { .. } => ("restart", String::new()),
            OrderBody::Shift { by_s, .. } => ("shift", format!("{by_s:+} s")),
        };
        format!("{} {of}", t.word("order", kind)).trim_end().to_owned()
    }

    /// What came of it, as markup.
    pub(super) fn answer(&self, t: &Language) -> String {
        if let Some(failure) = &self.failure {
            return t.coded("refusal", &failure.code);
        }
        let Some(values) = &self.values else { return "–".to_string() };
        match values.as_slice() {
            [one] => {
                let value = one.value.as_str().map_or(one.value.to_string(), str::to_string);
                let is_number = value.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
                let value = if is_number { t.decimal(&value) } else { value };
                let text = format!("{value} {}", one.unit.as_deref().unwrap_or(""));
                escaped(text.trim_end())
            }
            many => escaped(&t.say("commands.values").with("n", many.len()).to_string()),
        }
    }
}

fn codes(attributes: &[AttributeBody]) -> String {
    let codes: Vec<&str> = attributes.iter().map(|one| one.obis.as_str()).take(4).collect();
    let more = if attributes.len() > 4 { ", …" } else { "" };
    format!("{}{more}", codes.join(", "))
}
