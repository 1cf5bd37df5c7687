//! The page of the topology: the regions, and of one of them its concentrators with their channels
//! and its feeders with their transformers; of a transformer the points with the meters at them.
//!
//! Invariants: concentrators are shown as they stand now, the network as it was on the day that is
//! asked for; who may not see customers sees no network, and nobody sees another region.

use std::collections::BTreeMap;

use askama::Template;
use axum::response::Response;
use domain::operators::{Permission, Scope};
use domain::regions::{self, Region};
use domain::registry::{Installation, Kind, Object};
use domain::{Device, assets};
use serde::Deserialize;

use super::tasks::share;
use super::{Who, encode, refused, render};
use crate::areas::concentrators::{ConcentratorBody, body as concentrator_body};
use crate::areas::registry::{self, Facts, ObjectBody, RegistryParams};
use crate::http::asked::{Asked, Seen};
use crate::http::extract::Params;
use crate::http::problem::Problem;
use crate::texts::{Language, WHOLE};

/// Rows of a list.
const SHOWN: usize = 50;
/// Transformers that stand below one feeder.
const SHOWN_BELOW: usize = 20;
/// Feeders that are looked through for those of a region.
const LOOKED_THROUGH: usize = 5000;

#[derive(Template)]
#[template(path = "topology.html")]
struct TopologyPage {
    who: Who,
    t: Language,
    at: String,
    regions: Vec<Branch>,
    region: u32,
    name: String,
    concentrators: Vec<Standing>,
    more_concentrators: bool,
    feeders: Vec<FeederLine>,
    more_feeders: bool,
    transformer: Option<Below>,
}

/// A region in the tree.
struct Branch {
    id: u32,
    name: String,
    /// Levels below the first.
    depth: usize,
    closed: bool,
}

/// A concentrator with how much of what was due behind it is stored.
struct Standing {
    one: ConcentratorBody,
    rate: String,
}

struct FeederLine {
    number: String,
    name: String,
    substation: String,
    transformers: Vec<TransformerLine>,
    more: bool,
}

struct TransformerLine {
    number: String,
    name: String,
    rating: String,
}

/// A transformer with its points.
struct Below {
    number: String,
    points: Vec<PointLine>,
    more: bool,
}

struct PointLine {
    number: String,
    address: String,
    meter: Option<String>,
    concentrator: Option<String>,
}

/// What the page takes.
#[derive(Clone, Default, Deserialize)]
pub struct TopologyParams {
    region: Option<u32>,
    transformer: Option<String>,
    at: Option<String>,
}

impl TopologyParams {
    fn registry(&self) -> RegistryParams {
        let at = self.at.clone().filter(|at| !at.is_empty());
        // A day of the calendar is meant as it ended.
        let at = at.map(|at| if at.len() == 10 { format!("{at}T23:59:59Z") } else { at });
        RegistryParams { at, closed: false, limit: Some(SHOWN), cursor: None }
    }
}

/// The topology.
pub async fn topology(app: Asked, Params(params): Params<TopologyParams>) -> Response {
    page(&app, &params).map_or_else(|problem| refused(&app, problem), |page| render(&page))
}

fn page(app: &Asked, params: &TopologyParams) -> Result<TopologyPage, Problem> {
    let view = app.view()?;
    let all = regions::regions(view.whole())?;
    let (t, scope) = (app.language(), view.scope().clone());
    let regions = tree(&all, &scope, t);
    let first = regions.first().map_or(regions::ROOT, |branch| branch.id);
    let region = params.region.unwrap_or(first);
    let Some(chosen) = regions.iter().find(|branch| branch.id == region) else {
        return Err(Problem::missing("unknown_region", region.to_string()));
    };
    let name = chosen.name.clone();
    let (concentrators, more_concentrators) = placed(app, &view, region)?;
    let network = app.scope(&view, Permission::Customers)?;
    let (mut feeders, mut more_feeders, mut transformer) = (Vec::new(), false, None);
    if network.has(region) {
        (feeders, more_feeders) = feeders_of(&view, region, params)?;
        if let Some(number) = &params.transformer {
            transformer = Some(below(&view, &network, number, params)?);
        }
    }
    Ok(TopologyPage {
        who: Who::of(app),
        t,
        at: params.at.clone().unwrap_or_default(),
        regions,
        region,
        name,
        concentrators,
        more_concentrators,
        feeders,
        more_feeders,
        transformer,
    })
}

/// The regions that are seen, each behind the one in which it lies.
fn tree(all: &[Region], scope: &Scope, t: Language) -> Vec<Branch> {
    let mut below: BTreeMap<u32, Vec<&Region>> = BTreeMap::new();
    for region in all {
        below.entry(region.parent).or_default().push(region);
    }
    let mut found = Vec::new();
    if scope.has(regions::ROOT) {
        found.push(Branch { id: regions::ROOT, name: t.region(WHOLE), depth: 0, closed: false });
    }
    let mut open: Vec<(u32, usize)> = vec![(regions::ROOT, found.len())];
    while let Some((at, depth)) = open.pop() {
        if let Some(known) = all.iter().find(|one| one.id == at && at != regions::ROOT) {
            let closed = known.closed.is_some();
            let shown = scope.has(at) && depth <= regions::MAX_DEPTH + 1;
            if shown {
                found.push(Branch { id: at, name: known.name.clone(), depth, closed });
            }
        }
        // A region whose parent is not seen stands at the margin.
        let deeper = if scope.has(at) && at != regions::ROOT { depth + 1 } else { depth };
        let children = below.get(&at).into_iter().flatten().rev();
        open.extend(children.map(|child| (child.id, deeper)));
    }
    found
}

