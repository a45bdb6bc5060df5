//! Tables of what the other benches have measured on this machine, and the ratios that must hold.
//!
//! `make bench` measures all and writes them into BENCHMARKS.md; `cargo bench --bench report` prints them. Ends with an error
//! where a ratio misses its bound.

#[path = "support/results.rs"]
mod results;

use clap::Parser;
use results::folder;
use serde_json::Value;
use std::fmt::Write;
use std::process::ExitCode;

/// Makes tables of the benches' results.
#[derive(Parser)]
struct Options {
    /// Replace this adapter's section of that file, or add one.
    #[arg(long)]
    write: Option<std::path::PathBuf>,
    /// What the section says of when, where and of what: date, commit, processor.
    #[arg(long, default_value = "")]
    of: String,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let Some(reduction) = Measured::load("grad_reduce") else {
        eprintln!("nothing was measured yet: run `make bench`");
        return ExitCode::FAILURE;
    };
    let adapter = reduction.adapter.as_str();
    let peers = Measured::on(adapter, "peers");
    let steps = ["step_overhead", "step_overhead_unfused"].map(|name| Measured::on(adapter, name));
    let checks = checks(&reduction, peers.as_ref(), steps[0].as_ref());
    let mut text = format!("## {}\n\n", reduction.adapter);
    if !options.of.is_empty() {
        writeln!(text, "{}\n", options.of).expect("a String takes every write");
    }
    text += &targets(&checks);
    text += &reduced(&reduction);
    text += &sets(&reduction);
    text += &peers.as_ref().map(compared).unwrap_or_default();
    text += &overhead(&steps);
    text += &main_job(adapter);
    text += &others(adapter);
    print!("{text}");
    if let Some(path) = &options.write {
        let whole = std::fs::read_to_string(path).expect("the file to write into");
        std::fs::write(path, with_section(&whole, adapter, &text)).expect("the file can be written");
    }
    let missed: Vec<_> = checks.iter().filter(|check| check.misses(check.bound)).collect();
    for check in &missed {
        eprintln!("missed: {}: {:.3}, and the bound is {}", check.what, check.value, check.text(check.bound));
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `whole` with the adapter's section replaced by `text`, or added at its end.
fn with_section(whole: &str, adapter: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- measured: {adapter} -->"), "<!-- end -->");
    let section = format!("{begin}\n\n{}\n{end}", text.trim_end());
    let found = whole.find(&begin).and_then(|at| Some((at, at + whole[at..].find(end)? + end.len())));
    match found {
        Some((from, to)) => format!("{}{section}{}", &whole[..from], &whole[to..]),
        None => format!("{}\n\n{section}\n", whole.trim_end()),
    }
}

/// The rows of one bench.
struct Measured {
    adapter: String,
    software: bool,
    rows: Vec<Value>,
}

impl Measured {
    fn load(name: &str) -> Option<Self> {
        let text = std::fs::read(folder().join(format!("{name}.json"))).ok()?;
        let mut rows: Vec<Value> = serde_json::from_slice(&text).ok()?;
        let head = rows.remove(0);
        Some(Self { adapter: head["adapter"].as_str()?.into(), software: head["kind"] == "Cpu", rows })
    }

    /// What was measured on that adapter, or on none.
    fn on(adapter: &str, name: &str) -> Option<Self> {
        Self::load(name).filter(|measured| measured.adapter == adapter || measured.adapter == "none")
    }

    fn figure(&self, case: &str, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row["case"] == case)?[name].as_f64()
    }

    /// Rows whose case begins so, with what follows.
    fn of<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.rows.iter().filter_map(move |row| Some((row["case"].as_str()?.strip_prefix(prefix)?, row)))
    }

    /// By the GPU's clock where both cases have it and a real GPU is behind it, else the wall's.
    fn ratio(&self, case: &str, to: &str) -> Option<f64> {
        let by = |name: &str| Some(self.figure(case, name)? / self.figure(to, name)?);
        by("gpu_secs").filter(|_| !self.software).or_else(|| by("secs"))
    }
}

