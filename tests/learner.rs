//! burn's `Learner` under a hook: on one device, and on two, each with gradients of its own.

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, ModuleOptimizer, MultiGradientsParams, SgdConfig};
use burn::tensor::{Device as BurnDevice, DeviceKind, Tensor, TensorData};
use burn_train::logger::InMemoryMetricLogger;
use burn_train::{
    ExecutionStrategy, InferenceStep, Learner, MultiDeviceOptim, RegressionOutput, SupervisedTraining, TrainOutput,
    TrainStep, TrainingStrategy,
};
use gradscope::learner::Hook;
use gradscope::stats::TensorSummary;
use gradscope::{Device, Event, Scope, Stats, StepRecord};
use std::sync::{Arc, Mutex};

/// Not even: the last batches of an epoch are one device's.
const ITEM_COUNT: usize = 25;
const BATCH_LEN: usize = 4;
const LR: f64 = 0.05;

/// Gradients read back in full: by step, device that has any, and parameter.
type Diary = Arc<Mutex<Vec<Vec<Vec<Vec<f32>>>>>>;

#[derive(Module, Debug)]
struct Net {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    scope: Hook,
    #[module(skip)]
    diary: Option<Diary>,
}

impl Net {
    fn new(device: &BurnDevice) -> Self {
        // The same every time, whatever runs beside it.
        let linear = |from: usize, to: usize| {
            let values = (0..from * to).map(|i| ((i * 13 + 5) % 17) as f32 / 17.0 - 0.5).collect::<Vec<_>>();
            let mut linear = LinearConfig::new(from, to).init(device);
            linear.weight = Param::from_data(TensorData::new(values, [from, to]), device);
            linear.bias = Some(Param::from_data(TensorData::new(vec![0.1f32; to], [to]), device));
            linear
        };
        Self { fc1: linear(6, 9), fc2: linear(9, 2), scope: Hook::default(), diary: None }
    }

    fn loss(&self, batch: &Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        let output = self.fc2.forward(self.fc1.forward(batch.clone()).tanh());
        ((output.clone() - 1.0).powf_scalar(2.0).mean(), output)
    }

    fn output(&self, batch: Tensor<2>) -> RegressionOutput {
        let (loss, output) = self.loss(&batch);
        RegressionOutput::new(loss, output.clone(), output)
    }

    fn note(&self, parts: &[&GradientsParams]) {
        if let Some(diary) = &self.diary {
            let values = parts.iter().map(|part| {
                let mut read = ReadBack(part, vec![]);
                self.visit(&mut read);
                read.1
            });
            diary.lock().unwrap().push(values.filter(|values| !values.is_empty()).collect());
        }
    }
}

struct ReadBack<'a>(&'a GradientsParams, Vec<Vec<f32>>);

impl ModuleVisitor for ReadBack<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient: Option<Tensor<D>> = self.0.get(param.id);
        self.1.extend(gradient.map(|gradient| gradient.into_data().try_to_vec().expect("f32")));
    }
}

impl TrainStep for Net {
    type Input = Tensor<2>;
    type Output = RegressionOutput;

    fn step(&self, batch: Tensor<2>) -> TrainOutput<RegressionOutput> {
        let output = self.output(batch);
        self.scope.scalar("loss", &output.loss);
        TrainOutput::new(self, output.loss.backward(), output)
    }

    // What the macro writes, and a diary.
    fn optimize(self, optim: &mut ModuleOptimizer, lr: ModuleLearningRate, grads: GradientsParams) -> Self {
        self.note(&[&grads]);
        self.scope.observe(&self, &grads, lr.base());
        optim.step(lr, self, grads)
    }

    fn optimize_multi(self, optim: &mut ModuleOptimizer, lr: ModuleLearningRate, grads: MultiGradientsParams) -> Self {
        self.note(&grads.grads.iter().map(|(part, _)| part).collect::<Vec<_>>());
        self.scope.observe_multi(&self, &grads, lr.base());
        optim.step_multi(lr, self, grads)
    }
}

impl InferenceStep for Net {
    type Input = Tensor<2>;
    type Output = RegressionOutput;

    fn step(&self, batch: Tensor<2>) -> RegressionOutput {
        self.output(batch)
    }
}

