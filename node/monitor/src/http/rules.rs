//! Rules: the list with where each comes from, the editor with a try, the log of changes.
//!
//! Invariants: a rule is read as the file's are, with the same faults, before anything is changed;
//! a form that is refused comes back with what was typed; a try changes nothing but which metrics
//! are read; every change has a name behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::desk::{MAX_ROWS, page, top};
use super::login::User;
use super::{Shared, api, problem};
use crate::config::{Config, Edit, Fault, RuleKind, fields_of, with_edit};
use crate::engine::Engine;
use crate::expr::Expr;
use crate::oncall::rfc3339;
use crate::window::Window;

/// How long a try waits for metrics that were not read before.
const FIRST: Duration = Duration::from_secs(10);
/// The longest reason and the longest name of somebody.
const MAX_TEXT: usize = 500;
/// The most changes that the page shows.
const MAX_SHOWN: usize = 50;

/// What was sent or tried, and which rule is edited.
#[derive(Deserialize)]
pub(super) struct Asked {
    rule: Option<String>,
    kind: Option<RuleKind>,
    sent: Option<String>,
}

/// The words of the form: `kind`, `name`, `reason`, `act`, and the keys of the rule.
type Words = BTreeMap<String, String>;

pub(super) async fn list(
    State(shared): State<Shared>,
    Extension(User(user)): Extension<User>,
    Query(asked): Query<Asked>,
) -> Response {
    let named = asked.rule.clone();
    let answered = shared.ask_window(move |engine, window, now| {
        let config = engine.config().clone();
        let rule = named.and_then(|name| config.rules.iter().find(|rule| rule.name == name));
        let found = rule.and_then(|rule| found(&rule.name, &rule.expr, window, now));
        let contacts: Vec<&String> = config.contacts.iter().map(|one| &one.name).collect();
        let values = json!({"rules": rules(engine), "found": found, "contacts": contacts,
            "changes": changes(engine, MAX_SHOWN), "shared": config.cluster.is_some()});
        (api::state_of(engine, now), values)
    });
    match answered.await {
        Ok((state, mut values)) => {
            values["sent"] = asked.sent.into();
            page("rules.html", &top(&user, "rules", &state, values))
        }
        Err(unanswered) => unanswered.into_response(),
    }
}

/// What an expression gives now.
fn found(name: &str, expr: &str, window: &Window, now: i64) -> Option<Value> {
    let series = Expr::parse(expr).ok()?.evaluate(window, now);
    let all = series.len();
    let shown = series.into_iter().take(MAX_ROWS);
    let shown: Vec<Value> =
        shown.map(|(labels, value)| json!({"labels": labels, "value": value})).collect();
    Some(json!({"rule": name, "all": all, "series": shown, "at": rfc3339(now)}))
}

/// Every rule: those that hold, then those that are switched off or refused.
fn rules(engine: &Engine) -> Vec<Value> {
    let config = engine.config();
    let names = config.rules.iter().map(|rule| &rule.name);
    let names = names.chain(config.alarms.iter().map(|rule| &rule.name));
    let mut shown: Vec<Value> = names.filter_map(|name| shown(engine, config, name)).collect();
    for (name, edit) in engine.edits() {
        let holds = fields_of(config, name).is_some();
        if !holds {
            let fields = match edit.fields.is_empty() {
                true => engine.file_fields(name).map(|(_, fields)| fields).unwrap_or_default(),
                false => edit.fields.clone(),
            };
            shown.push(json!({"name": name, "kind": edit.kind, "fields": fields, "off": edit.off,
                "origin": engine.origin(name), "by": edit.by, "at": rfc3339(edit.at),
                "fault": engine.edit_faults().get(name)}));
        }
    }
    shown
}

fn shown(engine: &Engine, config: &Config, name: &str) -> Option<Value> {
    let (kind, fields) = fields_of(config, name)?;
    let edit = engine.edits().get(name);
    Some(json!({"name": name, "kind": kind, "fields": fields, "off": false,
        "origin": engine.origin(name), "by": edit.map(|edit| &edit.by),
        "at": edit.map(|edit| rfc3339(edit.at)), "fault": engine.edit_faults().get(name)}))
}

fn changes(engine: &Engine, limit: usize) -> Vec<Value> {
    let changes = engine.rule_changes().rev().take(limit);
    let shown = changes.map(|one| {
        json!({"name": one.name, "what": one.what, "by": one.by, "reason": one.reason,
            "at": rfc3339(one.at), "before": one.before})
    });
    shown.collect()
}

