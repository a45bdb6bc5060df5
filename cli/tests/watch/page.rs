//! The page in a real browser. Pictures of it are kept in target/screenshots, to be looked at.

use crate::chromium::Browser;
use crate::made_up::{made_up, made_up_record};
use crate::server::Server;
use crate::training::Training;
use gradscope::record::{Global, Gradient, TensorRecord};
use gradscope::stats::Partial;
use gradscope::store::{Missed, RunPlace, RunWriter};
use gradscope::{RunStatus, StepRecord};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A finding has to be seen this soon.
const FINDING_SECS_MAX: f64 = 2.0;

/// A browser takes a core or two: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn id(root: &Path, folder: &Path) -> String {
    folder.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/")
}

/// The step that the page says the run is at.
fn step(browser: &Browser) -> u64 {
    let text = browser.eval("document.querySelector('h1 + .hint').textContent.match(/step ([\\d,]+)/)?.[1] ?? '0'");
    text.as_str().unwrap().replace(',', "").parse().unwrap()
}

fn wait_for_step(browser: &Browser, past: u64) {
    let now = "Number((document.querySelector('h1 + .hint')?.textContent.match(/step ([\\d,]+)/)?.[1] ?? '0').replace(',', ''))";
    browser.wait("a later step", &format!("{now} > {past}"));
}

/// Colours of the heatmap's cells.
const SHADES: &str = "(() => { const c = document.querySelector('.heatmap canvas'); if (!c?.width) return 0; \
    const d = new Uint32Array(c.getContext('2d').getImageData(0, 17, c.width, c.height - 45).data.buffer); return new Set(d).size; })()";

/// Charts of a part of the page that have a line in them: pixels in colours, not the greys of axes.
fn drawn_charts(within: &str) -> String {
    format!(
        "[...document.querySelectorAll('{within} .uplot canvas')].filter((c) => {{ \
         const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
         for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200 && Math.abs(d[i] - d[i + 2]) > 60) return true; return false; }}).length"
    )
}

fn no_complaints(browser: &Browser) {
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn a_live_run_is_seen_to_grow_and_to_fall_ill() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let training = Training::live(&dir.path().join("tiny"));
    let server = Server::on(dir.path());
    let browser = Browser::start();
    browser.open(&server.url);
    browser.wait("the run in the list", "document.querySelector('tbody a')");
    browser.wait("its status", "document.querySelector('td.status')?.textContent === 'running'");
    browser.click("tbody a");
    browser.wait("cells of the heatmap", &format!("{SHADES} > 8"));
    browser.wait("curves", &format!("{} >= 4", drawn_charts("main > .charts")));
    assert_eq!(browser.eval("document.querySelectorAll('.names button').length"), 6);
    assert_eq!(browser.eval("document.getElementById('connection').textContent"), "live");
    let first = step(&browser);
    wait_for_step(&browser, first + 5);
    assert!(
        browser.eval("document.querySelector('.findings').textContent").as_str().unwrap().contains("Nothing is wrong")
    );

    // A NaN is planted.
    let planted = training.poison();
    browser.wait("the finding", "document.querySelector('.findings li.critical')");
    let secs = planted.elapsed().as_secs_f64();
    println!("from the step with the NaN to the finding on the page: {secs:.2} s");
    assert!(secs < FINDING_SECS_MAX, "{secs} s");
    let text = browser.eval("document.querySelector('.findings li.critical').textContent");
    assert!(text.as_str().unwrap().contains("non_finite"), "{text}");
    let magenta = "(() => { const c = document.querySelector('.heatmap canvas'); \
        const d = c.getContext('2d').getImageData(0, 17, c.width, c.height - 45).data; let n = 0; \
        for (let i = 0; i < d.length; i += 4) if (d[i] === 255 && d[i + 1] === 0 && d[i + 2] === 200) n++; return n; })()";
    browser.wait("the NaNs on the heatmap", &format!("{magenta} > 20"));
    browser.screenshot("live");

    // From the heatmap to a layer: the third row is middle.weight.
    let at = browser.eval(
        "(() => { const c = document.querySelector('.heatmap canvas'); c.scrollIntoView({ block: 'center' }); const b = c.getBoundingClientRect(); \
         const n = document.querySelectorAll('.names button').length; return [b.x + b.width / 3, b.y + 16 + (b.height - 38) * 2.5 / n]; })()",
    );
    browser.click_at(at[0].as_f64().unwrap(), at[1].as_f64().unwrap());
    browser.wait("the layer", "document.querySelector('.layer h2')?.textContent === 'middle.weight'");
    browser.wait("its curves", &format!("{} >= 10", drawn_charts(".layer")));
    browser.wait(
        "its histograms",
        "[...document.querySelectorAll('.layer figure > .plot > canvas')].filter((c) => c.height > 150).length >= 3",
    );
    let facts = browser.eval("document.querySelector('.layer .hint').textContent");
    assert!(facts.as_str().unwrap().starts_with("32 × 32, 1,024 elements, f32;"), "{facts}");
    browser.screenshot("layer");
    training.end();
    browser.wait("the end", "document.getElementById('connection').textContent === 'the run has ended'");
    no_complaints(&browser);
}

