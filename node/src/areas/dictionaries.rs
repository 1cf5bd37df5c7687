//! Dictionaries: the codes that answers use, with their words in every language of the pages.
//!
//! Invariant: they are the pages' own words, so a program shows what the pages show.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Path;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::areas::Page;
use crate::http::asked::Asked;
use crate::http::problem::{Problem, ProblemBody};
use crate::texts::{self, Language};

/// A dictionary in short.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DictionaryBody {
    /// Its name, such as `command_state`.
    pub name: String,
    /// How many codes it has.
    pub codes: usize,
}

/// A code with its words.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CodeBody {
    /// As answers have it.
    pub code: String,
    /// By language: `en`, `es`, `ru`, `zh`.
    pub words: BTreeMap<String, String>,
}

/// Every dictionary.
#[utoipa::path(get, path = "/api/v1/dictionaries", tag = "dictionaries",
    responses((status = 200, body = Page<DictionaryBody>)))]
pub async fn list(_: Asked) -> Json<Page<DictionaryBody>> {
    let all = texts::dictionaries();
    let items = all.into_iter().map(|(name, codes)| DictionaryBody { name, codes });
    Json(Page { items: items.collect(), next: None })
}

/// A dictionary, in order of the codes.
#[utoipa::path(get, path = "/api/v1/dictionaries/{name}", tag = "dictionaries",
    params(("name" = String, Path, description = "such as command_state")), responses(
    (status = 200, body = Page<CodeBody>),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(_: Asked, Path(name): Path<String>) -> Result<Json<Page<CodeBody>>, Problem> {
    let codes = texts::codes(&name);
    if codes.is_empty() {
        return Err(Problem::missing("unknown_dictionary", name));
    }
    let word = |code: &String, language: Language| {
        (language.code().to_owned(), language.word(&name, code))
    };
    let items = codes.into_iter().map(|code| CodeBody {
        words: Language::ALL.into_iter().map(|language| word(&code, language)).collect(),
        code,
    });
    Ok(Json(Page { items: items.collect(), next: None }))
}
