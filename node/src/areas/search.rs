//! Search: customers, points, meters, concentrators and the network by any part of what they are
//! called, in any alphabet.
//!
//! Invariants: what the caller may not see is neither shown nor counted; every hit is looked up in
//! the state before it is told, so a copy that lags behind tells nothing that is gone.

use std::collections::BTreeSet;

use axum::Json;
use axum::http::StatusCode;
use domain::operators::{Permission, Scope};
use domain::registry::{self, Body, Kind, Object};
use domain::{Device, Fault, Stamp, View, assets, regions};
use search::{After, Hit, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::areas::cursor::Question;
use crate::http::asked::{Asked, Seen};
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};

/// Things that lie in the index by the letter that begins their keys; the letters are in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    place: char,
    name: String,
}

impl Named {
    /// Concentrators.
    pub const CONCENTRATOR: char = 'a';
    /// Meters.
    pub const METER: char = 'd';
    /// All letters, in their order.
    pub const ORDER: [char; 6] = ['a', 'b', 'c', 'd', 'e', 'f'];

    /// A thing.
    pub fn new(place: char, name: &str) -> Named {
        Named { place, name: name.to_owned() }
    }

    /// The kind of a letter; none for devices.
    pub fn kind(place: char) -> Option<Kind> {
        match place {
            'b' => Some(Kind::Customer),
            'c' => Some(Kind::Feeder),
            'e' => Some(Kind::Point),
            'f' => Some(Kind::Transformer),
            _ => None,
        }
    }

    /// The letter of a kind; none when it is not searched for.
    pub fn of_kind(kind: Kind) -> Option<char> {
        Named::ORDER.into_iter().find(|place| Named::kind(*place) == Some(kind))
    }

    fn of_key(key: &[u8]) -> Option<Named> {
        let (place, name) = key.split_first()?;
        Some(Named::new(char::from(*place), std::str::from_utf8(name).ok()?))
    }

    fn word(&self) -> &'static str {
        match (Named::kind(self.place), self.place) {
            (Some(kind), _) => kind.name(),
            (None, Named::METER) => "meter",
            (None, _) => "concentrator",
        }
    }
}

/// The key of a thing in the index.
pub fn key_of(named: &Named) -> Vec<u8> {
    format!("{}{}", named.place, named.name).into_bytes()
}

const DEVICES: u8 = 0;
const REGISTRY: u8 = 1;

/// Who may find it: devices whoever may look at them, the registry whoever may see customers.
pub fn class_of(named: &Named) -> u8 {
    if Named::kind(named.place).is_some() { REGISTRY } else { DEVICES }
}

/// What a thing is found by, and where it lies; none when it is gone.
pub fn text_of(view: &dyn View, named: &Named) -> Result<Option<(String, u32)>, Fault> {
    let name = &named.name;
    match Named::kind(named.place) {
        Some(kind) => {
            let head = registry::head(view, &Object::new(kind, name))?;
            let body = head.filter(|head| !head.closed).map(|head| head.body);
            Ok(body.map(|body| (words(name, &body), body.region().unwrap_or(regions::ROOT))))
        }
        None if named.place == Named::METER => {
            let found = assets::meter(view, name)?.filter(|meter| meter.retired.is_none());
            let Some(meter) = found else { return Ok(None) };
            let region = regions::region_of(view, &Device::Meter(name.clone()))?;
            Ok(Some((format!("{name} {}", meter.model), region)))
        }
        None => {
            let found = assets::concentrator(view, name)?.filter(|one| one.retired.is_none());
            let Some(one) = found else { return Ok(None) };
            let region = regions::region_of(view, &Device::Concentrator(name.clone()))?;
            Ok(Some((format!("{name} {}", one.name), region)))
        }
    }
}

fn words(number: &str, body: &Body) -> String {
    match body {
        Body::Feeder { name, substation, .. } => format!("{number} {name} {substation}"),
        Body::Transformer { name, .. } => format!("{number} {name}"),
        Body::Point { address, .. } => format!("{number} {address}"),
        Body::Customer { name, phone, email, .. } => {
            let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
            format!("{number} {name} {digits} {email}")
        }
        Body::Contract { .. } | Body::Installation { .. } | Body::Item { .. } => number.to_owned(),
    }
}

/// What a search takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct SearchParams {
    /// 2 to 64 letters of any alphabet; up to 8 words, all of which must be found.
    #[serde(default)]
    pub text: String,
    /// 1 to 200 hits; 50 when left out.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Something that belongs to a hit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RelatedBody {
    /// meter, point, customer or concentrator.
    pub kind: String,
    /// Serial or number.
    pub number: String,
    /// Name or address.
    pub title: String,
}

