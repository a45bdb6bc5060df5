//! Reductions over buffers of the caller's: no burn, no scope.

use super::gpu::{Encoded, Form, Gpu, Order, PretendLimits, Reads, RecordLayout, Shaders, Slice};
use super::history::{ComparedStep, History};
use super::kernels::Pipelines;
use super::kernels::paged::Terms;
use super::kernels::reduction::Reduction;
use super::{ModelTooLarge, ReduceError};
use gradscope_record::stats::{Epsilons, ParameterSummary, Stats, TensorSummary, UpdateSummary};

/// The elements of a tensor where they lie: f32, densely, in row-major order, from byte `offset_bytes` of `buffer`.
///
/// The buffer has `BufferUsages::STORAGE` and is a multiple of 16 bytes long, the offset a multiple of 16.
#[derive(Clone, Copy, Debug)]
pub struct TensorSlice<'a> {
    /// Where the elements lie.
    pub buffer: &'a wgpu::Buffer,
    /// Bytes before the first element.
    pub offset_bytes: u64,
}

/// What is reduced of one tensor at one step. What is `None` is left out of the step.
#[derive(Clone, Copy, Debug, Default)]
pub struct TensorInput<'a> {
    /// The gradient.
    pub gradient: Option<TensorSlice<'a>>,
    /// The parameter, for [`Stats::PARAMS`].
    pub parameter: Option<TensorSlice<'a>>,
    /// The parameter before its last update, for [`Stats::UPDATES`]; it takes `parameter` beside it.
    pub previous_parameter: Option<TensorSlice<'a>>,
}

/// The statistics of one tensor at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TensorOutput {
    /// Of the gradient. What compares (sign flips, transitions, cosine) is `None` unless the tensor had a gradient at the
    /// step before too.
    pub gradient: Option<TensorSummary>,
    /// Of the parameter.
    pub parameter: Option<ParameterSummary>,
    /// Of `parameter - previous_parameter`.
    pub update: Option<UpdateSummary>,
}

/// A step that has been encoded: what [`Reducer::read`] needs to decode its summaries.
#[derive(Clone, Debug)]
pub struct EncodedStep {
    stamp: u32,
    step: u64,
    tensors: Vec<EncodedTensor>,
}

#[derive(Clone, Copy, Debug, Default)]
struct EncodedTensor {
    has_gradient: bool,
    is_compared: bool,
    has_parameter: bool,
    has_update: bool,
}

/// Reduces lists of tensors of fixed lengths, step after step, on any wgpu device.
///
/// To compare a step with the one before, it keeps 2 or 3 bits an element on the GPU, and an f32 an element for
/// [`Stats::COSINE`]. What the shaders leave of a step is a record a tensor ([`Reducer::summaries`]).
///
/// ```no_run
/// # fn run(adapter: wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, gradient: wgpu::Buffer) -> Result<(), Box<dyn std::error::Error>> {
/// use gradscope::{Reducer, Stats, TensorInput, TensorSlice};
///
/// let mut reducer = Reducer::new(&adapter, &device, &queue, &[1 << 20], Stats::DYNAMICS)?;
/// let slice = TensorSlice { buffer: &gradient, offset_bytes: 0 };
/// let found = reducer.reduce(&[TensorInput { gradient: Some(slice), ..TensorInput::default() }])?;
/// println!("{:?}", found[0].gradient.map(|summary| summary.l2_norm));
/// # Ok(())
/// # }
/// ```
pub struct Reducer {
    gpu: Gpu,
    form: Form,
    epsilons: Epsilons,
    numels: Vec<u64>,
    reduction: Reduction,
    layout: RecordLayout,
    history: History,
    stamp: u32,
    step: u64,
}

impl std::fmt::Debug for Reducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reducer")
            .field("stats", &self.form.groups)
            .field("numels", &self.numels)
            .finish_non_exhaustive()
    }
}

