//! The dashboard: a page that shows runs as their folders grow. It reads folders, never a GPU.

mod catalog;
mod connection;
mod feed;
mod guard;
mod metrics;
mod page;
mod server;
mod shapes;

use crate::runs;
use anyhow::{Context, Result, bail};
use catalog::Catalog;
use clap::Args;
use guard::Access;
use std::io::{ErrorKind, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Where the page is served unless it is taken.
const PORT: u16 = 6464;

#[derive(Args)]
pub struct Options {
    /// Folder of runs, or one run.
    #[arg(value_name = "RUNS_DIR|RUN", default_value = "runs")]
    dir: PathBuf,

    #[command(flatten)]
    place: Place,
}

/// Where the page is served.
#[derive(Args, Clone)]
pub struct Place {
    /// Port of the page; 0 takes a free one [default: 6464, or a free one where that is taken].
    #[arg(long, value_name = "N")]
    port: Option<u16>,

    /// Address to serve on. Any but this machine's own (127.0.0.1, ::1) lets others on the network reach the page, who need
    /// the token in its URL.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,

    /// Open the page in the browser.
    #[arg(long)]
    open: bool,
}

/// A port that is taken: whatever is wrong with it is told before anything else is done.
pub struct Doorway {
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
    open: bool,
}

/// A page that is being served, for as long as the process lives.
pub struct Watching {
    catalog: Arc<Catalog>,
    address: SocketAddr,
    access: Access,
    server: JoinHandle<Result<()>>,
}

/// `gradscope watch`: serves until Ctrl-C.
pub fn watch(options: &Options) -> Result<()> {
    match std::fs::metadata(&options.dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => bail!("{}: it is a file; runs are folders", options.dir.display()),
        Err(_) => {
            bail!("{}: there is no such folder; `gradscope train` makes runs/MODEL/TIME-ID", options.dir.display())
        }
    }
    let watching = Doorway::open(&options.place)?.watch(&options.dir, None)?;
    runs::say(&format_args!("watching {} at {}", options.dir.display(), watching.url(None)));
    runs::complain(&format_args!("Ctrl-C ends it"));
    watching.server.join().unwrap_or_else(|_| bail!("the server failed; the lines above say how"))
}

impl Place {
    /// Whether something other than the defaults was asked for.
    pub fn is_given(&self) -> bool {
        self.port.is_some() || self.open || self.host != IpAddr::V4(Ipv4Addr::LOCALHOST)
    }
}

impl Doorway {
    /// # Errors
    /// Where the port is taken, or the address is not this machine's.
    pub fn open(place: &Place) -> Result<Self> {
        let port = place.port.unwrap_or(PORT);
        let listener = match TcpListener::bind((place.host, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && place.port.is_none() => {
                TcpListener::bind((place.host, 0))
            }
            bound => bound,
        };
        let listener = listener.with_context(|| {
            format!("--port {port} of --host {}: take another port, or 0 for a free one", place.host)
        })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let access = if place.host.is_loopback() { Access::loopback(address) } else { Access::token(address)? };
        Ok(Self { listener, address, access, open: place.open })
    }

    /// Serves the runs of a folder from a thread of its own, and opens the page, or a run's, where that was asked for.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn watch(&self, dir: &Path, run: Option<&Path>) -> Result<Watching> {
        let catalog = Arc::new(Catalog::new(dir)?);
        let (address, access) = (self.address, self.access.clone());
        let (listener, served) = (self.listener.try_clone()?, Arc::clone(&catalog));
        let serve = {
            let access = access.clone();
            move || {
                let ended = server::serve(listener, served, access);
                // Training goes on without a page.
                ended.inspect_err(|error| runs::complain(&format_args!("the page is gone: {error:#}")))
            }
        };
        let server = std::thread::Builder::new().name("gradscope watch".into()).spawn(serve)?;
        let watching = Watching { catalog, address, access, server };
        if self.open {
            open(&watching.url(run));
        }
        Ok(watching)
    }
}

impl Watching {
    /// Of the page, or of a run's.
    pub fn url(&self, run: Option<&Path>) -> String {
        let run = run.and_then(|folder| self.catalog.id(folder));
        let fragment = run.map_or(String::new(), |id| format!("#/run/{}", encoded(&id)));
        let token = self.access.query();
        // An address that means all of them is no place to go to.
        let host = if self.address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { self.address.ip() };
        format!("http://{}/{token}{fragment}", SocketAddr::new(host, self.address.port()))
    }

    /// Keeps the page for whoever sits before the terminal, until they have seen enough.
    pub fn linger(&self, run: Option<&Path>, stop: impl Fn() -> bool) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        runs::complain(&format_args!("the page stays at {} until Ctrl-C", self.url(run)));
        while !stop() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn open(url: &str) {
    let opener: &[&str] = match std::env::consts::OS {
        "macos" => &["open"],
        "windows" => &["rundll32", "url.dll,FileProtocolHandler"],
        _ => &["xdg-open"],
    };
    let silent = Stdio::null;
    let mut command = Command::new(opener[0]);
    command.args(&opener[1..]).arg(url).stdin(silent()).stdout(silent()).stderr(silent());
    if let Err(error) = command.spawn() {
        runs::complain(&format_args!("--open: {}: {error}; open {url} yourself", opener[0]));
    }
}

/// Text as a part of a URL.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
