//! What a scope is asked for.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

bitflags! {
    /// Sets of statistics: `Stats::DYNAMICS | Stats::PARAMS`, or [`Stats::FULL`]. What is not asked for is not computed,
    /// not kept and not read back.
    ///
    /// ```
    /// use gradscope_record::stats::Stats;
    ///
    /// assert_eq!("dynamics,params".parse(), Ok(Stats::DYNAMICS | Stats::PARAMS));
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(try_from = "String", into = "String")]
    pub struct Stats: u32 {
        /// Minimum, maximum, L1, L2, near zeros, signs, sign flips, NaNs and infinities of every gradient: 2 bits of
        /// state an element, about 70 bytes read back a tensor. They are always computed.
        const BASIC = 0;
        /// Mean, standard deviation, skewness, kurtosis, smallest magnitude, subnormals, the first non-finite element,
        /// and what became of zero, near-zero and non-finite elements since the step before: 3 bits of state, about 110 bytes more.
        const DYNAMICS = 1;
        /// The same figures of the parameters themselves: 4 bytes read an element, about 70 bytes more.
        const PARAMS = 1 << 1;
        /// Of the optimizer's updates: norms, ratio to the weights, elements that did not move, extremes crossed. Keeps
        /// the previous parameters, one more copy of them in memory; 4 bytes read an element, about 90 bytes more. A scope
        /// adds `DYNAMICS` and `PARAMS`, which updates are held against.
        const UPDATES = 1 << 2;
        /// The cosine of each gradient with the one before. Keeps the previous gradients, an f32 an element; 8 bytes
        /// moved an element, about 25 bytes more.
        const COSINE = 1 << 3;
        /// Element-wise moving averages of gradients and of parameters, and `BASIC` and `DYNAMICS` of those. Keeps two
        /// f32 and 6 bits an element; two passes more over gradients and parameters, 33 bytes moved an element;
        /// about 360 bytes more. They advance at captured steps as well as at observed ones.
        const EMA = 1 << 4;
        /// `BASIC`, `DYNAMICS`, `PARAMS` and `UPDATES`.
        const FULL = Self::DYNAMICS.bits() | Self::PARAMS.bits() | Self::UPDATES.bits();
    }
}

/// Names of the sets, as lists have them.
const NAMES: [(&str, Stats); 7] = [
    ("card", Stats::BASIC),
    ("dynamics", Stats::DYNAMICS),
    ("params", Stats::PARAMS),
    ("updates", Stats::UPDATES),
    ("cosine", Stats::COSINE),
    ("ema", Stats::EMA),
    ("full", Stats::FULL),
];

/// A name that no set of statistics has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no set of statistics is called `{0}`; there are card, dynamics, params, updates, full for these four, cosine and ema"
)]
pub struct UnknownStats(String);

impl Stats {
    /// Returns the set with what its members need: `DYNAMICS` and `PARAMS` where `UPDATES` is in it.
    #[must_use]
    pub fn with_needs(self) -> Self {
        if self.contains(Self::UPDATES) { self | Self::FULL } else { self }
    }
}

impl FromStr for Stats {
    type Err = UnknownStats;

    /// Reads a comma-separated list: `card`, `dynamics,params`, `full`.
    fn from_str(list: &str) -> Result<Self, UnknownStats> {
        list.split(',').map(str::trim).try_fold(Self::BASIC, |stats, name| {
            let known = NAMES.iter().find(|(known, _)| *known == name);
            known.map(|(_, set)| stats | *set).ok_or_else(|| UnknownStats(name.to_owned()))
        })
    }
}

impl TryFrom<String> for Stats {
    type Error = UnknownStats;
    fn try_from(list: String) -> Result<Self, UnknownStats> {
        list.parse()
    }
}

impl From<Stats> for String {
    fn from(stats: Stats) -> Self {
        stats.to_string()
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let single = NAMES.iter().filter(|(_, set)| *set != Self::FULL && self.contains(*set));
        let names: Vec<&str> = single.map(|(name, _)| *name).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_printed() {
        for list in ["card", "card,dynamics", "card,params", "card,dynamics,params,updates", "card,cosine,ema"] {
            assert_eq!(list.parse::<Stats>().unwrap().to_string(), list);
        }
        assert_eq!("full".parse(), Ok(Stats::FULL));
        assert_eq!("updates".parse(), Ok(Stats::UPDATES));
        assert_eq!("dynamics, params".parse(), Ok(Stats::DYNAMICS | Stats::PARAMS));
        assert_eq!("cards".parse::<Stats>(), Err(UnknownStats("cards".into())));
    }

    #[test]
    fn updates_need_dynamics_and_params() {
        assert_eq!((Stats::UPDATES | Stats::EMA).with_needs(), Stats::FULL | Stats::EMA);
        assert_eq!((Stats::PARAMS | Stats::COSINE).with_needs(), Stats::PARAMS | Stats::COSINE);
    }
}
