//! An entry of the log: who wants what, under which id, stamped by the leader.
//!
//! Octets: one octet of format version, then postcard. Decoding is bounded by its input: no
//! nesting without limit, no allocation beyond what stands there.

use serde::{Deserialize, Serialize};

use crate::error::Malformed;
use crate::units::{NodeId, ProposalId, Stamp};
use crate::{
    alarms, assets, audit, clocks, commands, drills, keys, leases, live, members, operators,
    parameters, readings, regions, registry, senders, setups, shared, tasks,
};

/// The format of entries: the first octet of each.
const VERSION: u8 = 1;

/// The most octets that an entry may have. Cut batches well below.
pub const MAX_ENTRY_OCTETS: usize = 256 * 1024;

/// What the log carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The leader's time when it took the proposal.
    pub stamp: Stamp,
    /// What is proposed.
    pub proposal: Proposal,
}

/// A wish to change the state. The same id is the same wish, however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Made once by who wishes, kept through retries.
    pub id: ProposalId,
    /// Who wishes.
    pub author: Author,
    /// What.
    pub change: Change,
}

/// Who asks for a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Author {
    /// A person or program that came in through the API.
    Operator(String),
    /// A node, of its own accord.
    Node(NodeId),
    /// The first set-up of a cluster.
    Bootstrap,
}

impl Author {
    /// Who it is, as records of what was done name it.
    pub fn name(&self) -> String {
        match self {
            Author::Operator(name) => name.clone(),
            Author::Node(node) => format!("node {node}"),
            Author::Bootstrap => "bootstrap".to_owned(),
        }
    }
}

/// A change of one area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Meters and concentrators.
    Assets(assets::Change),
    /// Wrapped keys, invocation counters.
    Keys(keys::Change),
    /// Values and the days they stand in.
    Readings(readings::Change),
    /// Who owns a channel.
    Leases(leases::Change),
    /// Orders to devices.
    Commands(commands::Change),
    /// Nodes of the cluster.
    Members(members::Change),
    /// What operators decide for all nodes.
    Parameters(parameters::Change),
    /// Failures on purpose.
    Drills(drills::Change),
    /// What is read again and again.
    Tasks(tasks::Change),
    /// The tree of regions, and what lies where.
    Regions(regions::Change),
    /// People and programs, their rights and sessions.
    Operators(operators::Change),
    /// The network, its points, customers, and what is built in where.
    Registry(registry::Change),
    /// What nodes tell the audit trail.
    Audit(audit::Change),
    /// Which monitoring server tells people.
    Senders(senders::Change),
    /// What devices report of themselves beside values.
    Alarms(alarms::Change),
    /// What monitoring servers share.
    Shared(shared::Change),
    /// Who looks at a meter now, and what it shows.
    Live(live::Change),
    /// Clocks of devices.
    Clocks(clocks::Change),
    /// What concentrators are to be set to.
    Setups(setups::Change),
}

impl Entry {
    /// The octets of the log.
    ///
    /// Errors: an entry of more than [`MAX_ENTRY_OCTETS`].
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let octets = postcard::to_extend(self, vec![VERSION])
            .map_err(|_| Malformed("an entry that cannot be encoded"))?;
        if octets.len() > MAX_ENTRY_OCTETS {
            return Err(Malformed("an entry longer than 256 KiB"));
        }
        Ok(octets)
    }

    /// Reads what [`Entry::encode`] wrote.
    ///
    /// Errors: another version, a truncated or overlong entry, an unknown change.
    pub fn decode(octets: &[u8]) -> Result<Entry, Malformed> {
        if octets.len() > MAX_ENTRY_OCTETS {
            return Err(Malformed("an entry longer than 256 KiB"));
        }
        let Some((&version, body)) = octets.split_first() else {
            return Err(Malformed("an empty entry"));
        };
        if version != VERSION {
            return Err(Malformed("an entry of another format version"));
        }
        match postcard::take_from_bytes(body) {
            Ok((entry, [])) => Ok(entry),
            Ok(_) => Err(Malformed("octets behind the entry")),
            Err(_) => Err(Malformed("an entry that does not decode")),
        }
    }
}

