//! One folder or file for every area of the API: what it answers, in the words of the domain.
//!
//! Not the rules (those are `domain`'s) and not login or limits (`http`'s). Invariants: every route
//! of the API stands in `routes` once, and so in its description too; a list is `{items, next}`.

pub mod alarms;
pub mod audit;
pub mod backups;
pub mod changes;
pub mod channels;
pub mod clocks;
pub mod cluster;
pub mod collection;
pub mod commands;
pub mod concentrators;
pub mod conflicts;
pub mod cursor;
pub mod dictionaries;
pub mod drills;
pub mod figures;
pub mod gaps;
pub mod history;
pub mod keys;
pub mod live;
pub mod members;
pub mod meters;
pub mod models;
pub mod number;
pub mod operators;
pub mod pages;
pub mod parameters;
pub mod periods;
pub mod readings;
pub mod regions;
pub mod registry;
pub mod rollouts;
pub mod scada;
pub mod search;
pub mod senders;
pub mod setups;
pub mod shared;
pub mod summing;
pub mod sums;
pub mod tasks;
pub mod time;
pub mod values;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::http::{own_sessions, session};

/// Every route of the API behind the login.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(session::show, session::end))
        .routes(routes!(session::password))
        .routes(routes!(session::factor))
        .routes(routes!(session::confirm))
        .routes(routes!(own_sessions::list))
        .routes(routes!(own_sessions::end))
        .routes(routes!(operators::list, operators::add))
        .routes(routes!(operators::show))
        .routes(routes!(operators::end))
        .routes(routes!(operators::unlock))
        .routes(routes!(operators::reset_password))
        .routes(routes!(operators::remove_factor))
        .routes(routes!(operators::add_token))
        .routes(routes!(operators::grant))
        .routes(routes!(operators::approve))
        .routes(routes!(operators::decline))
        .routes(routes!(operators::revoke))
        .routes(routes!(regions::list, regions::add))
        .routes(routes!(regions::rename))
        .routes(routes!(regions::close))
        .routes(routes!(regions::devices, regions::place))
        .routes(routes!(search::find))
        .routes(routes!(registry::list))
        .routes(routes!(registry::show))
        .routes(routes!(registry::children))
        .routes(routes!(registry::check))
        .routes(routes!(registry::import::load_network))
        .routes(routes!(registry::set_network))
        .routes(routes!(registry::close_network))
        .routes(routes!(registry::import::load_people))
        .routes(routes!(registry::set_people))
        .routes(routes!(registry::close_people))
        .routes(routes!(registry::install))
        .routes(routes!(registry::remove))
        .routes(routes!(registry::exchange))
        .routes(routes!(audit::list))
        .routes(routes!(cluster::show))
        .routes(routes!(changes::show))
        .routes(routes!(scada::points))
        .routes(routes!(alarms::list))
        .routes(routes!(alarms::own))
        .routes(routes!(senders::show, senders::hold, senders::give_up))
        .routes(routes!(senders::note))
        .routes(routes!(shared::show, shared::put))
        .routes(routes!(members::list, members::add))
        .routes(routes!(members::remove))
        .routes(routes!(members::promote))
        .routes(routes!(members::replace))
        .routes(routes!(members::drain, members::undrain))
        .routes(routes!(members::hand_over))
        .routes(routes!(drills::list, drills::begin::begin))
        .routes(routes!(drills::begin::plan))
        .routes(routes!(drills::plans::list, drills::plans::ask))
        .routes(routes!(drills::plans::approve))
        .routes(routes!(drills::plans::decline))
        .routes(routes!(drills::plans::revoke))
        .routes(routes!(drills::plans::claim))
        .routes(routes!(drills::plans::begin))
        .routes(routes!(drills::plans::refuse))
        .routes(routes!(drills::show))
        .routes(routes!(drills::abort))
        .routes(routes!(drills::run::write, drills::run::held))
        .routes(routes!(drills::run::read))
        .routes(routes!(drills::run::begin_injection, drills::run::end_injection))
        .routes(routes!(drills::run::finish))
        .routes(routes!(backups::begin))
        .routes(routes!(backups::show, backups::end))
        .routes(routes!(backups::manifest))
        .routes(routes!(backups::piece))
        .routes(routes!(concentrators::list, concentrators::add))
        .routes(routes!(concentrators::import))
        .routes(routes!(concentrators::show))
        .routes(routes!(channels::show))
        .routes(routes!(channels::switch))
        .routes(routes!(setups::of_concentrator, setups::want))
        .routes(routes!(setups::push))
        .routes(routes!(setups::list))
        .routes(routes!(setups::show, setups::set))
        .routes(routes!(rollouts::list, rollouts::begin))
        .routes(routes!(rollouts::show, rollouts::steer))
        .routes(routes!(meters::list, meters::add))
        .routes(routes!(meters::import))
        .routes(routes!(meters::show))
        .routes(routes!(parameters::list))
        .routes(routes!(parameters::show, parameters::set))
        .routes(routes!(dictionaries::list))
        .routes(routes!(dictionaries::show))
        .routes(routes!(models::list))
        .routes(routes!(models::show))
        .routes(routes!(readings::query))
        .routes(routes!(collection::show))
        .routes(routes!(collection::list))
        .routes(routes!(gaps::of_meter))
        .routes(routes!(gaps::behind))
        .routes(routes!(summing::show))
        .routes(routes!(values::list))
        .routes(routes!(values::latest))
        .routes(routes!(summing::list))
        .routes(routes!(conflicts::list))
        .routes(routes!(live::show))
        .routes(routes!(history::correct))
        .routes(routes!(history::latest))
        .routes(routes!(history::integrity))
        .routes(routes!(tasks::list, tasks::set))
        .routes(routes!(tasks::show, tasks::remove))
        .routes(routes!(tasks::pause))
        .routes(routes!(tasks::resume))
        .routes(routes!(tasks::run))
        .routes(routes!(tasks::runs))
        .routes(routes!(tasks::failures))
        .routes(routes!(tasks::clocks))
        .routes(routes!(clocks::list))
        .routes(routes!(clocks::show))
        .routes(routes!(commands::list, commands::queue))
        .routes(routes!(commands::show))
}

