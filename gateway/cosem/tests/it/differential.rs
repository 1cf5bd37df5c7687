//! The same octets through another codec, `dlms-cosem-rs`: where both decode they say the same,
//! what one encodes the other reads and writes back, and what one seals the other opens. Inputs
//! are made from a seed, which is printed.

use bytes::Bytes;
use cosem::data::{BitString, Data};
use cosem::datetime::{Date, DateTime, Time};
use cosem::hdlc::{self, Frame};
use cosem::{Apdu, Keys, SecurityControl, gateway_header, security, wrapper};
use dlms_cosem_rs::axdr::{Data as Theirs, DataBuf};
use dlms_cosem_rs::codec::{Decode, Encode, Reader};
use dlms_cosem_rs::security::{
    KeyRing, Protector, RustCryptoProvider, SecurityPolicy, SecuritySuite, SystemTitle,
};
use dlms_cosem_rs::transport::{hdlc as their_hdlc, wrapper as their_wrapper};
use dlms_cosem_rs::xdlms::{Apdu as TheirApdu, SecurityControl as TheirControl};

use crate::corpus::{Chance, files, mutate};
use crate::made::{KINDS, Made};

/// Another seed is as good; it is printed, so that a difference can be had again.
const SEED: u64 = 0x6469_6666_6572;

fn made(what: &str) -> Made {
    println!("{what}: seed {SEED:#x}");
    Made(Chance(SEED))
}

/// Their value as ours; a compact array is the array of its rows.
fn ours(theirs: &Theirs<'_>) -> Option<Data> {
    owned(&DataBuf::from_data(theirs).ok()?)
}

fn owned(theirs: &DataBuf) -> Option<Data> {
    let octets = |octets: &[u8]| Bytes::copy_from_slice(octets);
    let list = |items: &[DataBuf]| items.iter().map(owned).collect::<Option<Vec<_>>>();
    Some(match theirs {
        DataBuf::Null => Data::Null,
        DataBuf::Array(items) => Data::Array(list(items)?),
        DataBuf::Structure(items) => Data::Structure(list(items)?),
        DataBuf::Boolean(value) => Data::Boolean(*value),
        DataBuf::BitString { bits, bytes } => {
            let bit = |at: usize| bytes[at / 8] & (0x80 >> (at % 8)) != 0;
            Data::BitString(BitString::new(&(0..*bits).map(bit).collect::<Vec<_>>()))
        }
        DataBuf::DoubleLong(value) => Data::I32(*value),
        DataBuf::DoubleLongUnsigned(value) => Data::U32(*value),
        DataBuf::OctetString(value) => Data::OctetString(octets(value)),
        DataBuf::VisibleString(value) => Data::VisibleString(octets(value)),
        DataBuf::Utf8String(value) => Data::Utf8(octets(value)),
        DataBuf::Bcd(value) => Data::Bcd(value.to_be_bytes()[0]),
        DataBuf::Integer(value) => Data::I8(*value),
        DataBuf::Long(value) => Data::I16(*value),
        DataBuf::Unsigned(value) => Data::U8(*value),
        DataBuf::LongUnsigned(value) => Data::U16(*value),
        DataBuf::Long64(value) => Data::I64(*value),
        DataBuf::Long64Unsigned(value) => Data::U64(*value),
        DataBuf::Enum(value) => Data::Enum(*value),
        DataBuf::Float32(value) => Data::F32(*value),
        DataBuf::Float64(value) => Data::F64(*value),
        DataBuf::DateTime(value) => Data::DateTime(DateTime::from_octets(value.to_bytes())),
        DataBuf::Date(value) => Data::Date(Date::from_octets(value.to_bytes())),
        DataBuf::Time(value) => Data::Time(Time::from_octets(value.to_bytes())),
        DataBuf::DeltaInteger(value) => Data::DeltaI8(*value),
        DataBuf::DeltaLong(value) => Data::DeltaI16(*value),
        DataBuf::DeltaDoubleLong(value) => Data::DeltaI32(*value),
        DataBuf::DeltaUnsigned(value) => Data::DeltaU8(*value),
        DataBuf::DeltaLongUnsigned(value) => Data::DeltaU16(*value),
        DataBuf::DeltaDoubleLongUnsigned(value) => Data::DeltaU32(*value),
        DataBuf::DontCare => Data::DontCare,
    })
}