/// The same network under the macro.
#[derive(Module, Debug)]
struct Plain {
    net: Net,
    #[module(skip)]
    scope: Hook,
}

impl TrainStep for Plain {
    type Input = Tensor<2>;
    type Output = RegressionOutput;

    fn step(&self, batch: Tensor<2>) -> TrainOutput<RegressionOutput> {
        let output = self.net.output(batch);
        self.scope.scalar("loss", &output.loss);
        TrainOutput::new(self, output.loss.backward(), output)
    }

    gradscope::observe_optimize!(scope);
}

impl InferenceStep for Plain {
    type Input = Tensor<2>;
    type Output = RegressionOutput;

    fn step(&self, batch: Tensor<2>) -> RegressionOutput {
        self.net.output(batch)
    }
}

struct Rows;

impl Rows {
    fn batch_of(places: &[usize], device: &BurnDevice) -> Tensor<2> {
        let values: Vec<f32> =
            places.iter().flat_map(|i| (0..6).map(move |j| ((i * 7 + j * 5) % 11) as f32 / 5.0 - 1.0)).collect();
        Tensor::from_data(TensorData::new(values, [places.len(), 6]), device)
    }
}

impl Batcher<usize, Tensor<2>> for Rows {
    fn batch(&self, places: Vec<usize>, device: &BurnDevice) -> Tensor<2> {
        Self::batch_of(&places, device)
    }
}

fn loader() -> Arc<dyn DataLoader<Tensor<2>>> {
    DataLoaderBuilder::new(Rows).batch_size(BATCH_LEN).build(InMemDataset::new((0..ITEM_COUNT).collect()))
}

fn launch<M>(model: M, strategy: ExecutionStrategy, accumulation: Option<usize>) -> M
where
    M: Module + TrainStep<Input = Tensor<2>, Output = RegressionOutput> + 'static,
    M: InferenceStep<Input = Tensor<2>, Output = RegressionOutput> + std::fmt::Display,
{
    let dir = tempfile::tempdir().unwrap();
    let mut training = SupervisedTraining::new(dir.path(), loader(), loader())
        .with_training_strategy(TrainingStrategy::Default(strategy))
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None)
        .num_epochs(2);
    if let Some(accumulation) = accumulation {
        training = training.grads_accumulation(accumulation);
    }
    training.launch(Learner::new(model, SgdConfig::new().init(), LR)).model
}

/// A wgpu device beside the default one, on whatever adapter there is.
fn second_device() -> Device {
    let kinds = [DeviceKind::Cpu, DeviceKind::DiscreteGpu(0), DeviceKind::IntegratedGpu(0), DeviceKind::VirtualGpu(0)];
    let open = |kind| BurnDevice::wgpu_options().device_kind(kind).init_with_setup().ok();
    let (burn, setup) = kinds.into_iter().find_map(open).expect("the default device has an adapter, so one kind does");
    Device::attach(burn, &setup)
}

fn records(events: Vec<Event>) -> Vec<StepRecord> {
    let record = |event| match event {
        Event::Record(record) if !record.last_move => Some(record),
        // Layouts settle over the first steps.
        Event::Notice(notice) if notice.kind.is_fault() && !notice.to_string().contains("layout") => panic!("{notice}"),
        _ => None,
    };
    events.into_iter().filter_map(record).collect()
}

/// What the hook hands out of itself, once it has handed out something: before the end, that is.
fn handed_out(hook: &Hook, device: &Device) -> Vec<Event> {
    let started = std::time::Instant::now();
    let mut events = vec![];
    while hook.latest().is_none() {
        assert!(started.elapsed().as_secs() < 60, "nothing came back before the end");
        device.burn().sync().unwrap();
        events.extend(hook.poll());
    }
    events
}

/// Against what was read back: `values` are all that the record is over.
fn agrees(summary: &TensorSummary, values: &[f32]) {
    let least = values.iter().copied().reduce(f32::min);
    let most = values.iter().copied().reduce(f32::max);
    let l2_norm = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    assert_eq!((summary.numel, summary.min, summary.max), (values.len() as u64, least, most));
    assert!((summary.l2_norm / l2_norm - 1.0).abs() < 2e-6, "{} and {l2_norm}", summary.l2_norm);
}

