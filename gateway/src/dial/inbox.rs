//! Orders for one meter on their way from the dialler to a session.
//!
//! Invariant: an order is in the inbox or with one session, and answered by who has it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::commands::Failure;
use tokio::time::Instant;

use crate::order::{Order, Pace};

/// So long before the end of an order a wait for the line ends.
pub(super) const TOLD_BEFORE: Duration = Duration::from_millis(500);

/// Orders for one meter that no session has taken yet. The dialler puts them in, a session takes
/// them when it has its line and between two pieces of scheduled work.
#[derive(Clone, Default)]
pub(super) struct Inbox(Arc<Mutex<VecDeque<Order>>>);

impl Inbox {
    /// Puts an order in: behind those before it, but one on demand before the others, and one of a
    /// live view before those in the background.
    pub fn put(&self, order: Order) {
        let mut orders = self.lock();
        let place = match order.pace {
            Pace::Background => orders.len(),
            Pace::Live => orders.iter().take_while(|o| o.pace != Pace::Background).count(),
            Pace::OnDemand => orders.iter().take_while(|o| o.pace == Pace::OnDemand).count(),
        };
        orders.insert(place, order);
    }

    /// Whether somebody waits for one of them.
    pub fn is_wanted(&self) -> bool {
        self.lock().iter().any(|order| order.pace == Pace::OnDemand)
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn take(&self) -> VecDeque<Order> {
        std::mem::take(&mut *self.lock())
    }

    /// Tells those whose time is nearly over that the line is busy.
    pub fn tell_busy(&self) {
        let soon = (Instant::now() + TOLD_BEFORE).into_std();
        let (late, left) = self.take().into_iter().partition(|order| order.deadline <= soon);
        *self.lock() = left;
        let late: VecDeque<Order> = late;
        answer_all(late, &Failure::Busy);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Order>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers orders that no session has begun: those that act can tell that nothing was done.
pub(super) fn answer_waiting(orders: VecDeque<Order>, failure: &Failure) {
    for order in orders {
        let failure = failure.clone();
        let acts = order.work.acts();
        order.answer(Err(if acts { failure.before_sending() } else { failure }));
    }
}

/// Answers all of them alike.
pub(super) fn answer_all(orders: VecDeque<Order>, failure: &Failure) {
    for order in orders {
        order.answer(Err(failure.clone()));
    }
}
