//! The monitoring server: metrics become alarms, alarms become messages, messages arrive.
//!
//! A process of its own, beside the cluster and knowing none of its rooms. The map, from in to
//! out: `scrape` and `http` take in, `expr` over a `window` finds what is wrong, `alarm` and
//! `engine` decide who is told, `journal` makes it durable, `channels` carry it out. Invariants:
//! decisions are made in `engine`, which has no clock, no random and no IO; no message is on its
//! way before the disk holds that it may be.

pub mod alarm;
pub mod channels;
pub mod config;
pub mod engine;
pub mod exposition;
pub mod expr;
pub mod http;
pub mod journal;
mod mail;
pub mod metrics;
pub mod oncall;
pub mod run;
mod scrape;
pub mod sms;
pub mod texts;
mod web;
pub mod window;