#[test]
fn the_learner_is_watched_as_a_loop_is() {
    let device = gradscope::device().unwrap();
    let training = device.burn().clone().autodiff();
    let mut model = Plain { net: Net::new(&training), scope: Hook::default() };
    let scope = Scope::builder(&device).stats(Stats::FULL).build(&model).unwrap();
    model.scope = Hook::from(scope).with_epoch_len(ITEM_COUNT.div_ceil(BATCH_LEN) as u64);
    let model = launch(model, ExecutionStrategy::SingleDevice(training.clone()), None);
    let mut events = handed_out(&model.scope, &device);
    let of_learner = model.scope.finish(&model).expect("it watched");
    events.extend(of_learner.events);
    assert!(model.scope.finish(&model).is_none() && model.scope.poll().is_empty());

    let mut model = Net::new(&training);
    let mut optimizer = SgdConfig::new().init();
    let mut scope = Scope::builder(&device).stats(Stats::FULL).build(&model).unwrap();
    let places: Vec<usize> = (0..ITEM_COUNT).collect();
    let epoch_len = ITEM_COUNT.div_ceil(BATCH_LEN);
    for step in 0..2 * epoch_len {
        let batch = places.chunks(BATCH_LEN).nth(step % epoch_len).unwrap();
        let (loss, _) = model.loss(&Rows::batch_of(batch, &training));
        let gradients = loss.backward();
        let epoch = (step / epoch_len + 1) as u64;
        let described = scope.step(step as u64).epoch(epoch).scalar("lr", LR).scalar("loss", &loss);
        described.gradients(&model, &gradients).submit();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(LR, model, gradients);
    }
    let of_loop = scope.finish(&model);
    assert_eq!(of_learner.summary.rows.len(), 4);
    let (ours, theirs) = (records(events), records(of_loop.events));
    assert_eq!(ours.len(), 14);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!((ours.step, ours.epoch, &ours.scalars), (theirs.step, theirs.epoch, &theirs.scalars));
        assert_eq!((&ours.tensors, ours.global), (&theirs.tensors, theirs.global), "step {}", ours.step);
    }
}

#[test]
fn accumulated_gradients_are_one_step() {
    let device = gradscope::device().unwrap();
    let training = device.burn().clone().autodiff();
    let diary = Arc::new(Mutex::new(vec![]));
    let mut model = Net { diary: Some(diary.clone()), ..Net::new(&training) };
    let scope = Scope::builder(&device).build(&model).unwrap();
    model.scope = Hook::from(scope).with_gradient_scale(2.0);
    let model = launch(model, ExecutionStrategy::SingleDevice(training), Some(2));
    let records = records(model.scope.finish(&model).unwrap().events);
    // Seven batches by two: the last of an epoch stands alone.
    assert_eq!(records.len(), 8);
    let diary = diary.lock().unwrap();
    for (record, step) in records.iter().zip(diary.iter()) {
        for (tensor, values) in record.tensors.iter().zip(&step[0]) {
            let means: Vec<f32> = values.iter().map(|sum| sum / 2.0).collect();
            agrees(tensor.summary().unwrap(), &means);
        }
    }
}

#[test]
fn scopes_of_different_parameters_do_not_watch_together() {
    let device = gradscope::device().unwrap();
    let net = Net::new(&device.burn().clone().autodiff());
    let scope = |pattern: &str| Scope::builder(&device).select(pattern).build(&net).unwrap();
    for (other, path) in [("weight", "`fc1.bias`"), ("fc1", "`fc2.weight`")] {
        let error = Hook::over(vec![scope("."), scope(other)]).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains("`select`"), "{error}");
    }
    assert_eq!(Hook::over(vec![scope("fc1"), scope("fc1")]).unwrap().params().len(), 2);
}