/// Ours with each compact array as the array of its rows, and bits behind the last one cleared.
fn expanded(data: &Data) -> Data {
    match data {
        Data::BitString(bits) => Data::BitString(BitString::new(&bits.iter().collect::<Vec<_>>())),
        Data::Structure(items) => Data::Structure(items.iter().map(expanded).collect()),
        other => match other.as_array() {
            Some(items) => Data::Array(items.iter().map(expanded).collect()),
            None => other.clone(),
        },
    }
}

fn their_decode(octets: &[u8]) -> Option<Theirs<'_>> {
    let mut reader = Reader::new(octets);
    let data = Theirs::decode(&mut reader).ok()?;
    reader.rest().is_empty().then_some(data)
}

fn their_octets(value: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out).expect("it was decoded");
    out
}

fn their_apdu(octets: &[u8]) -> Result<TheirApdu<'_>, String> {
    let mut reader = Reader::new(octets);
    let apdu = TheirApdu::decode(&mut reader).map_err(|error| error.to_string())?;
    if reader.rest().is_empty() { Ok(apdu) } else { Err("octets are left over".to_owned()) }
}

#[test]
fn values_of_every_type_mean_the_same_and_are_written_the_same() {
    let mut made = made("values");
    for _ in 0..5_000 {
        let data = made.data(4);
        let octets = data.to_axdr();
        let theirs = their_decode(&octets).unwrap_or_else(|| panic!("refused: {data:?}"));
        assert_eq!(ours(&theirs), Some(expanded(&data)));
        assert_eq!(their_octets(&theirs), octets, "{data:?}");
    }
}

#[test]
fn damaged_values_are_taken_by_both_as_the_same_or_refused_by_one() {
    let mut made = made("damaged values");
    let (mut both, mut neither, mut one) = (0, 0, 0);
    for round in 0..10_000 {
        let mut octets = made.data(3).to_axdr();
        if round % 2 == 0 {
            let at = made.0.below(octets.len());
            octets[at] ^= 1 << made.0.below(8);
        } else {
            let other = made.data(2).to_axdr();
            mutate(&mut octets, &other, &mut made.0);
        }
        let theirs = their_decode(&octets);
        match (Data::decode(&octets), theirs.as_ref().and_then(ours)) {
            (Ok(data), Some(theirs)) => {
                // Not a number is not equal to itself; then the octets tell.
                let data = expanded(&data);
                let same = data == theirs || data.to_axdr() == theirs.to_axdr();
                assert!(same, "{data:?}\n{theirs:?}");
                both += 1;
            }
            (Err(_), None) => neither += 1,
            _ => one += 1,
        }
    }
    println!("taken by both {both}, by neither {neither}, by one {one}");
    assert!(both > 1_000 && neither > 1_000, "{both} {neither}");
    assert!(one * 20 < both + neither, "the two codecs judge differently too often: {one}");
}

#[test]
fn apdus_of_every_kind_are_read_and_written_back() {
    let mut made = made("APDUs");
    let mut differing = Vec::new();
    for round in 0..200 * KINDS {
        let kind = round % KINDS;
        let octets = made.apdu(kind).encode();
        match their_apdu(&octets).map(|theirs| their_octets(&theirs)) {
            Ok(theirs) if theirs == octets => {}
            theirs => differing.push(format!("{kind} {octets:02x?}\n{theirs:02x?}")),
        }
    }
    assert_eq!(differing.first(), None, "{} differ", differing.len());
}

