//! Drills: failures on purpose on a live cluster, measured, judged and put down in a sealed report.
//!
//! Map: `scenario` says what there is, as data; `guard` judges whether a drill may begin; `drive`
//! is the client that writes and reads all the while and gathers the evidence; `inject` is what a
//! node does to itself; `judge` makes a report of the evidence, and is pure, and so is
//! `acceptance`, which holds what was measured against the customer's figures; `paper` prints
//! that, and `signature` lets others than nodes check it; `report` and `evidence` are what goes
//! over the wire and is kept. The record stands in `domain::drills`, the API and pages in
//! `areas::drills`, the verbs in `cli::drill` and `cli::acceptance`.
//!
//! Invariants: a node hurts itself only if its own configuration allows drills, only for a drill
//! that is open in the log, and only once for each; whatever lasts carries its end with it, so
//! that it is undone when nobody is left who remembers; a verdict of `passed` needs evidence of
//! every promise, and what was not seen is not passed.

pub mod acceptance;
pub mod drive;
pub mod evidence;
pub mod guard;
pub mod inject;
pub mod judge;
pub mod measure;
pub mod paper;
pub mod report;
pub mod scenario;
pub mod signature;
