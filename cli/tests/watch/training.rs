//! A network that trains, as slowly as people look, and that can be made ill.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, Tanh};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Tensor};
use gradscope::{DeviceChoice, Schedule, Scope, SignMap, Stats};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    middle: Linear,
    last: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        Self { first: linear(1, 32), middle: linear(32, 32), last: linear(32, 1) }
    }

    fn loss(&self, x: Tensor<2>) -> Tensor<1> {
        let wanted = (x.clone() * 3.0).sin();
        let hidden = Tanh::new().forward(self.middle.forward(Tanh::new().forward(self.first.forward(x))));
        (self.last.forward(hidden) - wanted).powf_scalar(2.0).mean()
    }
}

#[derive(Clone, Copy)]
pub struct Plan {
    /// Training goes on until it is told to end where there is none.
    pub step_count: Option<u64>,
    pub lr: f64,
    pub pause: Duration,
}

/// A thread that trains.
pub struct Training {
    pub folder: PathBuf,
    ends: Arc<AtomicBool>,
    poison: Arc<AtomicBool>,
    poisoned: Receiver<Instant>,
    thread: Option<JoinHandle<()>>,
}

impl Training {
    pub fn start(dir: &Path, plan: Plan) -> Self {
        let (ends, poison) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (send, folder) = channel();
        let (tell, poisoned) = channel();
        let (dir, end, ill) = (dir.to_owned(), Arc::clone(&ends), Arc::clone(&poison));
        let thread = std::thread::spawn(move || {
            let device = gradscope::Device::open(DeviceChoice::Cpu).unwrap();
            let training = device.burn().clone().autodiff();
            training.seed(7);
            let mut model = Net::new(&training);
            let mut optimizer = AdamConfig::new().init();
            let scope = Scope::builder(&device).stats(Stats::FULL).histograms(Schedule::every(5));
            let scope = scope.sign_map(SignMap::default(), Schedule::every(2)).fact("model", "tiny").run(dir);
            let mut scope = scope.build(&model).unwrap();
            send.send(scope.run_folder().unwrap().to_owned()).unwrap();
            for step in 0..plan.step_count.unwrap_or(u64::MAX) {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                let mut x = Tensor::<2>::random([64, 1], Distribution::Uniform(-1.0, 1.0), &training);
                let ill = ill.load(Ordering::Relaxed);
                if ill {
                    x = x * f32::NAN;
                }
                let loss = model.loss(x);
                let grads = loss.backward();
                scope.step(step).epoch(1 + step / 20).scalar("loss", &loss).gradients(&model, &grads).submit();
                if ill {
                    let _ = tell.send(Instant::now());
                }
                let grads = GradientsParams::from_grads(grads, &model);
                model = optimizer.step(plan.lr, model, grads);
                scope.poll();
                std::thread::sleep(plan.pause);
            }
            scope.finish(&model);
        });
        let folder = folder.recv().unwrap();
        Self { folder, ends, poison, poisoned, thread: Some(thread) }
    }

    /// A run that has ended.
    pub fn whole(dir: &Path, step_count: u64, lr: f64) -> PathBuf {
        let mut run = Self::start(dir, Plan { step_count: Some(step_count), lr, pause: Duration::ZERO });
        run.thread.take().unwrap().join().unwrap();
        run.folder.clone()
    }

    /// One that goes on.
    pub fn live(dir: &Path) -> Self {
        Self::start(dir, Plan { step_count: None, lr: 1e-2, pause: Duration::from_millis(30) })
    }

    /// Makes the gradients of the next step NaN: when that was submitted.
    pub fn poison(&self) -> Instant {
        self.poison.store(true, Ordering::Relaxed);
        self.poisoned.recv().unwrap()
    }

    pub fn end(mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
