//! Setups: parameters of concentrators, as they are wanted and as they were read; templates.
//!
//! Invariants: who sets something says which version was seen last; what is reported was read from
//! the concentrator, with its time; a push carries what is wanted when it is ordered.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use domain::commands::{self, Order, Value};
use domain::setups::{self, Change, Definition, Kind, Setting, Version};
use domain::{View, assets};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::areas::commands::CommandBody;
use crate::areas::{Page, commands as ordered, keys, time};
use crate::http::asked::Asked;
use crate::http::extract::Body;
use crate::http::problem::{Problem, ProblemBody};

/// Versions of a history in one answer.
const SHOWN_VERSIONS: u32 = 50;
/// How long an order may wait for its concentrator when nothing else is said.
const DEFAULT_EXPIRY_S: u64 = 60;
/// How long a new address has to prove itself when nothing else is said.
pub const DEFAULT_TRIAL_S: u16 = 120;

/// Values by the names of parameters.
pub type Values = BTreeMap<String, serde_json::Value>;

/// A template or what is wanted of a concentrator, in one version.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VersionBody {
    /// 1 and up.
    pub version: u32,
    /// The template that counts where the settings say nothing.
    pub template: Option<String>,
    /// What it sets: by name text, number, or true and false.
    #[schema(value_type = Object)]
    pub settings: Values,
    /// When it was set.
    pub set: String,
    /// Who set it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// A template.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TemplateBody {
    /// Its name.
    pub name: String,
    /// Its newest version.
    #[serde(flatten)]
    pub newest: VersionBody,
}

/// A template with its history.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TemplateDetail {
    /// The template.
    #[serde(flatten)]
    pub template: TemplateBody,
    /// Its last versions, at most 50, oldest first.
    pub history: Vec<VersionBody>,
}

/// A new version of a template.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTemplate {
    /// `version` as it was seen; 0 for a new one.
    pub seen: u32,
    /// What it sets.
    #[schema(value_type = Object)]
    pub settings: Values,
    /// Why; 1 to 500 letters.
    pub reason: String,
}

/// The parameters of a concentrator.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SetupBody {
    /// Logical device name.
    pub concentrator: String,
    /// What is wanted of it; null when nothing was ever said.
    pub wanted: Option<VersionBody>,
    /// Each parameter.
    pub parameters: Vec<ParameterLine>,
    /// How many differ from what is wanted.
    pub differ: usize,
    /// The last versions of what was wanted, at most 50, oldest first.
    pub history: Vec<VersionBody>,
}

/// One parameter of a concentrator.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ParameterLine {
    /// Its name.
    pub name: String,
    /// What it means.
    pub about: String,
    /// What is wanted, by itself or by the template; null when nothing is.
    #[schema(value_type = Object)]
    pub wanted: Option<serde_json::Value>,
    /// own or template: where that stands.
    pub from: Option<String>,
    /// What was read; null when it was never read.
    #[schema(value_type = Object)]
    pub reported: Option<serde_json::Value>,
    /// When it was read.
    pub read: Option<String>,
    /// same, differs, unread (wanted and never read) or free (nothing is wanted).
    pub standing: String,
}

/// What is to be wanted of a concentrator.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWanted {
    /// `wanted.version` as it was seen; 0 for the first.
    pub seen: u32,
    /// A template that counts where the settings say nothing.
    pub template: Option<String>,
    /// Settings of its own, all of them.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub settings: Values,
    /// Why; 1 to 500 letters.
    pub reason: String,
}

/// How a push or a read is ordered.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPush {
    /// So long a new address has to prove itself, 5 to 3600 s; 120 when left out.
    pub trial_s: Option<u16>,
    /// Seconds after which it is not sent any more; 60 when left out.
    pub expires_in_s: Option<u64>,
}

/// Templates by name.
#[utoipa::path(get, path = "/api/v1/setups", tag = "setups",
    responses((status = 200, body = Page<TemplateBody>)))]
pub async fn list(app: Asked) -> Result<Json<Page<TemplateBody>>, Problem> {
    let found = setups::templates(&app.view()?)?;
    let body = |(name, version)| TemplateBody { name, newest: version_body(&version) };
    Ok(Json(Page { items: found.into_iter().map(body).collect(), next: None }))
}

