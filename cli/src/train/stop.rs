//! Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What Ctrl-C has asked for.
#[derive(Clone, Default)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    /// Whether there is no training any more that it could end.
    over: Arc<AtomicBool>,
}

impl Stop {
    /// The first Ctrl-C ends training after its step, with everything recorded; a second one ends the process.
    pub fn on_ctrl_c() -> Self {
        let stop = Self::default();
        let seen = stop.clone();
        let handler = move || {
            if seen.asked.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(crate::INTERRUPTED));
            }
            if !seen.over.load(Ordering::Relaxed) {
                eprintln!("\ngradscope: stopping after this step; once more to stop at once");
            }
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            crate::runs::complain(&format_args!("Ctrl-C will not be caught: {error}"));
        }
        stop
    }

    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// From here on Ctrl-C ends what comes after training.
    pub fn training_is_over(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
