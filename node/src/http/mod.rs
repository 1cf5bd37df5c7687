//! The HTTP side: routes, login, limits, headers. What the routes do stands in `areas`.
//!
//! Invariants: everything but health, metrics and login needs a token; every answer carries the
//! security headers; every request has a deadline, a bounded body and is counted by route pattern;
//! nobody but health and metrics asks without limit.

pub mod asked;
pub mod auth;
pub mod credentials;
pub mod denied;
pub mod extract;
pub mod health;
pub mod limits;
pub mod logins;
pub mod looks;
pub mod own_sessions;
pub mod patient;
pub mod problem;
pub mod rules;
pub mod server;
pub mod session;
pub mod stream;

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::App;
use crate::areas;
use problem::Problem;

/// Scripts and styles from our own origin only, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
    data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";
/// The vendored API page sets style attributes; nothing else may.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' \
    'unsafe-inline'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

/// A browser that came by HTTPS comes by nothing else for two years (RFC 6797).
const HTTPS_ONLY: &str = "max-age=63072000; includeSubDomains";

#[derive(OpenApi)]
#[openapi(
    info(title = "Holdfast", description = "Head-end for electricity meters, as a cluster."),
    security(("token" = []))
)]
struct Api;

/// All routes of a node.
pub fn router(app: App) -> Router {
    let (api, openapi) = api();
    let docs = SwaggerUi::new("/api/docs").url("/api/openapi.json", openapi);
    let guarded = Router::new()
        .merge(api)
        .merge(areas::pages::router())
        .merge(Router::<App>::from(docs))
        .layer(middleware::from_fn_with_state(app.clone(), auth::require));
    let open = Router::new()
        .route("/livez", get(health::livez))
        .route("/healthz", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/leaderz", get(health::leaderz))
        .route("/metrics", get(health::metrics))
        .route("/login", get(areas::pages::login).post(session::login_form))
        .route("/logout", post(session::logout))
        .merge(areas::pages::assets())
        .merge(OpenApiRouter::new().routes(routes!(session::login)).split_for_parts().0);
    let body_limit = app.config().http.max_body_bytes;
    guarded
        .merge(open)
        .fallback(unknown_route)
        .layer(middleware::from_fn_with_state(app.clone(), deadline))
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(middleware::from_fn_with_state(app.clone(), limits::by_address))
        .layer(middleware::from_fn_with_state(app.clone(), count))
        .layer(middleware::from_fn_with_state(app.clone(), secure))
        .with_state(app)
}

/// The API's routes and their description (OpenAPI 3.1).
pub fn api() -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut openapi) =
        OpenApiRouter::with_openapi(Api::openapi()).merge(areas::routes()).split_for_parts();
    let login = OpenApiRouter::<App>::new().routes(routes!(session::login));
    openapi.merge(login.into_openapi());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = openapi.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    (router, openapi)
}

async fn unknown_route() -> Problem {
    Problem::missing("unknown_route", "there is nothing at this address")
}

/// Ends a request that takes too long; what it proposed may still be committed.
async fn deadline(State(app): State<App>, request: Request, next: Next) -> Response {
    let limit = Duration::from_millis(app.config().http.request_timeout_ms);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            "the request took too long; sent again with the same Idempotency-Key it is one",
        )
        .into_response(),
    }
}

/// Rate, errors and duration of every route pattern.
async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_string(), |path| path.as_str().to_string());
    let method = match request.method().as_str() {
        known @ ("GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "OPTIONS") => known.to_string(),
        _ => "other".to_string(),
    };
    let response = next.run(request).await;
    app.metrics().http(&route, &method, response.status().as_u16(), begun.elapsed());
    response
}

async fn secure(State(app): State<App>, request: Request, next: Next) -> Response {
    let docs = request.uri().path().starts_with("/api/docs");
    let embedded = request.uri().path().starts_with("/assets/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = if docs { DOCS_POLICY } else { POLICY };
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if app.config().http.is_secure() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HTTPS_ONLY));
    }
    // Readings are personal data: no cache keeps them.
    let cache = if embedded { "public, max-age=3600" } else { "no-store" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}
