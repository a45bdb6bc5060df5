//! The two walks over a module: once for the table of parameters, then at every step for gradients.

use crate::bridge::{FNV_START, fnv_folded};
use crate::error::Error;
use crate::record::Param as ParamEntry;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, MultiGradientsParams};
use burn::tensor::{Device as BurnDevice, Gradients, Tensor};

/// Where a parameter's gradient is to be had: burn's [`Gradients`], [`GradientsParams`] and [`MultiGradientsParams`].
/// Implement it for gradients of your own; it is asked once for each parameter and due step, on the thread that trains.
/// What it returns has the parameter's shape; `None` is recorded as missing.
pub trait GradientSource {
    /// The gradient of `param`, if it has one.
    fn gradient<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>>;
}

impl GradientSource for Gradients {
    fn gradient<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        param.val().grad(self)
    }
}

impl GradientSource for GradientsParams {
    fn gradient<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        self.get(param.id)
    }
}

impl GradientSource for MultiGradientsParams {
    /// The sum over devices, on the first that has one: what burn's optimizers apply.
    fn gradient<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        SumOn(self, None).gradient(param)
    }
}

/// The sum of all parts, on one device, or else on the first that has one.
pub(crate) struct SumOn<'a>(pub &'a MultiGradientsParams, pub Option<BurnDevice>);

impl GradientSource for SumOn<'_> {
    fn gradient<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        let mut parts = self.0.grads.iter().filter_map(|(part, _)| part.get::<D>(param.id)).peekable();
        let device = self.1.clone().or_else(|| parts.peek().map(Tensor::device))?;
        parts.map(|part| part.to_device(&device)).reduce(|sum, part| sum + part)
    }
}

/// Every float parameter of the module, in the order of its walk.
///
/// # Errors
/// Where one does not live on `device`.
pub(super) fn parameters<M: Module>(module: &M, device: &BurnDevice) -> Result<Vec<ParamEntry>, Error> {
    let mut walk = TableWalk { device, path: vec![], table: vec![], misplaced: None };
    module.visit(&mut walk);
    // A module that was not made for training says nothing of what is frozen.
    if !walk.table.iter().any(|param| param.trainable) {
        walk.table.iter_mut().for_each(|param| param.trainable = true);
    }
    walk.misplaced.map_or(Ok(walk.table), Err)
}

/// Calls `on_param` with the key of each float parameter's path and the parameter.
pub(super) fn each<M: Module>(module: &M, on_param: impl OnParam) {
    let mut walk = ParamWalk { on_param, keys: vec![path_key([])] };
    module.visit(&mut walk);
}

/// A closure over parameters of any rank.
pub(super) trait OnParam {
    fn call<const D: usize>(&mut self, key: u64, param: &Param<Tensor<D>>);
}

/// What a path is found by at every step, without putting its name together: FNV-1a over its components.
pub(super) fn path_key<'a>(components: impl IntoIterator<Item = &'a str>) -> u64 {
    components.into_iter().fold(FNV_START, extend_key)
}

fn extend_key(key: u64, component: &str) -> u64 {
    // The separator cannot be part of a field's name.
    component.bytes().chain([b'.']).map(u64::from).fold(key, fnv_folded)
}

struct TableWalk<'a> {
    device: &'a BurnDevice,
    path: Vec<String>,
    table: Vec<ParamEntry>,
    misplaced: Option<Error>,
}

impl ModuleVisitor for TableWalk<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val().inner();
        let (path, shape) = (self.path.join("."), tensor.shape().to_vec());
        if tensor.device() != *self.device && self.misplaced.is_none() {
            self.misplaced = Some(Error::WrongDevice {
                path: path.clone(),
                found: format!("{:?}", tensor.device()),
                expected: format!("{:?}", self.device),
            });
        }
        let numel = shape.iter().map(|&len| len as u64).product();
        let (dtype, trainable) = (tensor.dtype().name().to_owned(), param.val().is_require_grad());
        self.table.push(ParamEntry { path, shape, numel, dtype, trainable });
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
}

struct ParamWalk<F> {
    on_param: F,
    /// Keys of the path so far, of the whole and of its parts.
    keys: Vec<u64>,
}

impl<F: OnParam> ModuleVisitor for ParamWalk<F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let key = self.keys.last().copied().unwrap_or_default();
        self.on_param.call(key, param);
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        let key = self.keys.last().copied().unwrap_or_default();
        self.keys.push(extend_key(key, name));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.keys.pop();
    }
}
