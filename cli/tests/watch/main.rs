//! The dashboard: as a browser shows it, and as others may ask of it.

mod chromium;
mod hostile;
mod http;
mod page;
mod server;
mod training;
