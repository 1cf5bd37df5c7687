//! Meters: registered behind a concentrator or with an address of their own.
//!
//! Invariants: no answer holds a key or a secret; a meter is registered before its keys, and the
//! very same meter again is no change.

mod access;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use domain::assets::{self, Attach, Change, Meter};
use domain::units::address::GRAMMAR;
use domain::{Address, Device, Fault, View};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::areas::concentrators::{ChannelBody, channel, import_all};
use crate::areas::keys::{self, SecretHex};
use crate::areas::{Imported, ListParams, Page, matches, number, page, time};
use crate::http::asked::Asked;
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};
use crate::secret::hex;

/// A meter to register: behind `concentrator`, or at `address`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMeter {
    /// 1 to 32 letters, digits and `-`.
    pub serial: String,
    /// Logical device name of the concentrator before it.
    pub concentrator: Option<String>,
    /// Address of a meter of its own: `host:port`, `hdlc+tcp://host:port`, `iec+serial://name` ...
    pub address: Option<String>,
    /// Client service access point; the model's, else 16, when left out.
    pub client_sap: Option<u16>,
    /// Server service access point; the model's, else 1, when left out.
    pub server_sap: Option<u16>,
    /// none, lls or hls3 to hls7; the model's, else none, when left out.
    pub auth: Option<String>,
    /// Security suite of the keys, 0 to 2; the model's, else 0, when left out.
    pub suite: Option<u8>,
    /// Security policy: 0 to 3 (nothing, authenticated, encrypted, both), or `v1:` and the two hex
    /// digits of version 1; 3 when left out.
    pub policy: Option<String>,
    /// What protected services are wrapped in: service, general or ciphering; service when left
    /// out.
    pub wrapping: Option<String>,
    /// Whether each association has a key of its own for its services.
    pub dedicated_key: Option<bool>,
    /// System title shown to this meter, 16 hex digits; the node's own when left out.
    pub client_title: Option<String>,
    /// Password for lls, secret for hls3, hls4 and hls6, in hex.
    #[schema(value_type = Option<String>)]
    pub secret: Option<SecretHex>,
    /// Global unicast encryption key, 32 hex digits; 64 in suite 2.
    #[schema(value_type = Option<String>)]
    pub guek: Option<SecretHex>,
    /// Global authentication key, 32 hex digits; 64 in suite 2.
    #[schema(value_type = Option<String>)]
    pub gak: Option<SecretHex>,
    /// Key encryption key, 32 hex digits; 64 in suite 2.
    #[schema(value_type = Option<String>)]
    pub kek: Option<SecretHex>,
    /// The head-end's private signing key: 64 hex digits in suite 1, 96 in suite 2.
    #[schema(value_type = Option<String>)]
    pub signing_key: Option<SecretHex>,
    /// The meter's public signing key, x and y: 128 hex digits in suite 1, 192 in suite 2.
    #[schema(value_type = Option<String>)]
    pub meter_signing_key: Option<SecretHex>,
    /// The head-end's private key for agreements, as `signing_key`.
    #[schema(value_type = Option<String>)]
    pub agreement_key: Option<SecretHex>,
    /// The meter's public key for agreements, as `meter_signing_key`.
    #[schema(value_type = Option<String>)]
    pub meter_agreement_key: Option<SecretHex>,
    /// System title, 16 hex digits, when known beforehand.
    pub system_title: Option<String>,
    /// Its model, one of `GET /api/v1/models`; the generic one when left out.
    #[serde(default)]
    pub model: String,
}

/// Meters to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMeters {
    /// At most 20,000.
    pub items: Vec<NewMeter>,
}

/// A meter.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MeterBody {
    /// Its serial.
    pub serial: String,
    /// Its model.
    pub model: String,
    /// Its number in every column of values.
    pub ordinal: u32,
    /// Logical device name of the concentrator before it.
    pub concentrator: Option<String>,
    /// Address of a meter of its own.
    pub address: Option<String>,
    /// What is spoken there, in words, with `address`.
    pub transport: Option<String>,
    /// Client service access point, with `address`.
    pub client_sap: Option<u16>,
    /// Server service access point, with `address`.
    pub server_sap: Option<u16>,
    /// none, lls or hls3 to hls7, with `address`.
    pub auth: Option<String>,
    /// Security suite, with `address`.
    pub suite: Option<u8>,
    /// Security policy, with `address`.
    pub policy: Option<String>,
    /// What protected services are wrapped in, with `address`.
    pub wrapping: Option<String>,
    /// Whether each association has a key of its own, with `address`.
    pub dedicated_key: Option<bool>,
    /// System title shown to this meter, 16 hex digits, when it is not the node's own.
    pub client_title: Option<String>,
    /// System title, 16 hex digits, when it was registered.
    pub system_title: Option<String>,
    /// Since when it is known.
    pub registered: String,
    /// Since when it is gone.
    pub retired: Option<String>,
}

