//! Orders that act on a meter of IEC 62056-21: a value or the clock is written by write commands of
//! the programming mode, and read back by read commands.
//!
//! Invariants: 1. what is written has the digits and the decimals of what stands there, so one
//! number means one value in both directions; 2. `Acted` says that the meter acknowledged, only
//! reading back says that it stands; 3. once a write has gone out, no answer counts as no trace.

use std::time::Instant as Clock;

use cosem::iec62056_21::{DataSet, Decimal};
use domain::Obis;
use domain::commands::{Attribute, Failure, Order, Read, Value};
use domain::units::address::{Mode, ReadCommand};
use tokio::time::Instant;

use super::{LocalMeter, UNDEFINED};
use crate::order::{Anchor, Outcome};
use crate::script::{offset_read, seconds};
use crate::shared::Shared;
use crate::translate::local as translate;

/// A clock shows whole seconds, and two commands read it: off by less it is right.
const RIGHT_MS: i64 = 2_000;
/// Offset that may be left after the clock was set: the write takes its time on the line.
const LEFT_MS: i64 = 5_000;
/// Longest text that is written.
const MAX_TEXT: usize = 128;

/// The clock as it was read.
struct Shown {
    time: DataSet,
    date: DataSet,
    offset_ms: i64,
    reads: Vec<Read>,
}

impl LocalMeter {
    /// Carries out an order.
    ///
    /// # Errors
    /// As `LocalMeter::read`; `Held` for a clock that is too far off.
    pub(super) async fn act(
        &mut self,
        shared: &Shared,
        order: &Order,
        anchor: Anchor,
        deadline: Instant,
    ) -> Result<Outcome, Failure> {
        self.check_writable()?;
        match order {
            Order::Write { attribute, value, .. } => {
                check_attribute(attribute)?;
                let set = self.set_of(shared, attribute.obis, deadline).await?;
                let text = written(value, first(&set)?)?;
                let before = translate::read(attribute, &set)?;
                self.write(shared, attribute.obis, &text, deadline).await?;
                Ok(Outcome::Acted(vec![before]))
            }
            Order::Clock { limit_s, set } => {
                let shown = self.clock(shared, anchor, deadline).await?;
                let off_ms = shown.offset_ms.abs();
                if off_ms <= RIGHT_MS {
                    return Ok(Outcome::Acted(shown.reads));
                }
                if off_ms > i64::from(*limit_s) * 1_000 && !set {
                    let off = seconds(shown.offset_ms);
                    let text = format!("the clock is off by {off} s; the limit is {limit_s} s");
                    return Err(Failure::Held(text));
                }
                self.set_clock(shared, &shown, anchor, deadline).await?;
                Ok(Outcome::Acted(shown.reads))
            }
            // Its clock is set, not shifted: to ours less what the step leaves.
            Order::Shift { by_s, off_ms } => {
                let shown = self.clock(shared, anchor, deadline).await?;
                if (shown.offset_ms - off_ms).abs() > LEFT_MS {
                    let (now, then) = (seconds(shown.offset_ms), seconds(*off_ms));
                    let text = format!("the clock is off by {now} s, no longer by {then} s");
                    return Err(Failure::Held(text));
                }
                let left_ms = shown.offset_ms + i64::from(*by_s) * 1_000;
                self.set_clock(shared, &shown, anchor.later(left_ms), deadline).await?;
                Ok(Outcome::Acted(shown.reads))
            }
            Order::Switch { .. } => Err(unsupported("no switch is known of an IEC 62056-21 meter")),
            Order::Push { .. } | Order::Restart { .. } => {
                Err(unsupported("an order for a concentrator"))
            }
            Order::Read { .. } | Order::Profile { .. } => Err(unsupported("it only reads")),
        }
    }

