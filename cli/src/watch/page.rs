//! The page's files, which are part of the program.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

macro_rules! files {
    ($($name:literal $kind:expr, $path:literal;)*) => {
        &[$(($name, $kind, include_str!(concat!("../../assets/", $path)))),*]
    };
}

/// Path, type and text.
const FILES: &[(&str, &str, &str)] = files! {
    "/" "text/html; charset=utf-8", "page/index.html";
    "/style.css" CSS, "page/style.css";
    "/uplot.css" CSS, "uplot/uPlot.min.css";
    "/uplot.js" JS, "uplot/uPlot.iife.min.js";
    "/main.js" JS, "page/main.js";
    "/feed.js" JS, "page/feed.js";
    "/dom.js" JS, "page/dom.js";
    "/format.js" JS, "page/format.js";
    "/chart.js" JS, "page/chart.js";
    "/heatmap.js" JS, "page/heatmap.js";
    "/findings.js" JS, "page/findings.js";
    "/list.js" JS, "page/list.js";
    "/run.js" JS, "page/run.js";
    "/layer.js" JS, "page/layer.js";
    "/shapes.js" JS, "page/shapes.js";
    "/compare.js" JS, "page/compare.js";
    "/icon.svg" "image/svg+xml", "page/icon.svg";
};

/// The file of that path.
pub fn file(path: &str) -> Option<Response> {
    let (_, kind, text) = FILES.iter().find(|(name, ..)| *name == path)?;
    Some(([(header::CONTENT_TYPE, *kind)], *text).into_response())
}
