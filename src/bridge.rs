//! burn tensors to buffer slices: the only file that names burn-cubecl and cubecl types.
//!
//! With burn's `fusion`, a gradient is a promise: resolving it blocks, once a tensor. One deferred
//! operation over all of them runs on burn's own device thread when the stream gets there, so the
//! training thread registers and goes on. Without fusion, one closure on the device thread resolves
//! all of them in a single hop. `burn::backend::Cube` is whichever of the two burn was built with.

use crate::gpu::GradSlice;
use burn::backend::{Backend, BackendTypes, Cube, DType};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
pub(crate) use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::wgpu::{AutoCompiler, WgpuServer};
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::tensor::CubeTensor;
use burn_fusion::client::GlobalFusionClient;
use burn_fusion::custom::{CustomOpIr, HandleContainer, OperationFn, OperationIr, StreamId};
use burn_fusion::{Fusion, FusionBackend, FusionTensor};
use std::any::Any;
use std::sync::Mutex;

/// A float tensor of burn's, on the way to [`hand_off`].
pub(crate) type Primitive = <Cube as BackendTypes>::FloatTensorPrimitive;

/// A tensor as a kernel can read it, and what keeps it where it is.
pub(crate) struct Resolved {
    pub slice: GradSlice,
    /// Pins the allocation until the commands that read it have been submitted.
    _pin: Box<dyn Any + Send>,
}

/// What becomes of each tensor of a hand-off.
pub(crate) type Resolutions = Vec<Result<Resolved, String>>;

/// The inner primitive of a tensor.
///
/// # Errors
/// Where the tensor does not live on a wgpu device.
pub(crate) fn primitive<const D: usize>(tensor: Tensor<D>) -> Result<Primitive, String> {
    let device = tensor.device();
    tensor.inner().try_into_primitive::<Cube>().map_err(|_| format!("it lives on {device:?}, which is no wgpu device"))
}

/// Runs `work` once the tensors, of which there is one at least, are there, in order with what burn has recorded so far.
///
/// Whether this thread waits for that depends on burn's build: see the module's documentation.
pub(crate) fn hand_off(tensors: Vec<Primitive>, work: impl FnOnce(Resolutions) + Send + 'static) {
    debug_assert!(!tensors.is_empty(), "there is no queue to wait in without a tensor");
    <Cube as HandOff>::hand_off(tensors, Box::new(work));
}

/// Makes sure that every hand-off of this thread has run. Blocks until burn's queue has been submitted.
pub(crate) fn drain(device: &CubeDevice) {
    <Cube as HandOff>::drain(device);
}

/// The cube device of a wgpu tensor.
pub(crate) fn device_of(primitive: &Primitive) -> CubeDevice {
    burn::backend::TensorMetadata::device(primitive)
}

/// Whether burn was built with fusion, by whoever in the dependency tree.
pub const BURN_FUSION: bool = <Cube as HandOff>::FUSES;

type Work = Box<dyn FnOnce(Resolutions) + Send>;

/// The two ways in. Both are always compiled, since anyone in the dependency tree may turn fusion on.
trait HandOff: Backend {
    const FUSES: bool;
    fn hand_off(tensors: Vec<Self::FloatTensorPrimitive>, work: Work);
    fn drain(device: &Self::Device);
}

impl HandOff for CubeBackend {
    const FUSES: bool = false;

    fn hand_off(tensors: Vec<CubeTensor>, work: Work) {
        let (client, count) = (tensors[0].client.clone(), tensors.len());
        // The hop only resolves: kernels are encoded on this thread, out of the device's way.
        let resolutions = client.exclusive(|| tensors.into_iter().map(resolve).collect::<Resolutions>());
        work(resolutions.unwrap_or_else(|error| {
            let reason = format!("burn's device thread did not answer: {error}");
            (0..count).map(|_| Err(reason.clone())).collect()
        }));
    }

    fn drain(_: &CubeDevice) {}
}

impl<B: FusionBackend<FloatTensorPrimitive = CubeTensor>> HandOff for Fusion<B> {
    const FUSES: bool = true;

    fn hand_off(tensors: Vec<FusionTensor<B::FusionRuntime>>, work: Work) {
        let client = tensors[0].client.clone();
        let inputs: Vec<_> = tensors.into_iter().map(FusionTensor::into_ir).collect();
        let operation = CustomOpIr::new("gradscope::observe", &inputs, &[]);
        let once = Mutex::new(Some(work));
        let observe = move |handles: &mut HandleContainer<_>| {
            let work = once.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            if let Some(work) = work {
                let tensors = inputs.iter().map(|input| handles.get_float_tensor::<B>(input));
                work(tensors.map(resolve).collect());
            }
            Ok(())
        };
        client.register(StreamId::current(), OperationIr::Custom(operation), OperationFn(observe));
    }

    fn drain(device: &Self::Device) {
        GlobalFusionClient::<B::FusionRuntime>::load(device).sync(|| ());
    }
}

/// Where the tensor lies, after a copy where it does not lie densely or is not f32.
fn resolve(tensor: CubeTensor) -> Result<Resolved, String> {
    let float = match tensor.dtype {
        DType::F32 | DType::Flex32 => None,
        DType::F16 | DType::BF16 => Some(cast(tensor.clone(), DType::F32)),
        other => return Err(format!("gradients of element type {} are not supported", other.name())),
    };
    let copied = float.is_some();
    let tensor = float.unwrap_or(tensor);
    if is_dense(&tensor) {
        let resolved = locate(tensor.clone(), copied)?;
        if resolved.slice.is_bindable() {
            return Ok(resolved);
        }
    }
    // `into_contiguous` leaves alone what is contiguous but cannot be bound: copy that by hand.
    let contiguous = if tensor.is_contiguous() { tensor.copy() } else { into_contiguous(tensor) };
    let resolved = locate(contiguous, true)?;
    if resolved.slice.is_bindable() {
        Ok(resolved)
    } else {
        Err("its allocation can't be read in vectors of 16 bytes".into())
    }
}

fn locate(tensor: CubeTensor, copied: bool) -> Result<Resolved, String> {
    let numel = tensor.meta.shape().num_elements() as u64;
    let layout = layout_key(tensor.meta.shape(), tensor.meta.strides());
    let managed = tensor
        .client
        .get_resource::<WgpuServer<AutoCompiler>>(tensor.handle)
        .map_err(|error| format!("its buffer could not be resolved: {error}"))?;
    let resource = managed.resource();
    let slice = GradSlice { buffer: resource.buffer.clone(), offset: resource.offset, numel, layout, copied };
    Ok(Resolved { slice, _pin: Box::new(managed) })
}

/// Whether the elements fill one stretch of memory, each once, in whatever order of dimensions.
fn is_dense(tensor: &CubeTensor) -> bool {
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let numel_bytes = shape.num_elements() * tensor.elem_size();
    let mut dims: Vec<_> = shape.iter().zip(strides.iter()).filter(|(len, _)| **len != 1).collect();
    dims.sort_by_key(|(_, stride)| **stride);
    let mut expected = 1;
    !tensor.meta.is_tiled()
        && tensor.handle.size() as usize >= numel_bytes
        && dims.into_iter().all(|(&len, &stride)| {
            let fits = stride == expected;
            expected *= len;
            fits
        })
}

/// FNV-1a over the shape and the strides, dimensions of length 1 left out: they place nothing.
fn layout_key(shape: &[usize], strides: &[usize]) -> u64 {
    let dims = shape.iter().zip(strides).filter(|(len, _)| **len != 1);
    dims.flat_map(|(len, stride)| [*len as u64, *stride as u64])
        .fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
}