/// The concentrators that were placed in a region itself; the root's are those that nobody placed.
fn placed(app: &Asked, view: &Seen, region: u32) -> Result<(Vec<Standing>, bool), Problem> {
    let stamp = app.live()?.cluster.stamp_now();
    let day = app.collected().within(view)?.day.concentrators;
    let mut found = Vec::new();
    let names: Vec<String> = if region == regions::ROOT {
        let unplaced = |name: &String| {
            let device = Device::Concentrator(name.clone());
            regions::region_of(view.whole(), &device).is_ok_and(|at| at == regions::ROOT)
        };
        day.keys().filter(|name| unplaced(name)).take(SHOWN + 1).cloned().collect()
    } else {
        let devices = regions::devices(view.whole(), region, None, SHOWN + 1)?;
        let name = |device| match device {
            Device::Concentrator(name) => Some(name),
            Device::Meter(_) => None,
        };
        devices.into_iter().filter_map(name).collect()
    };
    let more = names.len() > SHOWN;
    for name in names.iter().take(SHOWN) {
        if let Some(record) = assets::concentrator(view, name)? {
            let one = concentrator_body(app, view, record, stamp)?;
            let rate = share(day.get(name).and_then(|own| own.rate_ppm()));
            found.push(Standing { one, rate });
        }
    }
    Ok((found, more))
}

fn feeders_of(
    view: &Seen,
    region: u32,
    params: &TopologyParams,
) -> Result<(Vec<FeederLine>, bool), Problem> {
    let mut asked = RegistryParams { limit: Some(1000), ..params.registry() };
    let (mut found, mut looked) = (Vec::new(), 0);
    loop {
        let page = registry::found(view, Kind::Feeder, &asked)?;
        looked += page.items.len();
        for one in &page.items {
            let Facts::Feeder { name, region: lies, substation, .. } = &one.facts else { continue };
            if *lies != region {
                continue;
            }
            if found.len() == SHOWN {
                return Ok((found, true));
            }
            let (transformers, more) = transformers_of(view, &one.number, params)?;
            found.push(FeederLine {
                number: one.number.clone(),
                name: name.clone(),
                substation: substation.clone(),
                transformers,
                more,
            });
        }
        asked.cursor = page.next;
        if asked.cursor.is_none() || looked >= LOOKED_THROUGH {
            return Ok((found, asked.cursor.is_some()));
        }
    }
}

fn transformers_of(
    view: &Seen,
    feeder: &str,
    params: &TopologyParams,
) -> Result<(Vec<TransformerLine>, bool), Problem> {
    let asked = RegistryParams { limit: Some(SHOWN_BELOW), ..params.registry() };
    let object = Object::new(Kind::Feeder, feeder);
    let page = registry::hanging(view, &object, Kind::Transformer, &asked)?;
    let line = |one: &ObjectBody| match &one.facts {
        Facts::Transformer { name, rating_va, .. } => Some(TransformerLine {
            number: one.number.clone(),
            name: name.clone(),
            rating: format!("{} kVA", rating_va / 1000),
        }),
        _ => None,
    };
    Ok((page.items.iter().filter_map(line).collect(), page.next.is_some()))
}

fn below(
    view: &Seen,
    network: &Scope,
    number: &str,
    params: &TopologyParams,
) -> Result<Below, Problem> {
    let asked = params.registry();
    let object = Object::new(Kind::Transformer, number);
    let page = registry::hanging(view, &object, Kind::Point, &asked)?;
    let when = registry::time_of(&asked)?;
    let mut points = Vec::new();
    for one in &page.items {
        let Facts::Point { region, address, .. } = &one.facts else { continue };
        if !network.has(*region) {
            continue;
        }
        let all = domain::registry::occupancy(view, &one.number)?;
        let there = |one: &&Installation| match when {
            None => one.until.is_none(),
            Some(when) => one.from <= when && one.until.is_none_or(|until| until > when),
        };
        let meter = all.iter().find(there).map(|one| one.meter.clone());
        let known = meter.as_deref().map(|serial| assets::meter(view, serial)).transpose()?;
        let attach = known.flatten().map(|known| known.attach);
        let concentrator = match attach {
            Some(assets::Attach::Behind { concentrator }) => Some(concentrator),
            _ => None,
        };
        points.push(PointLine {
            number: one.number.clone(),
            address: address.clone(),
            meter,
            concentrator,
        });
    }
    Ok(Below { number: number.to_owned(), points, more: page.next.is_some() })
}

impl TopologyPage {
    /// The address of a place with the day that is shown.
    fn url(&self, region: &u32) -> String {
        format!("/topology?region={region}{}", self.day('&'))
    }

    fn transformer_url(&self, number: &str) -> String {
        let number = encode(number);
        format!("/topology?region={}&transformer={number}{}#below", self.region, self.day('&'))
    }

    fn object_url(&self, kind: &str, number: &str) -> String {
        format!("/registry/{kind}/{}{}", encode(number), self.day('?'))
    }

    fn day(&self, mark: char) -> String {
        if self.at.is_empty() { String::new() } else { format!("{mark}at={}", encode(&self.at)) }
    }
}
