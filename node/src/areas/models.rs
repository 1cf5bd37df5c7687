//! Meter models: what the answering node knows. They are read at its start and not changed here.
//!
//! Invariant: what is shown is the file as it was checked, so it can be saved and used again.

use axum::Json;
use axum::extract::Path;
use gateway::model::Entry;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::areas::Page;
use crate::http::asked::Asked;
use crate::http::problem::{Problem, ProblemBody};

/// A meter model.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelBody {
    /// Its name; what a meter is registered with.
    pub name: String,
    /// Rises with every change of the file.
    pub version: u32,
    /// Who makes the meter.
    pub maker: String,
    /// One line for people.
    pub description: String,
    /// dlms or iec62056-21.
    pub protocol: String,
    /// Number of objects.
    pub objects: usize,
    /// Whether it ships with the program; otherwise it is from the folder `gateway.models`.
    pub shipped: bool,
}

/// A meter model in full.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelDetail {
    /// The model.
    #[serde(flatten)]
    pub model: ModelBody,
    /// Everything in the file, by its keys.
    #[schema(value_type = Object)]
    pub file: serde_json::Value,
    /// The file's text.
    pub toml: String,
}

/// The meter models that this node knows, by name.
#[utoipa::path(get, path = "/api/v1/models", tag = "meters",
    responses((status = 200, body = Page<ModelBody>)))]
pub async fn list(app: Asked) -> Json<Page<ModelBody>> {
    let items = app.models().entries().map(|(_, entry)| body(entry)).collect();
    Json(Page { items, next: None })
}

/// One meter model.
#[utoipa::path(get, path = "/api/v1/models/{name}", tag = "meters",
    params(("name" = String, Path, description = "name of the model")), responses(
    (status = 200, body = ModelDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, Path(name): Path<String>) -> Result<Json<ModelDetail>, Problem> {
    let found = app.models().entries().find(|(known, _)| *known == name);
    let (_, entry) = found.ok_or_else(|| Problem::missing("unknown_model", name.clone()))?;
    detail(entry).map(Json).ok_or_else(Problem::fault)
}

/// A model in full; None when it cannot be written, which no checked model does.
pub fn detail(entry: &Entry) -> Option<ModelDetail> {
    let file = serde_json::to_value(&entry.model.file).ok()?;
    let toml = entry.model.file.to_toml().ok()?;
    Some(ModelDetail { model: body(entry), file, toml })
}

/// A model in the API's words.
pub fn body(entry: &Entry) -> ModelBody {
    let file = &entry.model.file;
    ModelBody {
        name: file.name.clone(),
        version: file.version,
        maker: file.maker.clone(),
        description: file.description.clone(),
        protocol: file.protocol.clone(),
        objects: entry.model.objects.len(),
        shipped: entry.file.is_none(),
    }
}
