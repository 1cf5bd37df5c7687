//! What a day shows to whoever keeps the newest values.
//!
//! Invariant: what is shown is the stored value, never one beside it, with all its flags.

use super::{Day, Dense, Rows, SHARD_METERS, end_of, local, slot_of};
use crate::segment::{Column, DayKey, Point};

impl Day {
    /// Shows what a meter has at a time: of every dense column, because a doubt is of the whole
    /// row; of the named ones where values are irregular.
    pub fn held(
        &self,
        ordinal: u32,
        end_s: i64,
        columns: &[Column],
        show: &mut dyn FnMut(Column, Point),
    ) {
        match &self.rows {
            Rows::Dense(dense) => {
                let at = usize::from(local(ordinal));
                let slot = slot_of(self.key, end_s);
                dense.show(self.key, at, slot, show);
            }
            Rows::Sparse(sparse) => {
                for name in columns {
                    let values = sparse.get(&(ordinal, *name, end_s));
                    if let Some((value, flag)) = values.and_then(|values| values.first()) {
                        show(*name, Point { end_s, value: *value, flag: *flag, beside: false });
                    }
                }
            }
        }
    }

    /// Shows the newest value of every meter and column, with the meter's ordinal.
    pub fn newest(&self, show: &mut dyn FnMut(Column, u32, Point)) {
        match &self.rows {
            Rows::Dense(dense) => dense.newest(self.key, show),
            Rows::Sparse(sparse) => {
                // In order of time within a column: the last that is shown is the newest.
                for ((ordinal, name, end_s), values) in sparse.iter() {
                    if let Some((value, flag)) = values.first() {
                        let (end_s, value, flag) = (*end_s, *value, *flag);
                        show(*name, *ordinal, Point { end_s, value, flag, beside: false });
                    }
                }
            }
        }
    }
}

impl Dense {
    /// Shows the stored values of one place.
    fn show(&self, key: DayKey, at: usize, slot: usize, show: &mut dyn FnMut(Column, Point)) {
        let flags = self.flags.get(at).and_then(Option::as_ref);
        let flag = flags.and_then(|flags| flags.get(slot)).copied().unwrap_or_default();
        for column in &self.columns {
            let block = column.meters.get(at).and_then(Option::as_ref);
            if let Some(value) = block.and_then(|block| block.get(slot)) {
                let end_s = end_of(key, slot);
                show(column.name, Point { end_s, value, flag, beside: false });
            }
        }
    }

    fn newest(&self, key: DayKey, show: &mut dyn FnMut(Column, u32, Point)) {
        for column in &self.columns {
            for (at, block) in column.meters.iter().enumerate() {
                let Some(block) = block else { continue };
                let slot = (0..self.slots).rev().find(|slot| block.get(*slot).is_some());
                let ordinal = u32::try_from(at).unwrap_or(0) + key.shard * SHARD_METERS;
                let Some((slot, value)) = slot.and_then(|slot| Some((slot, block.get(slot)?)))
                else {
                    continue;
                };
                let flags = self.flags.get(at).and_then(Option::as_ref);
                let flag = flags.and_then(|flags| flags.get(slot)).copied().unwrap_or_default();
                let end_s = end_of(key, slot);
                show(column.name, ordinal, Point { end_s, value, flag, beside: false });
            }
        }
    }
}
