//! The two walks over a module: once for the table of parameters, then at every step for gradients.

use crate::error::Error;
use crate::record::Param as ParamEntry;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device as BurnDevice, Gradients, Tensor};

/// Where a parameter's gradient is to be had: burn's [`Gradients`] and [`GradientsParams`].
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

/// Every float parameter of the module, in the order of its walk.
///
/// # Errors
/// Where one does not live on `device`.
pub(super) fn parameters<M: Module>(module: &M, device: &BurnDevice) -> Result<Vec<ParamEntry>, Error> {
    let mut walk = TableWalk { device, path: vec![], table: vec![], misplaced: None };
    module.visit(&mut walk);
    walk.misplaced.map_or(Ok(walk.table), Err)
}

/// Calls `on_gradient` with each float parameter's place in the walk and its gradient; returns their number.
pub(super) fn gradients<M, G, F>(module: &M, source: &G, on_gradient: F) -> usize
where
    M: Module,
    G: GradientSource,
    F: OnGradient,
{
    let mut walk = GradientWalk { source, on_gradient, place: 0 };
    module.visit(&mut walk);
    walk.place
}

/// A closure over tensors of any rank.
pub(super) trait OnGradient {
    fn call<const D: usize>(&mut self, place: usize, gradient: Option<Tensor<D>>);
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
        self.table.push(ParamEntry { path, shape, numel, dtype: tensor.dtype().name().to_owned() });
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
}

struct GradientWalk<'a, G, F> {
    source: &'a G,
    on_gradient: F,
    place: usize,
}

impl<G: GradientSource, F: OnGradient> ModuleVisitor for GradientWalk<'_, G, F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.on_gradient.call(self.place, self.source.gradient(param));
        self.place += 1;
    }
}
