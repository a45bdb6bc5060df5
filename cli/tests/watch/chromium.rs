//! A headless Chromium, driven over its debugging pipe: JSON messages that end with a NUL.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What a browser is called, here and there.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const ANSWER_SECS_MAX: u64 = 30;

/// A browser with one page.
pub struct Browser {
    child: Child,
    session: String,
    mobile: Cell<bool>,
    pipe: RefCell<Pipe>,
    _profile: tempfile::TempDir,
}

struct Pipe {
    to: ChildStdin,
    from: Receiver<Value>,
    next_id: u64,
    /// What the page complained of.
    errors: Vec<String>,
}

fn program() -> PathBuf {
    let named = std::env::var_os("GRADSCOPE_BROWSER").map(PathBuf::from);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found =
        || std::env::split_paths(&paths).flat_map(|dir| NAMES.map(|name| dir.join(name))).find(|file| file.exists());
    named.or_else(found).expect("Chromium is needed: `make browser` installs it, or GRADSCOPE_BROWSER names one")
}

impl Browser {
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The shell puts the pipes where the browser looks for them.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 >/dev/null 2>&1"])
            .arg(program())
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--hide-scrollbars",
            ])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let (to, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, from) = channel();
        std::thread::spawn(move || {
            let mut messages = BufReader::new(out).split(0);
            while let Some(Ok(message)) = messages.next() {
                let Ok(value) = serde_json::from_slice(&message) else { continue };
                if send.send(value).is_err() {
                    break;
                }
            }
        });
        let pipe = RefCell::new(Pipe { to, from, next_id: 0, errors: vec![] });
        let mut browser = Self { child, session: String::new(), mobile: Cell::new(false), pipe, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Performance"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.size(1400, 1000, false);
        browser
    }

    /// Calls a method of the browser's protocol.
    pub fn call(&self, method: &str, params: Value) -> Value {
        let mut pipe = self.pipe.borrow_mut();
        pipe.next_id += 1;
        let id = pipe.next_id;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() && !method.starts_with("Target.") {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        pipe.to.write_all(&bytes).expect("the browser listens");
        let until = Instant::now() + Duration::from_secs(ANSWER_SECS_MAX);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let message = pipe.from.recv_timeout(left).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            pipe.take(&message);
        }
    }

    pub fn open(&self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        self.wait("the page", "document.readyState === 'complete'");
    }

    pub fn reload(&self) {
        self.call("Page.reload", json!({}));
    }

    /// The value of an expression, or of the promise that it is.
    pub fn eval(&self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression holds: how long that took.
    pub fn wait(&self, what: &str, expression: &str) -> Duration {
        let begun = Instant::now();
        loop {
            if self.eval(&format!("Boolean({expression})")) == true {
                return begun.elapsed();
            }
            if begun.elapsed() > Duration::from_secs(20) {
                self.screenshot("failed");
                panic!(
                    "{what} did not come; {:?}; the page says: {}",
                    self.errors(),
                    self.eval("document.body.innerText")
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses and releases a key, such as `Enter`.
    pub fn press(&self, key: &str) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", json!({ "type": kind, "key": key, "code": key, "text": if kind == "keyDown" { text } else { "" }, "windowsVirtualKeyCode": code(key) }));
        }
    }

    /// Clicks the middle of the element that a selector finds.
    pub fn click(&self, selector: &str) {
        let at = self.eval(&format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{ block: 'center' }}); \
             const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()"
        ));
        self.click_at(at[0].as_f64().unwrap(), at[1].as_f64().unwrap());
    }

    pub fn click_at(&self, x: f64, y: f64) {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let params = json!({ "type": kind, "x": x, "y": y, "button": if kind == "mouseMoved" { "none" } else { "left" }, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", params);
        }
    }

    pub fn size(&self, width: u32, height: u32, mobile: bool) {
        self.mobile.set(mobile);
        let params = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call("Emulation.setDeviceMetricsOverride", params);
    }

    pub fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] }),
        );
    }

    /// Keeps a picture of the whole page for people to look at, in target/screenshots.
    pub fn screenshot(&self, name: &str) {
        let [width, height] = ["innerWidth", "innerHeight"].map(|len| self.eval(len).as_u64().unwrap() as u32);
        // What is out of sight is not drawn anew.
        let whole = self.eval("document.documentElement.scrollHeight").as_u64().unwrap() as u32;
        self.size(width, whole.max(height), self.mobile.get());
        std::thread::sleep(Duration::from_millis(300));
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        self.picture(&folder.join(format!("{name}.png")));
        self.size(width, height, self.mobile.get());
    }

    /// Keeps a picture of what is in sight.
    pub fn picture(&self, path: &Path) {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        std::fs::write(path, BASE64.decode(answer["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// What the page has complained of since the last time.
    pub fn errors(&self) -> Vec<String> {
        self.call("Runtime.evaluate", json!({ "expression": "0" }));
        std::mem::take(&mut self.pipe.borrow_mut().errors)
    }
}

impl Pipe {
    fn take(&mut self, message: &Value) {
        let params = &message["params"];
        let complaint = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(params["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if params["type"] == "error" || params["type"] == "warning" => {
                Some(params["args"].to_string())
            }
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                Some(format!("{} {}", params["entry"]["source"], params["entry"]["text"]))
            }
            Some("Page.javascriptDialogOpening") => Some("a dialog was opened".into()),
            _ => None,
        };
        self.errors.extend(complaint);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(key: &str) -> u32 {
    match key {
        "Enter" => 13,
        "Tab" => 9,
        "ArrowDown" => 40,
        "ArrowUp" => 38,
        "End" => 35,
        _ => 0,
    }
}
