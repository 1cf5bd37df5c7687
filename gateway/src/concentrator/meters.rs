//! The meters behind one concentrator: which conversations are open, which orders wait, which may
//! run now. It sends nothing and asks nobody itself.
//!
//! Invariants: 1. one order at a time for each meter, a bounded number on the channel; 2. open
//! associations are bounded, the longest unused one goes first; 3. an order whose deadline passes
//! while it waits is answered.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use cosem::wrapper::Header;
use domain::commands::Failure;

use crate::error::Denied;
use crate::meter::{Conversation, Limits, Question};
use crate::order::{Order, Pace};
use crate::upcall::MeterAccess;

/// An association that had no work for so long is released.
const IDLE: Duration = Duration::from_secs(120);

/// Bounds of a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Associations kept open.
    pub open: usize,
    /// Orders that run.
    pub running: usize,
    /// Orders that wait.
    pub waiting: usize,
    /// Of each conversation.
    pub conversation: Limits,
}

struct Link {
    conversation: Conversation,
    order: Option<Order>,
}

/// All conversations of a channel.
pub(crate) struct Meters {
    bounds: Bounds,
    random: fn() -> [u8; 32],
    links: HashMap<String, Link>,
    waiting: VecDeque<Order>,
    transmit: VecDeque<Vec<u8>>,
}

impl Meters {
    pub fn new(bounds: Bounds, random: fn() -> [u8; 32]) -> Self {
        Self {
            bounds,
            random,
            links: HashMap::new(),
            waiting: VecDeque::new(),
            transmit: VecDeque::new(),
        }
    }

    /// Takes an order for a meter; too many are refused at once.
    pub fn order(&mut self, now: Instant, order: Order) {
        if self.waiting.len() >= self.bounds.waiting {
            let busy = "too many orders wait for this device".to_owned();
            order.answer(Err(Failure::Unsupported(busy)));
            return;
        }
        self.waiting.push_back(order);
        self.turn(now);
    }

    /// A frame with this serial in its gateway header.
    ///
    /// # Errors
    /// No conversation waits for it, or it was refused.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        serial: &[u8],
        header: Header,
        octets: &[u8],
    ) -> Result<(), cosem::Error> {
        let link = std::str::from_utf8(serial).ok().and_then(|serial| self.links.get_mut(serial));
        let Some(link) = link else {
            return Err(cosem::Error::WrongState("no conversation with this meter"));
        };
        let taken = link.conversation.handle_frame(now, header, octets);
        self.turn(now);
        taken
    }

    /// Deadlines may have come.
    pub fn handle_timeout(&mut self, now: Instant) {
        for link in self.links.values_mut() {
            if link.conversation.poll_timeout().is_some_and(|at| at <= now) {
                link.conversation.handle_timeout(now);
            }
            let unused = now.duration_since(link.conversation.last_used()) >= IDLE;
            if unused && link.conversation.is_open() && !link.conversation.is_busy() {
                link.conversation.release(now);
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        for order in waiting {
            if order.deadline <= now {
                order.answer(Err(Failure::NoAnswer));
            } else {
                self.waiting.push_back(order);
            }
        }
        self.turn(now);
    }

    pub fn handle_access(
        &mut self,
        now: Instant,
        serial: &str,
        answer: Result<MeterAccess, Denied>,
    ) {
        if let Some(link) = self.links.get_mut(serial) {
            link.conversation.handle_access(now, answer);
        }
        self.turn(now);
    }

    pub fn handle_reserved(&mut self, now: Instant, serial: &str, answer: Result<u32, Denied>) {
        if let Some(link) = self.links.get_mut(serial) {
            link.conversation.handle_reserved(now, answer);
        }
        self.turn(now);
    }

    pub fn handle_raised(&mut self, now: Instant, serial: &str, answer: Result<(), Denied>) {
        if let Some(link) = self.links.get_mut(serial) {
            link.conversation.handle_raised(answer);
        }
        self.turn(now);
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    pub fn poll_question(&mut self) -> Option<(String, Question)> {
        self.links
            .iter_mut()
            .find_map(|(serial, link)| Some((serial.clone(), link.conversation.poll_question()?)))
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_link = |link: &Link| {
            let idle = link.conversation.last_used() + IDLE;
            let idle = link.conversation.is_open().then_some(idle);
            link.conversation.poll_timeout().or(idle)
        };
        let links = self.links.values().filter_map(of_link);
        links.chain(self.waiting.iter().map(|order| order.deadline)).min()
    }

    /// The channel ends or is no longer the active one: every order is answered, every association
    /// is forgotten.
    pub fn abandon(&mut self) {
        for order in self.links.drain().filter_map(|(_, link)| link.order) {
            order.answer(Err(Failure::ChannelLost));
        }
        for order in self.waiting.drain(..) {
            order.answer(Err(Failure::NoChannel));
        }
        self.transmit.clear();
    }

    /// Settles what has ended, starts what may start, collects what is to be sent.
    fn turn(&mut self, now: Instant) {
        self.settle();
        self.start(now);
        self.settle();
        for link in self.links.values_mut() {
            while let Some(frame) = link.conversation.poll_transmit() {
                self.transmit.push_back(frame);
            }
        }
        self.evict(now);
    }

    fn settle(&mut self) {
        for link in self.links.values_mut() {
            if let Some(result) = link.conversation.poll_outcome()
                && let Some(order) = link.order.take()
            {
                order.answer(result);
            }
        }
    }

    fn start(&mut self, now: Instant) {
        let mut running = self.links.values().filter(|link| link.order.is_some()).count();
        // The last place is for who reads on demand: nobody waits for work in the background.
        let background = self.bounds.running.saturating_sub(1).max(1);
        let mut left = VecDeque::new();
        // Who asks on demand goes first; nobody waits for the others.
        let waiting = std::mem::take(&mut self.waiting);
        let (first, then): (VecDeque<Order>, VecDeque<Order>) =
            waiting.into_iter().partition(|order| order.pace == Pace::OnDemand);
        for order in first.into_iter().chain(then) {
            let Some(serial) = order.meter.clone() else { continue };
            let busy = self.links.get(&serial).is_some_and(|link| link.order.is_some());
            let most = match order.pace {
                Pace::OnDemand => self.bounds.running,
                Pace::Background => background,
            };
            if running >= most || busy {
                left.push_back(order);
                continue;
            }
            running += 1;
            let limits = self.bounds.conversation;
            let link = self.links.entry(serial).or_insert_with_key(|serial| Link {
                conversation: Conversation::new(limits, Some(serial), None, now),
                order: None,
            });
            link.conversation.begin(now, &order.work, order.deadline, self.random);
            link.order = Some(order);
        }
        self.waiting = left;
    }

    /// Keeps the number of conversations within the bound: idle ones, longest unused first.
    fn evict(&mut self, now: Instant) {
        while self.links.len() > self.bounds.open {
            let idle = self.links.iter().filter(|(_, link)| link.order.is_none());
            let oldest = idle.min_by_key(|(_, link)| link.conversation.last_used());
            let Some(serial) = oldest.map(|(serial, _)| serial.clone()) else { return };
            if let Some(mut link) = self.links.remove(&serial)
                && link.conversation.is_open()
            {
                link.conversation.release(now);
                while let Some(frame) = link.conversation.poll_transmit() {
                    self.transmit.push_back(frame);
                }
            }
        }
    }
}