/// One template with its history.
#[utoipa::path(get, path = "/api/v1/setups/{name}", tag = "setups",
    params(("name" = String, Path, description = "template")), responses(
    (status = 200, body = TemplateDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, Path(name): Path<String>) -> Result<Json<TemplateDetail>, Problem> {
    template_detail(&app.view()?, &name).map(Json)
}

/// Set a template: a new version of it.
#[utoipa::path(post, path = "/api/v1/setups/{name}", tag = "setups", request_body = NewTemplate,
    params(("name" = String, Path, description = "template"),
        ("Idempotency-Key" = Option<String>, Header, description = "repeats are one setting")),
    responses(
    (status = 200, body = TemplateDetail),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn set(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewTemplate>,
) -> Result<Json<TemplateDetail>, Problem> {
    let (settings, reason) = (settings(&new.settings)?, new.reason);
    let change = Change::Template { name: name.clone(), seen: new.seen, settings, reason };
    let id = keys::proposal_id(&headers, "template")?;
    app.propose(id, domain::Change::Setups(change)).await?;
    template_detail(&app.fresh_view().await?, &name).map(Json)
}

/// The parameters of a concentrator: wanted, read, and where they differ.
#[utoipa::path(get, path = "/api/v1/concentrators/{id}/setup", tag = "setups",
    params(("id" = String, Path, description = "logical device name")), responses(
    (status = 200, body = SetupBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn of_concentrator(
    app: Asked,
    Path(id): Path<String>,
) -> Result<Json<SetupBody>, Problem> {
    setup_body(&app.view()?, &id).map(Json)
}

/// Say what is wanted of a concentrator: a new version. Nothing is sent by that.
#[utoipa::path(post, path = "/api/v1/concentrators/{id}/setup", tag = "setups",
    request_body = NewWanted, params(("id" = String, Path, description = "logical device name"),
        ("Idempotency-Key" = Option<String>, Header, description = "repeats are one setting")),
    responses(
    (status = 200, body = SetupBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn want(
    app: Asked,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewWanted>,
) -> Result<Json<SetupBody>, Problem> {
    let change = Change::Want {
        concentrator: id.clone(),
        seen: new.seen,
        template: new.template,
        settings: settings(&new.settings)?,
        reason: new.reason,
    };
    let proposal = keys::proposal_id(&headers, "want")?;
    app.propose(proposal, domain::Change::Setups(change)).await?;
    setup_body(&app.fresh_view().await?, &id).map(Json)
}

/// Order a concentrator to be set to what is wanted of it; it is read back.
#[utoipa::path(post, path = "/api/v1/concentrators/{id}/setup/push", tag = "setups",
    request_body = NewPush, params(("id" = String, Path, description = "logical device name"),
        ("Idempotency-Key" = Option<String>, Header, description = "repeats are one order")),
    responses(
    (status = 202, body = CommandBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn push(
    app: Asked,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewPush>,
) -> Result<(StatusCode, Json<CommandBody>), Problem> {
    let command = keys::proposal_id(&headers, "push")?;
    let wait_ms = new.expires_in_s.unwrap_or(DEFAULT_EXPIRY_S).saturating_mul(1000);
    let change = Change::Push {
        id: command,
        concentrator: id.clone(),
        trial_s: new.trial_s.unwrap_or(DEFAULT_TRIAL_S),
        expires: app.live()?.cluster.stamp_now().plus_ms(wait_ms),
    };
    let repeated = match app.propose(command, domain::Change::Setups(change)).await {
        Ok(_) => None,
        // A repeat has another expiry; whether it is the same order is seen below.
        Err(problem) if matches!(problem.code.as_ref(), "command_exists" | "id_reused") => {
            Some(problem)
        }
        Err(problem) => return Err(problem),
    };
    let found = commands::command(&app.fresh_view().await?, &command)?;
    let found = found.ok_or_else(|| repeated.unwrap_or_else(Problem::fault))?;
    if found.target != id || !matches!(found.order, Order::Push { .. }) {
        let text = "this Idempotency-Key belongs to another command";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", text));
    }
    Ok((StatusCode::ACCEPTED, Json(ordered::body(&app, &found))))
}

fn template_detail(view: &dyn View, name: &str) -> Result<TemplateDetail, Problem> {
    let newest = setups::template(view, name)?
        .ok_or_else(|| Problem::missing("unknown_template", name.to_owned()))?;
    let behind = newest.version.saturating_sub(SHOWN_VERSIONS);
    let history = setups::template_history(view, name, behind, SHOWN_VERSIONS as usize)?;
    let template = TemplateBody { name: name.to_owned(), newest: version_body(&newest) };
    Ok(TemplateDetail { template, history: history.iter().map(version_body).collect() })
}

/// The parameters of a concentrator in the API's words.
pub fn setup_body(view: &dyn View, id: &str) -> Result<SetupBody, Problem> {
    if assets::concentrator(view, id)?.is_none() {
        return Err(Problem::missing("unknown_concentrator", id));
    }
    let wanted = setups::wanted(view, id)?;
    let effective = setups::effective(view, id)?;
    let reported = setups::reported(view, id)?;
    let own = |name: &str| {
        wanted.as_ref().is_some_and(|version| version.settings.iter().any(|s| s.name == name))
    };
    let line = |definition: &Definition| {
        let name = definition.name;
        let wish = effective.iter().find(|setting| setting.name == name).map(|s| &s.value);
        let read = reported.get(name);
        let standing = match (wish, read) {
            (None, _) => "free",
            (Some(_), None) => "unread",
            (Some(wish), Some((read, _))) if wish == read => "same",
            (Some(_), Some(_)) => "differs",
        };
        ParameterLine {
            name: name.to_owned(),
            about: definition.about.to_owned(),
            wanted: wish.map(|value| json(definition, value)),
            from: wish.map(|_| if own(name) { "own" } else { "template" }.to_owned()),
            reported: read.map(|(value, _)| json(definition, value)),
            read: read.map(|(_, at)| time::stamp(*at)),
            standing: standing.to_owned(),
        }
    };
    let parameters: Vec<ParameterLine> = setups::DEFINITIONS.iter().map(line).collect();
    let last = wanted.as_ref().map_or(0, |version| version.version);
    let behind = last.saturating_sub(SHOWN_VERSIONS);
    let history = setups::wanted_history(view, id, behind, SHOWN_VERSIONS as usize)?;
    Ok(SetupBody {
        concentrator: id.to_owned(),
        wanted: wanted.as_ref().map(version_body),
        differ: parameters.iter().filter(|line| line.standing == "differs").count(),
        parameters,
        history: history.iter().map(version_body).collect(),
    })
}

fn version_body(version: &Version) -> VersionBody {
    let value = |setting: &Setting| {
        let definition = setups::definition(&setting.name)?;
        Some((setting.name.clone(), json(definition, &setting.value)))
    };
    VersionBody {
        version: version.version,
        template: version.template.clone(),
        settings: version.settings.iter().filter_map(value).collect(),
        set: time::stamp(version.stamp),
        author: version.author.clone(),
        reason: version.reason.clone(),
    }
}

/// A value of a parameter as JSON.
fn json(definition: &Definition, value: &Value) -> serde_json::Value {
    match (definition.kind, value) {
        (Kind::Ipv4, Value::Unsigned(number)) => match u32::try_from(*number) {
            Ok(number) => Ipv4Addr::from(number).to_string().into(),
            Err(_) => (*number).into(),
        },
        (_, Value::Unsigned(number)) => (*number).into(),
        (_, Value::Boolean(yes)) => (*yes).into(),
        (_, Value::Text(text)) => text.clone().into(),
        (_, other) => ordered::plain(other),
    }
}

/// Settings of the API's words; whether they are good, the log says.
fn settings(given: &Values) -> Result<Vec<Setting>, Problem> {
    use serde_json::Value as Json;
    let bad = |name: &str, text: &str| Problem::bad("bad_setting", format!("{name}: {text}"));
    let one = |(name, value): (&String, &Json)| {
        let kind = setups::definition(name).map(|definition| definition.kind);
        let kind = kind.ok_or_else(|| bad(name, "no such parameter"))?;
        let value = match (kind, value) {
            (Kind::Ipv4, Json::String(text)) => {
                let address: Ipv4Addr =
                    text.parse().map_err(|_| bad(name, "an IPv4 address, as 192.0.2.1"))?;
                Value::Unsigned(u64::from(u32::from(address)))
            }
            (_, Json::Bool(yes)) => Value::Boolean(*yes),
            (_, Json::String(text)) => Value::Text(text.clone()),
            (_, Json::Number(number)) => {
                Value::Unsigned(number.as_u64().ok_or_else(|| bad(name, "a whole number"))?)
            }
            _ => return Err(bad(name, "text, a number, or true and false")),
        };
        Ok(Setting { name: name.clone(), value })
    };
    given.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{Values, json, settings};
    use domain::setups::definition;

    #[test]
    fn settings_come_back_as_given() {
        let given: Values = serde_json::from_str(
            r#"{"ip_address": "10.1.2.3", "ip_dhcp": false, "main_address": "a:4059",
                "heartbeat_seconds": 60}"#,
        )
        .expect("values");
        let read: Values = settings(&given)
            .expect("good ones")
            .iter()
            .map(|one| (one.name.clone(), json(definition(&one.name).expect("one"), &one.value)))
            .collect();
        assert_eq!(read, given);
        for bad in [r#"{"nothing": 1}"#, r#"{"ip_mask": "x"}"#, r#"{"heartbeat_seconds": -1}"#] {
            let given: Values = serde_json::from_str(bad).expect("values");
            assert_eq!(settings(&given).expect_err(bad).code, "bad_setting");
        }
    }
}
