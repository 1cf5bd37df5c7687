//! Failures of the API: RFC 9457 `application/problem+json` with a stable code.
//!
//! Invariants: every failure of every handler goes through here; a code never changes its meaning;
//! no text holds a secret or a path of the host.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::Refusal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A failure on its way to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable code.
    pub code: Cow<'static, str>,
    /// A sentence for a person.
    pub detail: String,
}

/// The body of a failure.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemBody {
    /// `urn:holdfast:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code; programs look at this.
    pub code: String,
    /// A sentence for a person.
    pub detail: String,
}

impl Problem {
    /// A failure with its status, code and text.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Problem {
        Problem { status, code: code.into(), detail: detail.into() }
    }

    /// 400: the request cannot be understood.
    pub fn bad(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 404: there is no such thing.
    pub fn missing(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 503: the node or the cluster cannot just now; the same request may be sent again.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// 503: this node is not ready.
    pub fn not_ready() -> Problem {
        let text = "this node has not caught up yet; ask another or try again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", text)
    }

    /// 500: a fault of this node. The cause stands in its log.
    pub fn fault() -> Problem {
        let text = "this node cannot answer; its log says why";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", text)
    }
}

impl From<Refusal> for Problem {
    /// `unknown_*` is 404, `*_exists` and `held` are 409, the rest 422.
    fn from(refusal: Refusal) -> Problem {
        let code = refusal.code.as_ref();
        let status = if code.starts_with("unknown_") {
            StatusCode::NOT_FOUND
        } else if code.ends_with("_exists") || code == "held" {
            StatusCode::CONFLICT
        } else if code == "not_allowed" {
            StatusCode::FORBIDDEN
        } else {
            StatusCode::UNPROCESSABLE_ENTITY
        };
        Problem::new(status, refusal.code.clone(), refusal.detail)
    }
}

impl From<cluster::Unavailable> for Problem {
    fn from(unavailable: cluster::Unavailable) -> Problem {
        match unavailable {
            cluster::Unavailable::Removed => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "node_removed",
                unavailable.to_string(),
            ),
            cluster::Unavailable::DiskFull => {
                Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", unavailable.to_string())
            }
            other => Problem::unavailable(other.to_string()),
        }
    }
}

impl From<domain::Fault> for Problem {
    fn from(fault: domain::Fault) -> Problem {
        tracing::error!(%fault, "the state cannot be read");
        Problem::fault()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: format!("urn:holdfast:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Failure").to_string(),
            status: self.status.as_u16(),
            code: self.code.to_string(),
            detail: self.detail,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
            }
            StatusCode::UNAUTHORIZED => {
                let challenge = HeaderValue::from_static("Bearer realm=\"holdfast\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_to_wait_is_told_how_long() {
        for (status, expect) in [(429, Some("60")), (503, Some("1")), (404, None)] {
            let status = StatusCode::from_u16(status).expect("a status");
            let response = Problem::new(status, "x", "").into_response();
            let told = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str());
            assert_eq!(told.transpose().expect("ASCII"), expect, "{status}");
        }
    }

    #[test]
    fn refusals_get_their_status() {
        for (code, status) in [
            ("unknown_meter", 404),
            ("meter_exists", 409),
            ("held", 409),
            ("not_allowed", 403),
            ("too_early", 422),
        ] {
            let problem = Problem::from(Refusal::new(code, ""));
            assert_eq!(problem.status.as_u16(), status, "{code}");
            assert_eq!(problem.code, code);
        }
    }
}
