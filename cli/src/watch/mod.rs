//! The dashboard: a page that shows runs as their folders grow. It reads folders, never a GPU.

mod catalog;
mod connection;
mod feed;
mod guard;
mod metrics;
mod page;
mod process;
mod server;
mod shapes;

use crate::runs;
use anyhow::{Context, Result, bail};
use catalog::Catalog;
use clap::Args;
use guard::Access;
pub use process::PageProcess;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Where the page is served unless it is taken.
const PORT: u16 = 6464;

#[derive(Args)]
pub struct Options {
    /// Folder of runs, or one run.
    #[arg(value_name = "RUNS_DIR|RUN", default_value = "runs")]
    dir: PathBuf,

    #[command(flatten)]
    place: Place,

    /// Serve for a process that trains, and end with it.
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
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

/// A page that is being served, for as long as the process lives.
struct Watching {
    address: SocketAddr,
    access: Access,
    server: JoinHandle<Result<()>>,
}

/// `gradscope watch`: serves until Ctrl-C.
pub fn watch(options: &Options) -> Result<()> {
    if options.until_stdin_ends {
        return process::serve(options);
    }
    match std::fs::metadata(&options.dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => bail!("{}: it is a file; runs are folders", options.dir.display()),
        Err(_) => {
            bail!("{}: there is no such folder; `gradscope train` makes runs/MODEL/TIME-ID", options.dir.display())
        }
    }
    let watching = Watching::start(options.place.bind()?, &options.dir, &options.place)?;
    runs::say(&format_args!("watching {} at {}", options.dir.display(), watching.url()));
    if options.place.open {
        open(&watching.url());
    }
    runs::complain(&format_args!("Ctrl-C ends it"));
    watching.server.join().unwrap_or_else(|_| bail!("the server failed; the lines above say how"))
}

impl Place {
    /// Whether something other than the defaults was asked for.
    pub fn is_given(&self) -> bool {
        self.port.is_some() || self.open || self.host != IpAddr::V4(Ipv4Addr::LOCALHOST)
    }

    /// Takes the port, or a free one where none was asked for and the default is taken.
    ///
    /// # Errors
    /// Where the port is taken, or the address is not this machine's.
    fn bind(&self) -> Result<TcpListener> {
        let port = self.port.unwrap_or(PORT);
        let listener = match TcpListener::bind((self.host, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && self.port.is_none() => {
                TcpListener::bind((self.host, 0))
            }
            bound => bound,
        };
        let listener = listener.with_context(|| {
            format!("--port {port} of --host {}: take another port, or 0 for a free one", self.host)
        })?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Watching {
    /// Serves the runs of a folder from a thread of its own.
    ///
    /// # Errors
    /// Where the folder can't be read.
    fn start(listener: TcpListener, dir: &Path, place: &Place) -> Result<Self> {
        let address = listener.local_addr()?;
        let access = if place.host.is_loopback() { Access::loopback(address) } else { Access::token(address)? };
        let catalog = Arc::new(Catalog::new(dir)?);
        let guard = access.clone();
        let serve = move || {
            let ended = server::serve(listener, catalog, guard);
            ended.inspect_err(|error| runs::complain(&format_args!("the page is gone: {error:#}")))
        };
        let server = std::thread::Builder::new().name("gradscope watch".into()).spawn(serve)?;
        Ok(Self { address, access, server })
    }

    /// Returns the URL of the page.
    fn url(&self) -> String {
        // An address that means all of them is no place to go to.
        let host = if self.address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { self.address.ip() };
        format!("http://{}/{}", SocketAddr::new(host, self.address.port()), self.access.query())
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
