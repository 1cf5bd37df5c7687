//! Alarms of the field: what meters and concentrators reported as events lately, in one order that
//! a reader follows; and what a concentrator reported of itself.
//!
//! Invariants: a page goes on where the last one ended, on whichever node it is asked; the feed
//! says where it begins, so that whoever was away too long sees that he has missed some; names of
//! events come from the meter's model, and a code that no model lists keeps its number; those of
//! concentrators begin with `concentrator_`, so that no rule takes one for the other.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Path;
use domain::alarms::{self, Alarm};
use domain::registry::{self, Body, Kind, Object};
use domain::{Device, Obis, Stamp, View, assets, regions};
use gateway::model::Catalog;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::areas::time;
use crate::http::asked::{Asked, Seen};
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};

/// The most alarms of one page.
const MAX_PAGE: usize = 2_000;
/// Alarms that are looked through for the newest.
const LOOKED_THROUGH: usize = 400;

/// From where alarms are wanted.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct AlarmParams {
    /// Only those behind this place; 0: all that are kept.
    #[serde(default)]
    pub after: u64,
    /// 1 to 2000; 500 when left out.
    pub limit: Option<usize>,
}

/// Alarms in order of their places.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AlarmsBody {
    /// The alarms.
    pub items: Vec<AlarmBody>,
    /// Everything behind this place is kept. A reader who stood before it has missed some.
    pub kept_after: u64,
    /// The last place that was given.
    pub last: u64,
    /// Where the next page begins: `after` of the next request.
    pub next: u64,
}

/// What a meter or a concentrator reported.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AlarmBody {
    /// Its place; never given again.
    pub place: u64,
    /// The meter's serial; empty for what a concentrator reports of itself alone.
    pub meter: String,
    /// The concentrator it is behind; empty for a meter with an address of its own.
    pub concentrator: String,
    /// What alarms of one cause have in common: the transformer that the registry knows for the
    /// meter's point at that time, else the concentrator, else the meter itself.
    pub group: String,
    /// The region's name; empty for the whole utility.
    pub region: String,
    /// What happened, by the meter's model, such as `power_down`; `event_N` where none says.
    pub kind: String,
    /// critical, warning or info.
    pub severity: String,
    /// The object whose value the code is.
    pub object: String,
    /// The code.
    pub code: u32,
    /// When it happened, by the meter's clock.
    pub time: String,
    /// When the cluster took it.
    pub taken: String,
}

/// Alarms of the field, oldest first.
#[utoipa::path(get, path = "/api/v1/alarms", tag = "monitor", params(AlarmParams),
    responses((status = 200, body = AlarmsBody)))]
pub async fn list(
    app: Asked,
    Params(params): Params<AlarmParams>,
) -> Result<Json<AlarmsBody>, Problem> {
    let view = app.view()?;
    let limit = params.limit.unwrap_or(500).clamp(1, MAX_PAGE);
    let (kept_after, last) = alarms::bounds(&view)?;
    let found = alarms::behind(&view, params.after, limit)?;
    // What the caller may not see is passed over, too, when nothing more is to be seen.
    let next = match found.last() {
        Some((place, _)) if found.len() == limit => *place,
        _ => last.max(params.after),
    };
    let mut places = Places { view: &view, models: app.models(), meters: BTreeMap::new() };
    let mut items = Vec::with_capacity(found.len());
    for (place, alarm) in found {
        items.extend(places.body(place, &alarm)?);
    }
    Ok(Json(AlarmsBody { items, kept_after, last, next }))
}

/// The newest alarms that are seen, newest first.
pub fn newest(app: &Asked, view: &Seen, limit: usize) -> Result<Vec<AlarmBody>, Problem> {
    let (kept_after, last) = alarms::bounds(view)?;
    // What is not seen is passed over: a few hundred are looked through for a few.
    let from = last.saturating_sub(LOOKED_THROUGH as u64).max(kept_after);
    let found = alarms::behind(view, from, LOOKED_THROUGH)?;
    let mut places = Places { view, models: app.models(), meters: BTreeMap::new() };
    let mut items = Vec::with_capacity(limit);
    for (place, alarm) in found.into_iter().rev() {
        items.extend(places.body(place, &alarm)?);
        if items.len() == limit {
            break;
        }
    }
    Ok(items)
}

/// What a concentrator reported of itself, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OwnEventsBody {
    /// The events.
    pub items: Vec<OwnEventBody>,
}

/// An event of a concentrator.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OwnEventBody {
    /// What happened, such as `concentrator_meter_lost`.
    pub kind: String,
    /// The meter that it is about; empty for itself.
    pub meter: String,
    /// The code.
    pub code: u32,
    /// The object whose value the code is.
    pub object: String,
    /// When it happened, by the concentrator's clock.
    pub time: String,
    /// When the cluster took it.
    pub taken: String,
}

