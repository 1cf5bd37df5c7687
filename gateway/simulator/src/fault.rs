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
    /// A direct meter answers late.
    LateAnswer,
    /// A direct meter loses a block of a general block transfer.
    LostBlock,
    /// A direct meter's answer has a wrong authentication tag.
    AnswerTag,
    /// A direct meter's answer has an invocation counter that was used before.
    AnswerCounter,
    /// A direct meter sends its last answer once more in place of the next one.
    AnswerReplay,
    /// A frame with a wrong check sequence (HDLC) or check character (IEC 62056-21).
    WrongCheck,
    /// A direct meter's answer stops in its middle.
    HalfFrame,
    /// Octets that belong to nothing before a frame.
    Junk,
    /// A direct meter restarts in the middle of a conversation.
    MeterRestart,
    /// Meters whose clock has stood an hour ahead since midnight.
    ClockJump,
    /// Verification and activation of an image answer temporary-failure at first.
    ImageBusy,
    /// A meter refuses every other association as busy.
    Busy,
    /// Rows of 02:00 to 03:00 stand twice in the load profile.
    DoubleRows,
    /// Every clock cell of a profile but the first is null-data, also behind a hole.
    NullClocks,
    /// Pushes without scaler and unit.
    MissingScaler,
    /// Times whose deviation is not specified.
    DeviationUnset,
    /// A concentrator was off for a time of its history and lacks what its meters captured then.
    Outage,
    /// Concentrators whose own clock is off.
    ConcentratorSkew,
}

/// A kind, its name, its default share in parts per million, and what it does.
type Description = (Kind, &'static str, u32, &'static str);

const ALL: u32 = 1_000_000;

const KINDS: [Description; 33] = [
    (Kind::Silent, "silent", ALL, "the active line of a concentrator becomes a black hole"),
    (Kind::Slow, "slow", ALL, "the active line sends a few octets at a time"),
    (Kind::HalfAnswer, "half-answer", ALL, "a frame stops in its middle, the line closes later"),
    (Kind::WrongTag, "wrong-tag", ALL, "a notification with a wrong authentication tag"),
    (Kind::Replay, "replay", ALL, "an old notification with its old invocation counter"),
    (Kind::Garbage, "garbage", ALL, "octets that are no frame"),
    (Kind::Oversize, "oversize", ALL, "a frame of the greatest length whose inner length lies"),
    (Kind::Truncated, "truncated", ALL, "a whole frame around an APDU that was cut"),
    (
        Kind::UnknownConcentrator,
        "unknown-concentrator",
        100_000,
        "another peer dials with a name that nobody registered",
    ),
    (Kind::WrongKey, "wrong-key", 100_000, "a concentrator has other keys than were registered"),
    (Kind::Restart, "restart", ALL, "a concentrator loses power and comes back"),
    (
        Kind::DuplicateIdentity,
        "duplicate-identity",
        100_000,
        "an impostor dials with the name of a concentrator and keys of its own",
    ),
    (Kind::ClockSkew, "clock-skew", 50_000, "meters whose clock is 37 s ahead"),
    (
        Kind::ConcentratorSkew,
        "concentrator-skew",
        ALL,
        "a concentrator whose own clock is 11 s behind",
    ),
    (Kind::DeadMeters, "dead-meters", 100_000, "meters that never answer"),
    (Kind::Gaps, "gaps", 200_000, "meters whose profile has holes"),
    (
        Kind::LateAnswer,
        "late-answer",
        ALL,
        "every fourth answer of a direct meter comes --fault-hold late",
    ),
    (
        Kind::LostBlock,
        "lost-block",
        ALL,
        "the second block of each general block transfer of a direct meter is lost once",
    ),
    (
        Kind::AnswerTag,
        "answer-tag",
        ALL,
        "every fourth answer of a direct meter has a wrong authentication tag",
    ),
    (
        Kind::AnswerCounter,
        "answer-counter",
        ALL,
        "every fourth answer of a direct meter has an invocation counter that is too low",
    ),
    (
        Kind::AnswerReplay,
        "answer-replay",
        ALL,
        "every fourth answer of a direct meter is the answer before it once more",
    ),
    (
        Kind::WrongCheck,
        "wrong-check",
        ALL,
        "every fourth HDLC frame has a wrong FCS, every second 62056-21 block a wrong BCC",
    ),
    (
        Kind::HalfFrame,
        "half-frame",
        ALL,
        "every fourth answer of a direct meter stops in its middle",
    ),
    (Kind::Junk, "junk", ALL, "octets that belong to nothing before each HDLC or 62056-21 frame"),
    (
        Kind::MeterRestart,
        "meter-restart",
        ALL,
        "every fourth request to a direct meter finds it restarting: association and line are gone",
    ),
    (Kind::ClockJump, "clock-jump", 50_000, "meters whose clock jumped an hour ahead at midnight"),
    (
        Kind::ImageBusy,
        "image-busy",
        ALL,
        "verify and activate of an image answer temporary-failure for 5 s",
    ),
    (Kind::Busy, "busy", ALL, "every first association of a connection is refused as busy"),
    (
        Kind::DoubleRows,
        "double-rows",
        ALL,
        "rows of 02:00 to 03:00 stand twice in a load profile, as after daylight saving",
    ),
    (
        Kind::NullClocks,
        "null-clocks",
        ALL,
        "every clock cell of a profile but the first is null-data, also behind a hole",
    ),
    (Kind::MissingScaler, "missing-scaler", ALL, "a meter's pushes carry no scaler and unit"),
    (Kind::DeviationUnset, "deviation-unset", ALL, "times of a meter without a deviation"),
    (
        Kind::Outage,
        "outage",
        20_000,
        "a concentrator was off for --outage-hold of its history; its meters hold the rows",
    ),
];

