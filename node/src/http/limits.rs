//! How often somebody may ask: limits by address and by caller, each with its own allowance for
//! logins, reads, writes and exports.
//!
//! Not what guards passwords from guessing (`logins`), and not the number of connections
//! (`server`). Invariants: time is an argument; a table never holds more than [`MOST`] entries,
//! and whoever finds no room shares one allowance with the others that found none; health and
//! metrics are never refused; what nobody has to wait for is forgotten first.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::areas::pages;
use crate::config::Http;
use crate::http::auth;
use crate::http::problem::Problem;
use crate::http::server::Remote;

/// Entries of one table.
const MOST: usize = 4096;
/// A full table is searched for entries to forget no more often than this.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Who was idle may ask at once for what comes to him in so long.
const SAVED_UP: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);
/// What load balancers and Prometheus ask: cheap, and most needed when much else is asked.
const UNLIMITED: [&str; 5] = ["/livez", "/healthz", "/readyz", "/leaderz", "/metrics"];
/// Questions whose answers are long.
const EXPORTS: [&str; 8] = [
    "/api/v1/readings",
    "/api/v1/readings/latest",
    "/api/v1/readings/sums",
    "/api/v1/conflicts",
    "/api/v1/audit",
    "/api/v1/integrity",
    "/api/v1/registry/{kind}",
    "/api/v1/registry/check/{kind}",
];

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything of one address.
    Address,
    /// Logins of one address, right or wrong.
    Login,
    /// What a caller reads.
    Read,
    /// What a caller changes or orders.
    Write,
    /// Long answers to a caller.
    Export,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 5] = [Kind::Address, Kind::Login, Kind::Read, Kind::Write, Kind::Export];

    /// The label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Address => "address",
            Kind::Login => "login",
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Export => "export",
        }
    }

    /// What a request of a caller who is logged in counts as.
    fn of(method: &Method, route: &str) -> Kind {
        match method.is_safe() {
            false => Kind::Write,
            true if EXPORTS.contains(&route) => Kind::Export,
            true => Kind::Read,
        }
    }
}

/// The limits of a node.
pub struct Limits {
    begun: Instant,
    addresses: Table<u128>,
    logins: Table<u128>,
    reads: Table<String>,
    writes: Table<String>,
    exports: Table<String>,
}

impl Limits {
    /// The limits that a configuration sets.
    pub fn new(http: &Http) -> Limits {
        let second = Duration::from_secs(1);
        Limits {
            begun: Instant::now(),
            addresses: Table::new(http.requests_per_second, second, SAVED_UP),
            logins: Table::new(http.logins_per_minute, MINUTE, MINUTE),
            reads: Table::new(http.reads_per_second, second, SAVED_UP),
            writes: Table::new(http.writes_per_second, second, SAVED_UP),
            exports: Table::new(http.exports_per_second, second, SAVED_UP),
        }
    }

    /// Counts a request of an address; `Err` says how long to wait.
    fn address(&self, kind: Kind, address: IpAddr) -> Result<(), Duration> {
        let table = if kind == Kind::Login { &self.logins } else { &self.addresses };
        table.take(network(address), self.begun.elapsed())
    }

    /// Counts a request of a caller; `Err` says how long to wait.
    fn caller(&self, kind: Kind, name: &str) -> Result<(), Duration> {
        let table = match kind {
            Kind::Write => &self.writes,
            Kind::Export => &self.exports,
            _ => &self.reads,
        };
        table.take(name.to_owned(), self.begun.elapsed())
    }
}

/// Refuses an address that asks too often, before anything else is done for it.
pub async fn by_address(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let remote = request.extensions().get::<Remote>().copied();
    let Some(Remote(remote)) = remote.filter(|_| !UNLIMITED.contains(&route)) else {
        return next.run(request).await;
    };
    let login = request.method() == Method::POST && ["/login", "/api/v1/session"].contains(&route);
    let mut kinds = vec![Kind::Address];
    kinds.extend(login.then_some(Kind::Login));
    for kind in kinds {
        if let Err(wait) = app.limits().address(kind, remote.ip()) {
            let (parts, _) = request.into_parts();
            return refuse(&app, &parts, kind, wait);
        }
    }
    next.run(request).await
}

/// The refusal of a caller who asks too often; `None`: he may go on.
pub fn by_caller(app: &App, parts: &Parts, name: &str) -> Option<Response> {
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let kind = Kind::of(&parts.method, route);
    let wait = app.limits().caller(kind, name).err()?;
    Some(refuse(app, parts, kind, wait))
}

fn refuse(app: &App, parts: &Parts, kind: Kind, wait: Duration) -> Response {
    app.metrics().limited(kind.name());
    // Rounded up: who comes back then is let through.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let seconds = seconds.max(1);
    let whose = match kind {
        Kind::Address => "requests of this address",
        Kind::Login => "logins of this address",
        Kind::Read => "reads of this login",
        Kind::Write => "writes of this login",
        Kind::Export => "exports of this login",
    };
    let text = format!("too many {whose} at this node; again after {seconds} s");
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", text);
    let mut response = if is_page(parts.uri.path(), &parts.headers) {
        // Nobody's state is read for it: the browser's language, and no name in the corner.
        pages::problem_page(problem, pages::Who::default(), auth::accepted(&parts.headers))
    } else {
        problem.into_response()
    };
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn is_page(path: &str, headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html")) && !path.starts_with("/api/")
}

/// What counts as one address: one of IPv4, 64 bits of IPv6, for whoever has one of those has all
/// of them (RFC 6177).
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(four) => four.to_ipv6_mapped().to_bits(),
        IpAddr::V6(six) => six.to_bits() >> 64 << 64,
    }
}