#[test]
fn a_page_comes_back_after_a_reload_and_after_a_restart() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let training = Training::live(&dir.path().join("tiny"));
    let server = Server::on(dir.path());
    let browser = Browser::start();
    let page = format!("{}?layer=first.bias&figure=near_zero_ratio_2", server.run(&id(dir.path(), &training.folder)));
    browser.open(&page);
    let is_open = "document.querySelector('.layer h2')?.textContent === 'first.bias' && document.querySelector('select').value === 'near_zero_ratio_2'";
    browser.wait("the layer", is_open);
    browser.reload();
    browser.wait("the layer again", is_open);
    wait_for_step(&browser, 0);
    no_complaints(&browser);

    let port = server.port.to_string();
    drop(server);
    browser.wait("word of it", "document.getElementById('connection').textContent.includes('connection lost')");
    let stood = step(&browser);
    let _server = Server::start(dir.path(), &["--port", &port]);
    browser.wait("the connection", "document.getElementById('connection').textContent === 'live'");
    wait_for_step(&browser, stood);
    browser.wait("the layer still", is_open);
    // That the server could not be reached is all that the browser may have said. How it says so depends on where
    // the end of the server met each request: refused, reset, cut off in an answer, or without one.
    let complaints = browser.errors();
    let unreached = r#""network" "Failed to load resource: net::ERR_"#;
    assert!(complaints.iter().all(|text| text.starts_with(unreached)), "{complaints:?}");
}

#[test]
fn stable_and_unstable_lie_over_one_another() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let stable = id(dir.path(), &Training::whole(&dir.path().join("stable"), 100, 1e-2));
    let unstable = id(dir.path(), &Training::whole(&dir.path().join("unstable"), 60, 3.0));
    let server = Server::on(dir.path());
    let browser = Browser::start();
    browser.open(&server.url);
    browser.wait("both runs", "document.querySelectorAll('tbody tr').length === 2");
    assert_eq!(browser.eval("document.querySelectorAll('td.wrong.warn, td.wrong.critical').length"), 1);
    for row in 1..=2 {
        browser.click(&format!("tbody tr:nth-child({row}) input"));
    }
    browser.click(".bar-of-list .button");
    browser.wait("the comparison", &format!("{} >= 4", drawn_charts("main > .charts")));
    browser.wait("both heatmaps", "document.querySelectorAll('.heatmap canvas').length >= 2");
    let legend: Value =
        browser.eval("[...document.querySelectorAll('.legend')].map((legend) => legend.textContent).join()");
    assert!(legend.as_str().unwrap().contains(&stable) && legend.as_str().unwrap().contains(&unstable), "{legend}");
    browser.screenshot("compare");
    browser.eval("(() => { const s = document.querySelector('.tools select'); s.value = 'epoch'; s.dispatchEvent(new Event('change')); })()");
    browser.wait("the other axis", "location.hash.includes('by=epoch')");
    // 100 steps of one are five epochs of 20, 60 of the other three.
    let last_x = format!("({}).chart?.lines.map((line) => line.x.at(-1)).join()", figure("Loss of each batch"));
    browser.wait("curves by epoch", &format!("['5,3', '3,5'].includes({last_x})"));
    browser.screenshot("compare-by-epoch");
    no_complaints(&browser);
}

