//! general-ciphering and general-signing (IEC 62056-5-3 clauses 5.3.5, 6.17): messages that carry
//! who sent them to whom, how their key is found, and signatures. Counters are the caller's.
//!
//! The header fields are authenticated with the content: security control, authentication key,
//! then transaction id, originator, recipient, date-time and other information, each with its
//! length. A signature goes over the same fields and the content without its length.
//!
//! Invariants: a key that came wrapped or agreed is used for its message only; an agreed key is
//! believed only after the signature of the ephemeral key has verified.

use std::borrow::Cow;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::SystemTitle;
use super::agreement::{AgreementKey, AgreementPublic, Algorithm, derive_key, split_offer};
use super::keys::{Kek, Keys};
use super::policy::Required;
use super::seal::{open_with, seal_with};
use super::signature::{SigningKey, VerifyingKey};
use super::suite::SecurityControl;
use crate::apdu::{GeneralCiphering, GeneralHeader, GeneralSigning, KeyInfo};
use crate::axdr::put_octets;
use crate::error::Error;

/// Key id of the global unicast encryption key in key information.
const ID_UNICAST: u8 = 0;
/// Key id of the global broadcast encryption key in key information.
const ID_BROADCAST: u8 = 1;
/// Key id of the key-encryption key in key information.
const ID_KEK: u8 = 0;
/// Key parameter of the one-pass Diffie-Hellman scheme C(1e, 1s).
const ONE_PASS: u8 = 1;
/// Key parameter of the static unified model C(0e, 2s).
const STATIC_UNIFIED: u8 = 2;

/// The keys of one side beside the global ones; wiped on drop, never printed.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Key that encrypts keys.
    pub kek: Option<Kek>,
    /// Own private key for signatures.
    pub signing: Option<SigningKey>,
    /// The peer's public key for signatures.
    pub peer_signing: Option<VerifyingKey>,
    /// Own static private key for agreements.
    pub agreement: Option<AgreementKey>,
    /// The peer's static public key for agreements.
    pub peer_agreement: Option<AgreementPublic>,
}

impl Credentials {
    /// None of them.
    pub const NONE: Self = Self {
        kek: None,
        signing: None,
        peer_signing: None,
        agreement: None,
        peer_agreement: None,
    };
}

