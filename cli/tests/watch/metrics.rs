//! What Prometheus is told.

use crate::http::{get, get_as, status};
use crate::made_up::{made_up, made_up_record};
use crate::server::Server;
use gradscope::RunStatus;
use gradscope::record::Finding;
use gradscope::store::{Missed, RunPlace, RunWriter};
use std::collections::{HashMap, HashSet};

type Sample = (String, HashMap<String, String>, f32);

/// Reads the text format, strictly: every metric has its help and its type, and its samples stand together.
fn parsed(answer: &str) -> Vec<Sample> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    let (mut known, mut current) = (HashSet::new(), String::new());
    let mut samples = Vec::new();
    // Labels hold no line's end of their own: those are escaped.
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            current = help.split(' ').next().unwrap().to_owned();
            assert!(known.insert(current.clone()), "{current} comes twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert!(kind == format!("{current} gauge") || kind == format!("{current} counter"), "{kind}");
        } else {
            let (name, rest) = line.split_once('{').unwrap();
            assert_eq!(name, current);
            let (labels, value) = rest.rsplit_once("} ").unwrap();
            samples.push((name.to_owned(), labels_of(labels), value.parse().unwrap()));
        }
    }
    samples
}

fn labels_of(mut text: &str) -> HashMap<String, String> {
    let mut labels = HashMap::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        text = loop {
            match chars.next().expect("a quote at the end") {
                (at, '"') => break rest[at + 1..].strip_prefix(',').unwrap_or(""),
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} comes twice");
    }
    labels
}

fn find<'a>(samples: &'a [Sample], name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = f32> + 'a {
    let fits = move |sample: &&Sample| {
        sample.0 == name && labels.iter().all(|(label, value)| sample.1.get(*label).is_some_and(|found| found == value))
    };
    samples.iter().filter(fits).map(|sample| sample.2)
}

#[test]
fn a_running_run_is_told_to_prometheus() {
    let dir = tempfile::tempdir().unwrap();
    let odd = "odd \"name\"\nof \\ two lines";
    let paths = ["a.weight", odd];
    let mut writer = RunWriter::open(&RunPlace::New(dir.path().join("runs")), made_up(&paths, "made up")).unwrap();
    for step in 0..10 {
        writer.write(&made_up_record(step, 2));
    }
    let finding = |rule: &str, path: &str, open: bool| -> Finding {
        let finding = serde_json::json!({ "rule": rule, "severity": "critical", "path": path, "first_step": 3, "last_step": 9, "open": open, "evidence": [] });
        serde_json::from_value(finding).unwrap()
    };
    writer.write_findings(vec![
        finding("non_finite", "a.weight", true),
        finding("non_finite", odd, true),
        finding("exploding_gradient", odd, false),
    ]);
    assert!(writer.sync());
    let server = Server::on(dir.path());
    let run = format!("runs/{}", writer.folder().file_name().unwrap().to_str().unwrap());
    let run = [("run", run.as_str())];
    let samples = parsed(&get(server.port, "/metrics"));
    assert_eq!(find(&samples, "gradscope_run_info", &run).collect::<Vec<_>>(), [1.0]);
    assert_eq!(find(&samples, "gradscope_step", &run).collect::<Vec<_>>(), [9.0]);
    let record = made_up_record(9, 2);
    let labels = [run[0], ("source", "global"), ("name", "l2_norm")];
    let expected = record.global.l2_norm as f32;
    assert_eq!(find(&samples, "gradscope_figure", &labels).collect::<Vec<_>>(), [expected]);
    for (path, tensor) in paths.iter().zip(&record.tensors) {
        let labels = [run[0], ("tensor", path), ("figure", "l2_norm")];
        let expected = tensor.summary().unwrap().l2_norm as f32;
        assert_eq!(find(&samples, "gradscope_tensor_figure", &labels).collect::<Vec<_>>(), [expected]);
    }
    let labels = [run[0], ("rule", "non_finite"), ("severity", "critical")];
    assert_eq!(find(&samples, "gradscope_open_findings", &labels).collect::<Vec<_>>(), [2.0]);
    assert_eq!(find(&samples, "gradscope_open_findings", &[]).count(), 1, "one that is over is not open");
    assert_eq!(find(&samples, "gradscope_missed_steps_total", &run).collect::<Vec<_>>(), [0.0; 3]);

    // What comes later is told at the next look, of what is asked for.
    (10..20).for_each(|step| writer.write(&made_up_record(step, 2)));
    assert!(writer.sync());
    let samples = parsed(&get(server.port, "/metrics?figure=l1_norm&figure=nothing&figure=l1_norm"));
    assert_eq!(find(&samples, "gradscope_step", &run).collect::<Vec<_>>(), [19.0]);
    assert_eq!(find(&samples, "gradscope_tensor_figure", &[]).count(), 2);
    assert_eq!(find(&samples, "gradscope_tensor_figure", &[("figure", "l1_norm")]).count(), 2);

    // A run that has ended is no news.
    writer.finish(RunStatus::Finished, Missed::default());
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(parsed(&get(server.port, "/metrics")).len(), 0);
}

#[test]
fn programs_bring_the_token_in_a_header() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--host", "0.0.0.0", "--port", "0"]);
    let token = server.query.split_once("token=").expect("the URL has a token").1;
    let ask =
        |value: &str| status(&get_as(server.port, "/metrics", &format!("Host: a.example\r\nAuthorization: {value}")));
    assert_eq!(ask(&format!("Bearer {token}")), 200);
    for other in ["Bearer", "Bearer ", "Bearer 0123", &format!("Bearer {token}0"), &format!("Basic {token}"), token] {
        assert_eq!(ask(other), 403, "{other}");
    }
}