impl Reducer {
    /// Compiles the shaders of `stats` and makes the buffers for tensors of these numbers of elements. `device` is one of
    /// `adapter`'s, and `queue` its own. [`Stats::EMA`] is left out: averages belong to scopes.
    ///
    /// # Errors
    /// Where the tensors outgrow the limits of the device.
    pub fn new(
        adapter: &wgpu::Adapter,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        numels: &[u64],
        stats: Stats,
    ) -> Result<Self, ModelTooLarge> {
        let gpu = Gpu::new(adapter, device, queue);
        let form = Form { groups: stats.with_needs() - Stats::EMA, tap: false };
        let reduction =
            Reduction::new(&gpu, form, numels, Shaders::Trusted, PretendLimits::default(), &Pipelines::default())?;
        Ok(Self {
            gpu,
            form,
            epsilons: Epsilons::default(),
            numels: numels.to_vec(),
            reduction,
            layout: RecordLayout::new(form),
            history: History::new(numels.len()),
            stamp: 0,
            step: 0,
        })
    }

    /// Sets the two magnitudes under which an element is near zero; 1e-7 and 1e-5 unless set.
    #[must_use]
    pub fn epsilons(mut self, epsilons: Epsilons) -> Self {
        self.epsilons = epsilons;
        self
    }

    /// Records a step's dispatches into `encoder`. Submit it before the next call: the tables that the dispatches read are
    /// written to the queue here, and the next call writes them anew.
    ///
    /// # Errors
    /// Where a slice doesn't hold its tensor; nothing has been recorded then.
    pub fn encode(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        tensors: &[TensorInput<'_>],
    ) -> Result<EncodedStep, ReduceError> {
        if tensors.len() != self.numels.len() {
            return Err(ReduceError::WrongCount { expected: self.numels.len(), found: tensors.len() });
        }
        let slices = tensors.iter().enumerate().map(|(tensor, input)| self.slices(tensor, input));
        let slices = slices.collect::<Result<Vec<_>, _>>()?;
        self.stamp = self.stamp.wrapping_add(1);
        self.step += 1;
        let step = ComparedStep { step: self.step, keeps: true, neighbours: true };
        self.history.begin(step, 0..slices.len());
        let encoded = |(tensor, [gradient, parameter, previous]): (usize, &[Option<Slice>; 3])| EncodedTensor {
            has_gradient: gradient.is_some(),
            is_compared: gradient.is_some() && self.history.compare(tensor, step, 0).previous_step.is_some(),
            has_parameter: parameter.is_some(),
            has_update: parameter.is_some() && previous.is_some(),
        };
        let found: Vec<EncodedTensor> = slices.iter().enumerate().map(encoded).collect();
        let reads: Vec<Reads<'_>> = slices
            .iter()
            .zip(&found)
            .map(|(slices, found)| Reads {
                slices: slices.each_ref().map(Option::as_ref),
                has_previous: found.is_compared,
                keeps: true,
                ..Reads::default()
            })
            .collect();
        let threshold_bits = self.epsilons.threshold_bits();
        let terms = Terms { stamp: self.stamp, threshold_bits, average_factor: 0.0 };
        self.reduction.encode(encoder, &reads, &terms);
        Ok(EncodedStep { stamp: self.stamp, step: self.step, tensors: found })
    }

    /// Returns the buffer that the last step's summaries lie in, a record of [`Reducer::record_words`] a tensor: for
    /// shaders of the caller's that go on with them, without a copy to host memory.
    pub fn summaries(&self) -> &wgpu::Buffer {
        self.reduction.summaries()
    }

    /// Names the 32-bit words of a record, in order. Sums are f32, counts u32; `min_key` and `max_key` are
    /// [`order_key`](gradscope_record::stats::order_key)s.
    pub fn record_words(&self) -> impl Iterator<Item = &str> + '_ {
        self.layout.words().map(|(name, _)| name)
    }

    /// Bytes of all summaries of a step.
    pub fn summaries_bytes(&self) -> u64 {
        self.reduction.bytes()
    }

    /// Records a copy of the summaries to byte `offset_bytes` of `staging`, which has room for
    /// [`Reducer::summaries_bytes`].
    pub fn copy_summaries(&self, encoder: &mut wgpu::CommandEncoder, staging: &wgpu::Buffer, offset_bytes: u64) {
        self.reduction.copy_to(encoder, staging, offset_bytes);
    }

