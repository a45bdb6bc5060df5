//! The two walks over a module: once for the table of parameters, then at every step for gradients.

use crate::Error;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, MultiGradientsParams};
use burn::tensor::{DType, Device as BurnDevice, Gradients, Tensor};
use gradscope_record::record::Param as ParamEntry;
use std::any::Any;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Where a parameter's gradient is to be had: burn's [`Gradients`], [`GradientsParams`] and [`MultiGradientsParams`].
/// Implement it for gradients of your own; it is asked once for each parameter and due step, on the thread that trains.
/// What it returns has the parameter's shape; `None` is recorded as missing. It is not asked for a parameter that burn
/// has not initialised yet, which no loss can have used.
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

/// The float parameters of a module, as its walk finds them.
#[derive(Default)]
pub(super) struct Table {
    /// Each parameter once, by the first path that it has.
    pub params: Vec<TableEntry>,
    /// Keys of the paths that are known and not observed by themselves: other paths of a shared parameter, and buffers.
    pub others: Vec<u64>,
    /// Paths of buffers: statistics that a layer keeps for itself, such as batch norm's, which no optimizer updates.
    pub buffers: Vec<String>,
}

pub(super) struct TableEntry {
    /// The key of its path.
    pub key: u64,
    pub id: ParamId,
    pub entry: ParamEntry,
}

/// Every float parameter of the module, in the order of its walk. Parameters that burn has not initialised yet stay so:
/// their initial values depend on the order in which they are drawn.
///
/// # Errors
/// Where one does not live on `device`.
pub(super) fn parameters<M: Module>(module: &M, device: &BurnDevice) -> Result<Table, Error> {
    let mut walk = TableWalk { device, path: vec![], found: vec![], misplaced: None };
    module.visit(&mut walk);
    let TableWalk { mut found, misplaced, .. } = walk;
    let mut again = BufferWalk { found: found.iter_mut() };
    module.visit(&mut again);
    let mut table = Table::default();
    for Visited { param, is_buffer, .. } in found {
        match table.params.iter_mut().find(|known| known.id == param.id) {
            _ if is_buffer => {
                table.others.push(param.key);
                table.buffers.push(param.entry.path);
            }
            Some(known) => {
                table.others.push(param.key);
                known.entry.tied.push(param.entry.path);
            }
            None => table.params.push(param),
        }
    }
    // A module that was not made for training says nothing of what is frozen.
    if !table.params.iter().any(|param| param.entry.trainable) {
        table.params.iter_mut().for_each(|param| param.entry.trainable = true);
    }
    misplaced.map_or(Ok(table), Err)
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

/// What a path is found by at every step, without putting its name together: a hash of its components.
pub(super) fn path_key<'a>(components: impl IntoIterator<Item = &'a str>) -> u64 {
    components.into_iter().fold(0, extend_key)
}

fn extend_key(key: u64, component: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, component).hash(&mut hasher);
    hasher.finish()
}

/// What a parameter is called that is a module of its own.
const BARE_PATH: &str = "param";

/// A visit of a walk over a module.
struct Visited {
    param: TableEntry,
    /// The parameter as it was visited, unless it is lazy.
    held: Option<Box<dyn Any>>,
    is_buffer: bool,
}

struct TableWalk<'a> {
    device: &'a BurnDevice,
    path: Vec<String>,
    found: Vec<Visited>,
    misplaced: Option<Error>,
}

impl ModuleVisitor for TableWalk<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let key = path_key(self.path.iter().map(String::as_str));
        let path = if self.path.is_empty() { BARE_PATH.to_owned() } else { self.path.join(".") };
        let device = param.lazy_device();
        if device != *self.device && self.misplaced.is_none() {
            self.misplaced = Some(Error::WrongDevice {
                path: path.clone(),
                found: format!("{device:?}"),
                expected: format!("{:?}", self.device),
            });
        }
        // What a lazy parameter will be is known at the first step that uses it.
        let (dtype, trainable): (DType, bool) = match param.is_initialized() {
            true => (param.dtype(), param.is_require_grad()),
            false => (device.settings().float_dtype.into(), true),
        };
        let dtype = dtype.name().to_owned();
        let entry = ParamEntry { dtype, trainable, ..ParamEntry::new(path, param.lazy_shape().to_vec()) };
        let held = param.is_initialized().then(|| Box::new(param.clone()) as Box<dyn Any>);
        self.found.push(Visited { param: TableEntry { key, id: param.id, entry }, held, is_buffer: false });
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
}

/// Finds buffers by walking once more: burn shows visitors the running statistics of a layer as a parameter that it makes
/// for the visit, while a parameter of the module shares its value with every clone of it.
struct BufferWalk<'a> {
    found: std::slice::IterMut<'a, Visited>,
}

impl ModuleVisitor for BufferWalk<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(visited) = self.found.next() else { return };
        let held = visited.held.take().and_then(|held| held.downcast::<Param<Tensor<D>>>().ok());
        visited.is_buffer = held.is_some_and(|held| !std::ptr::eq::<Tensor<D>>(&**held, &**param));
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
