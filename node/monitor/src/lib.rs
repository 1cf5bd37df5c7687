//! The monitoring server: metrics become alarms, alarms become messages, messages arrive.
//!
//! A process of its own, beside the cluster and knowing none of its rooms. The map, from in to
//! out: `scrape`, `feed`, `ups` and `http` take in, `expr` over a `window` finds what is wrong,
//! `alarm` and `engine` decide who is told, `journal` makes it durable, `election` says whether it
//! leaves here, `channels` carry it out. Invariants: decisions are made in `engine`, which
//! has no clock, no random and no IO; no message is on its way before the disk holds that it may
//! be.

pub mod alarm;
pub mod channels;
mod cluster;
pub mod config;
mod election;
pub mod engine;
pub mod exposition;
pub mod expr;
mod feed;
pub mod http;
pub mod journal;
mod mail;
pub mod metrics;
pub mod nut;
pub mod oncall;
pub mod run;
mod scrape;
mod shared;
pub mod sms;
pub mod texts;
mod ups;
mod web;
pub mod window;
