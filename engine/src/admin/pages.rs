//! The pages.

use std::sync::Arc;

use axum::{
    Json, Router, extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::state::State;
use crate::metrics::CONTENT_TYPE;

/// The page of `/`.
const INDEX: &str = concat!(
    "fairlead ",
    env!("CARGO_PKG_VERSION"),
    "\n\n\
     /metrics  counters, gauges and histograms as OpenMetrics text\n\
     /livez    200 while every executor turns\n\
     /readyz   200 while messages are taken (`ready`, or `degraded` and why), else 503 and why not\n\
     /status   everything as JSON; `well` is the short answer\n"
);

/// All pages; other paths are 404, other methods than GET and HEAD 405.
pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(async || plain(StatusCode::OK, INDEX.to_owned())))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .fallback(async || plain(StatusCode::NOT_FOUND, "no such page; / lists them\n".to_owned()))
        .with_state(state)
}

async fn metrics(extract::State(state): extract::State<Arc<State>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")], state.scrape().await).into_response()
}

async fn livez(extract::State(state): extract::State<Arc<State>>) -> Response {
    match state.metrics().live(state.now()) {
        Ok(()) => plain(StatusCode::OK, "live\n".to_owned()),
        Err(reasons) => lines(StatusCode::SERVICE_UNAVAILABLE, &reasons),
    }
}

async fn readyz(extract::State(state): extract::State<Arc<State>>) -> Response {
    let health = state.metrics().health(state.now());
    if !health.is_ready() {
        let reasons: Vec<String> = health.unready.into_iter().chain(health.degraded).collect();
        return lines(StatusCode::SERVICE_UNAVAILABLE, &reasons);
    }
    let word = if health.is_well() { "ready" } else { "degraded" };
    let text: Vec<String> = std::iter::once(word.to_owned()).chain(health.degraded).collect();
    lines(StatusCode::OK, &text)
}

async fn status(extract::State(state): extract::State<Arc<State>>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(state.report().await)).into_response()
}

fn lines(status: StatusCode, lines: &[String]) -> Response {
    plain(status, lines.join("\n") + "\n")
}

fn plain(status: StatusCode, text: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}
