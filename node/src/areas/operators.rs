//! Operators: people and programs, their roles, and what administrators do for them.
//!
//! Invariants: no answer holds a hash, a secret or a token but the one that was made by that very
//! request; a new password or token is shown once; whoever keeps the people of a region sees
//! those who are at home there or have a role there, and nobody else.

mod bodies;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use domain::operators::{self, About, Change, Operator, Role, Scope, SessionKind};
use domain::{Done, Stamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::bodies::{GrantBody, OperatorBody, OperatorDetail, SessionBody};
use self::bodies::{body, grant_body};
use crate::areas::{ListParams, Page, keys, matches, page, time};
use crate::http::asked::Asked;
use crate::http::credentials;
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};
use crate::secret;

/// An operator to register.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOperator {
    /// The name to log in with: 2 to 32 of a-z, 0-9, `.`, `-` and `_`, a letter first.
    pub name: String,
    /// Name of the person or program.
    pub full_name: String,
    /// The region whose staff it is; 0, the whole utility, when left out.
    #[serde(default)]
    pub home: u32,
    /// A program, which has tokens and no password.
    #[serde(default)]
    pub program: bool,
    /// en, es, ru or zh; en when left out.
    pub language: Option<String>,
}

/// A role to grant.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// operator, dispatcher, metering_engineer, revenue_analyst, vending_supervisor, vendor,
    /// auditor, security_officer, administrator, monitor or driller.
    pub role: String,
    /// The number of its region; 0, the whole utility, when left out.
    #[serde(default)]
    pub region: u32,
    /// From when on (RFC 3339); at once when left out.
    pub from: Option<String>,
    /// Until when (RFC 3339); for good when left out.
    pub until: Option<String>,
    /// Why; 1 to 500 letters.
    pub reason: String,
}

/// What became of a grant.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Granted {
    /// Its number with this operator.
    pub grant: u32,
    /// Whether a second person has to say yes first.
    pub waits: bool,
}

/// Why.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// 1 to 500 letters.
    pub reason: String,
}

/// A password that was made for somebody.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct OneTimePassword {
    /// To be handed over; it has to be changed at the first login. It is shown once.
    pub password: String,
}

/// A token to make.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    pub label: String,
    /// Days until it ends, 731 at most.
    pub days: u32,
}

/// A token that was made.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Bearer token for `Authorization`. It is shown once.
    pub token: String,
    /// When it ends.
    pub expires: String,
}

/// Whether somebody with a scope keeps an operator: at home there, or with a role there.
fn is_kept(scope: &Scope, one: &Operator) -> bool {
    scope.has(one.home) || one.grants.iter().any(|grant| scope.has(grant.region))
}

/// Operators that the caller keeps, in order of their names, leavers included.
#[utoipa::path(get, path = "/api/v1/operators", tag = "operators", params(ListParams),
    responses((status = 200, body = Page<OperatorBody>)))]
pub async fn list(
    app: Asked,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<OperatorBody>>, Problem> {
    found(&app, &params).map(Json)
}

/// A page of the operators that the caller keeps.
pub fn found(app: &Asked, params: &ListParams) -> Result<Page<OperatorBody>, Problem> {
    let (view, now) = (app.view()?, app.live()?.cluster.stamp_now());
    let whole = view.whole();
    let found = page(
        params,
        |after, limit| operators::operators(whole, after, limit),
        |one| one.name.clone(),
        |one| {
            let wanted = matches(params.query.as_deref(), &[&one.name, &one.about.full_name]);
            Ok((wanted && is_kept(view.scope(), &one)).then_some(one))
        },
    )?;
    let items = found.items.iter().map(|one| body(whole, one, now));
    Ok(Page { items: items.collect::<Result<_, _>>()?, next: found.next })
}

/// One operator with everything that was granted.
#[utoipa::path(get, path = "/api/v1/operators/{name}", tag = "operators",
    params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = OperatorDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, Path(name): Path<String>) -> Result<Json<OperatorDetail>, Problem> {
    detail(&app, &name).await.map(Json)
}

