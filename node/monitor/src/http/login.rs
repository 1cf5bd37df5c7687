//! Who uses the pages: logins by the passwords of the configuration, sessions in memory.
//!
//! Invariants: a session is 256 random bits of which only the hash is held; sessions are bounded in
//! number and time and end with the process; a change that a browser was made to send by another
//! site is refused (cookie `SameSite=Strict`, and `Sec-Fetch-Site` or `Origin` must say that it
//! comes from here); wrong logins cost time, one after the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Form;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Shared, desk, problem};

const COOKIE: &str = "holdfast_monitor";
/// How long a session lasts.
const LASTS: Duration = Duration::from_secs(12 * 3600);
/// The most sessions.
const MAX_SESSIONS: usize = 256;
/// What a wrong login costs.
const WRONG: Duration = Duration::from_millis(700);

/// Whose session it is and since when, by the hash of its token.
type Held = BTreeMap<[u8; 32], (String, Instant)>;

/// The sessions.
#[derive(Clone, Default)]
pub struct Sessions {
    held: Arc<Mutex<Held>>,
    /// Wrong logins wait for each other.
    wrong: Arc<tokio::sync::Mutex<()>>,
}

/// Whose session it is.
#[derive(Clone, Debug)]
pub(super) struct User(pub String);

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct Login {
    name: String,
    password: String,
}

impl Sessions {
    fn begin(&self, name: &str) -> Option<String> {
        let mut octets = [0; 32];
        getrandom::fill(&mut octets).ok()?;
        let token: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (_, since)| since.elapsed() < LASTS);
        if held.len() >= MAX_SESSIONS
            && let Some(oldest) = held.iter().min_by_key(|(_, (_, at))| *at).map(|(key, _)| *key)
        {
            held.remove(&oldest);
        }
        held.insert(hash(&token), (name.to_owned(), Instant::now()));
        Some(token)
    }

    fn of(&self, headers: &HeaderMap) -> Option<String> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, since) = held.get(&hash(token(headers)?))?;
        (since.elapsed() < LASTS).then(|| name.clone())
    }

    fn end(&self, headers: &HeaderMap) {
        if let Some(token) = token(headers) {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.remove(&hash(token));
        }
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|value| value.split(';')).filter_map(|one| one.split_once('='));
    pairs.find(|(name, _)| name.trim() == COOKIE).map(|(_, value)| value.trim())
}

/// Whether a browser says that the request comes from a page of ours.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), _, _) => site == "same-origin",
        (None, Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, from)| from == host)
        }
        _ => false,
    }
}

/// Lets only those in who have a session, and changes only those that come from our pages.
pub(super) async fn guard(
    State(shared): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(name) = shared.sessions.of(request.headers()) else {
        return match *request.method() {
            Method::GET => Redirect::to("/login").into_response(),
            _ => problem(StatusCode::UNAUTHORIZED, "unauthorized", "log in first"),
        };
    };
    if *request.method() != Method::GET && !is_from_here(request.headers()) {
        return problem(StatusCode::FORBIDDEN, "cross_site", "it does not come from our pages");
    }
    request.extensions_mut().insert(User(name));
    next.run(request).await
}

pub(super) async fn show(State(shared): State<Shared>) -> Response {
    desk::login_page(&shared, false)
}

pub(super) async fn log_in(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Response {
    if !is_from_here(&headers) {
        return problem(StatusCode::FORBIDDEN, "cross_site", "it does not come from our pages");
    }
    let user = shared.config.users.iter().find(|user| user.name == login.name);
    let password = user.and_then(|user| user.password.as_ref());
    let right = password.is_some_and(|password| {
        // Hashes have one length, whatever was given.
        bool::from(hash(password.expose()).ct_eq(&hash(&login.password)))
    });
    if !right {
        let _one = shared.sessions.wrong.lock().await;
        tokio::time::sleep(WRONG).await;
        tracing::warn!("a login to the pages was wrong");
        return desk::login_page(&shared, true);
    }
    let Some(token) = shared.sessions.begin(&login.name) else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "no random octets");
    };
    let secure = shared.config.http.public_url.as_ref().is_some_and(|url| url.starts_with("https"));
    let secure = if secure { "; Secure" } else { "" };
    let lasts = LASTS.as_secs();
    let cookie =
        format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={lasts}{secure}");
    ([(header::SET_COOKIE, cookie)], Redirect::to("/incidents")).into_response()
}

pub(super) async fn log_out(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    shared.sessions.end(&headers);
    let cookie = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    ([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), value.parse().expect("a header"))
        });
        pairs.collect()
    }

    #[test]
    fn a_session_is_found_by_its_cookie_alone() {
        let sessions = Sessions::default();
        let token = sessions.begin("anna").expect("octets");
        let cookie = format!("a=b; {COOKIE}={token}");
        assert_eq!(sessions.of(&headers(&[("cookie", &cookie)])).as_deref(), Some("anna"));
        assert_eq!(sessions.of(&headers(&[("cookie", "holdfast_monitor=00")])), None);
        sessions.end(&headers(&[("cookie", &cookie)]));
        assert_eq!(sessions.of(&headers(&[("cookie", &cookie)])), None);
        for nth in 0..MAX_SESSIONS + 5 {
            sessions.begin(&nth.to_string()).expect("octets");
        }
        assert_eq!(sessions.held.lock().expect("whole").len(), MAX_SESSIONS);
    }

    #[test]
    fn changes_come_from_our_pages() {
        for (pairs, wanted) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://m"), ("host", "m")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", "http://m:1"), ("host", "m:1")], true),
            (&[("origin", "http://evil"), ("host", "m:1")], false),
            (&[("origin", "null"), ("host", "m:1")], false),
            (&[("host", "m:1")], false),
            (&[], false),
        ] {
            assert_eq!(is_from_here(&headers(pairs)), wanted, "{pairs:?}");
        }
    }
}
