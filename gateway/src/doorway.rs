//! How many questions about logins and leases are with the cluster at a time, and whose turn is
//! next.
//!
//! When a whole field logs in at once, each login asks several times, one question after another.
//! If all were let in, all would stand at their first question, then all at their second, and
//! nobody would be served before everybody is; and whoever's time is over by then begins anew. So
//! the login that is furthest goes first.
//!
//! Not here: what is asked, and how long. Invariants: 1. no more than so many are inside; 2. a
//! place that comes free goes to the furthest stage, within a stage to whoever waits longest; 3. a
//! place is given back however its holder ends, also one that was given to somebody who has gone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// How far who asks has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A name that nobody has proven.
    Named,
    /// Admitted, not associated yet.
    Admitted,
    /// Proven: it claims, was granted, stands by or gives back.
    Proven,
}

impl Stage {
    /// All, the furthest last.
    pub const ALL: [Self; 3] = [Self::Named, Self::Admitted, Self::Proven];

    /// The label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Admitted => "admitted",
            Self::Proven => "proven",
        }
    }
}

/// Lets askers in.
#[derive(Clone)]
pub(crate) struct Doorway {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    free: usize,
    waiting: [VecDeque<oneshot::Sender<Pass>>; Stage::ALL.len()],
}

/// A place inside, given back when dropped.
pub(crate) struct Pass {
    doorway: Option<Doorway>,
}

impl Doorway {
    /// A doorway with so many places; at least one.
    pub fn new(places: usize) -> Self {
        let inner = Inner { free: places.max(1), waiting: Default::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Waits for a place. Whoever drops the future waits no more.
    pub async fn enter(&self, stage: Stage) -> Pass {
        let turn = {
            let mut inner = self.lock();
            if inner.free > 0 {
                inner.free -= 1;
                return self.pass();
            }
            let (give, turn) = oneshot::channel();
            inner.waiting[stage as usize].push_back(give);
            turn
        };
        // Its other end is dropped only with the doorway, and then nobody is turned away.
        turn.await.unwrap_or(Pass { doorway: None })
    }

    /// Who waits at a stage, the gone among them.
    #[cfg(test)]
    pub fn waiting(&self, stage: Stage) -> usize {
        self.lock().waiting[stage as usize].len()
    }

    fn pass(&self) -> Pass {
        Pass { doorway: Some(self.clone()) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<oneshot::Sender<Pass>> {
        let mut inner = self.lock();
        let next = inner.waiting.iter_mut().rev().find_map(VecDeque::pop_front);
        if next.is_none() {
            inner.free += 1;
        }
        next
    }

    fn give_back(&self) {
        while let Some(next) = self.next() {
            match next.send(self.pass()) {
                Ok(()) => return,
                // Who waited has gone: its pass must not give a second place back.
                Err(mut pass) => pass.doorway = None,
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(doorway) = self.doorway.take() {
            doorway.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Doorway, Stage};
    use futures::FutureExt;

    #[test]
    fn the_furthest_goes_first_and_nobody_overtakes_within_a_stage() {
        let doorway = Doorway::new(1);
        let inside = doorway.enter(Stage::Named).now_or_never().expect("a free place");
        let names = ["first name", "second name", "admitted", "proven"];
        let stages = [Stage::Named, Stage::Named, Stage::Admitted, Stage::Proven];
        let mut waiting: Vec<_> = names
            .iter()
            .zip(stages)
            .map(|(name, stage)| (*name, Box::pin(doorway.enter(stage))))
            .collect();
        for (_, one) in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        assert_eq!(doorway.waiting(Stage::Named), 2);
        let (mut inside, mut order) = (Some(inside), Vec::new());
        while !waiting.is_empty() {
            drop(inside.take());
            let entered = waiting.iter_mut().enumerate().find_map(|(place, (name, one))| {
                Some((place, *name, one.as_mut().now_or_never()?))
            });
            let (place, name, pass) = entered.expect("somebody enters");
            inside = Some(pass);
            order.push(name);
            drop(waiting.remove(place));
        }
        assert_eq!(order, ["proven", "admitted", "first name", "second name"]);
    }

    #[test]
    fn no_place_is_lost_or_doubled_by_those_who_go() {
        let doorway = Doorway::new(2);
        let enter = || doorway.enter(Stage::Proven);
        let held = [enter().now_or_never(), enter().now_or_never()];
        assert!(held.iter().all(Option::is_some));
        let mut gone = Box::pin(enter());
        let mut given = Box::pin(enter());
        let mut stays = Box::pin(enter());
        for one in [&mut gone, &mut given, &mut stays] {
            assert!(one.as_mut().now_or_never().is_none());
        }
        drop(gone);
        // Both places go on: to the one that is dropped with its place unseen, and behind it.
        drop(held);
        drop(given);
        let pass = stays.as_mut().now_or_never().expect("the place of who has gone");
        let second = enter().now_or_never().expect("the other place");
        assert!(enter().now_or_never().is_none(), "two places, not three");
        drop((pass, second));
        let all = [enter().now_or_never(), enter().now_or_never()];
        assert!(all.iter().all(Option::is_some), "both are back");
    }
}
