//! What a day shows to whoever looks for conflicts: which meters it has, and which of them have
//! values beside others.

use super::{Day, Rows, SHARD_METERS};

impl Day {
    /// Shows the meters that have rows; one may be shown more than once.
    pub fn meters(&self, show: &mut dyn FnMut(u32)) {
        match &self.rows {
            Rows::Dense(dense) => {
                let held = (0..).zip(&dense.flags).filter(|(_, flags)| flags.is_some());
                held.for_each(|(meter, _)| show(self.ordinal(meter)));
            }
            Rows::Sparse(sparse) => sparse.keys().for_each(|(ordinal, ..)| show(*ordinal)),
        }
    }

    /// Shows the meters that have values beside others; one may be shown more than once.
    pub fn with_besides(&self, show: &mut dyn FnMut(u32)) {
        match &self.rows {
            Rows::Dense(dense) => {
                dense.besides.keys().for_each(|(meter, ..)| show(self.ordinal(u32::from(*meter))));
            }
            Rows::Sparse(sparse) => {
                let several = sparse.iter().filter(|(_, values)| values.len() > 1);
                several.for_each(|((ordinal, ..), _)| show(*ordinal));
            }
        }
    }

    fn ordinal(&self, meter: u32) -> u32 {
        self.key.shard * SHARD_METERS + meter
    }
}
