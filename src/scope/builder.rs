//! Settings of a scope, checked before anything is made.

use super::{Observer, Places, Scope, walk};
use crate::device::Device;
use crate::error::Error;
use crate::gpu::{PretendLimits, Shaders};
use crate::record::Param;
use crate::stats::Epsilons;
use crate::summary::Summary;
use burn::module::Module;
use regex::Regex;
use std::collections::VecDeque;

/// What happens to a step that finds the staging ring full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Wait until the oldest step is back. Every step is recorded.
    #[default]
    Wait,
    /// Leave the step out, with a [`Notice`](crate::Notice).
    Drop,
}

/// Steps that may be on their way back at once, at a few kilobytes each. burn lets 512 kernels run ahead: a step of
/// four or more never finds the ring full.
const RING_LEN: usize = 128;

/// Settings of a [`Scope`]; every one has a default.
#[must_use = "a builder does nothing until `build`"]
pub struct ScopeBuilder {
    device: Device,
    epsilons: [f64; 2],
    include: Option<String>,
    exclude: Option<String>,
    ring_len: usize,
    when_full: WhenFull,
    shaders: Shaders,
    limits: PretendLimits,
    #[cfg(feature = "store")]
    run: Option<std::path::PathBuf>,
    #[cfg(feature = "store")]
    facts: Vec<(String, serde_json::Value)>,
}

impl ScopeBuilder {
    pub(super) fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            epsilons: Epsilons::default().values(),
            include: None,
            exclude: None,
            ring_len: RING_LEN,
            when_full: WhenFull::default(),
            shaders: Shaders::Trusted,
            limits: PretendLimits::default(),
            #[cfg(feature = "store")]
            run: None,
            #[cfg(feature = "store")]
            facts: Vec::new(),
        }
    }

    /// Magnitudes under which a gradient counts as near zero, ascending. Default: 1e-7 and 1e-5.
    pub fn epsilons(mut self, epsilons: [f64; 2]) -> Self {
        self.epsilons = epsilons;
        self
    }

    /// Observes only parameters whose path matches the regular expression. Default: all.
    pub fn select(mut self, pattern: impl Into<String>) -> Self {
        self.include = Some(pattern.into());
        self
    }

    /// Leaves out parameters whose path matches the regular expression. Default: none.
    pub fn exclude(mut self, pattern: impl Into<String>) -> Self {
        self.exclude = Some(pattern.into());
        self
    }

    /// Steps that may be on their way back at once. Default: 128.
    pub fn ring_len(mut self, steps: usize) -> Self {
        self.ring_len = steps;
        self
    }

    /// What happens when `ring_len` steps are on their way. Default: wait.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Runs the shaders with bounds checks, to tell a defect of a shader from one of a driver. Default: off.
    pub fn checked_shaders(mut self, checked: bool) -> Self {
        self.shaders = if checked { Shaders::Checked } else { Shaders::Trusted };
        self
    }

    /// Limits below the adapter's own, to try what a smaller one would do.
    #[doc(hidden)]
    pub fn pretend_limits(mut self, limits: PretendLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Writes a run folder under `folder`. Default: nothing touches the disk.
    #[cfg(feature = "store")]
    pub fn run(mut self, folder: impl Into<std::path::PathBuf>) -> Self {
        self.run = Some(folder.into());
        self
    }

    /// A fact of the run for its manifest: model, optimizer, seed, data.
    #[cfg(feature = "store")]
    pub fn fact(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.facts.push((name.into(), value.into()));
        self
    }

    /// Walks the module for its parameters and prepares everything a step needs.
    ///
    /// # Errors
    /// On bad settings, a module on another device, or a model that the adapter's limits do not hold.
    /// Nothing has been written then.
    pub fn build<M: Module>(self, module: &M) -> Result<Scope, Error> {
        let epsilons = Epsilons::new(self.epsilons)?;
        if self.ring_len == 0 {
            return Err(Error::EmptyRing);
        }
        let table = walk::parameters(module, &self.device)?;
        let (places, params) = self.selection(table)?;
        let observer = Observer::new(&self.device, &params, epsilons, self.shaders, self.limits, self.ring_len)?;
        #[cfg(feature = "store")]
        let store = match &self.run {
            Some(folder) => Some(crate::store::RunWriter::create(folder, self.manifest(&params, &observer))?),
            None => None,
        };
        Ok(Scope {
            device: self.device.burn().clone(),
            summary: Summary::new(&params),
            params: params.into(),
            places,
            epsilons,
            when_full: self.when_full,
            observer,
            events: VecDeque::new(),
            wait_count: 0,
            unknown_count: 0,
            #[cfg(feature = "store")]
            store,
        })
    }

    /// For each path, by its key, the selected tensor, and the table of those.
    fn selection(&self, table: Vec<Param>) -> Result<(Places, Vec<Param>), Error> {
        if table.is_empty() {
            return Err(Error::NoParameters);
        }
        if let Some(param) = table.iter().find(|param| param.numel > u64::from(u32::MAX)) {
            return Err(Error::TensorTooLarge { path: param.path.clone(), numel: param.numel });
        }
        let count = table.len();
        let examples: Vec<_> = table.iter().take(5).map(|param| param.path.clone()).collect();
        let matches_none = |pattern: &str| Error::NothingSelected {
            pattern: pattern.to_owned(),
            count,
            examples: examples.join(", "),
        };
        let (include, exclude) = (compile(self.include.as_deref())?, compile(self.exclude.as_deref())?);
        for pattern in [&include, &exclude].into_iter().flatten() {
            if !table.iter().any(|param| pattern.is_match(&param.path)) {
                return Err(matches_none(pattern.as_str()));
            }
        }
        let mut places = Places::with_capacity(count);
        let mut params = Vec::new();
        for param in table {
            let selected = include.as_ref().is_none_or(|pattern| pattern.is_match(&param.path))
                && !exclude.as_ref().is_some_and(|pattern| pattern.is_match(&param.path));
            places.insert(walk::path_key(param.path.split('.')), selected.then_some(params.len()));
            params.extend(selected.then_some(param));
        }
        match (params.is_empty(), &include, &exclude) {
            (true, Some(include), _) => Err(matches_none(&format!("{include} without the excluded"))),
            (true, None, Some(exclude)) => Err(matches_none(&format!("all but {exclude}"))),
            _ => Ok((places, params)),
        }
    }

    #[cfg(feature = "store")]
    fn manifest(&self, params: &[Param], observer: &Observer) -> crate::store::Manifest {
        crate::store::Manifest {
            adapter: self.device.describe(),
            engine: observer.name(),
            fusion: crate::bridge::BURN_FUSION,
            settings: serde_json::json!({
                "epsilons": self.epsilons,
                "select": self.include,
                "exclude": self.exclude,
                "ring_len": self.ring_len,
                "when_full": self.when_full,
            }),
            params: params.to_vec(),
            facts: self.facts.clone(),
        }
    }
}

fn compile(pattern: Option<&str>) -> Result<Option<Regex>, Error> {
    pattern
        .map(|pattern| {
            Regex::new(pattern).map_err(|error| Error::BadPattern {
                pattern: pattern.to_owned(),
                reason: error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
            })
        })
        .transpose()
}
