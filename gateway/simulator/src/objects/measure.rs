//! Measured values: registers, demand and maximum demand, as they follow from the meter's flows.
//!
//! It writes nothing. Invariants: every value of a moment comes from the same two registers, so
//! that P = sum of the phases, S = U * I, Q = P * tan(phi) and the power factor fits them; a
//! register never falls.

use cosem::scaler::unit;
use cosem::{Data, DataAccessError};

use super::Meter;
use super::catalogue::{Flow, Quantity};
use super::tariff::Rates;
use crate::mix;
use crate::push;

/// Demand is reckoned over blocks of this many seconds.
pub const BLOCK_S: i64 = 900;
/// Seconds over which power is taken.
const WINDOW_S: i64 = 60;

/// Registers A+, A-, R+ and R- of a moment, Wh and varh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers([u64; 4]);

impl Registers {
    /// One of them.
    #[must_use]
    pub fn of(self, flow: Flow) -> u64 {
        self.0[flow as usize]
    }
}

/// A value with its scaler and unit.
type Scaled = (Data, i8, u8);

impl Meter<'_> {
    /// The energy registers at a time.
    #[must_use]
    pub fn registers(&self, at_s: i64) -> Registers {
        let [import, export] = self.model.player_after(&self.memory.past).registers_wh(at_s);
        self.with_reactive([import, export])
    }

    /// R+ and R- beside A+ and A-.
    #[must_use]
    pub fn with_reactive(&self, [import, export]: [u64; 2]) -> Registers {
        let reactive = |active: u64| active * self.model.reactive_ppk / 1_000;
        Registers([import, export, reactive(import), reactive(export)])
    }

    /// Active power of a direction in W: the mean of the last minute.
    #[must_use]
    pub fn power_w(&self, flow: Flow, at_s: i64) -> u64 {
        let mwh = |at: i64| -> [u64; 2] {
            let back = self.memory.past.kept_back(at, |at| self.model.flows_mwh(at));
            let flows = self.model.flows_mwh(at);
            [flows[0].saturating_sub(back[0]), flows[1].saturating_sub(back[1])]
        };
        let (before, after) = (mwh(at_s - WINDOW_S), mwh(at_s));
        let direction = usize::from(matches!(flow, Flow::Export | Flow::ReactiveExport));
        let moved = after[direction].saturating_sub(before[direction]);
        let active = moved * 3_600 / WINDOW_S as u64 / 1_000;
        match flow {
            Flow::Import | Flow::Export => active,
            Flow::ReactiveImport | Flow::ReactiveExport => active * self.model.reactive_ppk / 1_000,
        }
    }

    /// The share of a phase in the power of all, in parts per thousand.
    fn share(&self, phase: u8) -> u64 {
        if self.model.phases == 1 || phase == 0 {
            return 1_000;
        }
        let part =
            |phase: u8| mix::between(mix::at(self.model.seed, 50, u64::from(phase)), 200, 400);
        let (one, two) = (part(1), part(2));
        match phase {
            1 => one,
            2 => two,
            _ => 1_000 - one - two,
        }
    }

    fn phase_w(&self, flow: Flow, phase: u8, at_s: i64) -> u64 {
        let all = self.power_w(flow, at_s);
        match (self.model.phases, phase) {
            (1, _) | (_, 0) => all,
            // The last phase takes what rounding leaves, so that the phases add up.
            (_, 3) => all - all * self.share(1) / 1_000 - all * self.share(2) / 1_000,
            (_, phase) => all * self.share(phase) / 1_000,
        }
    }

    /// Voltage of a phase in 0.1 V, within EN 50160: it sags with load and rises with generation.
    #[must_use]
    pub fn voltage_dv(&self, phase: u8, at_s: i64) -> u64 {
        let place = (at_s / 60) as u64 * 4 + u64::from(phase);
        let calm = mix::between(mix::at(self.model.seed, 31, place), 2_290, 2_330) as i64;
        let load = (self.phase_w(Flow::Import, phase, at_s) / 400) as i64;
        let generation = (self.phase_w(Flow::Export, phase, at_s) / 400) as i64;
        (calm - load + generation).clamp(2_070, 2_530) as u64
    }

    /// 1 / cos(phi) in parts per million, from tan(phi).
    fn apparent_ppm(&self) -> u64 {
        let tan = self.model.reactive_ppk;
        (1_000_000_000_000 + tan * tan * 1_000_000).isqrt()
    }

    /// phi in tenths of a degree, from tan(phi).
    fn angle_tenths(&self) -> u64 {
        let tan = self.model.reactive_ppk as f64 / 1_000.0;
        (tan.atan().to_degrees() * 10.0).round() as u64
    }

    /// Current of a phase in 0.01 A; phase 0 is the neutral.
    #[must_use]
    pub fn current_ca(&self, phase: u8, at_s: i64) -> u64 {
        if phase == 0 && self.model.phases == 3 {
            // With equal angles the neutral carries the root of the squares less the products.
            let [a, b, c] = [1, 2, 3].map(|phase| self.current_ca(phase, at_s));
            return (a * a + b * b + c * c - a * b - b * c - a * c).isqrt();
        }
        let phase = phase.max(1);
        let net = self.phase_w(Flow::Import, phase, at_s).abs_diff(self.phase_w(
            Flow::Export,
            phase,
            at_s,
        ));
        let apparent_mva = net * self.apparent_ppm() / 1_000;
        apparent_mva / self.voltage_dv(phase, at_s)
    }

    /// Attributes 2 and 3 of a register.
    ///
    /// # Errors
    /// `ObjectUndefined` for another attribute.
    pub fn register(&self, quantity: Quantity, attribute: i8) -> Result<Data, DataAccessError> {
        let (value, scaler, unit) = self.measured(quantity);
        match attribute {
            2 => Ok(value),
            3 => Ok(scaler_unit(scaler, unit)),
            _ => Err(DataAccessError::ObjectUndefined),
        }
    }

    fn measured(&self, quantity: Quantity) -> Scaled {
        let now = self.moment.now_s;
        match quantity {
            Quantity::Energy(flow, 0) => {
                (push::energy(Some(self.registers(now).of(flow))), 0, energy_unit(flow))
            }
            Quantity::Energy(flow, rate) => {
                let rates = self.rates_at(&[now]).pop().unwrap_or_default();
                (push::energy(Some(rates.of(flow, rate))), 0, energy_unit(flow))
            }
            Quantity::Power(flow, phase) => {
                let unit = if matches!(flow, Flow::Import | Flow::Export) {
                    unit::WATT
                } else {
                    unit::VAR
                };
                (Data::U32(to_u32(self.phase_w(flow, phase, now))), 0, unit)
            }
            Quantity::Voltage(phase) => {
                (Data::U16(to_u16(self.voltage_dv(phase, now))), -1, unit::VOLT)
            }
            Quantity::Current(phase) => {
                (Data::U16(to_u16(self.current_ca(phase, now))), -2, unit::AMPERE)
            }
            Quantity::PowerFactor(_) => {
                let factor = 1_000_000_000 / self.apparent_ppm();
                (Data::U16(to_u16(factor)), -3, unit::NONE)
            }
            Quantity::VoltageAngle(phase) => {
                let degrees = 120 * u64::from(phase.saturating_sub(1));
                (Data::U16(to_u16(degrees * 10)), -1, unit::DEGREE)
            }
            Quantity::CurrentAngle(_) => (Data::U16(to_u16(self.angle_tenths())), -1, unit::DEGREE),
            Quantity::Frequency => {
                let noise = mix::at(52, 1, (now / 10) as u64);
                (Data::U16(to_u16(mix::between(noise, 4_992, 5_008))), -2, unit::HERTZ)
            }
        }
    }

    /// Mean power in W of the block that ends at a time.
    fn block_w(&self, flow: Flow, end_s: i64, player: &mut crate::field::Player<'_>) -> u64 {
        let before = self.with_reactive(player.registers_wh(end_s - BLOCK_S)).of(flow);
        let after = self.with_reactive(player.registers_wh(end_s)).of(flow);
        after.saturating_sub(before) * 3_600 / BLOCK_S as u64
    }

    /// Attributes of the average demand (class 5).
    ///
    /// # Errors
    /// `ObjectUndefined` for another attribute.
    pub fn demand(&self, flow: Flow, attribute: i8) -> Result<Data, DataAccessError> {
        let now = self.moment.now_s;
        let start = now.div_euclid(BLOCK_S) * BLOCK_S;
        Ok(match attribute {
            // Energy of the running block over the whole of its time (Blue Book, class 5).
            2 => {
                let moved = self.registers(now).of(flow) - self.registers(start).of(flow);
                Data::U32(to_u32(moved * 3_600 / BLOCK_S as u64))
            }
            3 => {
                let mut player = self.model.player_after(&self.memory.past);
                Data::U32(to_u32(self.block_w(flow, start, &mut player)))
            }
            4 => scaler_unit(0, unit::WATT),
            5 => Data::U8(0),
            6 => self.time_cell(start),
            7 => self.time_cell(start),
            8 => Data::U32(BLOCK_S as u32),
            9 => Data::U16(1),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Attributes of the maximum demand (class 4) of the running billing period.
    ///
    /// # Errors
    /// `ObjectUndefined` for another attribute.
    pub fn maximum(&self, flow: Flow, attribute: i8) -> Result<Data, DataAccessError> {
        let begun = self.period_start(self.moment.now_s);
        let from = self.memory.demand_reset_s.map_or(begun, |reset| reset.max(begun));
        let (power, at_s) = self.maximum_within(flow, from, self.moment.now_s);
        Ok(match attribute {
            2 => Data::U32(to_u32(power)),
            3 => scaler_unit(0, unit::WATT),
            4 => Data::U8(0),
            5 => self.time_cell(at_s),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// The greatest block that begins and ends within a time: W, and when it ended.
    #[must_use]
    pub fn maximum_within(&self, flow: Flow, from_s: i64, to_s: i64) -> (u64, i64) {
        let first = from_s.div_euclid(BLOCK_S) + 1;
        let mut player = self.model.player_after(&self.memory.past);
        let blocks = (first + 1..=to_s.div_euclid(BLOCK_S)).map(|block| block * BLOCK_S);
        let powers = blocks.map(|end| (self.block_w(flow, end, &mut player), end));
        // The first of equal blocks counts.
        powers.fold((0, from_s), |best, next| if next.0 > best.0 { next } else { best })
    }
}

impl Rates {
    /// The register of a rate, 1 to 4; reactive energy has no rates.
    #[must_use]
    pub fn of(&self, flow: Flow, rate: u8) -> u64 {
        let list = if flow == Flow::Import { &self.import_wh } else { &self.export_wh };
        list.get(usize::from(rate).wrapping_sub(1)).copied().unwrap_or(0)
    }
}

/// A scaler and unit.
#[must_use]
pub fn scaler_unit(scaler: i8, unit: u8) -> Data {
    Data::Structure(vec![Data::I8(scaler), Data::Enum(unit)])
}

fn energy_unit(flow: Flow) -> u8 {
    match flow {
        Flow::Import | Flow::Export => unit::WATT_HOUR,
        Flow::ReactiveImport | Flow::ReactiveExport => unit::VAR_HOUR,
    }
}

/// A value that fits 32 bits, or the greatest that does.
#[must_use]
pub fn to_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn to_u16(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}