/// A hit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HitBody {
    /// customer, point, meter, concentrator, feeder or transformer.
    pub kind: String,
    /// Number, serial or logical device name.
    pub number: String,
    /// Name, address or model.
    pub title: String,
    /// Number of the region where it lies.
    pub region: u32,
    /// 0: a whole word is what was searched for; 1: words begin so; 2: it is contained.
    pub score: u8,
    /// What belongs to it: of a customer his points and meters, of a meter its point and customer.
    pub related: Vec<RelatedBody>,
}

/// A page of hits, best first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Hits {
    /// The hits.
    pub items: Vec<HitBody>,
    /// How many were counted.
    pub matched: u64,
    /// Whether there may be more than were counted.
    pub more: bool,
    /// `cursor` of the next page; null on the last one.
    pub next: Option<String>,
}

/// Find customers, points, meters, concentrators, feeders and transformers by any part of number,
/// name, address, telephone or mail.
#[utoipa::path(get, path = "/api/v1/search", tag = "registry", params(SearchParams), responses(
    (status = 200, body = Hits),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn find(app: Asked, Params(params): Params<SearchParams>) -> Result<Json<Hits>, Problem> {
    found(&app, params).await.map(Json)
}

/// The page of a search.
pub async fn found(app: &Asked, params: SearchParams) -> Result<Hits, Problem> {
    if !app.names().is_ready() {
        let text = "this node has not read all names yet; try again in a moment";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "search_building", text));
    }
    let view = app.view()?;
    let personal = app.scope(&view, Permission::Customers)?;
    let index = app.names().index().clone();
    let work = move || look(&index, &view, &personal, &params);
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::fault())?
}

