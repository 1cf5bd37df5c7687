//! Who asks: bearer tokens, sessions, the page's cookie; and protection of the cookie.
//!
//! There is one user, `admin`, until operators live in the replicated state. Invariants: tokens
//! are compared in constant time; a cookie alone is never enough for an unsafe method from
//! another site; a failure tells nothing but that it failed.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use crate::app::{App, now_s};
use crate::http::problem::Problem;
use crate::secret;

/// The only user.
pub const ADMIN: &str = "admin";

/// Refuses whatever is not logged in; a browser that wants a page is sent to the login form.
pub async fn require(State(app): State<App>, request: Request, next: Next) -> Response {
    match allowed(&app, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(_) if wants_page(request.method(), request.headers(), request.uri()) => {
            Redirect::to("/login").into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

fn allowed(app: &App, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(token) = bearer(headers) {
        return if token_holds(app, token) { Ok(()) } else { Err(unauthorized("wrong token")) };
    }
    let Some(session) = cookie(headers, cookie_name(app)) else {
        return Err(unauthorized("a bearer token is needed"));
    };
    if !app.master().session_holds(session, now_s()) {
        return Err(unauthorized("the session is over"));
    }
    if !method.is_safe() && !same_site(headers) {
        let text = "a request from another site may not change anything";
        return Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", text));
    }
    Ok(())
}

/// Whether a token is the admin token or a session that still holds.
pub fn token_holds(app: &App, token: &str) -> bool {
    secret::token_matches(token, &app.config().http.admin_token_hash)
        || app.master().session_holds(token, now_s())
}

/// The name of the session cookie. Browsers take the `__Host-` prefix over HTTPS only.
pub fn cookie_name(app: &App) -> &'static str {
    if app.config().http.secure_cookie { "__Host-holdfast" } else { "holdfast" }
}

/// The `Set-Cookie` value of a session; an empty token ends it.
pub fn set_cookie(app: &App, token: &str) -> String {
    let secure = if app.config().http.secure_cookie { "; Secure" } else { "" };
    let age = if token.is_empty() { 0 } else { app.config().http.session_hours * 3600 };
    let name = cookie_name(app);
    format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}")
}

/// Whether a request comes from our own pages, as the browser says (Fetch Metadata, or `Origin`).
pub fn same_site(headers: &HeaderMap) -> bool {
    if let Some(site) = text(headers, "sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    match (text(headers, "origin"), text(headers, "host")) {
        (Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, authority)| authority == host)
        }
        // Neither header: no browser, so nobody's cookie is ridden.
        (None, _) => true,
        (Some(_), None) => false,
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

fn wants_page(method: &Method, headers: &HeaderMap, uri: &Uri) -> bool {
    let html = text(headers, "accept").is_some_and(|accept| accept.contains("text/html"));
    method == Method::GET && html && !uri.path().starts_with("/api/v1/")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = text(headers, header::AUTHORIZATION.as_str())?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().expect("a header value"));
        }
        map
    }

    #[test]
    fn other_sites_are_seen() {
        for (pairs, expect) in [
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("origin", "http://a:1"), ("host", "a:1")], true),
            (vec![("origin", "http://b:1"), ("host", "a:1")], false),
            (vec![("origin", "null"), ("host", "a:1")], false),
            (vec![("host", "a:1")], true),
        ] {
            assert_eq!(same_site(&headers(&pairs)), expect, "{pairs:?}");
        }
    }

    #[test]
    fn tokens_are_found_in_headers() {
        assert_eq!(bearer(&headers(&[("authorization", "Bearer abc")])), Some("abc"));
        assert_eq!(bearer(&headers(&[("authorization", "bearer abc")])), Some("abc"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic abc")])), None);
        let two = headers(&[("cookie", "a=1; holdfast=x"), ("cookie", "b=2")]);
        assert_eq!(cookie(&two, "holdfast"), Some("x"));
        assert_eq!(cookie(&two, "b"), Some("2"));
        assert_eq!(cookie(&two, "c"), None);
    }
}
