//! Known answers of the primitives as they stand behind our API, from the documents that define
//! them, and messages of general-ciphering and general-signing under every kind of key.

use cosem::apdu::{GeneralHeader, KeyInfo};
use cosem::security::agreement::{Algorithm, accept_offer, agree, derive_key, offer};
use cosem::security::general::{
    MessageKey, open_general, seal_general, sign_general, verify_general,
};
use cosem::security::{
    self, AgreementKey, AgreementPublic, Credentials, Kek, KeyId, Keys, Required, SecurityControl,
    SigningKey, Suite, VerifyingKey,
};
use cosem::{Apdu, Error};

use crate::octets::{hex, to_hex};

const CLIENT: [u8; 8] = *b"HFDNODE1";
const SERVER: [u8; 8] = *b"MMM\0\0\0\0\x01";
const CURVES: [Suite; 2] = [Suite::One, Suite::Two];

#[test]
fn key_wrap_gives_the_answers_of_rfc_3394() {
    // Sections 4.1 and 4.6: 128 bits of key under 128, 256 under 256.
    let cases = [
        (
            Suite::One,
            "000102030405060708090a0b0c0d0e0f",
            "00112233445566778899aabbccddeeff",
            "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5",
        ),
        (
            Suite::Two,
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f",
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
        ),
    ];
    for (suite, kek, key, wrapped) in cases {
        let kek = Kek::new(suite, &hex(kek)).unwrap();
        assert_eq!(to_hex(&kek.wrap(&hex(key)).unwrap()), wrapped);
        assert_eq!(to_hex(&kek.unwrap_key(&hex(wrapped)).unwrap()), key);
    }
}

#[test]
fn signatures_are_those_of_rfc_6979() {
    // Appendices A.2.5 (P-256, SHA-256) and A.2.6 (P-384, SHA-384).
    let cases = [
        (
            Suite::One,
            "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
            "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
             7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
             f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367\
             019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
        ),
        (
            Suite::Two,
            "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d8\
             96d5724e4c70a825f872c9ea60d2edf5",
            "ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64\
             def8f0ea9055866064a254515480bc13\
             8015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1\
             288b231c3ae0d4fe7344fd2533264720",
            "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c\
             81a648152e44acf96e36dd1e80fabe46\
             99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94f\
             a329c145786e679e7b82c71a38628ac8",
            "8203b63d3c853e8d77227fb377bcf7b7b772e97892a80f36ab775d509d7a5feb\
             0542a7f0812998da8f1dd3ca3cf023db\
             ddd0760448d42d8a43af45af836fce4de8be06b485e9b61b827c2f13173923e0\
             6a739f040649a667bf3b828246baa5a5",
        ),
    ];
    for (suite, scalar, point, sample, test) in cases {
        let key = SigningKey::new(suite, &hex(scalar)).unwrap();
        assert_eq!(to_hex(&key.public().point()), point);
        let public = VerifyingKey::new(suite, &hex(point)).unwrap();
        for (message, expect) in [(b"sample".as_slice(), sample), (b"test", test)] {
            let signature = key.sign(message).unwrap();
            assert_eq!(to_hex(&signature), expect);
            assert_eq!(public.verify(message, &signature), Ok(()));
            assert_eq!(public.verify(b"another", &signature), Err(Error::BadSignature));
            for at in 0..signature.len() {
                let mut bad = signature.clone();
                bad[at] ^= 0x40;
                assert_eq!(public.verify(message, &bad), Err(Error::BadSignature));
            }
            assert_eq!(public.verify(message, &signature[1..]), Err(Error::BadSignature));
        }
    }
}

