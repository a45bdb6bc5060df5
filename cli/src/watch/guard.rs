//! Who may ask, and what every answer forbids.

use anyhow::{Context, Result};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::Arc;

const TOKEN_BYTES: usize = 16;
const HTTP_PORT: u16 = 80;

/// Answers come from this program alone, and go to its own page alone.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// What a request has to bring.
#[derive(Clone)]
pub struct Access {
    /// Names under which a browser of this machine asks: another name in front of the same address is somebody's trick to
    /// make a page of theirs read ours.
    hosts: Arc<[String]>,
    /// In place of that, where others may ask: in the URL at first, then in a cookie.
    token: Option<Arc<str>>,
    port: u16,
}

impl Access {
    pub fn loopback(address: SocketAddr) -> Self {
        let port = address.port();
        let mut hosts: Vec<String> = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}")).into();
        hosts.push(address.to_string());
        if port == HTTP_PORT {
            // Browsers leave it out.
            hosts.extend(["127.0.0.1", "localhost", "[::1]"].map(str::to_owned));
        }
        Self { hosts: hosts.into(), token: None, port }
    }

    pub fn token(address: SocketAddr) -> Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(std::io::Error::from).context("a random token")?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { hosts: [].into(), token: Some(token.into()), port: address.port() })
    }

    /// What the URL needs.
    pub fn query(&self) -> String {
        self.token.as_ref().map_or(String::new(), |token| format!("?token={token}"))
    }

    fn cookie(&self) -> String {
        format!("gradscope_{}", self.port)
    }

    fn has_host(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        host.is_some_and(|host| self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)))
    }

    fn has_cookie(&self, headers: &HeaderMap, token: &str) -> bool {
        let name = self.cookie();
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|cookies| cookies.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(known, value)| known == name && is_same(value, token))
    }
}

/// As programs that are no browsers send it.
fn has_bearer(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|given| given.to_str().ok());
    given.and_then(|given| given.strip_prefix("Bearer ")).is_some_and(|given| is_same(given.trim(), token))
}

/// Takes as long wherever the difference is.
fn is_same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

/// Lets a request through, or says why not.
pub async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&access, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What is answered in place of what was asked for.
fn refusal(access: &Access, request: &Request) -> Option<Response> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "the dashboard only shows\n").into_response());
    }
    let forbidden = |why: &'static str| Some((StatusCode::FORBIDDEN, why).into_response());
    let Some(token) = &access.token else {
        let why =
            "this page is served to this machine only, under its own address: open it as 127.0.0.1 or localhost\n";
        return if access.has_host(request.headers()) { None } else { forbidden(why) };
    };
    if access.has_cookie(request.headers(), token) || has_bearer(request.headers(), token) {
        return None;
    }
    let given = request.uri().query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("token="));
    if given.is_some_and(|given| is_same(given, token)) {
        // The token leaves the address bar, where it would be copied from.
        let cookie = format!("{}={token}; HttpOnly; SameSite=Lax; Path=/", access.cookie());
        let headers = [(header::LOCATION, "/".to_owned()), (header::SET_COOKIE, cookie)];
        return Some((StatusCode::SEE_OTHER, headers).into_response());
    }
    forbidden("this page needs the token of the URL that `gradscope watch` printed\n")
}
