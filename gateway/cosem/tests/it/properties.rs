//! Properties: no octets panic, what encodes decodes to the same, and machines survive anything.

use bytes::Bytes;
use cosem::association::{AcceptedCounters, Client, ClientConfig, Server, ServerConfig};
use cosem::compact::{CompactArray, TypeDescription};
use cosem::data::{BitString, Data};
use cosem::datetime::{Date, DateTime, Time};
use cosem::profile::{Cell, Layout, Rows};
use cosem::wrapper::{Deframer, Header};
use cosem::{Apdu, AttributeRef, gateway_header, wrapper};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use crate::clock::start;

fn simple() -> impl Strategy<Value = Data> {
    let octets = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    prop_oneof![
        Just(Data::Null),
        any::<bool>().prop_map(Data::Boolean),
        prop::collection::vec(any::<bool>(), 0..40)
            .prop_map(|bits| Data::BitString(BitString::new(&bits))),
        any::<i32>().prop_map(Data::I32),
        any::<u32>().prop_map(Data::U32),
        octets().prop_map(Data::OctetString),
        octets().prop_map(Data::VisibleString),
        octets().prop_map(Data::Utf8),
        any::<u8>().prop_map(Data::Bcd),
        any::<i8>().prop_map(Data::I8),
        any::<i16>().prop_map(Data::I16),
        any::<u8>().prop_map(Data::U8),
        any::<u16>().prop_map(Data::U16),
        any::<i64>().prop_map(Data::I64),
        any::<u64>().prop_map(Data::U64),
        any::<u8>().prop_map(Data::Enum),
        prop::num::f32::NORMAL.prop_map(Data::F32),
        prop::num::f64::NORMAL.prop_map(Data::F64),
        any::<[u8; 12]>().prop_map(|octets| Data::DateTime(DateTime::from_octets(octets))),
        any::<[u8; 5]>().prop_map(|octets| Data::Date(Date::from_octets(octets))),
        any::<[u8; 4]>().prop_map(|octets| Data::Time(Time::from_octets(octets))),
        any::<i8>().prop_map(Data::DeltaI8),
        any::<i16>().prop_map(Data::DeltaI16),
        any::<i32>().prop_map(Data::DeltaI32),
        any::<u8>().prop_map(Data::DeltaU8),
        any::<u16>().prop_map(Data::DeltaU16),
        any::<u32>().prop_map(Data::DeltaU32),
        Just(Data::DontCare),
    ]
}

fn compact() -> impl Strategy<Value = Data> {
    prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..9)), 0..9).prop_map(
        |rows| {
            let of = [0x06, 0x09].map(TypeDescription::Simple).to_vec();
            let row = |(number, octets): (u32, Vec<u8>)| {
                Data::Structure(vec![Data::U32(number), Data::OctetString(octets.into())])
            };
            let rows = rows.into_iter().map(row).collect();
            let array = CompactArray::new(TypeDescription::Structure(of), rows);
            Data::CompactArray(array.unwrap())
        },
    )
}

fn data() -> impl Strategy<Value = Data> {
    prop_oneof![9 => simple(), 1 => compact()].prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Data::Array),
            prop::collection::vec(inner, 0..8).prop_map(Data::Structure),
        ]
    })
}