#[test]
fn shared_secrets_are_those_of_rfc_5903() {
    // Sections 8.1 and 8.2: initiator's scalar, responder's point, shared x.
    let cases = [
        (
            Suite::One,
            "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
            "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63\
             56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
            "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de",
        ),
        (
            Suite::Two,
            "099f3c7034d4a2c699884d73a375a67f7624ef7c6b3c0f160647b67414dce655\
             e35b538041e649ee3faef896783ab194",
            "e558dbef53eecde3d3fccfc1aea08a89a987475d12fd950d83cfa41732bc509d\
             0d1ac43a0336def96fda41d0774a3571\
             dcfbec7aacf3196472169e838430367f66eebe3c6e70c416dd5f0c68759dd1ff\
             f83fa40142209dff5eaad96db9e6386c",
            "11187331c279962d93d604243fd592cb9d0a926f422e47187521287e7156c5c4\
             d603135569b9e9d09cf5d4a270f59746",
        ),
    ];
    for (suite, scalar, point, shared) in cases {
        let own = AgreementKey::new(suite, &hex(scalar)).unwrap();
        let other = AgreementPublic::new(suite, &hex(point)).unwrap();
        assert_eq!(to_hex(&own.shared(&other).unwrap()), shared);
        assert_eq!(to_hex(&other.point()), point);
        // A point that is not on the curve gives nothing away.
        let mut off = hex(point);
        off[5] ^= 1;
        assert!(AgreementPublic::new(suite, &off).is_err());
        assert!(AgreementPublic::new(suite, &off[1..]).is_err());
    }
}

#[test]
fn the_cipher_is_gcm_with_a_short_tag() {
    // The GCM specification (McGrew, Viega), test cases 4 and 16: encrypted without additional
    // data the ciphertext is theirs, whatever the tag.
    let cases = [
        (Suite::Zero, "feffe9928665731c6d6a8f9467308308", "42831ec2217774244b7221b784d0d49c"),
        (
            Suite::Two,
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "522dc1f099567d07f47f37a32a84427d",
        ),
    ];
    let title = [0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad];
    let plain = hex("d9313225f88406e5a55909c5aff5269a");
    for (suite, key, expect) in cases {
        let keys = Keys::in_suite(suite, &hex(key), &hex(key)).unwrap();
        let control = SecurityControl::ENCRYPTED.in_suite(suite);
        let sealed = security::seal(&keys, control, &title, 0xdeca_f888, &plain).unwrap();
        assert_eq!(to_hex(&sealed), expect);
    }
}

#[test]
fn derivation_in_suite_2_takes_sha_384_and_its_own_algorithms() {
    let key = derive_key(Suite::Two, &[7; 48], Algorithm::Gcm, &CLIENT, &SERVER);
    assert_eq!(key.len(), 32);
    let wrap = derive_key(Suite::Two, &[7; 48], Algorithm::Wrap, &CLIENT, &SERVER);
    assert_ne!(key, wrap);
    use sha2::{Digest, Sha384};
    let z = [7; 48];
    let id = hex("60857405080301");
    let input = [&[0, 0, 0, 1][..], &z, &id, &CLIENT, &SERVER].concat();
    assert_eq!(key[..], Sha384::digest(input)[..32]);
}

fn scalar(suite: Suite, octet: u8) -> Vec<u8> {
    vec![octet; suite.curve_octets()]
}

/// What client and server hold of each other in a suite.
fn pair(suite: Suite) -> (Keys, Credentials, Credentials) {
    let length = suite.key_octets();
    let keys = Keys::in_suite(suite, &vec![1; length], &vec![2; length]).unwrap();
    let keys = keys.with_broadcast(&vec![3; length]).unwrap();
    let side = |own: u8, peer: u8| Credentials {
        kek: Some(Kek::new(suite, &vec![9; length]).unwrap()),
        signing: Some(SigningKey::new(suite, &scalar(suite, own)).unwrap()),
        peer_signing: Some(SigningKey::new(suite, &scalar(suite, peer)).unwrap().public()),
        agreement: Some(AgreementKey::new(suite, &scalar(suite, own + 1)).unwrap()),
        peer_agreement: Some(AgreementKey::new(suite, &scalar(suite, peer + 1)).unwrap().public()),
    };
    (keys, side(0x21, 0x31), side(0x31, 0x21))
}

