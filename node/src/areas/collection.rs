//! How much of what was due is stored: in four numbers, for all and for each concentrator.
//!
//! Invariants: the denominator is what was due and is shown with every rate; an estimate never
//! counts; of the windows that are shown at any time a background job reckons the numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use domain::assets::Attach;
use domain::operators::Scope;
use domain::readings::{Collection, Spread, collection_with, spread};
use domain::{Device, Fault, View, assets};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::now_s;
use crate::areas::figures::Figures;
use crate::areas::{ListParams, Page, matches, readings, time};
use crate::http::asked::{Asked, Seen};
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};

/// The collection of a window, and of each concentrator in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Of all meters.
    pub all: Collection,
    /// Of the meters behind each concentrator, by its name.
    pub concentrators: Arc<BTreeMap<String, Collection>>,
}

/// How much of what was due is stored, as the background job reckoned it last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Interval ends of the last 24 hours.
    pub day: Window,
    /// All interval ends whose slots are kept (62 days).
    pub kept: Window,
    /// Registered concentrators that are not retired.
    pub concentrators: u64,
    /// Channels and open commands at the same moment.
    pub figures: Figures,
}

impl Window {
    /// Reckons a window; reads every meter, so it runs beside the requests.
    pub fn reckon(view: &dyn View, from_s: i64, to_s: i64) -> Result<Window, Fault> {
        let mut concentrators: BTreeMap<String, Collection> = BTreeMap::new();
        let all = collection_with(view, from_s, to_s, |meter, own| {
            if let Attach::Behind { concentrator } = &meter.attach {
                match concentrators.get_mut(concentrator) {
                    Some(known) => known.add(own),
                    None => drop(concentrators.insert(concentrator.clone(), *own)),
                }
            }
        })?;
        Ok(Window { all, concentrators: Arc::new(concentrators) })
    }

    fn within(&self, view: &Seen) -> Result<Window, Fault> {
        let mut seen = Window::default();
        let mut concentrators = BTreeMap::new();
        for (name, own) in self.concentrators.iter() {
            if view.sees(&Device::Concentrator(name.clone()))? {
                seen.all.add(own);
                concentrators.insert(name.clone(), *own);
            }
        }
        seen.concentrators = Arc::new(concentrators);
        Ok(seen)
    }

    /// How the concentrators' rates lie.
    pub fn spread(&self) -> Option<Spread> {
        spread(self.concentrators.values())
    }
}

impl Collected {
    /// What somebody sees of it: the concentrators of his regions and what lies behind them.
    pub fn within(self, view: &Seen) -> Result<Collected, Fault> {
        if *view.scope() == Scope::All {
            return Ok(self);
        }
        let (day, kept) = (self.day.within(view)?, self.kept.within(view)?);
        let concentrators = kept.concentrators.len() as u64;
        Ok(Collected { day, kept, concentrators, ..self })
    }
}

/// Reckons the collection of the windows that are always shown.
pub fn collected(view: &dyn View) -> Result<Collected, Fault> {
    let now_s = i64::try_from(now_s()).unwrap_or(i64::MAX);
    Ok(Collected {
        day: Window::reckon(view, now_s - 86_400, now_s)?,
        kept: Window::reckon(view, i64::MIN / 4, now_s)?,
        concentrators: u64::from(assets::counts(view)?.concentrators),
        figures: Figures::reckon(view)?,
    })
}

/// What a question for the collection takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct CollectionParams {
    /// Interval ends after this time (RFC 3339): a window that is reckoned for this answer.
    pub from: Option<String>,
    /// Interval ends up to this time (RFC 3339); now when left out.
    pub to: Option<String>,
}

/// The collection.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CollectionBody {
    /// Interval ends of the last 24 hours, as this node reckoned them last.
    pub day: WindowBody,
    /// All interval ends whose slots are kept (62 days), as this node reckoned them last.
    pub kept: WindowBody,
    /// The window that was asked for; null without `from`.
    pub window: Option<WindowBody>,
}

/// The collection of a window.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WindowBody {
    /// The numbers.
    #[serde(flatten)]
    pub numbers: NumbersBody,
    /// How the overall rates of the concentrators lie; null when nothing was due of any.
    pub concentrators: Option<SpreadBody>,
}

/// Values stored of those due. Rates are millionths, rounded down, null when nothing was due.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct NumbersBody {
    /// Interval values stored of those due, whatever way they came.
    pub stored: u64,
    /// Interval values due: of every active meter since its registration or first value.
    pub expected: u64,
    /// Of those stored, what came by itself: by a push or a read on schedule.
    pub first_pass: u64,
    /// Of those stored, what was asked for because it was missing.
    pub refilled: u64,
    /// Of those stored, what people brought.
    pub brought: u64,
    /// Due and not stored, and the meter has answered that it does not hold it.
    pub missing: u64,
    /// First pass by expected.
    pub first_pass_ppm: Option<u64>,
    /// First pass and refill by expected.
    pub after_refill_ppm: Option<u64>,
    /// Overall: stored by expected.
    pub rate_ppm: Option<u64>,
    /// Meters that had something due.
    pub meters: u64,
    /// Of these, meters with nothing stored.
    pub silent: u64,
}