/// The newest events of a concentrator, at most 1000.
#[utoipa::path(get, path = "/api/v1/concentrators/{id}/events", tag = "concentrators",
    params(("id" = String, Path, description = "logical device name")), responses(
    (status = 200, body = OwnEventsBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn own(app: Asked, Path(id): Path<String>) -> Result<Json<OwnEventsBody>, Problem> {
    let view = app.view()?;
    if assets::concentrator(&view, &id)?.is_none() {
        return Err(Problem::missing("unknown_concentrator", id));
    }
    let found = alarms::reports(&view, &id, alarms::MAX_REPORTS)?;
    let body = |reported: alarms::Reported| OwnEventBody {
        kind: ours_of(reported.event.object, reported.event.code)
            .unwrap_or_else(|| own_kind(reported.event.code)),
        meter: reported.event.about,
        code: reported.event.code,
        object: reported.event.object.to_string(),
        time: time::rfc3339(reported.event.end_s),
        taken: time::stamp(reported.taken),
    };
    Ok(Json(OwnEventsBody { items: found.into_iter().map(body).collect() }))
}

/// What alarms of one page ask again and again.
struct Places<'a, V> {
    view: &'a V,
    models: &'a Catalog,
    meters: BTreeMap<u32, Option<(assets::Meter, String)>>,
}

impl<V: View> Places<'_, V> {
    fn body(&mut self, place: u64, alarm: &Alarm) -> Result<Option<AlarmBody>, Problem> {
        if alarm.ordinal == alarms::CONCENTRATOR {
            return self.own(place, alarm);
        }
        if !self.meters.contains_key(&alarm.ordinal) {
            let meter = self.look(alarm.ordinal)?;
            self.meters.insert(alarm.ordinal, meter);
        }
        let Some(Some((meter, region))) = self.meters.get(&alarm.ordinal) else {
            return Ok(None);
        };
        let concentrator = match meter.device() {
            Device::Concentrator(id) => id,
            Device::Meter(_) => String::new(),
        };
        let kind = ours(alarm)
            .unwrap_or_else(|| kind_of(self.models, &meter.model, alarm.object, alarm.code));
        let transformer = self.transformer(&meter.serial, alarm.end_s)?;
        let known = transformer.or_else(|| Some(concentrator.clone()).filter(|id| !id.is_empty()));
        let group = known.unwrap_or_else(|| meter.serial.clone());
        Ok(Some(AlarmBody {
            place,
            meter: meter.serial.clone(),
            group,
            concentrator,
            region: region.clone(),
            severity: severity_of(&kind).to_owned(),
            kind,
            object: alarm.object.to_string(),
            code: alarm.code,
            time: time::rfc3339(alarm.end_s),
            taken: time::stamp(alarm.taken),
        }))
    }

    /// What a concentrator reports of itself.
    fn own(&self, place: u64, alarm: &Alarm) -> Result<Option<AlarmBody>, Problem> {
        let Some((concentrator, meter)) = alarms::report(self.view, place)? else {
            return Ok(None);
        };
        let region = regions::region_of(self.view, &Device::Concentrator(concentrator.clone()))?;
        let region = regions::region(self.view, region)?;
        let kind = ours(alarm).unwrap_or_else(|| own_kind(alarm.code));
        Ok(Some(AlarmBody {
            place,
            meter,
            group: concentrator.clone(),
            concentrator,
            region: region.map(|region| region.name).unwrap_or_default(),
            severity: severity_of(&kind).to_owned(),
            kind,
            object: alarm.object.to_string(),
            code: alarm.code,
            time: time::rfc3339(alarm.end_s),
            taken: time::stamp(alarm.taken),
        }))
    }

    /// The transformer from which a meter's point was supplied at a time.
    fn transformer(&self, serial: &str, at_s: i64) -> Result<Option<String>, Problem> {
        let at = Stamp::from_seconds(u64::try_from(at_s).unwrap_or(0));
        let Some(point) = registry::installation(self.view, serial, at)? else { return Ok(None) };
        let point = Object::new(Kind::Point, &point);
        let then = registry::object_at(self.view, &point, at)?;
        Ok(match then.and_then(|version| version.body) {
            Some(Body::Point { transformer, .. }) => transformer,
            _ => None,
        })
    }

    fn look(&self, ordinal: u32) -> Result<Option<(assets::Meter, String)>, Problem> {
        let Some(place) = assets::place(self.view, ordinal)? else { return Ok(None) };
        let Some(meter) = assets::meter(self.view, &place.serial)? else { return Ok(None) };
        let region = regions::region_of(self.view, &Device::Meter(place.serial))?;
        let region = regions::region(self.view, region)?;
        Ok(Some((meter, region.map(|region| region.name).unwrap_or_default())))
    }
}

/// What the head-end itself found out of a device.
fn ours(alarm: &Alarm) -> Option<String> {
    ours_of(alarm.object, alarm.code)
}