fn header(transaction: u8) -> GeneralHeader {
    GeneralHeader {
        transaction: vec![transaction; 8].into(),
        originator: CLIENT.to_vec().into(),
        recipient: SERVER.to_vec().into(),
        ..GeneralHeader::default()
    }
}

/// Changes one bit of each octet, one after the other.
fn flips(octets: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..octets.len()).map(|at| {
        let mut bad = octets.to_vec();
        bad[at] ^= 1 << (at % 8);
        bad
    })
}

#[test]
fn general_ciphering_opens_under_every_kind_of_key_and_after_no_flipped_bit() {
    let plain = b"\xc0\x01\xc1\x00\x08\x00\x00\x01\x00\x00\xff\x02\x00";
    for suite in [Suite::Zero, Suite::One, Suite::Two] {
        let curve = if suite == Suite::Zero { Suite::One } else { suite };
        let (_, mut client, mut server) = pair(curve);
        let (keys, kek) = (pair_keys(suite), Kek::new(suite, &vec![9; suite.key_octets()]));
        (client.kek, server.kek) = (kek.clone().ok(), kek.ok());
        let ephemeral = AgreementKey::new(curve, &scalar(curve, 0x55)).unwrap();
        let fresh = vec![0x77; suite.key_octets()];
        let mut kinds =
            vec![MessageKey::Unicast, MessageKey::Broadcast, MessageKey::Wrapped(&fresh)];
        if suite != Suite::Zero {
            kinds.extend([MessageKey::OnePass(&ephemeral), MessageKey::StaticUnified]);
        }
        for (kind, control) in kinds.iter().flat_map(|k| [0x10, 0x30].map(|c| (*k, c))) {
            let control = SecurityControl(control).in_suite(suite);
            let required = Required::of(control);
            let sealed =
                seal_general(&keys, &client, kind, header(1), (control, 5), plain).unwrap();
            let octets = Apdu::GeneralCiphering(sealed.clone()).encode();
            assert_eq!(open_general(&keys, &server, required, &sealed).unwrap(), plain, "{kind:?}");
            for bad in flips(&octets) {
                let opened = match Apdu::decode(&bad) {
                    Ok(Apdu::GeneralCiphering(bad)) => open_general(&keys, &server, required, &bad),
                    _ => continue,
                };
                assert!(opened.is_err(), "{kind:?}: {}", to_hex(&bad));
            }
            let none = open_general(&keys, &Credentials::default(), required, &sealed);
            let needs_none = matches!(kind, MessageKey::Unicast | MessageKey::Broadcast);
            assert_eq!(none.is_ok(), needs_none, "{kind:?}");
        }
    }
}

fn pair_keys(suite: Suite) -> Keys {
    let length = suite.key_octets();
    let keys = Keys::in_suite(suite, &vec![1; length], &vec![2; length]).unwrap();
    keys.with_broadcast(&vec![3; length]).unwrap()
}

#[test]
fn a_statically_agreed_key_differs_with_the_transaction() {
    let (keys, client, _) = pair(Suite::One);
    let control = SecurityControl::BOTH.in_suite(Suite::One);
    let sealed = |transaction| {
        let kind = MessageKey::StaticUnified;
        let header = header(transaction);
        seal_general(&keys, &client, kind, header, (control, 5), b"the same").unwrap().content
    };
    assert_eq!(sealed(1), sealed(1));
    assert_ne!(sealed(1)[..8], sealed(2)[..8]);
}

#[test]
fn an_ephemeral_key_that_another_signed_is_refused() {
    let (keys, mut client, server) = pair(Suite::One);
    client.signing = Some(SigningKey::new(Suite::One, &scalar(Suite::One, 0x66)).unwrap());
    let control = SecurityControl::BOTH.in_suite(Suite::One);
    let ephemeral = AgreementKey::new(Suite::One, &scalar(Suite::One, 0x55)).unwrap();
    let kind = MessageKey::OnePass(&ephemeral);
    let sealed = seal_general(&keys, &client, kind, header(1), (control, 5), b"x").unwrap();
    assert!(matches!(sealed.key, Some(KeyInfo::Agreed { .. })));
    assert_eq!(open_general(&keys, &server, Required::BOTH, &sealed), Err(Error::BadSignature));
}

