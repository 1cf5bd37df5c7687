//! Payment: account, credits, charge and token gateway (classes 111, 112, 113, 115).
//!
//! The consumption charge takes [`PRICE`] hundredths a kWh from the credit that was paid in. Rule
//! for tokens (not STS, which has its own keys): a token has 20 digits whose Luhn sum is a multiple
//! of ten; digits 2 to 8 are the credit in hundredths; each is taken once.
//!
//! Invariant: credit = what was settled - price * energy since then, so it follows the registers.

use cosem::data::BitString;
use cosem::{Data, DataAccessError};

use super::Meter;
use super::catalogue::{CHARGE, Flow};
use super::memory::Token;

/// Hundredths of the currency for a kWh.
pub const PRICE: i64 = 25;
/// Hundredths that a meter has at the beginning of a month when nobody ever paid.
const OPENING: i64 = 50_000;
/// Token status codes of class 115.
const TAKEN: u8 = 3;
const BAD_FORMAT: u8 = 4;
const BAD_CHECK: u8 = 5;
const USED: u8 = 6;

const CREDIT: [u8; 6] = [0, 0, 19, 10, 0, 255];
const EMERGENCY: [u8; 6] = [0, 0, 19, 10, 1, 255];

impl Meter<'_> {
    fn price(&self) -> i64 {
        let unit = self.memory.written(113, CHARGE, 5);
        let fields = unit.as_ref().and_then(Data::as_structure);
        let table = fields.and_then(|fields| fields.get(2)?.as_array()?.first()?.as_structure());
        table.and_then(|entry| entry.get(1)?.as_i64()).unwrap_or(PRICE)
    }

    fn charged(&self, from_s: i64, to_s: i64) -> i64 {
        let wh = self.registers(to_s).of(Flow::Import) - self.registers(from_s).of(Flow::Import);
        i64::try_from(wh).unwrap_or(i64::MAX).saturating_mul(self.price()) / 1_000
    }

    /// Credit paid in, hundredths.
    #[must_use]
    pub fn credit_left(&self) -> i64 {
        let now = self.moment.now_s;
        let (since, amount) = self.memory.credit.unwrap_or((self.period_start(now), OPENING));
        amount - self.charged(since, now)
    }

    fn set_credit(&mut self, amount: i64) {
        self.memory.credit = Some((self.moment.now_s, amount));
    }

    /// Attributes of the account.
    pub(super) fn account(&self, attribute: i8) -> Result<Data, DataAccessError> {
        let left = self.credit_left();
        let never = || Data::octets(&cosem::DateTime::NOT_SPECIFIED.to_octets());
        Ok(match attribute {
            // Prepayment, active.
            2 => Data::Structure(vec![Data::Enum(2), Data::Enum(2)]),
            3 => Data::U8(if left > 0 { 0 } else { 1 }),
            4 => Data::BitString(BitString::new(&[left > 0, left <= 0])),
            5 => amount(left),
            6 => amount((-left).max(0)),
            7 | 17 => Data::I32(0),
            8 => amount(0),
            9 => Data::Array(vec![Data::octets(&CREDIT), Data::octets(&EMERGENCY)]),
            10 => Data::Array(vec![Data::octets(&CHARGE)]),
            11 => Data::Array(vec![Data::Structure(vec![
                Data::octets(&CREDIT),
                Data::octets(&CHARGE),
                Data::BitString(BitString::new(&[false, false, false])),
            ])]),
            12 => Data::Array(vec![Data::Structure(vec![Data::octets(&CREDIT), Data::U8(100)])]),
            13 => self.time_cell(super::tariff::COMMISSIONED_S),
            14 => never(),
            15 => Data::Structure(vec![Data::Utf8(b"EUR"[..].into()), Data::I8(-2), Data::Enum(0)]),
            16 => Data::I32(500),
            18 => Data::U16(0),
            19 => Data::I32(0),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Attributes of a credit: 0 what was paid in, 1 for emergencies.
    pub(super) fn credit(&self, which: u8, attribute: i8) -> Result<Data, DataAccessError> {
        let left = self.credit_left();
        let emergency = which == 1;
        Ok(match attribute {
            2 => amount(if emergency { 1_000 } else { left }),
            3 => Data::Enum(if emergency { 2 } else { 0 }),
            4 => Data::U8(1 + which),
            5 => Data::I32(500),
            6 => Data::I32(0),
            7 => Data::BitString(BitString::new(&[true, emergency, emergency, false, !emergency])),
            8 => Data::Enum(match (emergency, left > 0) {
                (false, true) | (true, false) => 2,
                (false, false) => 4,
                (true, true) => 0,
            }),
            9 => Data::I32(if emergency { 1_000 } else { 0 }),
            10 => Data::I32(0),
            11 => Data::octets(&cosem::DateTime::NOT_SPECIFIED.to_octets()),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Methods update_amount, set_amount_to_value and invoke_credit.
    pub(super) fn credit_method(
        &mut self,
        which: u8,
        method: i8,
        parameter: Option<&Data>,
    ) -> Result<Option<Data>, DataAccessError> {
        if which == 1 && method != 3 {
            return Err(DataAccessError::ReadWriteDenied);
        }
        let given = || parameter.and_then(Data::as_i64).ok_or(DataAccessError::TypeUnmatched);
        let left = self.credit_left();
        match method {
            1 => self.set_credit(left.saturating_add(given()?)),
            2 => {
                self.set_credit(given()?);
                return Ok(Some(amount(left)));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Methods of the account; a simulated account is always active.
    pub(super) fn account_method(&mut self, method: i8) -> Result<(), DataAccessError> {
        if method != 3 {
            return Err(DataAccessError::OtherReason);
        }
        self.set_credit(0);
        Ok(())
    }

    /// Attributes of the consumption charge.
    pub(super) fn charge(&self, attribute: i8) -> Result<Data, DataAccessError> {
        let now = self.moment.now_s;
        let unit = |price: i64| {
            let entry = Data::Structure(vec![
                Data::octets(&[0]),
                Data::I16(i16::try_from(price).unwrap_or(i16::MAX)),
            ]);
            let commodity = Data::Structure(vec![
                Data::U16(3),
                Data::octets(&[1, 0, 1, 8, 0, 255]),
                Data::I8(2),
            ]);
            let scale = Data::Structure(vec![Data::I8(3), Data::I8(-2)]);
            Data::Structure(vec![scale, commodity, Data::Array(vec![entry])])
        };
        let never = || Data::octets(&cosem::DateTime::NOT_SPECIFIED.to_octets());
        Ok(match attribute {
            2 | 11 => amount(self.charged(self.period_start(now), now)),
            3 => Data::Enum(0),
            4 => Data::U8(1),
            5 => unit(PRICE),
            6 => self.current(113, CHARGE, 5),
            7 => never(),
            8 => Data::U32(0),
            9 => Data::BitString(BitString::new(&[false, true])),
            10 => self.time_cell(now / 60 * 60),
            12 => amount(0),
            13 => Data::U16(0),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Methods of the charge: 2 takes the passive unit charge, the others change a debt that a
    /// consumption charge does not have.
    pub(super) fn charge_method(&mut self, method: i8) -> Result<(), DataAccessError> {
        if method != 2 {
            return Err(DataAccessError::OtherReason);
        }
        let left = self.credit_left();
        self.set_credit(left);
        let passive = self.current(113, CHARGE, 6);
        self.memory.write(113, CHARGE, 5, &passive);
        Ok(())
    }

    /// Attributes of the token gateway.
    pub(super) fn tokens(&self, attribute: i8) -> Result<Data, DataAccessError> {
        let last = self.memory.tokens.last();
        Ok(match attribute {
            2 => Data::octets(last.map_or(&[][..], |token| token.digits.as_bytes())),
            3 => match last {
                Some(token) => self.time_cell(token.at_s),
                None => Data::octets(&cosem::DateTime::NOT_SPECIFIED.to_octets()),
            },
            4 => Data::Array(Vec::new()),
            // Remote.
            5 => Data::Enum(0),
            6 => Data::Structure(vec![
                Data::Enum(last.map_or(0, |token| token.status)),
                Data::BitString(BitString::new(&[])),
            ]),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Method enter.
    pub(super) fn enter(&mut self, parameter: Option<&Data>) -> Result<(), DataAccessError> {
        let octets = parameter.and_then(Data::as_octets).ok_or(DataAccessError::TypeUnmatched)?;
        let kept = octets.get(..octets.len().min(32)).unwrap_or(&[]);
        let digits = String::from_utf8_lossy(kept).into_owned();
        let taken = |token: &Token| token.digits == digits && token.status == TAKEN;
        let status = match value_of(octets) {
            Err(status) => status,
            Ok(_) if self.memory.tokens.iter().any(taken) => USED,
            Ok(_) => TAKEN,
        };
        if let (TAKEN, Ok(value)) = (status, value_of(octets)) {
            let left = self.credit_left();
            self.set_credit(left + value);
        }
        self.memory.keep_token(Token { at_s: self.moment.now_s, digits, status });
        if status == TAKEN { Ok(()) } else { Err(DataAccessError::OtherReason) }
    }
}

/// Credit of a token in hundredths, or the status that refuses it.
fn value_of(octets: &[u8]) -> Result<i64, u8> {
    if octets.len() != 20 || !octets.iter().all(u8::is_ascii_digit) {
        return Err(BAD_FORMAT);
    }
    let digit = |octet: &u8| i64::from(octet - b'0');
    // Luhn: from the right every second digit counts twice, its digits added.
    let sum: i64 = octets
        .iter()
        .rev()
        .enumerate()
        .map(|(at, octet)| match (at % 2, digit(octet)) {
            (0, digit) => digit,
            (_, digit) => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    if sum % 10 != 0 {
        return Err(BAD_CHECK);
    }
    Ok(octets.iter().skip(1).take(7).fold(0, |value, octet| value * 10 + digit(octet)))
}

fn amount(value: i64) -> Data {
    Data::I32(i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX }))
}

#[cfg(test)]
mod tests {
    use super::{BAD_CHECK, BAD_FORMAT, value_of};

    #[test]
    fn tokens_are_judged_by_their_digits() {
        for (token, expect) in [
            ("00012345000000000004", Err(BAD_CHECK)),
            ("00000000000000000000", Ok(0)),
            ("0000000000000000000", Err(BAD_FORMAT)),
            ("0000000000000000000A", Err(BAD_FORMAT)),
            ("00000100000000000009", Ok(100)),
        ] {
            let token = token.as_bytes();
            assert_eq!(value_of(token), expect, "{}", String::from_utf8_lossy(token));
        }
    }
}
