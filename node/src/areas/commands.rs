//! Commands: orders to devices, queued in the replicated outbox and answered by the device.
//!
//! Invariants: a request repeated with its `Idempotency-Key` is one command; an answer is never a
//! stored value; `?wait` is bounded and woken by effects, with a look at the state behind each.

mod order;

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use cluster::Woken;
use domain::commands::{self, Change, Command, Value};
use domain::{CommandId, Effect, ProposalId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use self::order::{AttributeBody, OrderBody, SwitchTo};
use crate::app::App;
use crate::areas::{ListParams, Page, keys, number, time};
use crate::http::asked::Asked;
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};
use crate::secret::hex;

/// How long a command may wait for its device when nothing else is said.
const DEFAULT_EXPIRY_S: u64 = 60;
/// The longest `?wait`.
const MAX_WAIT_S: u64 = 25;
/// Effects may be lost: the state is looked at this often in any case.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A command to queue.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCommand {
    /// Meter serial or logical device name of a concentrator.
    pub target: String,
    /// What to do.
    pub order: OrderBody,
    /// Seconds after which it is not sent any more; 60 when left out, a week at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// A command and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CommandBody {
    /// Its id.
    pub id: String,
    /// Meter serial or logical device name.
    pub target: String,
    /// What to do.
    pub order: OrderBody,
    /// queued, sent, acknowledged, verified, failed, expired, cancelled or unknown. An order that
    /// acts (write, switch, clock) ends as verified: it was read back.
    pub state: String,
    /// The node that sent it.
    pub node: Option<String>,
    /// Who asked.
    pub by: String,
    /// When it came.
    pub queued: String,
    /// When it was sent.
    pub sent: Option<String>,
    /// When the device said that it acted.
    pub acknowledged: Option<String>,
    /// When it ended; null: something is still to be done for it.
    pub settled: Option<String>,
    /// Nothing is sent after it.
    pub expires: String,
    /// What the device answered.
    pub values: Option<Vec<ReadBody>>,
    /// Why there is no answer.
    pub failure: Option<FailureBody>,
}

/// A value as the device gave it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReadBody {
    /// OBIS code.
    pub obis: String,
    /// Attribute.
    pub attribute: i8,
    /// Number (exact decimal, as text), text, time (RFC 3339), hex, list, or null.
    #[schema(value_type = Object)]
    pub value: serde_json::Value,
    /// Unit, when the object has one.
    pub unit: Option<String>,
}

/// Why a command came to nothing.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FailureBody {
    /// Stable code.
    pub code: String,
    /// More, as far as the device said it.
    pub detail: String,
}

/// What showing a command takes.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct CommandParams {
    /// Seconds to wait for its end, 25 at most.
    pub wait: Option<u64>,
}

/// The newest commands, newest first; `query` looks at targets.
#[utoipa::path(get, path = "/api/v1/commands", tag = "commands", params(ListParams),
    responses((status = 200, body = Page<CommandBody>)))]
