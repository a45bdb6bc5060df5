//! The dashboard in headless Chromium: a long run of many tensors, and what an open page costs training.
//!
//! `scale`: 300 tensors x 100,000 steps (`GRADSCOPE_STEPS` makes it shorter), which still grows: how soon the page shows
//! the run, and a new step, and how long a redraw takes. `cost`: the main job on this machine's adapter, its steps timed
//! with no page, with a client that reads and draws nothing, with a hundred of those and one that
//! never reads, and with a page open, in turn (`GRADSCOPE_ROUNDS` of that). Both without a name.

#[allow(dead_code, reason = "tests press keys and click")]
#[path = "../tests/watch/chromium.rs"]
mod chromium;
#[allow(dead_code, reason = "records are the bench's own")]
#[path = "../tests/watch/made_up.rs"]
mod made_up;
#[path = "../../benches/support/results.rs"]
mod results;
#[allow(dead_code, reason = "tests look closer")]
#[path = "../tests/watch/server.rs"]
mod server;

use chromium::Browser;
use gradscope::record::{Cost, Global, Gradient, TensorRecord};
use gradscope::stats::{Partial, order_key};
use gradscope::store::{Missed, RunPlace, RunWriter};
use gradscope::{RunStatus, StepRecord};
use made_up::made_up;
use results::quantile;
use server::Server;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TENSOR_COUNT: usize = 300;
const STEP_COUNT: u64 = 100_000;
/// A value that one tensor has at one step only, and that has to be seen.
const SPIKE: f64 = 1e9;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wants = |part: &str| asked.is_empty() || asked.iter().any(|asked| asked == part);
    if wants("scale") {
        scale();
    }
    if wants("cost") {
        cost();
    }
}

/// What the environment says, or the default.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

fn record(step: u64, random: &mut fastrand::Rng) -> StepRecord {
    let tensor = |place: usize| {
        let spike = place == 123 && step == 4321;
        let norm = if spike { SPIKE } else { (1.0 + place as f64) * (0.8 + 0.4 * random.f64()) };
        let partial = Partial {
            numel: 1_000_000,
            min_key: order_key((-0.01 * norm as f32).to_bits()),
            max_key: order_key((0.01 * norm as f32).to_bits()),
            l1_norm: 900.0 * norm,
            l2_norm_sq: norm * norm,
            positive_count: random.u64(490_000..510_000),
            near_zero_count: [random.u64(0..1000), random.u64(1000..9000)],
            ..Partial::IDENTITY
        };
        TensorRecord::of(Gradient::Observed { summary: partial.finish(), previous_step: step.checked_sub(1) })
    };
    let tensors: Vec<_> = (0..TENSOR_COUNT).map(tensor).collect();
    StepRecord {
        step,
        epoch: Some(1 + step / 1000),
        scalars: vec![("loss".into(), 2.0 + random.f64()), ("accuracy".into(), random.f64())],
        global: Global::of(&tensors),
        tensors,
        cost: Cost { submit_secs: 1e-4, ..Cost::default() },
        ..StepRecord::default()
    }
}

fn scale() {
    let step_count = number("GRADSCOPE_STEPS", STEP_COUNT);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let part = |place: usize| ["q", "k", "v", "o", "up", "down"][place % 6];
    let paths: Vec<String> =
        (0..TENSOR_COUNT).map(|place| format!("blocks.{}.{}.weight", place / 6, part(place))).collect();
    let start = made_up(&paths.iter().map(String::as_str).collect::<Vec<_>>(), "none");
    let mut writer = RunWriter::open(&RunPlace::New(dir.path().join("long")), start).expect("a run folder");
    let mut random = fastrand::Rng::with_seed(1);
    let begun = Instant::now();
    for step in 0..step_count {
        writer.write(&record(step, &mut random));
        if step % 200 == 199 {
            assert!(writer.sync());
        }
    }
    println!(
        "{TENSOR_COUNT} tensors x {step_count} steps, card: written in {:.0} s, and still going on",
        begun.elapsed().as_secs_f64()
    );
    let name = writer.folder().file_name().expect("a name").to_str().expect("our own").to_owned();
    let id = format!("long/{name}");
    {
        let server = Server::on(dir.path());
        let browser = Browser::start();
        open(&server, &browser, &id, "still written, the first look at it");
        open(&server, &browser, &id, "still written, the second page");

        // New steps, twenty a second.
        let (step, secs) = grow(&browser, &mut writer, &mut random, step_count, 200);
        redraws(&browser, "one run open", secs);
        browser.eval("location.hash += '?layer=blocks.20.o.weight'");
        browser.wait("the layer", "document.querySelectorAll('.layer .u-over').length >= 5");
        let (_, secs) = grow(&browser, &mut writer, &mut random, step, 200);
        redraws(&browser, "and a layer", secs);
        let key = browser.eval("document.querySelector('.heatmap .key').textContent");
        println!("one tensor had {SPIKE:e} at one of the steps; the heatmap's colours are for {key}");
    }
    let (_, failures) = writer.finish(RunStatus::Finished, Missed::default());
    assert!(failures.is_empty(), "{failures:?}");
    let server = Server::on(dir.path());
    let browser = Browser::start();
    open(&server, &browser, &id, "ended, the first look at it");
    browser.screenshot("scale");
}