/// The key of a general-ciphering APDU that is to be sent.
#[derive(Debug, Clone, Copy)]
pub enum MessageKey<'a> {
    /// The global unicast encryption key.
    Unicast,
    /// The global broadcast encryption key.
    Broadcast,
    /// This key, fresh random octets of the suite's length, which goes along wrapped by the KEK.
    Wrapped(&'a [u8]),
    /// Agreed by one-pass Diffie-Hellman: this key is ephemeral, fresh and random; own signing
    /// key and the peer's static public key are needed.
    OnePass(&'a AgreementKey),
    /// Agreed by the static unified model: both static keys are needed. The transaction id must
    /// differ from message to message, for it makes the key differ.
    StaticUnified,
}

/// Protects an APDU as general-ciphering. The nonce is the originator's title and `counter`.
///
/// # Errors
/// `NoKeys` when `credentials` lack what the key needs, `WrongTitle` when the originator is no
/// system title, `Suite` and `Protection` as `seal`, and for keys of another suite or length.
pub fn seal_general(
    keys: &Keys,
    credentials: &Credentials,
    message_key: MessageKey<'_>,
    header: GeneralHeader,
    (control, counter): (SecurityControl, u32),
    plaintext: &[u8],
) -> Result<GeneralCiphering, Error> {
    let originator = title(&header.originator)?;
    let suite = keys.suite();
    let (key, info) = match message_key {
        MessageKey::Unicast => (Cow::Borrowed(keys), KeyInfo::Identified(ID_UNICAST)),
        MessageKey::Broadcast => (Cow::Borrowed(keys), KeyInfo::Identified(ID_BROADCAST)),
        MessageKey::Wrapped(key) => {
            let kek = credentials.kek.as_ref().ok_or(Error::NoKeys)?;
            let info = KeyInfo::Wrapped(ID_KEK, kek.wrap(key)?.into());
            (Cow::Owned(keys.under(key)?), info)
        }
        MessageKey::OnePass(ephemeral) => {
            let signing = credentials.signing.as_ref().ok_or(Error::NoKeys)?;
            let peer = credentials.peer_agreement.as_ref().ok_or(Error::NoKeys)?;
            let mut data = ephemeral.public().point();
            let signature = signing.sign(&data)?;
            data.extend_from_slice(&signature);
            let z = ephemeral.shared(peer)?;
            let key = derive_key(suite, &z, Algorithm::Gcm, &header.originator, &header.recipient);
            (Cow::Owned(keys.under(&key)?), agreed(ONE_PASS, data))
        }
        MessageKey::StaticUnified => {
            let key = static_key(keys, credentials, &header)?;
            (Cow::Owned(keys.under(&key)?), agreed(STATIC_UNIFIED, Vec::new()))
        }
    };
    let control = match message_key {
        MessageKey::Broadcast => control.under_broadcast_key(),
        _ => control,
    };
    let octets = header_octets(&header);
    let content = seal_with(&key, control, (&originator, counter), &octets, plaintext)?.into();
    Ok(GeneralCiphering { header, key: Some(info), control, counter, content })
}

/// Opens a general-ciphering APDU that must be protected at least as `required` (a signature is
/// none of its protections): the plaintext. Whose it is, and whether its counter rose, the
/// caller judges.
///
/// # Errors
/// `NoKeys` when `credentials` lack what its key needs, `BadSignature` when its ephemeral key is
/// not the peer's, `BadTag` when content, header or wrapped key were changed, `Malformed`,
/// `Suite` and `WrongTitle` for what cannot be read, `Protection` also when it is protected less.
pub fn open_general(
    keys: &Keys,
    credentials: &Credentials,
    required: Required,
    apdu: &GeneralCiphering,
) -> Result<Vec<u8>, Error> {
    Required { signed: false, ..required }.check(Required::of(apdu.control))?;
    let originator = title(&apdu.header.originator)?;
    let key = message_key(keys, credentials, apdu)?;
    let octets = header_octets(&apdu.header);
    open_with(&key, apdu.control, (&originator, apdu.counter), &octets, &apdu.content)
}

/// Opens the content of a general-ciphering APDU without its tag, for people who look at a frame
/// under an agreed key that they were given. It proves nothing.
///
/// # Errors
/// As `open_general`.
pub fn reveal_general(keys: &Keys, apdu: &GeneralCiphering) -> Result<Vec<u8>, Error> {
    let originator = title(&apdu.header.originator)?;
    let tag = if apdu.control.is_authenticated() { super::TAG_OCTETS } else { 0 };
    let Some(body) = apdu.content.len().checked_sub(tag).and_then(|at| apdu.content.get(..at))
    else {
        return Err(Error::malformed(0, "an authenticated APDU shorter than its tag"));
    };
    let control = SecurityControl(apdu.control.0 & !0x10);
    open_with(keys, control, (&originator, apdu.counter), &[], body)
}

fn message_key<'k>(
    keys: &'k Keys,
    credentials: &Credentials,
    apdu: &GeneralCiphering,
) -> Result<Cow<'k, Keys>, Error> {
    let suite = keys.suite();
    match &apdu.key {
        Some(KeyInfo::Identified(ID_BROADCAST)) if !apdu.control.is_broadcast() => {
            Ok(Cow::Owned(keys.broadcast_as_unicast()?))
        }
        Some(KeyInfo::Identified(ID_UNICAST)) if apdu.control.is_broadcast() => {
            Err(Error::Protection("key information and security control name different keys"))
        }
        None | Some(KeyInfo::Identified(ID_UNICAST | ID_BROADCAST)) => Ok(Cow::Borrowed(keys)),
        Some(KeyInfo::Identified(_)) => Err(Error::Protection("an unknown key id")),
        Some(KeyInfo::Wrapped(ID_KEK, wrapped)) => {
            let kek = credentials.kek.as_ref().ok_or(Error::NoKeys)?;
            Ok(Cow::Owned(keys.under(&kek.unwrap_key(wrapped)?)?))
        }
        Some(KeyInfo::Wrapped(..)) => Err(Error::Protection("wrapped by an unknown key")),
        Some(KeyInfo::Agreed { parameters, data }) => {
            let key = match parameters[..] {
                [ONE_PASS] => {
                    let own = credentials.agreement.as_ref().ok_or(Error::NoKeys)?;
                    let peer = credentials.peer_signing.as_ref().ok_or(Error::NoKeys)?;
                    let (point, signature) = split_offer(suite, data)?;
                    peer.verify(point, signature)?;
                    let z = own.shared(&AgreementPublic::new(suite, point)?)?;
                    let GeneralHeader { originator, recipient, .. } = &apdu.header;
                    derive_key(suite, &z, Algorithm::Gcm, originator, recipient)
                }
                [STATIC_UNIFIED] if data.is_empty() => static_key(keys, credentials, &apdu.header)?,
                _ => return Err(Error::Protection("an unknown scheme of key agreement")),
            };
            Ok(Cow::Owned(keys.under(&key)?))
        }
    }
}

/// The key of the static unified model: party U is the originator's title and the transaction id
/// with its length, party V the recipient's title.
fn static_key(
    keys: &Keys,
    credentials: &Credentials,
    header: &GeneralHeader,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let own = credentials.agreement.as_ref().ok_or(Error::NoKeys)?;
    let peer = credentials.peer_agreement.as_ref().ok_or(Error::NoKeys)?;
    let z = own.shared(peer)?;
    let mut party_u = header.originator.to_vec();
    put_octets(&mut party_u, &header.transaction);
    Ok(derive_key(keys.suite(), &z, Algorithm::Gcm, &party_u, &header.recipient))
}

fn agreed(parameter: u8, data: Vec<u8>) -> KeyInfo {
    KeyInfo::Agreed { parameters: Bytes::copy_from_slice(&[parameter]), data: data.into() }
}

/// Signs an APDU, plain or ciphered, as general-signing.
///
/// # Errors
/// `WrongTitle` when the originator is no system title; as `SigningKey::sign`.
pub fn sign_general(
    signing: &SigningKey,
    header: GeneralHeader,
    content: Vec<u8>,
) -> Result<GeneralSigning, Error> {
    title(&header.originator)?;
    let signature = signing.sign(&signed_octets(&header, &content))?.into();
    Ok(GeneralSigning { header, content: content.into(), signature })
}

/// Checks the signature of a general-signing APDU; its content may be believed then. Whose it is,
/// and whether it is a repetition, the caller judges.
///
/// # Errors
/// `BadSignature` when header, content or signature were changed or are another's.
pub fn verify_general(verifying: &VerifyingKey, apdu: &GeneralSigning) -> Result<(), Error> {
    verifying.verify(&signed_octets(&apdu.header, &apdu.content), &apdu.signature)
}

fn signed_octets(header: &GeneralHeader, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut signed = header_octets(header);
    signed.extend_from_slice(content);
    Zeroizing::new(signed)
}

fn header_octets(header: &GeneralHeader) -> Vec<u8> {
    let mut octets = Vec::new();
    header.put(&mut octets);
    octets
}

fn title(octets: &[u8]) -> Result<SystemTitle, Error> {
    octets.try_into().map_err(|_| Error::WrongTitle)
}
