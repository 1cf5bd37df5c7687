//! Who asks: bearer tokens, sessions, the page's cookie; what the route needs; and protection of
//! the cookie.
//!
//! Invariants: tokens are compared in constant time; a session is looked up in the replicated
//! state, so it ends everywhere at once; a cookie alone is never enough for an unsafe method from
//! another site; a failure tells nothing but that it failed.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use cluster::LocalView;
use domain::operators::{self, FOUNDER, Operator, Permission, Rights, SessionHash};
use domain::{Stamp, parameters, regions};

use crate::app::App;
use crate::areas::pages;
use crate::http::asked::{Caller, Known};
use crate::http::problem::Problem;
use crate::http::rules::{Rule, rule};
use crate::http::{limits, looks};
use crate::secret;
use crate::texts::Language;

/// Refuses whatever is not logged in or not permitted; a browser that wants a page is sent to the
/// login form.
pub async fn require(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let page = wants_page(&parts.method, &parts.headers, &parts.uri);
    match permitted(&app, &parts).await {
        Ok(known) => {
            let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
            let rule = rule(parts.method.as_str(), path);
            let look = looks::personal(&parts.method, &parts.uri, rule);
            let caller = known.0.clone();
            if let Some(refused) = limits::by_caller(&app, &parts, &caller.name) {
                return refused;
            }
            parts.extensions.insert(known);
            let answer = next.run(Request::from_parts(parts, body)).await;
            if let Some(look) = look.filter(|_| answer.status().is_success()) {
                app.looks().note(&caller.name, look);
            }
            answer
        }
        Err(problem) if page && problem.status == StatusCode::UNAUTHORIZED => {
            Redirect::to("/login").into_response()
        }
        Err(problem) if page && problem.code == NOT_SET_UP => Redirect::to("/me").into_response(),
        Err(problem) if page => {
            let t = language(&app, &parts.headers);
            pages::problem_page(problem, pages::Who::default(), t)
        }
        Err(problem) => problem.into_response(),
    }
}

/// The code of who has to change his password or to set up a second factor first.
pub const NOT_SET_UP: &str = "account_not_set_up";

async fn permitted(app: &App, parts: &Parts) -> Result<Known, Problem> {
    let caller = caller(app, &parts.method, &parts.headers).await?;
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let rule = rule(parts.method.as_str(), path);
    let what = rule.map_or(Permission::Look, Rule::permission);
    if !caller.rights.is_founder()
        && let Err(problem) = may(app, &caller, rule)
    {
        let what = format!("{} {path}", parts.method);
        if app.denied().is_news(&caller.name, &what, crate::app::now_s()) {
            tracing::info!(operator = %caller.name, code = %problem.code, what, "not allowed");
        }
        return Err(problem);
    }
    Ok(Known(Arc::new(caller), what))
}

fn may(app: &App, caller: &Caller, rule: Option<Rule>) -> Result<(), Problem> {
    let view = app.whole_view()?;
    let allowed = match rule {
        Some(Rule::Own) => return Ok(()),
        Some(Rule::Some(what)) => caller.rights.may_somewhere(what),
        Some(Rule::Whole(what)) => caller.rights.may(&view, what, regions::ROOT)?,
        None => false,
    };
    let known = operators::operator(&view, &caller.name)?;
    set_up(&view, known.as_ref(), app.live()?.cluster.stamp_now())?;
    if allowed {
        return Ok(());
    }
    let text = match rule.map(Rule::permission) {
        Some(what) => format!("this needs the permission {:?}", what.name()),
        None => "this is not for operators".to_owned(),
    };
    Err(Problem::new(StatusCode::FORBIDDEN, "not_allowed", text))
}

/// Refuses who got his password from somebody else, or has no second factor where one is needed.
pub fn set_up(view: &LocalView, known: Option<&Operator>, now: Stamp) -> Result<(), Problem> {
    let problem = |text: &str| Problem::new(StatusCode::FORBIDDEN, NOT_SET_UP, text.to_owned());
    let Some(known) = known.filter(|known| !known.program) else { return Ok(()) };
    if known.password.as_ref().is_some_and(|password| password.must_change) {
        return Err(problem("change your password first"));
    }
    let needed = parameters::value(view, parameters::SECOND_FACTOR, now)? != 0;
    if needed && !known.factor.as_ref().is_some_and(|factor| factor.confirmed) {
        return Err(problem("set up a second factor first"));
    }
    Ok(())
}