/// The editor, empty or with a rule in it.
pub(super) async fn edit(
    State(shared): State<Shared>,
    Extension(User(user)): Extension<User>,
    Query(asked): Query<Asked>,
) -> Response {
    let name = asked.rule.clone().unwrap_or_default();
    let answered = shared.ask(move |engine, now| {
        let known = fields_of(engine.config(), &name).or_else(|| {
            let edit = engine.edits().get(&name)?;
            match edit.fields.is_empty() {
                true => engine.file_fields(&name),
                false => Some((edit.kind, edit.fields.clone())),
            }
        });
        (api::state_of(engine, now), known, place(engine, &name))
    });
    let (state, known, values) = match answered.await {
        Ok(answered) => answered,
        Err(unanswered) => return unanswered.into_response(),
    };
    if asked.rule.is_some() && known.is_none() {
        return problem(StatusCode::NOT_FOUND, "unknown_rule", "no rule is called so");
    }
    let is_new = known.is_none();
    let kind = asked.kind.unwrap_or(RuleKind::Rule);
    let (kind, fields) = known.unwrap_or((kind, Words::new()));
    let form = Draft { kind, name: asked.rule.unwrap_or_default(), reason: String::new(), fields };
    editor(&user, &state, &form, is_new, values)
}

/// What the editor shows beside the form.
fn place(engine: &Engine, name: &str) -> Value {
    let config = engine.config();
    let policies: Vec<&String> = config.policies.iter().map(|one| &one.name).collect();
    let edit = engine.edits().get(name);
    json!({"origin": engine.origin(name), "off": edit.is_some_and(|edit| edit.off),
        "edited": edit.is_some(), "policies": policies})
}

/// What somebody has typed.
struct Draft {
    kind: RuleKind,
    name: String,
    reason: String,
    fields: Words,
}

impl Draft {
    fn of(mut words: Words) -> Result<(String, Draft), &'static str> {
        let act = words.remove("act").unwrap_or_default();
        let kind = match words.remove("kind").as_deref() {
            Some("rule") => RuleKind::Rule,
            Some("alarm") => RuleKind::Alarm,
            _ => return Err("kind is rule or alarm"),
        };
        words.remove("new");
        let name = words.remove("name").unwrap_or_default().trim().to_owned();
        let reason = words.remove("reason").unwrap_or_default().trim().to_owned();
        if reason.len() > MAX_TEXT {
            return Err("the reason is too long");
        }
        let fields = words.into_iter().filter(|(_, text)| !text.trim().is_empty()).collect();
        Ok((act, Draft { kind, name, reason, fields }))
    }

    fn edit(&self, by: &str, at: i64) -> Edit {
        let fields = self.fields.clone();
        Engine::edit_of(self.kind, &self.name, fields, (by, &self.reason), at)
    }
}

fn bad(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "bad_request", detail)
}

fn editor(user: &str, state: &Value, form: &Draft, is_new: bool, mut values: Value) -> Response {
    values["form"] = json!({"kind": form.kind, "name": form.name, "reason": form.reason,
        "keys": form.kind.keys(), "fields": form.fields, "new": is_new});
    page("rule.html", &top(user, "rules", state, values))
}

/// What the form's buttons do.
pub(super) async fn act(
    State(shared): State<Shared>,
    Extension(User(user)): Extension<User>,
    Form(words): Form<Words>,
) -> Response {
    let is_new = words.contains_key("new");
    let (act, form) = match Draft::of(words) {
        Ok(read) => read,
        Err(detail) => return bad(detail),
    };
    match act.as_str() {
        "try" => return tried(&shared, &user, &form, is_new).await,
        "save" | "off" | "on" | "remove" => {}
        _ => return bad("act is save, try, off, on or remove"),
    }
    if form.reason.is_empty() {
        let faults = vec![Fault { at: "reason".into(), what: "say why".into() }];
        return refused(&shared, &user, &form, is_new, &faults).await;
    }
    match change(&shared, &act, &form, &user, is_new).await {
        Ok(Ok(())) => Redirect::to("/rules").into_response(),
        Ok(Err(faults)) => refused(&shared, &user, &form, is_new, &faults).await,
        Err(unanswered) => unanswered.into_response(),
    }
}

async fn change(
    shared: &Shared,
    act: &str,
    form: &Draft,
    by: &str,
    is_new: bool,
) -> Result<Result<(), Vec<Fault>>, super::Unanswered> {
    let (act, by) = (act.to_owned(), by.to_owned());
    let (name, reason) = (form.name.clone(), form.reason.clone());
    let wanted = form.edit(&by, 0);
    let asked = shared.ask(move |engine, now| {
        let known = engine.edits().get(&name).cloned();
        let fault =
            |what: &str| Err(vec![Fault { at: format!("rule \"{name}\""), what: what.to_owned() }]);
        match act.as_str() {
            "remove" => match engine.remove_edit(&name, &by, &reason, now) {
                true => Ok(()),
                false => fault("it was not made on the pages"),
            },
            "save" if is_new && engine.rule_kind(&name).is_some() => fault("it is there already"),
            "save" => {
                let off = known.is_some_and(|known| known.off);
                engine.edit_rule(Edit { off, at: now, ..wanted })
            }
            // Only whether it holds: what is typed beside that is not taken.
            switch => {
                let Some(kind) = engine.rule_kind(&name) else { return fault("there is none") };
                let fields = known.map(|known| known.fields).unwrap_or_default();
                let off = switch == "off";
                if !off && fields.is_empty() {
                    engine.remove_edit(&name, &by, &reason, now);
                    return Ok(());
                }
                engine.edit_rule(Edit { kind, off, fields, at: now, ..wanted })
            }
        }
    });
    asked.await
}

