//! The binary's room: command line, configuration, wiring, HTTP API, pages, jobs, metrics, demo.
//!
//! The only place where the field's side (`gateway`) and the log's side (`cluster`, `storage`,
//! `domain`) meet; how each of them works is not known here.
//!
//! Map: `cli` takes the command line apart; `run` boots and stops one node; `wiring` answers the
//! gateway through the cluster and runs the jobs; `http` is the frame of the API, `areas` its
//! content and the pages, `texts` the words of the pages in four languages; `timetable` says when
//! tasks are due; `observe` holds log lines and metrics; `init` makes certificates and
//! configurations, `extend` those of one more node; `demo` runs a whole cluster with a simulated
//! field on one machine; `drills` hurts a live cluster on purpose and judges how it took it.
//!
//! Invariants: a concentrator is acknowledged only after the commit; a node that could not renew
//! its lease stops acting before the lease ends; plain keys live in zeroised memory of the node
//! that uses them; every queue is bounded and every wait has a deadline.

pub mod app;
pub mod areas;
pub mod certificates;
pub mod cli;
pub mod config;
pub mod demo;
pub mod drills;
pub mod exit;
pub mod extend;
pub mod http;
pub mod init;
pub mod observe;
pub mod renew;
pub mod run;
pub mod secret;
pub mod texts;
pub mod timetable;
pub mod wiring;

/// The source revision that was built: what the build was told (`HOLDFAST_REVISION`) or found by
/// git; `debug` in debug builds, `unknown` from sources without history.
pub const REVISION: &str = env!("HOLDFAST_REVISION");
/// Date of that revision, year-month-day; `unknown` likewise.
pub const DATE: &str = env!("HOLDFAST_DATE");