/// A bound on a ratio or a time, on a GPU and on a software driver.
struct Check {
    what: &'static str,
    value: f64,
    at_least: bool,
    /// `None` is reported only.
    aim: Option<f64>,
    /// What the aim is missed by, knowingly: BENCHMARKS.md says why.
    bound: Option<f64>,
}

/// Bytes that the card moves for an element, with two bits of state read and written, and a copy.
const CARD_BYTES: f64 = 4.5;
const COPY_BYTES: f64 = 8.0;
/// A software driver computes whole tiles, however little of them a tensor fills.
const SOFTWARE_SPLIT_MAX: f64 = 1.6;
const SPLIT: &str = "300 tensors against one of as many elements";

impl Check {
    fn misses(&self, bound: Option<f64>) -> bool {
        bound.is_some_and(|bound| if self.at_least { self.value < bound } else { self.value > bound })
    }

    fn text(&self, bound: Option<f64>) -> String {
        let sign = if self.at_least { ">=" } else { "<=" };
        bound.map_or("reported".into(), |bound| format!("{sign} {bound}"))
    }
}

fn checks(reduction: &Measured, peers: Option<&Measured>, steps: Option<&Measured>) -> Vec<Check> {
    let software = reduction.software;
    let mut checks = Vec::new();
    let mut check = |what, value: Option<f64>, at_least, gpu: Option<f64>, cpu: Option<f64>| {
        let aim = if software { cpu } else { gpu };
        let bound = if software && what == SPLIT { Some(SOFTWARE_SPLIT_MAX) } else { aim };
        checks.extend(value.map(|value| Check { what, value, at_least, aim, bound }));
    };
    let ratio = |case: &str, to: &str| peers.and_then(|peers| peers.ratio(case, to));
    let copy = ratio("one tensor/copy", "one tensor/gradscope").map(|ratio| ratio * CARD_BYTES / COPY_BYTES);
    check("card, one large tensor: bytes a second against a copy's", copy, true, Some(0.85), None);
    let sum = ratio("one tensor/gradscope", "one tensor/sum_only");
    check("card against a kernel that only adds up", sum, false, Some(1.2), None);
    let split = reduction.ratio("tensor_count/300", "tensor_count/1");
    check(SPLIT, split, false, Some(1.15), Some(1.15));
    let tiny = |name: &str| reduction.figure("tiny_tensors/300", name).map(|secs| 1e3 * secs);
    check("300 tensors of 64 elements, ms on the GPU", tiny("gpu_secs"), false, Some(0.05), None);
    check("300 tensors of 64 elements, ms of `submit()`", tiny("submit_secs"), false, Some(0.5), Some(0.5));
    let wall =
        |case: &str| peers.and_then(|p| Some(p.figure(case, "secs")? / p.figure("ResNet-18/gradscope", "secs")?));
    check(
        "burn's operations, each read, against gradscope",
        wall("ResNet-18/burn_read_each"),
        true,
        Some(20.0),
        Some(10.0),
    );
    check(
        "burn's operations, one read, against gradscope",
        wall("ResNet-18/burn_read_once"),
        true,
        Some(6.0),
        Some(6.0),
    );
    let torch = Measured::load("torch").filter(|torch| torch.adapter.contains("CPU") == software);
    let torch = torch.and_then(|torch| {
        let fastest = torch.figure("read_each", "secs")?.min(torch.figure("read_once", "secs")?);
        Some(fastest / peers?.figure("ResNet-18/gradscope", "secs")?)
    });
    check("PyTorch against gradscope", torch, true, Some(20.0), Some(5.0));
    let step = |network: &str, name: &str| {
        let (_, row) = steps?.of(network).find(|(case, _)| case.ends_with("| card | free running"))?;
        row[name].as_f64()
    };
    check("a step of the MLP with the card, against none", step("MLP", "ratio"), false, None, Some(1.1));
    check("a step of ResNet-18 with the card, against none", step("ResNet-18", "ratio"), false, Some(1.01), None);
    check("the same, p99", step("ResNet-18", "ratio_p99"), false, Some(1.02), None);
    checks
}

