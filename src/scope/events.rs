//! Events kept for a caller who does not poll: not many, and not much memory.

use crate::record::Event;
use std::collections::VecDeque;

/// Events that are kept, fewer where they are large.
const EVENT_COUNT_MAX: usize = 512;
/// Kilobytes that those events take together, about.
const WEIGHT_MAX: usize = 50_000;
/// Events that are kept however large they are.
const EVENT_COUNT_MIN: usize = 16;

/// The last events, oldest first.
#[derive(Default)]
pub(crate) struct EventBuffer {
    events: VecDeque<Event>,
    weight: usize,
}

impl EventBuffer {
    /// How many had to go for it.
    pub fn push(&mut self, event: Event) -> u64 {
        self.weight += weight(&event);
        let mut gone_count = 0;
        while self.events.len() >= EVENT_COUNT_MAX || (self.weight > WEIGHT_MAX && self.events.len() >= EVENT_COUNT_MIN)
        {
            let Some(oldest) = self.events.pop_front() else { break };
            self.weight -= weight(&oldest);
            gone_count += 1;
        }
        self.events.push_back(event);
        gone_count
    }

    pub fn take(&mut self) -> Vec<Event> {
        self.weight = 0;
        self.events.drain(..).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
}

/// Kilobytes of an event, about.
fn weight(event: &Event) -> usize {
    let Event::Record(record) = event else { return 1 };
    let shapes = record.shapes.as_ref().map_or(0, |shapes| {
        let segments = shapes.channels.iter().map(|channels| channels.channels.len()).sum::<usize>()
            + shapes.sign_map.as_ref().map_or(0, |map| map.columns.len());
        3 * shapes.histograms.len() + segments / 20
    });
    1 + record.tensors.len() + record.taps.len() + shapes
}
