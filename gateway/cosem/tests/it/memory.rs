//! Allocation is bounded by the input: length fields of 4 GiB in a few octets cost nothing, in
//! any decoder. The allocator of this test binary counts what each thread asks for.

use allocation_counter::measure;
use cosem::apdu::GeneralBlock;
use cosem::association::seal_encoded;
use cosem::gbt::{Config, Exchange};
use cosem::iec62056_21::data as ascii;
use cosem::profile::{Layout, Rows};
use cosem::wrapper::Deframer;
use cosem::{Apdu, Data, Keys, SecurityControl, hdlc, security};

use crate::clock::start;

/// The most that decoding `octets` may ask for, octets: what is reserved ahead of the elements of
/// a list (64 of them, on each level that fits), and a constant times the input.
fn limit(octets: &[u8]) -> u64 {
    64 * 1024 + 256 * octets.len() as u64
}

fn check(name: &str, octets: &[u8], decode: impl Fn(&[u8])) {
    let asked = measure(|| decode(octets));
    assert!(asked.bytes_max <= limit(octets), "{name}: {} octets", asked.bytes_max);
}

/// The forms of a length of nearly 4 GiB, and of what else fits its octets.
fn lengths() -> [Vec<u8>; 4] {
    [
        vec![0x84, 0xff, 0xff, 0xff, 0xff],
        vec![0x84, 0x7f, 0xff, 0xff, 0xff],
        vec![0x83, 0xff, 0xff, 0xff],
        vec![0x82, 0xff, 0xff],
    ]
}

#[test]
fn a_length_of_4_gib_in_20_octets_costs_nothing() {
    let heads: [&[u8]; 26] = [
        &[0x01],                               // array
        &[0x02],                               // structure
        &[0x04],                               // bit-string
        &[0x09],                               // octet-string
        &[0x0a],                               // visible-string
        &[0x0c],                               // utf8-string
        &[0x13, 0x11],                         // compact-array of unsigned
        &[0x13, 0x02],                         // compact-array, structure
        &[0x13, 0x01, 0xff, 0xff, 0x00],       // compact-array of arrays of null
        &[0x01, 0x01, 0x02],                   // array of one structure
        &[0x0f, 0, 0, 0, 1, 0, 0x01],          // data-notification
        &[0xc0, 0x03, 0xc1],                   // get-request with list
        &[0xc1, 0x04, 0xc1],                   // set-request with list
        &[0xc1, 0x05, 0xc1],                   // with list and first block
        &[0xc3, 0x03, 0xc1],                   // action-request with list
        &[0xc4, 0x02, 0xc1, 0, 0, 0, 0, 1, 0], // get-response, block
        &[0xc4, 0x03, 0xc1],                   // get-response with list
        &[0xc5, 0x05, 0xc1],                   // set-response with list
        &[0xc7, 0x03, 0xc1],                   // action-response with list
        &[0xd9, 0x40, 0, 0, 1, 0],             // access-request
        &[0xda, 0x40, 0, 0, 1, 0, 0],          // access-response
        &[0xe0, 0x81, 0, 1, 0, 0],             // general block
        &[0xdb, 0x08, 1, 2, 3, 4, 5, 6, 7, 8], // general-glo
        &[0xdd],                               // general-ciphering
        &[0x60],                               // AARQ
        &[0x61],                               // AARE
    ];
    for head in heads {
        for length in lengths() {
            let mut octets = [head, &length[..]].concat();
            octets.resize(20.max(octets.len()), 0);
            check("data", &octets, |octets| drop(Data::decode(octets)));
            check("apdu", &octets, |octets| drop(Apdu::decode(octets)));
            check("rows", &octets, |octets| {
                let layout = Layout { clock: Some(0), period_s: 900, default_deviation: 0 };
                if let Ok(mut rows) = Rows::new(octets, layout) {
                    while let Ok(Some(_)) = rows.next_row() {}
                }
            });
        }
    }
}

#[test]
fn lists_within_lists_cost_no_more_than_their_octets() {
    // As deep as is decoded, each level announcing as many elements as octets are left.
    for octets in [20usize, 64, 200, 2_000] {
        let deep: Vec<u8> = (0..octets)
            .flat_map(|at| [0x01, u8::try_from((octets - at).min(0x7f)).unwrap()])
            .collect();
        check("nested", &deep, |octets| drop(Data::decode(octets)));
    }
    let bomb = [0x13, 2, 2, 0x11, 1, 0xff, 0xff, 0, 4, 1, 2, 3, 4];
    check("compact-array", &bomb, |octets| drop(Data::decode(octets)));
}

#[test]
fn frames_and_blocks_reserve_nothing_that_has_not_come() {
    check("wrapper", &[0, 1, 0, 1, 0, 1, 0xff, 0xff], |octets| {
        let mut deframer = Deframer::new(65_535);
        deframer.feed(octets);
        assert_eq!(deframer.next_frame(), Ok(None));
    });
    check("hdlc", &[0x7e, 0xaf, 0xff, 3, 3, 0x13, 0, 0], |octets| {
        let mut deframer = hdlc::Deframer::new();
        deframer.feed(octets);
        assert_eq!(deframer.next_frame(), None);
    });
    check("iec62056_21", b"1.8.0(99999999999999999999*kWh)(4294967295)", |octets| {
        let _any = ascii::parse(octets);
    });
    check("gbt", &[0xe0, 0x7f, 0xff, 0xff, 0xff, 0xff, 1, 0], |octets| {
        let mut exchange = Exchange::new(Config { max_apdu: usize::MAX, ..Config::default() });
        let Ok(Apdu::GeneralBlock(block)) = Apdu::decode(octets) else { panic!() };
        let _any = exchange.handle_block(start(), &block);
        let one = GeneralBlock { block: 1, acknowledged: 0, ..block };
        exchange.handle_block(start(), &one).unwrap();
    });
}

#[test]
fn sealing_asks_for_memory_once_and_so_does_opening() {
    let keys = Keys::new(&[1; 16], &[2; 16]);
    let title = *b"HFD\0\0\0\0\x01";
    let plain = [0x0f; 5_000];
    let both = SecurityControl::BOTH;
    let asked = |run: &dyn Fn()| measure(run).count_total;
    let sealed = security::seal(&keys, both, &title, 7, &plain).unwrap();
    let whole = seal_encoded(&keys, &title, 7, &plain).unwrap();
    let kinds: [(&str, &dyn Fn()); 3] = [
        ("content", &|| drop(security::seal(&keys, both, &title, 7, &plain))),
        ("a whole APDU", &|| drop(seal_encoded(&keys, &title, 7, &plain))),
        ("opened", &|| drop(security::open(&keys, both, &title, 7, &sealed))),
    ];
    for (name, run) in kinds {
        assert_eq!(asked(run), 1, "{name}");
    }
    // An exact size: nothing is moved when the frame is put around it.
    assert_eq!(sealed.capacity(), sealed.len());
    assert_eq!(whole.capacity(), whole.len());
}

#[test]
fn the_counter_counts() {
    let asked = measure(|| drop(vec![0u8; 5_000_000]));
    assert!(asked.bytes_max >= 5_000_000, "{asked:?}");
}