/// A meter and what is known of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MeterDetail {
    /// The meter.
    #[serde(flatten)]
    pub meter: MeterBody,
    /// The channel that leads to it; null when no living node has one.
    pub channel: Option<ChannelBody>,
    /// What is stored of it.
    pub series: Vec<SeriesBody>,
}

/// One register of a meter, as far as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SeriesBody {
    /// OBIS code.
    pub obis: String,
    /// Minutes of an interval; 0: irregular readings.
    pub interval_minutes: u16,
    /// Unit of the values.
    pub unit: String,
    /// End of the first interval stored.
    pub first: String,
    /// End of the last interval stored.
    pub last: String,
}

/// What the list of meters takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct MeterParams {
    /// Only meters whose serial or model contains this text, whatever its case.
    pub query: Option<String>,
    /// Only meters behind this concentrator.
    pub concentrator: Option<String>,
    /// 1 to 1000 items; 100 when left out.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Meters, in order of their serials.
#[utoipa::path(get, path = "/api/v1/meters", tag = "meters", params(MeterParams),
    responses((status = 200, body = Page<MeterBody>)))]
pub async fn list(
    app: Asked,
    Params(params): Params<MeterParams>,
) -> Result<Json<Page<MeterBody>>, Problem> {
    Ok(Json(find(&app.view()?, &params)?))
}

/// A page of meters.
pub fn find(view: &dyn View, params: &MeterParams) -> Result<Page<MeterBody>, Fault> {
    let list = ListParams {
        query: params.query.clone(),
        limit: params.limit,
        cursor: params.cursor.clone(),
    };
    page(
        &list,
        |after, limit| match &params.concentrator {
            Some(concentrator) => assets::meters_of(view, concentrator, after, limit),
            None => assets::meters(view, after, limit),
        },
        |meter| meter.serial.clone(),
        |meter| {
            let wanted = matches(params.query.as_deref(), &[&meter.serial, &meter.model]);
            Ok(wanted.then(|| body(meter)))
        },
    )
}

/// One meter with its channel and its series.
#[utoipa::path(get, path = "/api/v1/meters/{serial}", tag = "meters",
    params(("serial" = String, Path, description = "serial")), responses(
    (status = 200, body = MeterDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, Path(serial): Path<String>) -> Result<Json<MeterDetail>, Problem> {
    detail(&app, &app.view()?, &serial).map(Json)
}

/// A meter with its channel and its series.
pub fn detail(app: &App, view: &dyn View, serial: &str) -> Result<MeterDetail, Problem> {
    let meter = assets::meter(view, serial)?
        .ok_or_else(|| Problem::missing("unknown_meter", serial.to_string()))?;
    let stamp = app.live()?.cluster.stamp_now();
    let channel = channel(app, view, &meter.device(), stamp)?;
    let series = domain::readings::series(view, meter.ordinal)?
        .into_iter()
        .map(|(interval_minutes, series)| SeriesBody {
            obis: series.obis.to_string(),
            interval_minutes,
            unit: number::unit(series.unit),
            first: time::rfc3339(series.first_s),
            last: time::rfc3339(series.last_s),
        })
        .collect();
    Ok(MeterDetail { meter: body(meter), channel, series })
}

/// Register a meter with its keys. The very same again is no change.
#[utoipa::path(post, path = "/api/v1/meters", tag = "meters", request_body = NewMeter,
    params(("Idempotency-Key" = Option<String>, Header, description = "repeats are one request")),
    responses(
    (status = 201, body = MeterBody),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn add(
    app: Asked,
    headers: HeaderMap,
    Body(new): Body<NewMeter>,
) -> Result<(StatusCode, Json<MeterBody>), Problem> {
    known_model(&app, &new.model)?;
    let serial = new.serial.clone();
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    register(&app, new, keys::request_id("meter", key)?).await?;
    let view = app.fresh_view().await?;
    let meter = assets::meter(&view, &serial)?.ok_or_else(Problem::fault)?;
    Ok((StatusCode::CREATED, Json(body(meter))))
}

/// Register many meters; those that are refused are listed, the others are in.
#[utoipa::path(post, path = "/api/v1/meters/import", tag = "meters", request_body = NewMeters,
    responses((status = 200, body = Imported)))]
