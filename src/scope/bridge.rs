//! burn tensors to buffer slices: the only file that names burn-cubecl and cubecl types.
//!
//! Resolving a tensor's buffer takes burn's device thread, behind all that is queued there. So the training
//! thread leaves a task and goes on; the task resolves every tensor and runs the engine. With burn's `fusion`
//! a gradient is a promise, and the task is one deferred operation over all of them; without, it is a call to
//! the wgpu server's own queue. `burn::backend::Cube` is whichever of the two burn was built with.

use super::engine::{Pin, Resolutions, Resolved};
use crate::reduce::gpu::{Order, Slice};
use burn::backend::{Backend, BackendTypes, Cube, DType, DeviceHandle};
use burn::tensor::{Device as BurnDevice, Tensor};
use burn_cubecl::cubecl::features::TypeUsage;
use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
use burn_cubecl::cubecl::server::{ServerError, ServerStorage};
use burn_cubecl::cubecl::wgpu::{AutoCompiler, WgpuResource, WgpuServer};
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeDevice};
use burn_fusion::client::GlobalFusionClient;
use burn_fusion::custom::{CustomOpIr, HandleContainer, OperationFn, OperationIr, StreamId};
use burn_fusion::{Fusion, FusionBackend, FusionTensor};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

/// A float tensor of burn's, on the way to [`hand_off`].
pub(crate) type Primitive = <Cube as BackendTypes>::FloatTensorPrimitive;

/// Element types that kernels can read on wgpu, after widening.
fn is_readable(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::Flex32 | DType::F16 | DType::BF16)
}

/// The inner primitive of a tensor that lives on `device`.
///
/// # Errors
/// Where it lives elsewhere, `device` is none of wgpu's, or its element type can't be read there.
pub(crate) fn primitive<const D: usize>(tensor: Tensor<D>, device: &BurnDevice) -> Result<Primitive, String> {
    let tensor = tensor.inner();
    let found = tensor.device();
    if found != *device {
        return Err(format!("it lives on {found:?}, and the scope observes {device:?}"));
    }
    if !is_readable(tensor.dtype()) {
        return Err(unsupported(tensor.dtype()));
    }
    match tensor.try_into_primitive::<Cube>() {
        Ok(primitive) if matches!(device_of(&primitive), CubeDevice::Wgpu(_)) => Ok(primitive),
        _ => Err(format!("{found:?} is no wgpu device")),
    }
}

/// The sum of two tensors of one shape.
///
/// # Errors
/// Where their shapes or element types differ.
pub(crate) fn sum(one: Primitive, other: Primitive) -> Result<Primitive, String> {
    use burn::backend::TensorMetadata as Metadata;
    if Metadata::shape(&one) != Metadata::shape(&other) || Metadata::dtype(&one) != Metadata::dtype(&other) {
        return Err("its gradients of several backward passes differ in shape or element type".into());
    }
    Ok(<Cube as burn::backend::ops::FloatTensorOps<Cube>>::float_add(one, other))
}

/// What a kernel needs of the order of a tensor's elements in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Any, so long as it is dense.
    Dense,
    /// One that [`Order`] can tell the logical order of.
    Indexed,
    RowMajor,
}

/// A tensor to hand off. Those of one `pair` are read element by element together: they must lie alike.
pub(crate) struct Handed {
    pub primitive: Primitive,
    pub demand: Demand,
    pub pair: Option<usize>,
}

/// What is needed of a tensor once its primitive has gone its way.
type Needs = (Demand, Option<usize>);

/// Runs `work` once the tensors, of which there is one at least, are there, in order with what burn has recorded so far.
///
/// This thread does not wait for that.
pub(crate) fn hand_off(tensors: Vec<Handed>, work: impl FnOnce(Resolutions) + Send + 'static) {
    debug_assert!(!tensors.is_empty(), "there is no queue to wait in without a tensor");
    let (primitives, needs) = tensors.into_iter().map(|t| (t.primitive, (t.demand, t.pair))).unzip();
    <Cube as HandOff>::hand_off(primitives, needs, Box::new(work));
}

/// Where a hand-off went: the device, and the stream of burn's that it is queued on.
pub(crate) struct Destination {
    device: CubeDevice,
    stream: StreamId,
}

impl Destination {
    /// Of a hand-off that this thread makes with `primitive` among its tensors.
    pub fn of(primitive: &Primitive) -> Self {
        Self { device: device_of(primitive), stream: StreamId::current() }
    }

    /// Makes sure that the hand-off has run: blocks until burn has worked its queue off.
    pub fn drain(&self) {
        self.stream.executes(|| {
            <Cube as HandOff>::drain(&self.device);
            // What fusion defers goes to the server's queue from there.
            if BURN_FUSION {
                <CubeBackend as HandOff>::drain(&self.device);
            }
        });
    }
}

fn device_of(primitive: &Primitive) -> CubeDevice {
    burn::backend::TensorMetadata::device(primitive)
}

/// Of the burn that this is written for.
pub const BURN_VERSION: &str = "0.22.1";

/// Whether burn was built with fusion, by whoever in the dependency tree.
pub const BURN_FUSION: bool = <Cube as HandOff>::FUSES;

