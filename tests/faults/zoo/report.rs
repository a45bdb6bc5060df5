//! The corpus's outcome as a page.

use super::case::{Case, Fault, Split};
use super::score::Outcome;
use gradscope::record::{Finding, Rule};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Every run with its healthy twin, where it is sick.
pub struct Scores<'a> {
    outcomes: &'a [Outcome],
}

/// A share of runs.
#[derive(Clone, Copy, Default)]
pub struct Share {
    pub count: usize,
    pub of: usize,
}

impl Share {
    fn add(&mut self, is: bool) {
        self.of += 1;
        self.count += usize::from(is);
    }

    pub fn ratio(self) -> f64 {
        self.count as f64 / self.of.max(1) as f64
    }

    fn text(self) -> String {
        if self.of == 0 { "-".into() } else { format!("{} of {} ({:.1}%)", self.count, self.of, 100.0 * self.ratio()) }
    }
}

impl<'a> Scores<'a> {
    pub fn new(outcomes: &'a [Outcome]) -> Self {
        Self { outcomes }
    }

    /// Of the scoring split: those whose fault counts, and is not without effect.
    pub fn scored(&self) -> impl Iterator<Item = &'a Outcome> {
        self.outcomes.iter().filter(|outcome| {
            outcome.is_scored()
                && self.fault(outcome).is_some_and(|fault| fault.unscored().is_none())
                && !self.is_harmless(outcome)
        })
    }

    fn fault(&self, outcome: &Outcome) -> Option<Fault> {
        outcome.case.fault
    }

    pub fn healthy(&self, split: Split) -> impl Iterator<Item = &'a Outcome> {
        self.outcomes.iter().filter(move |outcome| outcome.case.fault.is_none() && outcome.case.split() == split)
    }

    fn twin(&self, case: &Case) -> Option<&'a Outcome> {
        let twin = case.healthy_twin().name();
        self.outcomes.iter().find(|outcome| outcome.case.name() == twin)
    }

    /// Whether the run trains as well as its healthy twin.
    fn is_harmless(&self, outcome: &Outcome) -> bool {
        self.twin(&outcome.case).is_some_and(|twin| outcome.is_as_good_as(twin))
    }

    pub fn found(&self) -> Share {
        share(self.scored(), |outcome| outcome.right().is_some())
    }

    /// On architectures that no threshold was set on.
    pub fn found_on_new(&self) -> Share {
        share(self.scored().filter(|outcome| !outcome.case.is_calibration_arch()), |outcome| outcome.right().is_some())
    }

    /// Of the runs found whose fault is in a layer, those whose finding names it.
    pub fn right_layer(&self) -> Share {
        let mut found = Share::default();
        self.scored().filter_map(Outcome::names_layer).for_each(|right| found.add(right));
        found
    }

    /// Healthy runs of the scoring split with a finding of severity warn or above.
    pub fn false_alarms(&self) -> Share {
        share(self.healthy(Split::Scoring), |outcome| !outcome.findings.is_empty())
    }

    /// Median of the steps from the finding to the loss, over runs of gradual faults; runs that were not found have none.
    pub fn gradual_lead(&self) -> Option<i64> {
        median(
            self.scored().filter(|outcome| outcome.case.fault.is_some_and(Fault::is_gradual)).filter_map(Outcome::lead),
        )
    }

    /// The same over those runs alone whose loss shows it at all.
    pub fn shown_lead(&self) -> (usize, Option<i64>) {
        let gradual = self.scored().filter(|outcome| outcome.case.fault.is_some_and(Fault::is_gradual));
        let leads: Vec<i64> =
            gradual.filter(|outcome| outcome.loss_shows.is_some()).filter_map(Outcome::lead).collect();
        (leads.len(), median(leads.into_iter()))
    }

    pub fn missed(&self) -> impl Iterator<Item = &'a Outcome> {
        self.scored().filter(|outcome| outcome.right().is_none())
    }
}

fn share<'a>(outcomes: impl Iterator<Item = &'a Outcome>, is: impl Fn(&Outcome) -> bool) -> Share {
    let mut share = Share::default();
    outcomes.for_each(|outcome| share.add(is(outcome)));
    share
}

