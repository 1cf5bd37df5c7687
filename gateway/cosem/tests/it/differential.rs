//! The same octets through another codec, `dlms-cosem-rs`: where both decode, they say the same,
//! and what one seals the other opens.

use cosem::data::Data;
use cosem::{Keys, SecurityControl, security};
use dlms_cosem_rs::axdr::Data as Theirs;
use dlms_cosem_rs::codec::{Decode, Reader};
use proptest::prelude::{any, prop, prop_assert_eq, proptest};

/// Their value as ours.
fn ours(theirs: &Theirs<'_>) -> Option<Data> {
    let list = |seq: &dlms_cosem_rs::axdr::Seq<'_>| {
        seq.iter().map(|item| ours(&item.ok()?)).collect::<Option<Vec<_>>>()
    };
    Some(match theirs {
        Theirs::Null => Data::Null,
        Theirs::Array(seq) => Data::Array(list(seq)?),
        Theirs::Structure(seq) => Data::Structure(list(seq)?),
        Theirs::Boolean(value) => Data::Boolean(*value),
        Theirs::DoubleLong(value) => Data::I32(*value),
        Theirs::DoubleLongUnsigned(value) => Data::U32(*value),
        Theirs::OctetString(octets) => Data::octets(octets),
        Theirs::Integer(value) => Data::I8(*value),
        Theirs::Long(value) => Data::I16(*value),
        Theirs::Unsigned(value) => Data::U8(*value),
        Theirs::LongUnsigned(value) => Data::U16(*value),
        Theirs::Long64(value) => Data::I64(*value),
        Theirs::Long64Unsigned(value) => Data::U64(*value),
        Theirs::Enum(value) => Data::Enum(*value),
        _ => return None,
    })
}

fn their_decode(octets: &[u8]) -> Option<Theirs<'_>> {
    let mut reader = Reader::new(octets);
    let data = Theirs::decode(&mut reader).ok()?;
    reader.rest().is_empty().then_some(data)
}

proptest! {
    #[test]
    fn both_decode_the_same(
        octets in prop::collection::vec(prop::sample::select(vec![
            0u8, 1, 2, 3, 4, 5, 6, 9, 0x0f, 0x10, 0x11, 0x12, 0x14, 0x15, 0x16, 0x80, 0x81, 0xff,
        ]), 0..60),
    ) {
        let mine = Data::decode(&octets).ok();
        // What they take, we take: their crate takes no deeper nesting than ours.
        if let Some(theirs) = their_decode(&octets).as_ref().and_then(ours) {
            prop_assert_eq!(mine, Some(theirs));
        }
    }

    #[test]
    fn what_we_encode_they_decode_to_the_same(
        values in prop::collection::vec(any::<(u32, i16, Vec<u8>)>(), 0..20),
    ) {
        let row = |(a, b, c): (u32, i16, Vec<u8>)| {
            Data::Structure(vec![Data::U32(a), Data::I16(b), Data::octets(&c), Data::Null])
        };
        let data = Data::Array(values.into_iter().map(row).collect());
        let octets = data.to_axdr();
        let theirs = their_decode(&octets);
        prop_assert_eq!(theirs.as_ref().and_then(ours), Some(data));
    }

    #[test]
    fn what_we_seal_another_gcm_opens(
        guek in any::<[u8; 16]>(), gak in any::<[u8; 16]>(), title in any::<[u8; 8]>(),
        counter in any::<u32>(), plain in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        use dlms_cosem_rs::security::{
            KeyRing, Protector, RustCryptoProvider, SecurityPolicy, SecuritySuite, SystemTitle,
        };
        let policy = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0);
        let ring = KeyRing::new(guek, gak);
        let provider = RustCryptoProvider::new(ring);
        let protector = Protector::new(provider, policy);
        let mut out = vec![0; plain.len() + 64];
        let theirs = protector.protect(&SystemTitle::new(title), counter, &gak, &plain, &mut out);
        let theirs = theirs.unwrap();
        let keys = Keys::new(&guek, &gak);
        let sealed = security::seal(&keys, SecurityControl::BOTH, &title, counter, &plain).unwrap();
        prop_assert_eq!(&sealed[..], theirs);
        let opened = security::open(&keys, SecurityControl::BOTH, &title, counter, theirs);
        prop_assert_eq!(opened, Ok(plain));
    }
}
