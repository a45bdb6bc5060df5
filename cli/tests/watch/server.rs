//! `gradscope watch`, as a user starts it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Server {
    child: Child,
    /// Without a `/` at its end.
    pub url: String,
    /// What the URL has after its `/`.
    pub query: String,
    pub port: u16,
}

impl Server {
    pub fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gradscope"));
        command.arg("watch").arg(dir).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the command runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, url) = line.trim().rsplit_once(" at ").unwrap_or_else(|| panic!("no URL in `{line}`"));
        let (host, query) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let port = host.rsplit_once(':').unwrap().1.parse().unwrap();
        Self { child, url: format!("http://{host}"), query: query.to_owned(), port }
    }

    /// As it answers on a free port.
    pub fn on(dir: &Path) -> Self {
        Self::start(dir, &["--port", "0"])
    }

    /// Of the page of a run.
    pub fn run(&self, id: &str) -> String {
        format!("{}/#/run/{}", self.url, id.replace('/', "%2F"))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