pub async fn list(
    app: Asked,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<CommandBody>>, Problem> {
    found(&app, &params).map(Json)
}

/// The page of the commands.
pub fn found(app: &Asked, params: &ListParams) -> Result<Page<CommandBody>, Problem> {
    let view = app.view()?;
    let before = match &params.cursor {
        Some(text) => Some(
            text.parse::<u64>()
                .map_err(|_| Problem::bad("bad_cursor", "not a cursor of this list"))?,
        ),
        None => None,
    };
    // A filter looks at the newest thousand; without one a page is read as it is.
    let wanted = if params.query.is_some() { 1000 } else { params.limit() + 1 };
    let found = commands::recent(&view, before, wanted)?;
    let mut items: Vec<&Command> = found
        .iter()
        .filter(|command| super::matches(params.query.as_deref(), &[&command.target]))
        .take(params.limit() + 1)
        .collect();
    let more = items.len() > params.limit();
    items.truncate(params.limit());
    let next = items.last().filter(|_| more).map(|command| command.index.to_string());
    let items = items.into_iter().map(|command| body(app, command)).collect();
    Ok(Page { items, next })
}

/// Queue a command. It is sent by the node that has the device's channel.
#[utoipa::path(post, path = "/api/v1/commands", tag = "commands", request_body = NewCommand,
    params(("Idempotency-Key" = Option<String>, Header, description = "repeats are one command")),
    responses(
    (status = 202, body = CommandBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn queue(
    app: Asked,
    headers: HeaderMap,
    Body(new): Body<NewCommand>,
) -> Result<(StatusCode, Json<CommandBody>), Problem> {
    let id = keys::proposal_id(&headers, "command")?;
    Ok((StatusCode::ACCEPTED, Json(ask(&app, id, new).await?)))
}

/// Queues a command under an id; the same id again is the same command.
pub async fn ask(app: &Asked, id: ProposalId, new: NewCommand) -> Result<CommandBody, Problem> {
    let order = new.order.to_order()?;
    let wait_ms = new.expires_in_s.unwrap_or(DEFAULT_EXPIRY_S).saturating_mul(1000);
    let expires = app.live()?.cluster.stamp_now().plus_ms(wait_ms);
    let target = new.target.clone();
    let change = Change::Queue { id, target, order: order.clone(), expires };
    let change = domain::Change::Commands(change);
    let repeated = match app.propose(id, change).await {
        Ok(_) => None,
        // The key was used before, and a repeat has another expiry; whether it is the same
        // command is seen below.
        Err(problem) if matches!(problem.code.as_ref(), "command_exists" | "id_reused") => {
            Some(problem)
        }
        Err(problem) => return Err(problem),
    };
    let view = app.fresh_view().await?;
    let found = commands::command(&view, &id)?;
    let command = found.ok_or_else(|| repeated.unwrap_or_else(Problem::fault))?;
    if command.target != new.target || command.order != order {
        let text = "this Idempotency-Key belongs to another command";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", text));
    }
    Ok(body(app, &command))
}

/// One command; with `?wait=` after its end, or as it stands when the time is over.
#[utoipa::path(get, path = "/api/v1/commands/{id}", tag = "commands",
    params(("id" = String, Path, description = "command id"), CommandParams), responses(
    (status = 200, body = CommandBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(
    app: Asked,
    Path(id): Path<String>,
    Params(params): Params<CommandParams>,
) -> Result<Json<CommandBody>, Problem> {
    let id: CommandId = id.parse().map_err(|_| Problem::missing("unknown_command", id.clone()))?;
    let wait = Duration::from_secs(params.wait.unwrap_or(0).min(MAX_WAIT_S));
    let command = wait_for_end(&app, id, wait).await?;
    Ok(Json(body(&app, &command)))
}

async fn wait_for_end(app: &Asked, id: CommandId, wait: Duration) -> Result<Command, Problem> {
    let until = Instant::now() + wait;
    let mut effects = app.live()?.cluster.effects();
    let mut fresh = false;
    loop {
        // This node may be a moment behind the one that took the command.
        let view = if fresh { app.view()? } else { app.fresh_view().await? };
        fresh = true;
        let command = commands::command(&view, &id)?
            .ok_or_else(|| Problem::missing("unknown_command", id.to_string()))?;
        let left = until.saturating_duration_since(Instant::now());
        if is_over(&command) || left.is_zero() || app.draining() {
            return Ok(command);
        }
        let woken = async {
            loop {
                match effects.next().await {
                    Some(Woken::Effect {
                        effect: Effect::CommandSettled { id: settled }, ..
                    }) if settled == id => break,
                    Some(Woken::Effect { .. }) => {}
                    Some(Woken::Lagged(_)) => break,
                    None => std::future::pending().await,
                }
            }
        };
        // A time-out is no failure here: the state is looked at again.
        let _ = tokio::time::timeout(left.min(LOOK_EVERY), woken).await;
    }
}

/// Whether a command has reached its end; `unknown` may still change, but not soon.
fn is_over(command: &Command) -> bool {
    !command.is_open() || matches!(command.state, commands::State::Unknown { .. })
}

/// A command in the API's words.
pub fn body(app: &App, command: &Command) -> CommandBody {
    let node = match command.state {
        commands::State::Sent { node, .. } | commands::State::Unknown { node, .. } => {
            Some(app.node_name(node))
        }
        _ => None,
    };
    let (values, failure) = match &command.result {
        Some(Ok(reads)) => (Some(reads.iter().map(read_body).collect()), None),
        Some(Err(failure)) => {
            let detail = failure.to_string();
            (None, Some(FailureBody { code: failure.code().to_string(), detail }))
        }
        None => (None, None),
    };
    CommandBody {
        id: command.id.to_string(),
        target: command.target.clone(),
        order: OrderBody::of(&command.order),
        state: command.state.name().to_string(),
        node,
        by: command.by.clone(),
        queued: time::stamp(command.queued),
        sent: command.sent.map(time::stamp),
        acknowledged: command.acknowledged.map(time::stamp),
        settled: command.settled.map(time::stamp),
        expires: time::stamp(command.expires),
        values,
        failure,
    }
}

/// A value of a device in the API's words.
pub fn read_body(read: &commands::Read) -> ReadBody {
    ReadBody {
        obis: read.obis.to_string(),
        attribute: read.attribute,
        value: value_json(&read.value, read.scaler.unwrap_or(0)),
        unit: read.unit.map(number::unit),
    }
}

/// A value as JSON, unscaled.
pub fn plain(value: &Value) -> serde_json::Value {
    value_json(value, 0)
}

/// A value as JSON: numbers as exact decimal text, octets as hex.
fn value_json(value: &Value, scaler: i8) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(yes) => (*yes).into(),
        Value::Integer(n) => number::decimal(*n, scaler).into(),
        Value::Unsigned(n) => match i64::try_from(*n) {
            Ok(n) => number::decimal(n, scaler).into(),
            Err(_) => n.to_string().into(),
        },
        Value::Octets(octets) => hex(octets).into(),
        Value::Text(text) | Value::Float(text) => text.clone().into(),
        Value::Bits(bits) => {
            bits.iter().map(|bit| if *bit { '1' } else { '0' }).collect::<String>().into()
        }
        Value::Time { utc_s: Some(utc_s), .. } => time::rfc3339(*utc_s).into(),
        Value::Time { utc_s: None, text } => text.clone().into(),
        Value::List(items) => {
            items.iter().map(|item| value_json(item, 0)).collect::<Vec<_>>().into()
        }
        Value::Refused(code) => format!("refused: data-access-result {code}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_digits() {
        assert_eq!(value_json(&Value::Unsigned(12345), -3), "12.345");
        assert_eq!(value_json(&Value::Unsigned(u64::MAX), 0), u64::MAX.to_string());
        assert_eq!(value_json(&Value::Octets(vec![1, 0xff]), 0), "01ff");
    }
}