async fn detail(app: &Asked, name: &str) -> Result<OperatorDetail, Problem> {
    let (view, now) = (app.fresh_view().await?, app.live()?.cluster.stamp_now());
    let whole = view.whole();
    let known = operators::operator(whole, name)?.filter(|one| is_kept(view.scope(), one));
    let known = known.ok_or_else(|| Problem::missing("unknown_operator", name.to_owned()))?;
    let grants = known.grants.iter().map(|grant| grant_body(whole, grant, now));
    let mut sessions = Vec::new();
    for (hash, session) in operators::sessions(whole, name)? {
        if operators::session(whole, &hash, now)?.is_some() {
            sessions.push(SessionBody {
                kind: match session.kind {
                    SessionKind::Login => "login".to_owned(),
                    SessionKind::Token => "token".to_owned(),
                },
                label: session.label,
                begun: time::stamp(session.begun),
                used: time::stamp(session.used),
                expires: time::stamp(session.expires),
            });
        }
    }
    Ok(OperatorDetail {
        operator: body(whole, &known, now)?,
        grants: grants.collect::<Result<_, _>>()?,
        sessions,
        registered: time::stamp(known.registered),
        ended: known.ended.map(time::stamp),
    })
}

async fn order(app: &Asked, headers: &HeaderMap, change: Change) -> Result<Done, Problem> {
    let id = keys::proposal_id(headers, "operators")?;
    let (_, done) = app.propose(id, domain::Change::Operators(change)).await?;
    Ok(done)
}

