//! Keys on their way in: hex from an operator, wrapped before anything leaves this node.
//!
//! Invariants: plain octets live in zeroised memory and are gone after the call; no problem text
//! holds any of them; the same key proposed twice is one key.

use axum::http::HeaderMap;
use domain::keys::{Change, KeyKind, WrapId};
use domain::{Device, ProposalId};
use zeroize::Zeroizing;

use crate::app::{App, random_id};
use crate::http::asked::Asked;
use crate::http::problem::Problem;
use crate::secret::unhex;

/// The octets of a GUEK or GAK in suite 0 (AES-128).
pub const KEY_OCTETS: usize = 16;

/// A key as it came, checked and wrapped.
#[derive(Clone, PartialEq, Eq)]
pub struct Wrapped {
    kind: KeyKind,
    octets: Vec<u8>,
}

/// Checks and wraps what was given; `None` stays none.
pub fn wrap(
    app: &App,
    name: &str,
    kind: KeyKind,
    given: Option<&Zeroizing<String>>,
) -> Result<Option<Wrapped>, Problem> {
    let Some(text) = given else { return Ok(None) };
    let plain = octets(name, text)?;
    if kind != KeyKind::LlsSecret && plain.len() != KEY_OCTETS {
        return Err(bad(name, "must have 16 octets, 32 hex digits"));
    }
    wrap_octets(app, name, kind, &plain).map(Some)
}

/// Wraps octets that are checked already.
pub fn wrap_octets(app: &App, name: &str, kind: KeyKind, plain: &[u8]) -> Result<Wrapped, Problem> {
    let octets = app.master().wrap(plain).ok_or_else(|| bad(name, "must have 1 to 96 octets"))?;
    Ok(Wrapped { kind, octets })
}

/// The octets of hex as it came.
pub fn octets(name: &str, text: &Zeroizing<String>) -> Result<Zeroizing<Vec<u8>>, Problem> {
    Ok(Zeroizing::new(unhex(text.trim()).ok_or_else(|| bad(name, "is not hex"))?))
}

/// A key that cannot be one; `what` says why without saying the key.
pub fn bad(name: &str, what: &str) -> Problem {
    Problem::bad("bad_key", format!("{name} {what}"))
}

/// Proposes the keys of a device.
pub async fn install(
    app: &Asked,
    device: &Device,
    keys: impl IntoIterator<Item = Wrapped>,
) -> Result<(), Problem> {
    for key in keys {
        let change = Change::Install {
            device: device.clone(),
            kind: key.kind,
            wrapped: key.octets,
            wrap: WrapId(app.master().id()),
        };
        app.propose(random_id()?, domain::Change::Keys(change)).await?;
    }
    Ok(())
}

/// The proposal id of a request: of its `Idempotency-Key` when it has one, else random.
pub fn request_id(scope: &str, key: Option<&str>) -> Result<ProposalId, Problem> {
    let Some(key) = key else { return random_id() };
    if key.is_empty() || key.len() > 255 {
        let text = "Idempotency-Key must have 1 to 255 characters";
        return Err(Problem::bad("bad_idempotency_key", text));
    }
    let hash =
        blake3::derive_key("holdfast 2026 idempotency", format!("{scope}\0{key}").as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    Ok(ProposalId(id))
}

/// The proposal id of a request with these headers.
pub fn proposal_id(headers: &HeaderMap, scope: &str) -> Result<ProposalId, Problem> {
    let key = headers
        .get("idempotency-key")
        .map(|value| value.to_str().map_err(|_| Problem::bad("bad_idempotency_key", "not ASCII")));
    request_id(scope, key.transpose()?)
}

/// Reads a system title of 16 hex digits.
pub fn system_title(text: &str) -> Result<[u8; 8], Problem> {
    unhex(text.trim())
        .and_then(|octets| octets.try_into().ok())
        .ok_or_else(|| Problem::bad("bad_system_title", "a system title has 16 hex digits"))
}

/// A secret of a request body: hex that no `Debug` shows and that is zeroised.
#[derive(Clone, Default)]
pub struct SecretHex(pub Zeroizing<String>);

impl<'de> serde::Deserialize<'de> for SecretHex {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<SecretHex, D::Error> {
        String::deserialize(from).map(|text| SecretHex(Zeroizing::new(text)))
    }
}

impl std::fmt::Debug for SecretHex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretHex(..)")
    }
}

/// The text within, if there is one.
pub fn inner(secret: Option<&SecretHex>) -> Option<&Zeroizing<String>> {
    secret.map(|secret| &secret.0)
}