fn median(values: impl Iterator<Item = i64>) -> Option<i64> {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn steps(lead: Option<i64>) -> String {
    lead.map_or_else(|| "-".into(), |lead| lead.to_string())
}

/// The page. `card`: the same runs examined by the statistics of the card alone.
pub fn page(scores: &Scores<'_>, card: &Scores<'_>) -> String {
    let mut page = String::from(HEAD);
    let mut put = |text: String| page.push_str(&text);
    put("## Result on the scoring split\n\n| | |\n|---|---|\n".into());
    put(format!("| scored faults found | {} |\n", scores.found().text()));
    put(format!("| the same on architectures that no threshold was set on | {} |\n", scores.found_on_new().text()));
    put(format!("| right layer named, where the fault is in one and was found | {} |\n", scores.right_layer().text()));
    put(format!("| healthy runs with a warning | {} |\n", scores.false_alarms().text()));
    put(format!("| median lead on gradual faults, steps | {} |\n", steps(scores.gradual_lead())));
    let (count, lead) = scores.shown_lead();
    put(format!("| the same, of the {count} runs alone whose loss shows it | {} |\n", steps(lead)));
    put(format!("| scored faults found by the statistics of `card` alone, without taps | {} |\n", card.found().text()));
    put(format!("| healthy runs with a warning, by `card` alone | {} |\n", card.false_alarms().text()));
    let calibration = share(scores.healthy(Split::Calibration), |outcome| !outcome.findings.is_empty());
    put(format!(
        "| healthy runs with a warning, on the split that thresholds were set on | {} |\n\n",
        calibration.text()
    ));
    put(by_fault(scores));
    put(by_rule(scores));
    put(by_architecture(scores));
    put("## Missed\n\n".into());
    scores.missed().for_each(|outcome| put(format!("- {}{}\n", outcome.case.name(), instead(outcome))));
    put("\n## False alarms\n\n".into());
    let healthy = scores.healthy(Split::Scoring).chain(scores.healthy(Split::Calibration));
    let alarms: Vec<String> = healthy
        .flat_map(|outcome| {
            outcome.findings.iter().map(move |finding| format!("- {}: {finding}\n", outcome.case.name()))
        })
        .collect();
    put(if alarms.is_empty() { "None.\n".into() } else { alarms.concat() });
    put("\n## Reported, not scored\n\n".into());
    for fault in Fault::ALL {
        if let Some(reason) = fault.unscored() {
            put(format!("- **{}**: {reason}\n", fault.title()));
        }
    }
    page
}

/// What was found where the right thing was not.
fn instead(outcome: &Outcome) -> String {
    let rules: Vec<_> = outcome.findings.iter().map(|finding| finding.rule.id()).collect();
    if rules.is_empty() { String::new() } else { format!(" (found instead: {})", rules.join(", ")) }
}

fn by_fault(scores: &Scores<'_>) -> String {
    let mut text = String::from(
        "## By fault\n\n*No effect*: it trains as well as its healthy twin and is not scored. The lead is the median over the runs found.\n\n\
         | fault | scored | no effect | found | right layer | lead, steps | first words |\n|---|---|---|---|---|---|---|\n",
    );
    for fault in Fault::ALL {
        let runs =
            || scores.outcomes.iter().filter(move |outcome| outcome.case.fault == Some(fault) && outcome.is_scored());
        let harmless = runs().filter(|outcome| scores.is_harmless(outcome)).count();
        let counted = || runs().filter(|outcome| !scores.is_harmless(outcome));
        let found = share(counted(), |outcome| outcome.right().is_some());
        let mut layer = Share::default();
        counted().filter_map(Outcome::names_layer).for_each(|right| layer.add(right));
        let mut words: BTreeMap<&str, usize> = BTreeMap::new();
        counted().filter_map(Outcome::right).for_each(|finding| *words.entry(finding.rule.id()).or_default() += 1);
        let mut words: Vec<_> = words.into_iter().collect();
        words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let words: Vec<_> = words.iter().map(|(rule, count)| format!("`{rule}` {count}")).collect();
        let gradual = if fault.is_gradual() { " (gradual)" } else { "" };
        let note = if fault.unscored().is_some() { " *" } else { "" };
        let _ = writeln!(
            text,
            "| {}{gradual}{note} | {} | {harmless} | {} | {} | {} | {} |",
            fault.title(),
            if note.is_empty() { found.of } else { 0 },
            found.text(),
            layer.text(),
            steps(median(counted().filter_map(Outcome::lead))),
            words.join(", ")
        );
    }
    text + "\n\\* reported, not scored; the reasons stand below.\n\n"
}

fn by_rule(scores: &Scores<'_>) -> String {
    let mut text = String::from(
        "## By rule\n\n*Detected*: its words came first among those that fit. *Missed*: it is the one that should have spoken, and nothing that \
         fits was found. *Beside*: sick runs in which it spoke although it does not fit the fault.\n\n\
         | rule | detected | missed | false alarms, healthy runs | beside | right layer | lead, steps |\n|---|---|---|---|---|---|---|\n",
    );
    for rule in Rule::ALL {
        let detected =
            || scores.scored().filter(|outcome| outcome.right().is_some_and(|finding| finding.rule == *rule));
        let missed =
            scores.missed().filter(|outcome| outcome.case.fault.is_some_and(|fault| fault.rules()[0] == *rule));
        let speaks = |outcome: &&Outcome| outcome.findings.iter().any(|finding| finding.rule == *rule);
        let fits = |outcome: &Outcome| outcome.case.fault.is_some_and(|fault| fault.rules().contains(rule));
        let beside = scores.scored().filter(speaks).filter(|outcome| !fits(outcome)).count();
        let alarms = scores.healthy(Split::Scoring).filter(speaks).count();
        let mut layer = Share::default();
        detected().filter_map(Outcome::names_layer).for_each(|right| layer.add(right));
        let _ = writeln!(
            text,
            "| `{rule}` | {} | {} | {alarms} | {beside} | {} | {} |",
            detected().count(),
            missed.count(),
            layer.text(),
            steps(median(detected().filter_map(Outcome::lead)))
        );
    }
    text + "\n"
}

fn by_architecture(scores: &Scores<'_>) -> String {
    let mut text = String::from(
        "## By architecture\n\n| architecture | thresholds were set on it | scored | found | healthy runs | with a warning |\n|---|---|---|---|---|---|\n",
    );
    let mut names: Vec<(String, bool)> = Vec::new();
    for outcome in scores.outcomes {
        let name = (outcome.case.arch.name(), outcome.case.is_calibration_arch());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for (name, tuned) in names {
        let own = |outcome: &&Outcome| outcome.case.arch.name() == name;
        let found = share(scores.scored().filter(own), |outcome| outcome.right().is_some());
        let alarms = share(scores.healthy(Split::Scoring).filter(own), |outcome| !outcome.findings.is_empty());
        let tuned = if tuned { "other seeds of it" } else { "no" };
        let _ =
            writeln!(text, "| {name} | {tuned} | {} | {} | {} | {} |", found.of, found.text(), alarms.of, alarms.count);
    }
    text + "\n"
}

/// A line for a run, and its findings.
pub fn lines(outcome: &Outcome) -> String {
    let split = if outcome.is_scored() { "scoring" } else { "calibration" };
    let shows = outcome.loss_shows.map_or_else(|| "never".into(), |step| format!("at step {step}"));
    let mut text =
        format!("{} [{split}]: quality {:.3}, the loss shows it {shows}\n", outcome.case.name(), outcome.quality);
    let right = outcome.right();
    for finding in outcome.findings.iter().chain(&outcome.notes) {
        let fits = right.is_some_and(|right: &Finding| std::ptr::eq(right, finding));
        let _ = writeln!(text, "  {} {finding}", if fits { "*" } else { " " });
    }
    text
}

const HEAD: &str = "# How well the rules tell sick from healthy

Made by `cargo run --release --example fault_zoo`, on the CPU with burn's pure-Rust backend, where the same seeds give the same runs; do not
edit. Every network is trained for real, 600 steps each, on 14 x 14 Fashion-MNIST, on sentences of made-up words, or on a regression,
observed with every statistic of `full` and with taps of its activations; the rules see what a scope would.

**Split.** Thresholds were set on seeds 1 and 2 of MLPs, a deep MLP, a CNN, a plain RNN and a regression. They are scored on seeds 21 to 23
of those, and on architectures that no threshold was set on: a ResNet, transformers, an LSTM, an embedding bag and an autoencoder. What was
changed after the first look at other architectures is told in [diagnoses.md](diagnoses.md#calibration).

**Found** is a fault whose run has a finding of severity warn or above by a rule whose words fit its symptom; each fault's rules stand in
`tests/faults/zoo/score.rs`, the one that should speak first. A run that does as well as its healthy twin on examples held back (within 2% of
accuracy, or a tenth of the squared error) has no fault to find, and is not scored.

**The loss shows it** at the first step at which it is not finite; or at which the median of the last 50 losses is above the lowest such
median so far by 15% of the first losses; or has not come down by 1% in 200 steps while more than half of the first losses is left. By
this no healthy run of the calibration split shows anything. The **lead** is the steps from the finding to there, or to the end of the run
where the loss never shows it; it is negative where the loss comes first.

";