type Work = Box<dyn FnOnce(Resolutions) + Send>;

/// The two ways in, of which fusion's ends in the other. Both are always compiled, since anyone in the dependency tree may
/// turn fusion on.
trait HandOff: Backend {
    const FUSES: bool;
    fn hand_off(tensors: Vec<Self::FloatTensorPrimitive>, needs: Vec<Needs>, work: Work);
    fn drain(device: &Self::Device);
}

impl HandOff for CubeBackend {
    const FUSES: bool = false;

    fn hand_off(tensors: Vec<CubeTensor>, needs: Vec<Needs>, work: Work) {
        // The client's own service: a device's name may stand for it under another number.
        let device = DeviceHandle::<Server>::new(tensors[0].client.service_id().device);
        let stream = StreamId::current();
        // Bindings, not handles, wait in the queue: a handle would keep burn from updating in place. Until the task is
        // queued the handles count as owners: no other thread updates in place, or is given their memory, before it.
        let prepared = prepare(tensors, &needs);
        let owners: Vec<CubeTensor> = prepared.iter().flatten().map(|(tensor, _)| tensor.clone()).collect();
        let prepared = prepared.into_iter();
        let prepared: Vec<_> =
            prepared.map(|prepared| prepared.map(|(tensor, lies)| (tensor.handle.binding(), lies))).collect();
        let task: Box<dyn FnOnce(&mut Server) + Send> = Box::new(move |server| {
            let mut resolve = |(binding, lies): (_, Lies)| {
                let managed = server.get_resource(binding, stream).map_err(unresolved)?;
                lies.at(managed.resource().clone(), Box::new(managed))
            };
            work(prepared.into_iter().map(|prepared| prepared.and_then(&mut resolve)).collect());
        });
        device.submit(|server| task(server));
        drop(owners);
    }

    fn drain(device: &CubeDevice) {
        // An error is a lost device thread: what it had not run fails by itself.
        let _ = device.client().exclusive(|| ());
    }
}

type Server = WgpuServer<AutoCompiler>;

impl<B: FusionBackend<FloatTensorPrimitive = CubeTensor>> HandOff for Fusion<B> {
    const FUSES: bool = true;

    fn hand_off(tensors: Vec<FusionTensor<B::FusionRuntime>>, needs: Vec<Needs>, work: Work) {
        let client = tensors[0].client.clone();
        let inputs: Vec<_> = tensors.into_iter().map(FusionTensor::into_ir).collect();
        let operation = CustomOpIr::new("gradscope::observe", &inputs, &[]);
        let once = Mutex::new(Some(work));
        let observe = move |handles: &mut HandleContainer<_>| {
            let work = once.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            if let Some(work) = work {
                let tensors = inputs.iter().map(|input| handles.get_float_tensor::<B>(input)).collect();
                // One task for all: to ask for a buffer takes a hop to the server's thread and back.
                <CubeBackend as HandOff>::hand_off(tensors, needs.clone(), work);
            }
            Ok(())
        };
        client.register(StreamId::current(), OperationIr::Custom(operation), OperationFn(observe));
    }

    fn drain(device: &Self::Device) {
        GlobalFusionClient::<B::FusionRuntime>::load(device).sync(|| ());
    }
}

/// How a tensor lies in its buffer, wherever that is.
struct Lies {
    numel: u64,
    layout: u64,
    order: Order,
    copied: bool,
}

impl Lies {
    fn at(self, WgpuResource { buffer, offset, .. }: WgpuResource, pin: Pin) -> Result<Resolved, String> {
        let Self { numel, layout, order, copied } = self;
        let slice = Slice { buffer, offset, numel, layout, order, copied };
        if slice.is_bindable() {
            Ok(Resolved { slice, pin })
        } else {
            Err("its allocation can't be read in vectors of 16 bytes".into())
        }
    }
}

/// The tensors with their elements densely in f32, in an order that meets what is needed: after a copy where they
/// were not.
fn prepare(tensors: Vec<CubeTensor>, needs: &[Needs]) -> Vec<Result<(CubeTensor, Lies), String>> {
    let dense: Vec<_> = tensors.into_iter().map(densely).collect();
    let unlike = unlike_pairs(&dense, needs);
    let prepared = dense.into_iter().zip(needs).map(|(dense, &(demand, pair))| {
        let is_unlike = pair.is_some_and(|pair| unlike.contains(&pair));
        Ok(ordered(dense?, demand, is_unlike))
    });
    prepared.collect()
}

/// The pairs whose tensors do not lie alike. Tensors of a pair stand side by side.
fn unlike_pairs(dense: &[Result<Dense, String>], needs: &[Needs]) -> Vec<usize> {
    let lies = |at: usize| dense[at].as_ref().ok().map(|dense| places(&dense.tensor));
    let unlike = (1..dense.len()).filter(|&at| needs[at].1 == needs[at - 1].1 && lies(at) != lies(at - 1));
    unlike.filter_map(|at| needs[at].1).collect()
}

