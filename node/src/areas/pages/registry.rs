//! Pages of the search and of the registry: what there is, as it is and as it was on any day.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use domain::regions;
use domain::registry::{Kind, Object};
use serde::Deserialize;

use super::{Who, encode, refused, render};
use crate::areas::registry::{
    self, Facts, InstallationBody, ObjectBody, RegistryParams, VersionBody, kind_of,
};
use crate::areas::search::{self, HitBody, SearchParams};
use crate::areas::{Page, number};
use crate::http::asked::{Asked, Seen};
use crate::http::extract::Params;
use crate::http::problem::Problem;
use crate::texts::{Language, WHOLE};

/// Rows of a list.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    who: Who,
    t: Language,
    text: String,
    asked: bool,
    problem: Option<String>,
    hits: Vec<HitBody>,
    matched: u64,
    more: bool,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "registry.html")]
struct ListPage {
    who: Who,
    t: Language,
    kind: &'static str,
    kinds: Vec<(&'static str, bool)>,
    at: String,
    items: Vec<Line>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "object.html")]
struct ObjectPage {
    who: Who,
    t: Language,
    kind: &'static str,
    singular: &'static str,
    number: String,
    at: String,
    there: bool,
    closed: bool,
    facts: Vec<Fact>,
    lists: Vec<(&'static str, Vec<Line>, bool)>,
    meters: Vec<InstallationBody>,
    versions: Vec<Past>,
}

/// A version, and what it says in words.
struct Past {
    version: VersionBody,
    what: String,
}

/// A line of a list: an object with what people call it and what it hangs on.
struct Line {
    kind: &'static str,
    number: String,
    title: String,
    with: Vec<Fact>,
    since: String,
}

/// Something that is known of an object; maybe with the page of what it names.
struct Fact {
    label: &'static str,
    value: String,
    link: Option<String>,
}

/// Kinds in the order of the network, by the words of their paths.
const KINDS: [&str; 7] =
    ["feeders", "transformers", "points", "customers", "contracts", "installations", "items"];

impl HitBody {
    pub(super) fn link(&self) -> String {
        link(&self.kind, &self.number)
    }
}

impl search::RelatedBody {
    pub(super) fn link(&self) -> String {
        link(&self.kind, &self.number)
    }
}

impl InstallationBody {
    fn begin(&self) -> String {
        minute(&self.from)
    }

    fn end(&self) -> Option<String> {
        self.until.as_deref().map(minute)
    }

    fn showed_first(&self, t: &Language) -> String {
        showed(&self.first, *t)
    }

