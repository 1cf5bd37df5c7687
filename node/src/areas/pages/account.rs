//! The page of one's own account: roles, password, second factor.
//!
//! Invariant: a secret is in the answer to the request that made it, and in no address.

use askama::Template;
use axum::Form;
use axum::extract::Extension;
use axum::response::{IntoResponse, Redirect, Response};
use domain::parameters;
use serde::Deserialize;

use super::{Who, problem_page, render};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::Problem;
use crate::http::server::Remote;
use crate::http::session::{self, Me, NewFactor, NewPassword};

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    who: Who,
    me: Me,
    founder: bool,
    factor: Option<NewFactor>,
    factor_missing: bool,
    said: String,
    good: bool,
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
        Some("password") => "Your password is changed.",
        Some("factor") => "The second factor is on.",
        _ => "",
    };
    page(&app, None, Ok(said))
}

/// Changes the password.
pub async fn password(
    app: Asked,
    Extension(remote): Extension<Remote>,
    Form(form): Form<PasswordForm>,
) -> Response {
    if form.new != form.again {
        return page(&app, None, Err("The two new passwords differ.".to_owned()));
    }
    let new = NewPassword { old: form.old, new: form.new };
    match session::change_password(&app, remote, new).await {
        Ok(()) => Redirect::to("/me?done=password").into_response(),
        Err(problem) => page(&app, None, Err(told(&problem))),
    }
}

/// Begins with a second factor and shows its secret.
pub async fn factor(app: Asked) -> Response {
    match session::begin_factor(&app).await {
        Ok(factor) => page(&app, Some(factor), Ok("")),
        Err(problem) => page(&app, None, Err(told(&problem))),
    }
}

/// Confirms the second factor.
pub async fn confirm(app: Asked, Form(form): Form<CodeForm>) -> Response {
    match session::confirm_factor(&app, &form.code).await {
        Ok(()) => Redirect::to("/me?done=factor").into_response(),
        Err(problem) if problem.code == "wrong_login" => {
            let text = "That code was wrong. Set the second factor up anew; look at the clock.";
            page(&app, None, Err(text.to_owned()))
        }
        Err(problem) => page(&app, None, Err(told(&problem))),
    }
}

fn told(problem: &Problem) -> String {
    match problem.code.as_ref() {
        "wrong_login" => "The password until now was wrong.".to_owned(),
        _ => problem.detail.clone(),
    }
}

fn page(app: &Asked, factor: Option<NewFactor>, said: Result<&str, String>) -> Response {
    let good = said.is_ok();
    let said = said.map_or_else(|text| text, str::to_owned);
    match build(app, factor, said, good) {
        Ok(page) => render(&page),
        Err(problem) => problem_page(problem),
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
    Ok(AccountPage { who: Who::of(app), me, founder, factor, factor_missing, said, good })
}