/// How long a page takes from its address to cells and curves.
fn open(server: &Server, browser: &Browser, id: &str, what: &str) {
    browser.open("about:blank");
    let begun = Instant::now();
    browser.open(&server.run(id));
    let cells = "(() => { const c = document.querySelector('.heatmap canvas'); if (!c || c.width < 400) return false; \
        const d = new Uint32Array(c.getContext('2d').getImageData(0, 17, c.width, 300).data.buffer); return new Set(d).size > 8; })()";
    browser.wait("the heatmap", cells);
    let painted = begun.elapsed();
    browser.wait("curves", "document.querySelectorAll('main > .charts .u-over').length >= 4");
    println!(
        "{what}: heatmap after {:.2} s, curves after {:.2} s",
        painted.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    // What is behind the curves of a long run follows.
    std::thread::sleep(Duration::from_secs(3));
}

/// Writes steps as training does: the next step, and seconds from each to its being on the page.
fn grow(
    browser: &Browser,
    writer: &mut RunWriter,
    random: &mut fastrand::Rng,
    from: u64,
    count: u64,
) -> (u64, Vec<f64>) {
    browser.eval("performance.clearMeasures()");
    let mut secs = Vec::new();
    let mut waiting: Vec<(u64, Instant)> = Vec::new();
    let begun = Instant::now();
    for step in from..from + count {
        writer.write(&record(step, random));
        waiting.push((step, Instant::now()));
        while begun.elapsed() < Duration::from_millis(50) * (step - from + 1) as u32 {
            let shown = browser.eval("Number(document.querySelector('h1 + .hint').textContent.match(/step ([\\d,]+)/)[1].replaceAll(',', ''))");
            let shown = shown.as_u64().unwrap_or(0);
            waiting.retain(|(step, at)| {
                let seen = *step <= shown;
                secs.extend(seen.then(|| at.elapsed().as_secs_f64()));
                !seen
            });
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    (from + count, secs)
}

fn redraws(browser: &Browser, what: &str, secs: Vec<f64>) {
    let list = browser.eval("performance.getEntriesByName('redraw').map((entry) => entry.duration)");
    let millis: Vec<f64> = serde_json::from_value(list).expect("a list of numbers");
    println!(
        "{what}: redraw, with layout and paint, median {:.1} ms, p90 {:.1} ms of {}; a new step is seen after {:.2} s (median), {:.2} s (p99) of {}",
        quantile(&millis, 0.5),
        quantile(&millis, 0.9),
        millis.len(),
        quantile(&secs, 0.5),
        quantile(&secs, 0.99),
        secs.len()
    );
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Looking {
    Nobody,
    Reader,
    /// A hundred of them, and one that never reads.
    Hundred,
    Page,
}

/// Steps before anything is timed, between changes, and after each change that are left out.
const WARM_UP: u64 = 40;
const TURN: u64 = 160;
const SETTLE: u64 = 60;
const ROUND_COUNT: u64 = 16;

fn cost() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let turns = [Looking::Nobody, Looking::Reader, Looking::Hundred, Looking::Page];
    let round_count = number("GRADSCOPE_ROUNDS", ROUND_COUNT);
    let step_count = WARM_UP + TURN * round_count * turns.len() as u64;
    let mut training = Command::new(env!("CARGO_BIN_EXE_gradscope"))
        .args(["train", "--watch", "--port", "0", "--json", "--epochs", "1000", "--steps", &step_count.to_string()])
        .args(["--checkpoint-every", "1000"])
        .current_dir(&dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut lines = BufReader::new(training.stdout.take().expect("piped")).lines();
    let mut next =
        || lines.next().map(|line| serde_json::from_str::<serde_json::Value>(&line.expect("a line")).expect("JSON"));
    let start = next().expect("an event");
    let url = start["url"].as_str().expect("the page's URL").to_owned();
    println!("training on {}: seconds a step, {TURN} steps in turn", start["device"].as_str().unwrap_or_default());
    let browser = Browser::start();
    // By kind of turn, then round.
    let mut secs: Vec<Vec<Vec<f64>>> = vec![vec![vec![]; round_count as usize]; turns.len()];
    let mut readers: Vec<Reader> = Vec::new();
    let mut before = u64::MAX;
    while let Some(event) = next() {
        let (Some(step), Some(took)) = (event["step"].as_u64(), event["scalars"]["step_secs"].as_f64()) else {
            continue;
        };
        if event["event"] != "step" || step < WARM_UP {
            continue;
        }
        let turn = (step - WARM_UP) / TURN;
        let (round, place) = (turn / turns.len() as u64, turn % turns.len() as u64);
        // Whatever drifts over a round, each kind has its share of.
        let kind = ((place + round) % turns.len() as u64) as usize;
        if turn != before {
            before = turn;
            readers.clear();
            let count = match turns[kind] {
                Looking::Nobody | Looking::Page => 0,
                Looking::Reader => 1,
                Looking::Hundred => 101,
            };
            readers.extend((0..count).map(|place| Reader::start(&url, place < 100)));
            let page = if turns[kind] == Looking::Page { &url } else { "about:blank" };
            browser.call("Page.navigate", serde_json::json!({ "url": page }));
        }
        if (step - WARM_UP) % TURN >= SETTLE {
            secs[kind][round as usize].push(took);
        }
    }
    drop(readers);
    let _ = training.wait();
    let mean = |secs: &Vec<f64>| secs.iter().sum::<f64>() / secs.len() as f64;
    for (kind, looking) in turns.iter().enumerate() {
        let medians: Vec<f64> = secs[kind].iter().map(|secs| quantile(secs, 0.5)).collect();
        let against = |of: &mut dyn FnMut(&mut Vec<f64>) -> f64, secs: &mut [Vec<Vec<f64>>]| -> Vec<f64> {
            (0..round_count as usize)
                .map(|round| of(&mut secs[kind][round].clone()) / of(&mut secs[0][round].clone()))
                .collect()
        };
        let by_median = against(&mut |secs| quantile(secs, 0.5), &mut secs);
        let by_mean = against(&mut |secs| mean(secs), &mut secs);
        println!(
            "{looking:?}: {:.2} ms a step; against nobody in the same round, median of {round_count}: {:.4} of medians ({:.3} to {:.3} the middle half), {:.4} of means",
            1e3 * quantile(&medians, 0.5),
            quantile(&by_median, 0.5),
            quantile(&by_median, 0.25),
            quantile(&by_median, 0.75),
            quantile(&by_mean, 0.5),
        );
    }
}

/// A client that takes the event stream and does nothing with it.
struct Reader(Arc<AtomicBool>);

impl Reader {
    fn start(url: &str, reads: bool) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (host, run) = url.strip_prefix("http://").and_then(|url| url.split_once("/#/run/")).expect("a run's URL");
        let request = format!("GET /api/watch?run={run} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (host, end) = (host.to_owned(), Arc::clone(&ends));
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(host).expect("the page's port");
            stream.write_all(request.as_bytes()).expect("a request");
            let mut taken = [0; 1 << 16];
            while !reads && !end.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
            }
            while !end.load(Ordering::Relaxed) && stream.read(&mut taken).is_ok_and(|len| len > 0) {}
        });
        Self(ends)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
