//! Live views: somebody looks at what one meter shows now, round after round.
//!
//! A view stands here so that every node knows of it: the node that owns the meter's channel reads,
//! whichever that is by then, and the node at which the viewer sits shows what came. Only the last
//! round is kept; nothing of it is a reading. Not here: what is read, and how.
//!
//! Invariants: 1. A view ends by its time whoever is gone by then. 2. What is read is taken only
//! while its viewer may read that meter, and only from the owner of its channel. 3. Views are
//! bounded for each node and each device; of those that ended the last [`MAX_ENDED`] are kept.

use serde::{Deserialize, Serialize};

use crate::apply::table::{END, Typed};
use crate::apply::{Done, Effect, Table, Tx, View, hash};
use crate::commands::{Failure, Read};
use crate::error::{Fault, Stop, refuse};
use crate::operators::{FOUNDER, Permission, Rights};
use crate::units::{Device, NodeId, ProposalId, Stamp};
use crate::{assets, leases, operators, parameters, regions};

/// The most values of one round.
pub const MAX_READS: usize = 64;
/// The most views that ended and are kept, so that who shows them learns why.
pub const MAX_ENDED: usize = 256;

/// The most octets of one round.
const MAX_ROUND_OCTETS: usize = 8 * 1024;
/// The most views that one look goes through: the bounds of the parameters keep them below.
const MAX_VIEWS: usize = 16_384;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Somebody begins to look.
    Open {
        /// Made once by who asks.
        id: ProposalId,
        /// The meter's serial.
        meter: String,
        /// The node at which the viewer sits.
        node: NodeId,
        /// Seconds between two rounds; none: the least that is allowed.
        pause_s: Option<u32>,
        /// Seconds until the view ends; none: the most that is allowed.
        length_s: Option<u32>,
    },
    /// The owner of the channel has read.
    Report {
        /// Which view.
        id: ProposalId,
        /// Who read.
        node: NodeId,
        /// Under which grant of the channel.
        epoch: u64,
        /// How long the round took, milliseconds.
        took_ms: u32,
        /// What came, or why nothing did.
        result: Result<Vec<Read>, Failure>,
    },
    /// A view is over.
    Close {
        /// Which view.
        id: ProposalId,
        /// Who says so.
        node: NodeId,
        /// Why.
        why: End,
    },
}

impl Change {
    /// Area and verb.
    pub fn name(&self) -> &'static str {
        match self {
            Change::Open { .. } => "live.open",
            Change::Report { .. } => "live.report",
            Change::Close { .. } => "live.close",
        }
    }

    /// What it is about.
    pub fn object(&self) -> String {
        match self {
            Change::Open { meter, .. } => meter.clone(),
            Change::Report { id, .. } | Change::Close { id, .. } => id.to_string(),
        }
    }
}

/// Why a view ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Its time is over.
    Time,
    /// The viewer has gone.
    Left,
    /// The meter was silent too often in a row.
    Silent,
    /// No node has had the meter's channel for too long.
    NoChannel,
    /// The viewer may not read this meter any more.
    NotAllowed,
    /// The meter is no longer registered.
    MeterGone,
    /// The viewer did not take what came.
    Slow,
    /// The node of the viewer stops, or is gone.
    NodeGone,
}

impl End {
    /// A stable word for it.
    pub fn name(self) -> &'static str {
        match self {
            End::Time => "time",
            End::Left => "left",
            End::Silent => "silent",
            End::NoChannel => "no_channel",
            End::NotAllowed => "not_allowed",
            End::MeterGone => "meter_gone",
            End::Slow => "slow",
            End::NodeGone => "node_gone",
        }
    }
}

/// A view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: ProposalId,
    /// The meter's serial.
    pub meter: String,
    /// Who looks.
    pub by: String,
    /// At which node.
    pub node: NodeId,
    /// Since when.
    pub opened: Stamp,
    /// It is over then, whatever happens.
    pub until: Stamp,
    /// Seconds between two rounds at least.
    pub pause_s: u32,
    /// Rounds without an answer, in a row.
    pub silent: u32,
    /// The last round.
    pub last: Option<Round>,
    /// When it ended, and why.
    pub ended: Option<(Stamp, End)>,
}