impl Change {
    /// Area and verb, such as `assets.register_meter`: for logs, metrics and the audit trail.
    pub fn name(&self) -> &'static str {
        match self {
            Change::Assets(change) => match change {
                assets::Change::RegisterConcentrator { .. } => "assets.register_concentrator",
                assets::Change::RegisterMeter { .. } => "assets.register_meter",
                assets::Change::Retire { .. } => "assets.retire",
            },
            Change::Keys(change) => match change {
                keys::Change::Install { .. } => "keys.install",
                keys::Change::Reserve { .. } => "keys.reserve",
                keys::Change::RaiseCounter { .. } => "keys.raise_counter",
            },
            Change::Readings(change) => match change {
                readings::Change::Ingest(_) => "readings.ingest",
                readings::Change::Seal(_) => "readings.seal",
                readings::Change::Compact(_) => "readings.compact",
                readings::Change::Correct(_) => "readings.correct",
                readings::Change::Archive(_) => "readings.archive",
                readings::Change::Forget(_) => "readings.forget",
                readings::Change::Refill(_) => "readings.refill",
            },
            Change::Leases(change) => match change {
                leases::Change::Renew { .. } => "leases.renew",
                leases::Change::Claim { .. } => "leases.claim",
                leases::Change::Release { .. } => "leases.release",
                leases::Change::Standby { .. } => "leases.standby",
                leases::Change::Switch { .. } => "leases.switch",
            },
            Change::Commands(change) => match change {
                commands::Change::Queue { .. } => "commands.queue",
                commands::Change::Sent { .. } => "commands.sent",
                commands::Change::Settle { .. } => "commands.settle",
                commands::Change::Expire { .. } => "commands.expire",
                commands::Change::Cancel { .. } => "commands.cancel",
                commands::Change::Acknowledge { .. } => "commands.acknowledge",
                commands::Change::Unsent { .. } => "commands.unsent",
                commands::Change::Acted { .. } => "commands.acted",
            },
            Change::Members(change) => match change {
                members::Change::Add { .. } => "members.add",
                members::Change::Promote { .. } => "members.promote",
                members::Change::Remove { .. } => "members.remove",
                members::Change::Replace { .. } => "members.replace",
                members::Change::Drain { .. } => "members.drain",
                members::Change::Undrain { .. } => "members.undrain",
                members::Change::HandOver { .. } => "members.hand_over",
                members::Change::Object { .. } => "members.object",
                members::Change::Gone { .. } => "members.gone",
            },
            Change::Parameters(parameters::Change::Set { .. }) => "parameters.set",
            Change::Drills(change) => change.name(),
            Change::Tasks(change) => change.name(),
            Change::Regions(change) => match change {
                regions::Change::Add { .. } => "regions.add",
                regions::Change::Rename { .. } => "regions.rename",
                regions::Change::Close { .. } => "regions.close",
                regions::Change::Place { .. } => "regions.place",
            },
            Change::Operators(change) => change.name(),
            Change::Registry(change) => change.name(),
            Change::Audit(change) => change.name(),
            Change::Senders(change) => change.name(),
            Change::Alarms(alarms::Change::Report(_)) => "alarms.report",
            Change::Shared(shared::Change::Put { .. }) => "shared.put",
            Change::Live(change) => change.name(),
            Change::Clocks(change) => change.name(),
            Change::Setups(change) => change.name(),
        }
    }

    /// What it is about: a serial, a logical device name, a node, an id. Never a secret.
    pub fn object(&self) -> String {
        match self {
            Change::Assets(change) => match change {
                assets::Change::RegisterConcentrator { id, .. } => id.clone(),
                assets::Change::RegisterMeter { serial, .. } => serial.clone(),
                assets::Change::Retire { device } => device.to_string(),
            },
            Change::Keys(
                keys::Change::Install { device, .. }
                | keys::Change::Reserve { device, .. }
                | keys::Change::RaiseCounter { device, .. },
            ) => device.to_string(),
            Change::Readings(change) => match change {
                readings::Change::Ingest(ingest) => format!("{} parts", ingest.parts.len()),
                readings::Change::Seal(seal) => seal.to_string(),
                readings::Change::Compact(compact) => compact.to_string(),
                readings::Change::Correct(correct) => {
                    format!("meter {} {}", correct.ordinal, correct.obis)
                }
                readings::Change::Archive(archive) => archive.month.to_string(),
                readings::Change::Forget(month) => month.to_string(),
                readings::Change::Refill(refill) => refill.object(),
            },
            Change::Leases(change) => match change {
                leases::Change::Renew { node, .. } => format!("node {node}"),
                leases::Change::Claim { device, .. }
                | leases::Change::Release { device, .. }
                | leases::Change::Standby { device, .. }
                | leases::Change::Switch { device, .. } => device.to_string(),
            },
            Change::Commands(change) => match change {
                commands::Change::Queue { id, target, .. } => format!("{target} {id}"),
                commands::Change::Sent { id, .. }
                | commands::Change::Settle { id, .. }
                | commands::Change::Expire { id }
                | commands::Change::Cancel { id }
                | commands::Change::Acknowledge { id, .. }
                | commands::Change::Acted { id, .. }
                | commands::Change::Unsent { id, .. } => id.to_string(),
            },
            Change::Members(change) => match change {
                members::Change::Add { node }
                | members::Change::Remove { node }
                | members::Change::Gone { node } => format!("{} {}", node.name, node.id),
                members::Change::Replace { lost, by } => format!("{lost} by {} {}", by.name, by.id),
                members::Change::Promote { node }
                | members::Change::Drain { node }
                | members::Change::Undrain { node }
                | members::Change::HandOver { to: Some(node) } => node.to_string(),
                members::Change::HandOver { to: None } => "any".to_owned(),
                members::Change::Object { wish, .. } => wish.clone(),
            },
            Change::Parameters(parameters::Change::Set { name, value, .. }) => {
                format!("{name} {value}")
            }
            Change::Drills(change) => change.object(),
            Change::Tasks(change) => change.object(),
            Change::Regions(change) => match change {
                regions::Change::Add { parent, name } => format!("{name} in {parent}"),
                regions::Change::Rename { region, name } => format!("{region} {name}"),
                regions::Change::Close { region } => region.to_string(),
                regions::Change::Place { devices, region, .. } => match devices.as_slice() {
                    [device] => format!("{device} in {region}"),
                    all => format!("{} devices in {region}", all.len()),
                },
            },
            Change::Operators(change) => change.object(),
            Change::Registry(change) => change.object(),
            Change::Audit(change) => change.object(),
            Change::Senders(change) => change.object(),
            Change::Alarms(alarms::Change::Report(report)) => report.concentrator.clone(),
            Change::Shared(change) => change.object(),
            Change::Live(change) => change.object(),
            Change::Clocks(change) => change.object(),
            Change::Setups(change) => change.object(),
        }
    }
}