/// Octets that begin like something, so that decoders get past the first octet.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(vec![
        0x01u8, 0x02, 0x08, 0x0e, 0x0f, 0x13, 0x21, 0x28, 0x60, 0x61, 0x62, 0x63, 0xc0, 0xc1, 0xc2,
        0xc3, 0xc4, 0xc5, 0xc7, 0xc8, 0xd8, 0xd9, 0xdb, 0xdc, 0xdd, 0xe0, 0xe6, 0xe7,
    ]);
    let small = prop_oneof![0u8..0x24, any::<u8>()];
    (first, prop::collection::vec(small, 0..200)).prop_map(|(first, mut rest)| {
        rest.insert(0, first);
        rest
    })
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(
        octets in octets(),
        raw in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        for octets in [octets, raw] {
            if let Ok(data) = Data::decode(&octets) {
                // What decodes encodes to the same value again.
                let again = Data::decode(&data.to_axdr()).map(|data| data.to_axdr());
                prop_assert_eq!(again, Ok(data.to_axdr()));
            }
            if let Ok(apdu) = Apdu::decode(&octets) {
                let again = Apdu::decode(&apdu.encode()).map(|apdu| apdu.encode());
                prop_assert_eq!(again, Ok(apdu.encode()));
            }
            let _ignored = gateway_header::split(&octets);
            let layout = Layout { clock: Some(0), period_s: 900, default_deviation: 0 };
            if let Ok(mut rows) = Rows::new(&octets, layout) {
                while let Ok(Some(_)) = rows.next_row() {}
            }
            let mut deframer = Deframer::new(100);
            deframer.feed(&octets);
            while let Ok(Some(_)) = deframer.next_frame() {}
        }
    }

    #[test]
    fn data_decodes_to_what_was_encoded(data in data()) {
        let octets = data.to_axdr();
        prop_assert_eq!(Data::decode(&octets), Ok(data));
    }

    #[test]
    fn a_decoded_prefix_never_fills_the_whole(data in data()) {
        let octets = data.to_axdr();
        for cut in 0..octets.len() {
            assert!(Data::decode(&octets[..cut]).is_err());
        }
    }

    #[test]
    fn fast_rows_say_what_data_says(
        rows in prop::collection::vec(prop::collection::vec(data(), 0..6), 0..12),
    ) {
        let octets = Data::Array(rows.iter().cloned().map(Data::Structure).collect()).to_axdr();
        let layout = Layout { clock: None, period_s: 0, default_deviation: 0 };
        let mut fast = Rows::new(&octets, layout).unwrap();
        for row in &rows {
            let cells = &fast.next_row().unwrap().unwrap().cells;
            prop_assert_eq!(cells.len(), row.len());
            for (cell, value) in cells.iter().zip(row) {
                let same = match cell {
                    Cell::Null => matches!(value, Data::Null | Data::DontCare),
                    Cell::Integer(integer) => value.as_i64() == Some(*integer),
                    Cell::Large(large) => *value == Data::U64(*large),
                    Cell::Boolean(boolean) => *value == Data::Boolean(*boolean),
                    Cell::Float(float) => match value {
                        Data::F32(value) => f64::from(*value) == *float,
                        _ => *value == Data::F64(*float),
                    },
                    Cell::Octets(octets) => value.as_octets() == Some(*octets),
                    Cell::Time(time) => *value == Data::DateTime(*time),
                    Cell::Other(other) => **other == *value,
                };
                assert!(same, "{cell:?} is not {value:?}");
            }
        }
        prop_assert_eq!(fast.next_row(), Ok(None));
        prop_assert_eq!(fast.into_reader().remaining(), 0);
    }

    #[test]
    fn frames_survive_any_cutting(
        apdus in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
        cuts in prop::collection::vec(1usize..40, 1..20),
    ) {
        let header = Header { source: 3, destination: 4 };
        let frames = apdus.iter().map(|apdu| wrapper::encode(header, apdu).unwrap());
        let stream: Vec<u8> = frames.flatten().collect();
        let mut deframer = Deframer::new(50);
        let (mut got, mut rest, mut at) = (Vec::new(), &stream[..], 0);
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(cuts[at % cuts.len()].min(rest.len()));
            (rest, at) = (tail, at + 1);
            deframer.feed(piece);
            while let Some((_, apdu)) = deframer.next_frame().unwrap() {
                got.push(apdu.to_vec());
            }
        }
        prop_assert_eq!(got, apdus);
    }

    #[test]
    fn machines_survive_arbitrary_frames(frames in prop::collection::vec(octets(), 0..20)) {
        let now = start();
        let header = Header { source: 1, destination: 1 };
        let mut config = ServerConfig::new(1, *b"MMM\0\0\0\0\x01");
        config.allow_public = true;
        let mut server = Server::new(config, [1; 32], AcceptedCounters::default());
        let mut client = Client::new(ClientConfig::new(1, 1, *b"HFDNODE1"), &[2; 16]);
        client.connect(now).unwrap();
        let aarq = client.poll_transmit().unwrap();
        server.handle_frame(now, header, &aarq[8..]).unwrap();
        let aare = server.poll_transmit().unwrap();
        client.handle_frame(now, header, &aare[8..]).unwrap();
        client.get(now, AttributeRef::new(3, [1, 0, 1, 8, 0, 255], 2), None).unwrap();
        for frame in frames {
            let _refused = server.handle_frame(now, header, &frame);
            let _refused = client.handle_frame(now, header, &frame);
            while server.poll().is_some() || client.poll().is_some() {}
            while server.poll_transmit().is_some() || client.poll_transmit().is_some() {}
        }
    }
}
