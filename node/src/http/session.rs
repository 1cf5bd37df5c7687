//! Login and logout, and what everybody does with his own account: password and second factor.
//!
//! Invariants: a session is replicated state, so it lives on every node and through every
//! failover, and ends everywhere at once; a node proposes it only after it has seen password and
//! code; wrong logins are counted by operator (in the state) and by address (on the node); an
//! answer to a wrong login tells nothing but that.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use domain::operators::{Change, FOUNDER, Operator, Permission};
use domain::{Stamp, operators, parameters, regions};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::app::{App, now_s};
use crate::areas::time;
use crate::http::asked::Asked;
use crate::http::extract::Body;
use crate::http::problem::{Problem, ProblemBody};
use crate::http::server::Remote;
use crate::http::{auth, credentials};
use crate::secret;
use crate::texts::WHOLE;

/// Every wrong login takes at least so long.
const WRONG_PAUSE: Duration = Duration::from_millis(300);

/// Who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// An operator's name; `admin` for the token that `init` or `demo` printed.
    pub user: String,
    /// The password.
    pub password: String,
    /// The code of the second factor, six digits, if the operator has one.
    #[serde(default)]
    pub code: String,
}

/// A session.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Bearer token for `Authorization`.
    pub token: String,
    /// When it ends at the latest (RFC 3339).
    pub expires: String,
    /// Who logged in.
    pub user: String,
    /// Whether the password has to be changed, or a second factor to be set up, before anything
    /// else.
    pub set_up_needed: bool,
}

/// Who is logged in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The operator's name.
    pub user: String,
    /// Roles that count now.
    pub roles: Vec<HeldRole>,
    /// What may be done somewhere, in words.
    pub permissions: Vec<String>,
    /// Whether the password has to be changed.
    pub must_change_password: bool,
    /// Whether a second factor is asked for at the login.
    pub second_factor: bool,
}

/// A role in a region.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HeldRole {
    /// The role.
    pub role: String,
    /// The number of its region; 0 is the whole utility.
    pub region: u32,
    /// The region's name.
    pub region_name: String,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The password until now.
    pub old: String,
    /// The new one: 12 to 128 letters.
    pub new: String,
}

/// A second factor that is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FactorWanted {
    /// The caller's password.
    pub password: String,
}

/// A second factor to be confirmed.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct NewFactor {
    /// The secret in base32, for an authenticator program. It is shown once.
    pub secret: String,
    /// The same as an address.
    pub uri: String,
}

/// A code of the second factor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Six digits.
    pub code: String,
}

/// Log in. Answers a bearer token, and sets the same as an HttpOnly cookie.
#[utoipa::path(post, path = "/api/v1/session", tag = "session", request_body = Login, responses(
    (status = 200, body = Session),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 429, body = ProblemBody, content_type = "application/problem+json"),
), security(()))]
pub async fn login(
    State(app): State<App>,
    Extension(remote): Extension<Remote>,
    Body(login): Body<Login>,
) -> Result<Response, Problem> {
    let (session, seconds) = judge(&app, remote, login).await?;
    let cookie = auth::set_cookie(&app, &session.token, seconds);
    Ok(([(header::SET_COOKIE, cookie)], Json(session)).into_response())
}