    /// Whether the meter stands as an order wants it.
    ///
    /// # Errors
    /// As `LocalMeter::read`; `NotDone` when it does not.
    pub(super) async fn read_back(
        &mut self,
        shared: &Shared,
        order: &Order,
        anchor: Anchor,
        deadline: Instant,
    ) -> Result<Outcome, Failure> {
        self.check_writable()?;
        match order {
            Order::Write { attribute, value, .. } => {
                let set = self.set_of(shared, attribute.obis, deadline).await?;
                let text = first(&set)?;
                if !stands(value, text) {
                    return Err(Failure::NotDone("it holds another value".to_owned()));
                }
                Ok(Outcome::Reads(vec![translate::read(attribute, &set)?]))
            }
            Order::Clock { .. } => {
                let shown = self.clock(shared, anchor, deadline).await?;
                if shown.offset_ms.abs() > LEFT_MS {
                    let off = seconds(shown.offset_ms);
                    return Err(Failure::NotDone(format!("the clock is off by {off} s")));
                }
                Ok(Outcome::Reads(shown.reads))
            }
            Order::Shift { by_s, off_ms } => {
                let shown = self.clock(shared, anchor, deadline).await?;
                let goal_ms = off_ms + i64::from(*by_s) * 1_000;
                if (shown.offset_ms - goal_ms).abs() > LEFT_MS {
                    let off = seconds(shown.offset_ms);
                    return Err(Failure::NotDone(format!("the clock is off by {off} s")));
                }
                Ok(Outcome::Reads(shown.reads))
            }
            _ => Err(unsupported("no switch is known of an IEC 62056-21 meter")),
        }
    }

    /// How far the clock is off.
    pub(super) async fn offset(
        &mut self,
        shared: &Shared,
        anchor: Anchor,
        deadline: Instant,
    ) -> Result<Outcome, Failure> {
        self.check_writable()?;
        Ok(Outcome::Reads(self.clock(shared, anchor, deadline).await?.reads))
    }

    fn check_writable(&self) -> Result<(), Failure> {
        if matches!(self.local.mode, Mode::Auto | Mode::C) {
            return Ok(());
        }
        Err(unsupported("a value is written in the programming mode: mode=auto or mode=c"))
    }

    /// Reads time and date and measures how far they are off, with half the time of the reading.
    async fn clock(
        &mut self,
        shared: &Shared,
        anchor: Anchor,
        deadline: Instant,
    ) -> Result<Shown, Failure> {
        // The programming mode is opened before the time counts.
        let date = self.set_of(shared, translate::CLOCK_DATE, deadline).await?;
        let asked = Clock::now();
        let time = self.set_of(shared, translate::CLOCK_TIME, deadline).await?;
        let half = asked.elapsed() / 2;
        let obis = translate::CLOCK;
        let attribute = Attribute { class: 8, obis, attribute: 2 };
        let read = translate::clock(&attribute, &time, &date, self.local.utc_offset_minutes)?;
        let Value::Time { utc_s: Some(shown_s), .. } = read.value else {
            return Err(Failure::Access(UNDEFINED));
        };
        // Half a second stands for the part of it that the meter does not show.
        let now_ms = anchor.unix_ms(asked + half);
        let offset_ms = shown_s * 1_000 + 500 - now_ms;
        Ok(Shown { time, date, offset_ms, reads: vec![read, offset_read(offset_ms)] })
    }

    /// Writes the date where it is another one, then the time.
    async fn set_clock(
        &mut self,
        shared: &Shared,
        shown: &Shown,
        anchor: Anchor,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let offset = self.local.utc_offset_minutes;
        let form = translate::ClockForm::of(&shown.time, &shown.date, offset);
        let form = form.ok_or(Failure::Access(UNDEFINED))?;
        let now_s = |at: Clock| anchor.unix_ms(at).saturating_add(500) / 1_000;
        let (date, _) = form.texts(now_s(Clock::now()));
        let new_date = Some(date.as_str()) != first(&shown.date).ok();
        if new_date {
            self.write(shared, translate::CLOCK_DATE, &date, deadline).await?;
        }
        let (_, time) = form.texts(now_s(Clock::now()));
        match self.write(shared, translate::CLOCK_TIME, &time, deadline).await {
            // The date is changed already: reading back says what has become of the clock.
            Err(Failure::Unsupported(_)) if new_date => Ok(()),
            written => written,
        }
    }

