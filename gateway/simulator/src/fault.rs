//! Faults that a field can play, and who plays them.
//!
//! This module decides; the concentrators and the field carry out. Which devices play
//! a fault follows from the seed, so a run can be repeated.

use std::fmt;
use std::str::FromStr;

use crate::mix;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The active line becomes a black hole: nothing read, nothing sent, not closed.
    Silent,
    /// The active line sends a few octets at a time.
    Slow,
    /// A frame stops in its middle, and the line closes later.
    HalfAnswer,
    /// A ciphered frame with a wrong authentication tag.
    WrongTag,
    /// An old ciphered frame with its old invocation counter.
    Replay,
    /// Octets that are no frame.
    Garbage,
    /// A frame of the greatest length whose inner length lies.
    Oversize,
    /// A whole frame around an APDU that was cut.
    Truncated,
    /// Another peer dials with a name that nobody registered.
    UnknownConcentrator,
    /// The concentrator has other keys than were registered.
    WrongKey,
    /// The concentrator loses power and comes back.
    Restart,
    /// An impostor dials with the name and title of a concentrator and keys of its own.
    DuplicateIdentity,
    /// Meters whose clock is off.
    ClockSkew,
    /// Meters that never answer.
    DeadMeters,
    /// Meters whose profile has holes.
    Gaps,
}

const KINDS: [(Kind, &str, u32); 15] = [
    (Kind::Silent, "silent", 1_000_000),
    (Kind::Slow, "slow", 1_000_000),
    (Kind::HalfAnswer, "half-answer", 1_000_000),
    (Kind::WrongTag, "wrong-tag", 1_000_000),
    (Kind::Replay, "replay", 1_000_000),
    (Kind::Garbage, "garbage", 1_000_000),
    (Kind::Oversize, "oversize", 1_000_000),
    (Kind::Truncated, "truncated", 1_000_000),
    (Kind::UnknownConcentrator, "unknown-concentrator", 100_000),
    (Kind::WrongKey, "wrong-key", 100_000),
    (Kind::Restart, "restart", 1_000_000),
    (Kind::DuplicateIdentity, "duplicate-identity", 100_000),
    (Kind::ClockSkew, "clock-skew", 50_000),
    (Kind::DeadMeters, "dead-meters", 100_000),
    (Kind::Gaps, "gaps", 200_000),
];

/// Kinds that happen again and again on a running line.
const EPISODES: [Kind; 9] = [
    Kind::Silent,
    Kind::Slow,
    Kind::HalfAnswer,
    Kind::WrongTag,
    Kind::Replay,
    Kind::Garbage,
    Kind::Oversize,
    Kind::Truncated,
    Kind::Restart,
];

impl Kind {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }
}

/// A fault and the share of devices that play it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// Who, in parts per million of the devices concerned.
    pub share_ppm: u32,
}

/// Text that names no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFault(String);

impl fmt::Display for UnknownFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = KINDS.iter().map(|(_, name, _)| *name).collect();
        write!(f, "`{}` is not KIND[:SHARE] with SHARE in 0..1; KIND: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownFault {}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, share) = text.split_once(':').map_or((text, None), |(n, s)| (n, Some(s)));
        let refuse = || UnknownFault(text.to_owned());
        let (kind, _, default_ppm) =
            KINDS.iter().find(|(_, known, _)| *known == name).ok_or_else(refuse)?;
        let share_ppm = match share.map(str::parse::<f64>) {
            None => *default_ppm,
            Some(Ok(share)) if (0.0..=1.0).contains(&share) => (share * 1e6).round() as u32,
            Some(_) => return Err(refuse()),
        };
        Ok(Self { kind: *kind, share_ppm })
    }
}

/// The faults of a run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    faults: Vec<Fault>,
}

impl Plan {
    /// A plan of the given faults.
    #[must_use]
    pub fn new(faults: Vec<Fault>) -> Self {
        Self { faults }
    }

    /// The share of a kind, in parts per million.
    #[must_use]
    pub fn share_ppm(&self, kind: Kind) -> Option<u32> {
        self.faults.iter().rfind(|fault| fault.kind == kind).map(|fault| fault.share_ppm)
    }

    /// Whether the device with this seed plays a kind.
    #[must_use]
    pub fn plays(&self, kind: Kind, seed: u64) -> bool {
        let noise = mix::at(seed, 41, kind as u64);
        self.share_ppm(kind).is_some_and(|share| mix::happens(noise, share))
    }

    /// How many of `devices` a kind means; at least one when the share is not zero.
    #[must_use]
    pub fn count(&self, kind: Kind, devices: u32) -> u32 {
        let Some(share) = self.share_ppm(kind).filter(|share| *share > 0) else { return 0 };
        let part = u64::from(devices) * u64::from(share) / 1_000_000;
        u32::try_from(part.max(1)).unwrap_or(u32::MAX)
    }

    /// The kinds that happen again and again to the concentrator with this seed.
    #[must_use]
    pub fn episodes(&self, seed: u64) -> Vec<Kind> {
        EPISODES.into_iter().filter(|kind| self.plays(*kind, seed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Kind, Plan};

    #[test]
    fn the_command_line_names_every_kind() {
        for (kind, name, share_ppm) in super::KINDS {
            assert_eq!(name.parse(), Ok(Fault { kind, share_ppm }));
        }
        let half: Fault = "silent:0.5".parse().unwrap();
        assert_eq!(half.share_ppm, 500_000);
        for bad in ["", "silence", "silent:2", "silent:x", "silent:-1", "silent:NaN"] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_choose_devices() {
        let plan = Plan::new(vec!["replay:0.5".parse().unwrap(), "wrong-key:0".parse().unwrap()]);
        let played = (0..1_000).filter(|seed| plan.plays(Kind::Replay, *seed)).count();
        assert!((400..600).contains(&played), "{played}");
        assert_eq!(plan.count(Kind::Replay, 1), 1);
        assert_eq!(plan.count(Kind::WrongKey, 50), 0);
        assert_eq!(plan.count(Kind::Silent, 50), 0);
        assert!((0..100).all(|seed| plan.episodes(seed).iter().all(|k| *k == Kind::Replay)));
    }
}
