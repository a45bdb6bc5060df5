//! The page of `gradscope train --watch`: a process of its own, so that training holds no viewer's memory.

use super::{Options, Place, Watching, catalog, encoded, open};
use crate::runs;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Option of `gradscope watch` with which it serves for a process that trains.
const OPTION: &str = "--until-stdin-ends";

/// A page that a child process serves until this value is dropped.
pub struct PageProcess {
    child: Child,
    /// Folder whose runs are shown, as an absolute path without links.
    root: PathBuf,
    url: String,
    opens: bool,
}

impl PageProcess {
    /// Starts the child and waits until it has the port.
    ///
    /// # Errors
    /// The child can't serve: its own reason.
    pub fn start(dir: &Path, place: &Place) -> Result<Self> {
        let program = std::env::current_exe().context("--watch: the program's own path")?;
        let mut command = Command::new(program);
        command.arg("watch").arg(dir).arg("--host").arg(place.host.to_string()).arg(OPTION);
        if let Some(port) = place.port {
            command.arg("--port").arg(port.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("--watch: starting the process of the page")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).context("--watch: what the page's process says")?;
        }
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(url) = said["url"].as_str() else {
            let _ = child.wait();
            bail!("{}", said["error"].as_str().unwrap_or("--watch: the process of the page ended at once"));
        };
        let root = dir.canonicalize().with_context(|| format!("{}", dir.display()))?;
        Ok(Self { child, root, url: url.to_owned(), opens: place.open })
    }

    /// Returns the URL of the page of a run.
    pub fn url(&self, run: &Path) -> String {
        let fragment = catalog::id(&self.root, run).map_or(String::new(), |id| format!("#/run/{}", encoded(&id)));
        format!("{}{fragment}", self.url)
    }

    /// Opens the page of a run in the browser, where `--open` asked for it.
    pub fn open(&self, run: &Path) {
        if self.opens {
            open(&self.url(run));
        }
    }

    /// Keeps the page for whoever sits before the terminal, until they have seen enough.
    pub fn linger(&mut self, run: &Path, stop: impl Fn() -> bool) {
        if !std::io::stderr().is_terminal() || self.is_gone() {
            return;
        }
        runs::complain(&format_args!("the page stays at {} until Ctrl-C", self.url(run)));
        while !stop() && !self.is_gone() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Returns whether the child has ended, and says so.
    fn is_gone(&mut self) -> bool {
        let status = self.child.try_wait().ok().flatten();
        if let Some(status) = status {
            runs::complain(&format_args!("the page is gone: its process ended with {status}"));
        }
        status.is_some()
    }
}

impl Drop for PageProcess {
    fn drop(&mut self) {
        // The child ends by itself at the end of its stdin, also where this process is killed.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves in the child: says on stdout where, or why not, and ends when the process that trains does.
pub fn serve(options: &Options) -> Result<()> {
    let served = start(options);
    let said = match &served {
        Ok(watching) => json!({ "url": watching.url() }),
        Err(error) => json!({ "error": format!("{error:#}") }),
    };
    writeln!(std::io::stdout(), "{said}").context("stdout")?;
    // Its parent has said why.
    let Ok(watching) = served else { std::process::exit(i32::from(crate::BAD_INPUT)) };
    // Ctrl-C in a terminal reaches every process of the group; the parent decides when the page ends.
    ctrlc::set_handler(|| {}).context("Ctrl-C will not be caught")?;
    let parent = std::thread::spawn(|| std::io::stdin().read_to_end(&mut vec![]));
    while !parent.is_finished() && !watching.server.is_finished() {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Takes the port before it makes the folder, so that a port that is taken leaves nothing behind.
fn start(options: &Options) -> Result<Watching> {
    let listener = options.place.bind()?;
    std::fs::create_dir_all(&options.dir).with_context(|| format!("{}", options.dir.display()))?;
    Watching::start(listener, &options.dir, &options.place)
}
