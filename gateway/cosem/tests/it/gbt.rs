//! General block transfer: two sides and a line that loses blocks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::Error;
use cosem::apdu::{Apdu, GeneralBlock};
use cosem::gbt::{Config, Exchange, Role};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use crate::clock::start;

const FLIGHT: Duration = Duration::from_millis(20);

fn config(window: u8) -> Config {
    let wait = Duration::from_millis(300);
    Config { role: Role::Asks, window, block_octets: 10, max_apdu: 5_000, wait, tries: 40 }
}

fn apdu(octets: usize) -> Bytes {
    (0..octets).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Two sides and a line on which `loses` decides the fate of each block.
struct Line<F> {
    now: Instant,
    sides: [Exchange; 2],
    flying: VecDeque<(Instant, usize, Vec<u8>)>,
    loses: F,
    sent: usize,
}

impl<F: FnMut() -> bool> Line<F> {
    fn new(windows: [u8; 2], loses: F) -> Self {
        let sides = windows.map(|window| Exchange::new(config(window)));
        Self { now: start(), sides, flying: VecDeque::new(), loses, sent: 0 }
    }

    /// Runs until `side` has an APDU, or nothing moves any more.
    fn run(&mut self, side: usize) -> Option<Bytes> {
        for _ in 0..100_000 {
            for from in 0..2 {
                while let Some(block) = self.sides[from].poll_transmit() {
                    self.sent += 1;
                    if !(self.loses)() {
                        let octets = Apdu::GeneralBlock(block).encode();
                        self.flying.push_back((self.now + FLIGHT, 1 - from, octets));
                    }
                }
            }
            if let Some(whole) = self.sides[side].poll() {
                return Some(whole);
            }
            if let Some((at, to, octets)) = self.flying.pop_front() {
                self.now = self.now.max(at);
                let Ok(Apdu::GeneralBlock(block)) = Apdu::decode(&octets) else { panic!() };
                self.sides[to].handle_block(self.now, &block).unwrap();
                continue;
            }
            let next = self.sides.iter().filter_map(Exchange::poll_timeout).min()?;
            self.now = self.now.max(next);
            self.sides.iter_mut().for_each(|side| side.handle_timeout(self.now));
        }
        panic!("the exchange never ends");
    }
}

#[test]
fn without_loss_no_block_is_sent_twice() {
    let mut line = Line::new([5, 5], || false);
    line.sides[0].send(line.now, apdu(8)).unwrap();
    assert_eq!(line.run(1), Some(apdu(8)));
    line.sides[1].send(line.now, apdu(200)).unwrap();
    assert_eq!(line.run(0), Some(apdu(200)));
    assert_eq!(line.run(0), None, "nothing more moves");
    // 1 request, its acknowledgement, 20 blocks in windows of 5, 4 acknowledgements.
    assert_eq!(line.sent, 26);
    assert!(line.sides.iter().all(|side| !side.is_sending() && !side.has_failed()));
}

#[test]
fn a_push_without_a_word_from_us_comes_out() {
    let mut exchange = Exchange::new(config(1));
    let block = |control, block, octets: &'static [u8]| GeneralBlock {
        control,
        block,
        acknowledged: 0,
        octets: Bytes::from_static(octets),
    };
    let now = start();
    exchange.handle_block(now, &block(0x40, 1, b"ab")).unwrap();
    exchange.handle_block(now, &block(0x40, 2, b"cd")).unwrap();
    assert_eq!(exchange.poll(), None);
    exchange.handle_block(now, &block(0xc0, 3, b"e")).unwrap();
    assert_eq!(exchange.poll(), Some(Bytes::from_static(b"abcde")));
    assert_eq!(exchange.poll_transmit(), None);
    assert_eq!(exchange.poll_timeout(), None);
}

#[test]
fn limits_hold_and_silence_ends_it() {
    let mut line = Line::new([4, 4], || true);
    line.sides[0].send(line.now, apdu(100)).unwrap();
    let second = line.sides[0].send(line.now, apdu(1));
    assert!(matches!(second, Err(Error::WrongState(_))));
    assert_eq!(line.run(1), None);
    assert!(line.sides[0].has_failed());
    assert_eq!(line.sent, 41, "the first time and forty tries");

    let mut exchange = Exchange::new(Config { max_apdu: 3, ..config(4) });
    let octets = Bytes::from_static(b"abcd");
    let block = GeneralBlock { control: 0x80, block: 1, acknowledged: 0, octets };
    let long = Err(Error::TooLong { length: 4, limit: 3 });
    assert_eq!(exchange.handle_block(line.now, &block), long);
    assert!(exchange.has_failed());
    let mut exchange = Exchange::new(config(4));
    let unsent = GeneralBlock { acknowledged: 1, ..block };
    assert!(exchange.handle_block(line.now, &unsent).is_err());
    assert!(exchange.send(line.now, Bytes::new()).is_err());
}

#[test]
fn repeated_acknowledgements_do_not_hold_the_rest_back() {
    let start = start();
    let mut exchange = Exchange::new(config(2));
    exchange.send(start, apdu(20)).unwrap();
    assert!(exchange.poll_transmit().is_some());
    let octets = Bytes::new();
    let block = GeneralBlock { control: 0x82, block: 1, acknowledged: 1, octets };
    exchange.handle_block(start, &block).unwrap();
    let rest = exchange.poll_transmit().unwrap();
    let deadline = exchange.poll_timeout().unwrap();
    exchange.handle_block(start + FLIGHT, &block).unwrap();
    assert_eq!(exchange.poll_timeout(), Some(deadline));
    exchange.handle_timeout(deadline);
    assert_eq!(exchange.poll_transmit(), Some(rest));
}

proptest! {
    #[test]
    fn both_ways_over_a_lossy_line(
        windows in prop::array::uniform2(1u8..8),
        lengths in prop::array::uniform2(1usize..600),
        seed in any::<u64>(),
        loss in 0u64..45,
    ) {
        let mut state = seed;
        let mut line = Line::new(windows, || {
            // splitmix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % 100 < loss
        });
        line.sides[0].send(line.now, apdu(lengths[0])).unwrap();
        prop_assert_eq!(line.run(1), Some(apdu(lengths[0])));
        line.sides[1].send(line.now, apdu(lengths[1])).unwrap();
        prop_assert_eq!(line.run(0), Some(apdu(lengths[1])));
        let more = line.run(0);
        prop_assert!(more.is_none() && line.sides[1].poll().is_none(), "each came once");
    }

    #[test]
    fn any_blocks_are_survived(
        blocks in prop::collection::vec((any::<u8>(), 0u16..9, 0u16..9, 0usize..30), 0..60),
    ) {
        let mut exchange = Exchange::new(config(3));
        let mut now = start();
        exchange.send(now, apdu(95)).unwrap();
        for (control, block, acknowledged, length) in blocks {
            let block = GeneralBlock { control, block, acknowledged, octets: apdu(length) };
            let _any = exchange.handle_block(now, &block);
            let mut sent = 0;
            while exchange.poll_transmit().is_some() {
                sent += 1;
            }
            prop_assert!(sent <= 126);
            now += FLIGHT;
            exchange.handle_timeout(now);
        }
    }
}
