//! A dialled meter's gaps: rows that are missing before the watermark, read in the session that is
//! open anyway. What is missing the cluster says; how it is asked for is `refill`'s.

use domain::Device;

use super::session::{Broken, Session, breaks};
use crate::ask::ask;
use crate::model::schedule;
use crate::order::{Outcome, Work};
use crate::refill::plan::meter_asks;
use crate::refill::rests::May;
use crate::refill::{Filled, fill};
use crate::shared::Filling;
use crate::upcall::{HolesQuery, Upcall};

impl Session<'_> {
    /// Fills what can be filled, range by range, each stored before the next.
    pub(super) async fn gaps(&mut self) -> Result<(), Broken> {
        let device = Device::Meter(self.serial.to_owned());
        let Some(_filling) = Filling::begin(self.shared, &device) else { return Ok(()) };
        let query = HolesQuery { device: device.clone(), reach_s: None, behind: None, meters: 1 };
        let found = ask(self.shared, query, Upcall::Holes).await.map_err(Broken::Cluster)?;
        let Some(meter) = found.into_iter().find(|meter| !meter.holes.is_empty()) else {
            return Ok(());
        };
        if self.shared.may_refill(&meter) != May::Now {
            return Ok(());
        }
        let obis = schedule::profile(&self.access, self.known()).unwrap_or(meter.profile);
        let chunk_s = i64::try_from(self.shared.config.refill_chunk_s).unwrap_or(i64::MAX);
        for asked in meter_asks(&meter.holes, chunk_s) {
            if self.is_wanted() {
                return Ok(());
            }
            let work = Work::Profile { obis, from_s: asked.from_s, to_s: asked.to_s };
            let read = match self.read(&work, self.deadline).await {
                Ok(Outcome::Profile(read)) => read,
                Ok(_) => return Ok(()),
                Err(failure) => {
                    self.shared.note_refill(&meter, false);
                    let serial = self.serial;
                    tracing::debug!(serial, ?failure, "missing rows were not read");
                    let broken = breaks(&failure);
                    return if broken { Err(Broken::Meter(failure)) } else { Ok(()) };
                }
            };
            let plausible = self.is_plausible(&read);
            let lease = (device.clone(), self.epoch);
            let rows = plausible.then_some(&read);
            let filled = fill(self.shared, lease, &meter, &asked, rows).await;
            let filled = filled.map_err(Broken::Cluster)?;
            self.shared.note_refill(&meter, filled == Filled::Answered);
            if filled != Filled::Answered {
                return Ok(());
            }
        }
        Ok(())
    }
}