/// The form again, with what is wrong.
async fn refused(
    shared: &Shared,
    user: &str,
    form: &Draft,
    is_new: bool,
    faults: &[Fault],
) -> Response {
    let name = form.name.clone();
    let answered =
        shared.ask(move |engine, now| (api::state_of(engine, now), place(engine, &name)));
    let (state, mut values) = match answered.await {
        Ok(answered) => answered,
        Err(unanswered) => return unanswered.into_response(),
    };
    values["faults"] = faults.iter().map(ToString::to_string).collect();
    let mut response = editor(user, &state, form, is_new, values);
    *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    response
}

/// What the rule would give now. Metrics that were not read before are waited for.
async fn tried(shared: &Shared, user: &str, form: &Draft, is_new: bool) -> Response {
    let edit = Edit { off: false, ..form.edit(user, 0) };
    let read = with_edit(&shared.config, &edit);
    if let Err(faults) = read {
        return refused(shared, user, form, is_new, &faults).await;
    }
    // What will be reported of the field cannot be tried: that it is well-formed is all.
    let expr = form.fields.get("expr").cloned().unwrap_or_default();
    let metrics = Expr::parse(&expr).map(|expr| expr.metrics()).unwrap_or_default();
    match shared.ask(move |engine, _| engine.want_metrics(metrics)).await {
        Ok(true) => {
            let interval = shared.config.scrape.interval.0 + shared.config.scrape.timeout.0;
            tokio::time::sleep(interval.min(FIRST)).await;
        }
        Ok(false) => {}
        Err(unanswered) => return unanswered.into_response(),
    }
    let name = form.name.clone();
    let is_rule = form.kind == RuleKind::Rule;
    let answered = shared.ask_window(move |engine, window, now| {
        let found = is_rule.then(|| found(&name, &expr, window, now)).flatten();
        (api::state_of(engine, now), place(engine, &name), found)
    });
    match answered.await {
        Ok((state, mut values, found)) => {
            values["found"] = found.into();
            values["good"] = true.into();
            editor(user, &state, form, is_new, values)
        }
        Err(unanswered) => unanswered.into_response(),
    }
}

/// Rules and their last changes as JSON.
pub(super) async fn as_json(State(shared): State<Shared>) -> Response {
    let asked = shared
        .ask(|engine, _| json!({"items": rules(engine), "changes": changes(engine, usize::MAX)}));
    match asked.await {
        Ok(values) => Json(values).into_response(),
        Err(unanswered) => unanswered.into_response(),
    }
}

/// A rule as a program wants it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    kind: RuleKind,
    #[serde(default)]
    off: bool,
    #[serde(default)]
    fields: Words,
    by: String,
    reason: String,
}

fn is_said(by: &str, reason: &str) -> bool {
    let fits = |text: &str| !text.trim().is_empty() && text.len() <= MAX_TEXT;
    fits(by) && fits(reason)
}

pub(super) async fn put(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Json(wanted): Json<Wanted>,
) -> Response {
    if !is_said(&wanted.by, &wanted.reason) {
        return bad("by and reason are wanted");
    }
    let Wanted { kind, off, fields, by, reason } = wanted;
    let asked = shared.ask(move |engine, now| {
        let edit = Engine::edit_of(kind, &name, fields, (&by, &reason), now);
        engine.edit_rule(Edit { off, ..edit })
    });
    match asked.await {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(faults)) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            problem(StatusCode::UNPROCESSABLE_ENTITY, "bad_rule", &faults.join("; "))
        }
        Err(unanswered) => unanswered.into_response(),
    }
}

/// Who takes a rule away.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    by: String,
    reason: String,
}

pub(super) async fn remove(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Json(removal): Json<Removal>,
) -> Response {
    if !is_said(&removal.by, &removal.reason) {
        return bad("by and reason are wanted");
    }
    let Removal { by, reason } = removal;
    match shared.ask(move |engine, now| engine.remove_edit(&name, &by, &reason, now)).await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => problem(StatusCode::NOT_FOUND, "unknown_rule", "none was made on the pages"),
        Err(unanswered) => unanswered.into_response(),
    }
}
