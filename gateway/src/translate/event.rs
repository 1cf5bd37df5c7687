//! A concentrator's own events (docs/reference/concentrator.md, events) for the domain.

use cosem::apdu::EventNotification;
use cosem::{Data, Error};
use domain::Obis;
use domain::alarms::{self, Event};

/// The event with its place among the pushes.
///
/// # Errors
/// `WrongState` for one of another shape, without a time, of another object than one of event
/// codes, or of another concentrator.
pub(crate) fn own_event(
    event: &EventNotification,
    concentrator: &str,
) -> Result<(u32, Event), Error> {
    let wrong = Error::WrongState;
    let object = Obis(event.attribute.logical_name.0);
    if event.attribute.class != 1 || event.attribute.attribute != 2 || !alarms::is_event(object) {
        return Err(wrong("another object than one of event codes"));
    }
    let end_s = event.time.and_then(|time| time.to_unix_s(0));
    let end_s = end_s.ok_or(wrong("an event has a time"))?;
    let Some([name, sequence, code, about]) = event.value.as_structure() else {
        return Err(wrong("an event has four fields"));
    };
    if name.as_octets() != Some(concentrator.as_bytes()) {
        return Err(wrong("an event of another concentrator"));
    }
    let number = |data: &Data| data.as_u64().and_then(|number| u32::try_from(number).ok());
    let (sequence, code) = number(sequence).zip(number(code)).ok_or(wrong("two numbers"))?;
    let about = about.as_octets().and_then(|octets| std::str::from_utf8(octets).ok());
    let about = about.ok_or(wrong("a serial or nothing"))?.to_owned();
    Ok((sequence, Event { object, code, about, end_s }))
}

#[cfg(test)]
mod tests {
    use super::own_event;
    use cosem::apdu::EventNotification;
    use cosem::{AttributeRef, Data, DateTime};

    const NOON: i64 = 1_795_305_600;

    fn event(object: [u8; 6], fields: Vec<Data>) -> EventNotification {
        let time = Some(DateTime::from_unix_s(NOON, -60, 0));
        let attribute = AttributeRef::new(1, object, 2);
        EventNotification { time, attribute, value: Data::Structure(fields) }
    }

    fn fields(about: &str) -> Vec<Data> {
        let (name, about) = (Data::octets(b"C1"), Data::octets(about.as_bytes()));
        vec![name, Data::U32(7), Data::U16(5), about]
    }

    #[test]
    fn an_event_is_read_whole_or_not_at_all() {
        let object = [0, 0, 96, 11, 0, 255];
        let good = event(object, fields("M-1"));
        let (sequence, read) = own_event(&good, "C1").unwrap();
        assert_eq!((sequence, read.code, read.end_s), (7, 5, NOON));
        assert_eq!((read.about.as_str(), read.object.to_string().as_str()), ("M-1", "0-0:96.11.0"));
        assert!(own_event(&good, "C2").is_err(), "another's");
        assert!(own_event(&event([1, 0, 1, 8, 0, 255], fields("")), "C1").is_err());
        assert!(own_event(&event(object, fields("")[..3].to_vec()), "C1").is_err());
        let late = EventNotification { time: None, ..good.clone() };
        assert!(own_event(&late, "C1").is_err(), "without a time");
        let mut huge = fields("");
        huge[2] = Data::U64(u64::MAX);
        assert!(own_event(&event(object, huge), "C1").is_err());
    }
}
