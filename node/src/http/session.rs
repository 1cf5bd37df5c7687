//! Login and logout: the API's session and the page's form.
//!
//! Invariants: a session lives on every node and through every failover, because it is signed with
//! the cluster's master key and stored nowhere; wrong logins are slowed down and few are judged at
//! a time.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::app::{App, now_s};
use crate::http::auth;
use crate::http::extract::Body;
use crate::http::problem::{Problem, ProblemBody};
use crate::secret;

/// Every wrong login takes so long: guessing 256 bits is hopeless, logs stay readable.
const WRONG_PAUSE: Duration = Duration::from_millis(300);

/// Who logs in.
#[derive(Deserialize, ToSchema)]
pub struct Login {
    /// `admin`; there are no other users yet.
    pub user: String,
    /// The admin token that `init` or `demo` printed.
    pub password: String,
}

/// A session.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Bearer token for `Authorization`.
    pub token: String,
    /// When it ends (RFC 3339).
    pub expires: String,
    /// Who logged in.
    pub user: String,
}

/// Log in. Answers a bearer token, and sets the same as an HttpOnly cookie.
#[utoipa::path(post, path = "/api/v1/session", tag = "session", request_body = Login, responses(
    (status = 200, body = Session),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
), security(()))]
pub async fn login(State(app): State<App>, Body(login): Body<Login>) -> Result<Response, Problem> {
    let session = judge(&app, login).await?;
    let cookie = auth::set_cookie(&app, &session.token);
    Ok(([(header::SET_COOKIE, cookie)], Json(session)).into_response())
}

/// The form of the login page.
pub async fn login_form(
    State(app): State<App>,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Response {
    if !auth::same_site(&headers) {
        return Problem::new(StatusCode::FORBIDDEN, "cross_site", "log in on our own page")
            .into_response();
    }
    match judge(&app, login).await {
        Ok(session) => {
            let cookie = auth::set_cookie(&app, &session.token);
            ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
        }
        Err(_) => Redirect::to("/login?failed=1").into_response(),
    }
}

/// Ends the page's session in this browser.
pub async fn logout(State(app): State<App>) -> Response {
    let cookie = auth::set_cookie(&app, "");
    ([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

async fn judge(app: &App, login: Login) -> Result<Session, Problem> {
    let password = Zeroizing::new(login.password);
    let hash = &app.config().http.admin_token_hash;
    if login.user != auth::ADMIN || !secret::token_matches(&password, hash) {
        tokio::time::sleep(WRONG_PAUSE).await;
        tracing::info!("a login was refused");
        let text = "wrong user or password";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "wrong_login", text));
    }
    let expires_s = now_s() + app.config().http.session_hours * 3600;
    let nonce = secret::random::<16>().map_err(|_| Problem::fault())?;
    Ok(Session {
        token: app.master().session(expires_s, nonce),
        expires: crate::areas::time::rfc3339(i64::try_from(expires_s).unwrap_or(i64::MAX)),
        user: auth::ADMIN.to_string(),
    })
}