/// Register an operator, without any right and without a password.
#[utoipa::path(post, path = "/api/v1/operators", tag = "operators", request_body = NewOperator,
    params(("Idempotency-Key" = Option<String>, Header, description = "repeats are one")),
    responses(
    (status = 201, body = OperatorDetail),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn add(
    app: Asked,
    headers: HeaderMap,
    Body(new): Body<NewOperator>,
) -> Result<(StatusCode, Json<OperatorDetail>), Problem> {
    let language = new.language.unwrap_or_else(|| "en".to_owned());
    let about = About { full_name: new.full_name, language };
    let (name, home, program) = (new.name.clone(), new.home, new.program);
    order(&app, &headers, Change::Register { name, about, home, program }).await?;
    Ok((StatusCode::CREATED, Json(detail(&app, &new.name).await?)))
}

/// A leaver: every session, token and right ends at once, everywhere.
#[utoipa::path(post, path = "/api/v1/operators/{name}/end", tag = "operators",
    params(("name" = String, Path, description = "name")), request_body = Why, responses(
    (status = 200, body = OperatorDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn end(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(why): Body<Why>,
) -> Result<Json<OperatorDetail>, Problem> {
    order(&app, &headers, Change::End { name: name.clone(), reason: why.reason }).await?;
    detail(&app, &name).await.map(Json)
}

/// Forget an operator's wrong logins.
#[utoipa::path(post, path = "/api/v1/operators/{name}/unlock", tag = "operators",
    params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = OperatorDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn unlock(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<OperatorDetail>, Problem> {
    order(&app, &headers, Change::Unlock { name: name.clone() }).await?;
    detail(&app, &name).await.map(Json)
}

/// Make a password for an operator's next login. All sessions of the operator end.
#[utoipa::path(post, path = "/api/v1/operators/{name}/password", tag = "operators",
    params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = OneTimePassword),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn reset_password(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<OneTimePassword>, Problem> {
    let password = credentials::one_time_password()?;
    let hash = credentials::hash(&app, password.clone()).await?;
    order(&app, &headers, Change::Password { name, hash, keep: None }).await?;
    Ok(Json(OneTimePassword { password: password.to_string() }))
}

/// Take an operator's second factor away.
#[utoipa::path(delete, path = "/api/v1/operators/{name}/factor", tag = "operators",
    params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = OperatorDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn remove_factor(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<OperatorDetail>, Problem> {
    order(&app, &headers, Change::Factor { name: name.clone(), wrapped: None }).await?;
    detail(&app, &name).await.map(Json)
}

/// Make a token for a program.
#[utoipa::path(post, path = "/api/v1/operators/{name}/tokens", tag = "operators",
    params(("name" = String, Path, description = "name")), request_body = NewToken, responses(
    (status = 201, body = Token),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn add_token(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<Token>), Problem> {
    let token = app.master().session(secret::random::<16>().map_err(|_| Problem::fault())?);
    let session = *blake3::hash(token.as_bytes()).as_bytes();
    let now = app.live()?.cluster.stamp_now();
    let expires = now.plus_ms(u64::from(new.days).saturating_mul(86_400_000));
    let change = Change::Token { name, session, label: new.label, expires };
    order(&app, &headers, change).await?;
    let body = Token { token: token.to_string(), expires: time::stamp(expires) };
    Ok((StatusCode::CREATED, Json(body)))
}

/// Grant a role. What adds control, keys, money or rights waits for a second person.
#[utoipa::path(post, path = "/api/v1/operators/{name}/grants", tag = "operators",
    params(("name" = String, Path, description = "name"),
        ("Idempotency-Key" = Option<String>, Header, description = "repeats are one grant")),
    request_body = NewGrant, responses(
    (status = 201, body = Granted),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn grant(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewGrant>,
) -> Result<(StatusCode, Json<Granted>), Problem> {
    let known = || Role::ALL.map(Role::name).join(", ");
    let unknown = || Problem::bad("unknown_role", format!("{:?}; one of {}", new.role, known()));
    let role = Role::of(&new.role).ok_or_else(unknown)?;
    let stamp = |name: &str, text: &Option<String>| -> Result<Option<Stamp>, Problem> {
        let Some(text) = text else { return Ok(None) };
        let past = || Problem::bad("bad_time", format!("{name}: a time before 1970"));
        let seconds = u64::try_from(time::parse(name, text)?).map_err(|_| past())?;
        Ok(Some(Stamp::from_seconds(seconds)))
    };
    let (from, until) = (stamp("from", &new.from)?, stamp("until", &new.until)?);
    let (region, reason) = (new.region, new.reason);
    let change = Change::Grant { name, role, region, from, until, reason };
    match order(&app, &headers, change).await? {
        Done::Granted { grant, waits } => Ok((StatusCode::CREATED, Json(Granted { grant, waits }))),
        _ => Err(Problem::fault()),
    }
}

/// Say yes to a grant as the second person.
#[utoipa::path(post, path = "/api/v1/operators/{name}/grants/{grant}/approve", tag = "operators",
    params(("name" = String, Path, description = "name"),
        ("grant" = u32, Path, description = "number of the grant")), responses(
    (status = 204, description = "it counts"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn approve(
    app: Asked,
    Path((name, grant)): Path<(String, u32)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    order(&app, &headers, Change::Judge { name, grant, approve: true }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Say no to a grant as the second person.
#[utoipa::path(post, path = "/api/v1/operators/{name}/grants/{grant}/decline", tag = "operators",
    params(("name" = String, Path, description = "name"),
        ("grant" = u32, Path, description = "number of the grant")), responses(
    (status = 204, description = "it is void"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn decline(
    app: Asked,
    Path((name, grant)): Path<(String, u32)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    order(&app, &headers, Change::Judge { name, grant, approve: false }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End a grant now.
#[utoipa::path(post, path = "/api/v1/operators/{name}/grants/{grant}/revoke", tag = "operators",
    params(("name" = String, Path, description = "name"),
        ("grant" = u32, Path, description = "number of the grant")),
    request_body = Why, responses(
    (status = 204, description = "ended"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn revoke(
    app: Asked,
    Path((name, grant)): Path<(String, u32)>,
    headers: HeaderMap,
    Body(why): Body<Why>,
) -> Result<StatusCode, Problem> {
    order(&app, &headers, Change::Revoke { name, grant, reason: why.reason }).await?;
    Ok(StatusCode::NO_CONTENT)
}
