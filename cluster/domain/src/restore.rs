//! What a state that comes back from a backup must not take up as it was.
//!
//! The old cluster went on after the backup, nobody knows how far, and may even run on. So before
//! a restored state is used, everything that must never be used twice is moved above whatever
//! the old cluster can have reached, and everything that was under way is closed.
//!
//! Invariants: 1. Counters and epochs only rise. 2. The rise grows with the time since the backup,
//! so a second restore of the same backup is above the first one too. 3. The same state and plan
//! give the same writes, so all nodes of the restored cluster begin alike. 4. The state hash and
//! the audit trail stay as they were: nothing here is an entry of the log.

use crate::apply::table::{END, after};
use crate::apply::{Author, Table, Tx, View, Write};
use crate::error::{Fault, Stop};
use crate::units::Stamp;
use crate::{commands, keys, leases, setups};

/// Counters that the old cluster may have used of one device in a second: a frame takes longer
/// than 16 ms on every link.
const COUNTERS_A_SECOND: u64 = 64;
/// One block that was reserved in the last moment, whatever the rate.
const COUNTERS_AT_LEAST: u64 = keys::MAX_BLOCK as u64;
/// Grants of one device in a second: each takes a login.
const EPOCHS_A_SECOND: u64 = 4;
/// Grants of the last moment, whatever the rate.
const EPOCHS_AT_LEAST: u64 = 65_536;

/// By how much a restored state is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Added to every device's next invocation counter; what does not fit means new keys.
    pub counters: u32,
    /// Added to every device's epoch.
    pub epochs: u64,
    /// When: closed commands bear it.
    pub stamp: Stamp,
}

impl Plan {
    /// For a state whose last stamp is `backup`, restored at `now`. None when `now` is before the
    /// backup: then the clock is wrong, and the rise would be too small.
    pub fn new(backup: Stamp, now: Stamp) -> Option<Plan> {
        let seconds = now.0.checked_sub(backup.0)?.div_ceil(1_000_000);
        let counters = seconds.saturating_mul(COUNTERS_A_SECOND).saturating_add(COUNTERS_AT_LEAST);
        let epochs = seconds.saturating_mul(EPOCHS_A_SECOND).saturating_add(EPOCHS_AT_LEAST);
        let counters = u32::try_from(counters).unwrap_or(u32::MAX);
        Some(Plan { counters, epochs, stamp: now })
    }
}

/// Where a walk over the state goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    table: Table,
    from: Vec<u8>,
}

/// Tables with something to raise or to close, in the order of the walk.
const TABLES: [Table; 7] = [
    Table::Counters,
    Table::Leases,
    Table::NodeLeases,
    Table::Outbox,
    Table::Setups,
    Table::Members,
    Table::Drained,
];

/// The next writes of a walk over the state, of at most `limit` rows, and where to go on; begin
/// with none. Commit the writes of each step before the next.
///
/// Errors: a fault when the state cannot be read.
pub fn step(
    view: &dyn View,
    plan: &Plan,
    place: Option<Place>,
    limit: usize,
) -> Result<(Vec<Write>, Option<Place>), Fault> {
    let author = Author::Bootstrap;
    let mut tx = Tx::new(view, 0, plan.stamp, &author);
    let place = match place {
        Some(place) => place,
        None => {
            keys::raise_floor(&mut tx, plan)?;
            Place { table: Table::Counters, from: after(&[]) }
        }
    };
    let rows = view.scan(place.table, &place.from, END, limit)?;
    for (key, row) in &rows {
        let done = match place.table {
            Table::Counters => keys::restored(&mut tx, plan, key, row),
            Table::Leases => leases::restored(&mut tx, plan, key, row),
            // The nodes of the old cluster are none of the new one.
            table @ (Table::NodeLeases | Table::Members | Table::Drained) => {
                tx.put(table, key.clone(), None);
                Ok(())
            }
            Table::Setups => setups::restored(&mut tx, key),
            _ => commands::restored(&mut tx, row),
        };
        match done {
            Ok(()) => {}
            Err(Stop::Fault(fault)) => return Err(fault),
            Err(Stop::Refused(_)) => {
                let why = "a row refuses to be restored";
                return Err(Fault::Corrupt { table: place.table, why });
            }
        }
    }
    let next = match rows.last() {
        Some((last, _)) if rows.len() >= limit => {
            Some(Place { table: place.table, from: after(last) })
        }
        _ => {
            let behind = TABLES.iter().skip_while(|table| **table != place.table).nth(1);
            behind.map(|table| Place { table: *table, from: Vec::new() })
        }
    };
    Ok((tx.into_writes(), next))
}

#[cfg(test)]
mod tests {
    use super::{COUNTERS_AT_LEAST, EPOCHS_AT_LEAST, Plan};
    use crate::units::Stamp;

    fn plan(backup_s: u64, now_s: u64) -> Option<Plan> {
        Plan::new(Stamp(backup_s * 1_000_000), Stamp(now_s * 1_000_000))
    }

    #[test]
    fn the_rise_grows_with_time_and_never_shrinks() {
        assert_eq!(plan(10, 9), None);
        let now = plan(10, 10).unwrap();
        assert_eq!(u64::from(now.counters), COUNTERS_AT_LEAST);
        assert_eq!(now.epochs, EPOCHS_AT_LEAST);
        let later = plan(0, 3600).unwrap();
        assert_eq!(u64::from(later.counters), COUNTERS_AT_LEAST + 3600 * 64);
        assert_eq!(later.epochs, EPOCHS_AT_LEAST + 3600 * 4);
        // Ten years: the devices need new keys, and no counter wraps around.
        assert_eq!(plan(0, 315_360_000).unwrap().counters, u32::MAX);
    }
}