/// One reading of everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// From 1, without gaps.
    pub number: u64,
    /// When it was told.
    pub at: Stamp,
    /// Who read.
    pub node: NodeId,
    /// How long it took, milliseconds.
    pub took_ms: u32,
    /// What came, or why nothing did.
    pub result: Result<Vec<Read>, Failure>,
}

impl Session {
    /// Whether it goes on at a time.
    pub fn is_open(&self, at: Stamp) -> bool {
        self.ended.is_none() && at < self.until
    }

    /// When it ended by a time, and why: by its time also when nobody has said so.
    pub fn end(&self, at: Stamp) -> Option<(Stamp, End)> {
        let by_time = (at >= self.until).then_some((self.until, End::Time));
        self.ended.or(by_time)
    }
}

static VIEWS: Typed<ProposalId, Session> = Typed::new(Table::LiveViews);

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::Open { id, meter, node, pause_s, length_s } => {
            open(tx, *id, meter, *node, (*pause_s, *length_s))
        }
        Change::Report { id, node, epoch, took_ms, result } => {
            report(tx, id, (*node, *epoch), *took_ms, result)
        }
        Change::Close { id, why, .. } => {
            let session = running(tx, id)?;
            finish(tx, session, *why)
        }
    }
}

fn open(
    tx: &mut Tx<'_>,
    id: ProposalId,
    meter: &str,
    node: NodeId,
    (pause_s, length_s): (Option<u32>, Option<u32>),
) -> Result<Done, Stop> {
    let Some(record) = assets::meter(tx, meter)?.filter(|meter| meter.retired.is_none()) else {
        return Err(refuse("unknown_meter", meter));
    };
    if VIEWS.get(tx, &id)?.is_some() {
        return Err(refuse("live_exists", id.to_string()));
    }
    let now = tx.stamp;
    let limit = |name| parameters::value(tx, name, now);
    let (most_s, least_s) = (limit(parameters::LIVE_LENGTH)?, limit(parameters::LIVE_PAUSE)?);
    let least_s = least_s.max(1);
    let (pause_s, length_s) = (pause_s.unwrap_or(least_s), length_s.unwrap_or(most_s));
    if most_s == 0 {
        let text = format!("{} is 0: meters are not looked at live", parameters::LIVE_LENGTH);
        return Err(refuse("live_off", text));
    }
    if length_s == 0 || length_s > most_s || pause_s < least_s {
        let text = format!("a view lasts 1 to {most_s} s, with {least_s} s or more between rounds");
        return Err(refuse("bad_live", text));
    }
    let (mut here, mut there) = (0, 0);
    for other in sweep(tx)? {
        here += u32::from(other.node == node);
        there += u32::from(assets::device_of(tx, &other.meter)? == Some(record.device()));
    }
    let limit = |name| parameters::value(tx, name, now);
    let (of_node, of_device) = (limit(parameters::LIVE_NODE)?, limit(parameters::LIVE_DEVICE)?);
    if here >= of_node {
        return Err(refuse("live_full", format!("at most {of_node} at once at each node")));
    }
    if there >= of_device {
        let text = format!("at most {of_device} at once on the channel of {}", record.device());
        return Err(refuse("live_full", text));
    }
    let until = now.plus_ms(u64::from(length_s) * 1000);
    let (meter, by) = (meter.to_owned(), tx.author.name());
    let session = Session {
        id,
        meter,
        by,
        node,
        opened: now,
        until,
        pause_s,
        silent: 0,
        last: None,
        ended: None,
    };
    VIEWS.put(tx, &id, &session)?;
    tx.wake(Effect::LiveChanged { id });
    Ok(Done::Noted)
}

/// Removes the oldest of those that ended, beyond the bound. Gives those that go on.
fn sweep(tx: &mut Tx<'_>) -> Result<Vec<Session>, Fault> {
    let now = tx.stamp;
    let (open, mut over): (Vec<_>, Vec<_>) =
        all(tx)?.into_iter().partition(|session| session.is_open(now));
    over.sort_by_key(|session| (session.end(now).map(|(at, _)| at), session.id.0));
    for session in over.iter().rev().skip(MAX_ENDED - 1) {
        VIEWS.delete(tx, &session.id);
    }
    Ok(open)
}