fn targets(checks: &[Check]) -> String {
    // A ratio near one is told by its thousandths.
    let figure = |value: f64| if value < 10.0 { format!("{value:.3}") } else { rounded(value) };
    let rows = checks.iter().map(|check| {
        let met = match check.aim {
            None => "",
            Some(_) if check.misses(check.aim) => "missed",
            Some(_) => "met",
        };
        vec![check.what.into(), figure(check.value), check.text(check.aim), met.into()]
    });
    table("Ratios", &["", "measured", "aim", ""], rows)
}

fn reduced(measured: &Measured) -> String {
    let mut rows = Vec::new();
    let groups = [
        ("one_tensor/", "one tensor of so many elements"),
        ("tensor_count/", "as many elements in so many tensors"),
        ("tiny_tensors/", "tensors of 64 elements"),
    ];
    for (group, words) in groups {
        for (_, row) in measured.of(group) {
            let figure = |name: &str| number(row, name);
            let numel = figure("numel");
            let each = numel / figure("tensors");
            let secs = if measured.software { figure("secs") } else { figure("gpu_secs") };
            let rate = |per: f64| if numel < 1e5 { String::new() } else { rounded(per * numel / secs * 1e-9) };
            rows.push(vec![
                words.into(),
                count(figure("tensors")),
                if row["case"] == "tensor_count/ResNet-18" { "ResNet-18's".into() } else { count(each.round()) },
                ms(figure("secs")),
                ms(figure("p99_secs")),
                ms(figure("gpu_secs")),
                rate(1.0),
                rate(CARD_BYTES),
                ms(figure("submit_secs")),
                ms(figure("encode_secs")),
                ms(figure("read_secs")),
            ]);
        }
    }
    let heads = [
        "",
        "tensors",
        "elements each",
        "ms",
        "p99",
        "GPU",
        "G elements/s",
        "GB/s",
        "`submit()`",
        "burn's thread",
        "reading",
    ];
    table("One observed step of the card, submitted and read back", &heads, rows)
}

fn sets(measured: &Measured) -> String {
    let card = measured.figure("groups/card", "secs").unwrap_or(f64::NAN);
    let mut rows = Vec::new();
    for group in ["groups/", "shaders/"] {
        for (name, row) in measured.of(group) {
            let figure = |name: &str| number(row, name);
            let name = if group == "shaders/" { format!("card, shaders: {name}") } else { name.into() };
            rows.push(vec![name, ms(figure("secs")), ms(figure("gpu_secs")), rounded(figure("secs") / card)]);
        }
    }
    if let Some(secs) = measured.figure("cpu_twin", "secs") {
        let rate = measured.figure("cpu_twin", "numel").unwrap_or(f64::NAN) / secs * 1e-6;
        let mut text = table("Sets, 11,689,512 elements in one tensor", &["", "ms", "GPU", "against the card"], rows);
        writeln!(text, "The CPU twin, one thread: {} M elements/s.\n", rounded(rate))
            .expect("a String takes every write");
        return text;
    }
    table("Sets, 11,689,512 elements in one tensor", &["", "ms", "GPU", "against the card"], rows)
}

fn compared(peers: &Measured) -> String {
    let mut text = String::new();
    for (workload, title) in [
        ("ResNet-18", "Peers, on the gradients of ResNet-18: 62 tensors, 11,689,512 elements".to_owned()),
        ("one tensor", {
            let numel = peers.figure("one tensor/gradscope", "numel").unwrap_or(f64::NAN);
            format!("Peers, on one tensor of {} elements", count(numel))
        }),
    ] {
        let Some(own) = peers.figure(&format!("{workload}/gradscope"), "secs") else { continue };
        let names = [
            ("gradscope", "gradscope, the card"),
            ("copy", "a copy of the same bytes"),
            ("sum_only", "a kernel that adds the elements up, one tensor"),
            ("burn_read_each", "burn's operations, 13 statistics a tensor, one read each"),
            ("burn_read_once", "burn's operations, one read for all"),
            ("read_back", "all gradients read back, the CPU twin on one thread"),
        ];
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (name, words) in names {
            let case = format!("{workload}/{name}");
            let Some(secs) = peers.figure(&case, "secs") else { continue };
            let gpu = peers.figure(&case, "gpu_secs").unwrap_or(f64::NAN);
            rows.push(vec![words.into(), ms(secs), ms(gpu), rounded(secs / own)]);
        }
        if let Some(torch) = Measured::load("torch").filter(|_| workload == "ResNet-18") {
            for (case, words) in [("read_each", "`.item()` each"), ("read_once", "one read")] {
                let Some(secs) = torch.figure(case, "secs") else { continue };
                rows.push(vec![format!("{}, {words}", torch.adapter), ms(secs), String::new(), rounded(secs / own)]);
            }
        }
        text += &table(&title, &["", "ms", "GPU", "against gradscope"], rows);
    }
    text
}

