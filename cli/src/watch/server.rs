//! The server: one thread that answers, and two for what has to be read.

use super::catalog::{Catalog, Followed};
use super::connection::Listener;
use super::feed::{Subscription, Wanted};
use super::guard::{self, Access};
use super::{metrics, page, shapes};
use crate::view;
use anyhow::{Context, Result, anyhow};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Run folders are looked at this often, and sooner where there was more than one look took.
const POLL_EVERY: Duration = Duration::from_millis(100);
const POLL_AGAIN_AFTER: Duration = Duration::from_millis(30);
/// Pages get a sign of life this often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A page that has lost its connection comes back after this long.
const RETRY_AFTER: Duration = Duration::from_millis(500);
const BLOCKING_THREAD_COUNT: usize = 2;

#[derive(Clone)]
struct Dashboard {
    catalog: Arc<Catalog>,
    /// Changes when a run that somebody looks at does.
    changes: watch::Receiver<u64>,
    /// Whole tables are read one at a time.
    scans: Arc<Semaphore>,
}

/// Serves until the process ends.
pub fn serve(listener: std::net::TcpListener, catalog: Arc<Catalog>, access: Access) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREAD_COUNT)
        .build()
        .context("the dashboard's runtime")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).context("the dashboard's port")?;
        let (changed, changes) = watch::channel(0);
        tokio::spawn(poll(Arc::clone(&catalog), changed));
        let dashboard = Dashboard { catalog, changes, scans: Arc::new(Semaphore::new(1)) };
        let router = Router::new()
            .route("/api/palette", get(palette))
            .route("/api/runs", get(runs))
            .route("/metrics", get(prometheus))
            .route("/api/watch", get(watch_runs))
            .route("/api/histograms", get(histograms))
            .route("/api/sign-map", get(sign_map))
            .fallback(file)
            .with_state(dashboard)
            .layer(axum::middleware::from_fn_with_state(access, guard::guard));
        axum::serve(Listener::new(listener), router).await.context("the dashboard")
    })
}

async fn poll(catalog: Arc<Catalog>, changed: watch::Sender<u64>) {
    loop {
        let catalog = Arc::clone(&catalog);
        let news = spawn_blocking(move || catalog.poll()).await.unwrap_or(false);
        if news {
            changed.send_modify(|count| *count += 1);
        }
        sleep(if news { POLL_AGAIN_AFTER } else { POLL_EVERY }).await;
    }
}

async fn file(uri: Uri) -> Response {
    page::file(uri.path()).unwrap_or_else(|| (StatusCode::NOT_FOUND, "there is no such page\n").into_response())
}

type Pairs = Query<Vec<(String, String)>>;

fn values<'a>(pairs: &'a Pairs, name: &'a str) -> impl Iterator<Item = &'a String> {
    pairs.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
}

fn value(pairs: &Pairs, name: &str) -> Option<String> {
    values(pairs, name).next().cloned()
}

/// What reading came to, as JSON.
fn answer(read: Result<impl Serialize>) -> Response {
    let (status, text) = match read {
        Ok(value) => (StatusCode::OK, serde_json::to_string(&value)),
        Err(error) => (StatusCode::NOT_FOUND, Ok(serde_json::json!({ "error": format!("{error:#}") }).to_string())),
    };
    match text {
        Ok(text) => (status, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn palette() -> Response {
    answer(Ok(view::Palette::default()))
}

async fn runs(State(dashboard): State<Dashboard>) -> Response {
    answer(blocking(move || dashboard.catalog.list()).await)
}

async fn prometheus(State(dashboard): State<Dashboard>, pairs: Pairs) -> Response {
    let turn = dashboard.scans.acquire_owned().await.expect("the semaphore is never closed");
    let figures: Vec<String> = values(&pairs, "figure").cloned().collect();
    let read = blocking(move || {
        let _turn = turn;
        metrics::text(&dashboard.catalog, &figures)
    });
    match read.await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

async fn histograms(State(dashboard): State<Dashboard>, pairs: Pairs) -> Response {
    scan(dashboard, pairs, shapes::histograms).await
}

async fn sign_map(State(dashboard): State<Dashboard>, pairs: Pairs) -> Response {
    scan(dashboard, pairs, shapes::sign_map).await
}

/// Reads a table of a run for one of its tensors.
async fn scan<T: Serialize + Send + 'static>(
    dashboard: Dashboard,
    pairs: Pairs,
    read: fn(&gradscope::Run, &str) -> Result<T>,
) -> Response {
    let turn = dashboard.scans.acquire_owned().await.expect("the semaphore is never closed");
    let catalog = dashboard.catalog;
    answer(
        blocking(move || {
            // Of the work, which goes on where whoever asked has left.
            let _turn = turn;
            let (id, tensor) =
                value(&pairs, "run").zip(value(&pairs, "tensor")).context("run and tensor are needed")?;
            let followed = catalog.follow(&id)?;
            let run = super::catalog::locked(&followed.follower).run().clone();
            read(&run, &tensor)
        })
        .await,
    )
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|_| Err(anyhow!("reading failed; the terminal says how")))
}

/// An event stream: all that the page shows at first, then what is added to it.
async fn watch_runs(State(dashboard): State<Dashboard>, pairs: Pairs) -> Response {
    let wanted = Wanted { figure: value(&pairs, "figure"), tensor: value(&pairs, "tensor") };
    let ids: Vec<String> = values(&pairs, "run").take(view::DISTINCT_COUNT).cloned().collect();
    let catalog = Arc::clone(&dashboard.catalog);
    let followed = blocking(move || ids.iter().map(|id| catalog.follow(id)).collect::<Result<Vec<Arc<Followed>>>>());
    let subscription = match followed.await {
        Ok(followed) if !followed.is_empty() => Subscription::new(dashboard.catalog, followed, wanted),
        Ok(_) => return answer(Err::<(), _>(anyhow!("no run was named"))),
        Err(error) => return answer(Err::<(), _>(error)),
    };
    let events = stream::unfold((subscription, dashboard.changes), |(mut subscription, mut changes)| async move {
        loop {
            // Marked as seen before it is looked at: what changes meanwhile is looked at again.
            changes.borrow_and_update();
            let news = spawn_blocking(move || {
                let news = subscription.news();
                (subscription, news)
            });
            let (next, news) = news.await.ok()?;
            subscription = next;
            if let Some(text) = news {
                return Some((
                    Ok::<_, Infallible>(Event::default().retry(RETRY_AFTER).data(text)),
                    (subscription, changes),
                ));
            }
            if subscription.is_over() {
                return None;
            }
            changes.changed().await.ok()?;
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
