//! The bodies of a concentrator's notifications (docs/reference/concentrator.md): octets become a
//! kind with its fields. Rows of a push stay octets for `translate`; nothing is judged here.
//!
//! Invariant: a body of another shape than agreed is `Malformed`; one of an unknown push setup is
//! `Other` and may be ignored.

use cosem::axdr::Reader;
use cosem::data::tag;
use cosem::{Data, Error};
use domain::leases::Role;

use crate::roster::Login;

/// Push setup of the identity.
pub(crate) const IDENTITY: [u8; 6] = [0, 7, 25, 9, 0, 255];
/// Push setup of the heartbeat.
pub(crate) const HEARTBEAT: [u8; 6] = [0, 6, 25, 9, 0, 255];
/// Push setup of the promotion of the standby.
pub(crate) const PROMOTE: [u8; 6] = [0, 8, 25, 9, 0, 255];
/// Push setup of the profiles.
pub(crate) const PROFILE: [u8; 6] = [0, 5, 25, 9, 0, 255];

/// The most capture objects of a push; a meter's profile has a dozen.
const MAX_COLUMNS: usize = 64;

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notification<'a> {
    /// Who is there.
    Identity(Login),
    /// Still there.
    Heartbeat {
        /// Logical device name.
        concentrator: &'a [u8],
        /// Revision of the meter list.
        list_revision: u32,
        /// Meters that it reaches.
        meters_online: u16,
    },
    /// The main channel is lost: make this one active.
    Promote {
        /// Logical device name.
        concentrator: &'a [u8],
        /// Epoch that it last accepted.
        epoch: u32,
    },
    /// Collected rows.
    Push {
        /// Logical device name.
        concentrator: &'a [u8],
        /// What stands before the rows.
        head: PushHead,
        /// The array of {serial, rows}, encoded.
        meters: &'a [u8],
    },
    /// Of a push setup that is not agreed.
    Other,
}

/// What stands before the rows of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushHead {
    /// Rises by 1.
    pub sequence: u32,
    /// Logical name of the profile.
    pub profile: [u8; 6],
    /// Capture period, seconds.
    pub period_s: u32,
    /// The cells of a row.
    pub columns: Vec<PushColumn>,
}

/// A capture object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PushColumn {
    /// Interface class.
    pub class: u16,
    /// Logical name.
    pub name: [u8; 6],
    /// Attribute.
    pub attribute: i8,
    /// Values are in 10^scaler of the unit.
    pub scaler: i8,
    /// Unit code.
    pub unit: u8,
}

/// Reads the body of a data-notification.
///
/// # Errors
/// `Malformed` for octets that are not what the push setup's agreement says.
pub(crate) fn decode(body: &[u8]) -> Result<Notification<'_>, Error> {
    let mut reader = Reader::new(body);
    let fields = head(&mut reader, tag::STRUCTURE, "the body is a structure")?;
    let concentrator = octets(&mut reader)?;
    let setup = name(&mut reader)?;
    let expect = |count: usize| {
        let wrong = Error::Malformed { at: 0, what: "the body has another number of fields" };
        if fields == count { Ok(()) } else { Err(wrong) }
    };
    let notification = match setup {
        IDENTITY => {
            // Concentrators of the first agreement do not say which address they dialled.
            let says_address = fields == 8;
            expect(if says_address { 8 } else { 7 })?;
            let mut login = identity(&mut reader, concentrator)?;
            if says_address {
                login.address = Some(address(&mut reader)?);
            }
            Notification::Identity(login)
        }
        HEARTBEAT => {
            expect(5)?;
            octets(&mut reader)?;
            let list_revision = number(&mut reader)?;
            let meters_online = number(&mut reader)?;
            Notification::Heartbeat { concentrator, list_revision, meters_online }
        }
        PROMOTE => {
            expect(4)?;
            let epoch = number(&mut reader)?;
            number::<u8>(&mut reader)?;
            Notification::Promote { concentrator, epoch }
        }
        PROFILE => {
            expect(7)?;
            let head = push_head(&mut reader)?;
            // The rows are the last field, so they are the rest.
            return Ok(Notification::Push { concentrator, head, meters: reader.rest() });
        }
        _ => return Ok(Notification::Other),
    };
    reader.finish()?;
    Ok(notification)
}

