//! Events kept for a caller who does not poll: not many, and not much memory.

use gradscope_record::record::Event;
use std::collections::VecDeque;

/// Records that are kept, fewer where they are large.
const RECORD_COUNT_MAX: usize = 512;
/// Kilobytes that those records take together, about.
const WEIGHT_MAX: usize = 50_000;
/// Records that are kept however large they are.
const RECORD_COUNT_MIN: usize = 16;
/// Notices and findings that are kept, apart from records: neither pushes the other out.
const MESSAGE_COUNT_MAX: usize = 512;

/// The last events, oldest first.
#[derive(Default)]
pub(crate) struct EventBuffer {
    /// With their places in the order in which events came.
    records: VecDeque<(u64, Event)>,
    messages: VecDeque<(u64, Event)>,
    weight: usize,
    next: u64,
}

impl EventBuffer {
    /// Adds an event, and returns how many had to go for it.
    pub fn push(&mut self, event: Event) -> u64 {
        let mut gone_count = 0;
        let at = self.next;
        self.next += 1;
        if !matches!(event, Event::Record(_)) {
            while self.messages.len() >= MESSAGE_COUNT_MAX {
                self.messages.pop_front();
                gone_count += 1;
            }
            self.messages.push_back((at, event));
            return gone_count;
        }
        self.weight += weight(&event);
        while self.records.len() >= RECORD_COUNT_MAX
            || (self.weight > WEIGHT_MAX && self.records.len() >= RECORD_COUNT_MIN)
        {
            let Some((_, oldest)) = self.records.pop_front() else { break };
            self.weight -= weight(&oldest);
            gone_count += 1;
        }
        self.records.push_back((at, event));
        gone_count
    }

    /// Takes all events, in the order in which they came.
    pub fn take(&mut self) -> Vec<Event> {
        self.weight = 0;
        let mut all: Vec<_> = self.records.drain(..).chain(self.messages.drain(..)).collect();
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, event)| event).collect()
    }

    /// Notices and findings, then records; each in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.messages.iter().chain(&self.records).map(|(_, event)| event)
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

#[cfg(test)]
mod tests {
    use super::*;
    use gradscope_record::record::{Notice, NoticeKind, StepRecord};

    #[test]
    fn notices_push_no_record_out_and_records_no_notice() {
        let record = |step| Event::Record(StepRecord { step, ..StepRecord::default() });
        let notice = |step| Event::Notice(Notice::new(step, NoticeKind::StepLost { reason: "a test".into() }));
        let mut buffer = EventBuffer::default();
        buffer.push(record(0));
        let gone: u64 = (0..600).map(|step| buffer.push(notice(step))).sum();
        assert_eq!(gone, 600 - MESSAGE_COUNT_MAX as u64);
        buffer.push(record(1));
        let events = buffer.take();
        assert_eq!(events.len(), 2 + MESSAGE_COUNT_MAX);
        assert_eq!((&events[0], events.last()), (&record(0), Some(&record(1))), "in the order in which they came");
        let gone: u64 = [notice(0)].into_iter().chain((0..600).map(record)).map(|event| buffer.push(event)).sum();
        assert_eq!(gone, 600 - RECORD_COUNT_MAX as u64);
        assert_eq!(buffer.take()[0], notice(0));
    }
}
