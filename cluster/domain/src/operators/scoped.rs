//! The state as somebody may see it: rows of devices outside of the scope are not there.
//!
//! Every question that is asked of a scoped view is scoped, whatever it asks: another region's
//! meter is unknown, lists leave it out, and its values cannot be found, because they are found by
//! its row.
//!
//! Invariant: rows of tables that name no device are either of nobody's region (the cluster, the
//! log, parameters) or hidden as a whole unless the scope is everything.

use super::Scope;
use crate::alarms::{self, Alarm};
use crate::apply::table::{Key, Typed, after};
use crate::apply::view::KeyValue;
use crate::apply::{Table, View};
use crate::assets::{Place, text};
use crate::commands::Command;
use crate::error::Fault;
use crate::live::Session;
use crate::regions::{self, region_of};
use crate::units::{CommandId, Device, ProposalId};
use crate::{clocks, registry, setups};

/// Rows that one look goes through at least: most of them may be hidden.
const CHUNK: usize = 128;

/// A view with a scope.
#[derive(Clone, Debug)]
pub struct Scoped<V> {
    view: V,
    scope: Scope,
}

static PLACES: Typed<u32, Place> = Typed::new(Table::Ordinals);
static ALARMS: Typed<u64, Alarm> = Typed::new(Table::Alarms);
static IDS: Typed<u64, CommandId> = Typed::new(Table::CommandRecent);
static VIEWS: Typed<ProposalId, Session> = Typed::new(Table::LiveViews);
static COMMANDS: Typed<CommandId, Command> = Typed::new(Table::Commands);

impl<V: View> Scoped<V> {
    /// What a scope shows of a view.
    pub fn new(view: V, scope: Scope) -> Scoped<V> {
        Scoped { view, scope }
    }

    /// The scope.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The whole view, for what is of nobody's region.
    pub fn whole(&self) -> &V {
        &self.view
    }

    /// Whether a device is within.
    pub fn sees(&self, device: &Device) -> Result<bool, Fault> {
        Ok(self.scope == Scope::All || self.scope.has(region_of(&self.view, device)?))
    }

    fn shows(&self, table: Table, key: &[u8], row: &[u8]) -> Result<bool, Fault> {
        let name = |from: usize| text(key, from, table);
        let device = match table {
            Table::Concentrators => Device::Concentrator(name(0)?),
            Table::Meters => Device::Meter(name(0)?),
            Table::Ordinals => Device::Meter(PLACES.decode(row)?.serial),
            // Kind, name, zero, serial.
            Table::Behind => {
                let end = key.iter().position(|octet| *octet == 0).unwrap_or(0);
                Device::Meter(name(end + 1)?)
            }
            Table::Commands => return self.sees_target(&COMMANDS.decode(row)?.target),
            // Rows that name a command by its id: a list that is cut must not count hidden ones.
            Table::Outbox | Table::CommandLog | Table::CommandExpiry | Table::CommandRecent => {
                let command = COMMANDS.get(&self.view, &IDS.decode(row)?)?;
                return command.map_or(Ok(false), |command| self.sees_target(&command.target));
            }
            Table::Keys
            | Table::Counters
            | Table::Leases
            | Table::SwitchOrders
            | Table::Grants
            | Table::Placed
            | Table::Placements => regions::device(key)?,
            Table::Within => regions::device(key.get(4..).unwrap_or_default())?,
            Table::LiveViews => Device::Meter(VIEWS.decode(row)?.meter),
            Table::Objects | Table::ObjectVersions => {
                return self.sees_object(&registry::object_of(key, table)?);
            }
            // The parent, then what hangs on it.
            Table::ObjectLinks => {
                let end = key.iter().position(|octet| *octet == 0).map_or(0, |end| end + 1);
                let child = key.get(end..).unwrap_or_default();
                return self.sees_object(&registry::object_of(child, table)?);
            }
            // Whoever follows changes keeps copies of everything: only a node does.
            Table::Audit
            | Table::ObjectChanges
            | Table::ObjectCounts
            | Table::Operators
            | Table::Sessions
            | Table::SessionsOf
            | Table::AlarmsKnown
            | Table::Shared
            | Table::Senders => return Ok(false),
            Table::Clocks => match clocks::whose(key, row)? {
                clocks::Whose::Device(device) => device,
                clocks::Whose::Meter(ordinal) => match PLACES.get(&self.view, &ordinal)? {
                    Some(place) => Device::Meter(place.serial),
                    None => return Ok(false),
                },
                clocks::Whose::Nobody => return Ok(false),
            },
            // Templates and the heads of rollouts name no device.
            Table::Setups => match setups::whose(key, row)? {
                Some(device) => device,
                None => return Ok(true),
            },
            Table::Alarms if *key == 0_u64.octets() => return Ok(true),
            Table::Reports => match alarms::reporter(key, row)? {
                Some(id) => Device::Concentrator(id),
                None => return Ok(false),
            },
            Table::Alarms => {
                let ordinal = ALARMS.decode(row)?.ordinal;
                if ordinal == alarms::CONCENTRATOR {
                    return Ok(alarms::report_at(self, key)?.is_some());
                }
                match PLACES.get(&self.view, &ordinal)? {
                    Some(place) => Device::Meter(place.serial),
                    None => return Ok(false),
                }
            }
            _ => return Ok(true),
        };
        self.sees(&device)
    }

    fn sees_object(&self, object: &registry::Object) -> Result<bool, Fault> {
        let region = registry::region(&self.view, object)?;
        Ok(region.is_some_and(|region| self.scope.has(region)))
    }

    /// A target is a meter, or else a concentrator.
    fn sees_target(&self, target: &str) -> Result<bool, Fault> {
        let meter = Device::Meter(target.to_owned());
        let is_meter = crate::assets::meter(&self.view, target)?.is_some();
        self.sees(&if is_meter { meter } else { Device::Concentrator(target.to_owned()) })
    }
}

impl<V: View> View for Scoped<V> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let row = self.view.get(table, key)?;
        match row {
            Some(row) if self.scope != Scope::All && !self.shows(table, key, &row)? => Ok(None),
            row => Ok(row),
        }
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<KeyValue>, Fault> {
        if self.scope == Scope::All {
            return self.view.scan(table, from, to, limit);
        }
        let (mut shown, mut from) = (Vec::new(), from.to_vec());
        loop {
            let chunk = limit.clamp(CHUNK, 4 * CHUNK);
            let rows = self.view.scan(table, &from, to, chunk)?;
            let last = rows.len() < chunk;
            if let Some((key, _)) = rows.last() {
                from = after(key);
            }
            for (key, row) in rows {
                if shown.len() == limit {
                    return Ok(shown);
                }
                if self.shows(table, &key, &row)? {
                    shown.push((key, row));
                }
            }
            if last {
                return Ok(shown);
            }
        }
    }
}
