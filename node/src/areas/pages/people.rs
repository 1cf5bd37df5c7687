//! The pages of the operators and of the audit trail.

use askama::Template;
use axum::response::Response;

use super::{Who, clock, encode, refused, render};
use crate::areas::audit::{self, AuditParams, RecordBody};
use crate::areas::operators::{self, OperatorBody};
use crate::areas::{ListParams, Page};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::Problem;
use crate::texts::Language;

#[derive(Template)]
#[template(path = "operators.html")]
struct OperatorsPage {
    who: Who,
    t: Language,
    query: String,
    operators: Vec<OperatorBody>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    who: Who,
    t: Language,
    operator: String,
    query: String,
    refused: bool,
    records: Vec<RecordBody>,
    next: Option<String>,
}

impl RecordBody {
    /// With its year: a trail is kept for many.
    fn clock(&self) -> String {
        self.time.get(..19).map_or_else(|| self.time.clone(), |time| time.replace('T', " "))
    }
}

impl OperatorBody {
    fn last_login_clock(&self) -> String {
        self.last_login.as_deref().map_or_else(|| "–".to_owned(), clock)
    }
}

/// Operators that the caller keeps.
pub async fn operators(app: Asked, Params(params): Params<ListParams>) -> Response {
    let query = params.query.clone().unwrap_or_default();
    match operators::found(&app, &params) {
        Ok(Page { items, next }) => {
            let url = |next: String| {
                format!("/operators?cursor={}&query={}", encode(&next), encode(&query))
            };
            let next = next.map(url);
            let (who, t) = (Who::of(&app), app.language());
            render(&OperatorsPage { who, t, query, operators: items, next })
        }
        Err(problem) => refused(&app, problem),
    }
}

/// The audit trail, newest first.
pub async fn audit(app: Asked, Params(mut params): Params<AuditParams>) -> Response {
    // A form sends fields that were left empty.
    let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    params.operator = filled(params.operator);
    params.query = filled(params.query);
    params.limit = params.limit.or(Some(50));
    match records(&app, params.clone()).await {
        Ok(Page { items, next }) => {
            let operator = params.operator.unwrap_or_default();
            let query = params.query.unwrap_or_default();
            let only = params.refused == Some(true);
            let url = |next: String| {
                let only = if only { "&refused=true" } else { "" };
                let (operator, query) = (encode(&operator), encode(&query));
                format!("/audit?cursor={}&operator={operator}&query={query}{only}", encode(&next))
            };
            let next = next.map(url);
            let (who, t) = (Who::of(&app), app.language());
            render(&AuditPage { who, t, operator, query, refused: only, records: items, next })
        }
        Err(problem) => refused(&app, problem),
    }
}

async fn records(app: &Asked, params: AuditParams) -> Result<Page<RecordBody>, Problem> {
    let view = app.view()?;
    let look = move || audit::find(&view, &params);
    tokio::task::spawn_blocking(look).await.map_err(|_| Problem::fault())?
}