/// Reads the answer of the store: what stands before the rows, with their number as the sequence,
/// and the array of {serial, rows}, encoded.
///
/// # Errors
/// `Malformed` for another shape.
pub(crate) fn stored(octets: &[u8]) -> Result<(PushHead, &[u8]), Error> {
    let mut reader = Reader::new(octets);
    if head(&mut reader, tag::STRUCTURE, "the store's answer is a structure")? != 5 {
        return Err(reader.malformed("the store's answer has five fields"));
    }
    let head = push_head(&mut reader)?;
    Ok((head, reader.rest()))
}

fn identity(reader: &mut Reader<'_>, concentrator: &[u8]) -> Result<Login, Error> {
    let title = octets(reader)?;
    let system_title =
        title.try_into().map_err(|_| reader.malformed("a system title has eight octets"))?;
    Ok(Login {
        concentrator: ascii(reader, concentrator)?,
        system_title,
        serial: text(reader)?,
        firmware: text(reader)?,
        meters: number(reader)?,
        list_revision: number(reader)?,
        address: None,
    })
}

fn address(reader: &mut Reader<'_>) -> Result<Role, Error> {
    match number::<u8>(reader)? {
        1 => Ok(Role::Main),
        2 => Ok(Role::Standby),
        _ => Err(reader.malformed("an address is 1, main, or 2, standby")),
    }
}

fn push_head(reader: &mut Reader<'_>) -> Result<PushHead, Error> {
    let sequence = number(reader)?;
    let profile = name(reader)?;
    let period_s = number(reader)?;
    let count = head(reader, tag::ARRAY, "the capture objects are an array")?;
    if count == 0 || count > MAX_COLUMNS {
        return Err(reader.malformed("too few or too many capture objects"));
    }
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        if head(reader, tag::STRUCTURE, "a capture object is a structure")? != 6 {
            return Err(reader.malformed("a capture object has six fields"));
        }
        let (class, name) = (number(reader)?, name(reader)?);
        let attribute = number(reader)?;
        number::<u16>(reader)?;
        let (scaler, unit) = (number(reader)?, number(reader)?);
        columns.push(PushColumn { class, name, attribute, scaler, unit });
    }
    Ok(PushHead { sequence, profile, period_s, columns })
}

fn head(reader: &mut Reader<'_>, wanted: u8, what: &'static str) -> Result<usize, Error> {
    if reader.u8()? != wanted {
        return Err(reader.malformed(what));
    }
    reader.count()
}

fn octets<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    match reader.u8()? {
        tag::OCTET_STRING => reader.octets(),
        _ => Err(reader.malformed("an octet-string is expected")),
    }
}

fn name(reader: &mut Reader<'_>) -> Result<[u8; 6], Error> {
    let octets = octets(reader)?;
    octets.try_into().map_err(|_| reader.malformed("a logical name has six octets"))
}

fn number<T: TryFrom<i128>>(reader: &mut Reader<'_>) -> Result<T, Error> {
    let number = Data::from_axdr(reader)?.as_integer();
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| reader.malformed("a number of another range is expected"))
}

fn text(reader: &mut Reader<'_>) -> Result<String, Error> {
    let data = Data::from_axdr(reader)?;
    match data.as_octets() {
        Some(octets) => ascii(reader, octets),
        None => Err(reader.malformed("a text is expected")),
    }
}

