//! What is known of a run beside its records, so that advice fits it.

/// Settings of the user's training. What is not known is left out of the advice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Such as `adam` or `sgd`.
    pub optimizer: Option<String>,
    /// Of the hidden layers, such as `relu` or `tanh`.
    pub activation: Option<String>,
    /// Whether the records go on from a checkpoint, or from weights that were trained before: their first is not the first of
    /// training.
    pub resumed: bool,
}

impl Context {
    fn is_optimizer(&self, part: &str) -> bool {
        self.optimizer.as_ref().is_some_and(|name| name.to_lowercase().contains(part))
    }

    fn is_activation(&self, parts: &[&str]) -> bool {
        self.activation.as_ref().is_some_and(|name| parts.iter().any(|part| name.to_lowercase().contains(part)))
    }

    pub(super) fn saturates(&self) -> bool {
        self.is_activation(&["tanh", "sigmoid"])
    }

    pub(super) fn rectifies(&self) -> bool {
        self.is_activation(&["relu"])
    }

    /// A lower rate, in figures where the present one is known.
    pub(super) fn lower_rate(&self, lr: Option<f64>) -> String {
        let rate = match lr {
            Some(lr) if lr > 0.0 => format!("lower the learning rate from {lr:.1e} to {:.0e}", lr / 10.0),
            _ => "lower the learning rate tenfold".into(),
        };
        let more = match () {
            () if self.is_optimizer("momentum") => ", or the momentum",
            () if self.is_optimizer("adam") => ", warm it up over the first hundreds of steps",
            () => "",
        };
        rate + more
    }

    /// A higher rate, in figures where the present one is known.
    pub(super) fn higher_rate(&self, lr: Option<f64>) -> String {
        match lr {
            Some(lr) if lr > 0.0 => format!("raise the learning rate from {lr:.1e}, tenfold at a time"),
            _ => "raise the learning rate, tenfold at a time".into(),
        }
    }
}