#[test]
fn it_holds_on_a_phone_in_the_dark_and_for_the_keyboard() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let run = id(dir.path(), &Training::whole(&dir.path().join("tiny"), 80, 1e-2));
    let server = Server::on(dir.path());
    let browser = Browser::start();
    let background = "getComputedStyle(document.body).backgroundColor";
    browser.dark(true);
    browser.size(390, 844, true);
    browser.open(&server.run(&run));
    browser.wait("cells", &format!("{SHADES} > 8"));
    browser.wait("curves", &format!("{} >= 4", drawn_charts("main > .charts")));
    assert_eq!(browser.eval(background), "rgb(20, 24, 28)");
    let is_wide = "document.documentElement.scrollWidth > innerWidth";
    assert_eq!(browser.eval(is_wide), false);
    browser.screenshot("phone-dark");
    browser.eval("location.hash += '?layer=middle.weight'");
    browser.wait("the layer", &format!("{} >= 10", drawn_charts(".layer")));
    assert_eq!(browser.eval(is_wide), false);
    browser.eval("location.hash = '#/'");
    browser.wait("the list", "document.querySelector('tbody a')");
    assert_eq!(browser.eval(is_wide), false);

    // By keys alone: from the list to the run, to a layer, and back out of it.
    browser.dark(false);
    browser.size(1400, 1000, false);
    let tab_to = |what: &str, is: &str| {
        for _ in 0..40 {
            browser.press("Tab");
            if browser.eval(is) == true {
                return;
            }
        }
        panic!("the Tab key does not reach {what}");
    };
    tab_to("the run", "document.activeElement.matches('tbody a')");
    browser.press("Enter");
    browser.wait("the run", &format!("{SHADES} > 8"));
    assert_eq!(browser.eval(background), "rgb(246, 247, 249)");
    tab_to("the heatmap", "document.activeElement.matches('.heatmap canvas')");
    browser.press("ArrowDown");
    browser.press("ArrowDown");
    assert!(
        browser.eval("document.querySelector('.told').textContent").as_str().unwrap().starts_with("middle.weight, ")
    );
    browser.press("Enter");
    browser.wait("the layer", "document.querySelector('.layer h2')?.textContent === 'middle.weight'");
    browser.wait("the focus on it", "document.activeElement === document.querySelector('.layer h2')");
    browser.press("Tab");
    browser.press("Enter");
    browser.wait("the layer to close", "!document.querySelector('.layer')");
    no_complaints(&browser);
}

#[test]
fn what_a_resumed_run_takes_back_leaves_the_page() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let start = || made_up(&["a.weight", "b.weight"], "none");
    let mut writer = RunWriter::open(&RunPlace::New(dir.path().join("run")), start()).unwrap();
    let folder = writer.folder().to_owned();
    for step in 0..50 {
        let scalars = if step < 30 { vec![] } else { vec![("only_before".into(), 1.0)] };
        writer.write(&StepRecord { scalars, ..made_up_record(step, 2) });
    }
    let finding = serde_json::json!({
        "rule": "non_finite", "severity": "critical", "path": "b.weight", "first_step": 40, "last_step": 49,
        "open": true, "evidence": [],
    });
    writer.write_findings(vec![serde_json::from_value(finding).unwrap()]);
    assert_eq!(writer.finish(RunStatus::Interrupted, Missed::default()).1, []);
    let server = Server::on(dir.path());
    let browser = Browser::start();
    browser.open(&server.run(&id(dir.path(), &folder)));
    browser.wait("the finding", "document.querySelector('.findings li.critical')");
    browser.wait("the loop's own figure", "document.querySelector('main').textContent.includes('only_before')");
    assert_eq!(step(&browser), 49);

    let mut writer = RunWriter::open(&RunPlace::Resumed { folder, first_step: 20 }, start()).unwrap();
    for step in 20..25 {
        writer.write(&made_up_record(step, 2));
    }
    assert!(writer.sync());
    browser.wait("the finding to go", "document.querySelector('.findings li.none')");
    browser.wait(
        "the step it went on from",
        "/running · step 24 /.test(document.querySelector('h1 + .hint').textContent)",
    );
    let steps = format!("{}.chart.plot.data[0]", figure("L2 norm of all gradients"));
    browser.wait("the axis to end there too", &format!("{steps}.at(-1) === 24 && {steps}.length === 25"));
    let own = "[...document.querySelectorAll('figure')].find((f) => f.textContent.startsWith('only_before'))";
    browser.eval(&format!("{own}.scrollIntoView()"));
    browser.wait("the figure that only steps had that were taken back to go", &format!("{own}.hidden"));
    assert_eq!(browser.eval("document.getElementById('connection').textContent"), "live");
    no_complaints(&browser);
}

#[test]
fn names_are_text_whatever_they_look_like() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let evil = "<img src=x onerror=\"window.hit=1\"><script>window.hit=2</script>&amp;\"'`${window.hit=3}";
    let mut writer = RunWriter::open(&RunPlace::New(dir.path().join("<b>runs")), made_up(&[evil], evil)).unwrap();
    for step in 0..30 {
        let record = made_up_record(step, 1);
        writer.write(&StepRecord { scalars: vec![("loss".into(), 1.0), (evil.into(), step as f64)], ..record });
    }
    let folder = writer.folder().to_owned();
    assert_eq!(writer.finish(RunStatus::Finished, Missed::default()).1, []);
    let finding = serde_json::json!({
        "segment": 1, "rule": "non_finite", "severity": "critical", "path": evil, "first_step": 3, "last_step": 9,
        "open": false, "evidence": [[evil, 1.0]], "advice": evil, "source": evil,
    });
    std::fs::write(folder.join("findings.jsonl"), format!("{finding}\n")).unwrap();
    let run = id(dir.path(), &folder);
    let server = Server::on(dir.path());
    let browser = Browser::start();
    let unharmed = |view: &str| {
        assert_eq!(browser.eval("window.hit"), Value::Null, "{view}");
        assert_eq!(browser.eval("document.querySelectorAll('img, script').length"), 3, "{view}");
    };
    browser.open(&server.url);
    browser.wait("the run", "document.querySelector('tbody a')");
    unharmed("list");
    browser.open(&server.run(&run));
    browser.wait("the finding", "document.querySelector('.findings li.critical')");
    assert!(browser.eval("document.querySelector('.findings').textContent").as_str().unwrap().contains(evil));
    browser.click(".names button");
    browser.wait("the layer", "document.querySelector('.layer h2')");
    assert_eq!(browser.eval("document.querySelector('.layer h2').textContent"), evil);
    browser.eval("document.querySelector('details').open = true");
    std::thread::sleep(Duration::from_millis(300));
    unharmed("run");
    browser.eval("location.hash = location.hash.split('?')[0].replace('/run/', '/compare?run=')");
    browser.wait("the comparison", "document.querySelector('.beside .findings li.critical')");
    unharmed("compare");
    no_complaints(&browser);
}