fn ours_of(object: Obis, code: u32) -> Option<String> {
    (object == alarms::HEAD_END).then(|| match code {
        alarms::CLOCK_BEYOND => "clock_beyond_limit".to_owned(),
        code => format!("event_{code}"),
    })
}

/// What a code means for a meter of a model.
pub fn kind_of(models: &Catalog, model: &str, object: Obis, code: u32) -> String {
    let named = models.get(model).and_then(|model| {
        let log = model.logs.iter().find(|log| log.event == object)?;
        model.event(log.obis, u16::try_from(code).ok()?)
    });
    named.map_or_else(|| format!("event_{code}"), str::to_owned)
}

/// What a code of a concentrator means (docs/reference/concentrator.md, events).
fn own_kind(code: u32) -> String {
    const KINDS: [&str; 12] = [
        "power_down",
        "power_up",
        "restarted",
        "clock_set",
        "meter_lost",
        "meter_found",
        "channel_lost",
        "channel_restored",
        "cover_opened",
        "cover_closed",
        "firmware_changed",
        "memory_error",
    ];
    let known = usize::try_from(code).ok().and_then(|code| KINDS.get(code.checked_sub(1)?));
    known
        .map_or_else(|| format!("concentrator_event_{code}"), |kind| format!("concentrator_{kind}"))
}

/// How grave an event is when nobody has said otherwise: tampering and broken meters are critical,
/// ends of conditions and what people did themselves are to be known.
fn severity_of(kind: &str) -> &'static str {
    const CRITICAL: [&str; 19] = [
        "concentrator_cover_opened",
        "concentrator_memory_error",
        "program_memory_error",
        "ram_error",
        "nv_memory_error",
        "watchdog_error",
        "measurement_system_error",
        "terminal_cover_removed",
        "strong_dc_field_detected",
        "meter_cover_removed",
        "authentication_failed_repeatedly",
        "deciphering_failed_repeatedly",
        "replay_attack",
        "firmware_verification_failed",
        "unexpected_consumption",
        "phase_sequence_reversed",
        "missing_neutral",
        "current_reversal",
        "disconnect_or_reconnect_failed",
    ];
    const INFO: [&str; 15] = [
        "_restarted",
        "_found",
        "_restored",
        "_clock_set",
        "_up",
        "_closed",
        "_gone",
        "_ok",
        "_ready",
        "_activated",
        "_cleared",
        "_changed",
        "_time",
        "_programmed",
        "connect",
    ];
    if CRITICAL.contains(&kind) {
        "critical"
    } else if kind.contains("_normal_") || INFO.iter().any(|end| kind.ends_with(end)) {
        "info"
    } else {
        "warning"
    }
}

#[cfg(test)]
mod tests {
    use super::{kind_of, ours_of, own_kind, severity_of};
    use domain::Obis;
    use domain::alarms::HEAD_END;
    use gateway::model::Catalog;

    #[test]
    fn codes_have_names_where_a_model_says() {
        let models = Catalog::shipped();
        let standard: Obis = "0-0:96.11.0".parse().expect("an OBIS");
        let known = models.entries().map(|(name, _)| name.to_owned());
        let listed = known.filter(|name| kind_of(&models, name, standard, 1) == "power_down");
        assert!(listed.count() >= 2, "single and three phases");
        assert_eq!(kind_of(&models, "no such model", standard, 1), "event_1");
    }

    #[test]
    fn codes_of_concentrators_are_those_of_the_agreement() {
        assert_eq!(ours_of(HEAD_END, 1).as_deref(), Some("clock_beyond_limit"));
        assert_eq!(ours_of(HEAD_END, 2).as_deref(), Some("event_2"));
        assert_eq!(ours_of(domain::Obis([0, 0, 96, 11, 0, 255]), 1), None);
        for (code, wanted) in [
            (0, "concentrator_event_0"),
            (1, "concentrator_power_down"),
            (5, "concentrator_meter_lost"),
            (12, "concentrator_memory_error"),
            (13, "concentrator_event_13"),
        ] {
            assert_eq!(own_kind(code), wanted);
        }
    }

    #[test]
    fn severities_follow_from_the_kind() {
        for (kind, wanted) in [
            ("power_down", "warning"),
            ("concentrator_power_down", "warning"),
            ("concentrator_power_up", "info"),
            ("concentrator_meter_lost", "warning"),
            ("concentrator_meter_found", "info"),
            ("concentrator_cover_opened", "critical"),
            ("concentrator_event_77", "warning"),
            ("power_up", "info"),
            ("meter_cover_removed", "critical"),
            ("meter_cover_closed", "info"),
            ("remote_connect", "info"),
            ("remote_disconnect", "info"),
            ("voltage_normal_l2", "info"),
            ("voltage_missing_l2", "warning"),
            ("event_230", "warning"),
        ] {
            assert_eq!(severity_of(kind), wanted, "{kind}");
        }
    }
}