fn report(
    tx: &mut Tx<'_>,
    id: &ProposalId,
    (node, epoch): (NodeId, u64),
    took_ms: u32,
    result: &Result<Vec<Read>, Failure>,
) -> Result<Done, Stop> {
    let mut session = running(tx, id)?;
    if let Some((_, why)) = session.end(tx.stamp) {
        return finish(tx, session, why);
    }
    let Some(device) = reached_by(tx, &session.meter)? else {
        return finish(tx, session, End::MeterGone);
    };
    leases::check_owner(tx, &device, node, epoch)?;
    if !may_read(tx, &session.by, &session.meter)? {
        return finish(tx, session, End::NotAllowed);
    }
    let reads = result.as_ref().map_or(0, Vec::len);
    if reads > MAX_READS || hash::encode(result)?.len() > MAX_ROUND_OCTETS {
        let text = format!("{MAX_READS} values and {MAX_ROUND_OCTETS} octets of a round at most");
        return Err(refuse("result_too_large", text));
    }
    let number = session.last.as_ref().map_or(1, |last| last.number + 1);
    session.silent = if result.is_ok() { 0 } else { session.silent + 1 };
    session.last = Some(Round { number, at: tx.stamp, node, took_ms, result: result.clone() });
    let most = parameters::value(tx, parameters::LIVE_SILENT, tx.stamp)?;
    if most > 0 && session.silent >= most {
        return finish(tx, session, End::Silent);
    }
    let id = session.id;
    VIEWS.put(tx, &id, &session)?;
    tx.wake(Effect::LiveChanged { id });
    Ok(Done::Noted)
}

fn running(tx: &Tx<'_>, id: &ProposalId) -> Result<Session, Stop> {
    let Some(session) = VIEWS.get(tx, id)? else {
        return Err(refuse("unknown_live", id.to_string()));
    };
    match session.ended {
        Some((_, why)) => Err(refuse("live_over", why.name())),
        None => Ok(session),
    }
}

fn finish(tx: &mut Tx<'_>, mut session: Session, why: End) -> Result<Done, Stop> {
    let id = session.id;
    session.ended = session.end(tx.stamp).or(Some((tx.stamp, why)));
    VIEWS.put(tx, &id, &session)?;
    tx.wake(Effect::LiveChanged { id });
    Ok(Done::Noted)
}

/// Whether somebody may read a meter at this entry.
fn may_read(tx: &Tx<'_>, name: &str, meter: &str) -> Result<bool, Fault> {
    if name == FOUNDER {
        return Ok(true);
    }
    let Some(known) = operators::operator(tx, name)? else { return Ok(false) };
    let region = regions::region_of(tx, &Device::Meter(meter.to_owned()))?;
    Rights::of(&known, tx.stamp).may(tx, Permission::Read, region)
}

/// The device through whose channel a registered meter is reached.
pub fn reached_by(view: &dyn View, meter: &str) -> Result<Option<Device>, Fault> {
    let known = assets::meter(view, meter)?.filter(|meter| meter.retired.is_none());
    Ok(known.map(|meter| meter.device()))
}

/// A view by its id.
pub fn session(view: &dyn View, id: &ProposalId) -> Result<Option<Session>, Fault> {
    VIEWS.get(view, id)
}

/// Every view that is kept, in order of id.
pub fn all(view: &dyn View) -> Result<Vec<Session>, Fault> {
    let rows = VIEWS.scan(view, &[], END, MAX_VIEWS)?;
    Ok(rows.into_iter().map(|(_, session)| session).collect())
}

/// Whether a change comes from a node alone.
pub(crate) fn is_of_nodes(change: &Change) -> bool {
    !matches!(change, Change::Open { .. })
}

/// Whether a node speaks for itself.
pub(crate) fn is_own(change: &Change, own: NodeId) -> bool {
    match change {
        Change::Open { .. } => false,
        Change::Report { node, .. } | Change::Close { node, .. } => *node == own,
    }
}
