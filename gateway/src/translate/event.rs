//! A concentrator's own events (docs/reference/concentrator.md, events) for the domain.

use cosem::apdu::EventNotification;
use cosem::{Data, Error};
use domain::Obis;
use domain::alarms::{self, Event};

/// The place among the pushes, and the event that stands there, or what is wrong with it: a place
/// that can be told is used up in both cases.
///
/// # Errors
/// `WrongState` when no place can be told, because the fields are not those of an event, or it is
/// one of another concentrator. Within: `WrongState` for an event without a time, of another
/// object than one of event codes, or with fields of another kind.
pub(crate) fn own_event(
    event: &EventNotification,
    concentrator: &str,
) -> Result<(u32, Result<Event, Error>), Error> {
    let wrong = Error::WrongState;
    let Some([name, sequence, code, about]) = event.value.as_structure() else {
        return Err(wrong("an event has four fields"));
    };
    if name.as_octets() != Some(concentrator.as_bytes()) {
        return Err(wrong("an event of another concentrator"));
    }
    let sequence = number(sequence).ok_or(wrong("a sequence is a number"))?;
    Ok((sequence, content(event, code, about)))
}

fn content(event: &EventNotification, code: &Data, about: &Data) -> Result<Event, Error> {
    let wrong = Error::WrongState;
    let object = Obis(event.attribute.logical_name.0);
    if event.attribute.class != 1 || event.attribute.attribute != 2 || !alarms::is_event(object) {
        return Err(wrong("another object than one of event codes"));
    }
    let end_s = event.time.and_then(|time| time.to_unix_s(0));
    let end_s = end_s.ok_or(wrong("an event has a time"))?;
    let code = number(code).ok_or(wrong("a code is a number"))?;
    let about = about.as_octets().and_then(|octets| std::str::from_utf8(octets).ok());
    let about = about.ok_or(wrong("a serial or nothing"))?.to_owned();
    Ok(Event { object, code, about, end_s })
}

fn number(data: &Data) -> Option<u32> {
    data.as_u64().and_then(|number| u32::try_from(number).ok())
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
        let read = read.unwrap();
        assert_eq!((sequence, read.code, read.end_s), (7, 5, NOON));
        assert_eq!((read.about.as_str(), read.object.to_string().as_str()), ("M-1", "0-0:96.11.0"));
        assert!(own_event(&good, "C2").is_err(), "another's");
        assert!(own_event(&event(object, fields("")[..3].to_vec()), "C1").is_err());
        let mut placeless = fields("");
        placeless[1] = Data::U64(u64::MAX);
        assert!(own_event(&event(object, placeless), "C1").is_err());

        let late = EventNotification { time: None, ..good.clone() };
        let mut huge = fields("");
        huge[2] = Data::U64(u64::MAX);
        let bad = [late, event([1, 0, 1, 8, 0, 255], fields("")), event(object, huge)];
        for bad in bad {
            let (sequence, read) = own_event(&bad, "C1").unwrap();
            assert!(sequence == 7 && read.is_err(), "{bad:?}: its place is told all the same");
        }
    }
}
