//! What passes between a step, its scope and the two engines.

use crate::bridge::Primitive;
use crate::engine::{SCALAR_COUNT_MAX, TAP_COUNT_MAX};
use crate::record::{Cost, Gradient, NoticeKind, Param, TapRecord, TensorRecord};
use crate::survey::{Counted, SurveyDue};
use burn::tensor::Tensor;
use std::sync::Arc;

/// What a step's caller has given beside the tensors, kept until its numbers are back.
pub(super) struct Given {
    pub step: u64,
    pub epoch: Option<u64>,
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
    pub survey: SurveyDue,
}

impl Given {
    pub fn new(step: u64) -> Self {
        Self {
            step,
            epoch: None,
            last_move: false,
            scale: 1.0,
            scalars: vec![],
            taps: vec![],
            cost: Cost::default(),
            notices: vec![],
            unreadable: vec![],
            not_due: vec![],
            survey: SurveyDue::default(),
        }
    }

    /// Puts in what the engine was not told of.
    pub fn complete(&self, tensors: &mut [TensorRecord]) {
        self.unreadable.iter().for_each(|&tensor| tensors[tensor].gradient = Gradient::Unreadable);
        self.not_due.iter().for_each(|&tensor| tensors[tensor] = TensorRecord::of(Gradient::NotDue));
    }

    /// Notes tensors that cannot be handed to the engine: which, whether it is the gradient, and why.
    pub fn refuse(&mut self, refused: Vec<(usize, bool, String)>, params: &[Param]) {
        for (tensor, is_gradient, reason) in refused {
            self.notices.push(NoticeKind::Unreadable { path: params[tensor].path.clone(), reason });
            self.unreadable.extend(is_gradient.then_some(tensor));
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum ScalarValue {
    Known(f64),
    /// The `n`-th GPU scalar of the step.
    Gpu(usize),
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
    pub fn scalar(&mut self, payload: Payload) -> Result<ScalarValue, String> {
        match payload {
            Payload::Host(values) => Ok(ScalarValue::Known(f64::from(values[0]))),
            Payload::Gpu(primitive) if self.scalars.len() < SCALAR_COUNT_MAX => {
                self.scalars.push(primitive);
                Ok(ScalarValue::Gpu(self.scalars.len() - 1))
            }
            Payload::Gpu(_) => Err(format!("a step carries at most {SCALAR_COUNT_MAX} GPU scalars")),
        }
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

/// What of a step is kept for the next comparison.
#[derive(Clone, Debug)]
pub(super) struct Keeping {
    /// Whether the step has a place in the sequence of steps that are compared.
    pub keeps: bool,
    /// Whether only the step right before counts.
    pub neighbours: bool,
    /// For each tensor, whether its parameter will be compared with.
    pub weights: Vec<bool>,
}

/// Makes payloads of tensors of any rank.
pub(super) trait MakePayload {
    /// # Errors
    /// Where the tensor does not live on the scope's device, or can't be read.
    fn payload<const D: usize>(&self, tensor: Tensor<D>) -> Result<Payload, String>;
}
