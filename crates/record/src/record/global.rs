//! Figures over all tensors of a step.

use super::TensorRecord;
pub use crate::stats::{Global, GlobalDynamics, GlobalParameters, GlobalUpdates};

impl Global {
    /// Adds up the tensors, in order.
    pub fn of<'a>(tensors: impl IntoIterator<Item = &'a TensorRecord>) -> Self {
        let mut global = Self::default();
        for record in tensors {
            if let Some(parameter) = &record.parameter {
                global.parameters.get_or_insert_default().add(parameter);
                if let Some(update) = &record.update {
                    let updates = global.updates.get_or_insert_default();
                    updates.add(update);
                    updates.numel += parameter.numel;
                }
            }
            if let Some(summary) = record.summary() {
                global.add(summary);
            }
        }
        global
    }

    /// Of the gradients of two devices, and of the parameters that each of them weighed.
    #[must_use]
    pub(super) fn combine(mut self, other: Self) -> Self {
        self.add_totals(&other);
        self
    }

    /// NaN and infinite elements together.
    pub fn nonfinite_count(&self) -> u64 {
        self.nan_count + self.pos_inf_count + self.neg_inf_count
    }

    /// Finite elements.
    pub fn finite_count(&self) -> u64 {
        self.numel - self.nonfinite_count().min(self.numel)
    }

    /// `near_zero_count / numel` for each epsilon, in [0, 1]; `None` where nothing was observed.
    pub fn near_zero_ratio(&self) -> Option<[f64; 2]> {
        (self.numel > 0).then(|| self.near_zero_count.map(|count| count as f64 / self.numel as f64))
    }

    /// `sign_flip_count / signed_pair_count`; `None` where nothing could flip.
    pub fn sign_flip_ratio(&self) -> Option<f64> {
        let (flips, pairs) = (self.sign_flip_count?, self.signed_pair_count?);
        (pairs > 0).then(|| flips as f64 / pairs as f64)
    }
}
