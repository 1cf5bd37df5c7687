//! The pages of the cluster's parameters: their list, and one with its history and a form.
//!
//! Invariants: a setting goes the way of the API's, with the same refusals; a form that is refused
//! comes back with what was typed, one that is taken is answered by a redirection.

use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use domain::operators::Permission;
use serde::Deserialize;

use super::{Who, clock, encode, refused, render};
use crate::areas::parameters::{self, NewSetting, ParameterBody, ParameterDetail, SettingBody};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::Problem;
use crate::texts::Language;

#[derive(Template)]
#[template(path = "parameters.html")]
struct ParametersPage {
    who: Who,
    t: Language,
    parameters: Vec<ParameterBody>,
}

#[derive(Template)]
#[template(path = "parameter.html")]
struct ParameterPage {
    who: Who,
    t: Language,
    p: ParameterBody,
    /// Newest first.
    history: Vec<SettingBody>,
    may_set: bool,
    typed: SettingForm,
    said: String,
    good: bool,
}

/// What the page of a parameter takes.
#[derive(Default, Deserialize)]
pub struct ParameterPageParams {
    /// Anything: it was set.
    done: Option<String>,
    /// What the form begins with: a value of before.
    value: Option<String>,
}

/// What the form of a setting sends, as it was typed.
#[derive(Clone, Default, Deserialize)]
pub struct SettingForm {
    value: String,
    #[serde(default)]
    from: String,
    seen: String,
    #[serde(default)]
    reason: String,
}

impl SettingForm {
    fn setting(&self) -> NewSetting {
        // What is no number is beyond every bound, and refused as such.
        let number = |text: &str| text.trim().parse().unwrap_or(u32::MAX);
        NewSetting {
            value: number(&self.value),
            from: utc(self.from.trim()),
            seen: number(&self.seen),
            reason: self.reason.trim().to_owned(),
        }
    }
}

/// The time of a field `datetime-local` (HTML, 4.10.5.1.11), which leaves out zone and seconds.
fn utc(typed: &str) -> Option<String> {
    match typed.len() {
        0 => None,
        16 => Some(format!("{typed}:00Z")),
        19 => Some(format!("{typed}Z")),
        _ => Some(typed.to_owned()),
    }
}

impl SettingBody {
    fn begin_clock(&self) -> String {
        clock(&self.from)
    }

    fn set_clock(&self) -> String {
        clock(&self.set)
    }
}

/// Every parameter.
pub async fn list(app: Asked) -> Response {
    match parameters::all(&app) {
        Ok(parameters) => {
            let (who, t) = (Who::of(&app), app.language());
            render(&ParametersPage { who, t, parameters })
        }
        Err(problem) => refused(&app, problem),
    }
}

/// One parameter.
pub async fn show(
    app: Asked,
    Path(name): Path<String>,
    Params(params): Params<ParameterPageParams>,
) -> Response {
    let detail = match parameters::one(&app, &name) {
        Ok(detail) => detail,
        Err(problem) => return refused(&app, problem),
    };
    let said = params.done.map(|_| app.language().say("parameters.done").to_string());
    let value = params.value.unwrap_or_else(|| detail.parameter.value.to_string());
    let typed = SettingForm { value, ..SettingForm::default() };
    render(&page(&app, detail, typed, Ok(said.unwrap_or_default())))
}

/// Sets a parameter, and shows its page.
pub async fn set(app: Asked, Path(name): Path<String>, Form(form): Form<SettingForm>) -> Response {
    let asked =
        async { parameters::order(&app, crate::app::random_id()?, &name, form.setting()).await };
    match asked.await {
        Ok(_) => Redirect::to(&format!("/parameters/{}?done=1", encode(&name))).into_response(),
        Err(problem) => again(&app, &name, form, problem),
    }
}

/// The form again, with what was typed and what is wrong with it.
fn again(app: &Asked, name: &str, typed: SettingForm, problem: Problem) -> Response {
    let Ok(detail) = parameters::one(app, name) else { return refused(app, problem) };
    let code = problem.code.as_ref();
    let said = format!("{} ({code})", app.language().word("refusal", code));
    (problem.status, render(&page(app, detail, typed, Err(said)))).into_response()
}

fn page(
    app: &Asked,
    detail: ParameterDetail,
    typed: SettingForm,
    said: Result<String, String>,
) -> ParameterPage {
    let ParameterDetail { parameter, mut history } = detail;
    history.reverse();
    let (who, t) = (Who::of(app), app.language());
    let may_set = app.may_everywhere(Permission::Parameters);
    let good = said.is_ok();
    let said = said.unwrap_or_else(|text| text);
    ParameterPage { who, t, p: parameter, history, may_set, typed, said, good }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_meant() {
        let form = |value: &str, from: &str| SettingForm {
            value: value.to_owned(),
            from: from.to_owned(),
            seen: "3".to_owned(),
            reason: " winter ".to_owned(),
        };
        let cases = [
            ("600", "", 600, None),
            (" 0 ", "2026-12-01T00:00", 0, Some("2026-12-01T00:00:00Z")),
            ("1", "2026-12-01T00:00:30", 1, Some("2026-12-01T00:00:30Z")),
            ("ten", "tomorrow", u32::MAX, Some("tomorrow")),
            ("-1", "", u32::MAX, None),
            ("99999999999", "", u32::MAX, None),
        ];
        for (value, from, expect, begins) in cases {
            let read = form(value, from).setting();
            assert_eq!((read.value, read.from.as_deref()), (expect, begins), "{value} {from}");
            assert_eq!((read.seen, read.reason.as_str()), (3, "winter"));
        }
    }
}
