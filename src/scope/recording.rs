//! What becomes of a step that has come back: a record, findings and notices, handed on and written.

use super::Scope;
use super::diagnosing::Diagnosing;
use super::parcel::{Given, Landed, Parcel, Read, ScalarValue};
use gradscope_record::record::Action;
use gradscope_record::record::{Averages, Event, Finding, Global, Notice, NoticeKind, StepRecord};
use gradscope_store::SNAPSHOT_COUNT_MAX;
use std::time::Instant;

impl Scope {
    pub(super) fn record(&mut self, Landed { given, read }: Landed) {
        let started = Instant::now();
        let step = given.step;
        self.take_trainable(&given.trainable);
        for kind in given.notices {
            self.notify(Notice::new(step, kind));
        }
        match read {
            Err(reason) => self.notify(Notice::new(step, NoticeKind::StepLost { reason })),
            Ok(Read { mut tensors, taps, counted }) => {
                if !given.last_move {
                    for (average, tensor) in self.averages.iter_mut().zip(&mut tensors) {
                        *average = Averages::advance(*average, tensor, self.average_factor);
                        tensor.averages = average.filter(|_| tensor.summary().is_some());
                    }
                }
                let of_layers = |(name, places): &(String, Vec<usize>)| {
                    (name.clone(), Global::of(places.iter().map(|&place| &tensors[place])))
                };
                // One that could not be read has become a notice, and is no NaN.
                let scalars = given.scalars.into_iter().filter_map(|(name, value)| match value {
                    ScalarValue::Known(value) => Some((name, value)),
                    ScalarValue::Gpu(_) => None,
                });
                let record = StepRecord {
                    step,
                    epoch: given.epoch,
                    unix_secs: Some(given.unix_secs),
                    last_move: given.last_move,
                    scalars: scalars.collect(),
                    global: Global::of(&tensors),
                    groups: self.layers.iter().map(of_layers).collect(),
                    tensors,
                    taps,
                    shapes: counted.map(|counted| self.survey.shapes(counted)),
                    cost: given.cost,
                };
                self.survey.learn(&record);
                self.summary.add(&record);
                if let Some(store) = &mut self.store {
                    store.write(&record);
                }
                let found = self.diagnosing.as_mut().map(|diagnosing| diagnosing.examine(&record)).unwrap_or_default();
                self.push(Event::Record(record));
                self.tell(found);
            }
        }
        self.summary.record_secs += started.elapsed().as_secs_f64();
    }

    pub(super) fn tell(&mut self, findings: Vec<Finding>) {
        findings.iter().for_each(|finding| self.summary.find(finding));
        if let Some(store) = self.store.as_mut().filter(|_| !findings.is_empty()) {
            store.write_findings(findings.clone());
        }
        if self.snapshot_count < SNAPSHOT_COUNT_MAX
            && findings.iter().any(|finding| finding.open && finding.action >= Action::Snapshot)
        {
            self.snapshot_count += 1;
            self.capture_next();
        }
        findings.into_iter().for_each(|finding| self.push(Event::Finding(finding)));
        if let Some(reason) = self.diagnosing.as_mut().and_then(Diagnosing::take_panic) {
            let step = self.last_step.unwrap_or(0);
            self.notify(Notice::new(step, NoticeKind::CallbackPanicked { reason }));
        }
    }

    /// Takes over what a step has found of the model: parameters that are others than before, under the same paths.
    pub(super) fn know(&mut self, given: &mut Given, parcel: &Parcel) {
        for &(tensor, id) in &given.replaced {
            let known = &mut self.known[tensor];
            known.id = id;
            if known.seen {
                self.averages[tensor] = None;
                let path = self.params[tensor].path.clone();
                let reason = "its parameter is another one than at the step before, by its id".into();
                given.notices.push(NoticeKind::HistoryReset { path, reason });
            }
        }
        parcel.tensors.iter().for_each(|(tensor, ..)| self.known[*tensor].seen = true);
        for &(tensor, trainable) in &given.trainable {
            self.known[tensor].trainable = trainable;
        }
    }

    /// Passes on which parameters have been frozen or unfrozen.
    pub(super) fn take_trainable(&mut self, changes: &[(usize, bool)]) {
        if changes.is_empty() {
            return;
        }
        if let Some(diagnosing) = &mut self.diagnosing {
            diagnosing.set_trainable(changes);
        }
        if let Some(store) = &mut self.store {
            store.write_trainable(changes);
        }
    }

    /// Writes how often those notices came that are reported once.
    pub(super) fn notify_counts(&mut self) {
        for notice in self.notices.repeated() {
            self.summary.notice(notice);
            if let Some(store) = &mut self.store {
                store.write_notice(notice);
            }
        }
    }

    pub(super) fn notify(&mut self, notice: Notice) {
        self.summary.count(&notice.kind);
        if !self.notices.admit(&notice) {
            return;
        }
        self.summary.notice(&notice);
        if let Some(store) = &mut self.store {
            store.write_notice(&notice);
        }
        self.push(Event::Notice(notice));
    }

    /// What the threads that write could not.
    pub(super) fn tell_failures(&mut self) {
        for (step, kind) in self.capture.as_mut().map(|capture| capture.writer.failures()).unwrap_or_default() {
            self.notify(Notice::new(step, kind));
        }
        let step = self.last_step.unwrap_or(0);
        for kind in self.store.as_mut().map(gradscope_store::RunWriter::failures).unwrap_or_default() {
            self.notify(Notice::new(step, kind));
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.summary.unpolled_count += self.events.push(event);
    }
}
