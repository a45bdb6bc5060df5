//! Axes and names: what fits beside a picture, and what it says.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use std::collections::HashMap;
use std::ops::Range;

/// Characters of a name that are shown.
pub const NAME_LEN: usize = 44;
/// Pixels that a character of a title takes, about.
const TITLE_CHAR_WIDTH: f64 = 11.0;
/// Labels of a logarithmic axis, at most.
const LABEL_COUNT_MAX: i32 = 9;
/// Decades up to which an axis has labels between them.
const PARTED_DECADES_MAX: i32 = 3;

/// A logarithmic axis with labels wherever it begins and ends.
pub struct Decades(pub Range<f64>);

impl Decades {
    /// Wide enough for both values, which are positive: from label to label.
    pub fn around(low: f64, high: f64) -> Self {
        let wide = Self(10f64.powf(low.log10().floor())..10f64.powf(high.log10().ceil()));
        let ticks = wide.ticks();
        let below = ticks.iter().rev().find(|tick| **tick <= low * (1.0 + 1e-9)).copied().unwrap_or(wide.0.start);
        let above = ticks.iter().find(|tick| **tick >= high * (1.0 - 1e-9)).copied().unwrap_or(wide.0.end);
        if below < above { Self(below..above) } else { Self(low / 10.0..high * 10.0) }
    }

    /// Powers of ten, with 2 and 5 times them where there are few.
    pub fn ticks(&self) -> Vec<f64> {
        let [from, to] = [self.0.start, self.0.end].map(f64::log10);
        let (first, last) = ((from + 1e-9).floor() as i32, (to - 1e-9).ceil() as i32);
        let parts: &[f64] = if last - first <= PARTED_DECADES_MAX { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = ((last - first) / LABEL_COUNT_MAX + 1).max(1);
        let powers = (first..=last).filter(|power| power.rem_euclid(every) == 0);
        let all = powers.flat_map(|power| parts.iter().map(move |part| part * 10f64.powi(power)));
        all.filter(|tick| *tick >= self.0.start * (1.0 - 1e-9) && *tick <= self.0.end * (1.0 + 1e-9)).collect()
    }
}

impl Ranged for Decades {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        let [from, to, at] = [self.0.start, self.0.end, *value].map(f64::log10);
        low + (f64::from(high - low) * (at - from) / (to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> Range<f64> {
        self.0.clone()
    }
}

/// The width of a picture that its title fits.
pub fn with_title(width: u32, title: &str) -> u32 {
    width.max((title.chars().count() as f64 * TITLE_CHAR_WIDTH) as u32 + 28)
}

/// Steps between labels: 1, 2 or 5 times a power of ten, and at most `count` of them from `first` to `last`.
pub fn step_ticks(first: u64, last: u64, count: u64) -> Vec<u64> {
    let raw = (last.saturating_sub(first) / count.max(1)).max(1);
    let power = 10u64.pow(raw.ilog10());
    let tick = [1, 2, 5, 10].into_iter().map(|part| power.saturating_mul(part)).find(|tick| *tick >= raw);
    let tick = tick.unwrap_or(u64::MAX);
    let mut ticks = vec![];
    let mut at = first.div_ceil(tick).checked_mul(tick);
    while let Some(step) = at.filter(|step| *step <= last) {
        ticks.push(step);
        at = step.checked_add(tick);
    }
    ticks
}

/// Names as they are shown: whole where they are short; otherwise with their outer parts cut to a letter, so that numbers
/// and the last parts stay. Two that differ are shown differently.
pub fn shown_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let names: Vec<&str> = names.into_iter().collect();
    let mut shown: Vec<String> = names.iter().map(|name| shortened(name)).collect();
    let mut count: HashMap<String, usize> = HashMap::new();
    shown.iter().for_each(|name| *count.entry(name.clone()).or_default() += 1);
    for (shown, name) in shown.iter_mut().zip(&names) {
        if count[shown.as_str()] > 1 {
            *shown = plain(name);
        }
    }
    shown
}

fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn shortened(name: &str) -> String {
    let name = plain(name);
    let len = |parts: &[String]| parts.iter().map(|part| part.chars().count() + 1).sum::<usize>().saturating_sub(1);
    let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
    for at in 0..parts.len().saturating_sub(2) {
        if len(&parts) <= NAME_LEN {
            break;
        }
        if !parts[at].chars().any(|c| c.is_ascii_digit()) {
            parts[at] = parts[at].chars().take(1).collect();
        }
    }
    let short = parts.join(".");
    let count = short.chars().count();
    if count <= NAME_LEN {
        return short;
    }
    let half = NAME_LEN / 2;
    let start: String = short.chars().take(half).collect();
    let end: String = short.chars().skip(count - half + 1).collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_has_labels_from_end_to_end() {
        for (low, high) in [(1e-34, 1.0), (1e-15, 1e-14), (0.3, 0.35), (2e-3, 4.0), (1e-40, 1e30), (1.0, 1.0)] {
            let axis = Decades::around(low, high);
            let ticks = axis.ticks();
            assert!(axis.0.start <= low && axis.0.end >= high, "{low} to {high}: {:?}", axis.0);
            assert!((1..=12).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
            let decades = (axis.0.end / axis.0.start).log10();
            let reach = (ticks[ticks.len() - 1] / ticks[0]).log10();
            assert!(ticks.len() == 1 || reach >= 0.7 * decades, "{low} to {high}: {ticks:?}");
        }
        assert_eq!(Decades::around(0.3, 0.9).ticks(), [0.2, 0.5, 1.0], "between two decades too");
    }

    #[test]
    fn steps_that_f64_cannot_tell_apart_have_labels_and_end() {
        let clock = (1u64 << 53) + 1;
        assert_eq!(step_ticks(clock, clock + 100, 8).len(), 5);
        assert_eq!(step_ticks(0, 375, 8), [0, 50, 100, 150, 200, 250, 300, 350]);
        assert_eq!(step_ticks(7, 7, 8), [7]);
        assert!(step_ticks(u64::MAX - 10, u64::MAX, 8).len() >= 2);
        assert!(step_ticks(0, u64::MAX, 8).len() <= 9);
    }

    #[test]
    fn names_that_differ_are_shown_differently_and_keep_their_numbers() {
        let gates = ["input", "forget", "output", "cell"];
        let paths: Vec<String> = gates
            .iter()
            .flat_map(|gate| [0, 1].map(|n| format!("encoder.lstm.{n}.{gate}_gate.hidden_transform.weight")))
            .chain(["fc.weight".into()])
            .collect();
        let shown = shown_names(paths.iter().map(String::as_str));
        for (place, name) in shown.iter().enumerate() {
            assert!(!shown[..place].contains(name), "{shown:?}");
        }
        assert!(shown[1].contains(".1."), "{shown:?}");
        assert_eq!(shown[8], "fc.weight");
        let twins = ["a".repeat(60) + "x" + &"b".repeat(60), "a".repeat(60) + "y" + &"b".repeat(60)];
        let shown = shown_names(twins.iter().map(String::as_str));
        assert_ne!(shown[0], shown[1], "whole, where shortening would make them the same");
        assert_eq!(shown_names(["a\nb"]), ["a b"]);
    }
}
