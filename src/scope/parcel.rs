//! What passes between a step, its scope and the two engines.

use crate::reduce::survey::{Counted, SurveyDue};
use crate::scope::bridge::{self, Primitive};
use crate::scope::engine::{SCALAR_COUNT_MAX, TAP_COUNT_MAX};
use burn::module::ParamId;
use gradscope_record::record::{Cost, Gradient, NoticeKind, Param, TapRecord, TensorRecord};
use std::collections::HashMap;
use std::sync::Arc;

/// What a step's caller has given beside the tensors, kept until its numbers are back.
pub(super) struct Given {
    pub step: u64,
    pub epoch: Option<u64>,
    /// Unix time at which the step was submitted.
    pub unix_secs: f64,
    pub last_move: bool,
    /// What gradients come multiplied by.
    pub scale: f64,
    pub scalars: Vec<(String, ScalarValue)>,
    /// Names of the taps, and whether they have rails.
    pub taps: Vec<(String, bool)>,
    pub cost: Cost,
    pub notices: Vec<NoticeKind>,
    /// Tensors whose gradient is there and cannot be handed to the engine.
    pub unreadable: Vec<usize>,
    /// Tensors whose schedule leaves the step out.
    pub not_due: Vec<usize>,
    /// Tensors whose parameter is another one than at the step before, under the same path.
    pub replaced: Vec<(usize, ParamId)>,
    /// Tensors that were frozen or unfrozen since the step before, and whether they train now.
    pub trainable: Vec<(usize, bool)>,
    pub survey: SurveyDue,
}

impl Given {
    pub fn new(step: u64) -> Self {
        Self {
            step,
            epoch: None,
            unix_secs: 0.0,
            last_move: false,
            scale: 1.0,
            scalars: vec![],
            taps: vec![],
            cost: Cost::default(),
            notices: vec![],
            unreadable: vec![],
            not_due: vec![],
            replaced: vec![],
            trainable: vec![],
            survey: SurveyDue::default(),
        }
    }

    /// Puts in what the engine was not told of.
    pub fn complete(&self, tensors: &mut [TensorRecord]) {
        self.unreadable.iter().for_each(|&tensor| tensors[tensor].gradient = Gradient::Unreadable);
        self.not_due.iter().for_each(|&tensor| tensors[tensor] = TensorRecord::of(Gradient::NotDue));
    }

    /// Notes tensors that cannot be handed to the engine: which, whether it is the gradient, and why.
    pub fn refuse(&mut self, refused: impl Iterator<Item = (usize, bool, String)>, params: &[Param]) {
        for (tensor, is_gradient, reason) in refused {
            self.notices.push(NoticeKind::Unreadable { path: params[tensor].path.clone(), reason });
            self.unreadable.extend(is_gradient.then_some(tensor));
        }
    }

    /// Notes what a walk has found, which may be one of several of the step.
    pub fn note(&mut self, not_due: Vec<usize>, replaced: Vec<(usize, ParamId)>, trainable: Vec<(usize, bool)>) {
        // A walk finds each tensor once, and mostly there is one walk.
        let is_first = self.not_due.is_empty() && self.replaced.is_empty() && self.trainable.is_empty();
        self.not_due.extend(not_due);
        self.replaced.extend(replaced);
        self.trainable.extend(trainable);
        if !is_first {
            self.not_due.sort_unstable();
            self.not_due.dedup();
            self.replaced.sort_unstable_by_key(|(tensor, _)| *tensor);
            self.replaced.dedup_by_key(|(tensor, _)| *tensor);
            self.trainable.sort_unstable();
            self.trainable.dedup();
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum ScalarValue {
    Known(f64),
    /// The `n`-th GPU scalar of the step.
    Gpu(usize),
}

impl Payload {
    /// The sum of two gradients of one parameter.
    ///
    /// # Errors
    /// Where their element types or lengths differ.
    fn sum(self, other: Self) -> Result<Self, String> {
        match (self, other) {
            (Self::Gpu(one), Self::Gpu(other)) => bridge::sum(one, other).map(Self::Gpu),
            (Self::Host(one), Self::Host(other)) if one.len() == other.len() => {
                Ok(Self::Host(one.iter().zip(other.iter()).map(|(a, b)| a + b).collect()))
            }
            _ => Err("its gradients of several backward passes differ in shape".into()),
        }
    }
}

/// A tensor on its way to an engine.
#[allow(
    clippy::large_enum_variant,
    reason = "burn's handle is large without its fusion, and a scope has either kind alone"
)]
#[derive(Clone)]
pub(super) enum Payload {
    Gpu(Primitive),
    Host(Arc<[f32]>),
}

/// What a step hands to an engine.
#[derive(Default)]
pub(super) struct Parcel {
    /// Gradient and parameter, by tensor.
    pub tensors: Vec<(usize, Option<Payload>, Option<Payload>)>,
    pub scalars: Vec<Primitive>,
    pub taps: Vec<(Payload, Option<[f32; 2]>)>,
}

impl Parcel {
    /// Adds the gradients of another backward pass to those of the same step.
    ///
    /// # Errors
    /// Tensors whose gradients cannot be added, and why.
    pub fn add(&mut self, tensors: Vec<(usize, Option<Payload>, Option<Payload>)>) -> Vec<(usize, String)> {
        if self.tensors.is_empty() {
            self.tensors = tensors;
            return vec![];
        }
        let places: HashMap<usize, usize> =
            self.tensors.iter().enumerate().map(|(at, (tensor, ..))| (*tensor, at)).collect();
        let mut refused = vec![];
        for (tensor, gradient, weight) in tensors {
            let Some(&at) = places.get(&tensor) else {
                self.tensors.push((tensor, gradient, weight));
                continue;
            };
            let (_, known, known_weight) = &mut self.tensors[at];
            *known = match (known.take(), gradient) {
                (Some(one), Some(other)) => one.sum(other).map_err(|reason| refused.push((tensor, reason))).ok(),
                (one, other) => one.or(other),
            };
            *known_weight = known_weight.take().or(weight);
        }
        refused
    }

    /// Adds a scalar that is on the GPU.
    ///
    /// # Errors
    /// Where there are as many as a step carries.
    pub fn scalar(&mut self, primitive: Primitive) -> Result<ScalarValue, String> {
        if self.scalars.len() == SCALAR_COUNT_MAX {
            return Err(format!("a step carries at most {SCALAR_COUNT_MAX} GPU scalars"));
        }
        self.scalars.push(primitive);
        Ok(ScalarValue::Gpu(self.scalars.len() - 1))
    }

    pub fn tap(&mut self, payload: Payload, rails: Option<[f32; 2]>) -> Result<(), String> {
        if self.taps.len() == TAP_COUNT_MAX {
            return Err(format!("a step carries at most {TAP_COUNT_MAX} taps"));
        }
        self.taps.push((payload, rails));
        Ok(())
    }
}

/// A step whose numbers are there.
pub(super) struct Landed {
    pub given: Given,
    /// What came back, or why the step was lost.
    pub read: Result<Read, String>,
}

pub(super) struct Read {
    pub tensors: Vec<TensorRecord>,
    pub taps: Vec<TapRecord>,
    pub counted: Option<Counted>,
}
