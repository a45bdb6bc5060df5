//! Raw tensors to disk: read and written by a thread of their own.

use super::schedule::Schedule;
use crate::error::Error;
use crate::record::NoticeKind;
use burn::tensor::{DType, Tensor, TensorData};
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// Captures that may wait for the disk before the training thread does.
const QUEUE_LEN: usize = 4;

/// A tensor by its name in the file, still to be read.
pub(super) struct Item {
    name: String,
    read: Box<dyn FnOnce() -> Result<TensorData, String> + Send>,
}

impl Item {
    /// Keeps a clone of the tensor until it has been read: what changes the tensor makes a copy meanwhile.
    pub fn new<const D: usize>(name: String, tensor: Tensor<D>) -> Self {
        let tensor = tensor.inner();
        let read = move || tensor.try_into_data().map_err(|error| format!("its values can't be read: {error:?}"));
        Self { name, read: Box::new(read) }
    }
}

/// What a step's capture is kept as.
struct Batch {
    step: u64,
    items: Vec<Item>,
}

/// What a scope captures, and when.
pub(super) struct Capturing {
    pub schedule: Schedule,
    /// For each tensor, whether it is captured.
    pub captured: Vec<bool>,
    /// Whether the next observed step is to be captured whatever the schedule.
    pub asked: bool,
    pub writer: Capture,
}

impl Capturing {
    pub fn is_due(&self, step: u64) -> bool {
        self.asked || self.schedule.is_due(step)
    }
}

/// The writing thread, and the way to it.
pub(super) struct Capture {
    folder: PathBuf,
    batches: Option<SyncSender<Batch>>,
    failures: Receiver<(u64, NoticeKind)>,
    writer: Option<JoinHandle<()>>,
}

impl Capture {
    /// Captures go to `folder`, which is made with the first of them.
    ///
    /// # Errors
    /// Where the thread can't be started.
    pub fn start(folder: PathBuf) -> Result<Self, Error> {
        let (batches, received) = sync_channel::<Batch>(QUEUE_LEN);
        let (failed, failures) = channel();
        let into = folder.clone();
        let writer = std::thread::Builder::new()
            .name("gradscope capture".into())
            .spawn(move || received.into_iter().for_each(|batch| write(&into, batch, &failed)))
            .map_err(|error| Error::RunFolder { path: folder.clone(), reason: error.to_string() })?;
        Ok(Self { folder, batches: Some(batches), failures, writer: Some(writer) })
    }

    /// Sends a step's tensors off; waits only where the disk is several captures behind.
    pub fn send(&mut self, step: u64, items: Vec<Item>) {
        if let (Some(batches), false) = (&self.batches, items.is_empty()) {
            // An error is a writer that is gone, which `finish` finds.
            let _ = batches.send(Batch { step, items });
        }
    }

    /// What went wrong since it was last asked.
    pub fn failures(&mut self) -> Vec<(u64, NoticeKind)> {
        self.failures.try_iter().collect()
    }

    /// Waits until everything is on disk; what went wrong with the last of it.
    pub fn finish(&mut self) -> Vec<(u64, NoticeKind)> {
        self.batches = None;
        let panicked = self.writer.take().is_some_and(|writer| writer.join().is_err());
        let mut failures = self.failures();
        if panicked {
            let reason = "writing panicked; the panic's own message stands in the log".into();
            failures.push((0, NoticeKind::CaptureFailed { path: self.folder.display().to_string(), reason }));
        }
        failures
    }
}

fn write(folder: &Path, batch: Batch, failed: &Sender<(u64, NoticeKind)>) {
    let step = batch.step;
    let tell = |path: String, reason: String| {
        // Nobody listens where the scope is gone.
        let _ = failed.send((step, NoticeKind::CaptureFailed { path, reason }));
    };
    let mut read = Vec::new();
    for Item { name, read: values } in batch.items {
        match values().and_then(|data| Ok((dtype(data.dtype())?, data))) {
            Ok((dtype, data)) => read.push((name, dtype, data)),
            Err(reason) => tell(name, reason),
        }
    }
    let path = folder.join(format!("step-{step:08}.safetensors"));
    if let Err(reason) = save(folder, &path, step, &read) {
        tell(path.display().to_string(), reason);
    }
}

/// Whole or not at all.
fn save(folder: &Path, path: &Path, step: u64, tensors: &[(String, Dtype, TensorData)]) -> Result<(), String> {
    let views = tensors.iter().map(|(name, dtype, data)| {
        TensorView::new(*dtype, data.shape().to_vec(), data.as_bytes()).map(|view| (name, view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let facts = [("step".to_owned(), step.to_string()), ("writer".into(), "gradscope".into())];
    let bytes = safetensors::serialize(views, Some(facts.into_iter().collect())).map_err(|error| error.to_string())?;
    let partial = path.with_extension("partial");
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&partial, bytes));
    written.and_then(|()| fs::rename(&partial, path)).map_err(|error| {
        // Nothing half-written stays behind.
        let _ = fs::remove_file(&partial);
        error.to_string()
    })
}

fn dtype(dtype: DType) -> Result<Dtype, String> {
    match dtype {
        DType::F64 => Ok(Dtype::F64),
        DType::F32 | DType::Flex32 => Ok(Dtype::F32),
        DType::F16 => Ok(Dtype::F16),
        DType::BF16 => Ok(Dtype::BF16),
        other => Err(format!("tensors of element type {} are not captured", other.name())),
    }
}