    fn showed_last(&self, t: &Language) -> String {
        showed(&self.last, *t)
    }
}

/// A time with its year, to the minute.
fn minute(time: &str) -> String {
    time.get(..16).map_or_else(|| time.to_owned(), |time| time.replace('T', " "))
}

/// `5123456 Wh` of each register, with its code.
fn showed(registers: &[registry::RegisterBody], t: Language) -> String {
    let one = |one: &registry::RegisterBody| {
        let unit = number::unit(one.unit);
        let value = t.decimal(&number::decimal(one.value, one.scaler));
        format!("{} {value} {unit}", one.obis)
    };
    registers.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl VersionBody {
    fn since_clock(&self) -> String {
        minute(&self.from)
    }

    fn shown(&self, t: &Language) -> String {
        showed(&self.registers, *t)
    }
}

/// The page of a thing.
fn link(kind: &str, number: &str) -> String {
    match kind {
        "meter" => format!("/meters/{}", encode(number)),
        "concentrator" => format!("/meters?concentrator={}", encode(number)),
        other => format!("/registry/{other}s/{}", encode(number)),
    }
}

fn fact(label: &'static str, value: impl Into<String>) -> Fact {
    Fact { label, value: value.into(), link: None }
}

fn linked(label: &'static str, kind: &str, number: &str) -> Fact {
    Fact { label, value: number.to_owned(), link: Some(link(kind, number)) }
}

/// What is known of an object, empty cells left out; regions by number until they are named.
fn told(facts: &Facts, t: Language) -> Vec<Fact> {
    let all = match facts {
        Facts::Feeder { name, region, substation, volts } => vec![
            fact("name", name),
            fact("region", region.to_string()),
            fact("substation", substation),
            fact("voltage", format!("{volts} V")),
        ],
        Facts::Transformer { name, region, feeder, rating_va } => vec![
            fact("name", name),
            fact("region", region.to_string()),
            linked("feeder", "feeder", feeder),
            fact("rating", format!("{} kVA", rating_va / 1000)),
        ],
        Facts::Point { region, transformer, phases, address, purpose } => vec![
            fact("address", address),
            fact("region", region.to_string()),
            linked("transformer", "transformer", transformer.as_deref().unwrap_or_default()),
            fact("phases", phases),
            fact("purpose", t.word("purpose", purpose)),
        ],
        Facts::Customer { region, name, phone, email, class, language } => vec![
            fact("name", name),
            fact("region", region.to_string()),
            fact("telephone", phone),
            fact("mail", email),
            fact("class", t.word("class", class)),
            fact("language", own_name(language)),
        ],
        Facts::Contract { point, customer, tariff } => vec![
            linked("customer", "customer", customer),
            linked("point", "point", point),
            fact("tariff", tariff),
        ],
        Facts::Installation { point } => vec![linked("point", "point", point)],
        Facts::Item { category, maker, model, state, place, region } => vec![
            fact("category", t.word("category", category)),
            fact("maker", maker),
            fact("model", model),
            fact("state", t.word("item_state", state)),
            fact("place", place),
            fact("region", region.to_string()),
        ],
    };
    all.into_iter().filter(|fact| !fact.value.is_empty()).collect()
}

fn own_name(code: &str) -> &str {
    match Language::of(code) {
        Some(language) => language.own_name(),
        None => code,
    }
}

/// Regions by their names.
fn named(view: &Seen, t: Language, mut facts: Vec<Fact>) -> Result<Vec<Fact>, Problem> {
    for fact in facts.iter_mut().filter(|fact| fact.label == "region") {
        let region = fact.value.parse().unwrap_or(regions::ROOT);
        let known = regions::region(view.whole(), region)?;
        fact.value = known.map_or_else(|| t.region(WHOLE), |region| region.name);
    }
    Ok(facts)
}

fn past(view: &Seen, t: Language, version: VersionBody) -> Result<Past, Problem> {
    let Some(facts) = &version.facts else {
        return Ok(Past { version, what: t.say("object.closed").to_string() });
    };
    let told = named(view, t, told(facts, t))?;
    let label = |fact: &Fact| t.word("fact", fact.label).to_lowercase();
    let told = told.iter().map(|fact| format!("{} {}", label(fact), fact.value));
    let what = told.collect::<Vec<_>>().join(", ");
    Ok(Past { version, what })
}

/// What people call an object: of a contract its customer's name, of a meter its point's address.
fn title(view: &Seen, facts: &Facts) -> Result<String, Problem> {
    let other = match facts {
        Facts::Contract { customer, .. } => Object::new(Kind::Customer, customer),
        Facts::Installation { point } => Object::new(Kind::Point, point),
        own => return Ok(own.title().to_owned()),
    };
    let head = domain::registry::head(view, &other)?;
    Ok(head.map(|head| Facts::of(&head.body).title().to_owned()).unwrap_or_default())
}

fn line(view: &Seen, t: Language, kind: &'static str, one: &ObjectBody) -> Result<Line, Problem> {
    let title = title(view, &one.facts)?;
    let with = named(view, t, told(&one.facts, t))?;
    let with = with.into_iter().filter(|fact| fact.value != title).collect();
    Ok(Line { kind, number: one.number.clone(), title, with, since: one.since_day().to_owned() })
}

/// What the search page takes.
#[derive(Deserialize)]
pub struct SearchPageParams {
    text: Option<String>,
    cursor: Option<String>,
}

/// The search.
pub async fn search(app: Asked, Params(params): Params<SearchPageParams>) -> Response {
    let text = params.text.unwrap_or_default().trim().to_owned();
    let mut page = SearchPage {
        who: Who::of(&app),
        t: app.language(),
        asked: !text.is_empty(),
        text: text.clone(),
        problem: None,
        hits: Vec::new(),
        matched: 0,
        more: false,
        next: None,
    };
    if page.asked {
        let cursor = params.cursor;
        let asked = SearchParams { text: text.clone(), limit: Some(SHOWN), cursor };
        match search::found(&app, asked).await {
            Ok(found) => {
                (page.hits, page.matched, page.more) = (found.items, found.matched, found.more);
                let url = |next: String| {
                    format!("/search?text={}&cursor={}", encode(&text), encode(&next))
                };
                page.next = found.next.map(url);
            }
            Err(problem) => page.problem = Some(problem.code.into_owned()),
        }
    }
    render(&page)
}

/// What pages of the registry take.
#[derive(Clone, Default, Deserialize)]
pub struct PageParams {
    at: Option<String>,
    cursor: Option<String>,
}

impl PageParams {
    fn registry(&self) -> RegistryParams {
        // A day of the calendar is meant as it ended.
        let whole = |at: String| if at.len() == 10 { format!("{at}T23:59:59Z") } else { at };
        let at = self.at.clone().filter(|at| !at.is_empty()).map(whole);
        RegistryParams { at, closed: false, limit: Some(SHOWN), cursor: self.cursor.clone() }
    }

    fn at(&self) -> String {
        self.at.clone().unwrap_or_default()
    }
}

/// A list of the registry.
pub async fn list(
    app: Asked,
    Path(kind): Path<String>,
    Params(params): Params<PageParams>,
) -> Response {
    let page = list_page(&app, &kind, &params);
    page.map_or_else(|problem| refused(&app, problem), |page| render(&page))
}

fn word(kind: Kind) -> &'static str {
    KINDS.into_iter().find(|plural| kind_of(plural) == Ok(kind)).unwrap_or_default()
}

fn list_page(app: &Asked, kind: &str, params: &PageParams) -> Result<ListPage, Problem> {
    let kind = kind_of(kind)?;
    let view = app.view()?;
    let Page { items, next } = registry::found(&view, kind, &params.registry())?;
    let word = word(kind);
    let (who, t) = (Who::of(app), app.language());
    let items = items.iter().map(|one| line(&view, t, word, one));
    let items = items.collect::<Result<Vec<_>, _>>()?;
    let at = params.at();
    let url =
        |next: String| format!("/registry/{word}?at={}&cursor={}", encode(&at), encode(&next));
    let next = next.map(url);
    let kinds = KINDS.into_iter().map(|plural| (plural, plural == word)).collect();
    Ok(ListPage { who, t, kind: word, kinds, at, items, next })
}

/// One object.
pub async fn show(
    app: Asked,
    Path((kind, number)): Path<(String, String)>,
    Params(params): Params<PageParams>,
) -> Response {
    let page = object_page(&app, &kind, &number, &params);
    page.map_or_else(|problem| refused(&app, problem), |page| render(&page))
}

fn object_page(
    app: &Asked,
    kind: &str,
    number: &str,
    params: &PageParams,
) -> Result<ObjectPage, Problem> {
    let kind = kind_of(kind)?;
    let object = Object::new(kind, number);
    let view = app.view()?;
    let asked = params.registry();
    let detail = registry::detail(&view, &object, registry::time_of(&asked)?)?;
    let t = app.language();
    let facts = detail.object.as_ref().map(|object| told(&object.facts, t)).unwrap_or_default();
    let below = match kind {
        Kind::Feeder => vec![Kind::Transformer],
        Kind::Transformer => vec![Kind::Point],
        Kind::Point | Kind::Customer => vec![Kind::Contract],
        _ => Vec::new(),
    };
    let mut lists = Vec::new();
    for of in below {
        let page = registry::hanging(&view, &object, of, &asked)?;
        let lines = page.items.iter().map(|one| line(&view, t, word(of), one));
        lists.push((word(of), lines.collect::<Result<Vec<_>, _>>()?, page.next.is_some()));
    }
    let versions = detail.versions.into_iter().rev().map(|version| past(&view, t, version));
    let versions = versions.collect::<Result<Vec<_>, _>>()?;
    Ok(ObjectPage {
        who: Who::of(app),
        t,
        kind: word(kind),
        singular: kind.name(),
        number: number.to_owned(),
        at: params.at(),
        there: detail.object.is_some(),
        closed: detail.object.as_ref().is_some_and(|object| object.closed),
        facts: named(&view, t, facts)?,
        lists,
        meters: detail.meters,
        versions,
    })
}
