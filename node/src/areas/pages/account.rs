//! The page of one's own account: roles, password, second factor.
//!
//! Invariant: a secret is in the answer to the request that made it, and in no address.

use askama::Template;
use axum::Form;
use axum::extract::Extension;
use axum::response::{IntoResponse, Redirect, Response};
use domain::operators::Change;
use domain::parameters;
use serde::Deserialize;

use super::{Who, clock, refused, render};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::own_sessions::{self, Ending, OwnSession};
use crate::http::problem::Problem;
use crate::http::server::Remote;
use crate::http::session::{self, FactorWanted, Me, NewFactor, NewPassword};
use crate::texts::Language;

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    who: Who,
    t: Language,
    me: Me,
    founder: bool,
    factor: Option<NewFactor>,
    factor_missing: bool,
    sessions: Vec<OwnSession>,
    said: String,
    good: bool,
}

impl OwnSession {
    fn begun_clock(&self) -> String {
        clock(&self.begun)
    }

    fn used_clock(&self) -> String {
        clock(&self.used)
    }

    fn expires_clock(&self) -> String {
        clock(&self.expires)
    }
}

/// What the page takes.
#[derive(Default, Deserialize)]
pub struct AccountParams {
    done: Option<String>,
}

/// A new password, twice.
#[derive(Deserialize)]
pub struct PasswordForm {
    old: String,
    new: String,
    again: String,
}

/// A code of the second factor.
#[derive(Deserialize)]
pub struct CodeForm {
    code: String,
}

/// The page.
pub async fn show(app: Asked, Params(params): Params<AccountParams>) -> Response {
    let said = match params.done.as_deref() {
        Some("password") => app.language().say("account.password_done").to_string(),
        Some("factor") => app.language().say("account.factor_done").to_string(),
        Some("sessions") => app.language().say("account.sessions_done").to_string(),
        Some("language") => app.language().say("account.language_done").to_string(),
        _ => String::new(),
    };
    page(&app, None, Ok(said))
}

/// A language, by its code.
#[derive(Deserialize)]
pub struct LanguageForm {
    language: String,
}

/// Chooses the language of one's own pages.
pub async fn language(app: Asked, Form(form): Form<LanguageForm>) -> Response {
    let (name, language) = (app.caller().name.clone(), form.language);
    let change = domain::Change::Operators(Change::Language { name, language });
    let chosen = async { app.propose(crate::app::random_id()?, change).await };
    match chosen.await {
        Ok(_) => Redirect::to("/me?done=language").into_response(),
        Err(problem) => page(&app, None, Err(told(&app, &problem))),
    }
}

/// Changes the password.
pub async fn password(
    app: Asked,
    Extension(remote): Extension<Remote>,
    Form(form): Form<PasswordForm>,
) -> Response {
    if form.new != form.again {
        let text = app.language().say("account.differ").to_string();
        return page(&app, None, Err(text));
    }
    let new = NewPassword { old: form.old, new: form.new };
    match session::change_password(&app, remote, new).await {
        Ok(()) => Redirect::to("/me?done=password").into_response(),
        Err(problem) => page(&app, None, Err(told(&app, &problem))),
    }
}

/// Begins with a second factor and shows its secret.
pub async fn factor(
    app: Asked,
    Extension(remote): Extension<Remote>,
    Form(wanted): Form<FactorWanted>,
) -> Response {
    match session::begin_factor(&app, remote, wanted).await {
        Ok(factor) => page(&app, Some(factor), Ok(String::new())),
        Err(problem) => page(&app, None, Err(told(&app, &problem))),
    }
}

/// Ends all of one's other sessions.
pub async fn end_sessions(
    app: Asked,
    Extension(remote): Extension<Remote>,
    Form(form): Form<Ending>,
) -> Response {
    match own_sessions::end_others(&app, remote, form).await {
        Ok(()) => Redirect::to("/me?done=sessions").into_response(),
        Err(problem) => page(&app, None, Err(told(&app, &problem))),
    }
}

/// Confirms the second factor.
pub async fn confirm(app: Asked, Form(form): Form<CodeForm>) -> Response {
    match session::confirm_factor(&app, &form.code).await {
        Ok(()) => Redirect::to("/me?done=factor").into_response(),
        Err(problem) if problem.code == "wrong_login" => {
            let text = app.language().say("account.code_wrong").to_string();
            page(&app, None, Err(text))
        }
        Err(problem) => page(&app, None, Err(told(&app, &problem))),
    }
}

fn told(app: &Asked, problem: &Problem) -> String {
    match problem.code.as_ref() {
        "wrong_login" => app.language().say("account.old_wrong").to_string(),
        code => format!("{} ({code})", app.language().word("refusal", code)),
    }
}

fn page(app: &Asked, factor: Option<NewFactor>, said: Result<String, String>) -> Response {
    let good = said.is_ok();
    let said = said.unwrap_or_else(|text| text);
    match build(app, factor, said, good) {
        Ok(page) => render(&page),
        Err(problem) => refused(app, problem),
    }
}

fn build(
    app: &Asked,
    factor: Option<NewFactor>,
    said: String,
    good: bool,
) -> Result<AccountPage, Problem> {
    let me = session::me(app)?;
    let founder = app.caller().rights.is_founder();
    let now = app.live()?.cluster.stamp_now();
    let needed = parameters::value(&app.whole_view()?, parameters::SECOND_FACTOR, now)? != 0;
    let factor_missing = needed && !founder && !me.second_factor;
    let (who, t) = (Who::of(app), app.language());
    let sessions = own_sessions::all(app)?.into_iter().map(|(_, one)| one).collect();
    Ok(AccountPage { who, t, me, founder, factor, factor_missing, sessions, said, good })
}