/// A figure of the page by the start of its text.
fn figure(start: &str) -> String {
    format!("[...document.querySelectorAll('figure')].find((f) => f.textContent.startsWith('{start}'))")
}

#[test]
fn zeros_gaps_and_nans_look_like_what_they_are() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let mut writer =
        RunWriter::open(&RunPlace::New(dir.path().join("run")), made_up(&["zero.weight", "nan.weight"], "none"))
            .unwrap();
    for step in 0..150 {
        let mut record = made_up_record(step, 2);
        let of =
            |partial: Partial| TensorRecord::of(Gradient::Observed { summary: partial.finish(), previous_step: None });
        if step % 50 < 12 {
            record.tensors[0] = of(Partial { numel: 4, ..Partial::IDENTITY });
        }
        if step >= 91 {
            record.tensors[1] = of(Partial { numel: 4, nan_count: 4, ..Partial::IDENTITY });
        }
        record.global = Global::of(&record.tensors);
        let loss = if step >= 91 { f64::NAN } else { 2.334 };
        writer.write(&StepRecord { scalars: vec![("loss".into(), loss)], ..record });
    }
    let folder = writer.folder().to_owned();
    assert_eq!(writer.finish(RunStatus::Finished, Missed::default()).1, []);
    let (server, browser) = (Server::on(dir.path()), Browser::start());
    let run = server.run(&id(dir.path(), &folder));
    browser.open(&run);
    browser.wait("the loss", &format!("({})?.textContent.includes('NaN since step 91')", figure("Loss")));
    assert_eq!(step(&browser), 149, "the header and the axis agree");
    browser.screenshot("nan");
    let norms = figure("Gradient norms");
    browser.open(&format!("{run}?layer=zero.weight"));
    browser.wait("its norms", &format!("({norms})?.chart.plot"));
    assert_eq!(browser.eval(&format!("{norms}.chart.zeros.length")), 150 + 36, "L1 at every step, L2 at 36 of them");
    let gaps = format!("{norms}.chart.plot.data.at(-1).filter((value) => value === null).length");
    assert_eq!(browser.eval(&gaps), 36, "a logarithmic axis has no zero");
    assert_eq!(browser.eval(&format!("{norms}.chart.plot.series.some((series) => series.spanGaps)")), false);
    browser.screenshot("zeros");
    browser.open(&format!("{run}?layer=nan.weight"));
    browser.wait("its norms", &format!("({norms})?.textContent.includes('NaN since step 91')"));
    browser.open(&format!("{run}?layer=no.such.layer"));
    browser
        .wait("a word", "document.querySelector('.layer')?.textContent.includes('has no layer called no.such.layer')");
    browser.open(&server.run("nobody/knows"));
    browser.wait("a word", "document.querySelector('main').textContent.includes('there is no run of that name')");
}

/// The picture of the README: the main job with too high a learning rate, on the GPU or software Vulkan.
#[test]
#[ignore = "makes docs/pictures/dashboard.png anew"]
fn picture_of_the_readme() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let arguments = "train --watch --port 0 --json --stats full --lr 0.1 --epochs 12";
    let mut child = Command::new(env!("CARGO_BIN_EXE_gradscope"))
        .args(arguments.split(' '))
        .current_dir(&dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let start: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    std::thread::spawn(move || lines.count());
    let browser = Browser::start();
    browser.size(1400, 1010, false);
    browser.open(start["url"].as_str().unwrap());
    browser.wait("cells", &format!("{SHADES} > 8"));
    let begun = std::time::Instant::now();
    while step(&browser) < 330 && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(100));
    }
    browser.picture(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pictures/dashboard.png")));
    child.kill().unwrap();
    child.wait().unwrap();
}