/// Token buckets by key, each kept as the one time at which it will be full again (the generic
/// cell rate algorithm, ITU-T I.371).
struct Table<K> {
    /// Time that one token takes to come; none: no limit.
    every: Option<Duration>,
    saved_up: Duration,
    book: Mutex<Book<K>>,
}

struct Book<K> {
    full_at: HashMap<K, Duration>,
    shared: Duration,
    swept: Option<Duration>,
}

impl<K: Eq + Hash> Table<K> {
    /// So many tokens in a time, 0 for no limit; an idle key holds what comes in `saved_up`.
    fn new(tokens: u32, within: Duration, saved_up: Duration) -> Table<K> {
        let every = within.checked_div(tokens);
        let book = Book { full_at: HashMap::new(), shared: Duration::ZERO, swept: None };
        Table { every, saved_up, book: Mutex::new(book) }
    }

    /// Takes a token of a key at a time; `Err` says how long until there is one.
    fn take(&self, key: K, now: Duration) -> Result<(), Duration> {
        let Some(every) = self.every else { return Ok(()) };
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.make_room(&key, now);
        let known = book.full_at.len() < MOST || book.full_at.contains_key(&key);
        let full_at = if known { book.full_at.entry(key).or_default() } else { &mut book.shared };
        let after = (*full_at).max(now) + every;
        match after.checked_sub(now + self.saved_up) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *full_at = after;
                Ok(())
            }
        }
    }
}

impl<K: Eq + Hash> Book<K> {
    /// Forgets full buckets when there is no place for a newcomer.
    fn make_room(&mut self, key: &K, now: Duration) {
        let recent = self.swept.is_some_and(|at| now.saturating_sub(at) < SWEEP_EVERY);
        if self.full_at.len() >= MOST && !recent && !self.full_at.contains_key(key) {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.swept = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// How many of many requests at one time are let through.
    fn allowed(table: &Table<u32>, key: u32, now: Duration) -> usize {
        (0..10_000).take_while(|_| table.take(key, now).is_ok()).count()
    }

    #[test]
    fn an_allowance_is_used_up_and_comes_back() {
        let table = Table::new(5, SECOND, SAVED_UP);
        assert_eq!(allowed(&table, 1, at(0)), 50, "ten seconds' worth at once");
        assert_eq!(table.take(1, at(0)), Err(at(200)));
        assert_eq!(table.take(1, at(150)), Err(at(50)), "a refusal costs nothing");
        assert_eq!(table.take(1, at(200)), Ok(()), "as it was told");
        assert_eq!(table.take(1, at(200)), Err(at(200)));
        assert_eq!(allowed(&table, 1, at(3_200)), 15);
        assert_eq!(allowed(&table, 1, at(1_000_000)), 50, "no more is saved up");
    }

    #[test]
    fn one_who_asks_too_often_is_nobody_elses_trouble() {
        let table = Table::new(5, SECOND, SAVED_UP);
        assert_eq!(allowed(&table, 1, at(0)), 50);
        assert_eq!(allowed(&table, 2, at(0)), 50);
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        assert_eq!(allowed(&Table::new(0, SECOND, SAVED_UP), 1, at(0)), 10_000);
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_memory() {
        let table = Table::new(1, SECOND, SAVED_UP);
        for key in 0..MOST as u32 {
            assert_eq!(table.take(key, at(0)), Ok(()));
        }
        assert_eq!(allowed(&table, 1_000_000, at(0)), 10, "newcomers share one allowance");
        assert!(table.take(2_000_000, at(0)).is_err());
        assert_eq!(table.book.lock().expect("no panic").full_at.len(), MOST);
        assert_eq!(allowed(&table, 7, at(0)), 9, "who was there keeps his own");
        // After a second all but the one that is used up are full, so they are forgotten.
        assert_eq!(allowed(&table, 3_000_000, at(1_000)), 10);
        assert_eq!(table.book.lock().expect("no panic").full_at.len(), 2);
        assert_eq!(allowed(&table, 7, at(1_000)), 1, "that one was not forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }

    #[test]
    fn requests_count_as_what_they_are() {
        for (method, route, expect) in [
            (Method::GET, "/api/v1/meters", Kind::Read),
            (Method::HEAD, "/api/v1/readings", Kind::Export),
            (Method::GET, "/api/v1/registry/{kind}", Kind::Export),
            (Method::POST, "/api/v1/commands", Kind::Write),
            (Method::DELETE, "/api/v1/tasks/{name}", Kind::Write),
        ] {
            assert_eq!(Kind::of(&method, route), expect, "{method} {route}");
        }
    }

    #[test]
    fn exports_are_routes_that_exist() {
        for route in EXPORTS {
            assert!(crate::http::rules::rule("GET", route).is_some(), "{route}");
        }
    }
}