#[test]
fn general_signing_verifies_and_no_flipped_bit_does() {
    for suite in CURVES {
        let (_, client, server) = pair(suite);
        let signing = client.signing.as_ref().unwrap();
        let signed = sign_general(signing, header(1), b"\xc0\x01\xc1".to_vec()).unwrap();
        let verifying = server.peer_signing.as_ref().unwrap();
        assert_eq!(verify_general(verifying, &signed), Ok(()));
        let own = signing.public();
        assert_eq!(verify_general(&own, &signed), Ok(()));
        assert!(verify_general(client.peer_signing.as_ref().unwrap(), &signed).is_err());
        let octets = Apdu::GeneralSigning(signed.clone()).encode();
        assert_eq!(Apdu::decode(&octets).unwrap(), Apdu::GeneralSigning(signed));
        for bad in flips(&octets) {
            if let Ok(Apdu::GeneralSigning(bad)) = Apdu::decode(&bad) {
                assert_eq!(verify_general(verifying, &bad), Err(Error::BadSignature));
            }
        }
    }
}

#[test]
fn two_sides_agree_on_a_key_by_method_3() {
    for suite in CURVES {
        let (_, client, server) = pair(suite);
        let ours = AgreementKey::new(suite, &scalar(suite, 0x51)).unwrap();
        let theirs = AgreementKey::new(suite, &scalar(suite, 0x52)).unwrap();
        for id in [KeyId::Unicast, KeyId::Broadcast, KeyId::Authentication, KeyId::Kek] {
            let up = offer(id, &ours, client.signing.as_ref().unwrap()).unwrap();
            let down = offer(id, &theirs, server.signing.as_ref().unwrap()).unwrap();
            let from_client = accept_offer(id, &up, server.peer_signing.as_ref().unwrap()).unwrap();
            let from_server =
                accept_offer(id, &down, client.peer_signing.as_ref().unwrap()).unwrap();
            let at_client = agree(id, &ours, &from_server, &CLIENT, &SERVER).unwrap();
            let at_server = agree(id, &theirs, &from_client, &CLIENT, &SERVER).unwrap();
            assert_eq!((at_client.len(), &at_client), (suite.key_octets(), &at_server));
            // The signature binds the id: an offer for one key is none for another.
            let other = if id == KeyId::Kek { KeyId::Unicast } else { KeyId::Kek };
            let refused = accept_offer(other, &up, server.peer_signing.as_ref().unwrap());
            assert_eq!(refused, Err(Error::BadSignature));
        }
    }
}

#[test]
fn keys_of_the_wrong_length_or_suite_are_refused_when_they_are_made() {
    assert!(Keys::in_suite(Suite::Two, &[1; 16], &[1; 32]).is_err());
    assert!(Keys::in_suite(Suite::Two, &[1; 32], &[1; 16]).is_err());
    assert!(Keys::in_suite(Suite::One, &[1; 32], &[1; 16]).is_err());
    assert!(Keys::new(&[1; 16], &[1; 16]).with_broadcast(&[1; 32]).is_err());
    assert!(Kek::new(Suite::Zero, &[1; 24]).is_err());
    assert!(SigningKey::new(Suite::Zero, &[1; 32]).is_err());
    assert!(SigningKey::new(Suite::One, &[0; 32]).is_err());
    assert!(SigningKey::new(Suite::One, &[1; 48]).is_err());
    assert!(SigningKey::new(Suite::Two, &[1; 32]).is_err());
    assert!(AgreementKey::new(Suite::Zero, &[1; 32]).is_err());
    assert!(AgreementKey::new(Suite::Two, &[0xff; 48]).is_err());
}