/// Kinds that belong to a meter for as long as it lives.
const QUIRKS: [Kind; 16] = [
    Kind::LateAnswer,
    Kind::LostBlock,
    Kind::AnswerTag,
    Kind::AnswerCounter,
    Kind::AnswerReplay,
    Kind::WrongCheck,
    Kind::HalfFrame,
    Kind::Junk,
    Kind::MeterRestart,
    Kind::ClockJump,
    Kind::ImageBusy,
    Kind::Busy,
    Kind::DoubleRows,
    Kind::NullClocks,
    Kind::MissingScaler,
    Kind::DeviationUnset,
];

/// The faults that a meter plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks(u64);

impl Quirks {
    /// Whether a kind is among them.
    #[must_use]
    pub fn plays(self, kind: Kind) -> bool {
        self.0 >> (kind as u32) & 1 == 1
    }
}

impl FromIterator<Kind> for Quirks {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | 1 << (kind as u32)))
    }
}

/// All kinds, for people.
#[must_use]
pub fn help() -> String {
    let mut text = String::from(
        "A fault to play, KIND[:SHARE] with SHARE in 0..1 of the devices concerned. KIND:\n",
    );
    for (_, name, _, what) in KINDS {
        text.push_str(&format!("  {name}: {what}\n"));
    }
    text
}

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
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, ..)| name)
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
        let names: Vec<&str> = KINDS.iter().map(|(_, name, ..)| *name).collect();
        write!(f, "`{}` is not KIND[:SHARE] with SHARE in 0..1; KIND: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownFault {}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, share) = text.split_once(':').map_or((text, None), |(n, s)| (n, Some(s)));
        let refuse = || UnknownFault(text.to_owned());
        let (kind, _, default_ppm, _) =
            KINDS.iter().find(|(_, known, ..)| *known == name).ok_or_else(refuse)?;
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

    /// The faults that the meter with this seed plays for as long as it lives.
    #[must_use]
    pub fn quirks(&self, seed: u64) -> Quirks {
        QUIRKS.into_iter().filter(|kind| self.plays(*kind, seed)).collect()
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
        for (kind, name, share_ppm, _) in super::KINDS {
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
