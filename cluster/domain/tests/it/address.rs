//! Addresses: whatever is printed reads back, and no text makes the reader panic.

use domain::Address;
use domain::units::address::{
    Bits, Local, Mode, Protocol, ReadCommand, SignOn, Station, Way, is_port_name,
};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::{option, prop_assert, prop_assert_eq, proptest};

fn tcp() -> impl Strategy<Value = Way> {
    let ipv6 = any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string());
    let host = prop_oneof!["[a-z0-9][a-z0-9.-]{0,40}", ipv6];
    (host, 1..=u16::MAX).prop_map(|(host, port)| Way::Tcp { host, port })
}

fn way() -> impl Strategy<Value = Way> {
    let serial = "[A-Za-z0-9_.-]{1,32}".prop_map(|port| Way::Serial { port });
    let rfc2217 = tcp().prop_map(|way| match way {
        Way::Tcp { host, port } => Way::Rfc2217 { host, port },
        other => other,
    });
    prop_oneof![tcp(), rfc2217, serial]
}

fn station() -> impl Strategy<Value = Station> {
    let short = || 0..=0x7f_u16;
    let long = || 0..=0x3fff_u16;
    let ends = prop_oneof![
        (option::of(short()), Just(None), select(vec![None, Some(1)])),
        (option::of(short()), short().prop_map(Some), select(vec![None, Some(2), Some(4)])),
        (option::of(long()), long().prop_map(Some), select(vec![None, Some(4)])),
    ];
    (ends, 1..=7_u8, 32..=2030_u16).prop_map(|((server, physical, octets), window, size)| Station {
        server,
        physical,
        octets,
        window,
        size,
    })
}

fn sign_on() -> impl Strategy<Value = SignOn> {
    let bits = select(vec![Bits::SevenEven, Bits::EightNone]);
    ("[A-Za-z0-9-]{0,32}", bits).prop_map(|(device, bits)| SignOn { device, bits })
}

fn local() -> impl Strategy<Value = Local> {
    let mode = select(vec![Mode::Auto, Mode::A, Mode::B, Mode::C, Mode::D]);
    let reads = [ReadCommand::R1, ReadCommand::R2, ReadCommand::R5, ReadCommand::R6];
    let read = select(reads.to_vec());
    (sign_on(), mode, read, -720..=840_i16).prop_map(|(sign_on, mode, read, utc_offset_minutes)| {
        Local { sign_on, mode, read, utc_offset_minutes }
    })
}

fn address() -> impl Strategy<Value = Address> {
    let wrapper = tcp().prop_map(|way| Address { way, protocol: Protocol::Wrapper });
    let spoken = prop_oneof![
        station().prop_map(Protocol::Hdlc),
        local().prop_map(Protocol::Local),
        (sign_on(), station()).prop_map(|(sign_on, station)| Protocol::ModeE(sign_on, station)),
    ];
    let lines = (way(), spoken).prop_map(|(way, protocol)| Address { way, protocol });
    prop_oneof![1 => wrapper, 4 => lines]
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(address in address()) {
        let text = address.to_string();
        prop_assert!(text.len() <= 255, "{text}");
        prop_assert_eq!(Address::parse(&text), Ok(address));
    }

    #[test]
    fn any_text_is_an_address_or_a_fault_of_the_list(
        text in "(tcp|hdlc|iec|mode-e|[+:/?&=\\[\\]@.]|serial|rfc2217|device|[0-9a-z]{1,5}){0,9}",
    ) {
        match Address::parse(&text) {
            Ok(address) => {
                prop_assert_eq!(Address::parse(&address.to_string()), Ok(address.clone()));
                prop_assert!(address.serial_port().is_none_or(is_port_name));
            }
            Err(refusal) => prop_assert!(refusal.code.starts_with("bad_address"), "{refusal}"),
        }
    }
}
