//! The page of the commands: what was ordered of devices, and how far each has come.

use askama::Template;
use axum::response::Response;

use super::{Who, encode, refused, render};
use crate::areas::ListParams;
use crate::areas::commands::{self, CommandBody};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::texts::Language;

/// Commands of a page.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "orders.html")]
struct OrdersPage {
    who: Who,
    t: Language,
    query: String,
    commands: Vec<CommandBody>,
    next: Option<String>,
}

/// The newest commands, and on from there.
pub async fn list(app: Asked, Params(mut params): Params<ListParams>) -> Response {
    params.limit = Some(params.limit.unwrap_or(SHOWN));
    let query = params.query.clone().unwrap_or_default();
    params.query = params.query.filter(|text| !text.is_empty());
    match commands::found(&app, &params) {
        Ok(page) => {
            let (who, t) = (Who::of(&app), app.language());
            let of = encode(&query);
            let next =
                page.next.map(|next| format!("/commands?query={of}&cursor={}", encode(&next)));
            render(&OrdersPage { who, t, query, commands: page.items, next })
        }
        Err(problem) => refused(&app, problem),
    }
}