fn overhead(steps: &[Option<Measured>]) -> String {
    let mut rows = Vec::new();
    for (measured, burn) in steps.iter().zip(["fusion", "no fusion"]) {
        let Some(measured) = measured else { continue };
        for (case, row) in measured.of("") {
            let figure = |name: &str| number(row, name);
            let parts: Vec<&str> = case.split(" | ").collect();
            let [network, set, way] = parts[..] else { continue };
            rows.push(vec![
                network.into(),
                burn.into(),
                set.into(),
                way.into(),
                ms(figure("without_secs")),
                ms(figure("with_secs")),
                format!("{:.3} ({:.3} of {})", figure("ratio"), figure("ratio_p99"), figure("pairs")),
                format!("{} ({})", ms(figure("submit_secs")), ms(figure("submit_p99_secs"))),
                format!("{} ({})", ms(figure("handoff_secs")), ms(figure("handoff_p99_secs"))),
                ms(figure("encode_secs")),
                figure("waits").to_string(),
            ]);
        }
    }
    let heads = [
        "network",
        "burn",
        "set",
        "measure",
        "ms without",
        "ms with",
        "paired ratio, median (p99 of pairs)",
        "`submit()` (p99)",
        "of it hand-off (p99)",
        "burn's thread",
        "waits",
    ];
    table("A training step with and without the scope", &heads, rows)
}

fn main_job(adapter: &str) -> String {
    let Some(measured) = Measured::on(adapter, "main_job") else { return String::new() };
    let none = measured.figure("--no-scope", "step_secs").unwrap_or(f64::NAN);
    let rows = measured.of("").filter_map(|(case, row)| {
        let secs = row["step_secs"].as_f64()?;
        Some(vec![format!("`{case}`"), ms(secs), format!("{:.3}", secs / none)])
    });
    table(
        "The main job: `gradscope train --steps 200`, first steps and tests included",
        &["", "ms a step", "against none"],
        rows,
    )
}

/// What takes no part of a step.
fn others(adapter: &str) -> String {
    let mut rows = Vec::new();
    for (bench, title) in
        [("diagnosis", "examining a step"), ("run_folder", "a long run's folder"), ("soak", "100,000 steps on end")]
    {
        let Some(measured) = Measured::on(adapter, bench) else { continue };
        rows.extend(
            measured
                .of("")
                .filter_map(|(case, row)| Some(vec![title.into(), case.into(), rounded(row["value"].as_f64()?)])),
        );
    }
    table("Beside the step", &["", "", ""], rows)
}

fn table(title: &str, heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("### {title}\n\n");
    let mut line = |cells: &[String]| writeln!(text, "| {} |", cells.join(" | ")).expect("a String takes every write");
    line(&heads.iter().map(ToString::to_string).collect::<Vec<_>>());
    line(&heads.iter().map(|_| "---".to_owned()).collect::<Vec<_>>());
    let mut any = false;
    for row in rows {
        line(&row);
        any = true;
    }
    if any { text + "\n" } else { String::new() }
}

/// NaN where a row has no such figure.
fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or(f64::NAN)
}

/// Seconds in milliseconds, or nothing.
fn ms(secs: f64) -> String {
    if secs.is_nan() { String::new() } else { rounded(1e3 * secs) }
}

/// Three digits.
fn rounded(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => String::new(),
        0.0 => "0".into(),
        large if large >= 100.0 => count(value.round()),
        size => format!("{value:.*}", (2 - size.log10().floor() as i32).clamp(0, 4) as usize),
    }
}

/// Thousands apart.
fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}