pub async fn import(app: Asked, Body(new): Body<NewMeters>) -> Result<Json<Imported>, Problem> {
    let entries = new.items.into_iter().map(|item| (item.serial.clone(), item)).collect();
    let register = |item| async { register(&app, item, crate::app::random_id()?).await };
    import_all(entries, register).await.map(Json)
}

async fn register(app: &Asked, mut new: NewMeter, id: domain::ProposalId) -> Result<(), Problem> {
    access::follow_model(app, &mut new);
    let attach = attach(&new)?;
    let wrapped = access::keys(app, &new, &attach)?;
    let device = Device::Meter(new.serial.clone());
    let change = Change::RegisterMeter { serial: new.serial, attach, model: new.model };
    app.propose(id, domain::Change::Assets(change)).await?;
    keys::install(app, &device, wrapped).await
}

/// Refuses a model that this node does not know. An import takes any name: the model may be added
/// later, and the meter is read by the generic one until then.
fn known_model(app: &App, model: &str) -> Result<(), Problem> {
    if model.is_empty() || app.models().get(model).is_some() {
        return Ok(());
    }
    let text = format!("{model:?}; this node knows {}", app.models().names());
    Err(Problem::bad("unknown_model", text))
}

/// How a new meter is reached, with what its authentication needs checked.
fn attach(new: &NewMeter) -> Result<Attach, Problem> {
    let direct_only = new.client_sap.is_some()
        || new.server_sap.is_some()
        || new.auth.is_some()
        || access::is_given(new);
    match (&new.concentrator, &new.address) {
        (Some(_), None) if direct_only => {
            let text =
                "access points, auth, suite and what goes with them are for meters with an address";
            Err(Problem::bad("bad_attach", text))
        }
        (Some(concentrator), None) => Ok(Attach::Behind { concentrator: concentrator.clone() }),
        (None, Some(address)) => Ok(Attach::Direct {
            address: checked_address(address)?,
            client_sap: new.client_sap.unwrap_or(16),
            server_sap: new.server_sap.unwrap_or(1),
            authentication: access::authentication(new)?,
            security: access::security(new)?,
            system_title: new.system_title.as_deref().map(keys::system_title).transpose()?,
        }),
        _ => Err(Problem::bad("bad_attach", "give either concentrator or address")),
    }
}

/// An address that can be read; every fault names what an address looks like.
fn checked_address(address: &str) -> Result<String, Problem> {
    match Address::parse(address) {
        Ok(_) => Ok(address.to_owned()),
        Err(refusal) => {
            let mut problem = Problem::from(refusal);
            problem.detail = format!("{}. An address is {GRAMMAR}", problem.detail);
            Err(problem)
        }
    }
}

/// A meter in the API's words.
pub fn body(meter: Meter) -> MeterBody {
    let mut body = MeterBody {
        serial: meter.serial,
        model: meter.model,
        ordinal: meter.ordinal,
        concentrator: None,
        address: None,
        transport: None,
        client_sap: None,
        server_sap: None,
        auth: None,
        suite: None,
        policy: None,
        wrapping: None,
        dedicated_key: None,
        client_title: None,
        system_title: None,
        registered: time::stamp(meter.registered),
        retired: meter.retired.map(time::stamp),
    };
    match meter.attach {
        Attach::Behind { concentrator } => body.concentrator = Some(concentrator),
        Attach::Direct {
            address,
            client_sap,
            server_sap,
            authentication,
            security,
            system_title,
        } => {
            let parsed = Address::parse(&address);
            body.transport = parsed.ok().map(|address| address.transport().to_owned());
            body.address = Some(address);
            body.client_sap = Some(client_sap);
            body.server_sap = Some(server_sap);
            body.system_title = system_title.map(|title| hex(&title));
            body.auth = Some(access::name(authentication).to_owned());
            body.suite = Some(security.suite.number());
            body.policy = Some(access::policy_text(security.policy));
            body.wrapping = Some(access::wrapping_name(security.wrapping).to_owned());
            body.dedicated_key = Some(security.dedicated_key);
            body.client_title = security.client_title.map(|title| hex(&title));
        }
    }
    body
}
