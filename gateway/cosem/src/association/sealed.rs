//! Notifications under general-glo-ciphering: sealed and opened without an association, since
//! they carry the sender's title. It keeps no counters: the caller judges whether one rose.

use bytes::Bytes;

use crate::apdu::{Apdu, DataNotification, EventNotification, Protected, tag};
use crate::error::Error;
use crate::security::{self, Keys, SecurityControl, SystemTitle};

/// A notification as it came: the plain octets, so that profiles can be read from them without
/// building values first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Sender's system title, when the notification was protected.
    pub title: Option<SystemTitle>,
    /// Invocation counter, when the notification was protected.
    pub counter: Option<u32>,
    /// The opened APDU: data-notification or event-notification.
    pub apdu: Bytes,
}

impl Notification {
    /// The data-notification.
    ///
    /// # Errors
    /// `Malformed` when it is none.
    pub fn decode(&self) -> Result<DataNotification, Error> {
        match Apdu::decode(&self.apdu)? {
            Apdu::DataNotification(notification) => Ok(notification),
            _ => Err(Error::malformed(0, "not a data-notification")),
        }
    }

    /// The event-notification.
    ///
    /// # Errors
    /// `Malformed` when it is none.
    pub fn event(&self) -> Result<EventNotification, Error> {
        match Apdu::decode(&self.apdu)? {
            Apdu::EventNotification(notification) => Ok(notification),
            _ => Err(Error::malformed(0, "not an event-notification")),
        }
    }

    /// The octets of the body of a data-notification.
    ///
    /// # Errors
    /// `Malformed` when it is none.
    pub fn body(&self) -> Result<&[u8], Error> {
        DataNotification::body_octets(&self.apdu)
    }
}

/// Protects a notification as general-glo, authenticated and encrypted. The caller uses each
/// `counter` once and only upwards.
///
/// # Errors
/// `TooLong` when it cannot be protected.
pub fn seal_notification(
    keys: &Keys,
    title: &SystemTitle,
    counter: u32,
    notification: DataNotification,
) -> Result<Vec<u8>, Error> {
    seal_encoded(keys, title, counter, &Apdu::DataNotification(notification).encode())
}

/// As `seal_notification`, for an APDU that is encoded already.
///
/// # Errors
/// `TooLong` when it cannot be protected.
pub fn seal_encoded(
    keys: &Keys,
    title: &SystemTitle,
    counter: u32,
    apdu: &[u8],
) -> Result<Vec<u8>, Error> {
    let control = SecurityControl::BOTH.in_suite(keys.suite());
    let shown = (tag::GENERAL_GLO, Some(title));
    security::seal_encoded(keys, control, (title, counter), shown, apdu)
}

/// Sender's title and counter of a general-glo APDU, before it is believed.
///
/// # Errors
/// `Malformed` when it is no general-glo APDU with a title.
pub fn peek_sender(apdu: &[u8]) -> Result<(SystemTitle, u32), Error> {
    let protected = general_glo(apdu)?;
    let title = protected.title.ok_or(Error::malformed(1, "no system title"))?;
    Ok((title, protected.counter))
}

/// Opens a general-glo notification with the keys that `lookup` has for its title. It must be
/// authenticated and encrypted.
///
/// # Errors
/// `Malformed` when it is no general-glo notification, `NoKeys` when `lookup` has none, `BadTag`
/// when it does not verify, `Protection` when it is protected less.
pub fn open_notification<'k>(
    lookup: impl FnOnce(&SystemTitle) -> Option<&'k Keys>,
    apdu: &[u8],
) -> Result<Notification, Error> {
    let protected = general_glo(apdu)?;
    let title = protected.title.ok_or(Error::malformed(1, "no system title"))?;
    let keys = lookup(&title).ok_or(Error::NoKeys)?;
    let plain = security::open_apdu(keys, SecurityControl::BOTH, &title, &protected)?;
    if !is_notification(&plain) {
        return Err(Error::malformed(0, "not a notification"));
    }
    Ok(Notification { title: Some(title), counter: Some(protected.counter), apdu: plain.into() })
}

/// Whether the octets begin a data- or event-notification.
pub(super) fn is_notification(apdu: &[u8]) -> bool {
    matches!(apdu.first(), Some(&(tag::DATA_NOTIFICATION | tag::EVENT_NOTIFICATION)))
}

fn general_glo(apdu: &[u8]) -> Result<Protected, Error> {
    if apdu.first() != Some(&tag::GENERAL_GLO) {
        return Err(Error::malformed(0, "not a general-glo APDU"));
    }
    match Apdu::decode(apdu)? {
        Apdu::Protected(protected) => Ok(protected),
        _ => Err(Error::malformed(0, "not a general-glo APDU")),
    }
}

#[cfg(test)]
mod tests {
    use super::{open_notification, peek_sender, seal_notification};
    use crate::apdu::{DataNotification, LongInvokePriority};
    use crate::data::Data;
    use crate::error::Error;
    use crate::security::Keys;

    #[test]
    fn a_sealed_notification_opens_with_its_keys_only() {
        let keys = Keys::new(&[1; 16], &[2; 16]);
        let title = *b"HFD\0\0\0\0\x01";
        let sent = DataNotification::new(LongInvokePriority::confirmed(5), None, Data::U32(7));
        let mut sealed = seal_notification(&keys, &title, 41, sent.clone()).unwrap();
        assert_eq!(peek_sender(&sealed).unwrap(), (title, 41));
        let opened = open_notification(|_| Some(&keys), &sealed).unwrap();
        assert_eq!((opened.title, opened.counter), (Some(title), Some(41)));
        assert_eq!(opened.decode().unwrap(), sent);
        assert_eq!(opened.body().unwrap(), [6, 0, 0, 0, 7]);
        assert_eq!(open_notification(|_| None, &sealed), Err(Error::NoKeys));
        let other = Keys::new(&[3; 16], &[2; 16]);
        assert_eq!(open_notification(|_| Some(&other), &sealed), Err(Error::BadTag));
        *sealed.last_mut().unwrap() ^= 1;
        assert_eq!(open_notification(|_| Some(&keys), &sealed), Err(Error::BadTag));
    }
}
