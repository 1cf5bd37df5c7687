//! The meters behind one concentrator: which conversations are open, which orders wait, which may
//! run now. It sends nothing and asks nobody itself.
//!
//! Invariants: 1. one order at a time for each meter, a bounded number on the channel; 2. open
//! associations are bounded, the longest unused one goes first; 3. an order whose deadline passes
//! while it waits is answered; 4. live views have one place together and take turns with work in
//! the background, so neither starves the other, and the last place is left to those on demand.

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
    /// Whether the last order begun, of those not on demand, was a look of a live view.
    looked: bool,
    transmit: VecDeque<Vec<u8>>,
}

impl Meters {
    pub fn new(bounds: Bounds, random: fn() -> [u8; 32]) -> Self {
        Self {
            bounds,
            random,
            links: HashMap::new(),
            waiting: VecDeque::new(),
            looked: false,
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
        let looks = |link: &&Link| link.order.as_ref().is_some_and(|it| it.pace == Pace::Live);
        let mut looking = self.links.values().any(|link| looks(&link));
        let mut left = VecDeque::new();
        for order in self.in_turn() {
            let Some(serial) = order.meter.clone() else { continue };
            let is_look = order.pace == Pace::Live;
            let busy = self.links.get(&serial).is_some_and(|link| link.order.is_some());
            let most = match order.pace {
                Pace::OnDemand => self.bounds.running,
                Pace::Live | Pace::Background => background,
            };
            if running >= most || busy || (is_look && looking) {
                left.push_back(order);
                continue;
            }
            running += 1;
            looking |= is_look;
            if order.pace != Pace::OnDemand {
                self.looked = is_look;
            }
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

    /// What waits, in the order in which it may begin: who asks on demand goes first; then live
    /// views and work in the background, whichever had its turn longer ago.
    fn in_turn(&mut self) -> VecDeque<Order> {
        let (mut first, mut looks, mut rest) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        for order in std::mem::take(&mut self.waiting) {
            match order.pace {
                Pace::OnDemand => first.push_back(order),
                Pace::Live => looks.push_back(order),
                Pace::Background => rest.push_back(order),
            }
        }
        let (then, last) = if self.looked { (rest, looks) } else { (looks, rest) };
        first.extend(then);
        first.extend(last);
        first
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use domain::commands::Failure;
    use tokio::sync::oneshot;

    use super::{Bounds, Meters};
    use crate::error::Denied;
    use crate::meter::Limits;
    use crate::order::{Order, Pace, Work};

    fn meters(running: usize, now: Instant) -> (Meters, Instant) {
        let patience = Duration::from_secs(5);
        let conversation = Limits { response: patience, line_time: patience, counters: 8 };
        let bounds = Bounds { open: 16, running, waiting: 64, conversation };
        (Meters::new(bounds, || [7; 32]), now)
    }

    fn put(meters: &mut Meters, now: Instant, serial: &str, pace: Pace) {
        let (reply, _answer) = oneshot::channel::<Result<_, Failure>>();
        let (meter, work) = (Some(serial.to_owned()), Work::Attributes(Vec::new()));
        let deadline = now + Duration::from_secs(60);
        meters.order(now, Order { meter, work, pace, epoch: None, deadline, reply });
    }

    fn running(meters: &Meters) -> Vec<String> {
        let busy = meters.links.iter().filter(|(_, link)| link.order.is_some());
        let mut serials: Vec<String> = busy.map(|(serial, _)| serial.clone()).collect();
        serials.sort();
        serials
    }

    /// The order of this meter ends: it has no keys.
    fn end(meters: &mut Meters, now: Instant, serial: &str) {
        meters.handle_access(now, serial, Err(Denied::refused("no_keys")));
    }

    #[test]
    fn live_views_and_the_background_take_turns_and_leave_the_last_place() {
        let (mut meters, now) = meters(2, Instant::now());
        put(&mut meters, now, "B1", Pace::Background);
        put(&mut meters, now, "L1", Pace::Live);
        put(&mut meters, now, "B2", Pace::Background);
        put(&mut meters, now, "L2", Pace::Live);
        assert_eq!(running(&meters), ["B1"], "the last place is left");
        put(&mut meters, now, "D1", Pace::OnDemand);
        assert_eq!(running(&meters), ["B1", "D1"], "who asks on demand has it");
        end(&mut meters, now, "D1");
        let mut order = Vec::new();
        for _ in 0..4 {
            let busy = running(&meters);
            assert_eq!(busy.len(), 1, "{busy:?}");
            end(&mut meters, now, &busy[0]);
            order.extend(busy);
        }
        assert_eq!(order, ["B1", "L1", "B2", "L2"]);
    }

    #[test]
    fn live_views_have_one_place_together() {
        let (mut meters, now) = meters(8, Instant::now());
        for serial in ["L1", "L2", "L3"] {
            put(&mut meters, now, serial, Pace::Live);
        }
        put(&mut meters, now, "B1", Pace::Background);
        assert_eq!(running(&meters), ["B1", "L1"]);
        end(&mut meters, now, "L1");
        assert_eq!(running(&meters), ["B1", "L2"]);
    }
}