#[test]
fn damaged_apdus_that_both_take_mean_the_same() {
    let mut made = made("damaged APDUs");
    let corpus = files("apdu");
    let (mut both, mut neither, mut one) = (0, 0, 0);
    for round in 0..10_000 {
        let mut octets = match round % 2 {
            0 => made.apdu(round / 2 % KINDS).encode(),
            _ => corpus[made.0.below(corpus.len())].clone(),
        };
        let other = &corpus[made.0.below(corpus.len())];
        if round % 8 > 1 {
            mutate(&mut octets, other, &mut made.0);
        }
        let theirs = their_apdu(&octets).map(|apdu| their_octets(&apdu));
        match (Apdu::decode(&octets), theirs) {
            (Ok(apdu), Ok(theirs)) => {
                let again = Apdu::decode(&theirs).expect("they wrote it");
                assert_eq!(again.encode(), apdu.encode(), "{octets:02x?}\n{theirs:02x?}");
                both += 1;
            }
            (Err(_), Err(_)) => neither += 1,
            _ => one += 1,
        }
    }
    println!("taken by both {both}, by neither {neither}, by one {one}");
    assert!(both > 1_000 && neither > 1_000, "{both} {neither}");
}

#[test]
fn frames_are_the_same_octets() {
    let mut made = made("frames");
    for _ in 0..5_000 {
        let apdu = made.octets();
        let header = wrapper::Header { source: 16, destination: 1 };
        let framed = wrapper::encode(header, &apdu).unwrap();
        let theirs = their_wrapper::Wpdu::new(16, 1, &apdu).unwrap();
        assert_eq!(their_octets(&theirs), framed);

        let address = |made: &mut Made| match made.0.below(3) {
            0 => hdlc::Address::one(17).unwrap(),
            1 => hdlc::Address::two(1, 100).unwrap(),
            _ => hdlc::Address::four(1, 10_000).unwrap(),
        };
        // No kind that our decoder does not know.
        let control = [0x10, 0x32, 0xfe, 0x11, 0xb5, 0x93, 0x73, 0x53, 0x1f, 0x97, 0x13];
        let control = hdlc::Control::from_octet(control[made.0.below(11)]).unwrap();
        let (destination, source) = (address(&mut made), address(&mut made));
        let frame = Frame {
            segmented: made.0.below(2) == 0,
            destination,
            source,
            control,
            information: apdu,
        };
        let octets = frame.encode().unwrap();
        let (theirs, taken) = their_hdlc::decode_frame(&octets).unwrap();
        assert_eq!(taken, octets.len());
        assert_eq!(theirs.control.as_u8(), control.octet(), "{control:?}");
        assert_eq!(
            (theirs.segmented, theirs.information),
            (frame.segmented, &frame.information[..])
        );
        assert_eq!(their_octets(&theirs), octets);
    }
}

#[test]
fn damaged_hdlc_frames_are_refused_by_both() {
    let mut made = made("damaged frames");
    let corpus = files("hdlc");
    let mut both = 0;
    for round in 0..10_000 {
        let mut octets = corpus[made.0.below(corpus.len())].clone();
        let other = &corpus[made.0.below(corpus.len())];
        if round % 8 > 1 {
            mutate(&mut octets, other, &mut made.0);
        }
        let mut deframer = hdlc::Deframer::new();
        deframer.feed(&octets);
        // Ours looks on behind a false frame; theirs is asked from the first flag.
        let Ok((theirs, _)) = their_hdlc::decode_frame(&octets) else { continue };
        let frame = std::iter::from_fn(|| deframer.next_frame());
        let known = hdlc::Control::from_octet(theirs.control.as_u8()).is_ok();
        if known && octets.get(9).is_some() {
            let mut frames = frame.map(|frame| frame.information);
            assert!(frames.any(|information| information[..] == *theirs.information));
            both += 1;
        }
    }
    assert!(both > 1_000, "{both}");
}

