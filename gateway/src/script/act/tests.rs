//! Orders that act, against a meter that is a few values.

use std::time::{Duration, Instant};

use super::{Aim, CLOCK, Plan};
use crate::order::{Anchor, Outcome};
use crate::script::{GetResult, Next};
use cosem::{Data, DataAccessError, DateTime};
use domain::Obis;
use domain::commands::{Attribute, Failure, Order, Read, Value};

const NOON: i64 = 1_795_305_600;

/// A meter with a threshold, a switch and a clock.
struct Meter {
    threshold: Data,
    output: bool,
    control: u8,
    arms: bool,
    clock_off_s: i64,
    deviation: i16,
    refuses: Option<DataAccessError>,
    said: Vec<String>,
}

impl Meter {
    fn new() -> Self {
        let threshold = Data::U32(5_000);
        let (output, control, arms, clock_off_s) = (true, 1, false, 0);
        let (deviation, refuses, said) = (-120, None, Vec::new());
        Self { threshold, output, control, arms, clock_off_s, deviation, refuses, said }
    }

    fn read(&self, class: u16, attribute: i8) -> Data {
        match (class, attribute) {
            (70, 2) => Data::Boolean(self.output),
            (70, 3) => Data::Enum(self.control),
            (8, _) => {
                let time = DateTime::from_unix_s(NOON + self.clock_off_s, zone(self.deviation), 0);
                Data::octets(&DateTime { deviation: self.deviation, ..time }.to_octets())
            }
            _ => self.threshold.clone(),
        }
    }

    fn act(&mut self, next: &Next) {
        match next {
            Next::Set(attribute, value) if attribute.class == 8 => {
                let time = value.as_date_time().expect("a time");
                let shown_s = time.to_unix_s(0).expect("a whole time");
                self.clock_off_s = shown_s - NOON;
            }
            Next::Set(_, value) => self.threshold = value.clone(),
            Next::Action(method, parameter) if method.class == 8 => {
                let shift = parameter.as_i64().expect("a number");
                self.clock_off_s += shift;
                self.said.push(format!("shift {shift}"));
            }
            Next::Action(method, _) => match (method.method, self.arms) {
                (1, _) => (self.output, self.control) = (false, 0),
                (_, true) => self.control = 2,
                (_, false) => (self.output, self.control) = (true, 1),
            },
            Next::Get(..) | Next::Done(_) => {}
        }
    }

    fn answer(&mut self, next: &Next) -> GetResult {
        match next {
            Next::Get(attribute, _) => Ok(self.read(attribute.class, attribute.attribute)),
            _ => match self.refuses {
                Some(error) => Err(error),
                None => {
                    self.act(next);
                    Ok(Data::Null)
                }
            },
        }
    }

    /// Does what the plan asks; every answer takes `trip`.
    fn serve(&mut self, order: &Order, aim: Aim, trip: Duration) -> Result<Outcome, Failure> {
        let begun = Instant::now();
        // The meter's clock shows noon in the middle of the first round trip.
        let unix_ms = NOON * 1000 - i64::try_from(trip.as_millis() / 2).unwrap();
        let mut plan = Plan::new(order, aim, Anchor { at: begun, unix_ms }, 0);
        let mut now = begun;
        let mut next = plan.start(now)?;
        for _ in 0..5 {
            if let Next::Done(outcome) = next {
                return Ok(outcome);
            }
            let answer = self.answer(&next);
            now += trip;
            next = plan.answer(now, answer)?;
        }
        panic!("no end");
    }

    fn act_and_prove(&mut self, order: &Order) -> Result<Vec<Read>, Failure> {
        let trip = Duration::from_millis(400);
        let acted = self.serve(order, Aim::Act, trip)?;
        assert!(matches!(acted, Outcome::Acted(_)), "{acted:?}");
        self.serve(order, Aim::ReadBack, trip).map(Outcome::into_reads)
    }
}

fn zone(deviation: i16) -> i16 {
    if deviation == cosem::datetime::DEVIATION_NOT_SPECIFIED { 0 } else { deviation }
}

fn write(value: Value, tag: Option<u8>) -> Order {
    let attribute = Attribute { class: 71, obis: Obis([0, 0, 17, 0, 0, 255]), attribute: 4 };
    Order::Write { attribute, value, tag }
}

fn switch(close: bool) -> Order {
    Order::Switch { close, reason: "arrears".to_owned() }
}

#[test]
fn a_write_takes_the_type_that_stands_there_and_is_read_back() {
    for tag in [None, Some(6)] {
        let mut meter = Meter::new();
        let reads = meter.act_and_prove(&write(Value::Unsigned(7_000), tag)).unwrap();
        assert_eq!(meter.threshold, Data::U32(7_000));
        assert_eq!(reads[0].value, Value::Unsigned(7_000));
    }
}