/// How the overall rates of concentrators lie, in millionths.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct SpreadBody {
    /// Concentrators of which something was due.
    pub count: u64,
    /// The lowest.
    pub least_ppm: u64,
    /// A tenth of them lie at or below this.
    pub tenth_ppm: u64,
    /// Half of them lie at or below this.
    pub median_ppm: u64,
    /// Nine tenths of them lie at or below this.
    pub ninetieth_ppm: u64,
    /// The highest.
    pub most_ppm: u64,
}

/// The collection of one concentrator's meters.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConcentratorRate {
    /// Logical device name.
    pub concentrator: String,
    /// The numbers of the last 24 hours.
    #[serde(flatten)]
    pub numbers: NumbersBody,
}

impl From<Collection> for NumbersBody {
    fn from(given: Collection) -> NumbersBody {
        NumbersBody {
            stored: given.stored,
            expected: given.expected,
            first_pass: given.first_pass(),
            refilled: given.refilled,
            brought: given.brought,
            missing: given.missing,
            first_pass_ppm: given.first_pass_ppm(),
            after_refill_ppm: given.refilled_ppm(),
            rate_ppm: given.rate_ppm(),
            meters: given.meters,
            silent: given.silent,
        }
    }
}

impl From<Spread> for SpreadBody {
    fn from(given: Spread) -> SpreadBody {
        SpreadBody {
            count: given.concentrators,
            least_ppm: given.least_ppm,
            tenth_ppm: given.tenth_ppm,
            median_ppm: given.median_ppm,
            ninetieth_ppm: given.ninetieth_ppm,
            most_ppm: given.most_ppm,
        }
    }
}

impl From<&Window> for WindowBody {
    fn from(given: &Window) -> WindowBody {
        WindowBody {
            numbers: given.all.into(),
            concentrators: given.spread().map(SpreadBody::from),
        }
    }
}

/// How much of what was due is stored, reckoned every few seconds.
#[utoipa::path(get, path = "/api/v1/collection", tag = "collection",
    params(CollectionParams), responses(
    (status = 200, body = CollectionBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(
    app: Asked,
    Params(params): Params<CollectionParams>,
) -> Result<Json<CollectionBody>, Problem> {
    let view = app.view()?;
    let window = match (&params.from, &params.to) {
        (None, None) => None,
        (None, Some(_)) => return Err(Problem::bad("bad_range", "to needs from")),
        (Some(from), to) => {
            let from_s = time::parse("from", from)?;
            let to_s = to.as_deref().map_or(Ok(readings::now()), |to| time::parse("to", to))?;
            if from_s >= to_s {
                return Err(Problem::bad("bad_range", "from must be before to"));
            }
            let reckon = move || Window::reckon(&view, from_s, to_s);
            let reckoned = tokio::task::spawn_blocking(reckon).await;
            let reckoned = reckoned.map_err(|_| Problem::fault())?;
            Some(WindowBody::from(&reckoned?))
        }
    };
    let collected = app.collected().within(&app.view()?)?;
    let (day, kept) = ((&collected.day).into(), (&collected.kept).into());
    Ok(Json(CollectionBody { day, kept, window }))
}

/// The collection of each concentrator over the last 24 hours, as this node reckoned it last.
#[utoipa::path(get, path = "/api/v1/collection/concentrators", tag = "collection",
    params(ListParams), responses((status = 200, body = Page<ConcentratorRate>)))]
pub async fn list(
    app: Asked,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<ConcentratorRate>>, Problem> {
    let all = app.collected().within(&app.view()?)?.day.concentrators;
    let behind = params.cursor.as_deref().unwrap_or_default();
    let from = (std::ops::Bound::Excluded(behind), std::ops::Bound::Unbounded);
    let mut wanted = all
        .range::<str, _>(from)
        .filter(|(name, _)| matches(params.query.as_deref(), &[name.as_str()]));
    let one = |(name, numbers): (&String, &Collection)| ConcentratorRate {
        concentrator: name.clone(),
        numbers: (*numbers).into(),
    };
    let items: Vec<ConcentratorRate> = wanted.by_ref().take(params.limit()).map(one).collect();
    let last = items.last().map(|item| item.concentrator.clone());
    let next = last.filter(|_| wanted.next().is_some());
    Ok(Json(Page { items, next }))
}
