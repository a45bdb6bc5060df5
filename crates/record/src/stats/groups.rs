//! What a scope is asked for.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;

/// A family of statistics. What is not asked for is not computed, not kept and not read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Group {
    /// Minimum, maximum, L1, L2, near zeros, signs, sign flips, NaNs and infinities of every gradient: 2 bits of
    /// state an element, 68 bytes read back a tensor. Always on.
    Card,
    /// Mean, standard deviation, skewness, kurtosis, smallest magnitude, subnormals, the first non-finite element, and what became of
    /// near-zero and non-finite elements since the step before: 3 bits of state, 108 bytes more.
    Dynamics,
    /// The same figures of the parameters themselves: 4 bytes read an element, 68 bytes more.
    Params,
    /// Of the optimizer's moves: norms, ratio to the weights, elements that did not move, extremes crossed. Keeps the
    /// previous parameters, one more copy of them in memory; 4 bytes read an element, 92 bytes more. Includes
    /// `Dynamics` and `Params`.
    Updates,
    /// The cosine of each gradient with the one before. Keeps the previous gradients, an f32 an element; 8 bytes moved an
    /// element, 24 bytes more.
    Cosine,
    /// Element-wise moving averages of gradients and of parameters, and `Card` and `Dynamics` of those. Keeps two f32 and
    /// 6 bits an element; two passes more over gradients and parameters, 33 bytes moved an element; 352 bytes more.
    /// They advance at captured steps as well as at observed ones.
    Ema,
}

/// A set of [`Group`]s: `Group::Card | Group::Params`, or [`Groups::FULL`].
///
/// ```
/// use gradscope::{Group, Groups};
///
/// assert_eq!("dynamics,params".parse::<Groups>(), Ok(Group::Dynamics | Group::Params));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Groups {
    /// [`Group::Dynamics`].
    pub dynamics: bool,
    /// [`Group::Params`].
    pub params: bool,
    /// [`Group::Updates`]. A scope turns the first two on with it.
    pub updates: bool,
    /// [`Group::Cosine`].
    pub cosine: bool,
    /// [`Group::Ema`].
    pub ema: bool,
}

impl Groups {
    /// `Card` alone.
    pub const CARD: Self = Self { dynamics: false, params: false, updates: false, cosine: false, ema: false };
    /// `Card`, `Dynamics`, `Params` and `Updates`.
    pub const FULL: Self = Self { dynamics: true, params: true, updates: true, ..Self::CARD };
}

/// A group that is not one of [`Group`]'s.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no group of statistics is called `{0}`; there are card, dynamics, params, updates, full for these four, cosine and ema"
)]
pub struct UnknownGroup(String);

impl Default for Groups {
    fn default() -> Self {
        Self::CARD
    }
}

impl From<Group> for Groups {
    fn from(group: Group) -> Self {
        match group {
            Group::Card => Self::CARD,
            Group::Dynamics => Self { dynamics: true, ..Self::CARD },
            Group::Params => Self { params: true, ..Self::CARD },
            Group::Updates => Self::FULL,
            Group::Cosine => Self { cosine: true, ..Self::CARD },
            Group::Ema => Self { ema: true, ..Self::CARD },
        }
    }
}

impl<G: Into<Groups>> BitOr<G> for Groups {
    type Output = Self;
    fn bitor(self, other: G) -> Self {
        let other = other.into();
        Self {
            dynamics: self.dynamics | other.dynamics,
            params: self.params | other.params,
            updates: self.updates | other.updates,
            cosine: self.cosine | other.cosine,
            ema: self.ema | other.ema,
        }
    }
}

impl<G: Into<Groups>> BitOr<G> for Group {
    type Output = Groups;
    fn bitor(self, other: G) -> Groups {
        Groups::from(self) | other
    }
}

impl FromStr for Groups {
    type Err = UnknownGroup;

    /// A comma-separated list: `card`, `dynamics,params`, `full`.
    fn from_str(list: &str) -> Result<Self, UnknownGroup> {
        list.split(',').try_fold(Self::CARD, |groups, name| {
            Ok(groups
                | match name.trim() {
                    "card" => Self::CARD,
                    "dynamics" => Group::Dynamics.into(),
                    "params" => Group::Params.into(),
                    "updates" | "full" => Self::FULL,
                    "cosine" => Group::Cosine.into(),
                    "ema" => Group::Ema.into(),
                    unknown => return Err(UnknownGroup(unknown.to_owned())),
                })
        })
    }
}

impl TryFrom<String> for Groups {
    type Error = UnknownGroup;
    fn try_from(list: String) -> Result<Self, UnknownGroup> {
        list.parse()
    }
}

impl From<Groups> for String {
    fn from(groups: Groups) -> Self {
        groups.to_string()
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            ("dynamics", self.dynamics),
            ("params", self.params),
            ("updates", self.updates),
            ("cosine", self.cosine),
            ("ema", self.ema),
        ];
        f.write_str("card")?;
        named.iter().filter(|(_, on)| *on).try_for_each(|(name, _)| write!(f, ",{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_printed() {
        for list in ["card", "card,dynamics", "card,params", "card,dynamics,params,updates", "card,cosine,ema"] {
            assert_eq!(list.parse::<Groups>().unwrap().to_string(), list);
        }
        assert_eq!("full".parse(), Ok(Groups::FULL));
        assert_eq!("updates".parse(), Ok(Groups::FULL), "updates need the planes and the weights");
        assert_eq!("dynamics, params".parse(), Ok(Group::Dynamics | Group::Params));
        assert_eq!("cards".parse::<Groups>(), Err(UnknownGroup("cards".into())));
    }
}