    async fn write(
        &mut self,
        shared: &Shared,
        obis: Obis,
        text: &str,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let variant = match self.local.read {
            ReadCommand::R1 => '1',
            ReadCommand::R2 => '2',
            ReadCommand::R5 | ReadCommand::R6 => '5',
        };
        let data = format!("{}({text})", translate::code_of(obis));
        self.write_command(shared, variant, &data, deadline).await
    }
}

fn unsupported(text: &str) -> Failure {
    Failure::Unsupported(text.to_owned())
}

fn check_attribute(attribute: &Attribute) -> Result<(), Failure> {
    if attribute.attribute == 2 && attribute.obis != translate::CLOCK {
        return Ok(());
    }
    Err(unsupported("only values are written: attribute 2; the clock has an order of its own"))
}

fn first(set: &DataSet) -> Result<&str, Failure> {
    set.values.first().map(|value| value.text.as_str()).ok_or(Failure::Access(UNDEFINED))
}

/// The text of a value in the form of what stands there.
fn written(value: &Value, stands: &str) -> Result<String, Failure> {
    let number = match value {
        Value::Text(text) => return fitting(text),
        Value::Integer(number) => i128::from(*number),
        Value::Unsigned(number) => i128::from(*number),
        _ => return Err(unsupported("only numbers and texts are written")),
    };
    let (width, decimals) = match Decimal::parse(stands) {
        Some(decimal) => {
            let width = stands.bytes().filter(u8::is_ascii_digit).count();
            (width, usize::from(decimal.scaler.unsigned_abs()))
        }
        None => (1, 0),
    };
    let sign = if number < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", number.unsigned_abs());
    let whole = digits.len().saturating_sub(decimals);
    Ok(match digits.split_at_checked(whole) {
        Some((whole, part)) if decimals > 0 => format!("{sign}{whole}.{part}"),
        _ => format!("{sign}{digits}"),
    })
}

/// A text that a data set can hold (IEC 62056-21 clause 5.4): printable, without its delimiters.
fn fitting(text: &str) -> Result<String, Failure> {
    let fits = |octet: u8| (b' '..=b'~').contains(&octet) && !b"()*/!".contains(&octet);
    if text.len() <= MAX_TEXT && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(unsupported("a text that is written is printable ASCII without ( ) * / and !"))
}

/// Whether what stands there is the value.
fn stands(value: &Value, text: &str) -> bool {
    let number = match value {
        Value::Text(wanted) => return text.trim_end() == wanted.trim_end(),
        Value::Integer(number) => i128::from(*number),
        Value::Unsigned(number) => i128::from(*number),
        _ => return false,
    };
    Decimal::parse(text).is_some_and(|decimal| i128::from(decimal.integer) == number)
}

#[cfg(test)]
mod tests {
    use domain::commands::{Failure, Value};

    use super::{stands, written};

    #[test]
    fn what_is_written_has_the_form_of_what_stands_there() {
        for (value, before, text) in [
            (Value::Integer(12_345), "000007.89", "000123.45"),
            (Value::Unsigned(5), "0.00", "0.05"),
            (Value::Integer(-5), "0.00", "-0.05"),
            (Value::Unsigned(1_234_567), "12", "1234567"),
            (Value::Unsigned(7), "text", "7"),
            (Value::Text("AB 12".to_owned()), "0", "AB 12"),
        ] {
            assert_eq!(written(&value, before).as_deref(), Ok(text), "{value:?}");
            assert!(stands(&value, text), "{value:?} {text}");
        }
        for value in [
            Value::Text("a)b".to_owned()),
            Value::Text("\u{1}".to_owned()),
            Value::Text("x".repeat(129)),
            Value::Boolean(true),
        ] {
            assert!(matches!(written(&value, "1"), Err(Failure::Unsupported(_))), "{value:?}");
        }
        assert!(!stands(&Value::Unsigned(5), "0.50") && !stands(&Value::Unsigned(5), "five"));
    }
}