/// The tensor in an order that meets the demand. Tensors that are read together and do not lie alike are both brought to
/// row-major order.
fn ordered(Dense { tensor, dtype, copied }: Dense, demand: Demand, is_unlike: bool) -> (CubeTensor, Lies) {
    let order = order_of(&tensor);
    let fits = match demand {
        _ if order.is_some_and(Order::is_row_major) => true,
        Demand::RowMajor => false,
        Demand::Dense => !is_unlike,
        Demand::Indexed => !is_unlike && order.is_some(),
    };
    let tensor = if fits { tensor } else { into_contiguous(tensor) };
    let lies = Lies {
        numel: tensor.meta.shape().num_elements() as u64,
        layout: layout_key(dtype, tensor.meta.shape(), tensor.meta.strides()),
        order: order_of(&tensor).unwrap_or(Order { block_len: 1, run_len: 1 }),
        copied: copied || !fits,
    };
    (tensor, lies)
}

/// A tensor with its elements densely in f32.
struct Dense {
    tensor: CubeTensor,
    /// Element type it came in.
    dtype: DType,
    copied: bool,
}

/// Whether the device converts the tensor's element type. A kernel that converts one which it does not know would leave
/// whatever the memory held before: wgpu's own shading language has no bf16.
fn can_widen(tensor: &CubeTensor) -> bool {
    let kind = match tensor.dtype {
        DType::F16 => FloatKind::F16,
        DType::BF16 => FloatKind::BF16,
        _ => return true,
    };
    let usage = tensor.client.properties().type_usage(ElemType::Float(kind));
    usage.is_superset(TypeUsage::Buffer | TypeUsage::Conversion)
}

/// Why tensors of an element type are not read.
pub(crate) fn unsupported(dtype: DType) -> String {
    match dtype {
        DType::QFloat(_) => "it is quantised, and statistics are of floats".into(),
        DType::F16 | DType::BF16 => {
            format!("its element type is {}, which this adapter does not convert", dtype.name())
        }
        _ => format!("its element type is {}, and wgpu reads f32, f16 and bf16", dtype.name()),
    }
}

fn densely(tensor: CubeTensor) -> Result<Dense, String> {
    let dtype = tensor.dtype;
    let (tensor, widened) = match dtype {
        DType::F32 | DType::Flex32 => (tensor, false),
        DType::F16 | DType::BF16 if can_widen(&tensor) => (cast(tensor, DType::F32), true),
        other => return Err(unsupported(other)),
    };
    let dense = is_dense(&tensor);
    let tensor = if dense { tensor } else { into_contiguous(tensor) };
    Ok(Dense { tensor, dtype, copied: widened || !dense })
}

/// Lengths and strides, without the dimensions that place nothing.
fn places(tensor: &CubeTensor) -> Vec<(usize, usize)> {
    let dims = tensor.meta.shape().iter().zip(tensor.meta.strides().iter());
    dims.filter(|(len, _)| **len != 1).map(|(len, stride)| (*len, *stride)).collect()
}

/// How a dense tensor's memory follows its logical order, if that is at most a transposition inside of blocks.
fn order_of(tensor: &CubeTensor) -> Option<Order> {
    // Neighbouring dimensions that are walked as one, are one.
    let mut dims: Vec<(usize, usize)> = Vec::new();
    for (len, stride) in places(tensor) {
        match dims.last_mut() {
            Some((outer_len, outer_stride)) if *outer_stride == len * stride => {
                (*outer_len, *outer_stride) = (*outer_len * len, stride);
            }
            _ => dims.push((len, stride)),
        }
    }
    let order = |block: usize, run: usize| {
        Some(Order { block_len: u32::try_from(block).ok()?.max(1), run_len: u32::try_from(run).ok()?.max(1) })
    };
    match dims[..] {
        [] => order(1, 1),
        [(len, 1)] => order(len, len),
        [(rows, 1), (columns, stride)] if stride == rows => order(rows * columns, rows),
        [(_, block), (rows, 1), (columns, stride)] if stride == rows && block == rows * columns => order(block, rows),
        _ => None,
    }
}

fn unresolved(error: ServerError) -> String {
    format!("its buffer could not be resolved: {error}")
}

/// Whether the elements fill one stretch of memory, each once, in whatever order of dimensions.
fn is_dense(tensor: &CubeTensor) -> bool {
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let numel_bytes = shape.num_elements() * tensor.elem_size();
    let mut dims: Vec<_> = shape.iter().zip(strides.iter()).filter(|(len, _)| **len != 1).collect();
    dims.sort_by_key(|(_, stride)| **stride);
    let mut expected = 1;
    !tensor.meta.is_tiled()
        && tensor.handle.size_in_used() as usize >= numel_bytes
        && dims.into_iter().all(|(&len, &stride)| {
            let fits = stride == expected;
            expected *= len;
            fits
        })
}

/// A hash of element type, shape and strides, dimensions of length 1 left out: they place nothing.
fn layout_key(dtype: DType, shape: &[usize], strides: &[usize]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (dtype.size(), dtype == DType::BF16).hash(&mut hasher);
    shape.iter().zip(strides).filter(|(len, _)| **len != 1).for_each(|dim| dim.hash(&mut hasher));
    hasher.finish()
}
