//! Raw tensors to disk: read and written by a thread of their own.

use super::schedule::Schedule;
use crate::Error;
use burn::tensor::{DType, Tensor, TensorData};
use gradscope_record::record::NoticeKind;
use gradscope_store::files;
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Captures that may wait for the disk. One that finds as many waiting is left out, and counted.
const QUEUE_LEN: usize = 4;
/// A disk that takes longer than this at the end of a run is not waited for.
const FINISH_TIME_MAX: Duration = Duration::from_secs(30);

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
    pub fn is_due(&self, step: u64, index: u64) -> bool {
        self.asked || self.schedule.is_due_at(step, index)
    }
}

/// The writing thread, and the way to it.
pub(super) struct Capture {
    folder: PathBuf,
    batches: Option<SyncSender<Batch>>,
    failures: Receiver<(u64, NoticeKind)>,
    /// Disconnected once the thread has written everything.
    ended: Receiver<()>,
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
        let (ending, ended) = channel();
        let into = folder.clone();
        let work = move || {
            let _ending = ending;
            received.into_iter().for_each(|batch| write(&into, batch, &failed));
        };
        let writer = std::thread::Builder::new().name("gradscope capture".into()).spawn(work);
        let writer = writer.map_err(|error| {
            Error::from(gradscope_store::Error::RunFolder { path: folder.clone(), reason: error.to_string() })
        })?;
        Ok(Self { folder, batches: Some(batches), failures, ended, writer: Some(writer) })
    }

    /// Sends a step's tensors off, and never waits; what is to be reported where the disk is too far behind.
    pub fn send(&mut self, step: u64, items: Vec<Item>) -> Option<NoticeKind> {
        let batches = self.batches.as_ref().filter(|_| !items.is_empty())?;
        match batches.try_send(Batch { step, items }) {
            Err(TrySendError::Full(_)) => Some(NoticeKind::CaptureBehind { queue_len: QUEUE_LEN }),
            // A writer that is gone is found by `finish`.
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
        }
    }

    /// What went wrong since it was last asked.
    pub fn failures(&mut self) -> Vec<(u64, NoticeKind)> {
        self.failures.try_iter().collect()
    }

    /// Waits until everything is on disk, for half a minute at most; what went wrong with the last of it.
    pub fn finish(&mut self) -> Vec<(u64, NoticeKind)> {
        self.finish_within(FINISH_TIME_MAX)
    }

    fn finish_within(&mut self, time_max: Duration) -> Vec<(u64, NoticeKind)> {
        self.batches = None;
        let Some(writer) = self.writer.take() else { return self.failures() };
        // The thread ends with dropping its half, which says nothing.
        let in_time = self.ended.recv_timeout(time_max) != Err(RecvTimeoutError::Timeout);
        let panicked = in_time && writer.join().is_err();
        let mut failures = self.failures();
        let reason = match (in_time, panicked) {
            (true, false) => return failures,
            (true, true) => "writing panicked; the panic's own message stands in the log".to_owned(),
            (false, _) => format!("the disk took longer than {} seconds for the last captures", time_max.as_secs()),
        };
        failures.push((0, NoticeKind::CaptureFailed { path: self.folder.display().to_string(), reason }));
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
    let written = files::create_folder(folder).and_then(|()| files::write(&partial, &bytes));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_disk_that_hangs_is_never_waited_for() {
        let folder = std::env::temp_dir().join(format!("gradscope-capture-{}", std::process::id()));
        let mut capture = Capture::start(folder.clone()).unwrap();
        let (release, held) = channel::<()>();
        // The first item holds the writing thread as a hanging disk would.
        let hanging = Item {
            name: "hanging".into(),
            read: Box::new(move || {
                let _ = held.recv();
                Err("a test".into())
            }),
        };
        let mut reported = vec![capture.send(0, vec![hanging])];
        for step in 1..20 {
            let read = Box::new(|| Ok(TensorData::new(vec![1f32], [1])));
            reported.push(capture.send(step, vec![Item { name: "a".into(), read }]));
        }
        let behind = reported.iter().flatten().count();
        assert!((15..=16).contains(&behind), "{behind} of 20 are left out; 4 wait, and one may be in work");
        let failures = capture.finish_within(Duration::from_millis(20));
        assert!(failures[0].1.key() == Some(("capture_failed", "")), "{failures:?}");
        drop(release);
        let _ = fs::remove_dir_all(folder);
    }
}