fn look(
    index: &search::Index,
    view: &Seen,
    personal: &Scope,
    params: &SearchParams,
) -> Result<Hits, Problem> {
    let question = Question::new(&["search", &params.text]);
    let after = params.cursor.as_deref().map(|cursor| place(&question, cursor)).transpose()?;
    let limit = params.limit.unwrap_or(50).clamp(1, 200);
    // One question where both rights reach equally far, one for each where they do not.
    let parts: Vec<(&Scope, u32)> = if view.scope() == personal {
        vec![(personal, 1 << DEVICES | 1 << REGISTRY)]
    } else {
        vec![(view.scope(), 1 << DEVICES), (personal, 1 << REGISTRY)]
    };
    let (mut hits, mut matched, mut more) = (Vec::new(), 0, false);
    for (scope, classes) in parts {
        let regions: Option<&BTreeSet<u32>> = match scope {
            Scope::All => None,
            Scope::Regions(regions) => Some(regions),
        };
        let text = params.text.as_str();
        let query = Query { text, regions, classes, after: after.as_ref(), limit: limit + 1 };
        let page =
            index.search(&query).map_err(|error| Problem::bad(error.code(), error.to_string()))?;
        hits.extend(page.hits);
        matched += page.matched;
        more |= page.capped;
    }
    hits.sort_by(|a, b| (a.score, &a.key).cmp(&(b.score, &b.key)));
    let next = (hits.len() > limit).then(|| hits.get(limit - 1)).flatten();
    let next = next.map(|last| question.cursor(&format!("{} {}", last.score, text(&last.key))));
    let items = hits.iter().take(limit).map(|hit| told(view, personal, hit));
    let items: Result<Vec<Option<HitBody>>, Fault> = items.collect();
    Ok(Hits { items: items?.into_iter().flatten().collect(), matched, more, next })
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

fn place(question: &Question, cursor: &str) -> Result<After, Problem> {
    let place = question.place(cursor)?;
    let parts = place.split_once(' ').and_then(|(score, key)| Some((score.parse().ok()?, key)));
    let (score, key) =
        parts.ok_or_else(|| Problem::bad("bad_cursor", "it holds no place of a search"))?;
    Ok(After { score, key: key.as_bytes().to_vec() })
}

/// A hit as the state has it; none when the state has it no longer.
fn told(view: &Seen, personal: &Scope, hit: &Hit) -> Result<Option<HitBody>, Fault> {
    let Some(named) = Named::of_key(&hit.key) else { return Ok(None) };
    let whole = view.whole();
    let Some((_, region)) = text_of(whole, &named)? else { return Ok(None) };
    let scope = if class_of(&named) == REGISTRY { personal } else { view.scope() };
    if !scope.has(region) {
        return Ok(None);
    }
    let title = match Named::kind(named.place) {
        Some(kind) => {
            let head = registry::head(whole, &Object::new(kind, &named.name))?;
            head.map(|head| title(&head.body)).unwrap_or_default()
        }
        None if named.place == Named::METER => {
            assets::meter(whole, &named.name)?.map(|meter| meter.model).unwrap_or_default()
        }
        None => assets::concentrator(whole, &named.name)?.map(|one| one.name).unwrap_or_default(),
    };
    let mut related = Vec::new();
    add_related(whole, &named, &mut related)?;
    // What lies elsewhere is not told of either.
    let mut seen = Vec::new();
    for one in related {
        if sees(whole, personal, view.scope(), &one)? {
            seen.push(one);
        }
    }
    Ok(Some(HitBody {
        kind: named.word().to_owned(),
        number: named.name,
        title,
        region,
        score: hit.score,
        related: seen,
    }))
}

/// The point and the customer of a meter, as far as the caller sees them.
pub fn of_meter(app: &Asked, view: &Seen, serial: &str) -> Result<Vec<RelatedBody>, Problem> {
    let personal = app.scope(view, Permission::Customers)?;
    let mut found = Vec::new();
    add_related(view.whole(), &Named::new(Named::METER, serial), &mut found)?;
    let mut seen = Vec::new();
    for one in found {
        if sees(view.whole(), &personal, view.scope(), &one)? {
            seen.push(one);
        }
    }
    Ok(seen)
}

fn sees(
    view: &dyn View,
    personal: &Scope,
    devices: &Scope,
    one: &RelatedBody,
) -> Result<bool, Fault> {
    let named = match one.kind.parse().ok().and_then(Named::of_kind) {
        Some(place) => Named::new(place, &one.number),
        None => Named::new(Named::METER, &one.number),
    };
    let scope = if class_of(&named) == REGISTRY { personal } else { devices };
    Ok(text_of(view, &named)?.is_some_and(|(_, region)| scope.has(region)))
}

fn title(body: &Body) -> String {
    match body {
        Body::Feeder { name, .. }
        | Body::Transformer { name, .. }
        | Body::Customer { name, .. } => name.clone(),
        Body::Point { address, .. } => address.clone(),
        _ => String::new(),
    }
}

const NOW: Stamp = Stamp(u64::MAX);
/// Contracts of a customer that a hit tells of.
const RELATED: usize = 5;

fn add_related(view: &dyn View, named: &Named, found: &mut Vec<RelatedBody>) -> Result<(), Fault> {
    match Named::kind(named.place) {
        Some(Kind::Customer) => {
            let customer = Object::new(Kind::Customer, &named.name);
            for child in registry::children(view, &customer, Kind::Contract, NOW, None, RELATED)? {
                if let Some(Body::Contract { point, .. }) = child.version.body {
                    add_point(view, &point, found)?;
                    add_meter(view, &point, found)?;
                }
            }
        }
        Some(Kind::Point) => {
            add_meter(view, &named.name, found)?;
            add_customer(view, &named.name, found)?;
        }
        None if named.place == Named::METER => {
            if let Some(point) = registry::installation(view, &named.name, NOW)? {
                add_point(view, &point, found)?;
                add_customer(view, &point, found)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn related(kind: &str, number: &str, title: String) -> RelatedBody {
    RelatedBody { kind: kind.to_owned(), number: number.to_owned(), title }
}

fn add_point(view: &dyn View, point: &str, found: &mut Vec<RelatedBody>) -> Result<(), Fault> {
    let head = registry::head(view, &Object::new(Kind::Point, point))?;
    found.extend(head.map(|head| related("point", point, title(&head.body))));
    Ok(())
}

fn add_meter(view: &dyn View, point: &str, found: &mut Vec<RelatedBody>) -> Result<(), Fault> {
    let all = registry::occupancy(view, point)?;
    let now = all.into_iter().filter(|one| one.until.is_none());
    found.extend(now.map(|one| related("meter", &one.meter, String::new())));
    Ok(())
}

fn add_customer(view: &dyn View, point: &str, found: &mut Vec<RelatedBody>) -> Result<(), Fault> {
    let place = Object::new(Kind::Point, point);
    for child in registry::children(view, &place, Kind::Contract, NOW, None, RELATED)? {
        if let Some(Body::Contract { customer, .. }) = child.version.body {
            let head = registry::head(view, &Object::new(Kind::Customer, &customer))?;
            found.extend(head.map(|head| related("customer", &customer, title(&head.body))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_in_order_and_lead_back() {
        assert!(Named::ORDER.is_sorted());
        for place in Named::ORDER {
            let named = Named::new(place, "X-1");
            assert_eq!(Named::of_key(&key_of(&named)), Some(named.clone()));
            assert_eq!(Named::kind(place).and_then(Named::of_kind).unwrap_or(place), place);
        }
        assert_eq!(Named::of_kind(Kind::Contract), None);
    }
}