/// Texts of a login are shown on pages and in logs: printable ASCII of sensible length only.
fn ascii(reader: &Reader<'_>, octets: &[u8]) -> Result<String, Error> {
    let printable = octets.iter().all(|octet| octet.is_ascii_graphic() || *octet == b' ');
    match std::str::from_utf8(octets) {
        Ok(text) if printable && text.len() <= 64 => Ok(text.to_owned()),
        _ => Err(reader.malformed("a text of at most 64 printable characters is expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::{HEARTBEAT, IDENTITY, Notification, PROFILE, PROMOTE, decode};
    use crate::roster::Login;
    use cosem::Data;
    use domain::leases::Role;

    fn body(setup: [u8; 6], rest: Vec<Data>) -> Vec<u8> {
        let mut fields = vec![Data::octets(b"HFDSIM0000000001"), Data::octets(&setup)];
        fields.extend(rest);
        Data::Structure(fields).to_axdr()
    }

    fn identity(address: Option<u8>) -> Vec<Data> {
        let mut fields = vec![
            Data::octets(b"HFDSIM01"),
            Data::text("S1"),
            Data::text("1.0"),
            Data::U16(50),
            Data::U32(7),
        ];
        fields.extend(address.map(Data::Enum));
        fields
    }

    fn samples() -> Vec<Vec<u8>> {
        let column = Data::Structure(vec![
            Data::U16(3),
            Data::octets(&[1, 0, 1, 8, 0, 255]),
            Data::I8(2),
            Data::U16(0),
            Data::I8(-1),
            Data::Enum(30),
        ]);
        vec![
            body(IDENTITY, identity(None)),
            body(HEARTBEAT, vec![Data::octets(&[0xff; 12]), Data::U32(7), Data::U16(49)]),
            body(PROMOTE, vec![Data::U32(3), Data::Enum(1)]),
            body(
                PROFILE,
                vec![
                    Data::U32(9),
                    Data::octets(&[1, 0, 99, 1, 0, 255]),
                    Data::U32(900),
                    Data::Array(vec![column]),
                    Data::Array(vec![]),
                ],
            ),
            body([0, 9, 25, 9, 0, 255], vec![Data::Null]),
            body(IDENTITY, identity(Some(2))),
        ]
    }

    #[test]
    fn every_kind_is_read() {
        let samples = samples();
        let all: Vec<Notification<'_>> =
            samples.iter().map(|sample| decode(sample).unwrap()).collect();
        let login = Login {
            concentrator: "HFDSIM0000000001".to_owned(),
            system_title: *b"HFDSIM01",
            serial: "S1".to_owned(),
            firmware: "1.0".to_owned(),
            meters: 50,
            list_revision: 7,
            address: None,
        };
        let addressed = Login { address: Some(Role::Standby), ..login.clone() };
        assert_eq!(all[0], Notification::Identity(login));
        assert_eq!(all[5], Notification::Identity(addressed));
        let concentrator = &b"HFDSIM0000000001"[..];
        let heartbeat =
            Notification::Heartbeat { concentrator, list_revision: 7, meters_online: 49 };
        assert_eq!(all[1], heartbeat);
        assert_eq!(all[2], Notification::Promote { concentrator, epoch: 3 });
        let Notification::Push { head, meters, .. } = &all[3] else { panic!("{:?}", all[3]) };
        assert_eq!((head.sequence, head.period_s, head.columns.len()), (9, 900, 1));
        assert_eq!((head.columns[0].scaler, *meters), (-1, &[1, 0][..]));
        assert_eq!(all[4], Notification::Other);
    }

    #[test]
    fn cut_and_changed_bodies_are_refused_or_read_and_never_a_panic() {
        for sample in samples() {
            for end in 0..sample.len() {
                let _ = decode(&sample[..end]);
            }
            for at in 0..sample.len() {
                for bit in 0..8 {
                    let mut changed = sample.clone();
                    changed[at] ^= 1 << bit;
                    let _ = decode(&changed);
                }
            }
        }
        assert!(decode(&samples()[1][..20]).is_err());
        assert!(decode(&body(IDENTITY, identity(Some(3)))).is_err(), "there is no third address");
        let unprintable = vec![
            Data::octets(b"HFDSIM01"),
            Data::text("S\n1"),
            Data::text("1"),
            Data::U16(1),
            Data::U32(1),
        ];
        assert!(decode(&body(IDENTITY, unprintable)).is_err());
    }
}
