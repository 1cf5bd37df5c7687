//! The states of an incident, as a pure machine.
//!
//! Not who is told (see `engine`). Times are Unix milliseconds and arguments. Invariants: what
//! was pending has told nobody; an incident that was open ends as resolved and no other way; the
//! same input in the same state gives the same state.

use serde::{Deserialize, Serialize};

/// Where an incident is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Nothing is wrong.
    #[default]
    Inactive,
    /// Something holds, not yet for long enough.
    Pending {
        /// Since when.
        since: i64,
    },
    /// People are told.
    Firing {
        /// Since when.
        since: i64,
    },
    /// Somebody is at it: it is not told again.
    Acknowledged {
        /// Since when it fires.
        since: i64,
        /// Who.
        by: String,
        /// When it is told again if it still holds.
        until: Option<i64>,
    },
    /// It holds, and somebody has said that nobody need be told.
    Silenced {
        /// Since when it holds.
        since: i64,
    },
    /// It is over.
    Resolved {
        /// Since when it fired.
        since: i64,
        /// When it was over.
        at: i64,
    },
}

/// What the alarms of an incident say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// None holds.
    Clear,
    /// One holds, none for long enough.
    Pending,
    /// One holds for long enough.
    Ripe,
}

/// Nobody can acknowledge what does not fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the incident is not open")]
pub struct NotOpen;

impl State {
    /// The word for labels and lists.
    pub fn word(&self) -> &'static str {
        match self {
            State::Inactive => "inactive",
            State::Pending { .. } => "pending",
            State::Firing { .. } => "firing",
            State::Acknowledged { .. } => "acknowledged",
            State::Silenced { .. } => "silenced",
            State::Resolved { .. } => "resolved",
        }
    }

    /// Since when it fires, when it does in any way.
    pub fn open_since(&self) -> Option<i64> {
        match self {
            State::Firing { since }
            | State::Silenced { since }
            | State::Acknowledged { since, .. } => Some(*since),
            _ => None,
        }
    }

    /// The next state.
    pub fn step(&self, now: i64, condition: Condition, silenced: bool) -> State {
        let fire = |since| match silenced {
            true => State::Silenced { since },
            false => State::Firing { since },
        };
        match (self, condition) {
            (State::Inactive, Condition::Clear) => State::Inactive,
            (State::Inactive, Condition::Pending) => State::Pending { since: now },
            (State::Inactive | State::Pending { .. }, Condition::Ripe) => fire(now),
            (State::Pending { .. }, Condition::Clear) => State::Inactive,
            (State::Pending { since }, Condition::Pending) => State::Pending { since: *since },
            (State::Firing { since } | State::Silenced { since }, Condition::Ripe) => fire(*since),
            (State::Acknowledged { since, until, .. }, Condition::Ripe) => match until {
                Some(until) if *until <= now => fire(*since),
                _ => self.clone(),
            },
            (
                State::Firing { since }
                | State::Silenced { since }
                | State::Acknowledged { since, .. },
                Condition::Clear | Condition::Pending,
            ) => State::Resolved { since: *since, at: now },
            (State::Resolved { .. }, Condition::Ripe) => fire(now),
            (State::Resolved { .. }, _) => self.clone(),
        }
    }

    /// Somebody takes it.
    pub fn acknowledge(&self, by: &str, until: Option<i64>) -> Result<State, NotOpen> {
        let since = self.open_since().ok_or(NotOpen)?;
        Ok(State::Acknowledged { since, by: by.to_owned(), until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    #[test]
    fn every_edge_leads_where_the_table_says() {
        use Condition::{Clear, Pending, Ripe};
        let pending = State::Pending { since: 1 };
        let firing = State::Firing { since: 1 };
        let silenced = State::Silenced { since: 1 };
        let taken = State::Acknowledged { since: 1, by: "anna".into(), until: Some(8) };
        let resolved = State::Resolved { since: 1, at: 2 };
        let over = State::Resolved { since: 1, at: 5 };
        let fires = State::Firing { since: 5 };
        let hushed = State::Silenced { since: 5 };
        // from, clear, pending, ripe, ripe and silenced; all at 5.
        let table = [
            (State::Inactive, State::Inactive, State::Pending { since: 5 }, &fires, &hushed),
            (pending.clone(), State::Inactive, pending, &fires, &hushed),
            (firing.clone(), over.clone(), over.clone(), &firing, &silenced),
            (silenced.clone(), over.clone(), over.clone(), &firing, &silenced),
            (taken.clone(), over.clone(), over, &taken, &taken),
            (resolved.clone(), resolved.clone(), resolved, &fires, &hushed),
        ];
        for (from, clear, waiting, ripe, quiet) in &table {
            assert_eq!(from.step(5, Clear, false), *clear, "{from:?}");
            assert_eq!(from.step(5, Pending, false), *waiting, "{from:?}");
            assert_eq!(from.step(5, Ripe, false), **ripe, "{from:?}");
            assert_eq!(from.step(5, Ripe, true), **quiet, "{from:?}");
        }
        assert_eq!(taken.step(8, Ripe, false), firing, "an acknowledgement ends");
    }

    #[test]
    fn only_what_is_open_is_acknowledged() {
        for (state, may) in [
            (State::Inactive, false),
            (State::Pending { since: 1 }, false),
            (State::Firing { since: 1 }, true),
            (State::Silenced { since: 1 }, true),
            (State::Resolved { since: 1, at: 2 }, false),
        ] {
            assert_eq!(state.acknowledge("anna", None).is_ok(), may, "{state:?}");
        }
    }

    fn condition() -> impl Strategy<Value = Condition> {
        prop_oneof![Just(Condition::Clear), Just(Condition::Pending), Just(Condition::Ripe)]
    }

    proptest! {
        #[test]
        fn what_was_open_ends_resolved_and_nothing_fires_unripe(
            steps in proptest::collection::vec((condition(), any::<bool>()), 0..60)
        ) {
            let mut state = State::Inactive;
            for (now, (condition, silenced)) in (0..).zip(steps) {
                let next = state.step(now, condition, silenced);
                assert_eq!(next.step(now, condition, silenced), next, "a step is made once");
                assert_eq!(next.open_since().is_some(), condition == Condition::Ripe);
                if state.open_since().is_some() && condition != Condition::Ripe {
                    let ended = matches!(next, State::Resolved { .. });
                    assert!(ended);
                }
                state = next;
            }
        }
    }
}