#[test]
fn two_devices_are_watched_each_and_merged() {
    let (main, other) = (gradscope::device().unwrap(), second_device());
    assert_ne!(main.burn(), other.burn());
    let devices: Vec<BurnDevice> = [&main, &other].map(|device| device.burn().clone().autodiff()).into();
    let model = |scopes: &dyn Fn(&Net) -> Vec<Scope>| {
        let diary = Arc::new(Mutex::new(vec![]));
        let mut model = Net { diary: Some(diary.clone()), ..Net::new(&devices[0]) };
        model.scope = Hook::over(scopes(&model)).unwrap();
        (model, diary)
    };

    // A scope for each device: what each has, where it lies.
    let each = |net: &Net| {
        let on = |device: &Device| {
            Scope::builder(device).stats(Stats::FULL).group("all", ".").build(&net.clone().fork(device.burn())).unwrap()
        };
        vec![on(&main), on(&other)]
    };
    let (net, diary) = model(&each);
    let net = launch(net, ExecutionStrategy::multi(devices.clone(), MultiDeviceOptim::OptimSharded), None);
    let finished = net.scope.finish(&net).unwrap();
    let merged = records(finished.events);
    let steps = diary.lock().unwrap();
    // Twelve items are three batches, thirteen four.
    assert_eq!((merged.len(), steps.len()), (8, 8));
    assert_eq!(steps.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 1, 2, 2, 2, 1]);
    for (record, step) in merged.iter().zip(steps.iter()) {
        let number = record.step as usize;
        // A device without a gradient has none to compare the next one with.
        let is_compared = number > 0 && steps[number - 1].len() >= step.len();
        for (place, tensor) in record.tensors.iter().enumerate() {
            let values: Vec<f32> = step.iter().flat_map(|part| part[place].clone()).collect();
            let summary = tensor.summary().unwrap();
            agrees(summary, &values);
            assert_eq!(summary.sign_flip_count.is_some(), is_compared, "step {number}");
            assert_eq!(summary.dynamics.unwrap().transitions.is_some(), is_compared);
            assert_eq!(tensor.parameter.unwrap().numel, step[0][place].len() as u64, "weighed once, where it lives");
        }
        let (all, global) = (record.groups[0].1, record.global);
        let weighed = |global: gradscope::record::Global| global.parameters.unwrap();
        assert_eq!((all.numel, all.near_zero_count), (global.numel, global.near_zero_count));
        assert_eq!((weighed(all).numel, weighed(all).min), (weighed(global).numel, weighed(global).min));
        assert!((weighed(all).l2_norm / weighed(global).l2_norm - 1.0).abs() < 1e-12);
        assert!(record.scalar("loss").unwrap().is_finite() && record.scalar("lr") == Some(LR));
    }
    assert_eq!(finished.summary.step_count, 8);
    let near_zero = finished.summary.rows.iter().flat_map(|row| row.near_zero_ratio()).flatten();
    assert!(near_zero.clone().count() == 8 && near_zero.into_iter().all(|ratio| (0.0..=1.0).contains(&ratio)));

    // A single scope: the sum, which is what the optimizer applies, on the scope's device, also at steps at which that had no batch. One for
    // a device that never sees the gradients holds nothing up.
    let on_main: &dyn Fn(&Net) -> Vec<Scope> = &|net| vec![Scope::builder(&main).build(net).unwrap()];
    let idle: &dyn Fn(&Net) -> Vec<Scope> = &|net| each(net);
    let sharded = MultiDeviceOptim::OptimSharded;
    for (optim, scopes) in
        [(sharded, on_main), (MultiDeviceOptim::OptimMainDevice, on_main), (MultiDeviceOptim::OptimMainDevice, idle)]
    {
        let (net, diary) = model(scopes);
        let net = launch(net, ExecutionStrategy::multi(devices.clone(), optim), None);
        let mut events = handed_out(&net.scope, &main);
        events.extend(net.scope.finish(&net).unwrap().events);
        let sums = records(events);
        assert_eq!(sums.len(), 8);
        for (record, step) in sums.iter().zip(diary.lock().unwrap().iter()) {
            for (place, tensor) in record.tensors.iter().enumerate() {
                let mut sum = step[0][place].clone();
                for part in &step[1..] {
                    sum.iter_mut().zip(&part[place]).for_each(|(sum, value)| *sum += value);
                }
                agrees(tensor.summary().unwrap(), &sum);
            }
        }
    }
}