async fn caller(app: &App, method: &Method, headers: &HeaderMap) -> Result<Caller, Problem> {
    if let Some(token) = bearer(headers) {
        if secret::token_matches(token, &app.config().http.admin_token_hash) {
            let (name, rights) = (FOUNDER.to_owned(), Rights::founder());
            return Ok(Caller { name, rights, session: None, language: accepted(headers) });
        }
        let found = of_session(app, token, headers).await?;
        return found.ok_or_else(|| unauthorized("wrong token"));
    }
    let Some(token) = cookie(headers, cookie_name(app)) else {
        return Err(unauthorized("a bearer token is needed"));
    };
    let caller = of_session(app, token, headers).await?;
    let caller = caller.ok_or_else(|| unauthorized("the session is over"))?;
    if !method.is_safe() && !same_site(headers) {
        let text = "a request from another site may not change anything";
        return Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", text));
    }
    Ok(caller)
}

/// Whose session a token is, if it holds.
async fn of_session(
    app: &App,
    token: &str,
    headers: &HeaderMap,
) -> Result<Option<Caller>, Problem> {
    if !app.master().made_session(token) {
        return Ok(None);
    }
    let hash = *blake3::hash(token.as_bytes()).as_bytes();
    let now = app.live()?.cluster.stamp_now();
    let mut view = app.whole_view()?;
    let mut found = operators::session(&view, &hash, now)?;
    if found.is_none() {
        // It may have begun on another node a moment ago; without a leader there is no telling.
        if let Ok(fresh) = app.fresh_whole_view().await {
            found = operators::session(&fresh, &hash, now)?;
            view = fresh;
        }
    }
    let Some(session) = found else { return Ok(None) };
    if !by_itself(headers) {
        app.sessions_in_use().note(hash, session.used, now);
    }
    let rights = operators::rights(&view, &session.operator, now)?;
    let name = session.operator;
    let language = language_of(&view, &name)?.unwrap_or_else(|| accepted(headers));
    Ok(rights.map(|rights| Caller { name, rights, session: Some(hash), language }))
}

/// Whether a page asks, and not its reader: a page that renews itself is no sign that somebody is
/// there, so an idle session ends in front of it.
fn by_itself(headers: &HeaderMap) -> bool {
    let events = text(headers, header::ACCEPT.as_str()) == Some("text/event-stream");
    events || headers.contains_key("x-holdfast-renewal")
}

/// The language of an account; none of the founder, who has none.
fn language_of(view: &LocalView, name: &str) -> Result<Option<Language>, Problem> {
    let known = operators::operator(view, name)?;
    Ok(known.and_then(|known| Language::of(&known.about.language)))
}

/// The language that a browser asks for; English when it asks for none of ours.
pub fn accepted(headers: &HeaderMap) -> Language {
    let asked = text(headers, header::ACCEPT_LANGUAGE.as_str()).and_then(Language::accepted);
    asked.unwrap_or_default()
}

/// The language for a request that may have a session or not: the account's, else the browser's.
fn language(app: &App, headers: &HeaderMap) -> Language {
    let own = || {
        let (name, _) = cookie_session(app, headers)?;
        language_of(&app.whole_view().ok()?, &name).ok()?
    };
    own().unwrap_or_else(|| accepted(headers))
}

/// Name and hash of the session of a request's cookie.
pub fn cookie_session(app: &App, headers: &HeaderMap) -> Option<(String, SessionHash)> {
    let token = cookie(headers, cookie_name(app)).filter(|token| app.master().made_session(token));
    let hash = *blake3::hash(token?.as_bytes()).as_bytes();
    let (view, now) = (app.whole_view().ok()?, app.live().ok()?.cluster.stamp_now());
    let session = operators::session(&view, &hash, now).ok()??;
    Some((session.operator, hash))
}

/// The name of the session cookie. Browsers take the `__Host-` prefix over HTTPS only.
pub fn cookie_name(app: &App) -> &'static str {
    if app.config().http.is_secure() { "__Host-holdfast" } else { "holdfast" }
}

/// The `Set-Cookie` value of a session of so many seconds; an empty token ends it.
pub fn set_cookie(app: &App, token: &str, seconds: u64) -> String {
    let secure = if app.config().http.is_secure() { "; Secure" } else { "" };
    let age = if token.is_empty() { 0 } else { seconds };
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
    fn a_page_that_renews_itself_is_no_use_of_a_session() {
        for (pairs, expect) in [
            (vec![("accept", "text/html"), ("x-holdfast-renewal", "1")], true),
            (vec![("accept", "text/event-stream")], true),
            (vec![("accept", "text/html")], false),
            (vec![], false),
        ] {
            assert_eq!(by_itself(&headers(&pairs)), expect, "{pairs:?}");
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