    /// Decodes a step's summaries, as they were copied.
    ///
    /// # Errors
    /// Where the bytes are those of another step.
    pub fn read(&self, step: &EncodedStep, bytes: &[u8]) -> Result<Vec<TensorOutput>, ReduceError> {
        let record_bytes = self.layout.bytes() as usize;
        let outputs = step.tensors.iter().zip(&self.numels).enumerate().map(|(tensor, (found, &numel))| {
            let record = bytes.get(tensor * record_bytes..(tensor + 1) * record_bytes);
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(record.ok_or(ReduceError::OtherStep)?);
            let record = self.layout.read(&words);
            if !(found.has_gradient || found.has_parameter) {
                return Ok(TensorOutput { gradient: None, parameter: None, update: None });
            }
            let encoded = Encoded { numel, chunk_count: self.reduction.plan().chunk_count(tensor), stamp: step.stamp };
            record.check(&encoded).map_err(|_| ReduceError::OtherStep)?;
            let gradient = || record.gradient(numel, found.is_compared).finish().limited_to(self.form.groups);
            Ok(TensorOutput {
                gradient: found.has_gradient.then(gradient),
                parameter: found.has_parameter.then(|| record.weight(numel).finish()),
                update: found.has_update.then(|| record.update().finish(step.step - 1, found.is_compared)),
            })
        });
        outputs.collect()
    }

    /// Reduces a step and waits for its summaries: [`Reducer::encode`], a submission, and [`Reducer::read`].
    ///
    /// # Errors
    /// Where a slice doesn't hold its tensor, or the summaries can't be read back.
    pub fn reduce(&mut self, tensors: &[TensorInput<'_>]) -> Result<Vec<TensorOutput>, ReduceError> {
        let gpu = self.gpu.clone();
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let step = self.encode(&mut encoder, tensors)?;
        let bytes = self.summaries_bytes();
        let failed = |reason: String| ReduceError::NotReadBack { reason };
        let staging = gpu.guarded(|| {
            let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("gradscope staging"),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            self.copy_summaries(&mut encoder, &staging, 0);
            gpu.queue.submit([encoder.finish()]);
            staging
        });
        let staging = staging.map_err(failed)?;
        staging.map_async(wgpu::MapMode::Read, .., |_| {});
        gpu.poll(wgpu::PollType::wait_indefinitely()).map_err(failed)?;
        let view = staging.get_mapped_range(..).map_err(|error| failed(error.to_string()))?;
        self.read(&step, &view)
    }

    /// Forgets the step before: the next one is compared with nothing.
    pub fn forget(&mut self) {
        self.history.forget_all();
    }

    fn slices(&self, tensor: usize, input: &TensorInput<'_>) -> Result<[Option<Slice>; 3], ReduceError> {
        let stats = self.form.groups;
        let parameter = input.parameter.filter(|_| stats.contains(Stats::PARAMS));
        let previous = input.previous_parameter.filter(|_| stats.contains(Stats::UPDATES) && parameter.is_some());
        let slice = |given: Option<TensorSlice<'_>>| given.map(|given| self.slice(tensor, given)).transpose();
        Ok([slice(input.gradient)?, slice(parameter)?, slice(previous)?])
    }

    fn slice(&self, tensor: usize, given: TensorSlice<'_>) -> Result<Slice, ReduceError> {
        let numel = self.numels[tensor];
        let run_len = u32::try_from(numel).unwrap_or(u32::MAX).max(1);
        let slice = Slice {
            buffer: given.buffer.clone(),
            offset: given.offset_bytes,
            numel,
            layout: 0,
            order: Order { block_len: run_len, run_len },
            copied: false,
        };
        let is_storage = given.buffer.usage().contains(wgpu::BufferUsages::STORAGE);
        if is_storage && slice.is_bindable() {
            return Ok(slice);
        }
        Err(ReduceError::BadSlice {
            tensor,
            numel,
            offset_bytes: given.offset_bytes,
            buffer_bytes: given.buffer.size(),
        })
    }
}
