//! The dashboard: as a browser shows it, and as others may ask of it.

mod chromium;
mod hostile;
mod http;
mod made_up;
mod metrics;
mod page;
mod server;
mod training;
