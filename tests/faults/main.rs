//! A part of the fault zoo, trained for real: what `cargo run --release --example fault_zoo` does at length.

mod zoo;

use gradscope::diagnosis::Rules;
use gradscope::{Device, DeviceChoice, Run};
use zoo::case::{Split, corpus};
use zoo::report::{Scores, lines, page};
use zoo::score::{Outcome, Shown, examine};

#[test]
fn sick_runs_are_told_from_healthy_ones() {
    let device = Device::open(DeviceChoice::Cpu).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let (mut outcomes, mut card): (Vec<Outcome>, Vec<Outcome>) = (vec![], vec![]);
    for (n, case) in corpus(true).iter().enumerate() {
        let folder = zoo::train::train(case, &device, &parent.path().join(n.to_string()));
        let outcome = examine(case, &folder, &Rules::default(), Shown::All).unwrap();
        // What the scope found as it went is what its records say.
        let mut live: Vec<_> = Run::open(&folder).unwrap().findings().unwrap();
        live.retain(|finding| finding.rule != gradscope::record::Rule::Stalled);
        let mut replayed: Vec<_> = outcome.findings.iter().chain(&outcome.notes).collect();
        replayed.sort_by_key(|finding| (finding.rule, finding.path.clone(), finding.first_step));
        live.sort_by_key(|finding| (finding.rule, finding.path.clone(), finding.first_step));
        assert_eq!(live.len(), replayed.len(), "{}", lines(&outcome));
        for (live, replayed) in live.iter().zip(replayed) {
            assert!(live.is_same_episode(replayed) && !live.open, "{live}\n{replayed}");
        }
        card.push(examine(case, &folder, &Rules::default(), Shown::Card).unwrap());
        outcomes.push(outcome);
    }
    let scores = Scores::new(&outcomes);
    let told = || outcomes.iter().map(lines).collect::<String>();
    assert!(scores.scored().count() >= 60 && scores.healthy(Split::Scoring).count() >= 20, "{}", told());
    assert!(scores.found().ratio() >= 0.95, "{:.3} found\n{}", scores.found().ratio(), told());
    assert!(scores.right_layer().of >= 8 && scores.right_layer().ratio() >= 0.9, "{}", told());
    assert_eq!(scores.false_alarms().count, 0, "{}", told());
    assert!(scores.gradual_lead().unwrap() >= 50, "{}", told());
    // A blind diagnosis finds nothing: the corpus can tell.
    let blind = gradscope::record::Rule::ALL.iter().fold(Rules::default(), |rules, rule| rules.off(*rule));
    let sick = &outcomes.iter().find(|outcome| outcome.case.fault.is_some()).unwrap().case;
    let folder = zoo::train::train(sick, &device, &parent.path().join("blind"));
    assert!(examine(sick, &folder, &blind, Shown::All).unwrap().right().is_none());
    assert!(page(&scores, &Scores::new(&card)).contains("| `non_finite` |"));
}
