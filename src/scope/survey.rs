//! The distributions of a scope: when each is due, and over what.

use super::schedule::Schedule;
use crate::Error;
use crate::reduce::survey::{Bounds, Counted, SignMap, Stretches, SurveyDue, SurveyPlan};
use gradscope_record::record::{Param, Shapes, StepRecord};

/// What was asked for, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct SurveySettings {
    pub histograms: Option<Schedule>,
    pub channels: Option<Schedule>,
    pub sign_map: Option<(SignMap, Schedule)>,
}

impl SurveySettings {
    /// As the manifest keeps it.
    pub fn manifest(&self) -> serde_json::Value {
        serde_json::json!({ "histograms": self.histograms, "channels": self.channels, "sign_map": self.sign_map })
    }
}

pub(super) struct Survey {
    pub plan: SurveyPlan,
    settings: SurveySettings,
    tensor_count: usize,
    bounds: Bounds,
}

impl Survey {
    /// `matching` finds the parameters of a pattern.
    ///
    /// # Errors
    /// Where a schedule names no step, or a sign map no element.
    pub fn new(
        settings: SurveySettings,
        params: &[Param],
        matching: impl Fn(&str) -> Result<Vec<usize>, Error>,
    ) -> Result<Self, Error> {
        let mut plan = SurveyPlan { histograms: settings.histograms.is_some(), ..SurveyPlan::default() };
        let schedules = [settings.histograms.as_ref(), settings.channels.as_ref()];
        schedules.into_iter().flatten().try_for_each(Schedule::check)?;
        if settings.channels.is_some() {
            let (stretches, table) = Stretches::of_channels(params);
            (plan.channels, plan.channel_table) = (Some(stretches), table);
        }
        if let Some((map, schedule)) = &settings.sign_map {
            schedule.check()?;
            let all = || Ok((0..params.len()).collect());
            let selected = map.pattern.as_deref().map_or_else(all, matching)?;
            let (stretches, shown) = Stretches::of_sign_map(map, params, &selected);
            if shown.start >= shown.end || map.columns == 0 {
                let total = selected.iter().map(|&tensor| params[tensor].numel).sum();
                return Err(Error::EmptySignMap { columns: map.columns, zoom: map.zoom.clone(), total });
            }
            (plan.sign_map, plan.shown) = (Some(stretches), shown);
        }
        Ok(Self { plan, settings, tensor_count: params.len(), bounds: Bounds::new(params.len()) })
    }

    pub fn due(&self, step: u64, index: u64) -> SurveyDue {
        let is_due =
            |schedule: &Option<Schedule>| schedule.as_ref().is_some_and(|schedule| schedule.is_due_at(step, index));
        SurveyDue {
            histograms: is_due(&self.settings.histograms).then(|| self.bounds.known()),
            channels: is_due(&self.settings.channels),
            sign_map: self.settings.sign_map.as_ref().is_some_and(|(_, schedule)| schedule.is_due_at(step, index)),
        }
    }

    pub fn shapes(&self, counted: Counted) -> Shapes {
        self.plan.shapes(counted, self.tensor_count)
    }

    /// Takes the bounds of the next linear histograms from what came back.
    pub fn learn(&mut self, record: &StepRecord) {
        if self.plan.histograms {
            self.bounds.learn(record);
        }
    }
}