#[test]
fn link_parameters_are_read_alike() {
    let mut made = made("link parameters");
    for _ in 0..2_000 {
        let octets = u16::try_from(1 + made.0.below(2_030)).unwrap();
        let window = u8::try_from(1 + made.0.below(7)).unwrap();
        let parameters = hdlc::Parameters {
            transmit_octets: octets,
            receive_octets: 2_031 - octets,
            transmit_window: window,
            receive_window: 8 - window,
        };
        let theirs = their_hdlc::Parameters::decode(&parameters.encode()).unwrap();
        let seen = (theirs.max_info_tx, theirs.max_info_rx, theirs.window_tx, theirs.window_rx);
        let window = u32::from(window);
        assert_eq!(seen, (octets, 2_031 - octets, window, 8 - window));
        let mut out = Vec::new();
        theirs.encode(&mut out).unwrap();
        assert_eq!(hdlc::Parameters::decode(&out), Ok(parameters));
    }
}

#[test]
fn the_gateway_prefix_is_read_alike() {
    let mut made = made("gateway prefixes");
    for round in 0..2_000 {
        let direction = match round % 2 {
            0 => gateway_header::Direction::Request,
            _ => gateway_header::Direction::Response,
        };
        let network = u8::try_from(made.0.below(256)).unwrap();
        // From 128 octets on they write the length in two octets; a serial is shorter.
        let address: Bytes = made.octets().into_iter().take(100).collect();
        let prefix = gateway_header::Prefix { direction, network, address: address.clone() };
        let mut octets = Vec::new();
        gateway_header::encode(&prefix, &mut octets).unwrap();
        octets.extend_from_slice(&[0xc0, 2, 1, 0, 0, 0, 1]);
        let Ok(TheirApdu::Gateway { response, network_id, physical_device_address, payload }) =
            their_apdu(&octets)
        else {
            panic!("{octets:02x?}")
        };
        assert_eq!((response, network_id), (round % 2 == 1, network));
        assert_eq!(physical_device_address, address);
        assert_eq!(payload.len(), 7);
    }
}

#[test]
fn what_one_seals_the_other_opens_under_every_protection() {
    let mut made = made("ciphering");
    let both = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0);
    let policies = [(0x30, both), (0x10, SecurityPolicy { encrypted: false, ..both })];
    for round in 0..600 {
        let (control, policy) = policies[round % 2];
        let octets = |made: &mut Made| -> [u8; 16] {
            std::array::from_fn(|_| u8::try_from(made.0.below(256)).unwrap())
        };
        let (guek, gak, seed) = (octets(&mut made), octets(&mut made), octets(&mut made));
        let (title, counter) = seed.split_first_chunk::<8>().unwrap();
        let counter = u32::from_be_bytes(*counter.first_chunk().unwrap());
        let plain = made.octets();
        let keys = Keys::new(&guek, &gak);
        let protector = Protector::new(RustCryptoProvider::new(KeyRing::new(guek, gak)), policy);
        let their_title = SystemTitle::new(*title);

        let control = SecurityControl(control);
        let sealed = security::seal(&keys, control, title, counter, &plain).unwrap();
        let mut out = vec![0; plain.len() + 64];
        let theirs = protector.protect(&their_title, counter, &gak, &plain, &mut out).unwrap();
        assert_eq!(sealed, theirs);
        assert_eq!(security::open(&keys, control, title, counter, theirs).unwrap(), plain);
        let mut buffer = sealed.clone();
        let their_control = TheirControl(control.0);
        let opened =
            protector.unprotect(their_control, &their_title, counter, &gak, &mut buffer).unwrap();
        assert_eq!(opened, plain);

        // One changed bit, and both refuse.
        let mut changed = sealed;
        let at = made.0.below(changed.len());
        changed[at] ^= 1 << made.0.below(8);
        assert!(security::open(&keys, control, title, counter, &changed).is_err());
        let refused = protector.unprotect(their_control, &their_title, counter, &gak, &mut changed);
        assert!(refused.is_err());

        // The proof of HLS 5.
        let mut proof = [0; 17];
        protector.hls_gmac_response(&their_title, counter, &gak, &plain, &mut proof).unwrap();
        assert_eq!(security::hls::hls5_reply(&keys, title, counter, &plain), proof);
        assert_eq!(security::hls::hls5_verify(&keys, title, &plain, &proof), Ok(counter));
    }
}
