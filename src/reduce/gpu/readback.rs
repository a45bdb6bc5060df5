//! The staging ring: one copy and one map a step, and nobody waits while it has room.

use super::Gpu;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Every submission runs the callbacks of what has completed, on burn's thread, where that gets in nobody's way: a
/// poll contends with submissions for wgpu's locks. The training thread polls itself only where its last step is
/// this long ago.
const POLL_AFTER: Duration = Duration::from_millis(250);

const PENDING: u8 = 0;
const MAPPED: u8 = 1;
const FAILED: u8 = 2;
/// Completed, with nothing to read.
const EMPTY: u8 = 3;

/// One step on its way back. The training thread and burn's device thread hold it together.
pub(crate) struct Flight<T> {
    /// Where the step has something to bring back, and the GPU had room for it.
    pub staging: Option<wgpu::Buffer>,
    status: AtomicU8,
    /// What the device thread knows of the step, left there before the map completes.
    pub outcome: Mutex<Option<T>>,
    failure: Mutex<Option<String>>,
    submission: OnceLock<wgpu::SubmissionIndex>,
    took_off: Instant,
}

impl<T: Send + 'static> Flight<T> {
    /// Asks for the staging buffer's first `bytes`, which `submission` copies there; completes the flight when
    /// they have come.
    pub fn map(self: &Arc<Self>, submission: wgpu::SubmissionIndex, bytes: u64) {
        let Some(staging) = &self.staging else { return };
        let flight = Arc::clone(self);
        staging.map_async(wgpu::MapMode::Read, 0..bytes, move |result| match result {
            Ok(()) => {
                let _ = flight.complete(MAPPED);
            }
            Err(error) => flight.fail(format!("mapping the staging buffer failed: {error}")),
        });
        // After the request: who finds a submission to wait for finds a callback that waiting runs.
        let _ = self.submission.set(submission);
    }

    /// Completes a flight that has nothing to bring back from the GPU.
    pub fn complete_empty(&self, outcome: T) {
        *self.outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(outcome);
        let _ = self.complete(EMPTY);
    }

    /// Whether the flight was still pending: what completed it first, stays.
    fn complete(&self, status: u8) -> bool {
        self.status.compare_exchange(PENDING, status, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends the flight without data; the first reason stays.
    pub fn fail(&self, reason: String) {
        let mut failure = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if self.complete(FAILED) {
            *failure = Some(reason);
        }
    }

    /// Whether the step's commands are on the queue, and its map is asked for.
    pub fn was_submitted(&self) -> bool {
        self.submission.get().is_some()
    }

    pub fn is_pending(&self) -> bool {
        self.status.load(Ordering::Acquire) == PENDING
    }

    /// What a completed flight brought: the outcome and the first `bytes` of staging, or why not.
    pub fn land(&self, bytes: u64) -> Result<(T, Vec<u8>), String> {
        let data = match (self.status.load(Ordering::Acquire), &self.staging) {
            (MAPPED, Some(staging)) => {
                let view = staging.get_mapped_range(0..bytes).map_err(|error| error.to_string())?;
                let data = view.to_vec();
                drop(view);
                staging.unmap();
                data
            }
            (EMPTY, _) => Vec::new(),
            _ => {
                let mut failure = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                return Err(failure.take().unwrap_or_else(|| "the step never reached the GPU".into()));
            }
        };
        let outcome = self.outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        outcome.map(|outcome| (outcome, data)).ok_or_else(|| "the step's outcome is missing".into())
    }
}

/// Flights in order of their steps, each with what the training thread keeps beside it.
pub(crate) struct Ring<T, K> {
    gpu: Gpu,
    staging_bytes: u64,
    len_max: usize,
    free: Vec<wgpu::Buffer>,
    flying: VecDeque<(Arc<Flight<T>>, K)>,
}

impl<T: Send + 'static, K> Ring<T, K> {
    /// Staging buffers are made as they are needed, up to `len_max`.
    pub fn new(gpu: &Gpu, staging_bytes: u64, len_max: usize) -> Self {
        Self { gpu: gpu.clone(), staging_bytes, len_max, free: vec![], flying: VecDeque::new() }
    }

    pub fn is_full(&self) -> bool {
        self.flying.len() >= self.len_max
    }

    pub fn in_flight_count(&self) -> usize {
        self.flying.len()
    }

    /// Starts a flight that brings back `bytes`; it has failed already where the GPU has no room for them. The ring must
    /// not be full.
    pub fn take_off(&mut self, kept: K, bytes: u64) -> Arc<Flight<T>> {
        debug_assert!(!self.is_full());
        let staging = match bytes {
            0 => Ok(None),
            _ => self.staging(bytes).map(Some),
        };
        let (staging, failure) = match staging {
            Ok(staging) => (staging, None),
            Err(reason) => (None, Some(format!("the step's {bytes} bytes can't be read back: {reason}"))),
        };
        let flight = Arc::new(Flight {
            staging,
            status: AtomicU8::new(if failure.is_none() { PENDING } else { FAILED }),
            outcome: Mutex::new(None),
            failure: Mutex::new(failure),
            submission: OnceLock::new(),
            took_off: Instant::now(),
        });
        self.flying.push_back((Arc::clone(&flight), kept));
        flight
    }

    /// A staging buffer of the usual length, or of `bytes` where a step has more than that, once.
    fn staging(&mut self, bytes: u64) -> Result<wgpu::Buffer, String> {
        let usual = bytes <= self.staging_bytes;
        if let Some(staging) = self.free.pop_if(|_| usual) {
            return Ok(staging);
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some("gradscope staging"),
            size: self.staging_bytes.max(bytes),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        self.gpu.guarded(|| self.gpu.device.create_buffer(&descriptor))
    }

    /// The oldest flight, if it has completed. Never waits for the GPU.
    pub fn next_landed(&mut self) -> Option<(Arc<Flight<T>>, K)> {
        let (oldest, newest) = (&self.flying.front()?.0, &self.flying.back()?.0);
        if oldest.is_pending() && newest.took_off.elapsed() > POLL_AFTER {
            self.refresh();
        }
        if self.flying.front()?.0.is_pending() { None } else { self.flying.pop_front() }
    }

    /// Looks whether the GPU has got further, at the price of its locks: callbacks run in here.
    pub fn refresh(&self) {
        // An error is a lost device: whoever waits for a flight of it hears of that.
        let _ = self.gpu.poll(wgpu::PollType::Poll);
    }

    /// Whether the oldest flight's commands are on the queue; `true` where there is none.
    pub fn oldest_was_submitted(&self) -> bool {
        self.flying.front().is_none_or(|(oldest, _)| oldest.was_submitted() || !oldest.is_pending())
    }

    /// What is kept beside the flight that took off last.
    pub fn newest(&mut self) -> Option<&mut K> {
        self.flying.back_mut().map(|(_, kept)| kept)
    }

    /// Waits until the oldest flight has completed. Its commands must have been submitted, or it fails.
    pub fn wait_for_oldest(&self) {
        let Some((oldest, _)) = self.flying.front() else { return };
        if !oldest.is_pending() {
            return;
        }
        let Some(submission) = oldest.submission.get() else {
            return oldest.fail("the step never reached the GPU".into());
        };
        let wait = wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout: None };
        if let Err(error) = self.gpu.poll(wait) {
            oldest.fail(format!("waiting for the GPU failed: {error}"));
        }
        // Another thread's poll may have taken the callback and be about to run it.
        while oldest.is_pending() {
            if let Err(error) = self.gpu.poll(wgpu::PollType::Poll) {
                oldest.fail(format!("waiting for the GPU failed: {error}"));
            }
            std::thread::yield_now();
        }
    }

    /// Gives a landed flight's staging buffer back. One whose map failed is not used again.
    pub fn recycle(&mut self, flight: &Flight<T>) {
        let usual = flight.staging.as_ref().filter(|staging| staging.size() == self.staging_bytes);
        if flight.status.load(Ordering::Acquire) != FAILED {
            self.free.extend(usual.cloned());
        }
    }
}