#[test]
fn a_write_that_does_not_fit_changes_nothing() {
    let mut meter = Meter::new();
    let failure = meter.act_and_prove(&write(Value::Integer(-1), None)).unwrap_err();
    assert_eq!(failure.code(), "unsupported");
    assert_eq!(meter.threshold, Data::U32(5_000));
}

#[test]
fn another_value_than_ordered_is_not_done() {
    let order = write(Value::Unsigned(7_000), None);
    let failure = Meter::new().serve(&order, Aim::ReadBack, Duration::ZERO).unwrap_err();
    assert_eq!(failure, Failure::NotDone("it holds another value".to_owned()));
}

#[test]
fn a_switch_stands_as_its_states_say() {
    // (begins closed, arms only, order closes) -> proven
    let table = [
        (true, false, false, true),
        (false, false, true, true),
        (false, true, true, true),
        (true, true, false, true),
    ];
    for (closed, arms, close, proven) in table {
        let mut meter = Meter { output: closed, control: u8::from(closed), arms, ..Meter::new() };
        let reads = meter.act_and_prove(&switch(close));
        assert_eq!(reads.is_ok(), proven, "{closed} {arms} {close}: {reads:?}");
        assert_eq!(reads.unwrap().len(), 2, "output state and control state");
    }
    let stuck = Meter::new().serve(&switch(false), Aim::ReadBack, Duration::ZERO);
    assert_eq!(stuck, Err(Failure::NotDone("the switch is closed".to_owned())));
}

#[test]
fn what_the_meter_refuses_is_told() {
    let refuses = Some(DataAccessError::ReadWriteDenied);
    for order in [switch(false), write(Value::Unsigned(1), None)] {
        let mut meter = Meter { refuses, ..Meter::new() };
        assert_eq!(meter.act_and_prove(&order), Err(Failure::Access(3)));
    }
}

#[test]
fn a_clock_is_shifted_by_its_offset_with_half_the_round_trip() {
    for (off_s, said) in [(0, None), (1, None), (40, Some("shift -40")), (-900, Some("shift 900"))]
    {
        let mut meter = Meter { clock_off_s: off_s, ..Meter::new() };
        let order = Order::Clock { limit_s: 900, set: false };
        let reads = meter.act_and_prove(&order).unwrap();
        assert_eq!(meter.said.first().map(String::as_str), said, "{off_s}");
        assert_eq!((reads[1].obis, reads[1].attribute, reads[1].scaler), (CLOCK, 0, Some(-3)));
    }
}

#[test]
fn a_clock_far_off_is_left_alone_unless_it_is_to_be_set() {
    let order = |set| Order::Clock { limit_s: 60, set };
    let mut meter = Meter { clock_off_s: 600, ..Meter::new() };
    let failure = meter.act_and_prove(&order(false)).unwrap_err();
    let text = "the clock is off by 600.0 s; a shift may be 60 s at most";
    assert_eq!(failure, Failure::Held(text.to_owned()));
    assert_eq!(meter.clock_off_s, 600);
    for deviation in [-120, 0, cosem::datetime::DEVIATION_NOT_SPECIFIED] {
        let mut meter = Meter { clock_off_s: 7_200, deviation, ..Meter::new() };
        meter.act_and_prove(&order(true)).unwrap();
        assert!(meter.clock_off_s.abs() <= 1, "{}", meter.clock_off_s);
    }
}

#[test]
fn one_step_of_a_clock_is_made_only_where_it_was_decided() {
    for (stands_s, done) in [(40, Ok(30)), (41, Ok(31)), (39, Ok(29)), (44, Err(44)), (0, Err(0))] {
        let mut meter = Meter { clock_off_s: stands_s, ..Meter::new() };
        let order = Order::Shift { by_s: -10, off_ms: 40_000 };
        let acted = meter.serve(&order, Aim::Act, Duration::from_millis(400));
        let found = match acted {
            Ok(Outcome::Acted(before)) => {
                assert_eq!(before[1].attribute, 0, "what it showed before");
                Ok(meter.clock_off_s)
            }
            Err(Failure::Held(_)) => Err(meter.clock_off_s),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, done, "{stands_s}");
    }
    // Read back, a clock that still stands where it stood is not shifted.
    let mut meter = Meter { clock_off_s: 40, ..Meter::new() };
    let order = Order::Shift { by_s: -10, off_ms: 40_000 };
    let proof = meter.serve(&order, Aim::ReadBack, Duration::from_millis(400));
    assert!(matches!(proof, Err(Failure::NotDone(_))), "{proof:?}");
}