/// What a list takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    /// Only items whose names contain this text, whatever its case.
    pub query: Option<String>,
    /// 1 to 1000 items; 100 when left out.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl ListParams {
    /// The limit within its bounds.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, 1000)
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in order of their names.
    pub items: Vec<T>,
    /// `cursor` of the next page; null on the last one.
    pub next: Option<String>,
}

/// The most entries of one bulk import.
pub const MAX_IMPORT: usize = 20_000;

/// What became of one entry of a bulk import.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// Logical device name or serial.
    pub name: String,
    /// Null when it was taken; a stable code when not.
    pub code: Option<String>,
    /// Why not.
    pub detail: Option<String>,
}

/// What became of a bulk import.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// Entries that were taken.
    pub added: usize,
    /// Entries that were not; the others are in nonetheless.
    pub refused: Vec<Verdict>,
}

/// Keeps what a filter wants, and reads on until a page is full: the shape of every list.
///
/// `next_chunk(after, limit)` gives the records behind a name; `name` is a record's name.
pub fn page<R, T>(
    params: &ListParams,
    mut next_chunk: impl FnMut(Option<&str>, usize) -> Result<Vec<R>, domain::Fault>,
    name: impl Fn(&R) -> String,
    mut keep: impl FnMut(R) -> Result<Option<T>, domain::Fault>,
) -> Result<Page<T>, domain::Fault> {
    const CHUNK: usize = 500;
    let limit = params.limit();
    let mut items = Vec::new();
    let mut after = params.cursor.clone();
    loop {
        let chunk = next_chunk(after.as_deref(), CHUNK)?;
        let last_chunk = chunk.len() < CHUNK;
        for record in chunk {
            if items.len() == limit {
                return Ok(Page { items, next: after });
            }
            after = Some(name(&record));
            if let Some(item) = keep(record)? {
                items.push(item);
            }
        }
        if last_chunk {
            return Ok(Page { items, next: None });
        }
    }
}

/// Whether one of the names contains the text, whatever its case. No text: always.
pub fn matches(query: Option<&str>, names: &[&str]) -> bool {
    let Some(query) = query else { return true };
    let query = query.to_lowercase();
    names.iter().any(|name| name.to_lowercase().contains(&query))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(params: &ListParams, wanted: fn(u32) -> bool) -> Page<u32> {
        let chunk = |after: Option<&str>, limit: usize| {
            let first = after.map_or(0, |text| text.parse::<u32>().expect("ours") + 1);
            Ok((first..1200).take(limit).collect())
        };
        page(params, chunk, |n| n.to_string(), |n| Ok(wanted(n).then_some(n))).expect("no fault")
    }

    #[test]
    fn pages_follow_each_other_without_gap() {
        let mut params = ListParams { limit: Some(7), ..ListParams::default() };
        let mut seen = Vec::new();
        loop {
            let page = numbers(&params, |n| n % 100 < 3);
            seen.extend(page.items);
            match page.next {
                Some(next) => params.cursor = Some(next),
                None => break,
            }
        }
        let expect: Vec<u32> = (0..1200).filter(|n| n % 100 < 3).collect();
        assert_eq!(seen, expect);
    }

    #[test]
    fn filters_ignore_case() {
        assert!(matches(Some("abc"), &["xABCx"]));
        assert!(!matches(Some("abd"), &["xABCx", "y"]));
        assert!(matches(None, &[]));
    }
}