/// The form of the login page.
pub async fn login_form(
    State(app): State<App>,
    Extension(remote): Extension<Remote>,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Response {
    if !auth::same_site(&headers) {
        return Problem::new(StatusCode::FORBIDDEN, "cross_site", "log in on our own page")
            .into_response();
    }
    match judge(&app, remote, login).await {
        Ok((session, seconds)) => {
            let cookie = auth::set_cookie(&app, &session.token, seconds);
            let next = if session.set_up_needed { "/me" } else { "/" };
            ([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response()
        }
        Err(problem) => {
            let why = match problem.code.as_ref() {
                "wrong_login" => "1",
                "code_needed" => "code",
                "too_many_logins" => "wait",
                _ => "later",
            };
            Redirect::to(&format!("/login?failed={why}")).into_response()
        }
    }
}

/// Ends the page's session, everywhere.
pub async fn logout(State(app): State<App>, headers: HeaderMap) -> Response {
    let cookie = auth::set_cookie(&app, "", 0);
    // Only our own page logs out; without a leader the cookie at least is gone.
    if auth::same_site(&headers)
        && let Some((name, session)) = auth::cookie_session(&app, &headers)
    {
        let change = domain::Change::Operators(Change::Logout { name, session });
        if let Err(problem) = app.propose_as_node(change).await {
            tracing::info!(code = %problem.code, "a session could not be ended");
        }
    }
    ([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

/// Who is logged in, and what he may do.
#[utoipa::path(get, path = "/api/v1/session", tag = "session",
    responses((status = 200, body = Me)))]
pub async fn show(app: Asked) -> Result<Json<Me>, Problem> {
    me(&app).map(Json)
}

/// The caller in the API's words.
pub fn me(app: &Asked) -> Result<Me, Problem> {
    let (caller, view) = (app.caller(), app.whole_view()?);
    let known = operators::operator(&view, &caller.name)?;
    let roles = caller.rights.held().iter().map(|(role, region)| {
        let name = regions::region(&view, *region)?.map(|region| region.name);
        Ok(HeldRole {
            role: role.name().to_owned(),
            region: *region,
            region_name: name.unwrap_or_else(|| WHOLE.to_owned()),
        })
    });
    let roles = roles.collect::<Result<_, Problem>>()?;
    let may = Permission::ALL.into_iter().filter(|what| caller.rights.may_somewhere(*what));
    let password = known.as_ref().and_then(|known| known.password.as_ref());
    let factor = known.as_ref().and_then(|known| known.factor.as_ref());
    Ok(Me {
        user: caller.name.clone(),
        roles,
        permissions: may.map(|what| what.name().to_owned()).collect(),
        must_change_password: password.is_some_and(|password| password.must_change),
        second_factor: factor.is_some_and(|factor| factor.confirmed),
    })
}

/// Log out: the session ends everywhere.
#[utoipa::path(delete, path = "/api/v1/session", tag = "session",
    responses((status = 204, description = "ended")))]
pub async fn end(app: Asked) -> Result<Response, Problem> {
    if let Some(session) = app.caller().session {
        let name = app.caller().name.clone();
        let change = domain::Change::Operators(Change::Logout { name, session });
        app.propose_as_node(change).await?;
    }
    let cookie = auth::set_cookie(&app, "", 0);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Change one's own password. All other sessions end.
#[utoipa::path(post, path = "/api/v1/session/password", tag = "session",
    request_body = NewPassword, responses(
    (status = 204, description = "changed"),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn password(
    app: Asked,
    Extension(remote): Extension<Remote>,
    Body(new): Body<NewPassword>,
) -> Result<StatusCode, Problem> {
    change_password(&app, remote, new).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the caller's own password, after the old one.
pub async fn change_password(app: &Asked, remote: Remote, new: NewPassword) -> Result<(), Problem> {
    let (old, new) = (Zeroizing::new(new.old), Zeroizing::new(new.new));
    let name = app.caller().name.clone();
    let known = own(app, &name)?;
    let hash = known.password.map(|password| password.hash);
    prove_again(app, remote, old, hash.clone()).await?;
    credentials::check_quality(&name, &new)?;
    if credentials::verify(app, new.clone(), hash).await? {
        return Err(Problem::bad("weak_password", "it is the old one"));
    }
    let hash = credentials::hash(app, new).await?;
    let keep = app.caller().session;
    let change = domain::Change::Operators(Change::Password { name, hash, keep });
    app.propose(crate::app::random_id()?, change).await?;
    Ok(())
}

/// Refuses who is logged in and does not know the password.
pub(super) async fn prove_again(
    app: &Asked,
    remote: Remote,
    password: Zeroizing<String>,
    hash: Option<String>,
) -> Result<(), Problem> {
    if app.wrong_logins().too_many(Some(remote.0.ip())) {
        return Err(too_many());
    }
    if !credentials::verify(app, password, hash).await? {
        app.wrong_logins().count(Some(remote.0.ip()));
        return Err(wrong());
    }
    Ok(())
}

/// Begin with a second factor, with one's password. It counts once it is confirmed with a code.
#[utoipa::path(post, path = "/api/v1/session/factor", tag = "session",
    request_body = FactorWanted, responses(
    (status = 200, body = NewFactor),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn factor(
    app: Asked,
    Extension(remote): Extension<Remote>,
    Body(wanted): Body<FactorWanted>,
) -> Result<Json<NewFactor>, Problem> {
    begin_factor(&app, remote, wanted).await.map(Json)
}

/// Makes a second factor for the caller, after his password: who finds a screen unlocked shall not
/// lock its owner out.
pub async fn begin_factor(
    app: &Asked,
    remote: Remote,
    wanted: FactorWanted,
) -> Result<NewFactor, Problem> {
    let name = app.caller().name.clone();
    let hash = own(app, &name)?.password.map(|password| password.hash);
    prove_again(app, remote, Zeroizing::new(wanted.password), hash).await?;
    let octets = credentials::new_factor()?;
    let wrapped = app.master().wrap(&octets).ok_or_else(Problem::fault)?;
    let (secret, uri) = credentials::factor_texts(&name, &octets).ok_or_else(Problem::fault)?;
    let change = domain::Change::Operators(Change::Factor { name, wrapped: Some(wrapped) });
    app.propose(crate::app::random_id()?, change).await?;
    Ok(NewFactor { secret: secret.to_string(), uri: uri.to_string() })
}

/// Confirm the second factor with its first code. From now on it is asked for.
#[utoipa::path(post, path = "/api/v1/session/factor/confirm", tag = "session",
    request_body = Code, responses(
    (status = 204, description = "confirmed"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn confirm(app: Asked, Body(code): Body<Code>) -> Result<StatusCode, Problem> {
    confirm_factor(&app, &code.code).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Confirms the caller's second factor.
pub async fn confirm_factor(app: &Asked, code: &str) -> Result<(), Problem> {
    let name = app.caller().name.clone();
    app.fresh_whole_view().await?;
    let known = own(app, &name)?;
    let Some(factor) = known.factor else {
        return Err(Problem::bad("bad_factor", "begin with a second factor first"));
    };
    let step = step_of(app, &factor.wrapped, code)?.ok_or_else(wrong)?;
    let change = domain::Change::Operators(Change::ConfirmFactor { name, step });
    app.propose(crate::app::random_id()?, change).await?;
    Ok(())
}

/// The record of a person who is logged in; the founder and programs have none to change.
pub(super) fn own(app: &App, name: &str) -> Result<Operator, Problem> {
    let known = operators::operator(&app.whole_view()?, name)?.filter(|known| !known.program);
    known.ok_or_else(|| Problem::bad("no_account", "this login has no password of its own"))
}

fn step_of(app: &App, wrapped: &[u8], code: &str) -> Result<Option<u64>, Problem> {
    let octets = app.master().unwrap(wrapped).map_err(|_| Problem::fault())?;
    Ok(credentials::factor_step(&octets, code, now_s()))
}

fn wrong() -> Problem {
    let text = "wrong user, password or code, or locked for a while after wrong logins";
    Problem::new(StatusCode::UNAUTHORIZED, "wrong_login", text)
}

fn too_many() -> Problem {
    let text = "too many wrong logins from this address; wait a minute";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_logins", text)
}

/// Sees a login through: gives the session and its seconds.
async fn judge(app: &App, remote: Remote, login: Login) -> Result<(Session, u64), Problem> {
    let address = remote.0.ip();
    if app.wrong_logins().too_many(Some(address)) {
        return Err(too_many());
    }
    let (user, password) = (login.user, Zeroizing::new(login.password));
    let proof = match prove(app, &user, password, &login.code, address).await {
        Err(problem) if problem.code == "wrong_login" => {
            app.wrong_logins().count(Some(address));
            tokio::time::sleep(WRONG_PAUSE).await;
            tracing::info!("a login was refused");
            return Err(problem);
        }
        other => other?,
    };
    begin(app, user, proof, address.to_string()).await
}

/// What a login has shown.
struct Proof {
    step: Option<u64>,
    set_up_needed: bool,
}

async fn prove(
    app: &App,
    user: &str,
    password: Zeroizing<String>,
    code: &str,
    address: IpAddr,
) -> Result<Proof, Problem> {
    if user == FOUNDER {
        let right = secret::token_matches(&password, &app.config().http.admin_token_hash);
        let proof = Proof { step: None, set_up_needed: false };
        return if right { Ok(proof) } else { Err(wrong()) };
    }
    let view = app.fresh_whole_view().await?;
    let now = app.live()?.cluster.stamp_now();
    let known = operators::operator(&view, user)?.filter(|known| {
        let locked = known.locked_until.is_some_and(|until| now < until);
        known.ended.is_none() && !known.program && !locked
    });
    let hash = known.as_ref().and_then(|known| known.password.as_ref()).map(|p| p.hash.clone());
    let right = credentials::verify(app, password, hash).await?;
    let Some(known) = known else { return Err(wrong()) };
    let mut step = None;
    let mut good = right;
    if let Some(factor) = known.factor.as_ref().filter(|factor| right && factor.confirmed) {
        if code.trim().is_empty() {
            let text = "the code of the second factor is needed, too";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "code_needed", text));
        }
        step = step_of(app, &factor.wrapped, code)?.filter(|step| *step > factor.step);
        good = step.is_some();
    }
    if !good {
        let failed = Change::Failed { name: user.to_owned(), address: address.to_string() };
        app.propose_as_node(domain::Change::Operators(failed)).await?;
        return Err(wrong());
    }
    let set_up_needed = auth::set_up(&view, Some(&known), now).is_err();
    Ok(Proof { step, set_up_needed })
}

async fn begin(
    app: &App,
    name: String,
    proof: Proof,
    address: String,
) -> Result<(Session, u64), Problem> {
    let now = app.live()?.cluster.stamp_now();
    let hours = parameters::value(&app.whole_view()?, parameters::SESSIONS_HOURS, now)?;
    let hours = if hours == 0 { app.config().http.session_hours } else { u64::from(hours) };
    let seconds = hours * 3600;
    let token = app.master().session(secret::random::<16>().map_err(|_| Problem::fault())?);
    let expires = Stamp(now.0.saturating_add(seconds * 1_000_000));
    let session = *blake3::hash(token.as_bytes()).as_bytes();
    let change = Change::Login { name: name.clone(), session, expires, step: proof.step, address };
    match app.propose_as_node(domain::Change::Operators(change)).await {
        // Locked, left or used up in between: no more is told than of any wrong login.
        Err(problem) if matches!(problem.code.as_ref(), "locked" | "code_used") => Err(wrong()),
        Err(problem) if problem.code == "unknown_operator" => Err(wrong()),
        Err(problem) => Err(problem),
        Ok(_) => {
            let (token, expires) = (token.to_string(), time::stamp(expires));
            let set_up_needed = proof.set_up_needed;
            Ok((Session { token, expires, user: name, set_up_needed }, seconds))
        }
    }
}
